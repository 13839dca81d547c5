"""Check a data set's golds and the verifier's behaviour on it, before training on it.

Every gold is graded against itself; golds that cannot be judged, that only the same text can match, or that their own
question states are listed; each rule's share and speed are shown. Where a file has responses they are judged, and where
it has labels (`expected`) false negatives and false positives are listed. Exit code 1 when a gold fails.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simplerl.verify.audit import Report

EXAMPLES = """
  simplerl audit gsm8k                       # a data set by name
  simplerl audit my_problems.jsonl           # read as for training, or {gold, response, expected}
  simplerl audit labelled.jsonl --json > report.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("data", metavar="FILE_OR_DATASET", help="whatever --data takes: a file or a data set")
    parser.add_argument("--split", default="train", help="split of a named data set (default: %(default)s)")
    parser.add_argument("--policy", default="boxed", help="where answers are looked for (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=2.0, help="seconds per answer (default: %(default)s)")
    parser.add_argument("--show", type=int, default=10, help="rows listed of each kind (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the whole report as JSON")


def _table(report: Report, show: int) -> Iterator[str]:
    """Yield the lines of the report for the terminal."""
    yield f"{report.name}: {report.golds} golds"
    yield f"  refused in training           {len(report.refused)}"
    yield f"  left out of training          {len(report.left_out)}"
    yield f"  rejected against themselves   {len(report.rejected)}"
    yield f"  cannot be judged              {len(report.unjudgeable)}"
    yield f"  matched by the same text only {len(report.literal)}"
    yield f"  restated by their question    {len(report.restated)}, rewarded when copied {report.restated_rewarded}"
    yield ""
    yield f"  {'rule':12} {'count':>7} {'share':>8} {'median':>10}"
    for rule, row in report.rules.items():
        yield f"  {rule:12} {row['count']:7} {100 * row['share']:7.2f}% {row['median_us']:7.1f} µs"
    if report.responses:
        yield ""
        counts = ", ".join(f"{status} {count}" for status, count in sorted(report.statuses.items()))
        yield f"  responses     {report.responses}: {counts}"
        yield f"  time-outs     {100 * report.timeout_rate:.2f}%   speed {report.verdicts_per_second:,.0f} verdicts/s"
    if report.labelled:
        wrong = len(report.false_negatives) + len(report.false_positives)
        yield (
            f"  labelled      {report.labelled}: accuracy {100 * (1 - wrong / report.labelled):.2f}%, "
            f"false negatives {len(report.false_negatives)}, false positives {len(report.false_positives)}"
        )
    for title, findings in (
        ("rows refused in training", report.refused),
        ("rows left out of training", report.left_out),
        ("rejected golds", report.rejected),
        ("golds that cannot be judged", report.unjudgeable),
        ("golds matched by the same text only", report.literal),
        ("false negatives", report.false_negatives),
        ("false positives", report.false_positives),
        ("golds restated by their question", report.restated),
    ):
        if findings:
            yield ""
            yield f"  {title} ({min(show, len(findings))} of {len(findings)})"
            for finding in findings[:show]:
                answer = "" if finding.answer is None else f"  answer {_short(finding.answer)}"
                yield f"    {finding.id}: gold {_short(finding.gold)}{answer}  ({_short(finding.why, 90)})"


def _short(text: str, width: int = 60) -> str:
    text = " ".join(text.split()).encode("utf-8", "replace").decode("utf-8")
    return (text if len(text) <= width else text[: width - 1] + "…") or "(empty)"


def run(args: argparse.Namespace) -> int:
    """Audit and print; return 1 when a gold fails."""
    from simplerl.data import rows_to_audit
    from simplerl.verify.audit import audit

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # an ascii terminal still gets its table
    report = audit(
        rows_to_audit(args.data, args.split),
        args.data,
        policy=args.policy,
        workers=args.workers,
        timeout_s=args.timeout,
    )
    if args.json:
        print(json.dumps(report.as_dict(), indent=2))
    else:
        print("\n".join(_table(report, args.show)))
        print("\n  ok: every gold equals itself" if report.ok else "\n  failed: see the golds listed above")
    return 0 if report.ok else 1
