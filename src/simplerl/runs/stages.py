"""Evaluations in the order of training: those that a run made itself, and results of `simplerl eval`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.parquet

from simplerl.core.errors import ConfigError, RunError
from simplerl.runs.results import RESPONSES, Result, results
from simplerl.runs.trajectories import SCHEMA


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One evaluation: every response to one set of problems by one model."""

    label: str
    """Name of the model: `RUN@STEP`, or as the result has it."""
    step: int | None
    """Step of its run; None for a model that is of no run."""
    file: Path
    """The Parquet file of responses."""
    home: Path
    """The run or result directory that it is of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """Evaluations that differ in the weights alone, by step."""

    name: str
    path: Path
    """What was asked for: a run directory, or a directory of results."""
    stages: tuple[Stage, ...]

    @property
    def over_steps(self) -> bool:
        """Whether there are several steps to draw a curve over."""
        return len({stage.step for stage in self.stages if stage.step is not None}) > 1


def series(path: Path, warn: Callable[[str], None]) -> list[Series]:
    """Return the evaluations in a run directory (one series) or in a directory of results (one for each run, benchmark
    and protocol in it).

    Files that are still being written are not seen. `warn` is told of damaged results. Raises RunError where there is
    nothing to read.
    """
    if not path.is_dir():
        raise RunError(f"{path} does not exist; give a run directory, or a directory of results of `simplerl eval`")
    if is_run(path):
        name = path.resolve().name
        steps = evaluated(path)
        if not steps:
            raise RunError(f"{path} holds no evaluation yet; the first is made before the first step")
        return [Series(name=name, path=path, stages=tuple(_of_run(path, name, step) for step in steps))]
    groups: dict[tuple[str, ...], list[Result]] = {}
    for result in results(path, warn):
        groups.setdefault(_group(result), []).append(result)
    if not groups:
        raise RunError(
            f"{path} holds neither a run (evaluations/step_….parquet) nor a finished result of `simplerl eval`"
        )
    return [
        Series(name=" ".join(key[:2]), path=path, stages=tuple(_stage(result) for result in sorted(found, key=_step)))
        for key, found in groups.items()
    ]


def is_run(path: Path) -> bool:
    """Return whether a directory is that of a run, finished or not."""
    return (path / "evaluations").is_dir() and ((path / "config.json").is_file() or (path / "metrics.jsonl").is_file())


def evaluated(run: Path) -> list[int]:
    """Return the steps after which a run evaluated itself, in order."""
    names = (file.stem.removeprefix("step_") for file in (run / "evaluations").glob("step_*.parquet"))
    return sorted(int(name) for name in names if name.isdecimal())


def _of_run(run: Path, name: str, step: int) -> Stage:
    file = run / "evaluations" / f"step_{step:06d}.parquet"
    return Stage(label=f"{name}@{step}", step=step, file=file, home=run)


def _stage(result: Result) -> Stage:
    return Stage(label=result.model, step=result.protocol.get("step"), file=result.path / RESPONSES, home=result.path)


def _group(result: Result) -> tuple[str, ...]:
    """Return what evaluations of one series have in common."""
    protocol = result.protocol
    of_run = protocol.get("step") is not None
    model = result.model.rpartition("@")[0] if of_run else result.model
    same = (protocol.get(key) for key in ("template", "sampling", "samples", "seed", "data_sha256"))
    # Models of no run make a series each: one label may stand for two sets of weights.
    return (model, result.benchmark, *map(str, same), "" if of_run else str(result.path))


def _step(result: Result) -> int:
    return result.protocol.get("step") or 0


def choose(stages: Sequence[Stage], steps: str) -> list[Stage]:
    """Return the stages that `all`, `first`, `last` or numbers mean, several parted by commas, by step.

    Raises ConfigError for anything else, and for a step that was not evaluated.
    """
    wanted: set[int] = set()
    for part in (part.strip() for part in steps.split(",")):
        if part == "all":
            wanted |= set(range(len(stages)))
        elif part in ("first", "last"):
            wanted.add(0 if part == "first" else len(stages) - 1)
        elif part.isdecimal():
            found = {place for place, stage in enumerate(stages) if stage.step == int(part)}
            if not found:
                there = ", ".join(str(stage.step) for stage in stages if stage.step is not None) or "no steps"
                raise ConfigError(f"--steps: step {part} was not evaluated; there is {there}")
            wanted |= found
        else:
            raise ConfigError(f"--steps must be all, first, last or numbers such as 0,50,100; got {steps!r}")
    return [stages[place] for place in sorted(wanted)]


def read_columns(file: Path, needed: Sequence[str], optional: Sequence[str] = ()) -> list[Mapping[str, Any]]:
    """Return the rows of a Parquet file of responses with some of its columns; an optional one that is not there is
    None. Raises RunError, which names the file, where it cannot be read or holds something else."""
    try:
        schema = pyarrow.parquet.read_schema(file)
        if missing := [name for name in needed if name not in schema.names]:
            raise RunError(f"{file} is no record of judged responses: it has no column {', '.join(missing)}")
        names = [name for name in (*needed, *optional) if name in schema.names]
        if odd := [name for name in names if not _fits(name, schema.field(name).type)]:
            kinds = ", ".join(f"{name} ({schema.field(name).type})" for name in odd)
            raise RunError(f"{file} is no record of judged responses: it has columns of another type: {kinds}")
        table = pyarrow.parquet.read_table(file, columns=names)
        rows = table.to_pylist()
    except (OSError, pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise RunError(f"{file} cannot be read: {' '.join(str(error).split())[:200]}") from error
    if empty := [name for name in _IDENTIFYING if name in names and table[name].null_count]:
        raise RunError(f"{file} is no record of judged responses: {', '.join(empty)} is not known of every row")
    return [{**dict.fromkeys(optional), **row} for row in rows]


#: Without these a row is no judged response.
_IDENTIFYING = ("problem_id", "sample", "verdict")


def _fits(name: str, found: pyarrow.DataType) -> bool:
    """Return whether a column has the kind of type that a record has there: text or numbers, of any width."""
    types, wanted = pyarrow.types, SCHEMA.field(name).type
    found = found.value_type if types.is_dictionary(found) else found
    if types.is_string(wanted):
        return types.is_string(found) or types.is_large_string(found) or types.is_null(found)
    if types.is_integer(wanted):
        return types.is_integer(found)
    return types.is_floating(found) or types.is_integer(found) or types.is_null(found)


def list_means(file: Path, column: str) -> list[float | None]:
    """Return the mean of each row's list of numbers; None where it is null or empty; [] without such a column.

    Read in batches: lists of tokens are most of a file. Raises RunError where it cannot be read.
    """
    means: list[float | None] = []
    try:
        with pyarrow.parquet.ParquetFile(file) as parquet:
            if column not in parquet.schema_arrow.names:
                return []
            for batch in parquet.iter_batches(batch_size=1024, columns=[column]):
                lists = batch.column(0)
                lengths = pyarrow.compute.fill_null(pyarrow.compute.list_value_length(lists), 0).to_numpy()
                values = lists.flatten().to_numpy(zero_copy_only=False).astype(float)
                sums = np.bincount(np.repeat(np.arange(len(lists)), lengths), values, minlength=len(lists))
                means += [float(s / n) if n else None for s, n in zip(sums, lengths, strict=True)]
    except (OSError, pyarrow.ArrowException) as error:
        raise RunError(f"{file} cannot be read: {' '.join(str(error).split())[:200]}") from error
    return means
