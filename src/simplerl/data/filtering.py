"""Part problems by a figure: prompt tokens, a measured pass rate, golds that cannot be judged."""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from simplerl.data.output import where
from simplerl.errors import ConfigError
from simplerl.types import Problem
from simplerl.verify.audit import Report, Row, audit


def by_prompt_tokens(
    problems: Sequence[Problem], count: Callable[[Problem], int], limit: int
) -> tuple[list[Problem], list[dict[str, Any]], dict[str, Any]]:
    """Return (problems whose prompt has at most `limit` tokens, the others named, figures of all)."""
    if limit < 1:
        raise ConfigError(f"--max-prompt-tokens must be at least 1, got {limit}")
    tokens = [count(item) for item in problems]
    kept = [item for item, number in zip(problems, tokens, strict=True) if number <= limit]
    removed = [
        {**where(item), "tokens": number} for item, number in zip(problems, tokens, strict=True) if number > limit
    ]
    ordered = sorted(tokens)
    figures = {
        "min": ordered[0],
        "median": statistics.median(ordered),
        "p95": ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))],
        "max": ordered[-1],
    }
    return kept, removed, figures


def by_pass_rate(
    problems: Sequence[Problem], *, least: float, most: float
) -> tuple[list[Problem], list[dict[str, Any]]]:
    """Return (problems whose `pass_rate` lies within bounds, the others named); a problem without one is removed."""
    if not 0 <= least <= most <= 1:
        raise ConfigError(f"pass rates lie between 0 and 1, the least first: got {least} and {most}")
    kept, removed = [], []
    for item in problems:
        rate = item.meta.get("pass_rate")
        if rate is not None and least <= rate <= most:
            kept.append(item)
        else:
            why = "no sample could be judged" if rate is None else "pass rate"
            removed.append({**where(item), "pass_rate": rate, "why": why})
    return kept, removed


def by_gold(
    problems: Sequence[Problem], name: str, *, workers: int, timeout_s: float
) -> tuple[list[Problem], list[dict[str, Any]], Report]:
    """Return (problems whose gold the verifier can judge, the others named with the reason, the audit's report)."""
    report = audit(
        [Row(id=item.id, gold=item.answer, question=item.question) for item in problems],
        name,
        workers=workers,
        timeout_s=timeout_s,
    )
    failed = {finding.id: finding for finding in (*report.rejected, *report.unjudgeable)}
    kept = [item for item in problems if item.id not in failed]
    removed = [
        {**where(item), "gold": item.answer, "why": failed[item.id].why} for item in problems if item.id in failed
    ]
    return kept, removed, report
