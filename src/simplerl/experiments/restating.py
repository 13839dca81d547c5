"""A verifier that computes what is copied from the question, beside ours: the shortest way to a reward."""

from simplerl.analysis.seeds import Measure
from simplerl.experiments.common import ACCURACY, BASE, GAIN, LENGTH, SHORT
from simplerl.experiments.types import Bars, Curve, Experiment, Variant
from simplerl.train.resolve import merge

#: Right answers that are worked out, whatever the verifier of the run accepts.
STRICT = Measure(label="finished answers right", where="final", path=("accuracy_strict", "value"))
RESTATES = Measure(label="restating (training samples, last 5 steps)", where="last", path=("accuracy/restates",))

LENIENT = {"unfinished": "right", "restates": "right"}
#: No cub copies the question by itself: imitation gives it the habit that base models have.
HABIT = {"sft": {"data": "arithmetic-restating", "steps": 100, "batch_size": 64, "max_tokens": 256, "lr": 1e-3}}

RESTATING = Experiment(
    name="restating",
    question="Does a model learn to copy the question where the verifier computes what it copies?",
    claim="None: the paper's verifier counts a copied expression as right, as math-verify does.",
    figures=(
        "Gemma-3-270M, arithmetic of one step, lenient verifier: training accuracy 9.4, 46.4, 92.7, 99.0% in the first "
        "four steps, and 191 of 192 right answers of step 8 are the question itself."
    ),
    source="our own",
    remarks=(
        "A cub never boxes the question (0 of 1,824 samples), so that both variants begin from one that has imitated "
        "such answers for a hundred steps. The accuracy of the lenient variant "
        "is what its own verifier says; `finished answers right` is counted alike in both."
    ),
    overrides=merge(SHORT, {"steps": 15, "evaluation": {"every": 15, "size": 120}, "checkpoint": {"every": 15}}),
    variants=(
        Variant(label="ours", before=HABIT),
        Variant(label="lenient", overrides={"verifier": LENIENT}, before=HABIT, against="ours"),
    ),
    measures=(STRICT, ACCURACY, BASE, GAIN, RESTATES, LENGTH),
    panels=(
        Curve(metric="accuracy/mean", label="accuracy that is rewarded"),
        Curve(metric="accuracy/restates", label="answers copied from the question"),
        Bars(measure=STRICT),
    ),
)
