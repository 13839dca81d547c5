"""Algorithms: frozen dataclasses whose fields are their hyper-parameters, composed from `simplerl.ops`.

Adding one here is one file and one line; adding one from outside is `@simplerl.register("algorithm", "name")`
(docs/extending.md). What an algorithm is to the learner stands in `base.Algorithm`. docs/algorithms.md has a section on
each: paper, equation, code. Nothing is imported, torch least of all, before an algorithm is looked up.
"""

from typing import TYPE_CHECKING, Any

from simplerl.core.registry import Registry, load_object

if TYPE_CHECKING:
    from simplerl.algorithms.base import Algorithm
    from simplerl.algorithms.grpo import GRPO

__all__ = ["ALGORITHMS", "GRPO", "Algorithm"]

#: Name → class.
ALGORITHMS: "Registry[type[Algorithm]]" = Registry(
    "algorithm",
    {
        "grpo": "simplerl.algorithms.grpo:GRPO",
        "dr_grpo": "simplerl.algorithms.dr_grpo:DrGRPO",
        "rloo": "simplerl.algorithms.rloo:RLOO",
        "reinforce_pp": "simplerl.algorithms.reinforce_pp:ReinforcePP",
        "reinforce_pp_baseline": "simplerl.algorithms.reinforce_pp_baseline:ReinforcePPBaseline",
        "dapo": "simplerl.algorithms.dapo:DAPO",
        "lite_ppo": "simplerl.algorithms.lite_ppo:LitePPO",
        "gspo": "simplerl.algorithms.gspo:GSPO",
        "cispo": "simplerl.algorithms.cispo:CISPO",
        "dppo": "simplerl.algorithms.dppo:DPPO",
        "rec": "simplerl.algorithms.rec:REC",
        "asymre": "simplerl.algorithms.asymre:AsymRE",
        "opmd": "simplerl.algorithms.opmd:OPMD",
        "rover": "simplerl.algorithms.rover:ROVER",
        "maxrl": "simplerl.algorithms.maxrl:MaxRL",
        "pass_at_k": "simplerl.algorithms.pass_at_k:PassAtK",
        "entrocraft": "simplerl.algorithms.entrocraft:Entrocraft",
        "entropic": "simplerl.algorithms.entrocraft:EntroPIC",
        "distill": "simplerl.algorithms.distill:Distill",
        "ppo": "simplerl.algorithms.ppo:PPO",
    },
)

_LAZY = {"Algorithm": "simplerl.algorithms.base:Algorithm", "GRPO": "simplerl.algorithms.grpo:GRPO"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return load_object(_LAZY[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
