"""`simplerl verify`: judge one answer, or a file of answers, against the gold, and explain the judgement."""

import argparse
import io
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from simplerl.cli.console import one_line
from simplerl.core.errors import DataError, SimpleRLError
from simplerl.core.types import Verdict
from simplerl.data.rows import read_json
from simplerl.verify import POLICIES, RULES, VerifierPool
from simplerl.verify.extract import MAX_ANSWER_CHARS, final_part
from simplerl.verify.judge import reading, shown, unbox
from simplerl.verify.words import TABLES


def run(args: argparse.Namespace) -> int:
    """Judge and print; return 0 when everything is correct, else 1."""
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
            print("\n".join(f"{name:11}  {text}" for name, text in explain(response, args.gold, args.policy, verdict)))
        else:
            extracted = "–" if verdict.extracted is None else one_line(verdict.extracted, 70)
            print(f"{number:6}  {verdict.status:11}  {verdict.rule:11}  {extracted}")
    counts = Counter(verdict.status for verdict in verdicts)
    if args.file is not None and not args.json:
        print("total  " + ", ".join(f"{name} {count}" for name, count in counts.most_common()))
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
