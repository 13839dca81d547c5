"""Trajectories as Parquet: every response of a step, one row each, to be opened by anything that reads Parquet."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from simplerl.core.types import Problem, Trajectory, TrajectoryGroup, Verdict
from simplerl.runs.files import cannot_write

SCHEMA = pyarrow.schema(
    [
        ("step", pyarrow.int32()),
        ("problem_id", pyarrow.string()),
        ("sample", pyarrow.int32()),
        ("source", pyarrow.string()),
        ("level", pyarrow.string()),
        ("kind", pyarrow.string()),
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
        ("entropies", pyarrow.list_(pyarrow.float32())),
        ("loss_mask", pyarrow.list_(pyarrow.bool_())),
    ]
)


def whole_characters(value: str | None) -> str | None:
    """Return text that Parquet can hold: lone surrogates, which are no characters, become replacement characters."""
    return None if value is None else value.encode("utf-8", "replace").decode("utf-8")


def write_trajectories(
    path: Path, step: int, groups: Sequence[TrajectoryGroup], advantages: Sequence[np.ndarray] | None = None
) -> None:
    """Write a step's groups atomically. `advantages` has one array [T] per trajectory, in order; None writes nulls.

    Trajectories beyond the advantages were sampled and dropped, not trained on: theirs are null too.

    A reward of NaN (undecided verdict) is written as null.
    """
    trajectories = [t for group in groups for t in group.trajectories]
    write_rows(
        path,
        [
            _row(step, trajectory, advantages[index] if advantages is not None and index < len(advantages) else None)
            for index, trajectory in enumerate(trajectories)
        ],
    )


def _row(step: int, trajectory: Trajectory, advantages: np.ndarray | None) -> dict[str, Any]:
    completion = trajectory.completion
    return {
        **problem_columns(trajectory.problem),
        **verdict_columns(trajectory.verdict),
        "step": step,
        "sample": trajectory.sample,
        "response": whole_characters(completion.text),
        "stop_reason": completion.stop_reason,
        "reward": None if np.isnan(trajectory.reward) else trajectory.reward,
        "reward_parts": list(trajectory.reward_parts.items()),
        "advantages": advantages,
        "policy_version": completion.policy_version,
        "prompt_ids": trajectory.prompt_ids,
        "token_ids": completion.token_ids,
        "logprobs": completion.logprobs,
        "entropies": completion.entropies,
        "loss_mask": trajectory.loss_mask,
    }


def problem_columns(problem: Problem) -> dict[str, Any]:
    """Return the columns that speak of the problem. `kind` is its type (subject, field) where the source names one."""
    return {
        "problem_id": whole_characters(problem.id),
        "source": whole_characters(problem.source),
        "level": whole_characters(problem.level),
        "kind": whole_characters(str(problem.meta.get("kind", ""))),
        "question": whole_characters(problem.question),
        "answer": whole_characters(problem.answer),
    }


def verdict_columns(verdict: Verdict) -> dict[str, Any]:
    """Return the columns that speak of the verdict."""
    return {
        "verdict": verdict.status,
        "extracted": whole_characters(verdict.extracted),
        "rule": verdict.rule,
        "detail": whole_characters(verdict.detail),
    }


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows of the schema atomically; columns that a row leaves out are null."""
    write_table(path, pyarrow.Table.from_pylist(list(rows), schema=SCHEMA))


def write_table(path: Path, table: pyarrow.Table) -> None:
    """Write a table beside its place, flush it to disk and rename it. Raises RunError where it cannot be written."""
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with temporary.open("wb") as file:
            pyarrow.parquet.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise cannot_write(path, error) from error
