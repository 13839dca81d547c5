r"""The audit of a data set and of the verifier on it, before either is trusted with a training run.

Every gold is graded against itself; golds that cannot be judged, or that only the same text can match, are listed with
the reason; golds that their own question states are counted; each rule's share and speed are measured. Where there are
responses they are judged, and where there are labels, compared with them. The rows are read as for training
(`data.rows_to_audit`).
"""

from __future__ import annotations

import os
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from simplerl.core.types import Verdict
from simplerl.data.problems import Reading
from simplerl.verify.extract import MAX_ANSWER_CHARS
from simplerl.verify.judge import RULES, question_expressions, reading, unbox
from simplerl.verify.pool import TIMEOUT_S, VerifierPool

#: What an expression holds that leaves something to compute; a number or a word of the question may be the answer.
_COMPUTES = re.compile(r"[-+*/^!|√×÷·]|\\[a-z]")


@dataclass(frozen=True, slots=True)
class Finding:
    """One row worth a look."""

    id: str
    gold: str
    answer: str | None
    why: str


#: Kind of finding → what was found of the golds, or of the labelled responses.
KINDS = {
    "refused": "refused in training",
    "left_out": "left out of training",
    "rejected": "rejected against themselves",
    "unjudgeable": "cannot be judged",
    "literal": "matched by the same text only",
    "restated": "restated by their question",
    "reference": "failed by their reference",
    "false_negatives": "false negatives",
    "false_positives": "false positives",
}


@dataclass(kw_only=True, slots=True)
class Report:
    """What an audit shows. Plain data: `as_dict` is what `--json` prints."""

    name: str
    golds: int = 0
    tested: int = 0  # Of these rows with unit tests
    references: int = 0  # Of those rows with a reference solution, on which the tests were run
    findings: dict[str, list[Finding]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    restated_rewarded: int = 0
    """Of the golds whose question states an expression of the same value, which is the cheapest answer to copy: those
    for which the copy is judged right, because it is in the gold's own form."""
    rules: dict[str, dict[str, float]] = field(default_factory=dict)
    """Rule → count, share, and median microseconds of the judgement."""
    responses: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    labelled: int = 0

    @property
    def ok(self) -> bool:
        """Whether every row can be read and every gold equals itself."""
        return not any(self.findings[kind] for kind in ("refused", "rejected", "unjudgeable", "reference"))

    def add(self, kind: str, row: Reading, answer: str | None, why: str) -> None:
        """Take in a finding, its texts cut."""
        cut = None if answer is None else answer[:200]
        self.findings[kind].append(Finding(row.original_id or row.id, row.gold[:200], cut, why))

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data."""
        table = asdict(self)
        return {**table.pop("findings"), **table, "ok": self.ok}


def check_golds(report: Report, rows: Sequence[Reading], pool: VerifierPool) -> list[Verdict]:
    """Grade every gold against itself, and see whether it is understood."""
    boxes = ((f"The answer is $\\boxed{{{unbox(row.gold)}}}$.", row.gold, row.question) for row in rows)
    verdicts = pool.verify_many(boxes)
    for row, verdict in zip(rows, verdicts, strict=True):
        if verdict.status == "unjudgeable":
            report.add("unjudgeable", row, None, verdict.detail)
        elif not verdict.correct:
            report.add("rejected", row, verdict.extracted or "", f"{verdict.status}: {verdict.detail}")
        else:
            bare = unbox(row.gold)
            if why := "too long" if len(bare) > MAX_ANSWER_CHARS else reading(bare).problem:
                report.add("literal", row, None, f"only the same text matches: {why}")
    return verdicts


def _check_questions(report: Report, rows: Sequence[Reading], pool: VerifierPool) -> None:
    """Count the golds that their own question states in another form, and those for which copying it is right."""
    for row in rows:
        for text in filter(_COMPUTES.search, question_expressions(row.question or "")):
            copied = pool.judge(text, row.gold)
            if copied.rule == "string" or not (copied.correct or copied.rule == "unfinished"):
                continue
            with_question = pool.judge(text, row.gold, row.question)
            report.add("restated", row, text, f"with the question: {with_question.rule}")
            report.restated_rewarded += with_question.correct
            break


def _check_responses(report: Report, rows: Sequence[Reading], pool: VerifierPool) -> list[Verdict]:
    """Judge the responses and compare the verdicts with the labels."""
    verdicts = pool.verify_many((row.response, row.gold, row.question) for row in rows)
    report.responses = len(rows)
    report.statuses = dict(Counter(verdict.status for verdict in verdicts))
    for row, verdict in zip(rows, verdicts, strict=True):
        if row.expected is None:
            continue
        report.labelled += 1
        if row.expected != verdict.correct:
            why = f"{verdict.status}, {verdict.rule}: {verdict.detail}"
            report.add("false_negatives" if row.expected else "false_positives", row, verdict.extracted or "", why)
    return verdicts


def _check_tests(report: Report, rows: Sequence[Reading], failing: Callable[[Mapping[str, Any], str], str]) -> None:
    """Run the unit tests of rows on their reference solutions."""
    report.tested, rows = len(rows), [row for row in rows if "reference" in row.meta]
    report.references = len(rows)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        checked = threads.map(lambda row: failing(row.meta["tests"], row.meta["reference"]), rows)
        for row, why in zip(rows, checked, strict=True):
            if why:
                report.add("reference", row, None, why)


def _measure_rules(report: Report, rows: Sequence[Reading], verdicts: Sequence[Verdict], pool: VerifierPool) -> None:
    """Count the deciding rules and time the judgements, each from scratch."""
    times: dict[str, list[float]] = {}
    for row, verdict in zip(rows, verdicts, strict=True):
        if verdict.extracted is not None:
            pool.cache.clear()
            start = time.perf_counter()
            pool.judge(verdict.extracted, row.gold, row.question)
            times.setdefault(verdict.rule, []).append(time.perf_counter() - start)
    total = sum(map(len, times.values()))
    for rule in filter(times.get, RULES):
        median = round(1e6 * statistics.median(times[rule]), 1)
        report.rules[rule] = {"count": len(times[rule]), "share": len(times[rule]) / total, "median_us": median}


def audit(
    rows: Iterable[Reading],
    name: str,
    *,
    policy: str = "boxed",
    workers: int = 2,
    timeout_s: float = TIMEOUT_S,
    failing: Callable[[Mapping[str, Any], str], str] = lambda tests, reference: "",
) -> Report:
    """Audit golds, and responses where there are any; `failing` says why unit tests fail on a program, if they do."""
    every = list(rows)
    report = Report(name=name, golds=len(every))
    for row in every:
        if not row.problem:
            report.add("refused" if row.refused else "left_out", row, None, row.why)
    rows = [row for row in every if row.problem]
    _check_tests(report, [row for row in rows if "tests" in row.meta], failing)
    rows = [row for row in rows if "tests" not in row.meta]
    answered = [row for row in rows if row.response is not None]
    # Golds stand in boxes, wherever the policy looks for the answers of responses.
    with VerifierPool("boxed", workers, timeout_s) as pool, VerifierPool(policy, workers, timeout_s) as responses:
        verdicts = check_golds(report, rows, pool)
        _check_questions(report, rows, pool)
        if answered:
            rows, verdicts = answered, _check_responses(report, answered, responses)
        _measure_rules(report, rows, verdicts, pool)
    return report
