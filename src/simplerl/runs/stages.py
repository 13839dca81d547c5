"""The names of `runs.series` from before it: to be removed when nobody imports them any more."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simplerl.runs import series as new
from simplerl.runs.responses import ResponseFile
from simplerl.runs.run import is_run as is_run


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """An evaluation."""

    label: str
    step: int | None
    file: Path
    home: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """Evaluations that differ in the weights alone, by step."""

    name: str
    path: Path
    stages: tuple[Stage, ...]

    @property
    def over_steps(self) -> bool:
        """Whether there are several steps to draw a curve over."""
        return len({stage.step for stage in self.stages if stage.step is not None}) > 1


def series(path: Path, warn: Callable[[str], None]) -> list[Series]:
    """See `runs.series.series`."""

    def quiet(sentence: str) -> None:
        if "has no figures beside it" not in sentence:
            warn(sentence)

    return [
        Series(
            name=one.name,
            path=one.path,
            stages=tuple(Stage(label=e.label, step=e.step, file=e.path, home=e.home) for e in one.evaluations),
        )
        for one in new.series(path, quiet)
    ]


def choose(stages: Sequence[Stage], steps: str) -> list[Stage]:
    """See `runs.series.choose`."""
    return new.choose(stages, steps)  # type: ignore[arg-type, return-value]


def read_columns(file: Path, needed: Sequence[str], optional: Sequence[str] = ()) -> list[Mapping[str, Any]]:
    """See `ResponseFile.read`."""
    return ResponseFile(file).read([*needed, *optional]).to_pylist()


def list_means(file: Path, column: str) -> list[float | None]:
    """See `ResponseFile.list_means`."""
    return ResponseFile(file).list_means(column)
