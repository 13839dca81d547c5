"""The figures of an evaluation, in training and of `simplerl eval`, each with a 95% interval over problems.

Responses that the verifier could not decide are counted by status and left out of every share of right answers. Every
figure is `{"value", "low", "high", "problems"}`: a bootstrap over problems, with the exact interval's other end where
every problem is 0 or every problem is 1, because such a bootstrap has no width.

Keywords and repetition are SimpleRL-Zoo's (arXiv 2503.18892), but not to the digit: complete words are counted ("await"
is not "wait"), in the text as it is, over all samples; and segments of a text with spaces are compared by their words,
where the original nearly always compares sets of letters, which any two long sentences share.
"""

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from simplerl.core.errors import ConfigError
from simplerl.core.types import TrajectoryGroup, VerdictStatus
from simplerl.ops.statistics import intervals, majority_at_k, pass_at_k, powers_up_to
from simplerl.runs.responses import Answer, answers_of, by_problem
from simplerl.runs.run import greedy_figures
from simplerl.verify import equal, extract

#: Label of the right answer in a vote; wrong answers are numbered from 1.
RIGHT = 0

#: Measures of the decided samples of one problem; the figure is their mean over problems. A stricter reading of a
#: verdict is a line here (`Answer.rule` says how the verifier decided) and one in docs/evaluation.md.
PER_PROBLEM: dict[str, Callable[[Sequence[Answer]], float]] = {
    "acc": lambda decided: sum(a.correct for a in decided) / len(decided),
    "acc_strict": lambda decided: sum(a.strictly_correct for a in decided) / len(decided),
    "any_correct": lambda decided: float(any(a.correct for a in decided)),
}

#: Measures of a single response: name → (what it counts, over which responses).
PER_RESPONSE: dict[str, tuple[Callable[[Answer], float], Callable[[Answer], bool]]] = {
    "tokens": (lambda a: a.tokens or 0, lambda a: a.tokens is not None),
    "correct_tokens": (lambda a: a.tokens or 0, lambda a: a.tokens is not None and a.correct),
    "wrong_tokens": (lambda a: a.tokens or 0, lambda a: a.tokens is not None and a.decided and not a.correct),
    "stop_tokens": (lambda a: a.tokens or 0, lambda a: a.tokens is not None and a.stop_reason in ("eos", "stop")),
    "clip_ratio": (lambda a: a.stop_reason == "length", lambda a: a.stop_reason is not None),
    "stop_ratio": (lambda a: a.stop_reason in ("eos", "stop"), lambda a: a.stop_reason is not None),
    "box_ratio": (lambda a: extract(a.response) is not None, lambda a: True),
    "boxed_acc": (lambda a: a.correct and extract(a.response) is not None, lambda a: a.decided),
    "answer_ratio": (lambda a: a.extracted is not None, lambda a: True),
    "repeat_ratio": (lambda a: repeats(a.response), lambda a: True),
    "tool_ratio": (lambda a: (a.calls or 0) > 0, lambda a: a.calls is not None),
    "keywords": (lambda a: keywords(a.response), lambda a: True),
}

#: What `acc` is given by, too: `by_level`, `by_kind`, and where problems come from several sources `by_source`.
PARTS = ("level", "kind", "source")

#: Every figure of its own; docs/evaluation.md says what each is.
NAMES = (*PER_PROBLEM, "pass@k", "maj@k", *PER_RESPONSE)

#: Figures that are not between 0 and 1.
COUNTS = frozenset({"tokens", "correct_tokens", "wrong_tokens", "stop_tokens", "keywords"})


def figures(answers: Sequence[Answer], *, ks: Sequence[int] = (), votes: bool = True) -> dict[str, Any]:
    """Return every figure of an evaluation. `ks` are the k of pass@k and maj@k; empty: powers of two up to n, and n.

    Without `votes` maj@k, which compares wrong answers with each other, is left out. Raises ConfigError where a k is
    larger than the number of samples.
    """
    problems = list(by_problem(answers).values())
    samples = max(map(len, problems))
    ks = tuple(ks) or powers_up_to(samples)
    check_ks(ks, samples)
    sums = [_of_problem(members, ks, votes=votes and samples > 1) for members in problems]
    names = list(dict.fromkeys(name for one in sums for name in one))
    by_name = intervals(sums, names, shares=[name for name in names if name not in COUNTS])
    nan = float("nan")
    figure = defaultdict[str, dict[str, Any]](lambda: {"value": nan, "low": nan, "high": nan, "problems": 0}, by_name)
    statuses = Counter(answer.status for answer in answers)
    parts = {part: sorted({getattr(members[0], part) for members in problems} - {""}) for part in PARTS}
    parts["source"] = parts["source"] if len(parts["source"]) > 1 else []
    return {
        "problems": len(problems),
        "samples": samples,
        **{name: figure[name] for name in PER_PROBLEM},
        "pass@k": {str(k): figure[f"pass@{k}"] for k in ks},
        "maj@k": {str(k): figure[f"maj@{k}"] for k in ks if votes and samples > 1},
        **{name: figure[name] for name in PER_RESPONSE},
        "verdicts": {status: statuses[status] for status in get_args(VerdictStatus)},
        **{f"by_{part}": {value: figure[f"{part}:{value}"] for value in values} for part, values in parts.items()},
    }


def check_ks(ks: Sequence[int], samples: int, name: str = "this evaluation") -> None:
    """Raise ConfigError where a k is larger than the number of samples."""
    for k in ks:
        if not 1 <= k <= samples:
            raise ConfigError(
                f"--k {k} needs at least {k} samples per problem, but {name} has {samples} (--samples, or NAME@N): "
                "pass@k is the chance that one of k samples is right, so it cannot be estimated from fewer"
            )


def _of_problem(members: Sequence[Answer], ks: Sequence[int], *, votes: bool) -> dict[str, tuple[float, float]]:
    """Return measure → (sum, count) of one problem; figures at k need as many decided samples."""
    decided = [answer for answer in members if answer.decided]
    shares: dict[str, float] = {}
    if decided:
        n, right = len(decided), sum(answer.correct for answer in decided)
        labels = vote_labels(decided) if votes else []
        shares |= {name: measure(decided) for name, measure in PER_PROBLEM.items()}
        shares |= {f"pass@{k}": pass_at_k(n, right, k) for k in ks if k <= n}
        shares |= {f"maj@{k}": majority_at_k(labels, RIGHT, k) for k in ks if k <= len(labels)}
        shares |= {f"{part}:{value}": shares["acc"] for part in PARTS if (value := getattr(members[0], part))}
    sums = {name: (value, 1.0) for name, value in shares.items()}
    for name, (measure, counts) in PER_RESPONSE.items():
        numbers = [float(measure(answer)) for answer in members if counts(answer)]
        sums[name] = (sum(numbers), float(len(numbers)))
    return sums


def vote_labels(members: Sequence[Answer]) -> list[int | None]:
    """Return a label for each decided sample's answer: equal answers share one, right answers are `RIGHT`.

    None where there is no answer. Wrong answers are compared with each other by the verifier.
    """
    labels: list[int | None] = []
    heads: list[str] = []
    by_text: dict[str, int] = {}
    for answer in members:
        if answer.decided and (answer.correct or answer.extracted is None):
            labels.append(RIGHT if answer.correct else None)
        elif answer.decided and answer.extracted is not None:
            text = answer.extracted.strip()
            if text not in by_text:
                same = next((label for label, head in enumerate(heads, 1) if equal(text, head)), 0)
                heads += [] if same else [text]
                by_text[text] = same or len(heads)
            labels.append(by_text[text])
    return labels


def evaluation_figures(groups: Sequence[TrajectoryGroup]) -> dict[str, Any]:
    """Return the figures of a held-out evaluation in training: all but maj@k, which costs more than it tells there."""
    return figures(answers_of(groups), votes=False)


def evaluation_metrics(figures: Mapping[str, Any]) -> dict[str, float]:
    """Return the few figures of an evaluation that belong on a step's metrics line."""
    greedy = greedy_figures(figures)
    return {
        "eval/accuracy": figures["acc"]["value"],
        "eval/accuracy_low": figures["acc"]["low"],
        "eval/accuracy_high": figures["acc"]["high"],
        "eval/accuracy_strict": figures["acc_strict"]["value"],
        "eval/pass_at_k": list(figures["pass@k"].values())[-1]["value"],
        "eval/length": figures["tokens"]["value"],
        "eval/clip_ratio": figures["clip_ratio"]["value"],
        "eval/boxed": figures["answer_ratio"]["value"],
        **({"eval/accuracy_greedy": greedy["acc"]["value"]} if greedy else {}),
        **({"eval/calling": figures["tool_ratio"]["value"]} if figures["tool_ratio"]["problems"] else {}),
        **{f"eval/accuracy/{source}": figure["value"] for source, figure in figures["by_source"].items()},
    }


#: arXiv 2503.18892, section on reflection.
KEYWORDS = ("recheck", "rethink", "try again", "wait", "alternatively", "retry", "however")
_KEYWORD = re.compile(r"\b(?:" + "|".join(word.replace(" ", r"\s+") for word in KEYWORDS) + r")\b", re.IGNORECASE)

#: Adjacent segments at least this alike are a repetition; shorter ones (characters) are not compared; words of a window
#: for text that repeats itself without a full stop.
JACCARD, SHORTEST, WINDOW = 0.85, 20, 10


def keywords(response: str) -> int:
    """Return how many reflection keywords stand in a response."""
    return len(_KEYWORD.findall(response))


def repeats(response: str) -> bool:
    """Return whether a response repeats itself: adjacent sentences, lines or windows of words that are nearly equal."""
    words = response.split()
    windows = [set(words[start : start + WINDOW]) for start in range(0, len(words) - WINDOW + 1, WINDOW)]
    cut = ([_units(s) for s in response.split(mark) if len(s.strip()) >= SHORTEST] for mark in ("\n", ".", "。"))
    return any(
        len(before & after) >= JACCARD * len(before | after) > 0
        for segments in (windows, *cut)
        for before, after in itertools.pairwise(segments)
    )


def _units(segment: str) -> set[str]:
    """Return the words of a text, or its characters where it has no spaces (Chinese)."""
    words = segment.split()
    return set(words) if len(words) > 1 else set(segment.strip())
