"""Judged responses as the record holds them: what every figure of an evaluation is made of."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow
import pyarrow.compute
import pyarrow.parquet

from simplerl.errors import RunError
from simplerl.types import UNDECIDED


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One row of a Parquet file of trajectories, without its tokens."""

    problem_id: str
    sample: int
    level: str
    """Empty where the source has none."""
    kind: str
    """Type of problem (subject, field) as the source names it; empty where it has none."""
    response: str
    tokens: int | None
    """Length of the response; None where it was made elsewhere and no tokenizer was given."""
    stop_reason: str | None
    """`eos`, `stop` or `length`; None where it was made elsewhere and did not say."""
    status: str
    """The verdict's."""
    extracted: str | None
    rule: str = ""
    """The verdict's; empty where the record does not say."""

    @property
    def strictly_correct(self) -> bool:
        """Whether the response is right and leaves no computing to the reader."""
        return self.correct and self.rule not in ("unfinished", "restates")

    @property
    def correct(self) -> bool:
        """Whether the response was judged right."""
        return self.status == "correct"

    @property
    def decided(self) -> bool:
        """Whether the verifier could tell at all."""
        return self.status not in UNDECIDED


COLUMNS = (
    "problem_id", "sample", "level", "kind", "response", "stop_reason", "verdict", "extracted", "rule", "token_ids",
)  # fmt: skip
#: Columns that older records do not have.
_OPTIONAL = {"kind", "rule"}


def read_answers(path: Path) -> list[Answer]:
    """Return the responses of a Parquet file, in its order. Raises RunError where it cannot be read."""
    try:
        there = set(pyarrow.parquet.read_schema(path).names)
        table = pyarrow.parquet.read_table(path, columns=[name for name in COLUMNS if name in there])
    except (OSError, pyarrow.ArrowException) as error:
        raise RunError(f"{path} cannot be read: {error}") from error
    if missing := [name for name in COLUMNS if name not in there and name not in _OPTIONAL]:
        raise RunError(f"{path} is no record of judged responses: it has no column {', '.join(missing)}")
    lengths = pyarrow.compute.list_value_length(table["token_ids"]).to_pylist()
    kinds = table["kind"].to_pylist() if "kind" in there else [""] * len(lengths)
    rows = table.drop_columns(["token_ids"]).to_pylist()
    return [
        Answer(
            problem_id=row["problem_id"],
            sample=row["sample"],
            level=row["level"] or "",
            kind=kind or "",
            response=row["response"],
            tokens=length,
            stop_reason=row["stop_reason"],
            status=row["verdict"],
            extracted=row["extracted"],
            rule=row.get("rule") or "",
        )
        for row, kind, length in zip(rows, kinds, lengths, strict=True)
    ]


def by_problem(answers: Iterable[Answer]) -> dict[str, list[Answer]]:
    """Return problem id → its samples, both in the order of the record."""
    groups: defaultdict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        groups[answer.problem_id].append(answer)
    return dict(groups)
