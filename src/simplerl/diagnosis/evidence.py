"""Read what the rules judge from a directory: a run, also one that is being written, or a result of `simplerl eval`.

Bounded: of the metrics the numbers, of the responses those of some steps. What is damaged is named and left out.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.compute
import pyarrow.parquet

from simplerl.diagnosis.history import Example, History, is_number
from simplerl.diagnosis.look import Response, look
from simplerl.diagnosis.rules.policy import NOT_FINITE
from simplerl.errors import RunError
from simplerl.runs.files import flatten
from simplerl.runs.metrics import MetricLines
from simplerl.runs.results import RESPONSES

#: Steps whose responses are read: the first, the last, and some evenly between.
LOOKS = 12
#: Rows read of a step (its problems stand in random order) and of an evaluation, and characters kept of one response
#: (its two ends): what the memory may hold.
MOST_ROWS, MOST_EVALUATED = 1024, 16_384
MOST_CHARACTERS = 20_000

COLUMNS = ("problem_id", "sample", "question", "response", "verdict", "reward", "token_ids")
#: Columns that only newer records have.
OPTIONAL = ("rule",)
_STEP = re.compile(r"step_(\d{1,12})\.parquet")


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was found in a directory."""

    history: History
    looked: tuple[int, ...]
    """Steps whose responses were read."""
    measured: int
    """Steps of training whose metrics are known."""
    warnings: tuple[str, ...]


def read(path: Path, *, window: int = 10) -> Evidence:
    """Return what there is to judge. Raises RunError where a directory holds neither a run nor a result."""
    if not path.is_dir():
        raise RunError(f"{path} is {'a file' if path.exists() else 'not there'}; give a run directory")
    warnings: list[str] = []
    if (path / RESPONSES).is_file() and not (path / "metrics.jsonl").exists():
        figures, examples = look(0, responses(path / RESPONSES, warnings, most=MOST_EVALUATED))
        history = History((), kind="evaluation")
        history.add({"step": 0, **figures}, examples)
        return Evidence(history=history, looked=(0,) if figures else (), measured=0, warnings=tuple(warnings))
    if not (path / "metrics.jsonl").exists() and not (path / "config.json").exists():
        inside = sorted(entry.parent.name for entry in path.glob("*/metrics.jsonl"))
        found = f"; runs in it: {', '.join(inside[:8])}{' …' if len(inside) > 8 else ''}" if inside else ""
        raise RunError(f"{path} holds no run and no result of simplerl eval{found}; give the directory of one")
    config = _table(path / "config.json", warnings)
    stage = _table(path / "stage.json", warnings) if (path / "stage.json").exists() else {}
    kind = str(stage.get("stage", "train"))
    lines = metric_lines(path / "metrics.jsonl", warnings)
    seen, shown = looks(path, kind, warnings)
    if seen and not (path / "metrics.jsonl").exists():
        warnings.append(f"{path / 'metrics.jsonl'} is not there: only responses are judged")
    merged: dict[int, dict[str, Any]] = {line["step"]: line for line in lines}
    for step, figures in seen.items():
        merged[step] = {"step": step, **merged.get(step, {}), **figures}
    history = History((), config=config, kind=kind, window=window)
    for step in sorted(merged):
        history.add(merged[step], shown.get(step))
    measured = sum(step > 0 for step in {line["step"] for line in lines})
    return Evidence(history=history, looked=tuple(seen), measured=measured, warnings=tuple(warnings))


def _table(file: Path, warnings: list[str]) -> dict[str, Any]:
    """Return dotted key → value of a JSON file; nothing, and a warning, where it is damaged."""
    try:
        if not file.is_file():  # A pipe would never end.
            raise OSError("it is no file")
        found = json.loads(file.read_text(encoding="utf-8"))
        found = flatten(found) if isinstance(found, dict) else found
    except (OSError, ValueError, RecursionError) as error:
        warnings.append(f"{file} cannot be read and is left out: {error}")
        return {}
    if not isinstance(found, dict):
        warnings.append(f"{file} is no table and is left out")
        return {}
    return found


def metric_lines(file: Path, warnings: list[str]) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl, with `doctor/not_finite` added."""
    if not file.exists():
        return []
    try:
        found = MetricLines(path=file).refresh()
    except RunError as error:
        warnings.append(str(error))
        return []
    warnings += [f"{file}:{number} is damaged and left out" for number in found.damaged]
    return [with_flags(line) for line in found.by_step.values()]


def with_flags(line: dict[str, Any]) -> dict[str, Any]:
    """Return a line with 1 for `doctor/not_finite` where its loss or gradient norm is there and no number, else 0."""
    watched = [name for name in ("policy/loss", "sft/loss", "optimizer/grad_norm") if name in line]
    if not watched:
        return line
    return {**line, NOT_FINITE: int(not all(is_number(line[name]) for name in watched))}


def looks(
    path: Path, kind: str, warnings: list[str]
) -> tuple[dict[int, dict[str, float]], dict[int, dict[str, list[Example]]]]:
    """Return step → figures and step → examples of some steps' responses: training's, after SFT the evaluations'."""
    folder = path / ("evaluations" if kind == "sft" else "trajectories")
    files = {}
    for file in folder.glob("step_*.parquet"):
        if (match := _STEP.fullmatch(file.name)) and file.is_file():
            files[int(match[1])] = file
    whole = [step for step in sorted(files) if _opens(files[step], warnings)]
    figures, examples = {}, {}
    for step in spread(whole, LOOKS):
        found, shown = look(step, responses(files[step], warnings))
        if found:
            figures[step], examples[step] = found, shown
    return figures, examples


def spread(items: Sequence[int], count: int) -> list[int]:
    """Return at most `count` items evenly apart, the first and the last among them."""
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def _opens(file: Path, warnings: list[str]) -> bool:
    """Return whether a file is Parquet as far as its end tells; a damaged one is named."""
    try:
        with pyarrow.parquet.ParquetFile(file) as opened:
            missing = [name for name in COLUMNS if name not in opened.schema_arrow.names]
    except (OSError, pyarrow.ArrowException) as error:
        warnings.append(f"{file} is damaged and left out: {_first_line(error)}")
        return False
    if missing:
        warnings.append(f"{file} is no record of responses and left out: no column {', '.join(missing)}")
    return not missing


def responses(file: Path, warnings: list[str], *, most: int = MOST_ROWS) -> list[Response]:
    """Return the first responses of a file, read few at a time; none, and a warning, where it is damaged."""
    found: list[Response] = []
    try:
        with pyarrow.parquet.ParquetFile(file) as opened:
            there = set(opened.schema_arrow.names)
            names = [name for name in (*COLUMNS, *OPTIONAL) if name in there]
            for batch in opened.iter_batches(batch_size=64, columns=names):
                found += _rows(batch)
                if len(found) >= most:
                    break
    except (OSError, pyarrow.ArrowException, KeyError, TypeError, ValueError, OverflowError) as error:
        warnings.append(f"{file} is damaged and left out: {_first_line(error)}")
        return []
    return found


def _rows(batch: pyarrow.RecordBatch) -> Iterable[Response]:
    columns = {name: batch.column(name) for name in batch.schema.names}
    lengths = pyarrow.compute.list_value_length(columns["token_ids"]).to_pylist()
    read = {name: column.to_pylist() for name, column in columns.items() if name != "token_ids"}
    rewards, rules = (read.get(name, [None] * len(lengths)) for name in ("reward", "rule"))
    return [
        Response(
            problem_id=str(problem_id),
            sample=int(sample or 0),
            question=_kept(question),
            text=_kept(response),
            tokens=length,
            status=str(verdict),
            reward=float(reward) if is_number(reward) else None,
            rule=str(rule or ""),
        )
        for problem_id, sample, question, response, verdict, reward, length, rule in zip(
            read["problem_id"],
            read["sample"],
            read["question"],
            read["response"],
            read["verdict"],
            rewards,
            lengths,
            rules,
            strict=True,
        )
    ]


def _kept(text: object) -> str:
    """Return a text, or its two ends where it is very long."""
    text = text if isinstance(text, str) else "" if text is None else str(text)
    half = MOST_CHARACTERS // 2
    return text if len(text) <= MOST_CHARACTERS else text[:half] + text[-half:]


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
