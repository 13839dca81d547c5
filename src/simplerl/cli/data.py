"""The commands on problems and answers: `data` makes data of data, `audit` looks at golds, `verify` judges answers."""

import argparse
import dataclasses
import io
import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simplerl import __version__, data
from simplerl.cli import dest_of
from simplerl.cli.console import Bar, one_line, say, show_table
from simplerl.core.errors import ConfigError, DataError, SimpleRLError
from simplerl.core.types import Problem, Verdict
from simplerl.data import making
from simplerl.data.audit import KINDS, Report
from simplerl.data.audit import audit as audit_rows
from simplerl.data.making import Filtered, where
from simplerl.data.prompts import prompter
from simplerl.data.rows import read_json
from simplerl.verify import POLICIES, RULES, VerifierPool
from simplerl.verify.extract import MAX_ANSWER_CHARS, final_part
from simplerl.verify.judge import reading, shown, unbox
from simplerl.verify.words import TABLES

if TYPE_CHECKING:
    from simplerl.runs.responses import Answer

#: The benchmark whose questions are part of MATH, at a pinned revision.
MATH_500 = "HuggingFaceH4/MATH-500@6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be"


def derive(args: argparse.Namespace) -> None:
    """Filter problems, check their golds, remove benchmark questions, measure difficulty: read, work, show, write."""
    action = args.command.split()[1]
    path = making.check_output(Path(args.output).expanduser(), overwrite=args.overwrite)
    # An audit is there to leave out what cannot be read.
    read = data.read(args.data, args.split, size=getattr(args, "limit", 0), strict=action != "audit")
    say(*read.notes)
    if judges := {str(each.meta.get("environment", "code")) for each in read.problems} - {"code"}:
        raise DataError(
            f"problems of {args.data} are judged by the environment {', '.join(sorted(judges))} and not by their "
            "answer, which a file cannot say; give the data set itself to simplerl train"
        )
    if action == "audit":
        result = making.by_gold(read.problems, workers=args.workers, timeout_s=args.timeout)
    else:
        actions = {"filter": by_length, "decontaminate": by_benchmarks, "difficulty": by_difficulty}
        result = actions[action](args, read.problems)
    why = result.why.replace("_", " ")
    say(*(f"  removed {item['id']} ({item['place']}): {why} {item[result.why]}" for item in result.removed[:5]))
    if len(result.removed) > 5:
        say(f"  … and {len(result.removed) - 5:,} more: all of them are in the report")
    rows = [("read", len(read.problems)), *result.rows, ("kept", len(result.kept))]
    show_table(result.title, ("", "problems"), rows)
    settings = {name: getattr(args, name) for name in map(dest_of, args.table["options"])}
    figures = {"kept": len(result.kept), **result.report, "removed": result.removed}
    making.write(path, result.kept, making.report_of(action, read, settings, **figures))
    if action == "difficulty":
        shutil.rmtree(_partial(args), ignore_errors=True)
    say(f"wrote {path}\n      {making.report_path(path)}")


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
        say(*(f"{label}: {note}" for note in read.notes))
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
        say(f"{len(built.excluded):,} problems kept out because {', '.join(kept_out)} asks them")
    else:
        say("nothing was kept out: MATH-500 is part of MATH; give --exclude math500.jsonl, or run data decontaminate")
    if built.without_level:
        named = ", ".join(f"{item.meta['place']} ({item.level or 'none'})" for item in built.without_level[:5])
        say(f"{len(built.without_level)} problems of MATH are in no tier, because their level is not 1 to 5: {named}")
    say(*(f"wrote {path}" for path in paths.values()))


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
    from simplerl.evaluate.run import Settings, Target, evaluate
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
        (path,) = evaluate([target], {benchmark.name: loaded}, settings, _partial(args), bar)
    (result,) = Run(path).evaluations
    measured = by_problem(answer for answer in result.answers() if answer.rule != "context")
    too_long = [item.id for item in problems if item.id not in measured]
    if not measured:
        raise ConfigError(
            f"no prompt of {args.data} fits the context of {args.model} with a response; choose another --template or "
            "other problems"
        )
    if too_long:
        say(f"{len(too_long)} prompts do not fit the model's context and are not measured: {', '.join(too_long[:5])}")
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


def audit(args: argparse.Namespace) -> int:
    """Look at a data set's golds and the verifier's behaviour on them; return 1 when a gold fails."""
    from simplerl.environments.code import failing

    rows, limits = data.rows_to_audit(args.data, args.split), {"workers": args.workers, "timeout_s": args.timeout}
    report = audit_rows(rows, args.data, policy=args.policy, failing=failing, **limits)
    if not report.golds:
        raise DataError(f"{args.data} has no rows, so there is nothing to audit")
    if args.json:
        print(json.dumps(report.as_dict(), indent=2))
    else:
        say(*_audit_lines(report, args.show))
        say("\n  ok: every gold equals itself" if report.ok else "\n  failed: see the golds listed above")
    return 0 if report.ok else 1


def _audit_lines(report: Report, show: int) -> Iterator[str]:
    """Yield the lines of the report for the terminal."""
    count = {kind: len(findings) for kind, findings in report.findings.items()}
    yield f"{report.name}: {report.golds} golds"
    for kind in ("refused", "left_out", "rejected", "unjudgeable", "literal"):
        yield f"  {KINDS[kind]:29} {count[kind]}"
    yield f"  {KINDS['restated']:29} {count['restated']}, rewarded when copied {report.restated_rewarded}"
    if report.tested:
        yield f"  {'with unit tests':29} {report.tested}, with a reference solution {report.references}"
        yield f"  {KINDS['reference']:29} {count['reference']}"
    yield f"\n  {'rule':12} {'count':>7} {'share':>8} {'median':>10}"
    for rule, row in report.rules.items():
        yield f"  {rule:12} {row['count']:7} {100 * row['share']:7.2f}% {row['median_us']:7.1f} µs"
    if report.responses:
        counts = ", ".join(f"{status} {count}" for status, count in sorted(report.statuses.items()))
        yield f"\n  responses     {report.responses}: {counts}"
    if report.labelled:
        negatives, positives = count["false_negatives"], count["false_positives"]
        accuracy = 1 - (negatives + positives) / report.labelled
        wrong = f"false negatives {negatives}, false positives {positives}"
        yield f"  labelled      {report.labelled}: accuracy {100 * accuracy:.2f}%, {wrong}"
    for kind, title in KINDS.items():
        if findings := report.findings[kind]:
            yield f"\n  {title} ({min(show, len(findings))} of {len(findings)})"
            for finding in findings[:show]:
                gold, why = one_line(finding.gold), one_line(finding.why, 90)
                answer = "" if finding.answer is None else f"  answer {one_line(finding.answer)}"
                yield f"    {finding.id}: gold {gold}{answer}  ({why})"


def verify(args: argparse.Namespace) -> int:
    """Judge an answer, or a file of them, and explain; return 0 when everything is correct, else 1."""
    given = [part is not None for part in (args.gold, args.response, args.question)]
    if args.file is not None and any(given):
        raise SimpleRLError("give either --file or --gold with --response (and --question), not both")
    if args.file is None and not all(given[:2]):
        raise SimpleRLError("give --gold and --response, or --file with JSON lines; see simplerl verify --help")
    response = sys.stdin.read() if args.response == "-" else args.response
    triples = read_triples(args.file) if args.file is not None else [(response, args.gold, args.question)]
    workers = 1 if args.file is None else args.workers
    with VerifierPool(args.policy, workers, args.timeout, args.lenient or ()) as pool:
        verdicts = pool.verify_many(triples)
    if not verdicts:
        raise DataError(f"{args.file}: the file holds no rows")
    for number, verdict in enumerate(verdicts, 1):
        if args.json:
            print(json.dumps({name: getattr(verdict, name) for name in ("status", "extracted", "rule", "detail")}))
        elif args.file is None:
            say(*(f"{name:11}  {text}" for name, text in explain(response, args.gold, args.policy, verdict)))
        else:
            extracted = "–" if verdict.extracted is None else one_line(verdict.extracted, 70)
            print(f"{number:6}  {verdict.status:11}  {verdict.rule:11}  {extracted}")
    counts = Counter(verdict.status for verdict in verdicts)
    if args.file is not None and not args.json:
        say("total  " + ", ".join(f"{name} {count}" for name, count in counts.most_common()))
    return 0 if set(counts) == {"correct"} else 1


def read_triples(name: str) -> Iterator[tuple[str, str, str | None]]:
    """Yield (response, gold, question or None) from JSON lines; a `DataError` names a line that cannot be used."""
    if name != "-" and not Path(name).is_file():
        raise DataError(f"no such file: {name}")
    content = sys.stdin.read().encode("utf-8", "replace") if name == "-" else Path(name).read_bytes()
    for row in read_json(io.BytesIO(content), Path(name)):
        fields = row.fields
        gold, response = fields.get("gold", fields.get("answer")), fields.get("response", fields.get("prediction"))
        if gold is None or response is None:
            raise DataError(f"{row.place}: needs gold (or answer) and response (or prediction)")
        question = fields.get("question")
        yield str(response), str(gold), question if isinstance(question, str) else None


def explain(response: str, gold: str, policy: str, verdict: Verdict) -> list[tuple[str, str]]:
    """Return the steps of a judgement as (name, text): what was looked at, understood and decided."""
    part = final_part(response)
    tail = f", of which the last part, {len(part)}, counts" if len(part) != len(response) else ""
    steps = [("response", f"{len(response)} characters{tail}"), ("policy", policy)]
    for name, text in (("answer", POLICIES[policy](part)), ("gold", unbox(gold))):
        steps.append((name, "none found" if text is None else shown(text, 100) or "empty"))
        if text is not None and text.strip() and len(text) <= MAX_ANSWER_CHARS:
            steps += [("  normal", shown(reading(text).normal, 100)), ("  read as", kind(text))]
    rule = f"{verdict.rule}: {RULES.get(verdict.rule, '')}"
    return [*steps, ("rule", rule), ("why", verdict.detail), ("verdict", verdict.status)]


def kind(text: str) -> str:
    """Return what a text was read as."""
    side = reading(text)
    if side.value is not None:
        return f"the number {shown(str(side.value), 100)}"
    if side.node is None:
        return f"not understood: {side.problem}; its text still counts"
    return TABLES["kinds"].get(side.node.op, "an expression").format(name=side.node.name, parts=len(side.node.args))
