"""`simplerl audit`: a data set's golds and the verifier's behaviour on them, before training."""

import argparse
import json
from collections.abc import Iterator

from simplerl.cli.console import one_line
from simplerl.core.errors import DataError
from simplerl.data import rows_to_audit
from simplerl.data.audit import KINDS, Report, audit
from simplerl.environments.code import failing


def run(args: argparse.Namespace) -> int:
    """Audit and print; return 1 when a gold fails."""
    rows, limits = rows_to_audit(args.data, args.split), {"workers": args.workers, "timeout_s": args.timeout}
    report = audit(rows, args.data, policy=args.policy, failing=failing, **limits)
    if not report.golds:
        raise DataError(f"{args.data} has no rows, so there is nothing to audit")
    if args.json:
        print(json.dumps(report.as_dict(), indent=2))
    else:
        print("\n".join(_table(report, args.show)))
        print("\n  ok: every gold equals itself" if report.ok else "\n  failed: see the golds listed above")
    return 0 if report.ok else 1


def _table(report: Report, show: int) -> Iterator[str]:
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
        yield f"  time-outs     {100 * report.timeout_rate:.2f}%   speed {report.verdicts_per_second:,.0f} verdicts/s"
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
