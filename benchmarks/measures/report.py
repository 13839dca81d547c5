"""From the figures of each measurement to ratios and tables."""

import shlex
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from measures.job import Job

#: Above this share of the machine's cores taken by other programs, a figure says little.
NOISY = 0.05

Figures = dict[str, Any]


def complete(figures: Figures, job: Job) -> Figures:
    """Return the figures with machine, command, ratios and the share of the GEMM rate that we reach."""
    measured = {**figures, **figures.get("trials", {})}
    machine = next((each["machine"] for each in measured.values() if "machine" in each), None)
    for each in measured.values():
        each.pop("machine", None)
    ours, theirs, gemm = (figures.get(name, {}) for name in ("ours", "trl", "gemm"))
    if "tokens_per_second" in ours and "tokens_per_second" in theirs:
        figures["ratios"] = {
            "tokens_per_second": ours["tokens_per_second"] / theirs["tokens_per_second"],
            "seconds_per_step": theirs["seconds_per_step"] / ours["seconds_per_step"],
            "memory": ours["memory_gb"] / theirs["memory_gb"],
            "response_length": ours["response_length"] / theirs["response_length"],
        }
    if "flops_per_step" in ours and "flops_per_second" in gemm:
        figures["share_of_gemm"] = shares(ours, gemm["flops_per_second"])
    command = shlex.join(["python", "benchmarks/training.py", *sys.argv[1:]])
    return {"command": command, "sizes": "toy" if job.tiny else "full", "machine": machine, **figures}


def shares(ours: Figures, rates: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the share of the best GEMM rate, in the number format of each phase, that its model FLOPs amount to."""
    best = {
        phase: max(rates[ours["setting"][f"{part}_precision"]].values())
        for phase, part in (("rollout", "rollout"), ("update", "learner"))
    }
    ideal = {phase: ours["flops_per_step"][phase] / best[phase] for phase in best}
    return {
        **{phase: ideal[phase] / ours["phases"][phase] for phase in best},
        "step": sum(ideal.values()) / ours["seconds_per_step"],
    }


def failures(figures: Figures) -> list[str]:
    """Return the names of the measurements that broke."""
    measured = {**figures, **figures.get("trials", {})}
    return [name for name, each in measured.items() if isinstance(each, dict) and "failed" in each]


def show(figures: Figures) -> None:
    """Print everything that was measured."""
    console = Console(highlight=False, soft_wrap=True)
    if figures["sizes"] == "toy":
        console.print("[yellow]toy sizes: these figures prove that it runs and mean nothing[/]")
    if machine := figures["machine"]:
        console.print(
            f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads, {machine['capability']}"
            f"{', ' + machine['gpu'] if machine['gpu'] else ''}; Python {machine['python']}, torch {machine['torch']}, "
            f"transformers {machine['transformers']}"
        )
    for name, printer in (
        ("gemm", _gemm),
        ("trials", _trials),
        ("score", _score),
        ("gpu", _gpu),
    ):
        if name in figures and not _absent(console, name, figures[name]):
            printer(console, figures[name])
        if name == "gemm":
            _steps(console, figures)
    measured = {**figures, **figures.get("trials", {})}
    for name, each in measured.items():
        share = each.get("neighbours") if isinstance(each, dict) else None
        if share is not None and share > NOISY:
            console.print(
                f"[yellow]{escape(name)}: other programs took {share:.0%} of the machine, so measure again[/]"
            )


def _absent(console: Console, name: str, each: Figures) -> bool:
    """Say why a measurement has no figures, if it has none."""
    for key, colour in (("failed", "red"), ("missing", "yellow")):
        if key in each:
            console.print(f"[{colour}]{escape(name)}: {escape(each[key])}[/]")
            return True
    return False


def _gemm(console: Console, each: Figures) -> None:
    table = Table(title="matrix products, GFLOP/s")
    rates = each["flops_per_second"]
    for column in ("", *next(iter(rates.values()))):
        table.add_column(column, justify="right" if column else "left")
    for precision, by_shape in rates.items():
        table.add_row(precision, *(f"{rate / 1e9:,.0f}" for rate in by_shape.values()))
    console.print(table)


def _steps(console: Console, figures: Figures) -> None:
    """Print the trainers side by side, ours first."""
    both = [figures[name] for name in ("ours", "trl") if name in figures and not _absent(console, name, figures[name])]
    if not both:
        return
    ratios = figures.get("ratios", {})
    table = Table(title="one training step")
    for column in ("", *(each["name"] for each in both), "ratio"):
        table.add_column(column, justify="right" if column else "left")

    def row(label: str, values: list[str], ratio: str = "") -> None:
        table.add_row(label, *values, ratio)

    def times(name: str) -> str:
        return f"{ratios[name]:.2f}×" if name in ratios else ""

    row("seconds per step (median)", [f"{e['seconds_per_step']:.3f}" for e in both], times("seconds_per_step"))
    row("  fastest to slowest", [f"{e['fastest_step']:.3f} to {e['slowest_step']:.3f}" for e in both])
    for phase in both[0]["phases"]:
        row(f"  {phase}", [f"{e['phases'][phase]:.3f}" for e in both])
    row("response tokens per second", [f"{e['tokens_per_second']:,.0f}" for e in both], times("tokens_per_second"))
    row("response length (tokens)", [f"{e['response_length']:.2f}" for e in both], times("response_length"))
    row("peak memory (GB)", [f"{e['memory_gb']:.2f}" for e in both], times("memory"))
    row("  before the first step", [f"{e['memory_ready_gb']:.2f}" for e in both])
    console.print(table)
    for each in both:
        console.print(f"{each['name']}: " + ", ".join(f"{key} {value}" for key, value in each["setting"].items()))
        if "recorded" in each:
            console.print(
                f"{each['name']} with its run directory written and flushed: "
                f"{each['recorded']['seconds_per_step']:.3f} s a step"
            )
    if share := figures.get("share_of_gemm"):
        console.print(
            f"of the best GEMM rate we reach {share['step']:.1%} (rollout {share['rollout']:.1%}, update "
            f"{share['update']:.1%}), attention not counted"
        )


def _trials(console: Console, trials: Figures) -> None:
    table = Table(title="TRL, setting by setting")
    for column in ("setting", "s a step", "rollout", "update", "tokens/s", "GB", "neighbours"):
        table.add_column(column, justify="left" if column == "setting" else "right")
    measured = {name: each for name, each in trials.items() if not _absent(console, name, each)}
    for name, each in sorted(measured.items(), key=lambda item: -item[1]["tokens_per_second"]):
        table.add_row(
            name,
            f"{each['seconds_per_step']:.3f}",
            f"{each['phases']['rollout']:.3f}",
            f"{each['phases']['update']:.3f}",
            f"{each['tokens_per_second']:,.0f}",
            f"{each['memory_gb']:.2f}",
            "" if each["neighbours"] is None else f"{each['neighbours']:.0%}",
        )
    console.print(table)


def _score(console: Console, each: Figures) -> None:
    console.print(
        f"scoring {each['tokens']:,} tokens with gradient, vocabulary {each['vocabulary']:,}, hidden {each['hidden']}: "
        f"[bold]{each['beyond_gb']:.2f} GB[/] beyond weights ({each['weights_gb']:.2f} GB) and their gradients; the "
        f"logits alone would be {each['full_logits_gb']:.2f} GB. {each['forward_seconds']:.1f} s forward, "
        f"{each['backward_seconds']:.1f} s backward, {each['flops_per_second'] / 1e9:,.0f} GFLOP/s"
    )


def _gpu(console: Console, each: Figures) -> None:
    rollout, update = each["rollout"], each["update"]
    utilised = f", MFU {update['mfu']:.1%} (attention not counted)" if update["mfu"] is not None else ""
    console.print(
        f"{each['device']}, {each['parameters'] / 1e6:,.0f} M random weights, bf16, {each['attention']} attention\n"
        f"  rollout: {rollout['rows']} rows, {rollout['tokens_per_second']:,.0f} tokens/s\n"
        f"  update: {update['tokens']:,} tokens, {update['tokens_per_second']:,.0f} tokens/s, "
        f"{update['flops_per_second'] / 1e12:.2f} TFLOP/s{utilised}"
        + (f"\n  peak memory: {each['memory_gb']:.1f} GB" if each["memory_gb"] is not None else "")
    )
