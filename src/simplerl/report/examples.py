"""Responses before and after training, chosen by a rule that is written in the report, and not by hand.

A problem is right where at least half of its judged samples are. Before and after give four kinds; from each, problems
are drawn by the report's seed. Of a problem the first sample is shown whose verdict agrees with its side.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from simplerl.core.errors import RunError
from simplerl.core.seeds import generator
from simplerl.core.types import UNDECIDED
from simplerl.report.reading import Evaluated, ReportedRun

#: Kind → (right before, right after, what it is called).
KINDS: dict[str, tuple[bool, bool, str]] = {
    "gained": (False, True, "Gained: wrong before, right after"),
    "lost": (True, False, "Lost: right before, wrong after"),
    "still wrong": (False, False, "Still wrong"),
    "both right": (True, True, "Right before and after"),
}

Row = Mapping[str, Any]

_TEXTS = ("level", "question", "answer", "response", "stop_reason", "extracted", "rule", "detail")


class Examples(NamedTuple):
    """What was chosen from a run."""

    before_step: int
    after_step: int
    counts: Mapping[str, int]  # Kind → problems of that kind
    chosen: Mapping[str, Sequence[tuple[Row, Row]]]
    """Kind → problems, each with a response before and one after: rows of the records, with their `step`, and of the
    problem how many samples were `judged` and are `right`."""
    left_out: int  # Problems that only one side has, or that nobody could judge on one side


def choose(run: ReportedRun, *, number: int, seed: int) -> Examples:
    """Choose up to `number` problems of each kind. Raises RunError where that cannot be done."""
    if len(run.readable) < 2:
        raise RunError("There are not two evaluations whose responses can be read.")
    sides = (run.readable[0], run.readable[-1])
    texts = [_rows(side) for side in sides]
    before, after = ({problem: _judged(rows) for problem, rows in own.items()} for own in texts)
    both = [p for p in before if before[p] and after.get(p)]
    kinds: dict[tuple[bool, ...], list[str]] = defaultdict(list)
    for problem in both:
        kinds[tuple(2 * sum(side[problem]) >= len(side[problem]) for side in (before, after))].append(problem)
    drawn = {kind: _draw(kinds[right[:2]], number, seed, kind) for kind, right in KINDS.items()}

    def example(problem: str, kind: str) -> tuple[Row, Row]:
        columns = zip(texts, KINDS[kind][:2], sides, strict=True)
        before, after = (_response(rows[problem], right, side.step) for rows, right, side in columns)
        return before, after

    return Examples(
        before_step=sides[0].step,
        after_step=sides[1].step,
        counts={kind: len(kinds[right[:2]]) for kind, right in KINDS.items()},
        chosen={kind: [example(problem, kind) for problem in problems] for kind, problems in drawn.items()},
        left_out=len(before.keys() | after.keys()) - len(both),
    )


def _rows(side: Evaluated) -> dict[str, list[Row]]:
    """Return problem → its rows."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in side.source.responses(["problem_id", "sample", "verdict", *_TEXTS]).to_pylist():
        groups[row["problem_id"]].append(row)
    return groups


def _judged(rows: Sequence[Row]) -> list[bool]:
    """Return whether each judged sample is right."""
    return [row["verdict"] == "correct" for row in rows if row["verdict"] not in UNDECIDED]


def _draw(problems: Sequence[str], number: int, seed: int, kind: str) -> list[str]:
    """Draw problems without replacement; the draw of one kind does not depend on the others."""
    ordered = sorted(problems)
    return [ordered[i] for i in generator(seed, "report-examples", kind).permutation(len(ordered))[:number]]


def _response(rows: Sequence[Row], right: bool, step: int) -> Row:
    """Return the first sample whose verdict agrees with the side; there is one, because half or more of them do."""
    judged = _judged(rows)
    row = next(r for r in rows if r["verdict"] not in UNDECIDED and (r["verdict"] == "correct") == right)
    return {**row, "step": step, "right": sum(judged), "judged": len(judged)}
