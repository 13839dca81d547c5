"""`simplerl eval`: models and checkpoints on benchmarks, or responses made elsewhere."""

import argparse
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

from simplerl.analysis.estimates import shown
from simplerl.analysis.evaluations import averages, rows, to_csv
from simplerl.cli.console import Bar, say, show_table
from simplerl.core.errors import ConfigError
from simplerl.core.types import UNDECIDED
from simplerl.evaluate import harness
from simplerl.evaluate.benchmarks import BENCHMARKS, DEFAULTS
from simplerl.evaluate.responses import read_responses, score
from simplerl.evaluate.run import Settings, evaluate, load_benchmarks, models_of, plan
from simplerl.models.load import load_tokenizer
from simplerl.runs.files import LockedDirectory, write_atomic
from simplerl.runs.run import Evaluation, results


def run(args: argparse.Namespace) -> int:
    """Evaluate, and show what came of it."""
    if args.list:
        listed = [
            (n, b.problems, "yes" if n in DEFAULTS else "", b.hub["name"] if b.hub else "– (--data-dir)", b.citation)
            for n, b in BENCHMARKS.items()
        ]
        show_table("benchmarks", ("benchmark", "problems", "default", "hub", "source"), listed, left=5)
        return 0
    if args.tasks:
        return _harness(args)
    if args.rerank:  # A mistake is said before anything is sampled.
        from simplerl.evaluate.rerank import load_judge

        load_judge(args.rerank)
    if bool(args.models) == bool(args.responses):
        raise ConfigError("give models to evaluate, or --responses FILE to score; simplerl eval --help shows examples")
    try:
        with Bar() as bar:
            paths = _evaluate(args, bar)
    except KeyboardInterrupt:
        again = "the same command without --overwrite" if args.overwrite else "the same command"
        print(f"interrupted; what was saved is kept in {args.output_dir}: {again} goes on there", file=sys.stderr)
        return 130
    _show({path.resolve() for path in paths}, args.output_dir)
    for path in paths if args.rerank else ():
        _show_reranked(path, args.rerank)
    return 0


def _show_reranked(path: Path, judge: str) -> None:
    """Print what choosing among the samples of a result comes to."""
    from simplerl.evaluate.rerank import METHODS, rerank

    lines = [[k, *(shown(each[name]) for name in METHODS)] for k, each in rerank(path, judge).items()]
    show_table(f"{path.parent.parent.name} on {path.parent.name}, chosen by {judge} (%)", ("K", *METHODS), lines)
    say(f"written to {path / 'rerank.json'}")


def _settings(args: argparse.Namespace) -> Settings:
    chosen = {**vars(args), "stop": tuple(args.stop) or None, "ks": args.k}
    fields = (field.name for field in dataclasses.fields(Settings))
    return Settings(**{name: chosen[name] for name in fields if chosen[name] is not None})


def _evaluate(args: argparse.Namespace, bar: Bar) -> list[Path]:
    """Evaluate the models, or score the responses; return the directories of the results."""
    models = models_of(args.models, args.steps, bar.say)  # First: a benchmark may be of a run's plug-in.
    settings = _settings(args)
    names = [*DEFAULTS, "aime24@32"] if args.benchmarks is None else args.benchmarks
    if args.responses and args.environment:
        raise ConfigError("--responses are judged as their problems say: leave out --environment")
    if args.responses and (args.benchmarks is None or len(names) != 1):
        raise ConfigError("--responses needs the one benchmark that they answer: --benchmarks NAME (or a file)")
    if not names:
        raise ConfigError("--benchmarks names no benchmark; leave it out for the paper's eight, or see --list")
    benchmarks = load_benchmarks(names, settings, args.data_dir, bar.say)
    if models:
        jobs = plan(models, benchmarks, settings, args.output_dir, bar)
        return evaluate(jobs, settings, bar, overwrite=args.overwrite)
    ((name, loaded),) = benchmarks.items()
    given = read_responses(args.responses, loaded)
    bar.phase(f"{args.responses.name} on {name}", len(given))
    tokenizer = load_tokenizer(args.tokenizer) if args.tokenizer else None
    options = {"settings": settings, "tokenizer": tokenizer, "output": args.output_dir, "on_done": bar.advance}
    return [score(given, loaded, args.responses, **options).path]


def _show(mine: set[Path], output: Path) -> None:
    """Print the table of these evaluations, and write the summary of all that is in the output directory."""
    everything = results(output, say)
    with LockedDirectory(output, patience_s=60):  # Another evaluation may be writing the same summary.
        write_atomic(output / "eval_results.csv", to_csv(everything))
    table = rows([one for one in everything if one.home.resolve() in mine])
    head = ("model", "benchmark", "size", "accuracy", "strict", "boxed", "truncated", "tokens")
    title = "accuracy (%) with 95% interval over problems; simplerl report shows the rest"
    show_table(title, head, _lines(table), left=2)
    for name, one in (each for row in table.values() for each in row.items()):
        verdicts = one.figures["verdicts"]
        if counts := [f"{count} {status}" for status, count in verdicts.items() if count and status in UNDECIDED]:
            say(f"{one.label} on {name}: left out of the shares: {', '.join(counts)}")
    say(f"written to {output / 'eval_results.csv'}")


def _lines(table: dict[str, dict[str, Evaluation]]) -> Iterator[list[str]]:
    """Yield the lines of the printed table: a model's benchmarks, and its average over several."""
    for model, row in table.items():
        for name, one in row.items():
            f = one.figures
            size = f"{f['problems']}" + (f" × {f['samples']}" if f["samples"] > 1 else "")
            shares = [shown(f.get(key, {}).get("value")) for key in ("acc_strict", "box_ratio", "clip_ratio")]
            tokens = f["tokens"]["value"]
            yield [model, name, size, shown(f["acc"]), *shares, "–" if tokens is None else f"{tokens:.0f}"]
        if sum("@" not in name for name in row) > 1:
            for name, figure in averages(row).items():
                yield [model, "average" if name == "acc" else "the paper's six", "", shown(figure)]
        yield []


def _harness(args: argparse.Namespace) -> int:
    """Run tasks of lm-evaluation-harness on each model, and show its metrics."""
    if not args.models or args.responses or args.benchmarks:
        raise ConfigError("--tasks needs models, and goes without --benchmarks and --responses")
    lines, options = [], {"fewshot": args.fewshot, "output": args.output_dir, "say": say}
    for target in models_of(args.models, args.steps, say):
        results = harness.evaluate(target, args.tasks, _settings(args), **options)
        for task, metric, value, error in harness.scores(results):
            lines.append((target.label, task, metric, f"{value:.4f}", "–" if error is None else f"{error:.4f}"))
    show_table("lm-evaluation-harness", ("model", "task", "metric", "value", "standard error"), lines, left=3)
    return 0
