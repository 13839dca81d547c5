"""Rules about whether the problems fit the model, and whether their answers can be judged."""

from collections.abc import Mapping

from simplerl.doctor.history import History
from simplerl.doctor.rules.words import percent, ratio
from simplerl.doctor.types import Rule, Seen, Threshold

#: How responses are counted, by verdict.
VERDICTS = tuple(f"verdict/{name}" for name in ("correct", "wrong", "no_answer", "unjudgeable", "timeout", "error"))


def _easy(history: History, t: Mapping[str, float]) -> Seen | None:
    right = history.series("groups/all_right")
    if right.recent < t["share"]:
        return None
    return Seen(
        text=f"{percent(right.recent)} of the problems had all their samples right ({right.recent_steps}); at first "
        f"{percent(right.early)} ({right.early_steps})",
        figures={"all_right": right.recent, "early_all_right": right.early},
        serious=right.recent >= t["serious"],
    )


def _hard(history: History, t: Mapping[str, float]) -> Seen | None:
    """All-wrong groups say that problems are too hard only where the policy has not broken down meanwhile."""
    wrong, accuracy = history.aligned("groups/all_wrong", "accuracy/mean")
    if not len(wrong.values) or wrong.recent < t["share"] or accuracy.recent < 0.5 * accuracy.windows.max():
        return None
    return Seen(
        text=f"{percent(wrong.recent)} of the problems had all their samples wrong ({wrong.recent_steps}); at first "
        f"{percent(wrong.early)} ({wrong.early_steps})",
        figures={"all_wrong": wrong.recent, "early_all_wrong": wrong.early},
        serious=wrong.recent >= t["serious"],
    )


def _idle(history: History, t: Mapping[str, float]) -> Seen | None:
    updates = history.series("optimizer/updates")
    last = updates.values[-updates.width :]
    without = float((last == 0).mean())
    if without < t["share"] or (last == 0).sum() < 2:
        return None
    return Seen(
        text=f"in {int((last == 0).sum())} of {len(last)} steps nothing carried gradient and no update was made "
        f"({updates.recent_steps})",
        figures={"steps_without_update": without},
        serious=without >= 0.9,
    )


def _share_of(history: History, status: str) -> tuple[float, float, str] | None:
    """Return (recent share, early share, recent steps) of a verdict among all; None where no step has all counts."""
    series = dict(zip(VERDICTS, history.aligned(*VERDICTS), strict=True))
    wanted = series[f"verdict/{status}"]
    if not len(wanted.values):
        return None
    recent = ratio(wanted.recent, sum(s.recent for s in series.values()))
    early = ratio(wanted.early, sum(s.early for s in series.values()))
    return recent, early, wanted.recent_steps


def _verdicts(status: str, words: str):
    def check(history: History, t: Mapping[str, float]) -> Seen | None:
        shares = _share_of(history, status)
        if shares is None or shares[0] < t["share"]:
            return None
        recent, early, steps = shares
        return Seen(
            text=f"{percent(recent)} of the responses {words} ({steps}); at first {percent(early)}",
            figures={"share": recent, "early_share": early},
            serious=recent >= t["serious"],
        )

    return check


def _no_answer(history: History, t: Mapping[str, float]) -> Seen | None:
    count = len(history.series("verdict/no_answer").values)
    shares = _share_of(history, "no_answer")
    if shares is None or count < t["after"] or shares[0] < t["share"]:
        return None
    recent, early, steps = shares
    clip = history.series("length/clip_ratio")
    cut = f"; {percent(clip.recent)} were truncated" if len(clip.values) else ""
    return Seen(
        text=f"{percent(recent)} of the responses have no final answer in the wanted form ({steps}); at first "
        f"{percent(early)}{cut}",
        figures={"no_answer": recent, "early_no_answer": early},
    )


def _bounds(share: float, serious: float, what: str) -> tuple[Threshold, ...]:
    return (
        Threshold(name="share", default=share, unit="share", meaning=f"{what} over a window"),
        Threshold(name="serious", default=serious, unit="share", meaning=f"{what} that make it serious"),
    )


DATA = [
    Rule(
        name="data-too-easy",
        title="Most problems are solved by every sample",
        why="Where all samples are right there is nothing to compare: such groups carry no gradient, and their "
        "sampling is paid for nothing.",
        advice="Stop here, or go on with harder problems (`dataset.levels`, `simplerl data tiers`, "
        "`simplerl data difficulty`), or replace such groups (`algorithm.name` = dapo with dynamic sampling).",
        needs=("groups/all_right",),
        check=_easy,
        thresholds=_bounds(0.8, 0.95, "problems with all samples right"),
    ),
    Rule(
        name="data-too-hard",
        title="Most problems are solved by no sample",
        why="Where all samples are wrong there is nothing to compare: such groups carry no gradient. SimpleRL-Zoo "
        "found that data beyond a model's ability makes its training collapse.",
        advice="Use easier problems (`dataset.levels`; `simplerl preflight` says which tier fits), more samples "
        "(`sampling.samples_per_prompt`), more tokens where many are truncated (`sampling.max_new_tokens`), or "
        "check that the answers are found and judged (`verifier.policy`, `simplerl audit`).",
        needs=("groups/all_wrong", "accuracy/mean"),
        check=_hard,
        thresholds=_bounds(0.6, 0.9, "problems with all samples wrong"),
    ),
    Rule(
        name="no-gradient",
        title="Steps without an update",
        why="All rewards of every group were equal: the step was sampled, judged and thrown away.",
        advice="See data-too-easy and data-too-hard. More problems a step (`sampling.prompts_per_step`) or samples "
        "(`sampling.samples_per_prompt`) make it rarer.",
        needs=("optimizer/updates",),
        check=_idle,
        thresholds=(Threshold(name="share", default=0.3, unit="share", meaning="steps of a window without update"),),
    ),
    Rule(
        name="verifier-timeouts",
        title="The verifier runs out of time",
        why="Judgements that were killed are left out of the update; if it is always one kind of answer, the model "
        "learns nothing about it, and each costs its whole time.",
        advice="Look at rows with verdict `timeout` in trajectories/: are they real answers or garbage? Raise "
        "`verifier.timeout_s`, or use more `verifier.workers` on a loaded machine.",
        needs=VERDICTS,
        check=_verdicts("timeout", "timed out in the verifier"),
        thresholds=_bounds(0.01, 0.1, "time-outs among responses"),
    ),
    Rule(
        name="verifier-errors",
        title="The verifier crashes",
        why="A crash is a bug, not a verdict: those responses are left out of the update.",
        advice="Look at rows with verdict `error` and their `detail` in trajectories/, judge one with "
        "`simplerl verify`, and report it.",
        needs=VERDICTS,
        check=_verdicts("error", "crashed the verifier"),
        thresholds=_bounds(0.002, 0.05, "errors among responses"),
    ),
    Rule(
        name="unjudgeable",
        title="Answers that cannot be judged",
        why="They are left out of the update. Usually it is the gold answers: such problems teach nothing, ever.",
        advice="`simplerl audit` names golds that cannot be judged; `simplerl data filter` leaves them out (`data`).",
        needs=VERDICTS,
        check=_verdicts("unjudgeable", "could not be judged"),
        thresholds=_bounds(0.02, 0.2, "unjudgeable responses"),
    ),
    Rule(
        name="no-answer",
        title="Many responses have no final answer",
        why="What has no answer in the wanted form counts as wrong, whatever it says.",
        advice="See whether `template` asks for the form that `verifier.policy` looks for (`simplerl preflight`); give "
        "truncated responses more room (`sampling.max_new_tokens`).",
        needs=VERDICTS,
        check=_no_answer,
        thresholds=(
            Threshold(name="after", default=20, unit="steps", meaning="steps in which the form may be learned"),
            Threshold(name="share", default=0.3, unit="share", meaning="responses without an answer over a window"),
        ),
    ),
]
