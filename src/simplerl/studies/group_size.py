"""Group size at equal numbers of sampled responses: few problems often, or many problems seldom?"""

from simplerl.studies.common import ACCURACY, BASE, ENTROPY, MIXED, PAPER, SHORT, USEFUL, pass_at
from simplerl.studies.types import Bars, Curve, Experiment, Variant

#: Responses per step, whatever the group.
RESPONSES = 256


def _group(size: int) -> Variant:
    sampling = {"prompts_per_step": RESPONSES // size, "samples_per_prompt": size}
    # A group of one has nothing to be compared with: its baseline has to come from the batch.
    other = {"algorithm": {"name": "reinforce_pp"}} if size == 1 else {}
    label = f"{size} (reinforce_pp)" if size == 1 else str(size)
    return Variant(label=label, overrides={"sampling": sampling, **other}, against="" if size == 8 else "8")


GROUP_SIZE = Experiment(
    name="group-size",
    question="How many samples of a problem should a group hold?",
    claim="32 samples are better than 8; 1 and 4 are unstable.",
    figures="No number to stand beside ours.",
    source=f"{PAPER}, finding 7",
    remarks=(
        f"Every step samples {RESPONSES} responses, so a larger group sees fewer problems. GRPO with one sample has no "
        "signal by construction (the original falls back to the bare reward there), so 1 is run with REINFORCE++, "
        "whose baseline is the batch: not the same algorithm."
    ),
    overrides=SHORT,
    variants=tuple(_group(size) for size in (1, 4, 8, 16, 32)),
    measures=(ACCURACY, BASE, pass_at(4), ENTROPY, MIXED, USEFUL),
    panels=(
        Curve(metric="accuracy/mean", label="accuracy of training samples"),
        Bars(measure=ACCURACY),
        Bars(measure=MIXED),
    ),
)
