"""Evaluations side by side: a row for each model under one protocol, and SimpleRL-Zoo's CSV of them."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from simplerl.ops.statistics import mean_of_estimates
from simplerl.runs.run import HOW, Evaluation, how

#: Columns per benchmark of the original's `eval_results.csv`, in its order; accuracies are in per cent.
CSV_COLUMNS = (
    "acc", "pass_acc", "tokens", "keywords", "correct_tokens", "wrong_tokens", "clip_ratio", "stop_tokens",
    "stop_ratio", "box_ratio", "repeat_ratio",
)  # fmt: skip
#: The six benchmarks of the paper's "Avg.", AIME24 by pass@1.
PAPER_AVERAGE = ("gsm8k", "math500", "minerva_math", "olympiadbench", "aime24", "amc23")


def rows(evaluations: Sequence[Evaluation]) -> dict[str, dict[str, Evaluation]]:
    """Return row → benchmark → evaluation. A row is a model under one protocol, so that no average mixes two; a further
    model of the same name, and a further protocol, make rows of their own. Benchmarks with a sample count of their own
    (`aime24@32`) go with the model's first row that has room."""
    table: dict[str, dict[str, Evaluation]] = {}
    keys: dict[str, tuple[Any, Any]] = {}
    for one in sorted(evaluations, key=_order):
        model, protocol = _key(one)
        own = "@" in one.benchmark
        name = next(
            (
                name
                for name, (of_model, of_protocol) in keys.items()
                if of_model == model and one.benchmark not in table[name] and (own or of_protocol in (None, protocol))
            ),
            None,
        )
        if name is None:
            name = _free_name(one, table, twin=any(k[0][0] == model[0] and k[0] != model for k in keys.values()))
            table[name], keys[name] = {}, (model, None)
        table[name][one.benchmark] = one
        keys[name] = (model, keys[name][1] if own else protocol)
    return table


def _key(one: Evaluation) -> tuple[Any, Any]:
    """Return what tells models apart (the label alone does not), and what tells their protocols apart; how the answer
    is found is the benchmark's own."""
    weights = one.protocol.get("weights_sha256") or one.protocol.get("model")
    return (one.label, weights), [one.protocol.get(name) for name in HOW if name != "policy"]


def _free_name(one: Evaluation, taken: Mapping[str, Any], *, twin: bool) -> str:
    base = f"{one.label} ({one.protocol.get('model')})" if twin else one.label
    numbered = (f"{base} #{number}" for number in range(3, len(taken) + 4))
    return next(name for name in (base, f"{base} ({how(one.protocol)})", *numbered) if name not in taken)


def _order(one: Evaluation) -> tuple[Any, ...]:
    run, _, _ = one.label.rpartition("@")
    return (run or one.label, one.step or 0, one.benchmark, one.home.name)


def averages(row: Mapping[str, Evaluation]) -> dict[str, Any]:
    """Return the mean accuracy over a row's benchmarks (those with a sample count of their own left out, so that AIME24
    counts once), and the paper's average where its six are all there; each with a 95% interval."""
    plain = {name: one.figures["acc"] for name, one in row.items() if "@" not in name}
    average = {"acc": _mean(list(plain.values()))}
    if all(name in plain for name in PAPER_AVERAGE):
        average["paper_acc"] = _mean([plain[name] for name in PAPER_AVERAGE])
    return average


def _mean(figures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    known = [f for f in figures if f["value"] is not None]
    ends = mean_of_estimates(known) if known else [math.nan] * 3
    return dict(zip(("value", "low", "high"), ends, strict=True))


def to_csv(evaluations: Sequence[Evaluation]) -> str:
    """Return the rows with the columns of the original's `eval_results.csv`: accuracies in per cent, then averages."""
    table = rows(evaluations)
    names = dict.fromkeys(name for row in table.values() for name in row)
    header = ["model", *(f"{name}_{column}" for name in (*names, "avg") for column in CSV_COLUMNS)]
    output = io.StringIO()
    writer = csv.DictWriter(output, header, restval="", lineterminator="\n")
    writer.writeheader()
    for model, row in table.items():
        cells: dict[str, Any] = {"model": model}
        for column in CSV_COLUMNS:
            factor = 100 if column in ("acc", "pass_acc") else 1
            figures = {
                name: one.figures["any_correct" if column == "pass_acc" else column] for name, one in row.items()
            }
            known = {name: factor * f["value"] for name, f in figures.items() if f["value"] is not None}
            cells |= {f"{name}_{column}": round(value, 4) for name, value in known.items()}
            values = [value for name, value in known.items() if "@" not in name]
            cells |= {f"avg_{column}": round(sum(values) / len(values), 4)} if values else {}
        writer.writerow(cells)
    return output.getvalue()


def markdown(table: Sequence[Sequence[str]]) -> str:
    """Return a table, its head first, as Markdown, numbers to the right."""
    head, *body = [[text.replace("|", "\\|") for text in row] for row in table]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *body]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines) + "\n"
