"""The audit of a data set and of the verifier on it, before either is trusted with a training run.

Every gold is graded against itself; golds that cannot be judged are listed with the reason; each rule's share and
speed are measured; where there are responses, the judgements are counted, compared with math-verify's own, and, where
there are labels, with the labels.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from simplerl.types import Verdict
from simplerl.verify.judge import RULES, quick, reading, unbox
from simplerl.verify.pool import TIMEOUT_S, VerifierPool
from simplerl.verify.rows import Row


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One row worth a look."""

    id: str
    gold: str
    answer: str | None
    why: str


@dataclass(kw_only=True, slots=True)
class Report:
    """What an audit found. Plain data: `as_dict` is what `--json` prints."""

    name: str
    golds: int = 0
    rejected: list[Finding] = field(default_factory=list)
    """Golds that are not equal to themselves."""
    unjudgeable: list[Finding] = field(default_factory=list)
    """Golds that cannot be judged at all, such as empty ones."""
    literal: list[Finding] = field(default_factory=list)
    """Golds that only the same text can match, because their mathematics is not read."""
    rules: dict[str, dict[str, float]] = field(default_factory=dict)
    """Rule → count, share, and median microseconds in the calling process."""
    responses: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    timeout_rate: float = 0.0
    verdicts_per_second: float = 0.0
    math_verify: dict[str, int] = field(default_factory=dict)
    disagreements: list[Finding] = field(default_factory=list)
    """Responses that math-verify, with its default settings, judges the other way."""
    labelled: int = 0
    false_negatives: list[Finding] = field(default_factory=list)
    false_positives: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every gold equals itself."""
        return not self.rejected and not self.unjudgeable

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {**asdict(self), "ok": self.ok}


def _finding(row: Row, verdict: Verdict | None, why: str) -> Finding:
    return Finding(id=row.id, gold=row.gold[:200], answer=(verdict.extracted or "")[:200] if verdict else None, why=why)


def _boxed(gold: str) -> str:
    return f"The answer is $\\boxed{{{unbox(gold)}}}$."


def _check_golds(report: Report, rows: list[Row], pool: VerifierPool) -> None:
    """Grade every gold against itself, and see whether it is understood."""
    for row, verdict in zip(rows, pool.verify_many((_boxed(row.gold), row.gold) for row in rows), strict=True):
        if not row.gold.strip():
            report.unjudgeable.append(_finding(row, None, "the gold is empty"))
        elif verdict.status == "unjudgeable":
            report.unjudgeable.append(_finding(row, None, verdict.detail))
        elif not verdict.correct:
            report.rejected.append(_finding(row, verdict, f"{verdict.status}: {verdict.detail}"))
        else:
            bare = unbox(row.gold)
            read = reading(bare) if len(bare) <= 2_000 else None
            if read is None or read.node is None:
                problem = read.problem if read else "too long"
                report.literal.append(_finding(row, None, f"only the same text matches: {problem}"))


def _measure_rules(report: Report, judged: list[tuple[str, str, Verdict]]) -> None:
    """Count the deciding rules; time the part of each judgement that runs in the calling process."""
    times: dict[str, list[float]] = {}
    for answer, gold, verdict in judged:
        reading.cache_clear()
        start = time.perf_counter()
        quick(answer, gold)
        times.setdefault(verdict.rule, []).append(time.perf_counter() - start)
    total = sum(map(len, times.values()))
    for rule in RULES:
        if rule in times:
            median = 1e6 * statistics.median(times[rule])
            report.rules[rule] = {
                "count": len(times[rule]), "share": len(times[rule]) / total, "median_us": round(median, 1),
            }  # fmt: skip


def _check_responses(report: Report, rows: list[Row], pool: VerifierPool, *, compare: bool) -> list[Verdict]:
    """Judge the responses, compare with labels and, if asked, with math-verify."""
    start = time.perf_counter()
    verdicts = pool.verify_many((row.response or "", row.gold) for row in rows)
    report.verdicts_per_second = round(len(rows) / max(time.perf_counter() - start, 1e-9), 1)
    report.responses = len(rows)
    report.statuses = dict(Counter(verdict.status for verdict in verdicts))
    report.timeout_rate = report.statuses.get("timeout", 0) / len(rows)
    for row, verdict in zip(rows, verdicts, strict=True):
        if row.expected is None:
            continue
        report.labelled += 1
        if row.expected and not verdict.correct:
            report.false_negatives.append(_finding(row, verdict, f"{verdict.status}: {verdict.detail}"))
        elif verdict.correct and not row.expected:
            report.false_positives.append(_finding(row, verdict, f"{verdict.rule}: {verdict.detail}"))
    if compare:
        for i, row in enumerate(rows):
            pool.math_verify(i, row.response or "", row.gold)
        for i, theirs in pool.results():
            mine, row = verdicts[i], rows[i]
            agrees = theirs.correct == mine.correct
            key = "undecided" if not theirs.decided else "agrees" if agrees else "disagrees"
            report.math_verify[key] = report.math_verify.get(key, 0) + 1
            if key == "disagrees":
                report.disagreements.append(_finding(row, mine, f"ours {mine.status}, math-verify {theirs.status}"))
    return verdicts


def audit(
    rows: Iterable[Row],
    name: str,
    *,
    policy: str = "boxed",
    workers: int = 2,
    timeout_s: float = TIMEOUT_S,
    compare: bool = True,
) -> Report:
    """Audit golds, and responses where there are any. `compare`: ask math-verify for its own judgement of them."""
    rows = list(rows)
    report = Report(name=name, golds=len(rows))
    answered = [row for row in rows if row.response is not None]
    with VerifierPool(policy=policy, workers=workers, timeout_s=timeout_s) as pool:
        _check_golds(report, rows, pool)
        if answered:
            verdicts = _check_responses(report, answered, pool, compare=compare)
            judged = [
                (verdict.extracted, row.gold, verdict)
                for row, verdict in zip(answered, verdicts, strict=True)
                if verdict.extracted is not None
            ]
        else:
            verdicts = pool.verify_many((_boxed(row.gold), row.gold) for row in rows)
            judged = [(unbox(row.gold), row.gold, v) for row, v in zip(rows, verdicts, strict=True) if v.extracted]
    _measure_rules(report, judged)
    return report
