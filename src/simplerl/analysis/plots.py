"""Plots of a run, of checkpoints on benchmarks, and of comparisons."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simplerl.analysis.canvas import pyplot, save
from simplerl.runs.metrics import as_number
from simplerl.runs.results import slug
from simplerl.runs.run import Evaluation, Run


def plot_learning(path: Path, output: Path) -> None:
    """Draw accuracy (training and held-out with its interval) and response length against steps, as in SimpleRL-Zoo."""
    run = Run(path)
    figure, (left, right) = _two_panels()
    steps, accuracy = run.history("accuracy/mean")
    left.plot(steps, 100 * accuracy, color="#9bb7d4", label="training samples")
    held_out = [one for one in run.evaluations if one.figures]
    _with_intervals(left, held_out, "acc", 100, color="#1f4e79", label="held-out, 95% interval")
    left.set(xlabel="step", ylabel="accuracy (%)", ylim=(0, 100), title=path.name)
    right.plot(*run.history("length/mean"), color="#c55a11", label="mean")
    right.plot(*run.history("length/mean_stopped"), color="#7f7f7f", ls="--", label="mean of those that stopped")
    right.set(xlabel="step", ylabel="response length (tokens)", ylim=(0, None))
    for axes in (left, right):
        axes.legend(loc="lower right", frameon=False)
    save(figure, (left, right), output)


def plot_checkpoints(evaluations: Sequence[Evaluation], output: Path) -> list[str]:
    """Draw accuracy and length against steps for each run with several evaluated checkpoints, one file per run.

    Return the names of the files. Benchmarks with one protocol over the steps make a line; several make several.
    """
    runs: dict[str, dict[str, list[Evaluation]]] = {}
    for one in evaluations:
        if one.step is not None:
            line = f"{one.benchmark} (t {one.protocol['sampling']['temperature']:g}, n {one.protocol['samples']})"
            runs.setdefault(one.label.rpartition("@")[0], {}).setdefault(line, []).append(one)
    files = []
    for name, lines in runs.items():
        if len({one.step for line in lines.values() for one in line}) < 2:
            continue
        figure, (left, right) = _two_panels()
        for label, line in sorted(lines.items()):
            _with_intervals(left, line, "acc", 100, label=label)
            _with_intervals(right, line, "tokens", 1, label=label)
        left.set(xlabel="step (0: base model)", ylabel="accuracy (%)", title=name)
        right.set(xlabel="step (0: base model)", ylabel="response length (tokens)", ylim=(0, None))
        left.legend(frameon=False, fontsize=8)
        files.append(f"{slug(name)}_steps.png")
        save(figure, (left, right), output / files[-1])
    return files


def plot_comparison(comparisons: Sequence[Mapping[str, Any]], output: Path) -> None:
    """Draw the pass@k curves of both sides, one panel per benchmark."""
    figure, panels = pyplot().subplots(
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
    save(figure, panels[0], output)


def _two_panels() -> tuple[Any, Any]:
    return pyplot().subplots(1, 2, figsize=(10, 3.8), layout="constrained")


def _with_intervals(axes: Any, evaluations: Sequence[Evaluation], name: str, factor: float, **style: Any) -> None:
    """Draw a figure against steps, with its intervals where they are known."""
    ordered = sorted(evaluations, key=lambda one: one.step or 0)
    ends = [[factor * as_number(one.figures[name][end]) for one in ordered] for end in ("value", "low", "high")]
    errors = [[abs(value - end) for value, end in zip(ends[0], side, strict=True)] for side in ends[1:]]
    axes.errorbar([one.step for one in ordered], ends[0], yerr=errors, marker="o", capsize=3, **style)
