"""The commands that use a model: `eval` on benchmarks, `serve` for agents elsewhere, `export` for other libraries."""

import argparse
import contextlib
import dataclasses
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from simplerl.analysis.compare import averages, rows, to_csv
from simplerl.analysis.estimates import shown
from simplerl.cli.console import Bar, say, show_table
from simplerl.core.errors import ConfigError, ModelError, RunError
from simplerl.core.types import UNDECIDED
from simplerl.evaluate import harness
from simplerl.evaluate.benchmarks import BENCHMARKS, DEFAULTS
from simplerl.evaluate.run import Settings, load_benchmarks, models_of, open_rollout, score
from simplerl.evaluate.run import evaluate as run_evaluations
from simplerl.models.device import pick_device
from simplerl.models.load import load, load_tokenizer, locate
from simplerl.models.lora import CONFIG, WEIGHTS
from simplerl.rollout.backend import Sampling
from simplerl.rollout.serving import open_endpoint
from simplerl.runs.files import LockedDirectory, write_atomic, writing
from simplerl.runs.run import Evaluation, results

#: Environment variable with the key that agents must give; without it one is made up.
KEY = "SIMPLERL_SERVE_KEY"


def evaluate(args: argparse.Namespace) -> int:
    """Evaluate models and checkpoints, or responses made elsewhere, and show what came of it."""
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
        return run_evaluations(models, benchmarks, settings, args.output_dir, bar, overwrite=args.overwrite)
    (loaded,) = benchmarks.values()
    tokenizer = load_tokenizer(args.tokenizer) if args.tokenizer else None
    return [score(args.responses, loaded, settings, args.output_dir, bar, tokenizer=tokenizer)]


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


def serve(args: argparse.Namespace) -> None:
    """Serve an OpenAI-compatible endpoint over a run's policy, which records the episodes of agents, until Ctrl-C."""
    key = os.environ.get(KEY) or secrets.token_hex(16)
    policy = load(args.model, device=pick_device(args.device))
    sampling = Sampling(temperature=args.temperature, max_new_tokens=args.max_tokens)
    options = {"samples": 1, "seed": args.seed, "backend": args.backend}
    with LockedDirectory(args.output_dir), open_rollout(policy, sampling=sampling, **options) as rollout:
        server = open_endpoint(rollout, args.output_dir, port=args.port, key=key, seconds=args.seconds, say=say)
        say(
            f"{server.base_url}  (Ctrl-C ends it; episodes go to {args.output_dir})",
            f'open an episode: curl -X POST -H "Authorization: Bearer {"$" + KEY if KEY in os.environ else key}" '
            f"-H 'Content-Length: 0' {server.base_url}/episodes",
        )
        with contextlib.suppress(KeyboardInterrupt):
            server.wait()


def export(args: argparse.Namespace) -> None:
    """Write a run's model as a Hugging Face directory, adapters merged into it, or the adapters alone."""
    source = Path(locate(args.model))
    adapted = (source / CONFIG).is_file()
    if args.output.exists():
        raise RunError(f"{args.output} exists already; choose another --output, or remove it")
    if args.adapter and not adapted:
        raise ModelError(f"{args.model} ({source}) holds no adapters; leave out --adapter")
    policy = None if args.adapter else load(str(source))
    with writing(args.output):
        args.output.mkdir(parents=True)
        if policy:
            policy.model.save_pretrained(args.output)
            policy.tokenizer.save_pretrained(args.output)
        else:
            for name in (CONFIG, WEIGHTS):
                shutil.copy(source / name, args.output / name)
    merged = " with its adapters merged into it" if adapted and policy else ""
    say(f"{source}{merged} → {args.output}")
