"""Plots that commands make by themselves: a run's learning, and how well a process reward model is calibrated.

Everything else of runs and results is drawn by `simplerl report`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simplerl.analysis.panels import Panel, band_of, plot_panels
from simplerl.analysis.seeds import Band
from simplerl.runs.run import Run

DPI = 150


def plot_learning(path: Path, output: Path) -> None:
    """Draw accuracy (training and held-out with its interval) and response length against steps, as in SimpleRL-Zoo."""
    run = Run(path)

    def recorded(metric: str) -> Band:
        steps, values = (array.tolist() for array in run.history(metric))
        return Band(x=steps, mean=values)

    held_out = band_of([(float(one.step or 0), one.figures.get("acc")) for one in run.evaluations])
    accuracy = {"training samples": recorded("accuracy/mean"), "held-out, 95% interval": held_out}
    if run.history("eval/accuracy_greedy")[0].size:
        accuracy["held-out, greedy"] = recorded("eval/accuracy_greedy")
    lengths = {"mean length": recorded("length/mean"), "… of those that stopped": recorded("length/mean_stopped")}
    panels = [
        Panel(title="accuracy", ylabel="accuracy (%)", xlabel="step", lines=accuracy, scale=100),
        Panel(title="length", ylabel="response length (tokens)", xlabel="step", lines=lengths),
    ]
    plot_panels(panels, output, title=path.name, dpi=DPI)


def plot_reliability(figures: Mapping[str, Any], output: Path) -> None:
    """Draw what a process reward model predicts against what was seen, in bins of its predictions."""
    bins = figures["reliability"]
    seen = Band(x=[each["predicted"] for each in bins], mean=[each["seen"] for each in bins])
    lines = {"held-out steps": seen, "calibrated": Band(x=[0.0, 1.0], mean=[0.0, 1.0])}
    panel = Panel(title="reliability", ylabel="share of good steps (%)", xlabel="predicted", lines=lines, scale=100)
    plot_panels([panel], output, title=f"{figures['steps']} held-out steps", dpi=DPI)
