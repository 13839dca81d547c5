"""Samplers that adapt: to what was solved, in stages, and by steering temperature and samples.

Each is a published method (docs/methods.md), a class by itself. `query-effect`, `e3` and `adastar` are names of
`sampling.controller` too.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from pydantic import Field

from simplerl.config.sections import Config, NonNegativeInts, PositiveInt, PositiveInts, Rate, Share, Strings
from simplerl.core.errors import ConfigError, DataError
from simplerl.core.seeds import generator
from simplerl.core.types import Draw, Problem
from simplerl.feed.samplers import Epoch, Ledger, Pooled, PromptSampler, drawn, epoch_steps
from simplerl.runs.directory import read_metrics
from simplerl.runs.responses import Visit
from simplerl.runs.run import Run

if TYPE_CHECKING:
    from simplerl.feed.feed import Feed

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
        while pool and step >= first + epoch_steps(pool, ledger):
            first += epoch_steps(pool, ledger)
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
        per_epoch = epoch_steps(ledger.problems, ledger)
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


# -- curricula: stages, each with its own problems, samples or length of responses -------------------------------------

#: What stands for all problems where a stage names those that it has.
ALL = "all"


@dataclass(frozen=True, kw_only=True)
class Curriculum(Pooled):
    """A stage after the other, each with its own problems, samples and length of responses; the last one goes on.

    A list has an entry for each stage, or none. What is dropped at a stage does not come back.
    """

    stage_steps: PositiveInts = ()
    """Steps of every stage but the last."""
    sources: Strings = ()
    """What each stage goes through: data sources or levels (several as a|b), or `all`."""
    lengths: PositiveInts = ()
    """Length at which a stage's responses are truncated; none may be above sampling.max_new_tokens."""
    samples: PositiveInts = ()
    """Responses to each problem of a stage."""
    sizes: NonNegativeInts = ()
    """Problems of each stage, those of the lowest pass rate in the stage before; 0: all of it."""
    solved: Rate = 1.0
    """Pass rate in the stage before above which a problem is dropped."""
    drop_from: Annotated[int, Field(ge=2)] = 2
    """The first stage (they count from 1) that drops what is solved."""
    refresh: bool = False
    """Whether, where a stage begins, the policy becomes the reference of the KL and the optimizer begins anew."""

    def __post_init__(self) -> None:
        stages = len(self.stage_steps) + 1
        for name in ("sources", "lengths", "samples", "sizes"):
            if len(value := getattr(self, name)) not in (0, stages):
                raise ConfigError(
                    f"sampler.{name} has {len(value)} entries for {stages} stages: sampler.stage_steps gives the "
                    "steps of every stage but the last"
                )

    def check(self, config: Config, problems: Sequence[Problem]) -> None:
        """Raise DataError for a source of which there is no problem, ConfigError for what the run cannot do."""
        names = {name for problem in problems for name in _domains(problem)}
        for name in (name for sources in self.sources for name in sources.split("|")):
            if name not in names:
                raise DataError(
                    f"sampler.sources: no training problem is of {name!r}; there are {', '.join(sorted(names))}"
                )
        if max(self.lengths, default=0) > (most := config.sampling.max_new_tokens):
            raise ConfigError(
                f"sampler.lengths goes up to {max(self.lengths)}, above sampling.max_new_tokens = {most}, for which "
                "room is kept in the context; raise the latter, or give shorter --sampler.lengths"
            )
        if self.refresh and config.lora.rank and config.algorithm.needs_reference:
            raise ConfigError(
                "sampler.refresh: a policy with adapters (lora.rank) has the model below them as its reference, which "
                "cannot become the policy; give --sampler.refresh false, or no KL"
            )

    def first(self, index: int) -> int:
        """Return the first step of a stage."""
        return 1 + sum(self.stage_steps[:index])

    def stage(self, step: int) -> int:
        """Return the index of the stage of a step."""
        return sum(step >= self.first(index) for index in range(1, len(self.stage_steps) + 1))

    def since(self, step: int, ledger: Ledger) -> tuple[int, Sequence[Problem]]:
        """Return the stage's first step and its problems, as they were settled then.

        One that was not sampled in the stage before is not solved, and not among the hardest.
        """
        stage = self.stage(step)
        wanted = set(self.sources[stage].split("|") if self.sources else [ALL])
        problems = [problem for problem in ledger.problems if _domains(problem) & wanted]
        for index in range(1, stage + 1):
            rates = ledger.before(self.first(index)).rates(since=self.first(index - 1))
            if index + 1 >= self.drop_from:
                problems = [p for p in problems if rates.get(p.id, 0.0) <= self.solved]
            if self.sizes and self.sizes[index]:
                hardest = {p.id for p in sorted(problems, key=lambda p: rates.get(p.id, 2.0))[: self.sizes[index]]}
                problems = [p for p in problems if p.id in hardest]
        return self.first(stage), problems

    def draw(self, problem: Problem, step: int, ledger: Ledger) -> Draw:
        """Return a draw with the stage's number of samples."""
        return ledger.draw(problem, **({"samples": self.samples[self.stage(step)]} if self.samples else {}))

    def max_new_tokens(self, step: int, ledger: Ledger) -> int:
        return self.lengths[self.stage(step)] if self.lengths else super().max_new_tokens(step, ledger)

    def refreshes(self, step: int) -> bool:
        return self.refresh and step > 1 and step == self.first(self.stage(step))

    def prepare(self, step: int, ledger: Ledger, feed: "Feed") -> Mapping[str, float]:
        """Return the stage (the first is 1) and how many problems it has."""
        return {"sampler/stage": self.stage(step) + 1, **super().prepare(step, ledger, feed)}


def _domains(problem: Problem) -> set[str]:
    return {ALL, problem.source, problem.level} - {""}


@dataclass(frozen=True, kw_only=True)
class AceReason(Curriculum):
    """AceReason's stages (arXiv 2505.16400): longer responses by and by, solved problems dropped, mathematics first."""

    stage_steps: PositiveInts = (100, 100, 100)
    lengths: PositiveInts = (8192, 16384, 24576, 32768)
    solved: Rate = 6 / 16
    drop_from: Annotated[int, Field(ge=2)] = 3


@dataclass(frozen=True, kw_only=True)
class Drive(Curriculum):
    """DRIVE's stages (arXiv 2511.06307): all problems with few samples, then ever fewer of the hardest with many."""

    stage_steps: PositiveInts = (32, 32, 32)
    samples: PositiveInts = (8, 64, 64, 80)
    sizes: NonNegativeInts = (0, 72, 50, 25)


@dataclass(frozen=True, kw_only=True)
class Domains(Curriculum):
    """A domain after the other, the policy refreshed between them."""

    refresh: bool = True


#: Variant of a problem → the next one where it is solved, and where it is not; None: the family is done.
WE_MATH: dict[str, tuple[str | None, str | None]] = {
    "base": ("x", None),
    "x": ("xy", "y"),
    "y": ("xy", None),
    "xy": ("xz", "z"),
    "z": ("xz", None),
    "xz": ("xyz", "yz"),
    "yz": ("xyz", None),
    "xyz": (None, None),
}


@dataclass(frozen=True, kw_only=True)
class WeMath(PromptSampler):
    """We-Math 2.0's schedule (arXiv 2508.10433): base → x → xy → xz → xyz, and simpler variants after a failure.

    Problems have the columns `family` and `variant` (base, x, y, z, xy, xz, yz, xyz). After a failure base ends the
    family, x goes to y, xy to z, xz to yz. What follows y, z and yz the paper does not say (experimental): they go on
    to xy, xz and xyz where they are solved, and end the family where they are not. A variant that a family lacks counts
    as solved.
    """

    solved: Rate = 0.5
    """Share right from which on a problem counts as solved."""

    def check(self, config: Config, problems: Sequence[Problem]) -> None:
        """Raise DataError for a problem that is not of a family."""
        for problem in problems:
            family, variant = _family(problem)
            if not family or variant not in WE_MATH:
                raise DataError(
                    f"problem {problem.id!r}: the sampler we-math wants a column `family`, and `variant` as one of "
                    f"{', '.join(WE_MATH)}; got {family!r} and {variant!r}"
                )

    def pool(self, step: int, ledger: Ledger) -> list[Problem]:
        """Return the problem at which each family is; families that are done have none."""
        families: dict[str, dict[str, Problem]] = {}
        for problem in ledger.problems:
            family, variant = _family(problem)
            families.setdefault(family, {})[variant] = problem
        history = ledger.history()
        return [at for members in families.values() if (at := self._at(members, history)) is not None]

    def prepare(self, step: int, ledger: Ledger, feed: "Feed") -> Mapping[str, float]:
        """Return how many families are not done, and the mean number of letters of the variants at which they are."""
        pool = self.pool(step, ledger)
        letters = [len(variant) * (variant != "base") for _, variant in map(_family, pool)]
        return {"sampler/pool": len(pool), "sampler/variant": sum(letters) / max(1, len(pool))}

    def _at(self, members: Mapping[str, Problem], history: Mapping[str, Sequence[Visit]]) -> Problem | None:
        """Return the first problem on a family's way that has not been judged yet; None where the family is done."""
        variant: str | None = "base"
        while variant is not None:
            solved = True
            if problem := members.get(variant):
                visit = next((v for v in history.get(problem.id, ()) if v.decided), None)
                if visit is None:
                    return problem
                solved = visit.right / visit.decided >= self.solved
            variant = WE_MATH[variant][not solved]
        return None

    def choose(self, step: int, ledger: Ledger) -> list[Draw]:
        return [ledger.draw(problem) for problem in drawn(self.pool(step, ledger), ledger, "we-math", step)]


def _family(problem: Problem) -> tuple[str, str]:
    return str(problem.meta.get("family", "")), str(problem.meta.get("variant", ""))


# -- temperature and samples, and the problems of the lowest keys ------------------------------------------------------

#: Temperatures that E3 stays within.
COLDEST, HOTTEST = 0.2, 2.0


@dataclass(frozen=True, kw_only=True)
class QueryEffect(Epoch):
    """The epoch's problems, at the temperature that the newest search has chosen: B-STaR's (arXiv 2412.17256)."""

    steers_temperature: ClassVar[bool] = True

    every: PositiveInt = 10
    """Steps between two searches."""

    def prepare(self, step: int, ledger: Ledger, feed: "Feed") -> Mapping[str, float]:
        """Search, where it is time to; the surface is written down."""
        if (step - 1) % self.every:
            return {}
        from simplerl.feed.search import search, subset_of

        star, s = ledger.config.star, ledger.config.sampling
        subset = subset_of(feed.prompted, star.subset, ledger.config.seed)
        wanted = star.wanted or -(-s.samples_per_prompt // 2)
        choice, tokens = search(star, feed.rollout, subset, wanted, step, ledger.path, feed.on_response)
        return {"controller/search_tokens": tokens, "controller/query_effect": choice.query_effect}

    def choose(self, step: int, ledger: Ledger) -> list[Draw]:
        temperature = ledger.searched(step - (step - 1) % self.every)["temperature"]
        return [replace(draw, temperature=temperature) for draw in super().choose(step, ledger)]


def e3_temperature(temperature: float, entropy: float, target: float, vocabulary: int) -> float:
    """Return T · (1 + T · ln(H*/H) / (ln V + ln ln V)), within bounds."""
    gap = math.log(max(target, 1e-6) / max(entropy, 1e-6)) / (math.log(vocabulary) + math.log(math.log(vocabulary)))
    return min(max(temperature * (1 + temperature * gap), COLDEST), HOTTEST)


def e3_target(first: float, step: int, steps: int) -> float:
    """Return H*: the entropy of the first step; in the last 40% of the steps it falls to 0.9 of it along a cosine."""
    done = max(0.0, (step / steps - 0.6) / 0.4)
    return first * (0.9 + 0.1 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))


def e3_allocation(shares: Sequence[float], total: int, low: int, high: int) -> list[int]:
    """Return how often to sample each problem of a step, from the share of it that was right when last sampled.

    nᵢ = ⌊low + (total − Σ low) · rankᵢ / Σ rank⌋, rank 1 for the easiest, at most `high`; what is left goes to the
    hardest first.
    """
    hardest = sorted(range(len(shares)), key=lambda i: (shares[i], i))
    rank = {i: len(shares) - place for place, i in enumerate(hardest)}
    spare, ranks = total - low * len(shares), sum(rank.values())
    counts = [min(high, low + spare * rank[i] // ranks) for i in range(len(shares))]
    for i in hardest:
        counts[i] += min(high - counts[i], total - sum(counts))
    return counts


@dataclass(frozen=True, kw_only=True)
class E3(Epoch):
    """E3-RL4LLMs (arXiv 2505.18573): a temperature that holds the first step's entropy, more samples for hard problems.

    A step without a gradient has none and moves nothing. Samples follow what was right when a problem was last sampled,
    from the second epoch on.
    """

    steers_temperature: ClassVar[bool] = True
    follows_steps: ClassVar[bool] = True

    def choose(self, step: int, ledger: Ledger) -> list[Draw]:
        """Return the epoch's problems at the temperature of the step."""
        draws, temperature = super().choose(step, ledger), ledger.config.sampling.temperature
        if ledger.upto:
            lines = read_metrics(ledger.path)[1 : ledger.upto + 1]
            temperature = lines[-1]["controller/temperature"]
            entropies = [line["policy/entropy"] for line in lines if "policy/entropy" in line]
            if "policy/entropy" in lines[-1]:  # A step without a gradient has none: the first that has says the target.
                target = e3_target(entropies[0], step, ledger.config.steps)
                temperature = e3_temperature(temperature, entropies[-1], target, ledger.vocabulary)
        n, counts = ledger.config.sampling.samples_per_prompt, [draw.samples for draw in draws]
        newest = {name: visits[-1] for name, visits in ledger.history().items()}
        if all(draw.problem.id in newest for draw in draws):
            visits = [newest[draw.problem.id] for draw in draws]
            shares = [visit.right / max(visit.decided, 1) for visit in visits]
            counts = e3_allocation(shares, n * len(draws), n // 2, n + n // 2)
        return [replace(d, samples=count, temperature=temperature) for d, count in zip(draws, counts, strict=True)]


def adastar_keys(visits: Sequence[dict[str, tuple[int, int]]]) -> dict[str, tuple[int, float]]:
    """Return problem → (step last sampled, share right then) after some steps; unseen ones are not in it.

    Of the m problems of a step, in their order, only the first round(m · accuracy²) get a new key: a weak model goes on
    with the problems it has just seen, a strong one turns to others.
    """
    keys: dict[str, tuple[int, float]] = {}
    for step, outcomes in enumerate(visits, 1):
        # Of a step in which every prompt had a prefix there are no outcomes.
        right, decided = (sum(each) for each in zip((0, 0), *outcomes.values(), strict=True))
        renewed = round(len(outcomes) * (right / max(decided, 1)) ** 2)
        for name, (own, judged) in list(outcomes.items())[:renewed]:
            keys[name] = (step, own / max(judged, 1))
    return keys


@dataclass(frozen=True, kw_only=True)
class AdaStaR(PromptSampler):
    """AdaSTaR (arXiv 2505.16322): the problems of the lowest keys, in a seeded order where they are equal."""

    def choose(self, step: int, ledger: Ledger) -> list[Draw]:
        """Return those sampled longest ago, then those solved least."""
        steps = (ledger.visits(earlier) for earlier in range(1, ledger.upto + 1))
        keys = adastar_keys([{name: (v.right, v.decided) for name, v in visits.items()} for visits in steps])
        order = generator(ledger.config.seed, "adastar").permutation(len(ledger.problems))
        problems = sorted((ledger.problems[i] for i in order), key=lambda problem: keys.get(problem.id, (0, 0.0)))
        return [ledger.draw(problem) for problem in problems[: ledger.config.sampling.prompts_per_step]]
