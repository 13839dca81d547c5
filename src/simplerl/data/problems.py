"""Turn rows into problems: GSM8K-style, MATH-style, plain (question, answer) fields, chats, SimpleRL-Zoo's Parquet.

What the fields mean is in `fields.py`. A row that cannot be read is an error that names its place. A row that has no
gold answer to learn from is left out, and whatever had to be decided about the others is kept, both with their places.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from simplerl.core.errors import ConfigError, DataError
from simplerl.core.types import Problem
from simplerl.data import fields as read
from simplerl.data import tests as unit_tests
from simplerl.data.rows import Row
from simplerl.verify import equal


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What became of a row: a problem with what was decided, or the reason why there is none."""

    id: str
    place: str
    original_id: str = ""  # The name that the row has at its source
    problem: Problem | None = None
    decided: Sequence[str] = ()
    left_out: str = ""  # Why there is nothing to learn from it
    refused: str = ""  # Why it cannot be read: an error, unless rows are only looked at
    response: str | None = None  # The response that stands beside the gold, for an audit
    expected: bool | None = None  # Whether it is said to be right

    @property
    def why(self) -> str:
        """Why there is no problem; empty where there is one."""
        return self.left_out or self.refused

    @property
    def gold(self) -> str:
        """The gold of the problem; empty where there is none."""
        return self.problem.answer if self.problem else ""

    @property
    def question(self) -> str | None:
        """The question of the problem; None where there is none, as in a labelled case."""
        return (self.problem and self.problem.question) or None

    @property
    def meta(self) -> Mapping[str, Any]:
        """What else is known of the problem."""
        return self.problem.meta if self.problem else {}


@dataclass(frozen=True, kw_only=True, slots=True)
class ProblemSet:
    """Problems with what is to be said of how they were read."""

    problems: list[Problem]
    left_out: tuple[Reading, ...] = ()
    decisions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What was decided about rows that can be read in more than one way → their places."""
    origin: Mapping[str, Any] = field(default_factory=dict)
    """Where the rows come from, exactly: a file and its SHA-256, or a hub data set and its commit."""

    @property
    def notes(self) -> list[str]:
        """A line for each reason to leave rows out, and for each decision: how many rows, and the first places."""
        total = len(self.problems) + len(self.left_out)
        why = defaultdict[str, list[str]](list)
        for item in self.left_out:
            why[f"are left out ({item.why})"].append(item.place)
        return [
            f"{len(places)} of {total} rows{what}: {'; '.join(places[:5])}{' …' if len(places) > 5 else ''}"
            for group, mark in ((why, " "), (self.decisions, ": "))
            for what, places in ((mark + text, places) for text, places in group.items())
        ]


def question_in(row: Row) -> str:
    """Return the question in a row. Raises DataError, naming the place and the fields that are there."""
    try:
        return read.question_of(read.folded(row.fields))
    except read.UnreadableRow as error:
        raise DataError(f"{row.place}: {error}. {_there(row)}") from error


def _there(row: Row) -> str:
    return f"Fields there: {', '.join(map(repr, row.fields)) or 'none'}"


def reading(row: Row, *, source: str, index: int, labelled: bool = False) -> Reading:
    """Read a row. With `labelled` one that has a field `gold` may do without a question."""
    fields = read.folded(row.fields)
    responses = (fields.get(name) for name in read.FIELDS["response"])
    item = Reading(
        id=f"{source}-{index}",
        place=row.place,
        original_id=read.identity_of(fields) or "",
        response=next((text for text in responses if isinstance(text, str)), None),
        expected=expected if isinstance(expected := fields.get("expected"), bool) else None,
    )
    asked = not labelled or read.first_text(fields, read.FIELDS["question"])[1] or read.messages(fields)
    try:
        if tests := unit_tests.tests_of(fields):
            question = unit_tests.question_with_tests(fields, tests)
            answer, decided, reference = unit_tests.named(tests), list[str](), unit_tests.reference_of(fields)
            more = {"tests": tests, "environment": "code", **({"reference": reference} if reference else {})}
            fields = {name: value for name, value in fields.items() if name not in unit_tests.TEST_FIELDS}
        else:
            question = read.question_of(fields) if asked or "gold" not in fields else ""
            answer, decided = read.answer_of(fields)
            more = read.choices_of(fields, answer) if question else {}
    except read.NoGold as error:
        return replace(item, left_out=str(error))
    except read.UnreadableRow as error:
        return replace(item, refused=f"{error}. {_there(row)}")
    chat = [role for role, _ in read.messages(fields)]
    if "system" in chat:
        decided.append("the system message is not part of the question (prompt.system)")
    if "assistant" in chat or chat.count("user") > 1:
        decided.append("of several turns the user's last one is the question")
    problem = Problem(
        id=item.id,
        question=question,
        answer=answer,
        source=source,
        level=read.first_text(fields, read.FIELDS["level"])[1].removeprefix("Level ").strip(),
        meta={**_more(fields), "place": row.place, **more},
    )
    return replace(item, problem=problem, decided=tuple(dict.fromkeys(decided)))


def _more(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what else a row says: its own id and source, its own prompt, a measured pass rate, further columns."""
    more: dict[str, Any] = {name: value for name, value in fields.items() if name not in read.TAKEN}
    if identity := read.identity_of(fields):
        more["original_id"] = identity
    if origin := read.first_text(fields, read.FIELDS["source"])[1]:
        more["origin"] = origin
    if solution := read.solution_of(fields):
        more["solution"] = solution
    if messages := read.messages(fields):
        more["messages"] = tuple(messages)
    for name, kind in (("pass_rate", float), ("pass_rate_samples", int)):
        value = fields.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and value == value:
            more[name] = kind(value)
    return more


def readings(rows: Iterable[Row], *, source: str, labelled: bool = False) -> list[Reading]:
    """Read rows, leaving out every problem whose question stands there with another answer: neither can be trusted."""
    every = [reading(row, source=source, index=index, labelled=labelled) for index, row in enumerate(rows)]
    golds = defaultdict[str, dict[str, None]](dict)
    for item in every:
        if item.problem and item.problem.question:
            golds[" ".join(item.problem.question.split())][item.problem.answer] = None
    disputed = {
        question
        for question, (first, *others) in golds.items()
        if any(not (equal(first, other) or equal(other, first)) for other in others)
    }
    why = "the same question stands there with different answers"
    return [
        replace(item, problem=None, left_out=why)
        if item.problem and " ".join(item.problem.question.split()) in disputed
        else item
        for item in every
    ]


def problem_set(
    rows: Iterable[Row], *, source: str, origin: Mapping[str, Any] | None = None, strict: bool = True
) -> ProblemSet:
    """Return the problems in rows, and the rows left out. Raises DataError for no problem, or a row that is refused.

    Without `strict` rows that cannot be read are left out too.
    """
    items = readings(rows, source=source)
    refused = [item for item in items if item.refused]
    problems = [item.problem for item in items if item.problem is not None]
    if refused and (strict or not problems):
        others = f"\n{len(refused) - 1} more of {len(items)} rows cannot be read; `simplerl audit` lists them all"
        raise DataError(f"{refused[0].place}: {refused[0].refused}" + (others if len(refused) > 1 else ""))
    left_out = tuple(item for item in items if item.problem is None)
    if not problems:
        reasons = f": {len(left_out)} rows without a gold answer ({left_out[0].why})" if left_out else ": no rows"
        raise DataError(f"data set {source!r} holds no problem{reasons}")
    decisions = defaultdict[str, list[str]](list)
    for item in items:
        for what in item.decided if item.problem else ():
            decisions[what].append(item.place)
    return ProblemSet(problems=problems, left_out=left_out, decisions=dict(decisions), origin=origin or {})


def where(problem: Problem) -> dict[str, Any]:
    """Return how a report names a problem."""
    own = {"original_id": problem.meta["original_id"]} if "original_id" in problem.meta else {}
    return {"id": problem.id, **own, "place": problem.meta.get("place", "")}


def part(
    problems: Sequence[Problem], why: Callable[[Problem], Mapping[str, Any] | None]
) -> tuple[list[Problem], list[dict[str, Any]]]:
    """Return (the problems that stay, the others named with what is said of them). `why` says nothing of who stays."""
    said = [(item, why(item)) for item in problems]
    removed = [{**where(item), **reason} for item, reason in said if reason is not None]
    return [item for item, reason in said if reason is None], removed


def select(chosen: ProblemSet, *, name: str, levels: Collection[int], size: int) -> ProblemSet:
    """Return the first `size` problems (0: all) of the wanted levels (none: all). Raises DataError for no problem."""
    wanted = {str(level) for level in levels}
    problems = [item for item in chosen.problems if not wanted or item.level in wanted]
    if wanted and not problems:
        raise DataError(f"data set {name!r} has no problem of level {', '.join(sorted(wanted))}")
    return replace(chosen, problems=problems[: size or None])


def generated_size(name: str, split: str, size: int) -> int:
    """Return how many problems of a split are generated; 0: 2,000 to train on, 250 to test on. Raises ConfigError."""
    if split not in ("train", "test"):
        raise ConfigError(f"data set {name!r} has the splits train and test, not {split!r}")
    return size or {"train": 2000, "test": 250}[split]
