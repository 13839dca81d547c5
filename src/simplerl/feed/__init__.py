"""What a step is made of: which problems are sampled, how often, at which temperature, and what is learned from.

A prompt sampler is a frozen dataclass whose fields are its settings (`samplers.py`). A new one is a class and a line
here; from outside, `@simplerl.register("sampler", "name")`. So are a transform, which puts prefixes behind prompts, and
a buffer, which keeps rows for later steps. docs/methods.md has a section on each.
"""

from typing import TYPE_CHECKING

from simplerl.core.registry import Registry

if TYPE_CHECKING:
    from simplerl.feed.buffer import Buffer
    from simplerl.feed.samplers import PromptSampler
    from simplerl.feed.transforms import Transform

__all__ = ["BUFFERS", "SAMPLERS", "TRANSFORMS"]

#: Name → class.
SAMPLERS: "Registry[type[PromptSampler]]" = Registry(
    "sampler",
    {
        "epoch": "simplerl.feed.samplers:Epoch",
        "refill": "simplerl.feed.samplers:Refill",
        "uniform": "simplerl.feed.samplers:Uniform",
        "difficulty": "simplerl.feed.adaptive:Difficulty",
        "no-positive-resampling": "simplerl.feed.adaptive:NoPositiveResampling",
        "lim": "simplerl.feed.adaptive:LIM",
        "curriculum": "simplerl.feed.curricula:Curriculum",
        "acereason": "simplerl.feed.curricula:AceReason",
        "drive": "simplerl.feed.curricula:Drive",
        "domains": "simplerl.feed.curricula:Domains",
        "we-math": "simplerl.feed.curricula:WeMath",
        "query-effect": "simplerl.feed.controllers:QueryEffect",
        "e3": "simplerl.feed.controllers:E3",
        "adastar": "simplerl.feed.controllers:AdaStaR",
    },
)
#: Name → class.
TRANSFORMS: "Registry[type[Transform]]" = Registry(
    "transform",
    {
        "none": "simplerl.feed.transforms:Transform",
        "rest-rl": "simplerl.feed.transforms:ReSTRL",
        "sparkle": "simplerl.feed.transforms:Sparkle",
        "snapshot": "simplerl.feed.transforms:Snapshot",
    },
)
#: Name → class.
BUFFERS: "Registry[type[Buffer]]" = Registry(
    "buffer",
    {
        "none": "simplerl.feed.buffer:Buffer",
        "rorecomp": "simplerl.feed.buffer:RoRecomp",
        "relift": "simplerl.feed.buffer:ReLIFT",
    },
)
