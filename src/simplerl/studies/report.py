"""What an experiment found, from its run directories alone: results.json, table.md and plot.png."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from simplerl.analysis.compare import markdown
from simplerl.analysis.estimates import Band, Estimate, Measure, band, curve, measured, paired, shown
from simplerl.analysis.plots import Panel, plot_panels
from simplerl.config.resolve import flatten
from simplerl.runs.files import write_atomic, write_json
from simplerl.runs.run import Run
from simplerl.studies.experiment import Bars, Curve, Experiment, PassAtK
from simplerl.studies.jobs import Job, table_of

#: Label → the runs of a variant that have ended well.
Runs = Mapping[str, Sequence[Job]]


def collect_results(experiment: Experiment, runs: Runs, *, seeds: int, failed: Mapping[str, str]) -> dict[str, Any]:
    """Return the results of all runs, as plain tables."""
    values = {
        label: {m.label: {job.seed: measured(job.path, m) for job in jobs} for m in experiment.measures}
        for label, jobs in runs.items()
    }
    first = experiment.measures[0]
    variants = {}
    for variant in experiment.variants:
        if variant.label not in values:
            continue
        own, other = values[variant.label], values.get(variant.against)
        variants[variant.label] = {
            "recipe": variant.recipe or experiment.recipe,
            "settings": table_of(experiment, variant),
            "before": dict(variant.before),
            "measures": {
                n: {**asdict(Estimate.over(list(seeds.values()))), "seeds": seeds} for n, seeds in own.items()
            },
            "against": variant.against,
            "difference": asdict(paired(own[first.label], other[first.label])) if other else None,
            "runs": [str(job.path) for job in runs[variant.label]],
            "seconds": sum((Run(job.path).summary or {})["seconds"] for job in runs[variant.label]),
        }
    return {
        "experiment": experiment.name,
        "question": experiment.question,
        "paper": {"claim": experiment.claim, "figures": experiment.figures, "source": experiment.source},
        "remarks": experiment.remarks,
        "seeds": seeds,
        "variants": variants,
        "failed": dict(failed),
        "environment": _environment(runs),
    }


def _environment(runs: Runs) -> dict[str, Any]:
    """Return where the runs were made: what they have in common, lists where they differ."""
    sessions = [Run(job.path).environment[-1] for jobs in runs.values() for job in jobs]
    shared: dict[str, Any] = {}
    for key in ("git_commit", "platform", "device", "cpu_count", "cpu_threads", "packages", "python"):
        values = [session.get(key) for session in sessions]
        distinct = [value for index, value in enumerate(values) if value not in values[:index]]
        shared[key] = distinct[0] if len(distinct) == 1 else distinct
    return shared


def cell(entry: Mapping[str, Any], measure: Measure, *, sign: bool = False, brief: bool = False) -> str:
    """Return `mean [low, high]`, brief `mean ±half`; the mean alone where one seed gives no interval.

    Shares are in per cent, other numbers of as many digits as the mean needs.
    """
    digits = 1 if measure.share else 0 if abs(entry["value"]) >= 1000 else 2
    form: dict[str, Any] = {"share": measure.share, "digits": digits, "sign": sign}
    if not brief or not Estimate.of(entry).bounded:
        return shown(entry, **form)
    half = (entry["high"] - entry["low"]) / 2
    return f"{shown(entry['value'], **form)} ±{shown(half, **{**form, 'sign': False})}"


def rows(experiment: Experiment, results: Mapping[str, Any], *, brief: bool = False) -> list[list[str]]:
    """Return the table: a head, then a row per variant. `brief` for a terminal."""
    first = experiment.measures[0]
    with_difference = first.share and any(variant.against for variant in experiment.variants)
    table = [["", *_heads(experiment), *(["difference (points)"] if with_difference else []), "seeds"]]
    for variant in experiment.variants:
        entry = results["variants"].get(variant.label)
        if entry is None:
            table.append([variant.label, "no run has ended well", *[""] * (len(table[0]) - 2)])
            continue
        cells = [cell(entry["measures"][measure.label], measure, brief=brief) for measure in experiment.measures]
        if with_difference:
            difference = entry["difference"] and cell(entry["difference"], first, sign=True, brief=brief)
            cells.append(f"{difference} to {entry['against']}" if difference else "")
        table.append([variant.label, *cells, str(len(entry["runs"]))])
    return table


def seed_rows(experiment: Experiment, results: Mapping[str, Any]) -> list[list[str]]:
    """Return the table of every single run."""
    table = [["", "seed", *_heads(experiment)]]
    for label, entry in results["variants"].items():
        for seed in entry["measures"][experiment.measures[0].label]["seeds"]:
            values = [cell({"value": entry["measures"][m.label]["seeds"][seed]}, m) for m in experiment.measures]
            table.append([label, str(seed), *values])
    return table


def _heads(experiment: Experiment) -> list[str]:
    return [f"{measure.label} (%)" if measure.share else measure.label for measure in experiment.measures]


def paper_notes(experiment: Experiment) -> list[str]:
    """Return what stands beside the table: the paper's figures and what is different here, where the file says so."""
    paper = f"Paper: {experiment.claim} {experiment.figures} ({experiment.source})" if experiment.claim else ""
    return [line for line in (paper, experiment.remarks and f"Different here: {experiment.remarks}") if line]


def text(experiment: Experiment, results: Mapping[str, Any], command: str) -> str:
    """Return table.md: question, the paper's figure, our table, every seed, and how it was made."""
    environment = results["environment"]
    failed = "".join(f"- failed: {name}: {message}\n" for name, message in results["failed"].items())
    notes = "".join(f"{line}\n\n" for line in paper_notes(experiment))
    seconds = sum(entry["seconds"] for entry in results["variants"].values())
    settings = flatten({"recipe": experiment.recipe, **experiment.overrides})
    return f"""# {experiment.name}: {experiment.question}

{notes}Mean over {results["seeds"]} seeds with 95% intervals over seeds (Student's t):

{markdown(rows(experiment, results))}
Every run:

{markdown(seed_rows(experiment, results))}
- command: `{command}`
- settings: {", ".join(f"{key} {value}" for key, value in settings.items())}
- machine: {environment.get("platform")}, {environment.get("device")}, threads per run {environment.get("cpu_threads")}
- commit: {environment.get("git_commit")}
- {seconds:.0f} s of runs
{failed}"""


def write(experiment: Experiment, results: Mapping[str, Any], runs: Runs, directory: Path, *, command: str) -> None:
    """Write results.json, table.md and plot.png into the experiment's directory."""
    write_json(directory / "results.json", results)
    write_atomic(directory / "table.md", text(experiment, results, command))
    shown = experiment.panels or (Bars(measure=experiment.measures[0]),)
    panels = [_panel(experiment, panel, results, runs) for panel in shown]
    plot_panels(
        panels,
        directory / "plot.png",
        title=f"{experiment.question} ({results['seeds']} seeds, 95% intervals over seeds)",
        note=f"Paper: {experiment.claim} {experiment.figures}" if experiment.claim else "",
    )


def _panel(experiment: Experiment, panel: Curve | Bars | PassAtK, results: Mapping[str, Any], runs: Runs) -> Panel:
    if isinstance(panel, Bars):
        label, share = panel.measure.label, panel.measure.share
        seeds = {name: list(v["measures"][label]["seeds"].values()) for name, v in results["variants"].items()}
        bars = {name: (Estimate.over(values), values) for name, values in seeds.items()}
        return Panel(title=label, ylabel="%" if share else "", bars=bars, scale=100 if share else 1)
    if isinstance(panel, PassAtK):
        return Panel(
            title="dashed: before, solid: after",
            ylabel=panel.pass_at_k,
            xlabel="k",
            lines={name: _pass_curve(jobs, last=True) for name, jobs in runs.items()},
            dashed={name: _pass_curve(jobs, last=False) for name, jobs in runs.items()},
            scale=100,
            log_x=True,
        )
    curves = {
        name: [curve(job.path, panel.metric, against=experiment.x_axis, block=panel.block) for job in jobs]
        for name, jobs in runs.items()
    }
    return Panel(
        title=f"{panel.label}, means of {panel.block} steps" if panel.block > 1 else panel.label,
        ylabel="%" if panel.share else "",
        xlabel="step" if experiment.x_axis == "step" else "response tokens sampled",
        lines={name: band(members) for name, members in curves.items() if all(members)},
        scale=100 if panel.share else 1,
    )


def _pass_curve(jobs: Sequence[Job], *, last: bool) -> Band:
    """Return pass@k against k, over seeds."""
    figures = [run.figures_at(run.last_step if last else 0)["pass@k"] for run in (Run(job.path) for job in jobs)]
    return band([[(float(k), entry["value"]) for k, entry in at_k.items()] for at_k in figures])
