r"""The audit of a data set's golds, before it is trusted with a training run.

Every gold is graded against itself; golds that cannot be judged, or that only the same text can match, are listed with
the reason; golds that their own question states are counted. The rows are read as for training (`data.rows_to_audit`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from simplerl.core.types import Problem
from simplerl.data.problems import Reading
from simplerl.verify.extract import MAX_ANSWER_CHARS
from simplerl.verify.judge import question_expressions, reading, unbox
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


#: Kind of finding → what was found of the golds.
KINDS = {
    "refused": "refused in training",
    "left_out": "left out of training",
    "rejected": "rejected against themselves",
    "unjudgeable": "cannot be judged",
    "literal": "matched by the same text only",
    "restated": "restated by their question",
    "reference": "failed by their reference",
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
        return {**table, **table.pop("findings"), "ok": self.ok}


def _check_golds(report: Report, rows: Sequence[tuple[Reading, Problem]], pool: VerifierPool) -> None:
    """Grade every gold against itself, and see whether it is understood."""
    boxes = ((f"The answer is $\\boxed{{{unbox(each.answer)}}}$.", each.answer, each.question) for _, each in rows)
    for (row, problem), verdict in zip(rows, pool.verify_many(boxes), strict=True):
        if verdict.status == "unjudgeable":
            report.add("unjudgeable", row, None, verdict.detail)
        elif not verdict.correct:
            report.add("rejected", row, verdict.extracted or "", f"{verdict.status}: {verdict.detail}")
        else:
            bare = unbox(problem.answer)
            if why := "too long" if len(bare) > MAX_ANSWER_CHARS else reading(bare).problem:
                report.add("literal", row, None, f"only the same text matches: {why}")


def _check_questions(report: Report, rows: Sequence[tuple[Reading, Problem]], pool: VerifierPool) -> None:
    """Count the golds that their own question states in another form, and those for which copying it is right."""
    for row, problem in rows:
        for text in filter(_COMPUTES.search, question_expressions(problem.question)):
            copied = pool.judge(text, problem.answer)
            if copied.rule == "string" or not (copied.correct or copied.rule == "unfinished"):
                continue
            with_question = pool.judge(text, problem.answer, problem.question)
            report.add("restated", row, text, f"with the question: {with_question.rule}")
            report.restated_rewarded += with_question.correct
            break


def _check_tests(
    report: Report, rows: Sequence[tuple[Reading, Problem]], failing: Callable[[Mapping[str, Any], str], str]
) -> None:
    """Run the unit tests of rows on their reference solutions."""
    report.tested, rows = len(rows), [(row, each) for row, each in rows if "reference" in each.meta]
    report.references = len(rows)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        checked = threads.map(lambda pair: failing(pair[1].meta["tests"], pair[1].meta["reference"]), rows)
        for (row, _), why in zip(rows, checked, strict=True):
            if why:
                report.add("reference", row, None, why)


def audit(
    rows: Iterable[Reading],
    name: str,
    *,
    workers: int = 2,
    timeout_s: float = TIMEOUT_S,
    failing: Callable[[Mapping[str, Any], str], str] = lambda tests, reference: "",
) -> Report:
    """Audit golds; `failing` says why unit tests fail on a program, if they do."""
    every = list(rows)
    report = Report(name=name, golds=len(every))
    for row in every:
        for kind in ("left_out", "refused"):
            if why := getattr(row, kind):
                report.add(kind, row, None, why)
    problems = [(row, row.problem) for row in every if row.problem]
    _check_tests(report, [pair for pair in problems if "tests" in pair[1].meta], failing)
    problems = [pair for pair in problems if "tests" not in pair[1].meta]
    with VerifierPool(workers=workers, timeout_s=timeout_s) as pool:
        _check_golds(report, problems, pool)
        _check_questions(report, problems, pool)
    return report
