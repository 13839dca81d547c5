"""The commands that train: `train`, `sft`, `star`; `sample` and `prm` for self-training; `experiment` and `race`.

What loads torch is imported where it is used: a mistake in a setting need not wait for it.
"""

import argparse
import dataclasses
import gc
import os
import shlex
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from simplerl.cli import settings
from simplerl.cli.console import Bar, say, show_table
from simplerl.config.resolve import as_table, configure, flatten, merge, resolve
from simplerl.config.sections import Config
from simplerl.core.errors import ConfigError, DataError, RankLost, RunError
from simplerl.core.registry import load_object
from simplerl.core.types import Problem
from simplerl.data.rows import read_rows
from simplerl.runs.directory import RunDirectory
from simplerl.runs.files import json_line, make_directory, write_atomic

if TYPE_CHECKING:
    from simplerl.studies.experiment import Experiment
    from simplerl.train.components import Inputs
    from simplerl.train.run import Callback, Outcome


def train(args: argparse.Namespace) -> int:
    """Make a run, then show what came of it."""
    stage, overrides = args.command, settings(args)
    if stage == "star" and args.iterations:
        overrides["steps"] = args.iterations
    config, path = configure(args.recipe, overrides, resume=args.resume, stage=stage)
    if stage == "train" and args.dry_run:
        from simplerl.cli.plan import dry_run

        dry_run(config)
        return 0

    from simplerl.cli.display import show_ending, show_outcome
    from simplerl.train.run import check_stage

    if args.resume and (path / "config.json").is_file():  # Before its configuration is found to have no demonstrations.
        check_stage(RunDirectory(path), stage)
    outcome = execute(stage, config, path, resume=args.resume)
    if not outcome.finished:
        return show_ending(outcome, stage, path)
    show_outcome(stage, config, path)
    return 0


def execute(
    stage: str,
    config: Config,
    path: Path,
    *,
    resume: bool,
    quiet: bool = False,
    callbacks: "Sequence[Callback]" = (),
    inputs: "Inputs | None" = None,
) -> "Outcome":
    """Train (or fine-tune, or self-train) into a directory, shown on the terminal and to the trackers."""
    from simplerl.cli.display import Terminal, Trackers
    from simplerl.cli.plan import plan_on_gpus
    from simplerl.train.ranks import Restarts

    if stage == "train" and not (inputs and inputs.policy):
        plan_on_gpus(config, quiet=quiet)

    module = {"train": "train.loop", "sft": "train.sft", "star": "selftraining.star"}[stage]
    run = load_object(f"simplerl.{module}:{stage}")
    with ExitStack() as stack:
        watchers = list(callbacks)
        if not quiet:
            watchers.append(stack.enter_context(Terminal(config, path, stage)))
        if names := config.tracking.trackers:
            plain = flatten(as_table(config))
            watchers.append(stack.enter_context(closing(Trackers(names, config.tracking.project, path, plain))))
        # A model that was passed as an object has been trained in place: only who passed it can begin from it again.
        restarts = Restarts(path, 0 if inputs and inputs.policy else config.learner.restarts)
        while True:
            try:
                return run(config, path, resume=resume, callbacks=watchers, inputs=inputs)
            except RankLost as lost:
                said = restarts.next(lost)
            gc.collect()  # What is left of the learner is in cycles.
            for watcher in watchers:
                watcher.say(said)
            resume = True


# -- self-training -------------------------------------------------------------------------------------------------


def sample(args: argparse.Namespace) -> None:
    """Write a model's responses as data to imitate."""
    overrides = settings(args)
    if needless := sorted(overrides.keys() & {"algorithm", "reference"}):
        raise ConfigError(f"sampling learns nothing: leave out --{' and --'.join(needless)}")

    from simplerl.selftraining.star import WITHOUT_LEARNING, sample

    config = resolve(args.recipe, merge(overrides, WITHOUT_LEARNING))
    counts, written = sample(config, args.output, everything=args.all, say=say)
    verdicts = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    say(f"{counts.total()} responses: {verdicts}. {written} written to {args.output}")


def label_steps(args: argparse.Namespace) -> None:
    """Label the steps of responses for a process reward model."""
    from simplerl.selftraining.prm import label
    from simplerl.selftraining.star import WITHOUT_LEARNING

    config = resolve(args.recipe, merge(settings(args), WITHOUT_LEARNING))
    options = {"completions": args.completions, "steps": args.step_ends}
    counts = label(config, args.output_dir, **options, say=say)
    say(f"{counts.total()} steps: {', '.join(f'{count} {name}' for name, count in counts.most_common())}")
    say(f"Labels: {args.output_dir}. Next: simplerl prm train {args.output_dir} --output-dir DIR")


def train_prm(args: argparse.Namespace) -> None:
    """Train a process reward model on labels, and show how well it is calibrated."""
    from simplerl.analysis.plots import plot_reliability
    from simplerl.selftraining.prm import Lesson, train_prm

    lesson = Lesson(**{field.name: getattr(args, field.name) for field in dataclasses.fields(Lesson)})
    figures = train_prm(args.labels, args.output_dir, lesson, model=args.model, say=say)
    plot_reliability(figures, args.output_dir / "reliability.png")
    shown = {
        "AUC": "auc",
        "AUC, steps up to the first wrong one": "auc_first_wrong",
        "Brier score": "brier",
        "Brier score of the mean": "brier_of_the_mean",
    }
    rows = [(name, "–" if figures[key] is None else f"{figures[key]:.3f}") for name, key in shown.items()]
    show_table(f"{figures['steps']} held-out steps, {figures['good']} of them good", ("", "value"), rows)
    say(f"Process reward model: {args.output_dir} (reliability.png, prm.json)")


def score_steps(args: argparse.Namespace) -> None:
    """Score responses with a process reward model."""
    from simplerl.prm import ROWS, load_prm

    if args.output.exists():
        raise RunError(f"{args.output} exists already; choose another --output, or remove it")
    prm, lines = load_prm(str(args.prm)), []
    rows = list(read_rows(args.responses))
    for row in rows:
        if any(not isinstance(row.fields.get(name), str) for name in ("question", "response")):
            raise DataError(f"{row.place}: a row to score needs the texts question and response")
    with Bar() as bar:
        bar.phase("score", len(rows))
        for start in range(0, len(rows), ROWS):
            part = rows[start : start + ROWS]
            problems = [Problem(id=r.place, question=r.fields["question"], answer="", source="scored") for r in part]
            steps = [prm.encoded(problem, r.fields["response"]) for problem, r in zip(problems, part, strict=True)]
            for row, logits in zip(part, prm.scores(steps), strict=True):
                scores = [round(float(x), 6) for x in logits]
                lines.append(json_line({**row.fields, "step_scores": scores, "score": min(scores, default=None)}))
                bar.advance()
    write_atomic(args.output, "".join(lines))
    say(f"{len(lines)} responses scored: {args.output}")


# -- several settings × several seeds ------------------------------------------------------------------------------


def experiment(args: argparse.Namespace) -> int:
    """List the experiments, or run one."""
    from simplerl.studies.experiment import EXPERIMENTS, read_experiment

    if args.name is None:
        width = max(map(len, EXPERIMENTS))
        for name, each in EXPERIMENTS.items():
            runs = len(each.variants) * args.seeds
            say(f"{name:{width}}  {each.question} ({runs} runs with {args.seeds} seeds)")
        return 0
    if args.name.endswith(".toml"):
        chosen = read_experiment(Path(args.name))
    else:
        chosen = EXPERIMENTS.find(args.name, hint="A .toml file works too.")
    return _study(chosen, args, f"experiment {shlex.quote(args.name)}")


def race(args: argparse.Namespace) -> int:
    """Compare algorithms at equal tokens."""
    from simplerl.algorithms import ALGORITHMS
    from simplerl.studies.experiment import BUDGET, race

    names, budget = list(ALGORITHMS) if args.algorithms == ["all"] else args.algorithms, args.budget or BUDGET
    more = f" --budget {budget}" + f" --backend {args.backend}" * (args.backend != "native")
    return _study(race(names, budget=budget, backend=args.backend), args, f"race {' '.join(names)}", more)


def _study(experiment: "Experiment", args: argparse.Namespace, command: str, more: str = "") -> int:
    """Run what is missing of an experiment, write and show its results. Return 1 if a run failed, else 0."""
    from simplerl.studies import report
    from simplerl.studies.jobs import execute, plan

    directory = Path(args.output_dir or Path("runs") / experiment.name)
    jobs = plan(experiment, seeds=args.seeds, directory=directory)
    done = sum(job.state == "done" for job in jobs)
    say(f"{experiment.question} {len(jobs)} runs" + (f", {done} of them done already" if done else ""))
    make_directory(directory)
    with Bar("runs", len(jobs)) as progress:
        try:
            failed = execute(jobs, parallel=args.jobs or os.cpu_count() or 1, say=progress.say, move=progress.move)
        except KeyboardInterrupt:
            progress.say("stopped; every run has saved its state. Continue with the same command")
            raise
    complete = [job for job in jobs if job.name not in failed]
    runs = {variant.label: [job for job in complete if job.label == variant.label] for variant in experiment.variants}
    if not (runs := {label: own for label, own in runs.items() if own}):
        say("every run failed: there are no results")
        return 1
    results = report.collect_results(experiment, runs, seeds=args.seeds, failed=failed)
    command = f"simplerl {command} --seeds {args.seeds}{more}"
    report.write(experiment, results, runs, directory, command=command)
    head, *rows = report.rows(experiment, results, brief=True)
    show_table(f"{experiment.question} Means over {args.seeds} seeds, 95% intervals over seeds", head, rows)
    say(
        *report.paper_notes(experiment), "  ".join(str(directory / n) for n in ("table.md", "results.json", "plot.png"))
    )
    return int(bool(failed))
