"""Evaluate models and checkpoints on benchmarks, as SimpleRL-Zoo does: acc, pass@k, maj@k, lengths, with intervals.

MODEL is a cub, a model directory, a hub name, a run directory (its base model and last checkpoint; --steps chooses
others) or a checkpoint. Without --benchmarks the paper's eight are run. NAME@N draws N samples at temperature 1.0:
aime24@32 is the paper's avg@32. A file of your own works as a benchmark too.

Everything that matters for a result is in its directory's name and in protocol.json there, so nothing is skipped or
overwritten by mistake; an evaluation that was interrupted continues where it was, and ends with the same file.
"""

import argparse
import sys
from pathlib import Path

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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("models", nargs="*", metavar="MODEL", help="models, run directories or checkpoints")
    add("--benchmarks", metavar="A,B", help="names, NAME@SAMPLES or files (default: the paper's eight)")
    add("--list", action="store_true", help="list the benchmarks and stop")
    add("--data-dir", type=Path, metavar="DIR", help="benchmark files; without it they come from the hub")
    add("--output-dir", type=Path, default=Path("evaluations"), metavar="DIR", help="default: %(default)s")
    add("--steps", default="", metavar="S", help="checkpoints of a run: all, last or 0,20,40 (default: 0 and the last)")
    add("--samples", type=int, metavar="N", help="responses to each problem (default: 1)")
    add("--temperature", type=float, metavar="T", help="default: 0 for base models, 1.0 for trained ones or N > 1")
    add("--top-p", type=float, metavar="P", help="default: 0.95 where sampled, else 1")
    add(
        "--max-tokens",
        type=int,
        default=DEFAULT_MAX_TOKENS,
        metavar="N",
        help="length limit of a response (default: %(default)s; for --tasks that of the task)",
    )
    add("--limit", type=int, default=0, metavar="N", help="only the first N problems of each benchmark")
    add("--k", metavar="K,K", help="the k of pass@k and maj@k (default: 1, 2, 4 … and the number of samples)")
    add("--template", metavar="T", help="prompt template (default: the run's, or that of the model's recipe)")
    add(
        "--stop",
        action="append",
        metavar="TEXT",
        help="string that ends a response, again for more (default: as above)",
    )
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
    from simplerl.errors import ConfigError

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
    _show(paths, args.output_dir)
    return 0


def _list() -> int:
    from rich.table import Table

    from simplerl.cli.progress import wide_console
    from simplerl.evaluate.benchmarks import BENCHMARKS, DEFAULTS

    table = Table("benchmark", "problems", "default", "hub", "source")
    for benchmark in BENCHMARKS.values():
        table.add_row(
            benchmark.name,
            str(benchmark.problems),
            "yes" if benchmark.name in DEFAULTS else "",
            benchmark.hub.name if benchmark.hub else "– (--data-dir)",
            benchmark.citation,
        )
    wide_console().print(table)
    return 0


def _settings(args: argparse.Namespace):
    from simplerl.errors import ConfigError
    from simplerl.evaluate.protocol import Settings

    try:
        ks = tuple(int(k) for k in args.k.split(",")) if args.k else ()
    except ValueError as error:
        raise ConfigError(f"--k must be numbers such as 1,4,16; got {args.k!r}") from error
    return Settings(
        template=args.template,
        stop=None if args.stop is None else tuple(args.stop),
        temperature=args.temperature,
        top_p=args.top_p,
        samples=args.samples if args.samples is not None else 1,
        max_tokens=args.max_tokens,
        policy=args.policy,
        seed=args.seed,
        limit=args.limit,
        ks=ks,
        device=args.device,
        backend=args.backend,
        precision=args.precision,
        max_rows=args.max_rows,
        part=args.part,
    )


def _names(args: argparse.Namespace) -> list[str]:
    from simplerl.errors import ConfigError
    from simplerl.evaluate.benchmarks import DEFAULTS

    if args.benchmarks is None:
        return [*DEFAULTS, "aime24@32"]
    names = list(dict.fromkeys(name.strip() for name in args.benchmarks.split(",") if name.strip()))
    if not names:
        raise ConfigError("--benchmarks names no benchmark; leave it out for the paper's eight, or see --list")
    return names


def _evaluate(args: argparse.Namespace, bar) -> list[Path]:
    from simplerl.evaluate.run import evaluate, load_benchmarks, plan
    from simplerl.evaluate.targets import is_run, targets
    from simplerl.train.resolve import as_table, recipe_for, resolve

    settings = _settings(args)
    loaded = load_benchmarks(_names(args), settings, args.data_dir, bar.say)
    several = len(args.models) > 1 and any(is_run(name) for name in args.models)
    found = []
    for name in args.models:
        recipe = as_table(resolve(recipe_for(name), {}))
        # Beside a run, --steps speaks of the run only.
        found += targets(name, args.steps if is_run(name) or not several else "", recipe=recipe)
    jobs = plan(found, loaded, settings, args.output_dir, bar)
    return evaluate(jobs, settings, bar, overwrite=args.overwrite)


def _score(args: argparse.Namespace, bar) -> list[Path]:
    from simplerl.errors import ConfigError
    from simplerl.evaluate.responses import read_responses, score
    from simplerl.evaluate.run import load_benchmarks
    from simplerl.models.load import load_tokenizer

    names = _names(args) if args.benchmarks else []
    if len(names) != 1:
        raise ConfigError("--responses needs the one benchmark that they answer: --benchmarks NAME (or a file)")
    settings = _settings(args)
    loaded = load_benchmarks(names, settings, args.data_dir, bar.say)[names[0]]
    given = read_responses(args.responses, loaded)
    bar.phase(f"{args.responses.name} on {names[0]}", len(given))
    directory = score(
        given,
        loaded,
        name=loaded.benchmark.name,
        label=args.responses.stem,
        source=args.responses,
        policy=args.policy or loaded.benchmark.policy,
        tokenizer=load_tokenizer(args.tokenizer) if args.tokenizer else None,
        output=args.output_dir,
        ks=settings.ks,
        on_done=bar.advance,
    )
    return [directory.path]


def _show(paths: list[Path], output: Path) -> None:
    """Print the table of these evaluations, and write the summary of all that is in the output directory."""
    from rich.markup import escape
    from rich.table import Table

    from simplerl.analysis.evaluations import averages, cell, rows, write_summary
    from simplerl.analysis.plots import plot_checkpoints
    from simplerl.cli.progress import wide_console
    from simplerl.runs.files import DirectoryLock
    from simplerl.runs.results import results

    console = wide_console()
    everything = list(results(output, lambda message: console.print(message, markup=False)))
    lock = DirectoryLock(output)
    lock.take(patience_s=60)  # Another evaluation may be writing the same summary.
    try:
        write_summary(everything, output)
    finally:
        lock.release()
    mine = {path.resolve() for path in paths}
    table_rows = rows([result for result in everything if result.path.resolve() in mine])
    table = Table(title="accuracy (%) with 95% interval over problems; the rest is in results.md")
    for column in ("model", "benchmark", "size", "accuracy", "strict", "boxed", "truncated", "tokens"):
        table.add_column(column, justify="left" if column in ("model", "benchmark") else "right", no_wrap=True)
    for model, row in table_rows.items():
        for name, result in row.items():
            f = result.figures
            shown = [
                f"{100 * v:.1f}" if (v := f.get(key, {}).get("value")) is not None else "–"
                for key in ("acc_strict", "box_ratio", "clip_ratio")
            ]
            tokens = f["tokens"]["value"]
            size = f"{f['problems']}" + (f" × {f['samples']}" if f["samples"] > 1 else "")
            table.add_row(
                escape(model), escape(name), size, cell(f["acc"]), *shown, "–" if tokens is None else f"{tokens:.0f}"
            )
        if sum("@" not in name for name in row) > 1:
            for name, figure in averages(row).items():
                table.add_row(escape(model), "average" if name == "acc" else "the paper's six", "", cell(figure))
        table.add_section()
    console.print(table)
    for result in (result for row in table_rows.values() for result in row.values()):
        verdicts = result.figures["verdicts"]
        undecided = {status: verdicts[status] for status in ("unjudgeable", "timeout", "error") if verdicts[status]}
        if undecided:
            shown = ", ".join(f"{count} {status}" for status, count in undecided.items())
            console.print(f"{result.model} on {result.benchmark}: left out of the shares: {shown}", markup=False)
    plotted = plot_checkpoints(everything, output)
    shown = ["eval_results.csv", "results.json", "results.md", *plotted]
    console.print(f"written to {output}: {', '.join(shown)}", markup=False)


def _harness(args: argparse.Namespace) -> int:
    """Run tasks of lm-evaluation-harness on each model, and show its metrics."""
    from rich.table import Table

    from simplerl.cli.progress import wide_console
    from simplerl.data.prompts import prompter
    from simplerl.errors import ConfigError
    from simplerl.evaluate import harness
    from simplerl.evaluate.targets import targets
    from simplerl.models.device import pick_device
    from simplerl.models.load import load
    from simplerl.runs.results import slug
    from simplerl.train.resolve import as_table, recipe_for, resolve

    if not args.models or args.responses or args.benchmarks:
        raise ConfigError("--tasks needs models, and goes without --benchmarks and --responses")
    tasks = [name.strip() for name in args.tasks.split(",") if name.strip()]
    console = wide_console()
    table = Table("model", "task", "metric", "value", "standard error", title="lm-evaluation-harness")
    for name in args.models:
        for target in targets(name, args.steps, recipe=as_table(resolve(recipe_for(name), {}))):
            template = args.template or target.config["template"]
            found = harness.evaluate(
                load(target.source, device=pick_device(args.device, "device")),
                prompter(template, special_tokens=target.config.get("prompt", {}).get("special_tokens", "none")),
                tasks,
                limit=args.limit,
                fewshot=args.fewshot,
                max_tokens=args.max_tokens if args.max_tokens != DEFAULT_MAX_TOKENS else None,
                batch=min(args.max_rows, 16),
                seed=args.seed,
            )
            directory = args.output_dir / slug(target.label)
            directory.mkdir(parents=True, exist_ok=True)
            shown = f"harness_{slug('+'.join(tasks))}_{slug(Path(template).stem)}_seed{args.seed}"
            harness.write(
                found, directory / f"{shown}{f'_limit{args.limit}' if args.limit else ''}.json", console.print
            )
            for task, metric, value, error in harness.scores(found):
                table.add_row(target.label, task, metric, f"{value:.4f}", "–" if error is None else f"{error:.4f}")
    console.print(table)
    return 0
