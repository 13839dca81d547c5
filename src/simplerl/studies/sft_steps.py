"""How many steps of fine-tuning on short solutions before RL: does imitation first help or hurt the end?"""

from simplerl.studies.common import ACCURACY, BASE, ENTROPY, LENGTH, PAPER, SHORT, pass_at
from simplerl.studies.types import Bars, Curve, Experiment, Variant


def _after(steps: int) -> Variant:
    """Return RL after so many steps of imitation; the steps stand in the label alone where there are none."""
    sft = {"data": "arithmetic-short", "steps": steps, "batch_size": 64, "max_tokens": 256, "lr": 1e-3}
    return Variant(label=str(steps), before={"sft": sft} if steps else {}, against="0" if steps else "")


SFT_STEPS = Experiment(
    name="sft-steps",
    question="How many steps of fine-tuning on short solutions should come before RL?",
    claim="The more short-CoT fine-tuning comes before RL, the worse RL ends.",
    figures=("Best average after 0/10/20/200/1000/2000/4000 steps: 49.6/48.2/44.6/38.9/34.4/33.5/34.0."),
    source=f"{PAPER}, finding 6",
    remarks=(
        "The short solutions of a cub are the right working without a check, which is all that its task needs. "
        '"Before" is the model that RL begins from.'
    ),
    overrides=SHORT,
    variants=tuple(_after(steps) for steps in (0, 5, 20, 80)),
    measures=(ACCURACY, BASE, pass_at(4), pass_at(4, before=True), ENTROPY, LENGTH),
    panels=(
        Curve(metric="eval/accuracy", label="held-out accuracy", block=1),
        Bars(measure=ACCURACY),
        Curve(metric="policy/entropy", label="entropy (nats)", share=False),
    ),
)
