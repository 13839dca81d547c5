"""Ledgers for the tests of prompt samplers, of visits that are made up."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from support import small_config

from simplerl.core.types import Draw, Problem
from simplerl.feed.samplers import Ledger, PromptSampler, chosen
from simplerl.runs.responses import Visit


def made_problems(count: int, **over: Any) -> list[Problem]:
    """Return problems p0, p1 …; a keyword gives a field as a function of the number."""
    more = [{name: value(i) if callable(value) else value for name, value in over.items()} for i in range(count)]
    return [Problem(id=f"p{i}", question=f"{i}?", answer=str(i), **{"source": "made", **more[i]}) for i in range(count)]


def ledger_of(
    problems: int | list[Problem],
    *steps: Mapping[str, float],
    over: dict[str, Any] | None = None,
    read: Callable[[int], Mapping[str, Visit]] | None = None,
) -> Ledger:
    """Return a ledger in which each step has problem → share right of 8 responses."""
    items = made_problems(problems) if isinstance(problems, int) else problems

    def recorded(step: int) -> dict[str, Visit]:
        return {name: Visit(step, 8, round(8 * rate), 8, 10.0) for name, rate in steps[step - 1].items()}

    config = small_config({"sampling": {"prompts_per_step": 4}, **(over or {})})
    return Ledger(config, items, Path("nowhere"), read=read or recorded)


def play(sampler: PromptSampler, steps: int, ledger: Ledger, rate: Callable[[Problem, int], float]) -> list[list[Draw]]:
    """Return what a sampler chooses in each step, where `rate(problem, step)` of the responses are right."""
    record: dict[int, dict[str, Visit]] = {}
    own = Ledger(ledger.config, ledger.problems, ledger.path, read=record.__getitem__)
    choices = []
    for step in range(1, steps + 1):
        draws = chosen(sampler, step, own.before(step))
        choices.append(draws)
        counts = {d.problem.id: (d.samples, round(d.samples * rate(d.problem, step))) for d in draws}
        record[step] = {name: Visit(step, n, right, n, 10.0) for name, (n, right) in counts.items()}
    return choices
