"""Re-examine a finding of SimpleRL-Zoo on the cubs: several settings × several seeds, a table, a plot.

Without a name: the experiments and the questions that they answer. A .toml file is an experiment of your own (the form
is in docs/extending.md). Each run is a child process with one thread. What was interrupted continues with the same
command; finished runs are not run again. The results (results.json, table.md, plot.png) are made from the run
directories alone. docs/findings.md shows what came out here.
"""

import argparse
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from simplerl.studies.experiment import Experiment
    from simplerl.studies.plan import Job

EXAMPLES = """\
  simplerl experiment
      the experiments and their questions
  simplerl experiment pass-at-k
  simplerl experiment group-size --seeds 5 --jobs 2 --output-dir runs/groups
  simplerl experiment my-question.toml --seeds 3
  simplerl experiment control --quick
      see that it works, in a minute
"""


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def add_study_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that experiments and races share."""
    parser.add_argument("--seeds", type=positive, default=3, metavar="N", help="seeds 0 to N−1 (default: 3)")
    parser.add_argument(
        "--jobs", type=positive, default=os.cpu_count() or 1, metavar="N", help="runs at a time (default: the cores)"
    )
    parser.add_argument("--output-dir", metavar="DIR", help="where runs and results go (default: runs/ and the name)")
    parser.add_argument(
        "--quick", action="store_true", help="tiny runs, to see that it works; the figures mean nothing"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("name", nargs="?", help="the experiment, or a .toml file; none: list them")
    add_study_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """List the experiments, or run one."""
    from simplerl.core.errors import ConfigError, nearest
    from simplerl.studies import EXPERIMENTS, read_experiment

    if args.name is None:
        width = max(map(len, EXPERIMENTS))
        for name, experiment in EXPERIMENTS.items():
            runs = len(experiment.variants) * args.seeds
            print(f"{name:{width}}  {experiment.question} ({runs} runs with {args.seeds} seeds)")
        return 0
    if args.name.endswith(".toml"):
        experiment = read_experiment(Path(args.name))
    elif args.name in EXPERIMENTS:
        experiment = EXPERIMENTS[args.name]
    else:
        raise ConfigError(f"unknown experiment {args.name!r}; {nearest(args.name, EXPERIMENTS)}, or give a .toml file")
    quick = " --quick" if args.quick else ""
    command = f"simplerl experiment {shlex.quote(args.name)} --seeds {args.seeds}{quick}"
    return run_study(experiment, args, command=command)


class StudyProgress:
    """Shows which runs are under way: a bar on a terminal, a line per run everywhere."""

    def __init__(self, console: Console, total: int, done: int):
        self.console, self.total, self.finished = console, total, done
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

    def __enter__(self) -> "StudyProgress":
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
        if job.name in self.running:  # Not so where the run that it begins from has failed.
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
    done = sum(job.state == "done" for job in jobs)
    earlier = f", {done} of them done already" if done else ""
    console.print(escape(f"{experiment.question} {len(jobs)} runs{earlier}"))
    for label, reason in skipped.items():
        console.print(escape(f"not run: {label}: {reason}"))
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(directory, error) from error
    with StudyProgress(console, len(jobs), done) as progress:
        try:
            failed = execute(jobs, parallel=args.jobs, watch=progress)
        except KeyboardInterrupt:
            console.print("stopped; every run has saved its state. Continue with the same command")
            raise
    compared = {variant.label for variant in experiment.variants}
    complete = [job for job in jobs if job.name not in failed and job.label in compared]
    runs = {label: [j for j in complete if j.label == label] for label in dict.fromkeys(j.label for j in complete)}
    if not runs:
        console.print("every run failed: there are no results")
        return 1
    results = report.collect_results(experiment, runs, seeds=args.seeds, skipped=skipped, failed=failed)
    report.write(experiment, results, runs, directory, command=command)
    show(console, experiment, report.rows(experiment, results, brief=True), args.seeds)
    console.print(escape(f"{directory / 'table.md'}  {directory / 'results.json'}  {directory / 'plot.png'}"))
    return int(bool(failed))


def show(console: Console, experiment: "Experiment", rows: Sequence[Sequence[str]], seeds: int) -> None:
    """Print the table, and what the paper says beside it."""
    from simplerl.studies.report import paper_notes

    head, *body = rows
    table = Table(title=escape(f"{experiment.question} Means over {seeds} seeds, 95% intervals over seeds"))
    for position, name in enumerate(head):
        table.add_column(escape(name), justify="right" if position else "left", overflow="fold")
    for row in body:
        table.add_row(*map(escape, row))
    console.print(table)
    for line in paper_notes(experiment):
        console.print(escape(line))
