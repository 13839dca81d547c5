"""`simplerl data`: build tiers, filter, check golds, remove benchmark questions, measure difficulty."""

import argparse
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simplerl import __version__, data
from simplerl.cli.console import Bar, show_table
from simplerl.core.errors import ConfigError, DataError
from simplerl.core.types import Problem
from simplerl.data import decontaminate, making, tiers
from simplerl.data.making import Filtered
from simplerl.data.problems import where
from simplerl.data.prompts import prompter

#: The benchmark whose questions are part of MATH, at a pinned revision.
MATH_500 = "HuggingFaceH4/MATH-500@6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be"


#: Action → the options that its report records.
SETTINGS = {
    "filter": ("tokenizer", "template", "system", "special_tokens", "max_prompt_tokens"),
    "audit": (),
    "decontaminate": ("n", "against"),
    "difficulty": ("model", "min_pass_rate", "max_pass_rate"),
}
#: The options that a measurement of pass rates depends on, besides.
MEASUREMENT = ("template", "system", "special_tokens", "samples", "temperature", "max_tokens", "stop", "seed", "policy")


def run(args: argparse.Namespace) -> int:
    """Carry out the action: read, work, show, write."""
    if args.action == "tiers":
        return build_tiers(args)
    if args.action == "audit" and bool(args.output) != args.drop_unjudgeable:
        raise ConfigError("--drop-unjudgeable and --output go together: what is left is written there")
    path = making.check_output(Path(args.output).expanduser(), overwrite=args.overwrite) if args.output else None
    # An audit is there to leave out what cannot be read.
    read = data.read(args.data, args.split, size=getattr(args, "limit", 0), strict=args.action != "audit")
    for note in read.notes:
        print(note)
    if path and (judges := {str(each.meta.get("environment", "code")) for each in read.problems} - {"code"}):
        raise DataError(
            f"problems of {args.data} are judged by the environment {', '.join(sorted(judges))} and not by their "
            "answer, which a file cannot say; give the data set itself to simplerl train"
        )
    actions = {"filter": by_length, "audit": by_gold, "decontaminate": by_benchmarks, "difficulty": by_difficulty}
    result = actions[args.action](args, read.problems)
    for item in result.removed[:5]:
        print(f"  removed {item['id']} ({item['place']}): {result.why.replace('_', ' ')} {item[result.why]}")
    if len(result.removed) > 5:
        print(f"  … and {len(result.removed) - 5:,} more: all of them are in the report")
    rows = [("read", len(read.problems)), *result.rows, ("kept", len(result.kept))]
    show_table(result.title, ("", "problems"), rows)
    if path is None:
        return 1 if result.removed else 0
    settings = {name: getattr(args, name) for name in SETTINGS[args.action]}
    figures = {"kept": len(result.kept), **result.report, "removed": result.removed}
    making.write(path, result.kept, making.report_of(args.action, read, settings, **figures))
    if args.action == "difficulty":
        from simplerl.evaluate.difficulty import partial_path

        shutil.rmtree(partial_path(path), ignore_errors=True)
    print(f"wrote {path}\n      {making.report_path(path)}")
    return 0


def build_tiers(args: argparse.Namespace) -> int:
    """Build the tiers: GSM8K and MATH in, three files out, their counts beside the paper's."""
    directory = Path(args.output_dir).expanduser()
    paths = {
        name: making.check_output(directory / f"{name}.{args.format}", overwrite=args.overwrite) for name in tiers.TIERS
    }
    # Label of the ids → (source, problems) of everything that the tiers are built from
    wanted = [("gsm8k", Path(args.gsm8k).stem if args.gsm8k else "gsm8k-train", args.gsm8k or "gsm8k", "train")]
    wanted += [("math", Path(name).stem, name, "train") for name in args.math or ()]
    wanted += [] if args.math else [("math", f"math-{split}", "math", split) for split in ("train", "test")]
    labels = [label for _, label, _, _ in wanted]
    if len({*labels}) < len(labels):
        raise DataError(f"two files have the same name, so their problems would have the same ids: {', '.join(labels)}")
    sources = {label: (source, data.read(name, split)) for source, label, name, split in wanted}
    kept_out = list(args.exclude or ()) or ([] if args.math else [MATH_500])
    asked = [q.question for name in decontaminate.benchmark_files(kept_out) for q in decontaminate.questions(name)]
    problems: dict[str, list[Problem]] = {"gsm8k": [], "math": []}
    for label, (source, read) in sources.items():
        problems[source] += tiers.named(read.problems, source, label)
        for note in read.notes:
            print(f"{label}: {note}")
    built = tiers.build(problems["gsm8k"], problems["math"], exclude=asked)
    rows = []
    for name, path in paths.items():
        count, paper, counts = len(built.problems[name]), tiers.TIERS[name][2], tiers.counts(built.problems[name])
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
    return 0


def by_length(args: argparse.Namespace, problems: Sequence[Problem]) -> Filtered:
    """Keep the problems whose prompt is short enough."""
    from simplerl.models.load import load_tokenizer

    prompts = prompter(args.template, system=args.system, special_tokens=args.special_tokens)
    tokenizer = load_tokenizer(args.tokenizer)
    return making.by_prompt_tokens(problems, lambda item: len(prompts.ids(item, tokenizer)), args.max_prompt_tokens)


def by_gold(args: argparse.Namespace, problems: Sequence[Problem]) -> Filtered:
    """Keep the problems whose gold can be judged."""
    return making.by_gold(problems, args.data, workers=args.workers, timeout_s=args.timeout)


def by_benchmarks(args: argparse.Namespace, problems: Sequence[Problem]) -> Filtered:
    """Remove what benchmarks ask too."""
    asked = {name: list(decontaminate.questions(name)) for name in decontaminate.benchmark_files(args.against)}
    questions = [item for items in asked.values() for item in items]
    kept, removed = decontaminate.decontaminate(problems, questions, n=args.n)
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
    """Return (the problems with pass rates, figures for the report). Continues what was saved."""
    from simplerl.evaluate.difficulty import measure, partial_path, with_pass_rates
    from simplerl.evaluate.run import fits, open_rollout
    from simplerl.models.device import pick_device
    from simplerl.models.load import load, locate_and_hash
    from simplerl.rollout.backend import Sampling
    from simplerl.rollout.groups import prompt

    prompts = prompter(args.template, system=args.system, special_tokens=args.special_tokens)
    sampling = Sampling(temperature=args.temperature, max_new_tokens=args.max_tokens, stop=tuple(args.stop))
    device = pick_device(args.device, "device")
    policy = load(args.model, device=device)
    prompted = prompt(problems, prompts, policy)
    fitting = [item for item in prompted if fits(item, policy)]
    too_long = [item.problem.id for item in prompted if not fits(item, policy)]
    if not fitting:
        raise ConfigError(
            f"no prompt of {args.data} fits the context of {args.model} ({policy.context_length} tokens) with a "
            "response; choose another --template or other problems"
        )
    if too_long:
        print(f"{len(too_long)} prompts do not fit the model's context and are not measured: {', '.join(too_long[:5])}")
    options = {"answers": args.policy, "max_rows": args.max_rows}
    options["precision"] = "bf16" if device.type == "cuda" else "fp32"
    rollout = open_rollout(policy, sampling=sampling, samples=args.samples, seed=args.seed, **options)
    with Bar() as bar, rollout as engine:
        measured = measure(
            fitting,
            engine,
            settings={**locate_and_hash(args.model), "policy": args.policy},
            partial=partial_path(Path(args.output).expanduser()),
            on_start=lambda done: bar.phase(f"pass rates of {args.model}", len(fitting) * args.samples, done),
            on_done=lambda completion: bar.advance(),
        )
    sums = Counter[str]()
    for counts in measured.values():
        sums.update(counts)
    figures = {
        "measurement": {name: getattr(args, name) for name in MEASUREMENT},
        "pass_rate": sums["correct"] / max(1, sums["decided"]),
        "responses": sums["samples"],
        "undecided": sums["samples"] - sums["decided"],
        "truncated": sums["truncated"],
        "mean_tokens": sums["tokens"] / sums["samples"],
        "not_measured_too_long": too_long,
    }
    return with_pass_rates(problems, measured), figures
