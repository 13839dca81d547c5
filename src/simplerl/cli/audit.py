"""`simplerl audit`: are the golds of a data set gradable, before training on it?"""

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
    report = audit(rows, args.data, failing=failing, **limits)
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
    for kind, title in KINDS.items():
        if findings := report.findings[kind]:
            yield f"\n  {title} ({min(show, len(findings))} of {len(findings)})"
            for finding in findings[:show]:
                gold, why = one_line(finding.gold), one_line(finding.why, 90)
                answer = "" if finding.answer is None else f"  answer {one_line(finding.answer)}"
                yield f"    {finding.id}: gold {gold}{answer}  ({why})"
