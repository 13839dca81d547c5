r"""The audit of a data set and of the verifier on it, before either is trusted with a training run.

Every gold is graded against itself; golds that cannot be judged, or that only the same text can match, are listed with
the reason; golds that their own question states are counted; each rule's share and speed are measured. Where there are
responses they are judged, and where there are labels, compared with them. The rows are read as for training
(`data.rows_to_audit`).
"""

from __future__ import annotations

import re
import statistics
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from simplerl.core.types import Verdict
from simplerl.verify.extract import MAX_ANSWER_CHARS
from simplerl.verify.judge import RULES, question_expressions, reading, unbox
from simplerl.verify.pool import TIMEOUT_S, VerifierPool

#: What an expression holds that leaves something to compute; a number or a word of the question may be the answer.
_COMPUTES = re.compile(r"[-+*/^!|√×÷·]|\\[a-z]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One gold; the others are None where the source has none."""

    id: str
    gold: str
    question: str | None = None
    response: str | None = None
    expected: bool | None = None
    left_out: str = ""
    """Why training leaves the row out; it has no gold then."""
    refused: str = ""
    """Why training refuses the row."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One row worth a look."""

    id: str
    gold: str
    answer: str | None
    why: str


@dataclass(kw_only=True, slots=True)
class Report:
    """What an audit shows. Plain data: `as_dict` is what `--json` prints."""

    name: str
    golds: int = 0
    left_out: list[Finding] = field(default_factory=list)
    """Rows that training leaves out: placeholders in place of an answer, questions with several golds."""
    refused: list[Finding] = field(default_factory=list)
    """Rows that training refuses."""
    rejected: list[Finding] = field(default_factory=list)
    """Golds that are not equal to themselves."""
    unjudgeable: list[Finding] = field(default_factory=list)
    """Golds that cannot be judged at all, such as empty ones."""
    literal: list[Finding] = field(default_factory=list)
    """Golds that only the same text can match, because their mathematics is not read."""
    restated: list[Finding] = field(default_factory=list)
    """Golds whose question states an expression of the same value: copying it is the cheapest answer."""
    restated_rewarded: int = 0
    """Among them, those for which the copied expression is judged right: it is in the gold's own form."""
    rules: dict[str, dict[str, float]] = field(default_factory=dict)
    """Rule → count, share, and median microseconds of the judgement."""
    responses: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    timeout_rate: float = 0.0
    verdicts_per_second: float = 0.0
    labelled: int = 0
    false_negatives: list[Finding] = field(default_factory=list)
    false_positives: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every row can be read and every gold equals itself."""
        return not (self.refused or self.rejected or self.unjudgeable)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {**asdict(self), "ok": self.ok}


def _finding(row: Row, answer: str | None, why: str) -> Finding:
    return Finding(row.id, row.gold[:200], None if answer is None else answer[:200], why)


def _check_golds(report: Report, rows: Sequence[Row], pool: VerifierPool) -> None:
    """Grade every gold against itself, and see whether it is understood."""
    boxes = ((f"The answer is $\\boxed{{{unbox(row.gold)}}}$.", row.gold, row.question) for row in rows)
    for row, verdict in zip(rows, pool.verify_many(boxes), strict=True):
        if verdict.status == "unjudgeable":
            report.unjudgeable.append(_finding(row, None, verdict.detail))
        elif not verdict.correct:
            report.rejected.append(_finding(row, verdict.extracted or "", f"{verdict.status}: {verdict.detail}"))
        else:
            bare = unbox(row.gold)
            problem = "too long" if len(bare) > MAX_ANSWER_CHARS else reading(bare).problem
            if problem:
                report.literal.append(_finding(row, None, f"only the same text matches: {problem}"))


def _check_questions(report: Report, rows: Sequence[Row], pool: VerifierPool) -> None:
    """Count the golds that their own question states in another form, and those for which copying it is right."""
    for row in rows:
        for text in filter(_COMPUTES.search, question_expressions(row.question or "") if row.gold else ()):
            copied = pool.judge(text, row.gold)
            if copied.rule == "string" or not (copied.correct or copied.rule == "unfinished"):
                continue
            with_question = pool.judge(text, row.gold, row.question)
            report.restated.append(_finding(row, text, f"with the question: {with_question.rule}"))
            report.restated_rewarded += with_question.correct
            break


def _check_responses(report: Report, rows: Sequence[Row], pool: VerifierPool) -> list[Verdict]:
    """Judge the responses and compare the verdicts with the labels."""
    start = time.perf_counter()
    verdicts = pool.verify_many((row.response, row.gold, row.question) for row in rows)
    report.verdicts_per_second = round(len(rows) / max(time.perf_counter() - start, 1e-9), 1)
    report.responses = len(rows)
    report.statuses = dict(Counter(verdict.status for verdict in verdicts))
    report.timeout_rate = report.statuses.get("timeout", 0) / len(rows)
    for row, verdict in zip(rows, verdicts, strict=True):
        if row.expected is None:
            continue
        report.labelled += 1
        if row.expected != verdict.correct:
            missed = report.false_negatives if row.expected else report.false_positives
            missed.append(_finding(row, verdict.extracted or "", f"{verdict.status}, {verdict.rule}: {verdict.detail}"))
    return verdicts


def _measure_rules(report: Report, rows: Sequence[Row], verdicts: Sequence[Verdict], pool: VerifierPool) -> None:
    """Count the deciding rules and time the judgements, each from scratch."""
    times: dict[str, list[float]] = {}
    for row, verdict in zip(rows, verdicts, strict=True):
        if verdict.extracted is not None:
            pool.cache.clear()
            start = time.perf_counter()
            pool.judge(verdict.extracted, row.gold, row.question)
            times.setdefault(verdict.rule, []).append(time.perf_counter() - start)
    total = sum(map(len, times.values()))
    for rule in (rule for rule in RULES if rule in times):
        median = round(1e6 * statistics.median(times[rule]), 1)
        report.rules[rule] = {"count": len(times[rule]), "share": len(times[rule]) / total, "median_us": median}


def audit(
    rows: Iterable[Row], name: str, *, policy: str = "boxed", workers: int = 2, timeout_s: float = TIMEOUT_S
) -> Report:
    """Audit golds, and responses where there are any."""
    every = list(rows)
    report = Report(
        name=name,
        golds=len(every),
        left_out=[_finding(row, None, row.left_out) for row in every if row.left_out],
        refused=[_finding(row, None, row.refused) for row in every if row.refused],
    )
    rows = [row for row in every if not (row.left_out or row.refused)]
    answered = [row for row in rows if row.response is not None]
    with VerifierPool(policy, workers=workers, timeout_s=timeout_s) as pool:
        _check_golds(report, rows, pool)
        _check_questions(report, rows, pool)
        if answered:
            verdicts = _check_responses(report, answered, pool)
        else:
            answered = rows
            verdicts = [pool.judge(unbox(row.gold), row.gold) for row in rows]
        _measure_rules(report, answered, verdicts, pool)
    return report
