"""`simplerl experiment` and `simplerl race`: several settings × several seeds, a table, a plot."""

import argparse
import os
import shlex
from pathlib import Path

from simplerl.algorithms import ALGORITHMS
from simplerl.cli.console import Bar, say, show_table
from simplerl.runs.files import make_directory
from simplerl.studies import EXPERIMENTS, Experiment, read_experiment, report
from simplerl.studies.execute import execute
from simplerl.studies.plan import plan
from simplerl.studies.race import BUDGET, race


def run(args: argparse.Namespace) -> int:
    """List the experiments, or run one, or a race."""
    if args.command == "race":
        names, budget = list(ALGORITHMS) if args.algorithms == ["all"] else args.algorithms, args.budget or BUDGET
        more = f" --budget {budget}" + f" --backend {args.backend}" * (args.backend != "native")
        return run_study(race(names, budget=budget, backend=args.backend), args, f"race {' '.join(names)}", more)
    if args.name is None:
        width = max(map(len, EXPERIMENTS))
        for name, experiment in EXPERIMENTS.items():
            runs = len(experiment.variants) * args.seeds
            print(f"{name:{width}}  {experiment.question} ({runs} runs with {args.seeds} seeds)")
        return 0
    if args.name.endswith(".toml"):
        experiment = read_experiment(Path(args.name))
    else:
        experiment = EXPERIMENTS.find(args.name, hint="A .toml file works too.")
    return run_study(experiment, args, f"experiment {shlex.quote(args.name)}")


def run_study(experiment: Experiment, args: argparse.Namespace, command: str, more: str = "") -> int:
    """Run what is missing of an experiment, write and show its results. Return 1 if a run failed, else 0."""
    directory = Path(args.output_dir or Path("runs") / f"{experiment.name}{'-quick' if args.quick else ''}")
    jobs = plan(experiment, seeds=args.seeds, directory=directory, quick=args.quick)
    done = sum(job.state == "done" for job in jobs)
    say(f"{experiment.question} {len(jobs)} runs" + (f", {done} of them done already" if done else ""))
    make_directory(directory)
    with Bar("runs", len(jobs)) as progress:
        try:
            failed = execute(jobs, parallel=args.jobs or os.cpu_count() or 1, watch=progress)
        except KeyboardInterrupt:
            progress.say("stopped; every run has saved its state. Continue with the same command")
            raise
    complete = [job for job in jobs if job.name not in failed]
    runs = {variant.label: [job for job in complete if job.label == variant.label] for variant in experiment.variants}
    if not (runs := {label: own for label, own in runs.items() if own}):
        say("every run failed: there are no results")
        return 1
    results = report.collect_results(experiment, runs, seeds=args.seeds, failed=failed)
    command = f"simplerl {command} --seeds {args.seeds}{more}{' --quick' if args.quick else ''}"
    report.write(experiment, results, runs, directory, command=command)
    head, *rows = report.rows(experiment, results, brief=True)
    show_table(f"{experiment.question} Means over {args.seeds} seeds, 95% intervals over seeds", head, rows)
    say(
        *report.paper_notes(experiment), "  ".join(str(directory / n) for n in ("table.md", "results.json", "plot.png"))
    )
    return int(bool(failed))
