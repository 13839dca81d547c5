"""Results of `simplerl eval` in a report: one table, the curves of pass@k, and every model beside the first."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simplerl.analysis.compare import Side, compare
from simplerl.analysis.evaluations import averages, cell, rows
from simplerl.analysis.report.records import Estimate
from simplerl.analysis.report.summary import Change, change_of
from simplerl.errors import RunError
from simplerl.runs.results import RESPONSES, Result

#: Columns of the table of shapes: figure → (heading, whether it is a share).
SHAPES: dict[str, tuple[str, bool]] = {
    "acc_strict": ("right and finished (%)", True),
    "boxed_acc": ("right and boxed (%)", True),
    "any_correct": ("any sample right (%)", True),
    "clip_ratio": ("truncated (%)", True),
    "box_ratio": ("boxed (%)", True),
    "repeat_ratio": ("repeats itself (%)", True),
    "tokens": ("length (tokens)", False),
    "stop_tokens": ("stopped length (tokens)", False),
    "keywords": ("reflection words", False),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Beside:
    """One model beside the first on one benchmark."""

    benchmark: str
    first: str
    model: str
    change: Change | None
    why: str
    """Why there is no comparison; empty where there is one."""
    unfair: Sequence[str]
    """What differs beside the model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmarks:
    """Every evaluation that was given."""

    names: Sequence[str]
    """Benchmarks, in the order of columns."""
    table: Mapping[str, Mapping[str, Result]]
    """Row (a model under one protocol) → benchmark → result."""
    accuracies: Sequence[tuple[str, Sequence[str]]]
    """Row → cells, the last one the average."""
    shapes: Sequence[tuple[str, str, str, Sequence[str]]]
    """(row, benchmark, problems × samples, cells)."""
    beside: Sequence[Beside]


def read_benchmarks(results: Sequence[Result], *, progress: Callable[[str], None] = lambda _: None) -> Benchmarks:
    """Arrange results, and compare every row with the first, problem by problem."""
    table = rows(results)
    names = list(dict.fromkeys(name for row in table.values() for name in row))
    first, *others = table
    beside = []
    for other in others:
        for name in [name for name in names if name in table[first] and name in table[other]]:
            progress(f"comparing {other} with {first} on {name}")
            beside.append(_beside(name, first, other, table[first][name], table[other][name]))
    return Benchmarks(
        names=names,
        table=table,
        accuracies=[
            (
                model,
                [
                    *(cell(row[name].figures["acc"] if name in row else None) for name in names),
                    cell(averages(row)["acc"]),
                ],
            )
            for model, row in table.items()
        ],
        shapes=[
            (
                model,
                name,
                f"{result.figures['problems']} × {result.figures['samples']}",
                [cell(result.figures.get(shape), percent=share) for shape, (_, share) in SHAPES.items()],
            )
            for model, row in table.items()
            for name, result in row.items()
        ],
        beside=beside,
    )


def _beside(benchmark: str, first: str, other: str, before: Result, after: Result) -> Beside:
    try:
        found = compare(*(_side(label, result) for label, result in ((first, before), (other, after))))
    except RunError as error:
        return Beside(benchmark=benchmark, first=first, model=other, change=None, why=str(error), unfair=())
    return Beside(
        benchmark=benchmark,
        first=first,
        model=other,
        change=change_of(found),
        why="",
        unfair=tuple(found["unfair"]),
    )


def _side(label: str, result: Result) -> Side:
    return Side(label=label, benchmark=result.benchmark, responses=result.path / RESPONSES, protocol=result.protocol)


def estimate(figure: Any) -> Estimate:
    """Return a figure of a result; no value where it has none."""
    found = {end: figure.get(end) for end in ("value", "low", "high")} if isinstance(figure, dict) else {}
    return Estimate(**{end: float(value) for end, value in found.items() if isinstance(value, int | float)})
