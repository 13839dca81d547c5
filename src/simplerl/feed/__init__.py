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
        "curriculum": "simplerl.feed.adaptive:Curriculum",
        "acereason": "simplerl.feed.adaptive:AceReason",
        "drive": "simplerl.feed.adaptive:Drive",
        "domains": "simplerl.feed.adaptive:Domains",
        "we-math": "simplerl.feed.adaptive:WeMath",
        "query-effect": "simplerl.feed.adaptive:QueryEffect",
        "e3": "simplerl.feed.adaptive:E3",
        "adastar": "simplerl.feed.adaptive:AdaStaR",
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
