"""Experiments: the findings of SimpleRL-Zoo that a laptop can bear, each a question with runs that answer it.

Adding one is one file with an `Experiment` and one line here. They are run by `simplerl experiment NAME` and stand,
with what came out, in docs/findings.md.
"""

from simplerl.experiments.control import CONTROL
from simplerl.experiments.format_penalty import FORMAT_PENALTY
from simplerl.experiments.group_size import GROUP_SIZE
from simplerl.experiments.pass_at_k import PASS_AT_K
from simplerl.experiments.restating import RESTATING
from simplerl.experiments.sft_steps import SFT_STEPS
from simplerl.experiments.temperature import TEMPERATURE
from simplerl.experiments.tiers import DIFFICULTY
from simplerl.experiments.types import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    "pass-at-k": PASS_AT_K,
    "format-penalty": FORMAT_PENALTY,
    "group-size": GROUP_SIZE,
    "temperature": TEMPERATURE,
    "tiers": DIFFICULTY,
    "sft-steps": SFT_STEPS,
    "control": CONTROL,
    "restating": RESTATING,
}
