"""Plots of a run's metrics."""

from pathlib import Path

from simplerl.runs.directory import read_metrics


def plot_learning(path: Path, output: Path) -> None:
    """Draw accuracy (training and held-out with its interval) and response length against steps, as in SimpleRL-Zoo."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

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
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    figure.savefig(output, dpi=150)
    plt.close(figure)


def _percent(share: float | None) -> float:
    return float("nan") if share is None else 100 * share
