"""Files of responses (Parquet), written and read: every judged response of a step, one row each, for any reader.

Columns: docs/run-format.md. This is the only place that opens such a file.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.parquet

from simplerl.core.errors import RunError
from simplerl.core.types import UNDECIDED, Problem, Trajectory, TrajectoryGroup, Verdict
from simplerl.runs.files import replacing

_INTEGER, _TEXT, _NUMBERS = pyarrow.int32(), pyarrow.string(), pyarrow.list_(pyarrow.float32())
_TEXTS = (
    "source", "level", "kind", "question", "answer", "response",
    "stop_reason", "verdict", "extracted", "rule", "detail",
)  # fmt: skip

SCHEMA = pyarrow.schema(
    {
        "step": _INTEGER,
        "problem_id": _TEXT,
        "sample": _INTEGER,
        **dict.fromkeys(_TEXTS, _TEXT),
        "reward": pyarrow.float64(),
        "reward_parts": pyarrow.map_(_TEXT, pyarrow.float64()),
        "advantages": _NUMBERS,
        "policy_version": _INTEGER,
        "versions": pyarrow.list_(pyarrow.struct(dict.fromkeys(("version", "start", "end"), _INTEGER))),
        **dict.fromkeys(("prompt_ids", "token_ids"), pyarrow.list_(_INTEGER)),
        **dict.fromkeys(("logprobs", "entropies"), _NUMBERS),
        "loss_mask": pyarrow.list_(pyarrow.bool_()),
        "score": pyarrow.float64(),
        "turns": pyarrow.list_(pyarrow.struct(dict.fromkeys(("author", "text"), _TEXT))),
        "prefix": _TEXT,
        "calls": pyarrow.list_(
            pyarrow.struct(
                {
                    "turn": _INTEGER,
                    **dict.fromkeys(("tool", "arguments", "result", "status"), _TEXT),
                    "seconds": pyarrow.float64(),
                }
            )
        ),
    }
)

#: Columns of `Run.ledger`.
LEDGER = pyarrow.schema(
    {
        "problem_id": _TEXT,
        **dict.fromkeys(("step", "samples", "right", "decided", "undecided"), _INTEGER),
        "length": pyarrow.float64(),
    }
)

#: Without these a file does not hold judged responses. All but the response are known of every row.
REQUIRED = ("problem_id", "sample", "response", "verdict")

#: Columns that an `Answer` is made from.
_ANSWER = (
    *REQUIRED, "question", "source", "level", "kind", "stop_reason",
    "extracted", "rule", "reward", "token_ids", "calls",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One judged response without its tokens: what every figure of an evaluation is made of.

    >>> Answer(problem_id="gsm8k-0", sample=0, level="", kind="", response="It is 4.", tokens=5, stop_reason="eos",
    ...        status="wrong", extracted="4", rule="string").decided
    True
    """

    problem_id: str
    sample: int
    level: str  # Empty where the source has none
    kind: str  # Type of problem (subject, field) as the source names it; empty where it has none
    response: str
    tokens: int | None  # Length of the response; None where it was made elsewhere and no tokenizer was given
    stop_reason: str | None  # `eos`, `stop` or `length`; None where it was made elsewhere and did not say
    status: str  # The verdict's
    extracted: str | None
    rule: str = ""  # The verifier's rule that decided; empty where the record does not say
    calls: int | None = None  # Calls of tools; None where there is a single turn
    source: str = ""  # The data set that the problem comes from: its domain
    question: str = ""
    reward: float | None = None  # None or NaN where it is undecided

    @classmethod
    def of_row(cls, row: Mapping[str, Any], tokens: int | None, calls: int | None = None) -> "Answer":
        """Return the answer in a row of a record."""
        columns = {name: row[name] for name in ("problem_id", "sample", "stop_reason", "extracted", "reward")}
        columns |= {name: row[name] or "" for name in ("source", "level", "kind", "question", "response", "rule")}
        return cls(tokens=tokens, status=row["verdict"], calls=calls, **columns)

    @property
    def correct(self) -> bool:
        """Whether the response was judged right."""
        return self.status == "correct"

    @property
    def restating(self) -> bool:
        """Whether the value is right and the answer restates the question or leaves computing to the reader."""
        return self.rule in ("unfinished", "restates")

    @property
    def strictly_correct(self) -> bool:
        """Whether the response is right and leaves no computing to the reader."""
        return self.correct and not self.restating

    @property
    def decided(self) -> bool:
        """Whether the verifier could tell at all."""
        return self.status not in UNDECIDED


def answers_of(groups: Iterable[TrajectoryGroup]) -> list[Answer]:
    """Return the judged responses of trajectory groups, in their order, as a record of them would be read."""
    return [
        Answer.of_row(
            response_columns(t.problem, t.sample, t.completion.text, t.completion.stop_reason, t.verdict)
            | {"reward": t.reward},
            len(t.completion.token_ids),
            None if t.calls is None else len(t.calls),
        )
        for group in groups
        for t in group.trajectories
    ]


def by_problem(answers: Iterable[Answer]) -> dict[str, list[Answer]]:
    """Return problem id → its samples, both in the order of the record."""
    groups: defaultdict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        groups[answer.problem_id].append(answer)
    return dict(groups)


@dataclass(frozen=True, slots=True)
class Visit:
    """What came of sampling a problem in a step, by itself: prompts with a prefix are not among it.

    >>> Visit(step=3, samples=8, right=6, decided=7, length=41.5).undecided
    1
    """

    step: int
    samples: int
    right: int
    decided: int  # Responses whose verdict says right or wrong
    length: float  # Mean tokens of a response

    @property
    def undecided(self) -> int:
        """Responses that count neither as right nor as wrong."""
        return self.samples - self.decided


@dataclass(frozen=True, slots=True)
class ResponseFile:
    """A Parquet file of responses. Every method raises RunError, which names the file, where it cannot be read."""

    path: Path

    @contextmanager
    def open(self, dictionary: Sequence[str] = ()) -> Iterator[pyarrow.parquet.ParquetFile]:
        """Open the file for who reads it in a way of their own; errors while it is open are RunErrors too.

        The words of the `dictionary` columns are read once each.
        """
        try:
            if not self.path.is_file():  # A pipe would never end.
                raise OSError(None, "it is not a file" if self.path.exists() else "it does not exist")
            # Arrow takes no path that is not UTF-8.
            with self.path.open("rb") as source:
                present = pyarrow.parquet.read_schema(source).names if dictionary else ()
                with pyarrow.parquet.ParquetFile(
                    source, read_dictionary=[name for name in dictionary if name in present]
                ) as file:
                    yield file
        except (OSError, pyarrow.ArrowException, UnicodeDecodeError, OverflowError, MemoryError) as error:
            reason = " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())[:200]
            raise RunError(f"{self.path} cannot be read: {reason}") from error

    @property
    def current(self) -> bool:
        """Whether it has every column that this version writes."""
        with self.open() as file:
            return {*SCHEMA.names} <= {*file.schema_arrow.names}

    def check(self) -> None:
        """Raise RunError where the end of the file tells that it is damaged or holds something else."""
        with self.open() as file:
            self._names(file.schema_arrow, None)

    def read(self, columns: Sequence[str] | None = None) -> pyarrow.Table:
        """Return columns of every response (None: all), with the types of the schema.

        A column that the file lacks, because an older version wrote it, is null.
        """
        with self.open() as file:
            names, present = self._names(file.schema_arrow, columns)
            return self._conform(file.read(columns=present), names)

    def batches(self, columns: Sequence[str] | None = None, size: int = 1024) -> Iterator[pyarrow.Table]:
        """Yield the responses as `read` does, `size` at a time, so that a large file is never held."""
        with self.open() as file:
            names, present = self._names(file.schema_arrow, columns)
            for batch in file.iter_batches(batch_size=size, columns=present):
                yield self._conform(pyarrow.Table.from_batches([batch]), names)

    def answers(self, most: int | None = None) -> list[Answer]:
        """Return every response without its tokens, in the order of the file, or the first so many."""
        answers: list[Answer] = []
        for table in self.batches(_ANSWER):
            lengths = (list_lengths(table[name]).to_pylist() for name in ("token_ids", "calls"))
            rows = table.drop_columns(["token_ids", "calls"]).to_pylist()
            answers += itertools.starmap(Answer.of_row, zip(rows, *lengths, strict=True))
            if most is not None and len(answers) >= most:
                break
        return answers[:most]

    def visits(self, step: int) -> dict[str, Visit]:
        """Return problem → what came of it in a step, in the order in which the problems were sampled."""
        counts: dict[str, list[int]] = {}
        for table in self.batches(["problem_id", "verdict", "prefix", "token_ids"]):
            lengths = list_lengths(table["token_ids"]).fill_null(0).to_pylist()
            for row, length in zip(table.drop_columns(["token_ids"]).to_pylist(), lengths, strict=True):
                if not row["prefix"]:
                    own = (1, row["verdict"] == "correct", row["verdict"] not in UNDECIDED, length)
                    before = counts.get(row["problem_id"], [0, 0, 0, 0])
                    counts[row["problem_id"]] = [a + b for a, b in zip(before, own, strict=True)]
        return {name: Visit(step, n, right, decided, total / n) for name, (n, right, decided, total) in counts.items()}

    def _names(self, schema: pyarrow.Schema, columns: Sequence[str] | None) -> tuple[list[str], list[str]]:
        """Return (columns to return, those in the file). Raises RunError where one is missing or of another type."""
        ours, theirs = (dict(zip(one.names, one.types, strict=True)) for one in (SCHEMA, schema))
        names = list(columns or ours | theirs)
        present, no_record = [name for name in names if name in theirs], "is not a record of judged responses"
        if missing := [name for name in names if name in REQUIRED and name not in theirs]:
            raise RunError(f"{self.path} {no_record}: it has no column {', '.join(missing)}")
        if unknown := [name for name in names if name not in ours and name not in theirs]:
            raise RunError(f"{self.path} has no column {', '.join(unknown)}; it has {', '.join(theirs)}")
        known = [name for name in present if name in ours]
        if odd := [f"{name} ({theirs[name]})" for name in known if not _fits(ours[name], theirs[name])]:
            raise RunError(f"{self.path} {no_record}: it has columns of another type: {', '.join(odd)}")
        return names, present

    def _conform(self, table: pyarrow.Table, names: Sequence[str]) -> pyarrow.Table:
        """Return a table with the columns and types of the schema."""
        table.validate(full=True)  # Text that is not UTF-8 would end whoever looks at it.
        columns = {name: table[name] if name in table.column_names else pyarrow.nulls(table.num_rows) for name in names}
        columns |= {name: columns[name].cast(SCHEMA.field(name).type) for name in names if name in SCHEMA.names}
        if unknown := [n for n in REQUIRED if n in columns and n != "response" and columns[n].null_count]:
            raise RunError(
                f"{self.path} is not a record of judged responses: {', '.join(unknown)} is not known of every row"
            )
        return pyarrow.table(columns)


def list_lengths(column: pyarrow.ChunkedArray | pyarrow.Array) -> pyarrow.ChunkedArray | pyarrow.Array:
    """Return the length of each list of a column; null where there is none."""
    return pyarrow.compute.call_function("list_value_length", [column])


def _fits(wanted: pyarrow.DataType, actual: pyarrow.DataType) -> bool:
    """Return whether a column has the kind of type that a record has there: text, numbers or lists, of any width."""
    types = pyarrow.types
    actual = actual.value_type if types.is_dictionary(actual) else actual
    if types.is_null(actual):
        return not types.is_integer(wanted)
    if types.is_floating(wanted):
        return types.is_floating(actual) or types.is_integer(actual)
    if types.is_list(wanted):
        return (types.is_list(actual) or types.is_large_list(actual)) and _fits(wanted.value_type, actual.value_type)
    if types.is_string(wanted):
        return types.is_string(actual) or types.is_large_string(actual)
    if types.is_map(wanted):
        parts = [(wanted.key_type, "key_type"), (wanted.item_type, "item_type")]
        return types.is_map(actual) and all(_fits(part, getattr(actual, name)) for part, name in parts)
    if types.is_struct(wanted):
        names = [part.name for part in actual] if types.is_struct(actual) else ()
        return all(part.name in names and _fits(part.type, actual.field(part.name).type) for part in wanted)
    return any(kind(wanted) and kind(actual) for kind in (types.is_integer, types.is_boolean))


def write_trajectories(
    path: Path, step: int, groups: Sequence[TrajectoryGroup], advantages: Sequence[np.ndarray] = ()
) -> None:
    """Write a step's groups atomically. `advantages` has one array [T] per trajectory, in order.

    Trajectories beyond the advantages were sampled and dropped, not trained on: theirs are null. A reward of NaN
    (undecided verdict) is written as null.
    """
    pairs = itertools.zip_longest((t for group in groups for t in group.trajectories), advantages)
    write_rows(path, [_row(step, trajectory, array) for trajectory, array in pairs])


def _row(step: int, trajectory: Trajectory, advantages: np.ndarray | None) -> dict[str, Any]:
    completion = trajectory.completion
    return {
        **response_columns(
            trajectory.problem, trajectory.sample, completion.text, completion.stop_reason, trajectory.verdict
        ),
        "prefix": _clean(trajectory.prefix) or None,
        "step": step,
        "reward": None if np.isnan(trajectory.reward) else trajectory.reward,
        "reward_parts": list(trajectory.reward_parts.items()),
        "advantages": advantages,
        **{name: getattr(completion, name) for name in ("policy_version", "token_ids", "logprobs", "entropies")},
        "versions": [asdict(span) for span in completion.versions] if len(completion.versions) > 1 else None,
        **{name: getattr(trajectory, name) for name in ("prompt_ids", "loss_mask")},
        "turns": [{"author": author, "text": _clean(text)} for author, text in trajectory.texts] or None,
        "calls": None
        if trajectory.calls is None
        else [{name: _clean(value) for name, value in asdict(call).items()} for call in trajectory.calls],
    }


def response_columns(
    problem: Problem, sample: int, response: str, stop_reason: str | None, verdict: Verdict
) -> dict[str, Any]:
    """Return the columns of a judged response. `kind` is the problem's type (subject, field) if its source names one.

    Lone surrogates, which are not characters and which Parquet cannot hold, become question marks.
    """
    columns = {
        **{name: getattr(problem, name) for name in ("source", "level", "question", "answer")},
        **{name: getattr(verdict, name) for name in ("extracted", "rule", "detail", "score")},
        "problem_id": problem.id,
        "kind": str(problem.meta.get("kind", "")),
        "sample": sample,
        "response": response,
        "stop_reason": stop_reason,
        "verdict": verdict.status,
    }
    return {name: _clean(value) for name, value in columns.items()}


def _clean(value: Any) -> Any:
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows of the schema atomically; columns that a row leaves out are null."""
    write_table(path, pyarrow.Table.from_pylist(list(rows), schema=SCHEMA))


def write_table(path: Path, table: pyarrow.Table) -> None:
    """Write a table atomically. Raises RunError where it cannot be written."""
    with replacing(path) as file:
        pyarrow.parquet.write_table(table, file, compression="zstd")
