"""Samplers that go by what was solved: problems of a wanted difficulty, those not yet solved, those worth learning."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from simplerl.config.sections import Config, PositiveInt, Rate, Share
from simplerl.core.errors import DataError
from simplerl.core.seeds import generator
from simplerl.core.types import Draw, Problem
from simplerl.feed.ledger import Ledger
from simplerl.feed.samplers import Pooled, PromptSampler, steps_of
from simplerl.runs.responses import Visit
from simplerl.runs.run import Run

#: Responses that what is expected of a problem beforehand counts as much as.
STRENGTH = 2


@dataclass(frozen=True, kw_only=True)
class Difficulty(PromptSampler):
    """Draws problems whose pass rate is near a target, where a group has most signal (experimental).

    A problem's rate is what was right when it was last sampled, held to that of its source and level. It is drawn with
    a weight of exp(−((rate − target)/width)²/2), and a share of draws is uniform.
    """

    target: Rate = 0.5
    """The pass rate that is wanted."""
    width: Annotated[float, Field(ge=1e-6, le=1)] = 0.1
    """How far from it a pass rate still has 61% of the weight."""
    window: PositiveInt = 10
    """Steps whose outcomes count for sources and levels: the policy moves on."""
    explore: Rate = 0.1
    """Share of the draws that are uniform over all problems."""

    def choose(self, step: int, ledger: Ledger) -> list[Draw]:
        """Return a weighted draw without replacement (Gumbel's way: the largest of log weight + noise), and others."""
        count, rng = ledger.config.sampling.prompts_per_step, generator(ledger.config.seed, "difficulty", step)
        rates = expected_rates(ledger, window=self.window)
        keys = -(((rates - self.target) / self.width) ** 2) / 2 + rng.gumbel(size=len(rates))
        near = np.argsort(-keys, kind="stable")[: count - round(self.explore * count)]
        rest = np.setdiff1d(rng.permutation(len(rates)), near, assume_unique=True)
        return [ledger.draw(ledger.problems[i]) for i in [*near, *rest][:count]]


def expected_rates(ledger: Ledger, *, window: int) -> np.ndarray:
    """Return float64 [P]: the pass rate to expect of each problem.

    What was right when it was last sampled is held to the rate of its source and level in the last `window` steps, and
    this to the rate of all then: who was never sampled is expected to be as its like.
    """
    recent = ledger.totals(since=max(1, ledger.upto - window + 1))
    newest = {name: (visits[-1].right, visits[-1].decided) for name, visits in ledger.history().items()}
    cells = [(problem.source, problem.level) for problem in ledger.problems]
    sums: dict[tuple[str, str], np.ndarray] = {cell: np.zeros(2) for cell in cells}
    for problem, cell in zip(ledger.problems, cells, strict=True):
        sums[cell] = sums[cell] + recent.get(problem.id, (0, 0))
    overall = _held(sum(sums.values(), np.zeros(2)), 0.5)
    rates = {cell: _held(counts, overall) for cell, counts in sums.items()}
    return np.array([_held(newest.get(p.id, (0, 0)), rates[c]) for p, c in zip(ledger.problems, cells, strict=True)])


def _held(counts: Sequence[float] | np.ndarray, prior: float) -> float:
    """Return the share of (right, decided), held to a prior by `STRENGTH` responses."""
    return float((counts[0] + STRENGTH * prior) / (counts[1] + STRENGTH))


@dataclass(frozen=True, kw_only=True)
class NoPositiveResampling(Pooled):
    """ScaleRL's (arXiv 2510.13786): a problem whose pass rate over all its responses is high never comes again."""

    rate: Share = 0.9
    """The pass rate from which on a problem is left out of the epochs that follow."""

    def since(self, step: int, ledger: Ledger) -> tuple[int, Sequence[Problem]]:
        """Return the epoch's begin, and the problems that were not yet solved then."""
        first, pool = 1, list(ledger.problems)
        while pool and step >= first + steps_of(pool, ledger)[1]:
            first += steps_of(pool, ledger)[1]
            rates = ledger.before(first).rates()
            pool = [problem for problem in pool if rates.get(problem.id, 0.0) < self.rate]
        return first, pool


@dataclass(frozen=True, kw_only=True)
class LIM(Pooled):
    """LIMR's selection (arXiv 2502.11886): problems whose learning curve follows the mean one, after some epochs.

    The paper measures in one run and trains anew on what was selected: name that run by `run`. Without it the run
    itself goes through all problems first, and then on with the selected ones (experimental).
    """

    epochs: PositiveInt = 21
    """Epochs over all problems that are measured, where no run is named."""
    threshold: Annotated[float, Field(le=1)] = 0.6
    """Alignment from which on a problem is selected."""
    run: str = ""
    """Directory of a run over the same problems that is measured instead; it must stay as it is."""

    def check(self, config: Config, problems: Sequence[Problem]) -> None:
        """Raise RunError or DataError where the named run cannot be measured."""
        if self.run:
            _measured(self.run)

    def since(self, step: int, ledger: Ledger) -> tuple[int, Sequence[Problem]]:
        """Return all problems while they are measured, then those that were selected."""
        per_epoch = steps_of(ledger.problems, ledger)[1]
        first = 1 if self.run else self.epochs * per_epoch + ledger.lag + 1
        if step < first:
            return 1, ledger.problems
        curves = _measured(self.run) if self.run else _curves(ledger.visits, per_epoch, self.epochs)
        scores = alignment(curves)
        return first, [p for p in ledger.problems if scores.get(p.id, -math.inf) >= self.threshold]


def _curves(visits: Callable[[int], Mapping[str, Visit]], per_epoch: int, epochs: int) -> list[dict[str, float]]:
    """Return problem → share right, of each of the first epochs."""
    curves: list[dict[str, float]] = []
    for epoch in range(epochs):
        steps = range(epoch * per_epoch + 1, (epoch + 1) * per_epoch + 1)
        seen = [item for step in steps for item in visits(step).items()]
        curves.append({name: visit.right / visit.decided for name, visit in seen if visit.decided})
    return curves


@functools.cache
def _measured(path: str) -> list[dict[str, float]]:
    """Return the curves of another run over its complete epochs."""
    run = Run(path)
    epochs = run.history("data/epoch")[1]
    if not len(epochs) or epochs[-1] < 1:
        raise DataError(f"sampler.run = {path!r} has not gone through its problems once; name a longer run")
    return _curves(lambda step: run.records(step).visits(step), round(1 / epochs[0]), int(epochs[-1]))


def alignment(epochs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return problem → s = 1 − Σₖ(rᵏ − r̄ᵏ)²/Σₖ(1 − r̄ᵏ)², from its share right rᵏ in each epoch k.

    An isolated gap takes the next epoch's value; who is missing twice in a row, or at the end, is not in the result.
    Where everything was right in every epoch there is nothing to follow: 0.
    """
    means = [float(np.mean(list(epoch.values()))) if epoch else 1.0 for epoch in epochs]
    scale = sum((1 - mean) ** 2 for mean in means)
    scores = {}
    for name in dict.fromkeys(name for epoch in epochs for name in epoch):
        curve = [epoch.get(name, after.get(name)) for epoch, after in zip(epochs, [*epochs[1:], {}], strict=True)]
        values = [value for value in curve if value is not None]
        if len(values) == len(curve):
            gaps = sum((value - mean) ** 2 for value, mean in zip(values, means, strict=True))
            scores[name] = 1 - gaps / scale if scale else 0.0
    return scores
