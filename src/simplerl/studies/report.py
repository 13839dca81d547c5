"""What an experiment found, from its run directories alone: results.json, table.md and plot.png."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from simplerl.analysis.panels import Panel, plot_panels
from simplerl.analysis.seeds import Band, Interval, Measure, band, curve, interval, measured, paired
from simplerl.runs.files import write_atomic, write_json
from simplerl.runs.run import Run
from simplerl.studies.plan import Job, table_of
from simplerl.studies.types import Bars, Curve, Experiment, PassAtK
from simplerl.train.resolve import flatten

#: Label → the runs of a variant that have ended well.
Runs = Mapping[str, Sequence[Job]]


def collect_results(
    experiment: Experiment, runs: Runs, *, seeds: int, skipped: Mapping[str, str], failed: Mapping[str, str]
) -> dict[str, Any]:
    """Return everything that was found, as plain tables."""
    values = {
        label: {
            measure.label: {job.seed: measured(job.path, measure) for job in jobs} for measure in experiment.measures
        }
        for label, jobs in runs.items()
    }
    first = experiment.measures[0]
    found = {}
    for variant in experiment.variants:
        if variant.label in skipped or variant.label not in values:
            continue
        own, other = values[variant.label], values.get(variant.against)
        found[variant.label] = {
            "recipe": variant.recipe or experiment.recipe,
            "settings": table_of(experiment, variant),
            "before": dict(variant.before),
            "measures": {
                measure.label: {**asdict(interval(list(own[measure.label].values()))), "seeds": own[measure.label]}
                for measure in experiment.measures
            },
            "against": variant.against,
            "difference": asdict(paired(own[first.label], other[first.label])) if other else None,
            "runs": [str(job.path) for job in runs[variant.label]],
            "seconds": sum(_seconds(job.path) for job in runs[variant.label]),
        }
    return {
        "experiment": experiment.name,
        "question": experiment.question,
        "paper": {"claim": experiment.claim, "figures": experiment.figures, "source": experiment.source},
        "remarks": experiment.remarks,
        "seeds": seeds,
        "variants": found,
        "skipped": dict(skipped),
        "failed": dict(failed),
        "environment": _environment(runs),
    }


def _seconds(path: Path) -> float:
    return json.loads((path / "summary.json").read_text(encoding="utf-8"))["seconds"]


def _environment(runs: Runs) -> dict[str, Any]:
    """Return where the runs were made: what they have in common, lists where they differ."""
    seen: dict[str, list[Any]] = {}
    for jobs in runs.values():
        for job in jobs:
            session = json.loads((job.path / "environment.json").read_text(encoding="utf-8"))["sessions"][-1]
            for key in ("git_commit", "platform", "device", "cpu_count", "cpu_threads", "packages", "python"):
                if session.get(key) not in seen.setdefault(key, []):
                    seen[key].append(session.get(key))
    return {key: values[0] if len(values) == 1 else values for key, values in seen.items()}


def number(value: float, measure: Measure, *, sign: bool = False, like: float = 0.0) -> str:
    """Return a value as a table shows it: shares in per cent, others with as few digits as `like` has."""
    if value is None or math.isnan(value):
        return "–"
    shown = 100 * value if measure.share else value
    digits = 1 if measure.share else 0 if max(abs(shown), abs(like)) >= 1000 else 2
    return f"{shown:{'+' if sign else ''},.{digits}f}"


def cell(found: Mapping[str, Any], measure: Measure, *, sign: bool = False, brief: bool = False) -> str:
    """Return `mean [low, high]`, brief `mean ±half`; the mean alone where one seed gives no interval."""
    mean = number(found["mean"], measure, sign=sign)
    if found["n"] < 2:
        return mean
    if brief:
        return f"{mean} ±{number((found['high'] - found['low']) / 2, measure, like=found['mean'])}"
    return f"{mean} [{number(found['low'], measure, sign=sign)}, {number(found['high'], measure, sign=sign)}]"


def rows(experiment: Experiment, results: Mapping[str, Any], *, brief: bool = False) -> list[list[str]]:
    """Return the table: a head, then a row per variant, the skipped ones with their reason. `brief` for a terminal."""
    compared = any(variant.against for variant in experiment.variants)
    first = experiment.measures[0]
    head = ["", *(f"{m.label} (%)" if m.share else m.label for m in experiment.measures)]
    table = [[*head, *(["difference (points)"] if compared and first.share else []), "seeds"]]
    for variant in experiment.variants:
        found = results["variants"].get(variant.label)
        if found is None:
            reason = results["skipped"].get(variant.label, "no run has ended well")
            table.append([variant.label, f"not run: {reason}", *[""] * (len(table[0]) - 2)])
            continue
        cells = [cell(found["measures"][measure.label], measure, brief=brief) for measure in experiment.measures]
        if len(table[0]) > len(cells) + 2:
            difference = found["difference"]
            cells.append(
                f"{cell(difference, first, sign=True, brief=brief)} to {found['against']}" if difference else ""
            )
        table.append([variant.label, *cells, str(len(found["runs"]))])
    return table


def seed_rows(experiment: Experiment, results: Mapping[str, Any]) -> list[list[str]]:
    """Return the table of every single run."""
    table = [["", "seed", *(f"{m.label} (%)" if m.share else m.label for m in experiment.measures)]]
    for label, found in results["variants"].items():
        seeds = list(next(iter(found["measures"].values()))["seeds"])
        for seed in seeds:
            values = [number(found["measures"][m.label]["seeds"][seed], m) for m in experiment.measures]
            table.append([label, str(seed), *values])
    return table


def markdown(table: Sequence[Sequence[str]]) -> str:
    """Return a table as Markdown, numbers to the right."""
    head, *body = [[text.replace("|", "\\|") for text in row] for row in table]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *body]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines) + "\n"


def settings(experiment: Experiment) -> str:
    """Return what all variants share, as one line: the recipe and what differs from it."""
    return ", ".join(
        [f"recipe {experiment.recipe}", *(f"{key} {value}" for key, value in flatten(experiment.overrides).items())]
    )


def text(experiment: Experiment, results: Mapping[str, Any], command: str) -> str:
    """Return table.md: question, the paper's figure, our table, every seed, and how it was made."""
    environment = results["environment"]
    failed = "".join(f"- failed: {name}: {message}\n" for name, message in results["failed"].items())
    seconds = sum(found["seconds"] for found in results["variants"].values())
    return f"""# {experiment.name}: {experiment.question}

Paper: {experiment.claim} {experiment.figures} ({experiment.source})

Different here: {experiment.remarks}

Mean over {results["seeds"]} seeds with 95% intervals over seeds (Student's t):

{markdown(rows(experiment, results))}
Every run:

{markdown(seed_rows(experiment, results))}
- command: `{command}`
- settings: {settings(experiment)}
- machine: {environment.get("platform")}, {environment.get("device")}, threads per run {environment.get("cpu_threads")}
- commit: {environment.get("git_commit")}
- {seconds:.0f} s of runs
{failed}"""


def write(experiment: Experiment, results: Mapping[str, Any], runs: Runs, directory: Path, *, command: str) -> None:
    """Write results.json, table.md and plot.png into the experiment's directory."""
    write_json(directory / "results.json", results)
    write_atomic(directory / "table.md", text(experiment, results, command))
    panels = [_panel(experiment, panel, results, runs) for panel in experiment.panels]
    plot_panels(
        panels,
        directory / "plot.png",
        title=f"{experiment.question} ({results['seeds']} seeds, 95% intervals over seeds)",
        note=f"Paper: {experiment.claim} {experiment.figures}",
    )


def _panel(experiment: Experiment, panel: Curve | Bars | PassAtK, results: Mapping[str, Any], runs: Runs) -> Panel:
    if isinstance(panel, Bars):
        return _bars(panel.measure, results)
    if isinstance(panel, PassAtK):
        return Panel(
            title="dashed: before, solid: after",
            ylabel=panel.label,
            xlabel="k",
            lines={name: _pass_curve(jobs, last=True) for name, jobs in runs.items()},
            dashed={name: _pass_curve(jobs, last=False) for name, jobs in runs.items()},
            scale=100,
            log_x=True,
        )
    curves = {
        name: [curve(job.path, panel.metric, against=experiment.against, block=panel.block) for job in jobs]
        for name, jobs in runs.items()
    }
    return Panel(
        title=f"{panel.label}, means of {panel.block} steps" if panel.block > 1 else panel.label,
        ylabel="%" if panel.share else "",
        xlabel="step" if experiment.against == "step" else "response tokens sampled",
        lines={name: band(members) for name, members in curves.items() if all(members)},
        scale=100 if panel.share else 1,
    )


def _bars(measure: Measure, results: Mapping[str, Any]) -> Panel:
    """Return a measure of the table as bars."""
    found = {name: variant["measures"][measure.label] for name, variant in results["variants"].items()}
    return Panel(
        title=measure.label,
        ylabel="%" if measure.share else "",
        bars={
            name: (Interval(**{key: entry[key] for key in ("mean", "low", "high", "n")}), list(entry["seeds"].values()))
            for name, entry in found.items()
        },
        scale=100 if measure.share else 1,
    )


def _pass_curve(jobs: Sequence[Job], *, last: bool) -> Band:
    """Return pass@k against k, over seeds."""
    curves = []
    for job in jobs:
        run = Run(job.path)
        figures = run.figures_at(run.last_step if last else 0)
        curves.append([(float(k), found["value"]) for k, found in figures["pass@k"].items()])
    return band(curves)
