"""Difficulty tiers: easy, medium and hard problems for a weak and for a strong model."""

from simplerl.studies.common import ACCURACY, BASE, GAIN, MIXED, PAPER, SHORT, STRONG, WEAK, level
from simplerl.studies.types import Bars, Curve, Experiment, Variant
from simplerl.train.resolve import merge

#: Tier → levels of the arithmetic task.
TIERS = {"easy": [1, 2], "medium": [2, 3, 4], "hard": [4, 5]}


def _tier(model: str, who: str, tier: str) -> Variant:
    return Variant(
        label=f"{who}, {tier}",
        overrides={"model": model, "dataset": {"levels": TIERS[tier]}},
        against="" if tier == "medium" else f"{who}, medium",
    )


DIFFICULTY = Experiment(
    name="tiers",
    question="Must the difficulty of the training problems fit the model?",
    claim="The difficulty of the training data must fit the model.",
    figures="No number to stand beside ours.",
    source=f"{PAPER}, finding 5",
    remarks=(
        "Tiers are levels of arithmetic: easy 1 and 2, medium 2 to 4, hard 4 and 5; all are evaluated on the same 250 "
        "held-out problems of all five levels. The weak cub is weak in habit (it seldom uses the box) and not in what "
        "it can compute, which the tier cannot help."
    ),
    # 800 problems of each tier: the easiest level does not have more than about 500.
    overrides=merge(SHORT, {"dataset": {"size": 800}, "evaluation": {"data": "arithmetic"}}),
    variants=tuple(_tier(model, who, tier) for model, who in ((WEAK, "weak"), (STRONG, "strong")) for tier in TIERS),
    measures=(ACCURACY, BASE, GAIN, *(level(str(number)) for number in range(1, 6)), MIXED),
    panels=(
        Bars(measure=ACCURACY),
        Curve(metric="eval/accuracy", label="held-out accuracy", block=1),
        Curve(metric="groups/mixed", label="training problems with signal"),
    ),
)
