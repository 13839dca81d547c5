"""Controllers: what decides, step by step, which problems are sampled, how often, and at which temperature.

A controller is a pure function of (seed, step, what the run has recorded): it reads the lines of metrics and the
responses of the steps before from the run directory, so that a run that was killed goes on as if it had not been.

none           the sampler's problems, at `sampling.temperature`
query-effect   every `sampling.controller_every` steps the temperature with the highest mean query effect on a fixed
               subset of the training problems, by B-STaR's search (arXiv 2412.17256) over `star.temperatures`
e3             E3-RL4LLMs (arXiv 2505.18573): a temperature that holds the entropy of the first step, and more samples
               for the problems that were solved least
adastar        AdaSTaR (arXiv 2505.16322): the problems that were sampled longest ago, then those solved least
"""

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from simplerl.config.sections import Config
from simplerl.core.seeds import generator
from simplerl.core.types import UNDECIDED, Completion
from simplerl.feed.feed import Plan, Sampler
from simplerl.feed.search import search, subset_of
from simplerl.rollout.groups import Prompted, Rollout
from simplerl.runs.directory import read_metrics
from simplerl.runs.responses import ResponseFile

#: Temperatures that E3 stays within.
COLDEST, HOTTEST = 0.2, 2.0


class Planner:
    """Gives each step its plan, by the controller that `sampling.controller` names."""

    def __init__(
        self,
        config: Config,
        sampler: Sampler[Prompted],
        rollout: Rollout,
        path: Path,
        *,
        on_response: Callable[[Completion], None],
        vocabulary: int = 0,
    ):
        """`path` is the run directory; `vocabulary` the number of tokens, which E3 asks for."""
        self.config, self.sampler, self.rollout, self.path = config, sampler, rollout, path
        self.on_response, self.vocabulary = on_response, vocabulary
        self.control = CONTROLLERS[config.sampling.controller]
        self.outcomes = functools.cache(self._outcomes)

    def __call__(self, step: int) -> Plan:
        """Return the plan of a step; the first is 1."""
        return self.control(self, step)

    def recorded(self, step: int) -> dict[str, Any]:
        """Return the line of metrics of a step; 0 is the base model."""
        return read_metrics(self.path)[step]

    def _outcomes(self, step: int) -> dict[str, tuple[int, int]]:
        """Return problem → (right, decided) of the responses of a step, in the order in which it was sampled."""
        file = ResponseFile(self.path / "trajectories" / f"step_{step:06d}.parquet")
        counts: dict[str, tuple[int, int]] = {}
        for row in file.read(["problem_id", "verdict"]).to_pylist():
            right, decided = counts.get(row["problem_id"], (0, 0))
            status = row["verdict"]
            counts[row["problem_id"]] = (right + (status == "correct"), decided + (status not in UNDECIDED))
        return counts


def plain(planner: Planner, step: int, temperature: float | None = None, **metrics: float) -> Plan:
    """Plan the sampler's problems, each sampled alike."""
    at = planner.config.sampling.temperature if temperature is None else temperature
    measured = {} if temperature is None else {"controller/temperature": at}
    return Plan(indices=planner.sampler.indices(step), temperature=at, metrics=measured | metrics)


def query_effect(planner: Planner, step: int) -> Plan:
    """Search every so many steps; in between stay at the temperature of the step before."""
    config = planner.config
    if (step - 1) % config.sampling.controller_every:
        return plain(planner, step, planner.recorded(step - 1)["controller/temperature"])
    wanted = config.star.wanted or -(-config.sampling.samples_per_prompt // 2)
    subset = subset_of(planner.sampler, config.star.subset, config.seed)
    choice, tokens = search(config.star, planner.rollout, subset, wanted, step, planner.path, planner.on_response)
    measured = {"controller/search_tokens": tokens, "controller/query_effect": choice.query_effect}
    return plain(planner, step, choice.temperature, **measured)


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


def e3(planner: Planner, step: int) -> Plan:
    """Steer the entropy by the temperature, and give hard problems more samples from the second epoch on."""
    config, temperature = planner.config, planner.config.sampling.temperature
    if step > 1:
        before, first = planner.recorded(step - 1), planner.recorded(1)
        temperature = before["controller/temperature"]
        if "policy/entropy" in before and "policy/entropy" in first:
            target = e3_target(first["policy/entropy"], step, config.steps)
            temperature = e3_temperature(temperature, before["policy/entropy"], target, planner.vocabulary)
    plan = plain(planner, step, temperature)
    seen: dict[str, float] = {}
    for earlier in range(1, step):
        seen |= {name: right / max(decided, 1) for name, (right, decided) in planner.outcomes(earlier).items()}
    names = [planner.sampler.problems[i].problem.id for i in plan.indices]
    n = config.sampling.samples_per_prompt
    if all(name in seen for name in names):
        plan.samples.extend(e3_allocation([seen[name] for name in names], n * len(names), n // 2, n + n // 2))
    return plan


def adastar_keys(visits: Sequence[dict[str, tuple[int, int]]]) -> dict[str, tuple[int, float]]:
    """Return problem → (step last sampled, share right then) after some steps; unseen ones are not in it.

    Of the m problems of a step, in their order, only the first round(m · accuracy²) get a new key: a weak model goes on
    with the problems it has just seen, a strong one turns to others.
    """
    keys: dict[str, tuple[int, float]] = {}
    for step, outcomes in enumerate(visits, 1):
        right, decided = (sum(each) for each in zip(*outcomes.values(), strict=True))
        renewed = round(len(outcomes) * (right / max(decided, 1)) ** 2)
        for name, (own, judged) in list(outcomes.items())[:renewed]:
            keys[name] = (step, own / max(judged, 1))
    return keys


def adastar(planner: Planner, step: int) -> Plan:
    """Take the problems of the lowest keys, in a seeded order where they are equal."""
    sampler, seed = planner.sampler, planner.config.seed
    keys = adastar_keys([planner.outcomes(earlier) for earlier in range(1, step)])
    order = generator(seed, "adastar").permutation(len(sampler.problems)).tolist()
    order.sort(key=lambda i: keys.get(sampler.problems[i].problem.id, (0, 0.0)))
    return Plan(indices=order[: sampler.per_step], temperature=planner.config.sampling.temperature)


CONTROLLERS: dict[str, Callable[[Planner, int], Plan]] = {
    "none": plain,
    "query-effect": query_effect,
    "e3": e3,
    "adastar": adastar,
}
