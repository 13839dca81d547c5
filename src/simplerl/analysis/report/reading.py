"""Read run directories for a report: whatever is whole is shown, whatever is not is named.

A run may still be written, copied half, or damaged. Only a directory that is no run at all is an error.
"""

import json
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from simplerl.analysis.report.records import Estimate, Evaluation, Found, Run, TrainingStep
from simplerl.analysis.report.responses import lengths, training_step
from simplerl.core.errors import RunError
from simplerl.runs.files import flatten
from simplerl.runs.metrics import MetricLines, as_number
from simplerl.runs.results import FIGURES
from simplerl.runs.run import unified
from simplerl.runs.series import results

_RECORD = re.compile(r"step_(\d{1,12})\.(json|parquet)")


def gather(paths: Sequence[Path], *, progress: Callable[[str], None] = lambda _: None) -> Found:
    """Read runs and result directories. Raises RunError where a path is neither.

    `progress` is told the name of each path as its reading begins.
    """
    runs: list[Run] = []
    found: list[Any] = []
    damage: list[str] = []
    labels = labels_of(paths)
    for path, label in zip(paths, labels, strict=True):
        progress(str(path))
        if is_run(path):
            try:
                runs.append(read_run(path, label))
            except RecursionError:
                raise RunError(f"{path}: a JSON file of it is nested too deeply to be a run's; restore it") from None
        else:
            found += _results(path, damage)
    return Found(runs=tuple(runs), results=tuple(found), damage=tuple(damage))


def labels_of(paths: Sequence[Path]) -> list[str]:
    """Return a name for each path: its last component, with more of the path where two would be equal."""
    whole = [path.expanduser().resolve() for path in paths]
    if twice := {path for path in whole if whole.count(path) > 1}:
        raise RunError(f"{sorted(twice)[0]} is given twice")
    labels = []
    for path in whole:
        parts = path.parts
        count = 1
        while count < len(parts) and sum(other.parts[-count:] == parts[-count:] for other in whole) > 1:
            count += 1
        labels.append("/".join(parts[-count:]))
    return labels


def is_run(path: Path) -> bool:
    """Return whether a directory holds a run's configuration. Raises RunError where there is no directory."""
    if not path.expanduser().exists():
        raise RunError(f"{path} does not exist; give the directory of a run, or of results of `simplerl eval`")
    if not path.is_dir():
        raise RunError(f"{path} is a file; give the directory of a run, or of results of `simplerl eval`")
    config = path / "config.json"
    if not config.is_file():
        return False
    table = _json(config)
    if not isinstance(table, dict):
        if (path / "metrics.jsonl").exists():
            raise RunError(f"{config} is damaged, and says what the run is; restore it from a copy")
        return False
    return {"model", "data", "steps"} <= table.keys()


def _results(path: Path, damage: list[str]) -> list[Any]:
    """Return the results in a directory that is no run."""
    found = list(results(path, damage.append))
    if found or damage:
        return found
    inside = sorted(entry.name for entry in path.iterdir() if entry.is_dir() and (entry / "config.json").is_file())
    runs = [name for name in inside if is_run(path / name)]
    if runs:
        raise RunError(f"{path} holds {len(runs)} runs ({', '.join(runs[:5])}); give them: simplerl report {path}/*")
    if next(path.iterdir(), None) is None:
        raise RunError(f"{path} is empty; give the directory of a run, or of results of `simplerl eval`")
    raise RunError(
        f"{path} is no run (no config.json of one) and holds no finished evaluation ({FIGURES}); give the directory "
        "that `simplerl train --output-dir` or `simplerl eval --output-dir` wrote"
    )


def read_run(path: Path, label: str) -> Run:
    """Read a run as far as it can be read."""
    damage: list[str] = []
    remarks: list[str] = []
    config = _json(path / "config.json")
    stage = _table(path / "stage.json", damage)
    environment = _table(path / "environment.json", damage)
    summary = _table(path / "summary.json", damage)
    lines, pending = _metrics(path, damage)
    evaluations = _evaluations(path, damage)
    training = _training(path, damage)
    sessions = environment.get("sessions", [])
    finished = bool(summary) and bool(lines)
    planned, budget = config.get("steps"), config.get("token_budget")
    if not lines:
        remarks.append("No step is recorded yet.")
    elif not finished:
        age = max(0.0, time.time() - (path / "metrics.jsonl").stat().st_mtime)
        whole = f"{budget:,} tokens" if budget else f"{planned}"
        remarks.append(
            f"Not finished: shown up to its last complete line, step {int(lines[-1]['step'])} of {whole}, written "
            f"{_ago(age)} ago."
        )
    if pending:
        remarks.append("The last line of metrics.jsonl is still being written, and was left out.")
    if not evaluations:
        remarks.append("It has no held-out evaluation.")
    elif evaluations[0].step != 0:
        remarks.append("The base model was not evaluated (no step 0): there is no before.")
    return Run(
        path=path,
        label=label,
        stage=str(stage.get("stage") or stage.get("command") or "train"),
        settings=flatten(config),
        sessions=tuple(s for s in sessions if isinstance(s, dict)) if isinstance(sessions, list) else (),
        lines=tuple(lines),
        evaluations=tuple(evaluations),
        training=tuple(training),
        finished=finished,
        seconds=as_number(summary.get("seconds", sum(line.get("time/step", 0.0) for line in lines))),
        ended_by=str(summary.get("ended_by", "")),
        remarks=tuple(remarks),
        damage=tuple(damage),
    )


def _ago(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _json(path: Path) -> Any:
    """Return the content of a JSON file; None where it is missing, no file (a pipe would never end), or damaged."""
    try:
        if not path.is_file():
            return None
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _table(path: Path, damage: list[str]) -> dict[str, Any]:
    """Return a JSON file that must hold a table; empty where it is missing, or damaged, which is said."""
    if not path.exists():
        return {}
    content = _json(path)
    if isinstance(content, dict):
        return content
    damage.append(f"{path} is damaged (no JSON table): left out")
    return {}


def _metrics(path: Path, damage: list[str]) -> tuple[list[dict[str, float]], bool]:
    """Return the lines of metrics.jsonl with their numbers, and whether the last one is still being written."""
    file = path / "metrics.jsonl"
    if not file.exists():
        return [], False
    try:
        found = MetricLines(path=file).refresh()
    except RunError as error:
        damage.append(f"{error}: left out")
        return [], False
    damage += [f"{file}:{number} is damaged: this line is left out" for number in found.damaged]
    lines = []
    for step, line in sorted(found.by_step.items()):
        known = {name: as_number(value) for name, value in line.items()}
        odd = [name for name, value in line.items() if value is not None and math.isnan(known[name])]
        if odd:
            damage.append(f"{file}, step {step}: {', '.join(odd)[:200]} is no number: left out")
        lines.append({name: value for name, value in known.items() if not math.isnan(value)})
    return lines, found.unfinished


def _records(folder: Path, kind: str, damage: list[str]) -> dict[int, Path]:
    """Return step → file of the records in a folder, in order of steps; names that are no step's are told."""
    found: dict[int, Path] = {}
    try:
        entries = sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        damage.append(f"{folder} cannot be read ({error.strerror}): left out")
        return {}
    for entry in entries:
        match = _RECORD.fullmatch(entry.name)
        if (match is None or not entry.is_file()) and not entry.name.startswith("."):
            damage.append(f"{entry} is no record of a step: left out")
        elif match is not None and match[2] == kind:
            found[int(match[1])] = entry
    return dict(sorted(found.items()))


def _estimate(value: Any) -> Estimate:
    """Return `{"value", "low", "high"}` of a record; whatever is no number is NaN."""
    if not isinstance(value, dict):
        return Estimate()
    return Estimate(**{end: as_number(value.get(end)) for end in ("value", "low", "high")})


def _evaluations(path: Path, damage: list[str]) -> list[Evaluation]:
    """Return the evaluations that have figures, in order of steps."""
    folder = path / "evaluations"
    figures = _records(folder, "json", damage)
    responses = _records(folder, "parquet", [])
    found = []
    for step, file in figures.items():
        table = _json(file)
        table = unified(table) if isinstance(table, dict) else table
        if not isinstance(table, dict) or not _estimate(table.get("acc")).known:
            damage.append(f"{file} is damaged: the evaluation of step {step} is left out")
            continue
        own: Path | None = responses.get(step)
        length, stopped = (
            _estimate(table.get("tokens")),
            _estimate(table.get("stop_tokens")),
        )
        if own is None:
            damage.append(f"{file.with_suffix('.parquet')} is missing: step {step} has figures, but no responses")
        else:
            try:
                length, stopped = lengths(own) or (length, stopped)
            except RunError as error:
                damage.append(f"{error}: the responses of step {step} are left out, its figures are shown")
                own = None
        found.append(_evaluation(step, table, length, stopped, own))
    for step in responses.keys() - figures.keys():
        damage.append(f"{responses[step]} has no figures beside it: the evaluation of step {step} is left out")
    return found


def _evaluation(
    step: int, table: Mapping[str, Any], length: Estimate, stopped: Estimate, own: Path | None
) -> Evaluation:
    pass_at, levels = (table.get(name) for name in ("pass@k", "by_level"))
    whole = {name: table.get(name) for name in ("problems", "samples")}
    return Evaluation(
        step=step,
        accuracy=_estimate(table.get("acc")),
        pass_at={
            int(k): _estimate(v)
            for k, v in sorted(_items(pass_at), key=lambda item: int(item[0]) if item[0].isdecimal() else 0)
            if k.isdecimal() and 0 < int(k) < 10**6 and _estimate(v).known
        },
        by_level={level: _estimate(v) for level, v in _items(levels) if _estimate(v).known},
        length=length,
        stopped=stopped,
        clip_ratio=_estimate(table.get("clip_ratio")).value,
        boxed=_estimate(table.get("answer_ratio")).value,
        temperature=as_number(table.get("temperature")),
        responses=own,
        **{name: value if isinstance(value, int) else None for name, value in whole.items()},
    )


def _items(value: Any) -> Iterable[tuple[str, Any]]:
    return value.items() if isinstance(value, dict) else ()


def _training(path: Path, damage: list[str]) -> list[TrainingStep]:
    """Return what every readable record of training responses says; damaged ones are named by their step."""
    found = []
    for step, file in _records(path / "trajectories", "parquet", damage).items():
        try:
            if (one := training_step(step, file)) is not None:
                found.append(one)
        except RunError as error:
            damage.append(f"{error}: the responses of step {step} are left out")
    return found
