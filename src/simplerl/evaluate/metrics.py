"""The figures of an evaluation, made from its judged responses, each with a 95% bootstrap interval over problems.

Responses that the verifier could not decide are counted by status and left out of every share of right answers.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np

from simplerl.errors import ConfigError
from simplerl.evaluate.wording import keywords, repeats
from simplerl.ops.statistics import majority_at_k, pass_at_k, powers_up_to, ratio_figures
from simplerl.runs.answers import Answer, by_problem
from simplerl.types import VerdictStatus
from simplerl.verify import equal, extract

#: Label of the right answer in a vote; wrong answers are numbered from 1.
RIGHT = 0

#: Measures of a single response: name → (what it counts, over which responses).
PER_RESPONSE: dict[str, tuple[Callable[[Answer], float], Callable[[Answer], bool]]] = {
    "tokens": (lambda a: a.tokens, lambda a: a.tokens is not None),
    "correct_tokens": (lambda a: a.tokens, lambda a: a.tokens is not None and a.correct),
    "wrong_tokens": (lambda a: a.tokens, lambda a: a.tokens is not None and a.decided and not a.correct),
    "stop_tokens": (lambda a: a.tokens, lambda a: a.tokens is not None and a.stop_reason in ("eos", "stop")),
    "clip_ratio": (lambda a: a.stop_reason == "length", lambda a: a.stop_reason is not None),
    "stop_ratio": (lambda a: a.stop_reason in ("eos", "stop"), lambda a: a.stop_reason is not None),
    "box_ratio": (lambda a: extract(a.response) is not None, lambda a: True),
    "boxed_acc": (lambda a: a.correct and extract(a.response) is not None, lambda a: a.decided),
    "answer_ratio": (lambda a: a.extracted is not None, lambda a: True),
    "repeat_ratio": (lambda a: repeats(a.response), lambda a: True),
    "keywords": (lambda a: keywords(a.response), lambda a: True),
}

#: Figures between 0 and 1.
SHARES = frozenset({"clip_ratio", "stop_ratio", "box_ratio", "boxed_acc", "answer_ratio", "repeat_ratio"})

#: What each figure is; docs/evaluation.md has a line for each.
MEANING: dict[str, str] = {
    "acc": "mean over problems of the share of right samples (avg@n); an unfinished answer of the right value is right",
    "acc_strict": "the same without answers that leave computing to the reader (rule `unfinished`)",
    "any_correct": "share of problems with at least one right sample (pass_acc)",
    "pass@k": "probability that at least one of k samples is right, unbiased (arXiv 2107.03374)",
    "maj@k": "probability that the most frequent answer of k samples is right (arXiv 2203.11171)",
    "tokens": "mean length of a response (tokens)",
    "correct_tokens": "mean length of the right responses",
    "wrong_tokens": "mean length of the wrong responses",
    "stop_tokens": "average stopped length: mean length of the responses that ended by themselves",
    "clip_ratio": "share of responses truncated at the token limit",
    "stop_ratio": "share of responses that ended by themselves",
    "box_ratio": "share of responses with a closed, non-empty box",
    "boxed_acc": "share of responses that are right and boxed: what the reward in training sees",
    "answer_ratio": "share of responses in which an answer was found",
    "repeat_ratio": "share of responses that repeat themselves (adjacent segments with Jaccard of at least 0.85)",
    "keywords": "mean number of reflection keywords in a response",
}


def figures(answers: Sequence[Answer], *, ks: Sequence[int] = ()) -> dict[str, Any]:
    """Return every figure of an evaluation. `ks` are the k of pass@k and maj@k; empty: powers of two up to n, and n.

    Raises ConfigError where a k is larger than the number of samples.
    """
    problems = list(by_problem(answers).values())
    samples = max(map(len, problems))
    ks = tuple(ks) or powers_up_to(samples)
    for k in ks:
        if not 1 <= k <= samples:
            raise ConfigError(
                f"pass@{k} cannot be estimated from {samples} samples per problem: k must be between 1 and the number "
                f"of samples. Draw more (--samples {max(k, 1)}) or ask for smaller k (--k)"
            )
    statuses = Counter(answer.status for answer in answers)
    labels = [vote_labels(members) for members in problems] if samples > 1 else []
    found: dict[str, Any] = {
        "problems": len(problems),
        "samples": samples,
        "acc": _share(problems, _accuracy),
        "acc_strict": _share(problems, _strict_accuracy),
        "any_correct": _share(problems, _any_correct),
        "pass@k": {str(k): _share(problems, lambda members, k=k: _pass_at(members, k)) for k in ks},
        "maj@k": {
            str(k): _share(labels, lambda votes, k=k: majority_at_k(votes, RIGHT, k) if len(votes) >= k else None)
            for k in ks
            if samples > 1
        },
        **_per_response(problems),
        "verdicts": {status: statuses[status] for status in get_args(VerdictStatus)},
    }
    for name in ("level", "kind"):
        values = sorted({getattr(members[0], name) for members in problems} - {""})
        found[f"by_{name}"] = {
            value: _share([m for m in problems if getattr(m[0], name) == value], _accuracy) for value in values
        }
    return found


def vote_labels(members: Sequence[Answer]) -> list[int | None]:
    """Return a label for each decided sample's answer: equal answers share one, right answers are `RIGHT`.

    None where there is no answer. Wrong answers are compared with each other by the verifier.
    """
    labels: list[int | None] = []
    heads: list[str] = []
    by_text: dict[str, int] = {}
    for answer in members:
        if not answer.decided:
            continue
        if answer.correct or answer.extracted is None:
            labels.append(RIGHT if answer.correct else None)
            continue
        text = answer.extracted.strip()
        if text not in by_text:
            same = next((place for place, head in enumerate(heads, 1) if equal(text, head)), 0)
            if not same:
                heads.append(text)
            by_text[text] = same or len(heads)
        labels.append(by_text[text])
    return labels


def _accuracy(members: Sequence[Answer]) -> float | None:
    decided = [a.correct for a in members if a.decided]
    return sum(decided) / len(decided) if decided else None


def _strict_accuracy(members: Sequence[Answer]) -> float | None:
    decided = [a.strictly_correct for a in members if a.decided]
    return sum(decided) / len(decided) if decided else None


def _any_correct(members: Sequence[Answer]) -> float | None:
    decided = [a.correct for a in members if a.decided]
    return float(any(decided)) if decided else None


def _pass_at(members: Sequence[Answer], k: int) -> float | None:
    decided = [a.correct for a in members if a.decided]
    return pass_at_k(len(decided), sum(decided), k) if len(decided) >= k else None


def _share(problems: Sequence[Any], measure: Callable[[Any], float | None]) -> dict[str, Any]:
    """Return the mean over problems of a measure, with its interval; problems without one are left out."""
    values = [value for value in map(measure, problems) if value is not None]
    if not values:
        return {"value": float("nan"), "low": float("nan"), "high": float("nan"), "problems": 0}
    above_P1 = np.array(values, dtype=float)[:, None]
    return ratio_figures(above_P1, np.ones_like(above_P1), ["share"], shares={"share"})["share"]


def _per_response(problems: Sequence[Sequence[Answer]]) -> dict[str, Any]:
    """Return the means over responses, with intervals over problems."""
    above_PM, below_PM = np.zeros((2, len(problems), len(PER_RESPONSE)))
    for p, members in enumerate(problems):
        for m, (measure, counts) in enumerate(PER_RESPONSE.values()):
            values = [float(measure(answer)) for answer in members if counts(answer)]
            above_PM[p, m], below_PM[p, m] = sum(values), len(values)
    return ratio_figures(above_PM, below_PM, list(PER_RESPONSE), shares=SHARES)
