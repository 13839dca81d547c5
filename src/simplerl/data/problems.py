"""Turn rows into problems: GSM8K-style, MATH-style, plain (question, answer) fields and SimpleRL-Zoo's Parquet files.

What the fields mean is in `fields.py`. A row that cannot be read is an error that names its place, with one exception:
a row of a published file (`reward_model`) whose ground truth is empty is left out and listed, because such files are
read as they are.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from simplerl.core.errors import DataError
from simplerl.core.types import Problem
from simplerl.data import fields as read
from simplerl.data.rows import Row


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """A row that is no problem, and why."""

    id: str
    place: str
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ProblemSet:
    """Problems with what is to be said of how they were read."""

    problems: list[Problem]
    left_out: tuple[LeftOut, ...] = ()
    origin: Mapping[str, Any] = field(default_factory=dict)
    """Where the rows come from, exactly: a file and its SHA-256, or a hub data set and its commit."""


def question_in(row: Row) -> str:
    """Return the question in a row. Raises DataError, naming the place and the fields that are there."""
    try:
        question = read.question_of(row.fields)
    except read.AmbiguousOptions as error:
        raise DataError(f"{row.place}: the options or their answer cannot be read: {error}") from error
    if question is None:
        raise DataError(
            f"{row.place}: no question; wanted one of {', '.join(read.QUESTION_FIELDS)} with text in it. "
            f"Fields there: {_names(row.fields)}"
        )
    return question


def _names(fields: Mapping[str, Any]) -> str:
    return ", ".join(map(repr, fields)) or "none"


def problem(row: Row, *, source: str, index: int) -> Problem | LeftOut:
    """Return the problem in a row. Raises DataError, naming the place and the fields that are there."""
    fields, question = row.fields, question_in(row)
    try:
        answer = read.answer_of(fields)
    except read.AmbiguousOptions as error:
        raise DataError(f"{row.place}: the options or their answer cannot be read: {error}") from error
    identity = f"{source}-{index}"
    if not answer and read.is_published(fields):
        return LeftOut(id=identity, place=row.place, why="reward_model.ground_truth is empty: no gold answer")
    if not answer:
        raise DataError(
            f"{row.place}: no final answer; wanted one of {', '.join(read.ANSWER_FIELDS)} with an answer in it "
            f"(GSM8K: after '####'; MATH: in \\boxed{{}}). Fields there: {_names(fields)}"
        )
    return Problem(
        id=identity,
        question=question,
        answer=answer,
        source=source,
        level=read.level_of(fields),
        meta={"place": row.place, **_more(fields)},
    )


def _more(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what else a row says that is of use: its own id and source, its own prompt, a measured pass rate."""
    more: dict[str, Any] = {}
    if identity := read.identity_of(fields):
        more["original_id"] = identity
    if origin := read.first_text(fields, read.SOURCE_FIELDS)[1]:
        more["origin"] = origin
    if messages := read.messages(fields):
        more["messages"] = tuple(messages)
    for name, kind in (("pass_rate", float), ("pass_rate_samples", int)):
        value = fields.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and value == value:
            more[name] = kind(value)
    return more


def problem_set(rows: Iterable[Row], *, source: str, origin: Mapping[str, Any] | None = None) -> ProblemSet:
    """Return the problems in rows, and the rows left out. Raises DataError for no problem."""
    items = [problem(row, source=source, index=index) for index, row in enumerate(rows)]
    problems = [item for item in items if isinstance(item, Problem)]
    left_out = tuple(item for item in items if isinstance(item, LeftOut))
    if not problems:
        why = f"no problem: {len(left_out)} rows without a gold answer" if left_out else "no rows"
        raise DataError(f"data set {source!r} holds {why}")
    return ProblemSet(problems=problems, left_out=left_out, origin=origin or {})


def select(chosen: ProblemSet, *, name: str, levels: Collection[int], size: int) -> ProblemSet:
    """Return the first `size` problems (0: all) of the wanted levels (none: all). Raises DataError for no problem."""
    wanted = {str(level) for level in levels}
    problems = [item for item in chosen.problems if not wanted or item.level in wanted]
    if wanted and not problems:
        raise DataError(f"data set {name!r} has no problem of level {', '.join(sorted(wanted))}")
    return replace(chosen, problems=problems[: size or None])
