"""The temperature of sampling while training, judged at that temperature and at 1."""

from simplerl.analysis.seeds import Measure
from simplerl.studies.common import ACCURACY, ENTROPY, LENGTH, PAPER, SHORT, pass_at
from simplerl.studies.types import Bars, Curve, Experiment, Variant

OWN = Measure(label="accuracy after, at the training temperature", where="final", path=("further", 0, "acc", "value"))
OWN_BEFORE = Measure(
    label="accuracy before, at the training temperature", where="base", path=("further", 0, "acc", "value")
)


def _at(temperature: float) -> Variant:
    return Variant(
        label=f"{temperature:g}",
        overrides={
            "sampling": {"temperature": temperature},
            "evaluation": {"further_temperatures": [temperature]},
        },
        against="" if temperature == 1.0 else "1",
    )


TEMPERATURE = Experiment(
    name="temperature",
    question="At which temperature should the training samples be drawn?",
    claim="1.0 to 1.2 are best of 0.6, 0.8, 1.0 and 1.2; a model should be evaluated at its training temperature.",
    figures="No number to stand beside ours.",
    source=f"{PAPER}, finding 8",
    remarks="The first column is at temperature 1 for all, the second at each one's own.",
    overrides=SHORT,
    variants=tuple(_at(temperature) for temperature in (0.6, 0.8, 1.0, 1.2)),
    measures=(ACCURACY, OWN, OWN_BEFORE, pass_at(4), ENTROPY, LENGTH),
    panels=(
        Bars(measure=ACCURACY),
        Bars(measure=OWN),
        Curve(metric="policy/entropy", label="entropy (nats)", share=False),
    ),
)
