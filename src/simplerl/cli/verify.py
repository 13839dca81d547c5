"""Judge one answer, or a file of answers, against the gold, and explain the judgement.

A file holds one JSON object per line with a gold (`gold` or `answer`), a response (`response` or `prediction`) and
maybe the `question`; `-` reads standard input. Exit code 0: every response is correct; 1: some are not; 2: a mistake in
the call.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from simplerl.core.errors import DataError, SimpleRLError
from simplerl.core.types import Verdict

EXAMPLES = r"""
  simplerl verify --gold '\frac{1}{2}' --response 'So the answer is \boxed{0.5}.'
  simplerl verify --gold 5 --response 'The answer is 5.' --policy boxed-then-phrases-then-last-number
  simplerl verify --question 'What is 16+17+16?' --gold 49 --response '\boxed{16+17+16}'
  simplerl verify --file answers.jsonl --json > verdicts.jsonl
  cat answers.jsonl | simplerl verify --file -
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--gold", help="the reference answer")
    parser.add_argument("--response", help="the response, with its answer in a box; '-' reads standard input")
    parser.add_argument("--question", help="the question: an answer that only restates it is wrong")
    parser.add_argument("--file", help="JSON lines of gold, response and maybe question; '-' reads standard input")
    parser.add_argument("--policy", default="boxed", help="where the answer is looked for (default: %(default)s)")
    parser.add_argument(
        "--lenient",
        nargs="+",
        default=(),
        choices=("unfinished", "restates"),
        help="answers of the right value that count as right although they leave computing to the reader (unfinished), "
        "or only restate the question",
    )
    parser.add_argument("--workers", type=int, default=2, help="worker processes for a file (default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=2.0, help="seconds per answer (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object per verdict instead of text")


def read_triples(lines: Iterator[str], name: str) -> Iterator[tuple[str, str, str | None]]:
    """Yield (response, gold, question or None) from JSON lines; a `DataError` names a line that cannot be used."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{name}, line {number}: not JSON ({error})") from error
        gold = row.get("gold", row.get("answer")) if isinstance(row, dict) else None
        response = row.get("response", row.get("prediction")) if isinstance(row, dict) else None
        if gold is None or response is None:
            raise DataError(f"{name}, line {number}: needs gold (or answer) and response (or prediction)")
        question = row.get("question")
        yield str(response), str(gold), question if isinstance(question, str) else None


def as_json(verdict: Verdict) -> str:
    """One line of JSON for a verdict."""
    return json.dumps(
        {"status": verdict.status, "extracted": verdict.extracted, "rule": verdict.rule, "detail": verdict.detail}
    )


def _file(args: argparse.Namespace) -> int:
    from simplerl.verify import VerifierPool

    if args.file == "-":
        lines: Iterator[str] = iter(sys.stdin)
    elif Path(args.file).is_file():
        lines = iter(Path(args.file).read_text(encoding="utf-8", errors="replace").splitlines())
    else:
        raise DataError(f"no such file: {args.file}")
    with VerifierPool(args.policy, args.workers, args.timeout, args.lenient) as pool:
        verdicts = pool.verify_many(read_triples(lines, args.file))
    for number, verdict in enumerate(verdicts, 1):
        if args.json:
            print(as_json(verdict))
        else:
            print(f"{number:6}  {verdict.status:11}  {verdict.rule:11}  {_printable(verdict.extracted)}")
    if not verdicts:
        raise DataError(f"{args.file}: the file holds no rows")
    counts = Counter(verdict.status for verdict in verdicts)
    if not args.json:
        print("total  " + (", ".join(f"{name} {count}" for name, count in counts.most_common()) or "nothing to judge"))
    return 0 if set(counts) <= {"correct"} else 1


def _printable(text: str | None) -> str:
    if text is None:
        return "–"
    shown = " ".join(text.split()).encode("utf-8", "replace").decode("utf-8")
    return shown if len(shown) <= 70 else shown[:69] + "…"


def run(args: argparse.Namespace) -> int:
    """Judge and print; return 0 when everything is correct, else 1."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # an ascii terminal still gets its table
    if args.file is not None:
        if args.gold is not None or args.response is not None or args.question is not None:
            raise SimpleRLError("give either --file or --gold with --response (and --question), not both")
        return _file(args)
    if args.gold is None or args.response is None:
        raise SimpleRLError("give --gold and --response, or --file with JSON lines; see simplerl verify --help")
    response = sys.stdin.read() if args.response == "-" else args.response
    from simplerl.verify import VerifierPool
    from simplerl.verify.judge import explain

    with VerifierPool(args.policy, 1, args.timeout, args.lenient) as pool:
        verdict = pool.verify_many([(response, args.gold, args.question)])[0]
    if args.json:
        print(as_json(verdict))
    else:
        for name, text in explain(response, args.gold, args.policy, verdict):
            print(f"{name:11}  {text}")
    return 0 if verdict.correct else 1
