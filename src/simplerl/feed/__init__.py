"""What a step is made of: which problems are sampled, how often, at which temperature, and what is learned from.

A prompt sampler is a frozen dataclass whose fields are its settings (`samplers.py`). A new one is a class and a line
here; from outside, `@simplerl.register("sampler", "name")`. docs/methods.md has a section on each.
"""

from typing import TYPE_CHECKING

from simplerl.core.registry import Registry

if TYPE_CHECKING:
    from simplerl.feed.samplers import PromptSampler

__all__ = ["SAMPLERS"]

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
        "acereason": "simplerl.feed.curricula:AceReason",
        "drive": "simplerl.feed.curricula:Drive",
        "domains": "simplerl.feed.curricula:Domains",
        "we-math": "simplerl.feed.curricula:WeMath",
        "query-effect": "simplerl.feed.controllers:QueryEffect",
        "e3": "simplerl.feed.controllers:E3",
        "adastar": "simplerl.feed.controllers:AdaStaR",
    },
)
