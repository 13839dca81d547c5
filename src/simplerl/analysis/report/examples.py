"""Responses before and after training, chosen by a rule that is written in the report, and not by hand.

A problem is right where at least half of its judged samples are. Before and after give four kinds; from each, problems
are drawn by the report's seed. Of a problem the first sample is shown whose verdict agrees with its side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simplerl.analysis.report.records import Run
from simplerl.analysis.report.responses import read_columns
from simplerl.core.errors import RunError
from simplerl.core.seeds import generator
from simplerl.core.types import UNDECIDED

#: Kind → (right before, right after, what it is called).
KINDS: dict[str, tuple[bool, bool, str]] = {
    "gained": (False, True, "Gained: wrong before, right after"),
    "lost": (True, False, "Lost: right before, wrong after"),
    "still wrong": (False, False, "Still wrong"),
    "both right": (True, True, "Right before and after"),
}

Row = Mapping[str, Any]

_LIGHT = ("problem_id", "sample", "verdict")
_FULL = (*_LIGHT, "level", "question", "answer", "response", "stop_reason", "extracted", "rule", "detail")


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    """One response of one side."""

    step: int
    sample: int
    right: int
    """Judged samples of the problem that are right."""
    judged: int
    text: str
    stop_reason: str
    verdict: str
    extracted: str | None
    reason: str
    """The verifier's rule and its line of explanation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One problem with a response of either side."""

    problem_id: str
    level: str
    question: str
    gold: str
    before: Response
    after: Response


@dataclass(frozen=True, kw_only=True, slots=True)
class Examples:
    """What was chosen from a run."""

    before_step: int
    after_step: int
    counts: Mapping[str, int]
    """Kind → problems of that kind."""
    chosen: Mapping[str, Sequence[Example]]
    left_out: int
    """Problems that only one side has, or that nobody could judge on one side."""


def choose(run: Run, *, number: int, seed: int) -> Examples | str:
    """Choose up to `number` problems of each kind; a sentence where that cannot be done."""
    readable = [e for e in run.evaluations if e.responses is not None]
    if len(readable) < 2:
        return "There are not two evaluations whose responses can be read."
    first, last = readable[0], readable[-1]
    try:
        light = [_by_problem(read_columns(e.responses, _LIGHT).to_pylist()) for e in (first, last)]
        sides = [{p: judged for p, rows in side.items() if (judged := _judged(rows))} for side in light]
        both = [p for p in sides[0] if p in sides[1]]
        kinds: dict[str, list[str]] = {kind: [] for kind in KINDS}
        for problem in both:
            kinds[_kind(sides[0][problem], sides[1][problem])].append(problem)
        drawn = {kind: _draw(problems, number, seed, kind) for kind, problems in kinds.items()}
        wanted = {p for problems in drawn.values() for p in problems}
        full = [_wanted_rows(e.responses, wanted) for e in (first, last)]
    except RunError as error:
        return str(error)
    return Examples(
        before_step=first.step,
        after_step=last.step,
        counts={kind: len(problems) for kind, problems in kinds.items()},
        chosen={
            kind: [_example(p, KINDS[kind][:2], full, (first.step, last.step)) for p in problems]
            for kind, problems in drawn.items()
        },
        left_out=len(light[0].keys() | light[1].keys()) - len(both),
    )


def _by_problem(rows: Sequence[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(str(row["problem_id"]), []).append(row)
    return groups


def _judged(rows: Sequence[Row]) -> list[bool]:
    """Return whether each judged sample is right."""
    return [row["verdict"] == "correct" for row in rows if row["verdict"] not in UNDECIDED]


def _mostly_right(judged: Sequence[bool]) -> bool:
    return 2 * sum(judged) >= len(judged)


def _kind(before: Sequence[bool], after: Sequence[bool]) -> str:
    sides = (_mostly_right(before), _mostly_right(after))
    return next(kind for kind, (*wanted, _) in KINDS.items() if tuple(wanted) == sides)


def _draw(problems: Sequence[str], number: int, seed: int, kind: str) -> list[str]:
    """Draw problems without replacement; the draw of one kind does not depend on the others."""
    ordered = sorted(problems)
    picked = generator(seed, "report-examples", kind).permutation(len(ordered))[:number]
    return [ordered[place] for place in picked]


def _wanted_rows(file: Any, wanted: set[str]) -> dict[str, list[Row]]:
    """Return the full rows of some problems, so that only their texts are held."""
    table = read_columns(file, _FULL)
    keep = [str(value) in wanted for value in table["problem_id"].to_pylist()]
    return _by_problem(table.filter(keep).to_pylist())


def _example(
    problem: str,
    right: Sequence[bool],
    sides: Sequence[Mapping[str, Sequence[Row]]],
    steps: Sequence[int],
) -> Example:
    before, after = (
        _response(side[problem], wanted, step) for side, wanted, step in zip(sides, right, steps, strict=True)
    )
    row = sides[1][problem][0]
    return Example(
        problem_id=problem,
        level=str(row["level"] or ""),
        question=str(row["question"] or ""),
        gold=str(row["answer"] or ""),
        before=before,
        after=after,
    )


def _response(rows: Sequence[Row], right: bool, step: int) -> Response:
    """Return the first sample whose verdict agrees with the side; there is one, because half or more of them do."""
    judged = _judged(rows)
    row = next(r for r in rows if r["verdict"] not in UNDECIDED and (r["verdict"] == "correct") == right)
    rule, detail = (str(row[name] or "") for name in ("rule", "detail"))
    return Response(
        step=step,
        sample=row["sample"],
        right=sum(judged),
        judged=len(judged),
        text=str(row["response"] or ""),
        stop_reason=str(row["stop_reason"] or "not recorded"),
        verdict=str(row["verdict"]),
        extracted=None if row["extracted"] is None else str(row["extracted"]),
        reason=": ".join(part for part in (rule, detail) if part) or "not recorded",
    )
