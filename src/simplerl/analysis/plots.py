"""Plots of runs and evaluations."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from simplerl.analysis.canvas import pyplot
from simplerl.runs.directory import read_metrics
from simplerl.runs.files import cannot_write
from simplerl.runs.results import Result, slug


def plot_learning(path: Path, output: Path) -> None:
    """Draw accuracy (training and held-out with its interval) and response length against steps, as in SimpleRL-Zoo."""
    plt = pyplot()
    lines = read_metrics(path)
    steps = [line for line in lines if line["step"] > 0]
    evaluations = [line for line in lines if line.get("eval/accuracy") is not None]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    x = [line["step"] for line in steps]
    left.plot(x, [_percent(line["accuracy/mean"]) for line in steps], color="#9bb7d4", label="training samples")
    at = [line["step"] for line in evaluations]
    value = [100 * line["eval/accuracy"] for line in evaluations]
    low = [v - 100 * line["eval/accuracy_low"] for v, line in zip(value, evaluations, strict=True)]
    high = [100 * line["eval/accuracy_high"] - v for v, line in zip(value, evaluations, strict=True)]
    left.errorbar(at, value, yerr=[low, high], color="#1f4e79", marker="o", capsize=3, label="held-out, 95% interval")
    left.set(xlabel="step", ylabel="accuracy (%)", ylim=(0, 100), title=path.name)
    left.legend(loc="lower right", frameon=False)
    right.plot(x, [line["length/mean"] for line in steps], color="#c55a11", label="mean")
    stopped = [line["length/mean_stopped"] for line in steps]
    right.plot(
        x,
        [float("nan") if v is None else v for v in stopped],
        color="#7f7f7f",
        ls="--",
        label="mean of those that stopped",
    )
    right.set(xlabel="step", ylabel="response length (tokens)", ylim=(0, None))
    right.legend(loc="lower right", frameon=False)
    _finish(figure, (left, right), output)


def _percent(share: float | None) -> float:
    return float("nan") if share is None else 100 * share


def plot_checkpoints(results: Sequence[Result], output: Path) -> list[str]:
    """Draw accuracy and length against steps for each run with several evaluated checkpoints, one file per run.

    Return the names of the files. Benchmarks with one protocol over the steps make a line; several make several.
    """
    runs: dict[str, dict[str, list[Result]]] = {}
    for result in results:
        if result.protocol.get("step") is not None:
            name = result.model.rpartition("@")[0]
            sampling = result.protocol["sampling"]
            line = f"{result.benchmark} (t {sampling['temperature']:g}, n {result.protocol['samples']})"
            runs.setdefault(name, {}).setdefault(line, []).append(result)
    made = []
    for name, lines in runs.items():
        if len({r.protocol["step"] for line in lines.values() for r in line}) < 2:
            continue
        file = f"{slug(name)}_steps.png"
        _draw_checkpoints(name, lines, output / file)
        made.append(file)
    return made


def _draw_checkpoints(name: str, lines: Mapping[str, Sequence[Result]], output: Path) -> None:
    plt = pyplot()
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    for label, results in sorted(lines.items()):
        ordered = sorted(results, key=lambda result: result.protocol["step"])
        steps = [result.protocol["step"] for result in ordered]
        for axes, figure_name, factor in ((left, "acc", 100), (right, "tokens", 1)):
            figures = [result.figures[figure_name] for result in ordered]
            value = [float("nan") if f["value"] is None else factor * f["value"] for f in figures]
            ends = [
                [
                    float("nan") if f[end] is None else abs(factor * f[end] - v)
                    for f, v in zip(figures, value, strict=True)
                ]
                for end in ("low", "high")
            ]
            axes.errorbar(steps, value, yerr=ends, marker="o", capsize=3, label=label)
    left.set(xlabel="step (0: base model)", ylabel="accuracy (%)", title=name)
    right.set(xlabel="step (0: base model)", ylabel="response length (tokens)", ylim=(0, None))
    left.legend(frameon=False, fontsize=8)
    _finish(figure, (left, right), output)


def plot_comparison(comparisons: Sequence[Mapping[str, Any]], output: Path) -> None:
    """Draw the pass@k curves of both sides, one panel per benchmark."""
    plt = pyplot()
    figure, panels = plt.subplots(
        1, len(comparisons), figsize=(5 * len(comparisons), 3.8), layout="constrained", squeeze=False
    )
    for axes, comparison in zip(panels[0], comparisons, strict=True):
        ks = [int(k) for k in comparison["pass@k"]]
        points = list(comparison["pass@k"].values())
        for side, colour in (("before", "#7f7f7f"), ("after", "#1f4e79")):
            axes.plot(ks, [100 * point[side] for point in points], "o-", color=colour, label=comparison[side])
        axes.set_xscale("log", base=2)
        axes.set(xlabel="k", ylabel="pass@k (%)", title=comparison["benchmark"], xticks=ks, xticklabels=ks)
        axes.legend(frameon=False, fontsize=8)
    _finish(figure, panels[0], output)


def _finish(figure: Any, panels: Iterable[Any], output: Path) -> None:
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    try:
        figure.savefig(output, dpi=150)
    except OSError as error:
        raise cannot_write(output, error) from error
    finally:
        pyplot().close(figure)
