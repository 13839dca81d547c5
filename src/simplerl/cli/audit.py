"""`simplerl audit`: a data set's golds and the verifier's behaviour on them, before training."""

import argparse
import json
from collections.abc import Iterator

from simplerl.cli.console import one_line
from simplerl.core.errors import DataError
from simplerl.data import rows_to_audit
from simplerl.data.audit import Report, audit

#: Field of the report → title of its list.
LISTS = {
    "refused": "rows refused in training",
    "left_out": "rows left out of training",
    "rejected": "rejected golds",
    "unjudgeable": "golds that cannot be judged",
    "literal": "golds matched by the same text only",
    "false_negatives": "false negatives",
    "false_positives": "false positives",
    "restated": "golds restated by their question",
}


def run(args: argparse.Namespace) -> int:
    """Audit and print; return 1 when a gold fails."""
    rows, limits = rows_to_audit(args.data, args.split), {"workers": args.workers, "timeout_s": args.timeout}
    report = audit(rows, args.data, policy=args.policy, **limits)
    if not (report.golds or report.refused or report.left_out):
        raise DataError(f"{args.data} has no rows, so there is nothing to audit")
    if args.json:
        print(json.dumps(report.as_dict(), indent=2))
    else:
        print("\n".join(_table(report, args.show)))
        print("\n  ok: every gold equals itself" if report.ok else "\n  failed: see the golds listed above")
    return 0 if report.ok else 1


def _table(report: Report, show: int) -> Iterator[str]:
    """Yield the lines of the report for the terminal."""
    yield f"{report.name}: {report.golds} golds"
    yield f"  refused in training           {len(report.refused)}"
    yield f"  left out of training          {len(report.left_out)}"
    yield f"  rejected against themselves   {len(report.rejected)}"
    yield f"  cannot be judged              {len(report.unjudgeable)}"
    yield f"  matched by the same text only {len(report.literal)}"
    yield f"  restated by their question    {len(report.restated)}, rewarded when copied {report.restated_rewarded}"
    yield f"\n  {'rule':12} {'count':>7} {'share':>8} {'median':>10}"
    for rule, row in report.rules.items():
        yield f"  {rule:12} {row['count']:7} {100 * row['share']:7.2f}% {row['median_us']:7.1f} µs"
    if report.responses:
        counts = ", ".join(f"{status} {count}" for status, count in sorted(report.statuses.items()))
        yield f"\n  responses     {report.responses}: {counts}"
        yield f"  time-outs     {100 * report.timeout_rate:.2f}%   speed {report.verdicts_per_second:,.0f} verdicts/s"
    if report.labelled:
        negatives, positives = len(report.false_negatives), len(report.false_positives)
        accuracy = 1 - (negatives + positives) / report.labelled
        wrong = f"false negatives {negatives}, false positives {positives}"
        yield f"  labelled      {report.labelled}: accuracy {100 * accuracy:.2f}%, {wrong}"
    for name, title in LISTS.items():
        if findings := getattr(report, name):
            yield f"\n  {title} ({min(show, len(findings))} of {len(findings)})"
            for finding in findings[:show]:
                gold, why = one_line(finding.gold), one_line(finding.why, 90)
                answer = "" if finding.answer is None else f"  answer {one_line(finding.answer)}"
                yield f"    {finding.id}: gold {gold}{answer}  ({why})"
