"""Plots of a run, of checkpoints on benchmarks, and of comparisons."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simplerl.analysis.panels import Panel, band_of, plot_panels
from simplerl.analysis.seeds import Band
from simplerl.runs.results import how, slug
from simplerl.runs.run import Evaluation, Run

DPI = 150


def plot_learning(path: Path, output: Path) -> None:
    """Draw accuracy (training and held-out with its interval) and response length against steps, as in SimpleRL-Zoo."""
    run = Run(path)

    def recorded(metric: str) -> Band:
        steps, values = (array.tolist() for array in run.history(metric))
        return Band(x=steps, mean=values)

    held_out = _over_steps([one for one in run.evaluations if one.figures], "acc")
    accuracy = {"training samples": recorded("accuracy/mean"), "held-out, 95% interval": held_out}
    if run.history("eval/accuracy_greedy")[0].size:
        accuracy["held-out, greedy"] = recorded("eval/accuracy_greedy")
    lengths = {"mean": recorded("length/mean"), "mean of those that stopped": recorded("length/mean_stopped")}
    _plot_two(accuracy, lengths, output, title=path.name, xlabel="step")


def plot_checkpoints(evaluations: Sequence[Evaluation], output: Path) -> list[str]:
    """Draw accuracy and length against steps for each run with several evaluated checkpoints, one file per run.

    Return the names of the files. Benchmarks with one protocol over the steps make a line; several make several.
    """
    runs: dict[str, dict[tuple[str, str], list[Evaluation]]] = {}
    for one in evaluations:
        if one.step is not None:
            line = f"{one.benchmark} (t {one.protocol['sampling']['temperature']:g}, n {one.protocol['samples']})"
            runs.setdefault(one.label.rpartition("@")[0], {}).setdefault((line, how(one.protocol)), []).append(one)
    files = []
    for name, lines in runs.items():
        if len({one.step for line in lines.values() for one in line}) > 1:
            often = Counter(short for short, _ in lines)
            accuracy, lengths = (
                {
                    short if often[short] == 1 else f"{line[0].benchmark} ({full})": _over_steps(line, figure)
                    for (short, full), line in sorted(lines.items())
                }
                for figure in ("acc", "tokens")
            )
            files.append(f"{slug(name)}_steps.png")
            _plot_two(accuracy, lengths, output / files[-1], title=name, xlabel="step (0: base model)")
    return files


def plot_comparison(comparisons: Sequence[Mapping[str, Any]], output: Path) -> None:
    """Draw the pass@k curves of both sides, one panel per benchmark."""
    panels = []
    for comparison in comparisons:
        ks = [float(k) for k in comparison["pass@k"]]
        lines = {
            f"{side}: {comparison[side]}": Band(x=ks, mean=[point[side] for point in comparison["pass@k"].values()])
            for side in ("before", "after")
        }
        title = comparison["benchmark"]
        panels.append(Panel(title=title, ylabel="pass@k (%)", xlabel="k", lines=lines, scale=100, log_x=True))
    plot_panels(panels, output, title="before and after", dpi=DPI, shared=False)


def plot_reliability(figures: Mapping[str, Any], output: Path) -> None:
    """Draw what a process reward model predicts against what was seen, in bins of its predictions."""
    bins = figures["reliability"]
    seen = Band(x=[each["predicted"] for each in bins], mean=[each["seen"] for each in bins])
    lines = {"held-out steps": seen, "calibrated": Band(x=[0.0, 1.0], mean=[0.0, 1.0])}
    panel = Panel(title="reliability", ylabel="share of good steps (%)", xlabel="predicted", lines=lines, scale=100)
    plot_panels([panel], output, title=f"{figures['steps']} held-out steps", dpi=DPI, shared=False)


def _plot_two(
    accuracy: Mapping[str, Band], lengths: Mapping[str, Band], output: Path, *, title: str, xlabel: str
) -> None:
    panels = [
        Panel(title="accuracy", ylabel="accuracy (%)", xlabel=xlabel, lines=accuracy, scale=100),
        Panel(title="length", ylabel="response length (tokens)", xlabel=xlabel, lines=lengths),
    ]
    plot_panels(panels, output, title=title, dpi=DPI, shared=False)


def _over_steps(evaluations: Sequence[Evaluation], name: str) -> Band:
    ordered = sorted(evaluations, key=lambda one: one.step or 0)
    return band_of([(float(one.step or 0), one.figures[name]) for one in ordered])
