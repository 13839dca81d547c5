"""Evaluations side by side: the table that people read, SimpleRL-Zoo's CSV, and everything as JSON.

Reads result directories (`runs.results`) and nothing else.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simplerl.ops.statistics import mean_of_estimates
from simplerl.runs.files import write_atomic, write_json
from simplerl.runs.results import Result

#: Columns per benchmark of the original's `eval_results.csv`, in its order → (our figure, factor).
CSV_COLUMNS: dict[str, tuple[str, float]] = {
    "acc": ("acc", 100.0),
    "pass_acc": ("any_correct", 100.0),
    "tokens": ("tokens", 1.0),
    "keywords": ("keywords", 1.0),
    "correct_tokens": ("correct_tokens", 1.0),
    "wrong_tokens": ("wrong_tokens", 1.0),
    "clip_ratio": ("clip_ratio", 1.0),
    "stop_tokens": ("stop_tokens", 1.0),
    "stop_ratio": ("stop_ratio", 1.0),
    "box_ratio": ("box_ratio", 1.0),
    "repeat_ratio": ("repeat_ratio", 1.0),
}

#: The six benchmarks of the paper's "Avg.", AIME24 by pass@1.
PAPER_AVERAGE = ("gsm8k", "math500", "minerva_math", "olympiadbench", "aime24", "amc23")


def rows(results: Sequence[Result]) -> dict[str, dict[str, Result]]:
    """Return row → benchmark → result. A row is a model under one protocol, so that no average mixes two; a further
    model of the same name, and a further protocol, make rows of their own. Benchmarks with a sample count of their own
    (`aime24@32`) go with the model's first row that has room."""
    table: dict[str, dict[str, Result]] = {}
    keys: dict[str, tuple[Any, Any]] = {}
    for result in sorted(results, key=_order):
        model, protocol = _key(result)
        own = "@" in result.benchmark
        name = next(
            (
                name
                for name, (of_model, of_protocol) in keys.items()
                if of_model == model
                and result.benchmark not in table[name]
                and (own or of_protocol in (None, protocol))
            ),
            None,
        )
        if name is None:
            name = _free_name(result, table, twin=any(k[0][0] == model[0] and k[0] != model for k in keys.values()))
            table[name], keys[name] = {}, (model, None)
        table[name][result.benchmark] = result
        keys[name] = (model, keys[name][1] if own else protocol)
    return table


def _key(result: Result) -> tuple[Any, Any]:
    """Return what tells models apart (the label alone does not), and what tells their protocols apart."""
    protocol = result.protocol
    weights = protocol.get("weights_sha256") or protocol.get("model")
    return (result.model, weights), [protocol.get(name) for name in ("template", "sampling", "samples", "seed")]


def _free_name(result: Result, taken: Mapping[str, Any], *, twin: bool) -> str:
    base = f"{result.model} ({result.protocol.get('model')})" if twin else result.model
    numbered = (f"{base} #{number}" for number in range(3, len(taken) + 4))
    return next(n for n in (base, f"{base} ({_shown(result.protocol)})", *numbered) if n not in taken)


def _order(result: Result) -> tuple[Any, ...]:
    run, _, _ = result.model.rpartition("@")
    return (run or result.model, result.protocol.get("step") or 0, result.benchmark, result.path.name)


def _shown(protocol: Mapping[str, Any]) -> str:
    temperature = protocol["sampling"].get("temperature")  # Not known of responses that were made elsewhere.
    return (
        f"{protocol['template']['name']}, t {temperature}, n {protocol['samples']}, "
        f"{protocol['problems']} problems, seed {protocol['seed']}"
    )


def averages(row: Mapping[str, Result]) -> dict[str, Any]:
    """Return the mean accuracy over a row's benchmarks (those with a sample count of their own left out, so that AIME24
    counts once), and the paper's average where its six are all there; each with a 95% interval."""
    plain = {name: result for name, result in row.items() if "@" not in name}
    found = {"acc": _mean([result.figures["acc"] for result in plain.values()])}
    if all(name in plain for name in PAPER_AVERAGE):
        found["paper_acc"] = _mean([plain[name].figures["acc"] for name in PAPER_AVERAGE])
    return found


def _mean(figures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    known = [f for f in figures if f["value"] is not None]
    if not known:
        return {"value": math.nan, "low": math.nan, "high": math.nan}
    return dict(zip(("value", "low", "high"), mean_of_estimates(known), strict=True))


def to_csv(results: Sequence[Result]) -> str:
    """Return the rows with the columns of the original's `eval_results.csv`: accuracies in per cent, then averages."""
    table = rows(results)
    names = list(dict.fromkeys(name for row in table.values() for name in row))
    header = ["model", *(f"{name}_{column}" for name in names for column in CSV_COLUMNS)]
    header += [f"avg_{column}" for column in CSV_COLUMNS]
    output = io.StringIO()
    writer = csv.DictWriter(output, header, restval="", lineterminator="\n")
    writer.writeheader()
    for model, row in table.items():
        cells: dict[str, Any] = {"model": model}
        for column, (figure, factor) in CSV_COLUMNS.items():
            values = []
            for name, result in row.items():
                value = result.figures[figure]["value"]
                cells[f"{name}_{column}"] = "" if value is None else round(factor * value, 4)
                if value is not None and "@" not in name:
                    values.append(factor * value)
            cells[f"avg_{column}"] = round(sum(values) / len(values), 4) if values else ""
        writer.writerow(cells)
    return output.getvalue()


def to_json(results: Sequence[Result]) -> dict[str, Any]:
    """Return every protocol and figure, by row and benchmark."""
    return {
        model: {
            "average": averages(row),
            "benchmarks": {
                name: {"protocol": result.protocol, "figures": result.figures} for name, result in row.items()
            },
        }
        for model, row in rows(results).items()
    }


def cell(figure: Mapping[str, Any] | None, *, percent: bool = True) -> str:
    """Return `52.1 [49.4, 54.8]`, a dash where there is no value."""
    if figure is None or figure["value"] is None or figure["value"] != figure["value"]:
        return "–"
    factor, digits = (100.0, 1) if percent else (1.0, 1)
    low, high = (f"{factor * figure[end]:.{digits}f}" for end in ("low", "high"))
    return f"{factor * figure['value']:.{digits}f} [{low}, {high}]"


def to_markdown(results: Sequence[Result]) -> str:
    """Return accuracies, then lengths and shapes, as Markdown tables with 95% intervals."""
    table = rows(results)
    names = list(dict.fromkeys(name for row in table.values() for name in row))
    lines = ["| model | " + " | ".join(names) + " | average |", "|---" * (len(names) + 2) + "|"]
    for model, row in table.items():
        accuracies = [cell(row[name].figures["acc"] if name in row else None) for name in names]
        lines.append(f"| {_escape(model)} | " + " | ".join(accuracies) + f" | {cell(averages(row)['acc'])} |")
    shapes = (
        "acc_strict",
        "boxed_acc",
        "any_correct",
        "clip_ratio",
        "box_ratio",
        "repeat_ratio",
        "tokens",
        "stop_tokens",
        "keywords",
    )
    lines += ["", "| model | benchmark | problems × n | " + " | ".join(shapes) + " | undecided |"]
    lines.append("|---" * (len(shapes) + 4) + "|")
    for model, row in table.items():
        for name, result in row.items():
            figures = result.figures
            values = [
                cell(figures.get(shape), percent=shape not in ("tokens", "stop_tokens", "keywords")) for shape in shapes
            ]
            undecided = sum(figures["verdicts"][status] for status in ("unjudgeable", "timeout", "error"))
            size = f"{figures['problems']} × {figures['samples']}"
            lines.append(f"| {_escape(model)} | {name} | {size} | " + " | ".join(values) + f" | {undecided} |")
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


def write_summary(results: Sequence[Result], output: Path) -> None:
    """Write eval_results.csv, results.json and results.md into a directory."""
    write_atomic(output / "eval_results.csv", to_csv(results))
    write_json(output / "results.json", to_json(results))
    write_atomic(output / "results.md", to_markdown(results))
