"""pass@k before and after: does RL teach, or does it only make the likely answers likelier?"""

from simplerl.analysis.seeds import Measure
from simplerl.models.cub import NAMES
from simplerl.studies.common import PAPER, SHORT, pass_at
from simplerl.studies.types import Bars, Experiment, PassAtK, Variant
from simplerl.train.resolve import merge

GAIN_AT_64 = Measure(label="gain of pass@64", where="gain", path=("pass@k", "64", "value"))

PASS_AT_K = Experiment(
    name="pass-at-k",
    question="Does pass@k rise with RL at large k too, or only pass@1?",
    claim="pass@k rises with RL too, so it does more than re-rank what the base model samples.",
    figures="Mistral-Small-24B, k up to 256: 13 to 30 points above its base.",
    source=f"{PAPER}, finding 3",
    remarks=(
        "A cub's answers are whole numbers from 0 to 99, so that 64 guesses find many of them: the base's pass@64 is "
        "near its ceiling by luck, which it is not in a real model."
    ),
    overrides=merge(SHORT, {"evaluation": {"size": 100, "samples": 64, "every": 0}}),
    variants=tuple(Variant(label=name, overrides={"model": name}) for name in NAMES),
    measures=(
        *(pass_at(k, before=before) for k in (1, 8, 64) for before in (True, False)),
        GAIN_AT_64,
    ),
    panels=(PassAtK(), Bars(measure=GAIN_AT_64)),
)
