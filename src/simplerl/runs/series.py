"""Evaluations in the order of training: those that a run made itself, and results of `simplerl eval`."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from simplerl.core.errors import ConfigError, RunError
from simplerl.runs.run import Evaluation, Run, find_runs, is_run


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """Evaluations that differ in the weights alone, by step."""

    name: str
    path: Path  # What was asked for: a run directory, or a directory of results
    evaluations: tuple[Evaluation, ...]

    @property
    def over_steps(self) -> bool:
        """Whether there are several steps to draw a curve over."""
        return len({one.step for one in self.evaluations if one.step is not None}) > 1


def series(path: Path, warn: Callable[[str], None]) -> list[Series]:
    """Return the evaluations in a run directory (one series) or in a directory of results (one for each run, benchmark
    and protocol in it).

    Files that are still being written are not seen. `warn` gets what is damaged and left out. Raises RunError where
    there is nothing to read.
    """
    if is_run(path):
        run = Run(path, warn=warn)
        evaluations = tuple(one for one in run.evaluations if one.path.exists())
        if not evaluations:
            raise RunError(f"{path} has no evaluation yet; the first is made before the first step")
        return [Series(name=run.name, path=path, evaluations=evaluations)]
    if not path.is_dir():
        raise RunError(f"{path} does not exist; give a run directory, or a directory of results of `simplerl eval`")
    groups = defaultdict[tuple[str, ...], list[Evaluation]](list)
    for evaluation in results(path, warn):
        groups[_group(evaluation)].append(evaluation)
    if not groups:
        raise RunError(f"{path} holds neither a run nor a finished result of `simplerl eval`")
    return [
        Series(name=" ".join(key[:2]), path=path, evaluations=tuple(sorted(group, key=lambda one: one.step or 0)))
        for key, group in groups.items()
    ]


def results(path: Path, warn: Callable[[str], None] | None = None) -> list[Evaluation]:
    """Return the finished evaluations of `simplerl eval` in a directory, however deep, by path.

    A damaged one is left out and passed to `warn`; without it, it raises RunError. None where there is no directory.
    """
    evaluations: list[Evaluation] = []
    for run in find_runs(path, warn or (lambda message: None)) if path.is_dir() else []:
        if run.is_result and run.finished:
            evaluations += run.evaluations
            for sentence in () if run.evaluations else run.damage:
                if warn is None:
                    raise RunError(
                        f"{sentence.removesuffix(': left out')}; evaluate again with --overwrite, move its directory "
                        "away, or choose another --output-dir"
                    )
                warn(f"left out: {sentence.removesuffix(': left out')}")
    return evaluations


def _group(evaluation: Evaluation) -> tuple[str, ...]:
    """Return what evaluations of one series have in common."""
    of_run = evaluation.step is not None
    model = evaluation.label.rpartition("@")[0] if of_run else evaluation.label
    same = (evaluation.protocol.get(key) for key in ("template", "sampling", "samples", "seed", "data_sha256"))
    # Models that are not of a run make a series each: one label may stand for two sets of weights.
    return (model, evaluation.benchmark, *map(str, same), "" if of_run else str(evaluation.home))


class _HasStep(Protocol):
    @property
    def step(self) -> int | None: ...


Item = TypeVar("Item", bound=_HasStep)


def choose(
    items: Sequence[Item],
    steps: str,
    missing: Callable[[str, str], str] = lambda step, there: f"step {step} was not evaluated; there is {there}",
) -> list[Item]:
    """Return the items that `all`, `first`, `last` or numbers mean, several parted by commas, in their order.

    Raises ConfigError for anything else, and with the sentence of `missing` for a step that is not there.
    """
    chosen: set[int] = set()
    for part in (part.strip() for part in steps.split(",")):
        if part == "all":
            chosen |= set(range(len(items)))
        elif part in ("first", "last"):
            chosen.add(0 if part == "first" else len(items) - 1)
        elif part.isdecimal():
            indices = {index for index, item in enumerate(items) if item.step == int(part)}
            if not indices:
                there = ", ".join(str(item.step) for item in items if item.step is not None) or "no steps"
                raise ConfigError(f"--steps: {missing(part, there)}")
            chosen |= indices
        else:
            raise ConfigError(f"--steps must be all, first, last or numbers such as 0,50,100; got {steps!r}")
    return [items[index] for index in sorted(chosen)]
