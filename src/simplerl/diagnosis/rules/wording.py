"""Rules about what the responses say: they read texts, of some steps only."""

from collections.abc import Callable, Mapping

from simplerl.diagnosis.history import History
from simplerl.diagnosis.rules.words import percent
from simplerl.diagnosis.types import Rule, Seen, Threshold

NO_RESPONSES = "no responses could be read"


def _seen(history: History, name: str, what: str, *, serious: bool) -> Seen:
    series = history.series(name)
    return Seen(
        text=f"{percent(series.recent)} of the responses {what} ({series.recent_steps}); at first "
        f"{percent(series.early)} ({series.early_steps})",
        figures={"share": series.recent, "early_share": series.early},
        serious=serious,
        examples=history.shown(name),
    )


def _share(name: str, what: str) -> Callable[[History, Mapping[str, float]], Seen | None]:
    """Return a check of a trait that base models may have and RL should drive out."""

    def check(history: History, t: Mapping[str, float]) -> Seen | None:
        series = history.series(name)
        # The newest look must agree, and what has fallen to half is on its way out.
        if min(series.recent, series.last) < t["share"] or (len(series.values) > 1 and series.last < series.early / 2):
            return None
        return _seen(history, name, what, serious=series.recent >= t["serious"])

    return check


def _bare(history: History, t: Mapping[str, float]) -> Seen | None:
    series = history.series("text/bare_box")
    if min(series.recent, series.last) < t["share"]:
        return None
    rose = len(series.values) > 1 and series.recent - series.early >= t["rise"]
    stayed = (history.kind == "evaluation" or series.steps[-1] >= t["after"]) and series.recent >= t["stayed"]
    if not rose and not stayed:
        return None
    return _seen(history, "text/bare_box", "box an answer without working", serious=False)


def _restating(history: History, t: Mapping[str, float]) -> Seen | None:
    series = history.series("text/restating")
    if min(series.recent, series.last) < t["share"]:
        return None
    return Seen(
        text=f"{percent(series.recent)} of the answers of the right value restate the question or leave computing to "
        f"the reader ({series.recent_steps}); at first {percent(series.early)} ({series.early_steps})",
        figures={"share": series.recent, "early_share": series.early},
        serious=series.recent >= t["serious"],
        examples=history.shown("text/restating"),
    )


def _paid_by_length(history: History, t: Mapping[str, float]) -> Seen | None:
    for name, words, least in (
        ("text/reward_length_same_verdict", "of responses to one problem with the same verdict", t["same_verdict"]),
        ("text/reward_length", "of responses to one problem", t["correlation"]),
    ):
        series, errors = history.aligned(name, f"{name}_error")
        if not len(series.values):
            continue
        # Looks are independent: the error of their mean.
        r, width = series.recent, 1.96 * float((errors.values[-errors.width :] ** 2).sum()) ** 0.5 / errors.width
        if abs(r) - width < least:
            continue
        return Seen(
            text=f"the correlation between length and reward {words} is {r:+.2f} "
            f"[{max(-1, r - width):+.2f}, {min(1, r + width):+.2f}] ({series.recent_steps}): "
            + ("longer" if r > 0 else "shorter")
            + " ones are paid better",
            figures={"correlation": r, "half_width": width},
        )
    return None


def _bounds(share: float, serious: float, what: str) -> tuple[Threshold, ...]:
    return (
        Threshold(name="share", default=share, unit="share", meaning=f"responses that {what}, over up to 3 looks"),
        Threshold(name="serious", default=serious, unit="share", meaning="the same, where it is serious"),
    )


WORDING = [
    Rule(
        name="repetition",
        title="Responses go round in circles",
        why="Repetition is the usual end of a broken policy, and of a model that does not know how to stop.",
        advice="Read the examples. If it came with training: lower `optimizer.lr`, go back to a checkpoint. If it was "
        "so from the start: stop strings (`sampling.stop`), another `template`, `sampling.temperature` of 1.0.",
        needs=("text/repetition",),
        check=_share("text/repetition", "repeat themselves"),
        least=2,
        absent=NO_RESPONSES,
        thresholds=_bounds(0.1, 0.3, "repeat themselves"),
    ),
    Rule(
        name="language-switch",
        title="Responses change to another language",
        why="A response in another script than its question is hard to read and to judge; the reward does not mind, so "
        "that it can spread.",
        advice="Ask for the language in the prompt (`template`, `prompt.system`), keep near the base model "
        "(`algorithm.kl_coef`), lower `optimizer.lr`.",
        needs=("text/language",),
        check=_share("text/language", "are partly in another script than the question"),
        least=2,
        absent=NO_RESPONSES,
        thresholds=_bounds(0.05, 0.3, "are partly in another script"),
    ),
    Rule(
        name="bare-box",
        title="Answers are boxed without working",
        why="The model guesses. Where that is paid it will not learn to reason, and length and accuracy stay low.",
        advice="Harder problems, whose answers cannot be guessed (`dataset.levels`); a `template` that asks for steps "
        "(`simplerl preflight`); golds that are not multiple choice; no cost of length (`reward.name`).",
        needs=("text/bare_box",),
        check=_bare,
        least=2,
        absent=NO_RESPONSES,
        thresholds=(
            Threshold(name="share", default=0.2, unit="share", meaning="responses that do so, over up to 3 looks"),
            Threshold(name="rise", default=0.15, unit="share", meaning="rise since the first looks"),
            Threshold(name="stayed", default=0.5, unit="share", meaning="share that is too high even without a rise"),
            Threshold(name="after", default=20, unit="steps", meaning="steps after which `stayed` counts"),
        ),
    ),
    Rule(
        name="several-boxes",
        title="Responses box several different answers",
        why="A model that offers several answers bets on one of them being looked at; the verifier takes the last.",
        advice="Read the examples: does the question ask for several values? Else lower `optimizer.lr`, or let a stop "
        "string end the response after its answer (`sampling.stop`).",
        needs=("text/several_boxes",),
        check=_share("text/several_boxes", "box different answers"),
        least=2,
        absent=NO_RESPONSES,
        thresholds=_bounds(0.2, 0.5, "box different answers"),
    ),
    Rule(
        name="restating",
        title="Answers restate the question",
        why="Copying the question's expression into the answer is the shortest way to a verifier that computes it: "
        "where it is paid, accuracy rises to 100% in a few steps and nothing has been learned.",
        advice="Pay finished answers only (`verifier.restates` and `verifier.unfinished`: wrong), and look at "
        "`accuracy/restates`; `simplerl eval` shows the strict accuracy beside the lenient one. Where they are refused "
        "already, the base model's habit goes by itself.",
        needs=("text/restating",),
        check=_restating,
        least=2,
        absent="no response has the right value, or the record does not name the verifier's rules",
        thresholds=(
            Threshold(
                name="share",
                default=0.2,
                unit="share",
                meaning="answers that do so, of those of the right value, over up to 3 looks",
            ),
            Threshold(name="serious", default=0.5, unit="share", meaning="the same, where it is serious"),
        ),
    ),
    Rule(
        name="code",
        title="Responses are program code instead of reasoning",
        why="Nothing runs the code: its result is guessed. Base models of mathematics do this when the prompt does not "
        "suit them.",
        advice="Try another `template` (`simplerl preflight` compares them), or ask for steps in words "
        "(`prompt.system`).",
        needs=("text/code",),
        check=_share("text/code", "hold program code"),
        least=2,
        absent=NO_RESPONSES,
        thresholds=_bounds(0.2, 0.5, "hold program code"),
    ),
    Rule(
        name="reward-length",
        title="The reward goes with length",
        why="Where length decides the reward, length is what is learned. Among responses of the same verdict no reward "
        "should hang on it, unless that is wanted.",
        advice="Look at what the reward pays (`reward.name`, columns `reward` and `reward_parts`). If shorter ones win "
        "because long ones are truncated, raise `sampling.max_new_tokens`. A loss that does not weigh by length: "
        "`algorithm.name` = dr_grpo.",
        needs=("text/reward_length", "text/reward_length_error"),
        check=_paid_by_length,
        least=2,
        absent="no reward and length of responses could be read, or they do not vary",
        thresholds=(
            Threshold(
                name="correlation",
                default=0.5,
                unit="correlation",
                meaning="within problems, by which the 95% interval must lie off 0",
            ),
            Threshold(
                name="same_verdict",
                default=0.2,
                unit="correlation",
                meaning="the same within problem and verdict; a reward that is the verdict alone has none",
            ),
        ),
    ),
]
