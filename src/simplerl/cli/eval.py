"""Evaluate models and checkpoints on benchmarks, as SimpleRL-Zoo does: acc, pass@k, maj@k, lengths, with intervals.

MODEL is a cub, a model directory, a hub name, a run directory (its base model and last checkpoint; --steps chooses
others) or a checkpoint. Without --benchmarks the paper's eight are run. NAME@N draws N samples at temperature 1.0:
aime24@32 is the paper's avg@32. A file of your own works as a benchmark too.

Everything that matters for a result is in its directory's name and in protocol.json there, so nothing is skipped or
overwritten by mistake; an evaluation that was interrupted continues where it was, and ends with the same file.
"""

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

from simplerl.core.errors import ConfigError

EXAMPLES = """\
  simplerl eval cub-qwen --benchmarks gsm8k --data-dir benchmarks
      greedy, as a base model; files benchmarks/gsm8k.jsonl or benchmarks/gsm8k/test.jsonl
  simplerl eval runs/mine --steps all --benchmarks math500,aime24,aime24@32
      every checkpoint, step 0 being the base model; from the hub
  simplerl eval Qwen/Qwen2.5-7B runs/mine --samples 8 --temperature 1.0 --top-p 0.95
  simplerl eval cub-qwen --benchmarks my-problems.jsonl --samples 16 --k 1,4,16
  simplerl eval --responses outputs.jsonl --benchmarks math500 --data-dir benchmarks
      score responses made elsewhere: lines with id (or question) and response(s)
  simplerl eval Qwen/Qwen2.5-7B --tasks ifeval,mmlu,mmlu_stem,gpqa_diamond
      beyond mathematics, through lm-evaluation-harness: pip install 'simplerl[harness]'
"""


#: SimpleRL-Zoo's.
DEFAULT_MAX_TOKENS = 16_000


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(k) for k in text.split(","))
    except ValueError:
        raise ConfigError(f"--k must be numbers such as 1,4,16; got {text!r}") from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("models", nargs="*", metavar="MODEL", help="models, run directories or checkpoints")
    add("--benchmarks", metavar="A,B", help="names, NAME@SAMPLES or files (default: the paper's eight)")
    add("--list", action="store_true", help="list the benchmarks and stop")
    add("--data-dir", type=Path, metavar="DIR", help="benchmark files; without it they come from the hub")
    add("--output-dir", type=Path, default=Path("evaluations"), metavar="DIR", help="default: %(default)s")
    add("--steps", default="", metavar="S", help="checkpoints of a run: all, last or 0,20,40 (default: 0 and the last)")
    add("--samples", type=int, default=1, metavar="N", help="responses to each problem (default: %(default)s)")
    add("--temperature", type=float, metavar="T", help="default: 0 for base models, 1.0 for trained ones or N > 1")
    add("--top-p", type=float, metavar="P", help="default: 0.95 where sampled, else 1")
    limit = "length limit of a response (default: %(default)s; for --tasks that of the task)"
    add("--max-tokens", type=int, default=DEFAULT_MAX_TOKENS, metavar="N", help=limit)
    add("--limit", type=int, default=0, metavar="N", help="only the first N problems of each benchmark")
    k = "the k of pass@k and maj@k (default: 1, 2, 4 … and the number of samples)"
    add("--k", dest="ks", type=_numbers, default=(), metavar="K,K", help=k)
    add("--template", metavar="T", help="prompt template (default: the run's, or that of the model's recipe)")
    add("--stop", action="append", metavar="TEXT", help="string that ends a response, again for more (as above)")
    add("--policy", metavar="P", help="how answers are found (default: the box, then phrases, then the last number)")
    add("--seed", type=int, default=0, metavar="N", help="seed of the sampling (default: %(default)s)")
    add("--responses", type=Path, metavar="FILE", help="score these responses instead of sampling")
    add("--tokenizer", metavar="MODEL", help="with --responses: whose tokens to count lengths in")
    add("--tasks", metavar="A,B", help="tasks of lm-evaluation-harness instead of benchmarks (extra: harness)")
    add("--fewshot", type=int, metavar="N", help="with --tasks: examples before the question (default: the task's)")
    add("--overwrite", action="store_true", help="evaluate again what is there already")
    add("--device", default="auto", metavar="D", help="cpu, cuda, cuda:1 … (default: a GPU if there is one)")
    add("--backend", default="native", metavar="B", help="who samples (default: %(default)s)")
    add("--precision", default="auto", metavar="P", help="fp32 or bf16 (default: bf16 on a GPU)")
    add("--max-rows", type=int, default=512, metavar="N", help="responses sampled at once (default: %(default)s)")
    add("--part", type=int, default=512, metavar="N", help="responses between two saves (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Evaluate, and show what came of it."""
    from simplerl.cli.progress import Bar

    if args.list:
        return _list()
    if args.tasks:
        return _harness(args)
    if bool(args.models) == bool(args.responses):
        raise ConfigError("give models to evaluate, or --responses FILE to score; simplerl eval --help shows examples")
    try:
        with Bar() as bar:
            paths = _score(args, bar) if args.responses else _evaluate(args, bar)
    except KeyboardInterrupt:
        again = "the same command without --overwrite" if args.overwrite else "the same command"
        print(f"interrupted; what was saved is kept in {args.output_dir}: {again} goes on there", file=sys.stderr)
        return 130
    _show({path.resolve() for path in paths}, args.output_dir)
    return 0


def _list() -> int:
    from rich.table import Table

    from simplerl.cli.progress import wide_console
    from simplerl.evaluate.benchmarks import BENCHMARKS, DEFAULTS

    table = Table("benchmark", "problems", "default", "hub", "source")
    for name, one in BENCHMARKS.items():
        hub = one.hub["name"] if one.hub else "– (--data-dir)"
        table.add_row(name, str(one.problems), "yes" if name in DEFAULTS else "", hub, one.citation)
    wide_console().print(table)
    return 0


def _settings(args: argparse.Namespace) -> Any:
    from simplerl.evaluate.run import Settings

    given = {field.name: getattr(args, field.name) for field in dataclasses.fields(Settings)}
    return Settings(**{**given, "stop": None if args.stop is None else tuple(args.stop)})


def _load(args: argparse.Namespace, bar: Any) -> tuple[Any, dict[str, Any]]:
    """Return the settings of the protocol, and the problems of each benchmark."""
    from simplerl.evaluate.benchmarks import DEFAULTS
    from simplerl.evaluate.run import load_benchmarks

    settings = _settings(args)
    names = [*DEFAULTS, "aime24@32"]
    if args.benchmarks is not None:
        names = list(dict.fromkeys(name.strip() for name in args.benchmarks.split(",") if name.strip()))
    if args.responses and (not args.benchmarks or len(names) != 1):
        raise ConfigError("--responses needs the one benchmark that they answer: --benchmarks NAME (or a file)")
    if not names:
        raise ConfigError("--benchmarks names no benchmark; leave it out for the paper's eight, or see --list")
    return settings, load_benchmarks(names, settings, args.data_dir, bar.say)


def _targets(args: argparse.Namespace) -> list[Any]:
    """Return the models to evaluate. Beside a run, --steps speaks of the run only."""
    from simplerl.evaluate.run import targets
    from simplerl.runs.run import is_run
    from simplerl.train.resolve import as_table, recipe_for, resolve

    several = len(args.models) > 1 and any(is_run(name) for name in args.models)
    return [
        target
        for name in args.models
        for target in targets(
            name,
            args.steps if is_run(name) or not several else "",
            recipe=as_table(resolve(recipe_for(name), {})),
        )
    ]


def _evaluate(args: argparse.Namespace, bar: Any) -> list[Path]:
    from simplerl.core.plugins import load_recorded
    from simplerl.evaluate.run import evaluate, plan
    from simplerl.runs.run import Run, is_run

    for name in filter(is_run, args.models):
        load_recorded(Run(name).config.get("plugins", ()), bar.say)
    settings, loaded = _load(args, bar)
    return evaluate(
        plan(_targets(args), loaded, settings, args.output_dir, bar), settings, bar, overwrite=args.overwrite
    )


def _score(args: argparse.Namespace, bar: Any) -> list[Path]:
    from simplerl.evaluate.responses import read_responses, score
    from simplerl.models.load import load_tokenizer

    settings, benchmarks = _load(args, bar)
    ((name, loaded),) = benchmarks.items()
    given = read_responses(args.responses, loaded)
    bar.phase(f"{args.responses.name} on {name}", len(given))
    directory = score(
        given,
        loaded,
        args.responses,
        settings=settings,
        tokenizer=load_tokenizer(args.tokenizer) if args.tokenizer else None,
        output=args.output_dir,
        on_done=bar.advance,
    )
    return [directory.path]


def _show(mine: set[Path], output: Path) -> None:
    """Print the table of these evaluations, and write the summary of all that is in the output directory."""
    from rich.markup import escape
    from rich.table import Table

    from simplerl.analysis.evaluations import averages, cell, rows, write_summary
    from simplerl.analysis.plots import plot_checkpoints
    from simplerl.cli.progress import wide_console
    from simplerl.core.types import UNDECIDED
    from simplerl.runs.files import LockedDirectory
    from simplerl.runs.results import results

    console = wide_console()
    everything = results(output, lambda message: console.print(message, markup=False))
    with LockedDirectory(output, patience_s=60):  # Another evaluation may be writing the same summary.
        write_summary(everything, output)
    table = Table(title="accuracy (%) with 95% interval over problems; the rest is in results.md")
    for column in ("model", "benchmark", "size", "accuracy", "strict", "boxed", "truncated", "tokens"):
        table.add_column(column, justify="left" if column in ("model", "benchmark") else "right", no_wrap=True)
    remarks = []
    for model, row in rows([one for one in everything if one.home.resolve() in mine]).items():
        for name, one in row.items():
            f = one.figures
            size = f"{f['problems']}" + (f" × {f['samples']}" if f["samples"] > 1 else "")
            shares = [(f.get(key, {}).get("value"), 100, ".1f") for key in ("acc_strict", "box_ratio", "clip_ratio")]
            plain = [
                "–" if value is None else f"{factor * value:{digits}}"
                for value, factor, digits in (*shares, (f["tokens"]["value"], 1, ".0f"))
            ]
            table.add_row(escape(model), escape(name), size, cell(f["acc"]), *plain)
            undecided = [
                f"{count} {status}" for status, count in f["verdicts"].items() if count and status in UNDECIDED
            ]
            if undecided:
                remarks.append(f"{one.label} on {name}: left out of the shares: {', '.join(undecided)}")
        if sum("@" not in name for name in row) > 1:
            for name, figure in averages(row).items():
                table.add_row(escape(model), "average" if name == "acc" else "the paper's six", "", cell(figure))
        table.add_section()
    console.print(table)
    files = ["eval_results.csv", "results.json", "results.md", *plot_checkpoints(everything, output)]
    for line in (*remarks, f"written to {output}: {', '.join(files)}"):
        console.print(line, markup=False)


def _harness(args: argparse.Namespace) -> int:
    """Run tasks of lm-evaluation-harness on each model, and show its metrics."""
    from rich.table import Table

    from simplerl.cli.progress import wide_console
    from simplerl.evaluate import harness

    if not args.models or args.responses or args.benchmarks:
        raise ConfigError("--tasks needs models, and goes without --benchmarks and --responses")
    console = wide_console()
    table = Table("model", "task", "metric", "value", "standard error", title="lm-evaluation-harness")
    for target in _targets(args):
        found = harness.evaluate(
            target,
            [name.strip() for name in args.tasks.split(",") if name.strip()],
            _settings(args),
            fewshot=args.fewshot,
            output=args.output_dir,
            say=console.print,
        )
        for task, metric, value, error in harness.scores(found):
            table.add_row(target.label, task, metric, f"{value:.4f}", "–" if error is None else f"{error:.4f}")
    console.print(table)
    return 0
