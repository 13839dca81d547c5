"""What `simplerl experiment` and `simplerl race` share: run, watch, and show what came out."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from simplerl.studies.plan import Job
    from simplerl.studies.types import Experiment


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def add_study_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that both commands have."""
    parser.add_argument("--seeds", type=positive, default=3, metavar="N", help="seeds 0 to N−1 (default: 3)")
    parser.add_argument(
        "--jobs", type=positive, default=os.cpu_count() or 1, metavar="N", help="runs at a time (default: the cores)"
    )
    parser.add_argument("--output-dir", metavar="DIR", help="where runs and results go (default: runs/ and the name)")
    parser.add_argument(
        "--quick", action="store_true", help="tiny runs, to see that it works; the figures mean nothing"
    )


class Progressing:
    """Shows which runs are under way: a bar on a terminal, a line per run everywhere."""

    def __init__(self, console: Console, total: int, there: int):
        self.console, self.total, self.finished = console, total, there
        self.running: list[str] = []
        self._bar = Progress(
            TextColumn("{task.completed:.1f} of {task.total:.0f} runs"),
            BarColumn(bar_width=30),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("runs", total=total, note="")

    def __enter__(self) -> "Progressing":
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def started(self, job: "Job") -> None:
        """Name the run."""
        self.running.append(job.name)
        self._note()

    def progress(self, runs: float) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=runs)

    def ended(self, job: "Job", seconds: float, error: str) -> None:
        """Say how a run ended."""
        if job.name in self.running:  # It is not, where what it was to begin from has failed.
            self.running.remove(job.name)
        self.finished += 1
        how = f"failed after {seconds:.0f} s: {error}" if error else f"done in {seconds:.0f} s"
        self.console.print(escape(f"[{self.finished}/{self.total}] {job.name}: {how}"))
        self._note()

    def _note(self) -> None:
        self._bar.update(self._task, note=escape("; ".join(self.running)))


def run_study(experiment: "Experiment", args: argparse.Namespace, *, command: str) -> int:
    """Run what is missing of an experiment, write and show its results. Return 1 if a run failed, else 0."""
    from simplerl.runs.files import cannot_write
    from simplerl.studies import report
    from simplerl.studies.execute import execute
    from simplerl.studies.plan import plan

    directory = Path(args.output_dir or Path("runs") / f"{experiment.name}{'-quick' if args.quick else ''}")
    jobs, skipped = plan(experiment, seeds=args.seeds, directory=directory, quick=args.quick)
    console = Console(highlight=False, soft_wrap=True)
    there = sum(job.state == "done" for job in jobs)
    console.print(
        escape(f"{experiment.question} {len(jobs)} runs" + (f", {there} of them there already" if there else ""))
    )
    for label, reason in skipped.items():
        console.print(escape(f"not run: {label}: {reason}"))
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(directory, error) from error
    with Progressing(console, len(jobs), there) as watcher:
        try:
            failed = execute(jobs, parallel=args.jobs, watch=watcher)
        except KeyboardInterrupt:
            console.print("stopped; every run has saved where it was. Go on with the same command")
            raise
    compared = {variant.label for variant in experiment.variants}
    ended = [job for job in jobs if job.name not in failed and job.label in compared]
    runs = {label: [job for job in ended if job.label == label] for label in dict.fromkeys(j.label for j in ended)}
    if not runs:
        console.print("no run has ended well: there are no results")
        return 1
    results = report.collect_results(experiment, runs, seeds=args.seeds, skipped=skipped, failed=failed)
    report.write(experiment, results, runs, directory, command=command)
    show(console, experiment, report.rows(experiment, results, brief=True), args.seeds)
    console.print(escape(f"{directory / 'table.md'}  {directory / 'results.json'}  {directory / 'plot.png'}"))
    return int(bool(failed))


def show(console: Console, experiment: "Experiment", rows: Sequence[Sequence[str]], seeds: int) -> None:
    """Print the table, and what the paper says beside it."""
    head, *body = rows
    table = Table(title=escape(f"{experiment.question} Means over {seeds} seeds, 95% intervals over seeds"))
    for position, name in enumerate(head):
        table.add_column(escape(name), justify="right" if position else "left", overflow="fold")
    for row in body:
        table.add_row(*map(escape, row))
    console.print(table)
    console.print(escape(f"Paper: {experiment.claim} {experiment.figures} ({experiment.source})"))
    console.print(escape(f"Different here: {experiment.remarks}"))
