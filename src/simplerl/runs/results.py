"""Results of `simplerl eval`, one model on one benchmark under one protocol each, and evaluations in series.

    OUT/MODEL/BENCHMARK/KEY/
        protocol.json        everything that matters for the result; its hash is in KEY
        parts/part_N.parquet responses of some problems, while the evaluation runs
        responses.parquet    all of them, when it is complete
        figures.json         what they come to; says that the evaluation is complete
        timing.json          seconds and machine: what may differ between two equal results

KEY names the protocol, so that another temperature or another checkpoint under the same name is another directory:
nothing is skipped or overwritten by mistake.
"""

import hashlib
import json
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pyarrow

from simplerl.core.errors import ConfigError, RunError
from simplerl.core.types import TrajectoryGroup
from simplerl.runs.files import LockedDirectory, write_json, writing
from simplerl.runs.responses import ResponseFile, write_table, write_trajectories
from simplerl.runs.run import FIGURES, PROTOCOL, RESPONSES, TIMING, Evaluation, Run, find_runs, is_run

T = TypeVar("T")
#: What decides how a model is measured, as far as a protocol says it: evaluations that differ here are not alike.
HOW = ("template", "sampling", "samples", "seed", "policy", "environment")


def how(protocol: Mapping[str, Any]) -> str:
    """Return in words how a model was measured, as far as the protocol says it (not of responses made elsewhere)."""
    s, p = protocol["sampling"], protocol
    said = [p["template"]["name"], f"t {s.get('temperature')}", f"n {p['samples']}", f"max {s.get('max_new_tokens')}"]
    said += [f"{p['problems']} problems", f"seed {p['seed']}", p.get("policy"), p.get("environment", {}).get("name")]
    return ", ".join(word for word in said if word and not word.endswith("None"))


def slug(name: str) -> str:
    """Return a name that is one path component and cannot lead elsewhere."""
    return re.sub(r"[^\w.@+=-]+", "-", name).strip("-.") or "unnamed"


def key_of(shown: str, protocol: Mapping[str, Any]) -> str:
    """Return `shown` and a hash of the complete protocol."""
    canonical = json.dumps(protocol, sort_keys=True, ensure_ascii=False)
    return f"{slug(shown)}_{hashlib.sha256(canonical.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


class ResultDirectory(LockedDirectory):
    """One evaluation that is being made, or is complete."""

    folders = ("parts",)

    @property
    def complete(self) -> bool:
        """Whether there is nothing left to do."""
        return (self.path / FIGURES).is_file() and (self.path / RESPONSES).is_file()

    @property
    def protocol(self) -> dict[str, Any]:
        """The protocol that was written; empty where none was. Raises RunError where it cannot be read."""
        file = self.path / PROTOCOL
        try:
            return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        except ValueError as error:
            raise RunError(f"{file} is damaged: {error}; delete the directory to begin again") from error

    def begin(self, protocol: Mapping[str, Any], *, overwrite: bool) -> None:
        """Write the protocol, keeping what is there already unless `overwrite`."""
        if overwrite:
            # The figures go first: a process that ends here must not leave old ones beside new responses.
            old = [self.path / name for name in (FIGURES, RESPONSES, TIMING)]
            with writing(self.path):
                for file in [*old, *(self.path / "parts").iterdir()]:
                    file.unlink(missing_ok=True)
        write_json(self.path / PROTOCOL, dict(protocol))

    def fill(
        self,
        problems: Sequence[T],
        sample: Callable[[Sequence[T]], Sequence[TrajectoryGroup]],
        *,
        size: int,
        step: int = 0,
        on_start: Callable[[int], None] = lambda done: None,
    ) -> ResponseFile:
        """Sample what is missing, `size` problems at a time, each part saved when it is done; return all responses.

        A part that cannot be read to its end is made again. `on_start` gets how many problems are done already.
        """
        starts = range(0, len(problems), size)
        parts = [(start, self.path / "parts" / f"part_{number:05d}.parquet") for number, start in enumerate(starts)]
        missing = [(start, path) for start, path in parts if not _is_complete(path)]
        on_start(len(problems) - sum(len(problems[start : start + size]) for start, _ in missing))
        for start, path in missing:
            write_trajectories(path, step, sample(problems[start : start + size]))
        tables = [ResponseFile(path).read() for _, path in parts]
        write_table(self.path / RESPONSES, pyarrow.concat_tables(tables))
        return ResponseFile(self.path / RESPONSES)

    def finish(self, figures: Mapping[str, Any], timing: Mapping[str, Any] | None = None) -> None:
        """Write what came of it, or other figures of the same responses; the parts are no longer needed."""
        if timing is not None:
            write_json(self.path / TIMING, dict(timing))
        write_json(self.path / FIGURES, dict(figures))
        shutil.rmtree(self.path / "parts", ignore_errors=True)


def _is_complete(part: Path) -> bool:
    try:
        ResponseFile(part).read()
    except RunError:
        return False
    return True


def series(path: Path, warn: Callable[[str], None]) -> list[tuple[str, list[Evaluation]]]:
    """Return (name, evaluations that differ in the weights alone, by step): of a run directory one series, of a
    directory of results one for each run, benchmark and protocol in it.

    Files that are still being written are not seen. `warn` gets what is damaged and left out. Raises RunError where
    there is nothing to read.
    """
    if is_run(path):
        run = Run(path, warn=warn)
        evaluations = [one for one in run.evaluations if one.path.exists()]
        if not evaluations:
            raise RunError(f"{path} has no evaluation yet; the first is made before the first step")
        return [(run.name, evaluations)]
    if not path.is_dir():
        raise RunError(f"{path} does not exist; give a run directory, or a directory of results of `simplerl eval`")
    groups = defaultdict[tuple[str, ...], list[Evaluation]](list)
    for evaluation in results(path, warn):
        groups[_group(evaluation)].append(evaluation)
    if not groups:
        raise RunError(f"{path} holds neither a run nor a finished result of `simplerl eval`")
    return [(" ".join(key[:2]), sorted(group, key=lambda one: one.step or 0)) for key, group in groups.items()]


class Reading(NamedTuple):
    """What was made of the evaluations of a series."""

    name: str
    ending: str  # What the names of its files end with, so that those of several series are different
    values: list[Any]
    left_out: list[str]  # Evaluations that could not be read, each with its reason


def read_series(
    path: Path,
    steps: str,
    read: Callable[[Evaluation], Any],
    *,
    warn: Callable[[str], None] = lambda message: None,
    on_done: Callable[[], None] = lambda: None,
) -> list[Reading]:
    """Return what `read` makes of the evaluations that `steps` chooses, for each series in a run or in results.

    `warn` hears of a damaged file, which is left out. Raises RunError where nothing of a series can be read.
    """
    every, readings = series(path, warn), []
    for number, (name, evaluations) in enumerate(every, 1):
        ending = "" if len(every) == 1 else f"_{number}_{slug(name)}"
        readings.append(Reading(name, ending, [], []))
        for evaluation in choose(evaluations, steps):
            try:
                readings[-1].values.append(read(evaluation))
            except RunError as error:
                readings[-1].left_out.append(f"{error}: left out")
                warn(readings[-1].left_out[-1])
            on_done()
        if not readings[-1].values:
            raise RunError(f"{path}: no evaluation of {name} can be read; {'; '.join(readings[-1].left_out)}")
    return readings


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
    same = (evaluation.protocol.get(key) for key in (*HOW, "data_sha256", "problems"))
    # Models that are not of a run make a series each: one label may stand for two sets of weights.
    return (model, evaluation.benchmark, *map(str, same), "" if of_run else str(evaluation.home))


def choose(
    items: Sequence[Any],
    steps: str,
    missing: Callable[[str, str], str] = lambda step, there: f"step {step} was not evaluated; there is {there}",
) -> list[Any]:
    """Return the items, each with a `step`, that `all`, `first`, `last` or numbers mean, several parted by commas.

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
