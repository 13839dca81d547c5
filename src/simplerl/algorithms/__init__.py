"""Algorithms: frozen dataclasses whose fields are their hyper-parameters, composed from `simplerl.ops`.

Adding one is one file and one line here. What an algorithm is to the learner stands in `base.Algorithm`.
docs/algorithms.md has a section on each: paper, equation, code.
"""

from simplerl.algorithms.asymre import AsymRE
from simplerl.algorithms.base import Algorithm
from simplerl.algorithms.cispo import CISPO
from simplerl.algorithms.dapo import DAPO
from simplerl.algorithms.dr_grpo import DrGRPO
from simplerl.algorithms.grpo import GRPO
from simplerl.algorithms.gspo import GSPO
from simplerl.algorithms.lite_ppo import LitePPO
from simplerl.algorithms.opmd import OPMD
from simplerl.algorithms.ppo import PPO
from simplerl.algorithms.rec import REC
from simplerl.algorithms.reinforce_pp import ReinforcePP
from simplerl.algorithms.reinforce_pp_baseline import ReinforcePPBaseline
from simplerl.algorithms.rloo import RLOO
from simplerl.algorithms.rover import ROVER

__all__ = ["ALGORITHMS", "GRPO", "Algorithm"]

#: Name → class.
ALGORITHMS: dict[str, type[Algorithm]] = {
    "grpo": GRPO,
    "dr_grpo": DrGRPO,
    "rloo": RLOO,
    "reinforce_pp": ReinforcePP,
    "reinforce_pp_baseline": ReinforcePPBaseline,
    "dapo": DAPO,
    "lite_ppo": LitePPO,
    "gspo": GSPO,
    "cispo": CISPO,
    "rec": REC,
    "asymre": AsymRE,
    "opmd": OPMD,
    "rover": ROVER,
    "ppo": PPO,
}
