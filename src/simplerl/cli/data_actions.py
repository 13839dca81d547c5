"""The actions of `simplerl data`, one function each, named as the action is: read, work, write, show."""

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from simplerl import data
from simplerl.cli.progress import wide_console
from simplerl.core.errors import ConfigError, DataError
from simplerl.data.output import check_output, report_of, report_path, where, write
from simplerl.data.problems import ProblemSet


def _output(args: argparse.Namespace) -> Path:
    return check_output(Path(args.output).expanduser(), overwrite=args.overwrite)


def _read(args: argparse.Namespace, size: int = 0) -> ProblemSet:
    found = data.read(args.data, args.split, size=size)
    if found.left_out:
        print(data.left_out_message(found))
    return found


def _finish(path: Path, rows: Sequence[tuple[str, object]], title: str) -> None:
    """Show what came of it, and where it lies."""
    _table(title, rows)
    print(f"wrote {path}\n      {report_path(path)}")


def _table(title: str, rows: Sequence[tuple[object, ...]], head: Sequence[str] = ("", "problems")) -> None:
    table = Table(title=escape(title), title_justify="left")
    for column, name in enumerate(head):
        table.add_column(name, justify="right" if column else "left")
    for row in rows:
        table.add_row(*(escape(f"{cell:,}" if isinstance(cell, int) else str(cell)) for cell in row))
    wide_console().print(table)


def _show(removed: Sequence[Mapping[str, Any]], key: str) -> None:
    """Name the first few that were removed."""
    for item in removed[:5]:
        print(f"  removed {item['id']} ({item['place']}): {key.replace('_', ' ')} {item[key]}")
    if len(removed) > 5:
        print(f"  … and {len(removed) - 5:,} more: all of them are in the report")


def tiers(args: argparse.Namespace) -> int:
    """Build and write the tiers."""
    from simplerl.cli.data_tiers import make

    return make(
        gsm8k=args.gsm8k,
        math=args.math,
        exclude=args.exclude,
        directory=Path(args.output_dir).expanduser(),
        suffix=f".{args.format}",
        overwrite=args.overwrite,
        show=_table,
    )


def filter(args: argparse.Namespace) -> int:
    """Keep the problems whose prompt is short enough."""
    from simplerl.data.filtering import by_prompt_tokens
    from simplerl.data.prompts import prompter
    from simplerl.models.load import load_tokenizer

    path = _output(args)
    made = prompter(args.template, system=args.system, special_tokens=args.special_tokens)
    found, tokenizer = _read(args), load_tokenizer(args.tokenizer)
    kept, removed, tokens = by_prompt_tokens(
        found.problems, lambda item: len(made.ids(item, tokenizer)), args.max_prompt_tokens
    )
    names = ("tokenizer", "template", "system", "special_tokens", "max_prompt_tokens")
    settings = {name: getattr(args, name) for name in names}
    write(path, kept, report_of("filter", found, settings, kept=len(kept), prompt_tokens=tokens, removed=removed))
    _show(removed, "tokens")
    rows = [("read", len(found.problems)), ("longer prompts", len(removed)), ("kept", len(kept))]
    _finish(path, rows, f"prompts of at most {args.max_prompt_tokens:,} tokens (longest: {tokens['max']:,})")
    return 0


def audit(args: argparse.Namespace) -> int:
    """Check the golds; return 1 where one fails and nothing is to be written."""
    from simplerl.data.filtering import by_gold

    if bool(args.output) != args.drop_unjudgeable:
        raise ConfigError("--drop-unjudgeable and --output go together: what is left is written there")
    path = _output(args) if args.output else None
    found = _read(args)
    kept, removed, report = by_gold(found.problems, args.data, workers=args.workers, timeout_s=args.timeout)
    _show(removed, "why")
    rows = [
        ("read", len(found.problems)),
        ("rejected against themselves", len(report.rejected)),
        ("cannot be judged", len(report.unjudgeable)),
        ("matched by the same text only", len(report.literal)),
        ("judged", len(kept)),
    ]
    if path is None:
        _table(f"golds of {args.data}", rows)
        return 1 if removed else 0
    literal = [dataclasses.asdict(item) for item in report.literal]
    write(path, kept, report_of("audit", found, {}, kept=len(kept), removed=removed, same_text_only=literal))
    _finish(path, rows, f"golds of {args.data}")
    return 0


def decontaminate(args: argparse.Namespace) -> int:
    """Remove what benchmarks ask too."""
    from simplerl.data import decontaminate as search

    path = _output(args)
    found = _read(args)
    asked = {name: list(search.questions(name)) for name in search.benchmark_files(args.against)}
    kept, hits = search.decontaminate(found.problems, [item for items in asked.values() for item in items], n=args.n)
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
    settings = {"n": args.n, "against": args.against}
    report = report_of("decontaminate", found, settings, kept=len(kept), benchmarks=by_benchmark, removed=removed)
    write(path, kept, report)
    _show(removed, "benchmark_place")
    rows = [("read", len(found.problems))]
    rows += [(f"also in {name} ({row['questions']:,} questions)", row["removed"]) for name, row in by_benchmark.items()]
    _finish(path, [*rows, ("kept", len(kept))], f"{args.n}-grams of words shared with benchmarks")
    return 0


def difficulty(args: argparse.Namespace) -> int:
    """Measure pass rates, or take those of the file, and filter by them."""
    from simplerl.data.filtering import by_pass_rate
    from simplerl.evaluate.difficulty import histogram, journal_path

    by_pass_rate([], least=args.min_pass_rate, most=args.max_pass_rate)  # A mistake here costs no measurement.
    path = _output(args)
    found = _read(args, size=args.limit)
    problems, figures = found.problems, {}
    if args.model:
        from simplerl.cli.data_difficulty import measure_model

        problems, figures = measure_model(args, problems, journal_path(path))
    elif not any("pass_rate" in item.meta for item in problems):
        raise DataError(f"{args.data} has no pass rates (field pass_rate); give --model to measure them")
    kept, removed = by_pass_rate(problems, least=args.min_pass_rate, most=args.max_pass_rate)
    rates = histogram(problems)
    names = ("model", "min_pass_rate", "max_pass_rate")
    settings = {name: getattr(args, name) for name in names}
    report = report_of("difficulty", found, settings, kept=len(kept), pass_rates=rates, **figures, removed=removed)
    write(path, kept, report)
    journal_path(path).unlink(missing_ok=True)
    _show(removed, "pass_rate")
    rows = [("read", len(found.problems)), *((f"pass rate {name}", count) for name, count in rates.items())]
    _finish(path, [*rows, ("kept", len(kept))], f"pass rates between {args.min_pass_rate} and {args.max_pass_rate}")
    return 0
