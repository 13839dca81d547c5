"""What the records of responses (Parquet) say, read column by column: of a large run only what is needed is held."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.parquet

from simplerl.analysis.report.records import Estimate, TrainingStep
from simplerl.core.errors import RunError
from simplerl.core.types import UNDECIDED
from simplerl.ops.statistics import bootstrap_ratios

#: Half-width of a 95% interval in standard errors, where problems are too many and steps too many for a bootstrap each.
_NORMAL = 1.96


def read_columns(file: Path, columns: Sequence[str]) -> pyarrow.Table:
    """Read some columns of a record to its end. Raises RunError where it cannot be read or lacks one."""
    try:
        there = set(pyarrow.parquet.read_schema(file).names)
        if missing := [name for name in columns if name not in there]:
            raise RunError(f"{file} is no record of responses (no column {', '.join(missing)})")
        return pyarrow.parquet.read_table(file, columns=list(columns), partitioning=None)
    except (OSError, pyarrow.ArrowException, ValueError) as error:
        raise RunError(f"{file} is damaged ({_brief(error)})") from error


def _brief(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error))[:120]


def _problems(table: pyarrow.Table) -> np.ndarray:
    """Return the number of each row's problem [B], counted from 0."""
    names = table["problem_id"].cast(pyarrow.string()).to_pylist()
    number = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return np.array([number[name] for name in names], dtype=np.int64)


def lengths(file: Path) -> tuple[Estimate, Estimate] | None:
    """Return the mean length of all responses and of those that ended by themselves, with intervals over problems.

    None where the record has no tokens. Raises RunError where it cannot be read.
    """
    table = read_columns(file, ["problem_id", "stop_reason", "token_ids"])
    try:
        tokens_B = np.array(pyarrow.compute.list_value_length(table["token_ids"]).to_pylist(), dtype=float)
        problem_B = _problems(table)
    except (pyarrow.ArrowException, ValueError) as error:
        raise RunError(f"{file} is no record of responses ({_brief(error)})") from error
    stopped_B = np.array([reason != "length" for reason in table["stop_reason"].to_pylist()], dtype=float)
    if not len(tokens_B) or np.isnan(tokens_B).any():
        return None
    counts = [
        np.bincount(problem_B, weights=w) for w in (tokens_B, np.ones_like(tokens_B), tokens_B * stopped_B, stopped_B)
    ]
    above_PM, below_PM = np.stack([counts[0], counts[2]], 1), np.stack([counts[1], counts[3]], 1)
    low_M, high_M = bootstrap_ratios(above_PM, below_PM)
    both = []
    for m in (0, 1):
        below = below_PM[:, m].sum()
        both.append(
            Estimate(value=float(above_PM[:, m].sum() / below), low=float(low_M[m]), high=float(high_M[m]))
            if below
            else Estimate()
        )
    return both[0], both[1]


def training_step(step: int, file: Path) -> TrainingStep | None:
    """Return what the record of a step's training responses says; None where it holds none.

    Raises RunError where it cannot be read.
    """
    table = read_columns(file, ["problem_id", "level", "verdict", "stop_reason"])
    if not table.num_rows:
        return None
    try:
        problem_B = _problems(table)
        verdict_B, stop_B, level_B = (
            np.array(table[name].cast(pyarrow.string()).to_pylist(), dtype=object)
            for name in ("verdict", "stop_reason", "level")
        )
    except pyarrow.ArrowException as error:
        raise RunError(f"{file} is no record of responses ({_brief(error)})") from error
    right_B = verdict_B == "correct"
    decided_B = ~np.isin(verdict_B.astype(str), sorted(UNDECIDED))
    levels = sorted({level for level in level_B if level}, key=level_order)
    return TrainingStep(
        step=step,
        accuracy=_mean_over_problems(problem_B, right_B, decided_B),
        clip_ratio=_mean_over_problems(problem_B, stop_B == "length", np.ones(len(stop_B), dtype=bool)),
        by_level={
            level: float(right_B[chosen].mean()) for level in levels if (chosen := (level_B == level) & decided_B).any()
        },
    )


def _mean_over_problems(problem_B: np.ndarray, hit_B: np.ndarray, counts_B: np.ndarray) -> Estimate:
    """Return the mean over problems of the share of hits, with a normal 95% interval over problems."""
    hits_P = np.bincount(problem_B, weights=hit_B * counts_B)
    of_P = np.bincount(problem_B, weights=counts_B)
    shares = hits_P[of_P > 0] / of_P[of_P > 0]
    if not len(shares):
        return Estimate()
    mean = float(shares.mean())
    if len(shares) == 1:
        return Estimate(value=mean)
    half = _NORMAL * float(shares.std(ddof=1)) / math.sqrt(len(shares))
    return Estimate(value=mean, low=max(0.0, mean - half), high=min(1.0, mean + half))


def level_order(level: str) -> tuple[int, float, str]:
    """Return a sort key of levels: numbers in their order, also within a text (`Level 10`), then names."""
    number = re.search(r"\d{1,9}", level)
    return (0, float(number[0]), level) if number else (1, 0.0, level)
