"""`simplerl data`: build tiers, filter, check golds, remove benchmark questions, measure difficulty."""

import argparse
import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simplerl import __version__, data
from simplerl.cli.console import Bar, show_table
from simplerl.cli.options import dest_of
from simplerl.core.errors import ConfigError, DataError
from simplerl.core.types import Problem
from simplerl.data import making
from simplerl.data.making import Filtered, where
from simplerl.data.prompts import prompter

if TYPE_CHECKING:
    from simplerl.runs.responses import Answer

#: The benchmark whose questions are part of MATH, at a pinned revision.
MATH_500 = "HuggingFaceH4/MATH-500@6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be"


def run(args: argparse.Namespace) -> None:
    """Carry out the action: read, work, show, write."""
    if args.action == "tiers":
        build_tiers(args)
        return
    path = making.check_output(Path(args.output).expanduser(), overwrite=args.overwrite)
    # An audit is there to leave out what cannot be read.
    read = data.read(args.data, args.split, size=getattr(args, "limit", 0), strict=args.action != "audit")
    for note in read.notes:
        print(note)
    if judges := {str(each.meta.get("environment", "code")) for each in read.problems} - {"code"}:
        raise DataError(
            f"problems of {args.data} are judged by the environment {', '.join(sorted(judges))} and not by their "
            "answer, which a file cannot say; give the data set itself to simplerl train"
        )
    if args.action == "audit":
        result = making.by_gold(read.problems, workers=args.workers, timeout_s=args.timeout)
    else:
        actions = {"filter": by_length, "decontaminate": by_benchmarks, "difficulty": by_difficulty}
        result = actions[args.action](args, read.problems)
    for item in result.removed[:5]:
        print(f"  removed {item['id']} ({item['place']}): {result.why.replace('_', ' ')} {item[result.why]}")
    if len(result.removed) > 5:
        print(f"  … and {len(result.removed) - 5:,} more: all of them are in the report")
    rows = [("read", len(read.problems)), *result.rows, ("kept", len(result.kept))]
    show_table(result.title, ("", "problems"), rows)
    settings = {name: getattr(args, name) for name in map(dest_of, args.table["options"])}
    figures = {"kept": len(result.kept), **result.report, "removed": result.removed}
    making.write(path, result.kept, making.report_of(args.action, read, settings, **figures))
    if args.action == "difficulty":
        shutil.rmtree(_partial(args), ignore_errors=True)
    print(f"wrote {path}\n      {making.report_path(path)}")


def build_tiers(args: argparse.Namespace) -> None:
    """Build the tiers: GSM8K and MATH in, three files out, their counts beside the paper's."""
    directory = Path(args.output_dir).expanduser()
    paths = {name: making.check_output(directory / f"{name}.jsonl", overwrite=args.overwrite) for name in making.TIERS}
    # Label of the ids → (source, problems) of everything that the tiers are built from
    wanted = [("gsm8k", Path(args.gsm8k).stem if args.gsm8k else "gsm8k-train", args.gsm8k or "gsm8k", "train")]
    wanted += [("math", Path(name).stem, name, "train") for name in args.math or ()]
    wanted += [] if args.math else [("math", f"math-{split}", "math", split) for split in ("train", "test")]
    labels = [label for _, label, _, _ in wanted]
    if len({*labels}) < len(labels):
        raise DataError(f"two files have the same name, so their problems would have the same ids: {', '.join(labels)}")
    sources = {label: (source, data.read(name, split)) for source, label, name, split in wanted}
    kept_out = list(args.exclude or ()) or ([] if args.math else [MATH_500])
    asked = [q.question for name in making.benchmark_files(kept_out) for q in making.questions(name)]
    problems: dict[str, list[Problem]] = {"gsm8k": [], "math": []}
    for label, (source, read) in sources.items():
        problems[source] += making.sourced(read.problems, source, label)
        for note in read.notes:
            print(f"{label}: {note}")
    built = making.build_tiers(problems["gsm8k"], problems["math"], exclude=asked)
    rows = []
    for name, path in paths.items():
        members, paper = built.problems[name], making.TIERS[name][2]
        count, counts = len(members), making.counts(members)
        report = {
            "command": "simplerl data tiers",
            "simplerl": __version__,
            "tier": name,
            "input": {label: dict(read.origin) for label, (_, read) in sources.items()},
            "excluded_questions_of": kept_out,
            "count": count,
            "paper": paper,
            "by_source_and_level": counts,
            "excluded": [where(item) for item in built.excluded],
            "without_level": [{**where(item), "level": item.level} for item in built.without_level],
        }
        making.write(path, built.problems[name], report)
        rows.append((name, count, paper, ", ".join(f"{kind} {count:,}" for kind, count in counts.items())))
    show_table("tiers", ("tier", "problems", "paper", "of these"), rows)
    if kept_out:
        print(f"{len(built.excluded):,} problems kept out because {', '.join(kept_out)} asks them")
    else:
        print("nothing was kept out: MATH-500 is part of MATH; give --exclude math500.jsonl, or run data decontaminate")
    if built.without_level:
        named = ", ".join(f"{item.meta['place']} ({item.level or 'none'})" for item in built.without_level[:5])
        print(f"{len(built.without_level)} problems of MATH are in no tier, because their level is not 1 to 5: {named}")
    for path in paths.values():
        print(f"wrote {path}")


def by_length(args: argparse.Namespace, problems: Sequence[Problem]) -> Filtered:
    """Keep the problems whose prompt is short enough."""
    from simplerl.models.load import load_tokenizer

    prompts = prompter(args.template, system=args.system, special_tokens=args.special_tokens)
    tokenizer = load_tokenizer(args.tokenizer)
    return making.by_prompt_tokens(problems, lambda item: len(prompts.ids(item, tokenizer)), args.max_prompt_tokens)


def by_benchmarks(args: argparse.Namespace, problems: Sequence[Problem]) -> Filtered:
    """Remove what benchmarks ask too."""
    asked = {name: list(making.questions(name)) for name in making.benchmark_files(args.against)}
    questions = [item for items in asked.values() for item in items]
    kept, removed = making.decontaminate(problems, questions, n=args.n)
    by_name = {}
    for name, items in asked.items():
        places = {item.place for item in items}
        by_name[name] = {"questions": len(items), "removed": sum(hit["benchmark_place"] in places for hit in removed)}
    rows = [(f"also in {name} ({row['questions']:,} questions)", row["removed"]) for name, row in by_name.items()]
    title = f"{args.n}-grams of words shared with benchmarks"
    return Filtered(kept, removed, "benchmark_place", title, rows, {"benchmarks": by_name})


def by_difficulty(args: argparse.Namespace, problems: Sequence[Problem]) -> Filtered:
    """Measure pass rates, or take those of the file, and filter by them."""
    bounds = {"least": args.min_pass_rate, "most": args.max_pass_rate}
    making.by_pass_rate([], **bounds)  # A mistake costs no measurement.
    figures: dict[str, Any] = {}
    if args.model:
        problems, figures = _measure(args, problems)
    elif not any("pass_rate" in item.meta for item in problems):
        raise DataError(f"{args.data} has no pass rates (field pass_rate); give --model to measure them")
    result = making.by_pass_rate(problems, **bounds)
    return result._replace(report={**result.report, **figures})


def _measure(args: argparse.Namespace, problems: Sequence[Problem]) -> tuple[list[Problem], dict[str, Any]]:
    """Return (the problems with pass rates, figures for the report): an evaluation, which goes on where it was."""
    from simplerl.evaluate.benchmarks import Benchmark, Loaded, fingerprint
    from simplerl.evaluate.run import Settings, Target, evaluate, plan
    from simplerl.runs.responses import by_problem
    from simplerl.runs.run import Run

    prompter(args.template, system=args.system, special_tokens=args.special_tokens)  # A mistake costs no measurement.
    own = {"template": args.template, "prompt": {"system": args.system, "special_tokens": args.special_tokens}}
    target = Target(label=args.model, source=args.model, step=None, config=own)
    options = {name: getattr(args, name) for name in ("temperature", "samples", "max_tokens", "policy", "seed")}
    settings = Settings(**options, stop=tuple(args.stop), top_p=1.0, device=args.device, max_rows=args.max_rows)
    benchmark = Benchmark(name="difficulty", problems=0, citation=args.data)
    loaded = Loaded(benchmark=benchmark, problems=list(problems), sha256=fingerprint(list(problems)))
    with Bar() as bar:
        jobs = plan([target], {benchmark.name: loaded}, settings, _partial(args), bar)
        (result,) = (one for path in evaluate(jobs, settings, bar) for one in Run(path).evaluations)
    measured = by_problem(answer for answer in result.answers() if answer.rule != "context")
    too_long = [item.id for item in problems if item.id not in measured]
    if not measured:
        raise ConfigError(
            f"no prompt of {args.data} fits the context of {args.model} with a response; choose another --template or "
            "other problems"
        )
    if too_long:
        print(f"{len(too_long)} prompts do not fit the model's context and are not measured: {', '.join(too_long[:5])}")
    figures = {"measurement": result.protocol, "figures": result.figures, "not_measured_too_long": too_long}
    return [rated(item, measured.get(item.id)) for item in problems], figures


def rated(problem: Problem, answers: "Sequence[Answer] | None") -> Problem:
    """Return a problem with what was measured in its meta; no rate where nothing was judged."""
    meta = {key: value for key, value in problem.meta.items() if not key.startswith("pass_rate")}
    if answers:
        right = [answer.strictly_correct for answer in answers if answer.decided]
        meta |= {"pass_rate": sum(right) / len(right)} if right else {}
        meta["pass_rate_samples"] = len(right)
    return dataclasses.replace(problem, meta=meta)


def _partial(args: argparse.Namespace) -> Path:
    """Return the directory in which the responses of a measurement stand until it is done."""
    output = Path(args.output).expanduser()
    return output.with_name(f"{output.stem}.partial")
