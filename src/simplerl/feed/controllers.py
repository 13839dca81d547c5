"""Samplers that steer temperature and samples too, or go by what was solved: `--sampler.name`, or a controller's name.

query-effect   every so many steps the temperature with the highest mean query effect on a fixed subset of the training
               problems, by B-STaR's search (arXiv 2412.17256) over `star.temperatures`
e3             E3-RL4LLMs (arXiv 2505.18573): a temperature that holds the entropy of the first step, and more samples
               for the problems that were solved least
adastar        AdaSTaR (arXiv 2505.16322): the problems that were sampled longest ago, then those solved least
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from simplerl.config.sections import PositiveInt
from simplerl.core.seeds import generator
from simplerl.core.types import Draw
from simplerl.feed.ledger import Ledger
from simplerl.feed.samplers import Epoch, PromptSampler

if TYPE_CHECKING:
    from simplerl.feed.feed import Feed

#: Temperatures that E3 stays within.
COLDEST, HOTTEST = 0.2, 2.0


@dataclass(frozen=True, kw_only=True)
class QueryEffect(Epoch):
    """The epoch's problems, at the temperature that the newest search has chosen."""

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
    """Steers the entropy by the temperature, and gives hard problems more samples from the second epoch on."""

    steers_temperature: ClassVar[bool] = True
    follows_steps: ClassVar[bool] = True

    def choose(self, step: int, ledger: Ledger) -> list[Draw]:
        """Return the epoch's problems at the temperature of the step."""
        draws, temperature = super().choose(step, ledger), ledger.config.sampling.temperature
        if ledger.upto:
            before, first = ledger.metrics(ledger.upto), ledger.metrics(1)
            temperature = before["controller/temperature"]
            if "policy/entropy" in before and "policy/entropy" in first:
                target = e3_target(first["policy/entropy"], step, ledger.config.steps)
                temperature = e3_temperature(temperature, before["policy/entropy"], target, ledger.vocabulary)
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
    """Takes the problems of the lowest keys, in a seeded order where they are equal."""

    def choose(self, step: int, ledger: Ledger) -> list[Draw]:
        """Return those sampled longest ago, then those solved least."""
        steps = (ledger.visits(earlier) for earlier in range(1, ledger.upto + 1))
        keys = adastar_keys([{name: (v.right, v.decided) for name, v in visits.items()} for visits in steps])
        order = generator(ledger.config.seed, "adastar").permutation(len(ledger.problems))
        problems = sorted((ledger.problems[i] for i in order), key=lambda problem: keys.get(problem.id, (0, 0.0)))
        return [ledger.draw(problem) for problem in problems[: ledger.config.sampling.prompts_per_step]]
