"""Make training data: build tiers, filter, check golds, remove benchmark questions, measure difficulty.

Every action but `audit` writes one data file (.jsonl or .parquet, `--output`) that `simplerl train --data` takes, and
a report beside it (`NAME.report.json`) that names every problem that was removed. `simplerl data ACTION --help` has
each action's options and examples; docs/data.md explains the formats.
"""

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

EXAMPLES = """\
  simplerl data tiers --output-dir data
  simplerl data filter gsm8k --tokenizer Qwen/Qwen2.5-0.5B --output short.jsonl
  simplerl data audit problems.jsonl
  simplerl data decontaminate problems.jsonl --against benchmarks/ --output clean.jsonl
  simplerl data difficulty problems.jsonl --model Qwen/Qwen2.5-0.5B --output rated.jsonl
"""

#: Action → (summary, examples).
ACTIONS: dict[str, tuple[str, str]] = {
    "tiers": (
        "build the Easy, Medium and Hard tiers of SimpleRL-Zoo from GSM8K and MATH",
        """\
  simplerl data tiers --output-dir data                 # both from the hub, without MATH-500
  simplerl data tiers --gsm8k gsm8k_train.jsonl --math math_train.jsonl math_test.jsonl \\
      --exclude math500.jsonl --output-dir data --format parquet
""",
    ),
    "filter": (
        "keep the problems whose prompt is short enough, counted in tokens",
        """\
  simplerl data filter data/hard.jsonl --tokenizer Qwen/Qwen2.5-7B --template qwen-boxed \\
      --max-prompt-tokens 1024 --output hard-short.jsonl
""",
    ),
    "audit": (
        "check that every gold can be judged; with --drop-unjudgeable write the others",
        """\
  simplerl data audit problems.jsonl
  simplerl data audit problems.jsonl --drop-unjudgeable --output judgeable.jsonl
""",
    ),
    "decontaminate": (
        "remove the problems that a benchmark asks too",
        """\
  simplerl data decontaminate data/hard.jsonl --against benchmarks/ --output clean.jsonl
  simplerl data decontaminate gsm8k --against math500.jsonl aime24.jsonl --n 8 --output clean.jsonl
""",
    ),
    "difficulty": (
        "measure a model's pass rate on each problem, and filter by it",
        """\
  simplerl data difficulty data/easy.jsonl --model Qwen/Qwen2.5-0.5B --samples 8 --output rated.jsonl
  simplerl data difficulty rated.jsonl --min-pass-rate 0.1 --max-pass-rate 0.9 --output learnable.jsonl
      no model: the pass rates that the file holds are used
""",
    ),
}

_PROMPT: dict[str, dict[str, Any]] = {
    "--template": {"default": "simple", "metavar": "T", "help": "prompt template"},
    "--system": {"default": "", "metavar": "TEXT", "help": "system message of the template chat"},
    "--special-tokens": {"default": "none", "metavar": "P", "help": "none or bos"},
}

#: Action → its options, as argparse takes them; the default is added to the help.
OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "tiers": {
        "--gsm8k": {"metavar": "FILE", "help": "GSM8K's training file (none: from the hub)"},
        "--math": {"nargs": "+", "metavar": "FILE", "help": "MATH's files (none: both splits from the hub)"},
        "--exclude": {
            "nargs": "+",
            "metavar": "B",
            "help": "files or data sets whose questions are kept out (none: MATH-500, where MATH comes from the hub)",
        },
        "--output-dir": {"required": True, "metavar": "DIR", "help": "directory for easy, medium and hard"},
        "--format": {"choices": ("jsonl", "parquet"), "default": "jsonl", "help": "ending of the files"},
    },
    "filter": {
        **_PROMPT,
        "--tokenizer": {"required": True, "metavar": "M", "help": "model whose tokenizer counts"},
        "--max-prompt-tokens": {"type": int, "default": 1024, "metavar": "N", "help": "longest prompt kept"},
    },
    "audit": {
        "--drop-unjudgeable": {"action": "store_true", "help": "write the problems whose gold can be judged"},
        "--workers": {"type": int, "default": 2, "help": "worker processes"},
        "--timeout": {"type": float, "default": 2.0, "help": "seconds per gold"},
    },
    "decontaminate": {
        "--against": {
            "nargs": "+",
            "required": True,
            "metavar": "B",
            "help": "benchmarks: directories, files or data sets",
        },
        "--n": {"type": int, "default": 13, "help": "words of an n-gram"},
    },
    "difficulty": {
        "--model": {"metavar": "M", "help": "model to measure; without one the file's pass rates are used"},
        **_PROMPT,
        "--samples": {"type": int, "default": 8, "metavar": "N", "help": "responses a problem"},
        "--temperature": {"type": float, "default": 1.0, "metavar": "T", "help": "sampling temperature"},
        "--max-tokens": {"type": int, "default": 3072, "metavar": "N", "help": "longest response"},
        "--stop": {"action": "append", "default": [], "metavar": "TEXT", "help": "ends a response; may be repeated"},
        "--seed": {"type": int, "default": 0, "help": "seed of the samples"},
        "--limit": {"type": int, "default": 0, "metavar": "N", "help": "only the first N problems, 0: all"},
        "--min-pass-rate": {"type": float, "default": 0.0, "metavar": "R", "help": "lowest pass rate kept"},
        "--max-pass-rate": {"type": float, "default": 1.0, "metavar": "R", "help": "highest pass rate kept"},
        "--device": {"default": "auto", "help": "cpu, cuda or auto"},
        "--policy": {"default": "boxed", "help": "where answers are looked for"},
        "--max-rows": {"type": int, "default": 512, "help": "responses at once"},
    },
}

#: The benchmark whose questions are part of MATH, at a pinned revision.
MATH_500 = "HuggingFaceH4/MATH-500@6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", title="actions")
    for name, (summary, examples) in ACTIONS.items():
        action = actions.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=f"examples:\n{examples.rstrip()}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        action.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        action.add_argument("--overwrite", action="store_true", help="replace an output that exists already")
        if name != "tiers":
            required = name != "audit"
            action.add_argument("data", metavar="FILE_OR_DATASET", help="a data file, or the name of a data set")
            action.add_argument("--split", default="train", help="split of a named data set (default: %(default)s)")
            action.add_argument(
                "--output", metavar="FILE", required=required, help="data file to write: .jsonl or .parquet"
            )
        for option, settings in OPTIONS[name].items():
            shown = settings.get("default") not in (None, "", [])
            action.add_argument(
                option, **{**settings, "help": settings["help"] + (" (default: %(default)s)" if shown else "")}
            )


def run(args: argparse.Namespace) -> int:
    """Carry out the action: read, work, write, show."""
    actions = {
        "tiers": tiers,
        "filter": filter_by_length,
        "audit": audit,
        "decontaminate": decontaminate,
        "difficulty": difficulty,
    }
    return actions[args.action](args)


# -- what all actions share ------------------------------------------------------------------------------------------


def _output(args: argparse.Namespace) -> Path:
    from simplerl.data.making import check_output

    return check_output(Path(args.output).expanduser(), overwrite=args.overwrite)


def _read(args: argparse.Namespace, size: int = 0) -> Any:
    from simplerl import data

    problems = data.read(args.data, args.split, size=size)
    if problems.left_out:
        print(data.left_out_message(problems))
    return problems


def _chosen(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(args, name) for name in names}


def _table(title: str, rows: Sequence[tuple[object, ...]], head: Sequence[str] = ("", "problems")) -> None:
    from rich.markup import escape
    from rich.table import Table

    from simplerl.cli.progress import wide_console

    table = Table(title=escape(title), title_justify="left")
    for column, name in enumerate(head):
        table.add_column(name, justify="right" if column else "left")
    for row in rows:
        table.add_row(*(escape(f"{cell:,}" if isinstance(cell, int) else str(cell)) for cell in row))
    wide_console().print(table)


def _finish(path: Path, rows: Sequence[tuple[str, object]], title: str) -> int:
    """Show what came of the action, and where the files are."""
    from simplerl.data.making import report_path

    _table(title, rows)
    print(f"wrote {path}\n      {report_path(path)}")
    return 0


def _show_removed(removed: Sequence[Mapping[str, Any]], key: str) -> None:
    """Name the first few that were removed."""
    for item in removed[:5]:
        print(f"  removed {item['id']} ({item['place']}): {key.replace('_', ' ')} {item[key]}")
    if len(removed) > 5:
        print(f"  … and {len(removed) - 5:,} more: all of them are in the report")


# -- the actions -----------------------------------------------------------------------------------------------------


def tiers(args: argparse.Namespace) -> int:
    """Build the tiers: GSM8K and MATH in, three files out, their counts beside the paper's."""
    from simplerl import __version__, data
    from simplerl.core.errors import DataError
    from simplerl.data import decontaminate, tiers
    from simplerl.data.making import check_output, where, write

    directory = Path(args.output_dir).expanduser()
    paths = {name: check_output(directory / f"{name}.{args.format}", overwrite=args.overwrite) for name in tiers.TIERS}
    # (source, label of the ids, problems) of everything that the tiers are built from
    if args.gsm8k:
        sources = [("gsm8k", Path(args.gsm8k).stem, data.read(args.gsm8k))]
    else:
        sources = [("gsm8k", "gsm8k-train", data.read("gsm8k"))]
    if args.math:
        sources += [("math", Path(name).stem, data.read(name)) for name in args.math]
    else:
        sources += [("math", f"math-{split}", data.read("math", split)) for split in ("train", "test")]
    labels = [label for _, label, _ in sources]
    if len({*labels}) < len(labels):
        raise DataError(f"two files have the same name, so their problems would have the same ids: {', '.join(labels)}")
    kept_out = list(args.exclude or ()) or ([] if args.math else [MATH_500])
    asked = [
        item.question for name in decontaminate.benchmark_files(kept_out) for item in decontaminate.questions(name)
    ]
    problems: dict[str, list[Any]] = {"gsm8k": [], "math": []}
    for source, label, read in sources:
        problems[source] += tiers.named(read.problems, source, label)
        if read.left_out:
            print(f"{label}: {data.left_out_message(read)}")
    built = tiers.build(problems["gsm8k"], problems["math"], exclude=asked)
    for name, path in paths.items():
        report = {
            "command": "simplerl data tiers",
            "simplerl": __version__,
            "tier": name,
            "input": {label: dict(read.origin) for _, label, read in sources},
            "excluded_questions_of": kept_out,
            "count": len(built.problems[name]),
            "paper": tiers.TIERS[name].paper,
            "by_source_and_level": tiers.counts(built.problems[name]),
            "excluded": [where(item) for item in built.excluded],
            "without_level": [{**where(item), "level": item.level} for item in built.without_level],
        }
        write(path, built.problems[name], report)
    content = {name: ", ".join(f"{k} {n:,}" for k, n in tiers.counts(built.problems[name]).items()) for name in paths}
    rows = [(name, len(built.problems[name]), tiers.TIERS[name].paper, content[name]) for name in paths]
    _table("tiers", rows, head=("tier", "problems", "paper", "of these"))
    if kept_out:
        print(f"{len(built.excluded):,} problems kept out because {', '.join(kept_out)} asks them")
    else:
        print("nothing was kept out: MATH-500 is part of MATH; give --exclude math500.jsonl, or run data decontaminate")
    if built.without_level:
        named = ", ".join(f"{item.meta['place']} ({item.level or 'none'})" for item in built.without_level[:5])
        print(f"{len(built.without_level)} problems of MATH are in no tier, because their level is not 1 to 5: {named}")
    for path in paths.values():
        print(f"wrote {path}")
    return 0


def filter_by_length(args: argparse.Namespace) -> int:
    """Keep the problems whose prompt is short enough."""
    from simplerl.data.making import by_prompt_tokens, report_of, write
    from simplerl.data.prompts import prompter
    from simplerl.models.load import load_tokenizer

    path = _output(args)
    prompts = prompter(args.template, system=args.system, special_tokens=args.special_tokens)
    read, tokenizer = _read(args), load_tokenizer(args.tokenizer)
    kept, removed, tokens = by_prompt_tokens(
        read.problems, lambda item: len(prompts.ids(item, tokenizer)), args.max_prompt_tokens
    )
    settings = _chosen(args, "tokenizer", "template", "system", "special_tokens", "max_prompt_tokens")
    write(path, kept, report_of("filter", read, settings, kept=len(kept), prompt_tokens=tokens, removed=removed))
    _show_removed(removed, "tokens")
    rows = [("read", len(read.problems)), ("longer prompts", len(removed)), ("kept", len(kept))]
    return _finish(path, rows, f"prompts of at most {args.max_prompt_tokens:,} tokens (longest: {tokens['max']:,})")


def audit(args: argparse.Namespace) -> int:
    """Check the golds; return 1 where one fails and nothing is to be written."""
    from simplerl.core.errors import ConfigError
    from simplerl.data.making import by_gold, report_of, write

    if bool(args.output) != args.drop_unjudgeable:
        raise ConfigError("--drop-unjudgeable and --output go together: what is left is written there")
    path = _output(args) if args.output else None
    read = _read(args)
    kept, removed, report = by_gold(read.problems, args.data, workers=args.workers, timeout_s=args.timeout)
    _show_removed(removed, "why")
    rows = [
        ("read", len(read.problems)),
        ("rejected against themselves", len(report.rejected)),
        ("cannot be judged", len(report.unjudgeable)),
        ("matched by the same text only", len(report.literal)),
        ("judged", len(kept)),
    ]
    if path is None:
        _table(f"golds of {args.data}", rows)
        return 1 if removed else 0
    literal = [dataclasses.asdict(item) for item in report.literal]
    write(path, kept, report_of("audit", read, {}, kept=len(kept), removed=removed, same_text_only=literal))
    return _finish(path, rows, f"golds of {args.data}")


def decontaminate(args: argparse.Namespace) -> int:
    """Remove what benchmarks ask too."""
    from simplerl.data import decontaminate as search
    from simplerl.data.making import report_of, where, write

    path = _output(args)
    read = _read(args)
    asked = {name: list(search.questions(name)) for name in search.benchmark_files(args.against)}
    kept, hits = search.decontaminate(read.problems, [item for items in asked.values() for item in items], n=args.n)
    removed = [
        {
            **where(hit.problem),
            "question": hit.problem.question,
            "how": hit.how,
            "shared": hit.shared,
            "shared_ngrams": hit.count,
            "benchmark": hit.asked.benchmark,
            "benchmark_place": hit.asked.place,
            "benchmark_question": hit.asked.question,
        }
        for hit in hits
    ]
    places = {name: {item.place for item in items} for name, items in asked.items()}
    by_benchmark = {
        name: {"questions": len(items), "removed": sum(hit.asked.place in places[name] for hit in hits)}
        for name, items in asked.items()
    }
    settings = _chosen(args, "n", "against")
    report = report_of("decontaminate", read, settings, kept=len(kept), benchmarks=by_benchmark, removed=removed)
    write(path, kept, report)
    _show_removed(removed, "benchmark_place")
    rows = [("read", len(read.problems))]
    rows += [(f"also in {name} ({row['questions']:,} questions)", row["removed"]) for name, row in by_benchmark.items()]
    return _finish(path, [*rows, ("kept", len(kept))], f"{args.n}-grams of words shared with benchmarks")


def difficulty(args: argparse.Namespace) -> int:
    """Measure pass rates, or take those of the file, and filter by them."""
    from simplerl.core.errors import DataError
    from simplerl.data.making import by_pass_rate, report_of, write
    from simplerl.evaluate.difficulty import histogram, journal_path

    by_pass_rate([], least=args.min_pass_rate, most=args.max_pass_rate)  # A mistake here costs no measurement.
    path = _output(args)
    read = _read(args, size=args.limit)
    problems, figures = read.problems, dict[str, Any]()
    if args.model:
        problems, figures = _measure(args, problems, journal_path(path))
    elif not any("pass_rate" in item.meta for item in problems):
        raise DataError(f"{args.data} has no pass rates (field pass_rate); give --model to measure them")
    kept, removed = by_pass_rate(problems, least=args.min_pass_rate, most=args.max_pass_rate)
    rates = histogram(problems)
    settings = _chosen(args, "model", "min_pass_rate", "max_pass_rate")
    report = report_of("difficulty", read, settings, kept=len(kept), pass_rates=rates, **figures, removed=removed)
    write(path, kept, report)
    journal_path(path).unlink(missing_ok=True)
    _show_removed(removed, "pass_rate")
    rows = [("read", len(read.problems)), *((f"pass rate {name}", count) for name, count in rates.items())]
    title = f"pass rates between {args.min_pass_rate} and {args.max_pass_rate}"
    return _finish(path, [*rows, ("kept", len(kept))], title)


def _measure(args: argparse.Namespace, problems: list[Any], journal: Path) -> tuple[list[Any], dict[str, Any]]:
    """Return (the problems with pass rates, figures for the report). Continues the journal where there is one."""
    from simplerl.cli.progress import Bar
    from simplerl.core.errors import ConfigError, nearest
    from simplerl.data.prompts import prompter
    from simplerl.evaluate.difficulty import measure, with_pass_rates
    from simplerl.models.device import pick_device
    from simplerl.models.load import load, locate_and_hash, pick_attention
    from simplerl.rollout import open_backend
    from simplerl.rollout.backend import Sampling
    from simplerl.rollout.groups import prompt
    from simplerl.verify import POLICIES, VerifierPool

    for name in ("samples", "max_tokens", "max_rows"):
        if getattr(args, name) < 1:
            raise ConfigError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(args, name)}")
    if args.policy not in POLICIES:
        raise ConfigError(f"unknown --policy {args.policy!r}; {nearest(args.policy, POLICIES)}")
    prompts = prompter(args.template, system=args.system, special_tokens=args.special_tokens)
    sampling = Sampling(temperature=args.temperature, max_new_tokens=args.max_tokens, stop=tuple(args.stop))
    device = pick_device(args.device, "device")
    policy = load(args.model, device=device, attention=pick_attention("auto", device, half=False))
    prompted = prompt(problems, prompts, policy)
    fitting = [item for item in prompted if 0 < len(item.prompt_ids) < policy.context_length]
    too_long = [item.problem.id for item in prompted if not 0 < len(item.prompt_ids) < policy.context_length]
    if not fitting:
        raise ConfigError(
            f"no prompt of {args.data} fits the context of {args.model} ({policy.context_length} tokens) with a "
            "response; choose another --template or other problems"
        )
    if too_long:
        print(f"{len(too_long)} prompts do not fit the model's context and are not measured: {', '.join(too_long[:5])}")
    precision = "bf16" if device.type == "cuda" else "fp32"
    backend = open_backend("native", policy, precision=precision, max_rows=args.max_rows)
    try:
        with Bar() as bar, VerifierPool(args.policy) as verifier:
            measured = measure(
                fitting,
                backend=backend,
                verifier=verifier,
                sampling=sampling,
                samples=args.samples,
                seed=args.seed,
                settings={**locate_and_hash(args.model), "policy": args.policy},
                journal=journal,
                on_start=lambda done: bar.phase(f"pass rates of {args.model}", len(fitting) * args.samples, done),
                on_done=lambda completion: bar.advance(),
            )
    finally:
        backend.close()
    responses, tokens = sum(item.samples for item in measured), sum(item.tokens for item in measured)
    names = ("template", "system", "special_tokens", "samples", "temperature", "max_tokens", "stop", "seed", "policy")
    figures = {
        "measurement": _chosen(args, *names),
        "pass_rate": sum(item.correct for item in measured) / max(1, sum(item.decided for item in measured)),
        "responses": responses,
        "undecided": responses - sum(item.decided for item in measured),
        "truncated": sum(item.truncated for item in measured),
        "mean_tokens": tokens / responses,
        "not_measured_too_long": too_long,
    }
    rated = {item.id: item for item in with_pass_rates([item.problem for item in fitting], measured)}
    return [rated.get(item.id) or _without_pass_rate(item) for item in problems], figures


def _without_pass_rate(problem: Any) -> Any:
    """Return a problem without a pass rate that was measured earlier."""
    return dataclasses.replace(problem, meta={k: v for k, v in problem.meta.items() if not k.startswith("pass_rate")})
