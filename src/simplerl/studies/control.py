"""The control: rewards shuffled among the responses of a step, so that there is nothing to learn."""

from simplerl.studies.common import ACCURACY, BASE, ENTROPY, GAIN, LENGTH, SHORT
from simplerl.studies.types import Bars, Curve, Experiment, Variant
from simplerl.train.resolve import merge

CONTROL = Experiment(
    name="control",
    question="Does a model gain when rewards are shuffled among the responses?",
    claim="None: the paper has no such control.",
    figures="It should gain nothing.",
    source="our own",
    remarks=(
        "The recipe's own 64 problems and learning rate, because what shuffled rewards cost is a random walk of the "
        "weights: it grows with the learning rate and the steps, and shrinks with the samples."
    ),
    overrides=merge(SHORT, {"steps": 30, "sampling": {"prompts_per_step": 64}, "optimizer": {"lr": 7e-4}}),
    variants=(
        Variant(label="true rewards"),
        Variant(label="shuffled rewards", overrides={"shuffle_rewards": True}, against="true rewards"),
    ),
    measures=(ACCURACY, BASE, GAIN, ENTROPY, LENGTH),
    panels=(
        Curve(metric="accuracy/mean", label="accuracy of training samples"),
        Bars(measure=ACCURACY),
        Bars(measure=GAIN),
    ),
)
