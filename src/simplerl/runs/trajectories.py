"""Trajectories as Parquet: every response of a step, one row each, to be opened by anything that reads Parquet."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet

from simplerl.runs.files import cannot_write
from simplerl.types import TrajectoryGroup

SCHEMA = pyarrow.schema(
    [
        ("step", pyarrow.int32()),
        ("problem_id", pyarrow.string()),
        ("sample", pyarrow.int32()),
        ("source", pyarrow.string()),
        ("level", pyarrow.string()),
        ("question", pyarrow.string()),
        ("answer", pyarrow.string()),
        ("response", pyarrow.string()),
        ("stop_reason", pyarrow.string()),
        ("verdict", pyarrow.string()),
        ("extracted", pyarrow.string()),
        ("rule", pyarrow.string()),
        ("detail", pyarrow.string()),
        ("reward", pyarrow.float64()),
        ("reward_parts", pyarrow.map_(pyarrow.string(), pyarrow.float64())),
        ("advantages", pyarrow.list_(pyarrow.float32())),
        ("policy_version", pyarrow.int32()),
        ("prompt_ids", pyarrow.list_(pyarrow.int32())),
        ("token_ids", pyarrow.list_(pyarrow.int32())),
        ("logprobs", pyarrow.list_(pyarrow.float32())),
        ("loss_mask", pyarrow.list_(pyarrow.bool_())),
    ]
)


def _text(value: str | None) -> str | None:
    """Return text that Parquet can hold: lone surrogates, which are no characters, become replacement characters."""
    return None if value is None else value.encode("utf-8", "replace").decode("utf-8")


def write_trajectories(
    path: Path, step: int, groups: Sequence[TrajectoryGroup], advantages: Sequence[np.ndarray] | None = None
) -> None:
    """Write a step's groups atomically. `advantages` has one array [T] per trajectory, in order; None writes nulls.

    Trajectories beyond the advantages were sampled and dropped, not trained on: theirs are null too.

    A reward of NaN (undecided verdict) is written as null.
    """
    rows = []
    for trajectory in (t for group in groups for t in group.trajectories):
        problem, completion, verdict = trajectory.problem, trajectory.completion, trajectory.verdict
        rows.append(
            {
                "step": step,
                "problem_id": _text(problem.id),
                "sample": trajectory.sample,
                "source": _text(problem.source),
                "level": _text(problem.level),
                "question": _text(problem.question),
                "answer": _text(problem.answer),
                "response": _text(completion.text),
                "stop_reason": completion.stop_reason,
                "verdict": verdict.status,
                "extracted": _text(verdict.extracted),
                "rule": verdict.rule,
                "detail": _text(verdict.detail),
                "reward": None if np.isnan(trajectory.reward) else trajectory.reward,
                "reward_parts": list(trajectory.reward_parts.items()),
                "advantages": advantages[len(rows)] if advantages is not None and len(rows) < len(advantages) else None,
                "policy_version": completion.policy_version,
                "prompt_ids": trajectory.prompt_ids,
                "token_ids": completion.token_ids,
                "logprobs": completion.logprobs,
                "loss_mask": trajectory.loss_mask,
            }
        )
    table = pyarrow.Table.from_pylist(rows, schema=SCHEMA)
    temporary = path.with_name(f".{path.name}.partial")
    try:
        pyarrow.parquet.write_table(table, temporary, compression="zstd")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise cannot_write(path, error) from error
