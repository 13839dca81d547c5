"""Reward with and without a penalty for answers outside a box, on a weak and on a strong base model."""

from simplerl.studies.common import ACCURACY, BASE, CLIPPED, GAIN, LENGTH, PAPER, SHORT, STRONG, WEAK, pass_at
from simplerl.studies.types import Bars, Curve, Experiment, Variant
from simplerl.train.resolve import merge

#: −1 for an answer that is not in a box, right or wrong; 0 for a wrong one in a box.
PENALTY = {"name": "simplerl-v0", "correct": 1.0, "wrong": 0.0, "no_box": -1.0}

FORMAT_PENALTY = Experiment(
    name="format-penalty",
    question="Does a rigid format reward hurt, and whom?",
    claim="A rigid format reward (−1 without a box) hurts weak base models.",
    figures="No number to stand beside ours.",
    source=f"{PAPER}, finding 4",
    remarks=(
        "Accuracy counts right answers wherever they stand (box, phrase or last number), for all four alike. The weak "
        "cub knows the box, it only seldom uses it; a real weak model may not know it at all."
    ),
    overrides=merge(SHORT, {"verifier": {"policy": "boxed-then-phrases-then-last-number"}}),
    variants=(
        Variant(label="weak", overrides={"model": WEAK}),
        Variant(label="weak, penalty", overrides={"model": WEAK, "reward": PENALTY}, against="weak"),
        Variant(label="strong", overrides={"model": STRONG}),
        Variant(label="strong, penalty", overrides={"model": STRONG, "reward": PENALTY}, against="strong"),
    ),
    measures=(ACCURACY, BASE, GAIN, pass_at(4), LENGTH, CLIPPED),
    panels=(
        Curve(metric="accuracy/mean", label="accuracy of training samples"),
        Bars(measure=ACCURACY),
        Curve(metric="length/mean", label="response length (tokens)", share=False),
    ),
)
