r"""The audit of a data set and of the verifier on it, before either is trusted with a training run.

Every gold is graded against itself; golds that cannot be judged, or that only the same text can match, are listed with
the reason; golds that their own question states are counted; each rule's share and speed are measured. Where there are
responses they are judged, and where there are labels, compared with them.

`read_rows` takes JSON lines as they are published: GSM8K (`answer` ending in `#### 42`), MATH (`solution` with a
`\boxed{…}`), OlympiadBench (`final_answer`, a list), numbers as in SVAMP and AMC, and labelled cases (`gold`,
`prediction` or `response`, `expected`). Also `.gz`.
"""

from __future__ import annotations

import gzip
import json
import re
import statistics
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from simplerl.core.errors import DataError
from simplerl.core.types import Verdict
from simplerl.verify.extract import MAX_ANSWER_CHARS, last_box
from simplerl.verify.judge import RULES, question_expressions, reading, unbox
from simplerl.verify.pool import TIMEOUT_S, VerifierPool

_GOLD_FIELDS = ("gold", "final_answer", "ground_truth", "answer", "Answer", "target")
_RESPONSE_FIELDS = ("prediction", "response", "completion")
_QUESTION_FIELDS = ("question", "problem", "Question")
#: What an expression holds that leaves something to compute; a number or a word of the question may be the answer.
_COMPUTES = re.compile(r"[-+*/^!|√×÷·]|\\[a-z]")
_ID_FIELDS = ("id", "idx", "unique_id", "ID")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One gold; the others are None where the source has none."""

    id: str
    gold: str
    question: str | None = None
    response: str | None = None
    expected: bool | None = None


def _plain_text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain_text, value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value)


def row_of(raw: Mapping[str, Any], number: int, name: str) -> Row:
    """Return one row in any known shape; a `DataError` names file, line and fields when there is no gold."""
    for key in _GOLD_FIELDS:
        if key in raw:
            gold = _plain_text(raw[key])
            gold = gold.rsplit("####", 1)[1] if key == "answer" and "####" in gold else gold
            break
    else:
        if "solution" not in raw:
            raise DataError(
                f"{name}, line {number}: no gold answer among the fields {', '.join(sorted(raw)) or '(none)'}; "
                f"known fields: {', '.join((*_GOLD_FIELDS, 'solution'))}"
            )
        gold = last_box(_plain_text(raw["solution"])) or ""

    def text(names: Sequence[str]) -> str | None:
        return next((raw[name] for name in names if isinstance(raw.get(name), str)), None)

    return Row(
        id=str(next((raw[name] for name in _ID_FIELDS if name in raw), number)),
        gold=gold.strip(),
        question=text(_QUESTION_FIELDS),
        response=text(_RESPONSE_FIELDS),
        expected=raw["expected"] if isinstance(raw.get("expected"), bool) else None,
    )


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a JSON-lines file, plain or gzipped."""
    opener: Any = gzip.open if path.suffix == ".gz" else open
    number, empty = 0, True
    with opener(path, "rt", encoding="utf-8", errors="replace") as lines:
        try:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    raw = json.loads(line)
                    if not isinstance(raw, dict):
                        raise DataError(f"{path}, line {number}: a row must be an object, not {type(raw).__name__}")
                    empty = False
                    yield row_of(raw, number, str(path))
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(f"{path}: not a complete gzip file ({error})") from error
        except (ValueError, RecursionError) as error:  # also: nested too deeply, an integer of thousands of digits
            raise DataError(f"{path}, line {number}: not JSON ({error})") from error
    if empty:
        raise DataError(f"{path}: the file holds no rows")


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
        """Whether every gold equals itself."""
        return not self.rejected and not self.unjudgeable

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {**asdict(self), "ok": self.ok}


def _finding(row: Row, answer: str | None, why: str) -> Finding:
    return Finding(row.id, row.gold[:200], None if answer is None else answer[:200], why)


def _check_golds(report: Report, rows: Sequence[Row], pool: VerifierPool) -> None:
    """Grade every gold against itself, and see whether it is understood."""
    boxes = ((f"The answer is $\\boxed{{{unbox(row.gold)}}}$.", row.gold, row.question) for row in rows)
    for row, verdict in zip(rows, pool.verify_many(boxes), strict=True):
        if not row.gold:
            report.unjudgeable.append(_finding(row, None, "the gold is empty"))
        elif verdict.status == "unjudgeable":
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
            pool.forget()
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
    rows = list(rows)
    report = Report(name=name, golds=len(rows))
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
