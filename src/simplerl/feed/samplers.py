"""Prompt samplers: what a step asks for. Each is a pure function of (seed, step, ledger), so that resume is exact.

@simplerl.register("sampler", "hardest")
@dataclass(frozen=True, kw_only=True)
class Hardest(PromptSampler):
    def choose(self, step, ledger):
        rates = ledger.rates()
        problems = sorted(ledger.problems, key=lambda problem: rates.get(problem.id, 0.5))
        return [ledger.draw(problem) for problem in problems[: ledger.config.sampling.prompts_per_step]]

Here are the ledger that they go by, the base class, those that go by nothing else than the step, and what a feed asks
them; `adaptive.py` has those that go by what was solved.
"""

import copy
import functools
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from simplerl.config.sections import Config, NonNegativeInt
from simplerl.core.errors import DataError, RunError
from simplerl.core.registry import registry
from simplerl.core.seeds import derive, generator
from simplerl.core.types import Draw, Problem
from simplerl.runs.responses import Visit
from simplerl.runs.run import Run

if TYPE_CHECKING:
    from simplerl.feed.feed import Feed

T = TypeVar("T")


class Ledger:
    """What came of every problem up to the step `upto`, the problems and the settings: all that a choice may depend on.

    It has no state of its own. Everything is read from what the run has recorded, when a sampler asks for it: a run
    that was killed and resumed sees what it saw before. Each step's file is read once.
    """

    def __init__(
        self,
        config: Config,
        problems: Sequence[Problem],
        path: Path,
        *,
        vocabulary: int = 0,
        read: Callable[[int], Mapping[str, Visit]] | None = None,
    ):
        """`path` is the run directory, `vocabulary` the number of tokens; `read` is for tests: step → its visits."""
        self.config, self.problems, self.path, self.vocabulary = config, problems, path, vocabulary
        self.upto = 0  # The last step that is seen
        self.lag = config.rollout.lag
        """Steps that rollouts may be ahead of training, so that their outcomes are not known when one is chosen."""
        self._totals: dict[int, dict[str, tuple[int, int]]] = {
            0: {}
        }  # Step → `totals` up to it: each step is added once
        self._read = functools.cache(read or (lambda step: Run(path).records(step).visits(step)))

    def before(self, step: int) -> "Ledger":
        """Return the ledger as the choice for a step sees it: up to the step before, and less by the rollouts' lag."""
        return self.at(step - 1 - self.lag)

    def at(self, step: int) -> "Ledger":
        """Return the ledger up to a step, that step among it."""
        view = copy.copy(self)
        view.upto = max(0, step)
        return view

    def draw(self, problem: Problem, **over: Any) -> Draw:
        """Return the draw of a problem as the settings have it: samples, temperature; `over` says what is otherwise."""
        s = self.config.sampling
        return Draw(problem, **{"samples": s.samples_per_prompt, "temperature": s.temperature, **over})

    def visits(self, step: int) -> Mapping[str, Visit]:
        """Return problem → what came of it in a step, in the order in which they were sampled."""
        if not 1 <= step <= self.upto:
            raise IndexError(f"the ledger goes from step 1 to {self.upto}; step {step} is not in it")
        return self._read(step)

    def totals(self, *, since: int = 1) -> dict[str, tuple[int, int]]:
        """Return problem → (right, decided) of its responses from a step on; who was not sampled is not in it."""
        start = max(step for step in self._totals if step <= self.upto) if since <= 1 else since - 1
        sums = dict(self._totals[start]) if since <= 1 else {}
        for step in range(start + 1, self.upto + 1):
            for name, visit in self.visits(step).items():
                right, decided = sums.get(name, (0, 0))
                sums[name] = (right + visit.right, decided + visit.decided)
        return self._totals.setdefault(self.upto, sums) if since <= 1 else sums

    def rates(self, *, since: int = 1) -> dict[str, float]:
        """Return problem → share right of its decided responses from a step on; those without one are not in it."""
        return {name: right / decided for name, (right, decided) in self.totals(since=since).items() if decided}

    def history(self) -> dict[str, list[Visit]]:
        """Return problem → its visits, oldest first; problems that were never sampled are not in it."""
        history: dict[str, list[Visit]] = {}
        for step in range(1, self.upto + 1):
            for name, visit in self.visits(step).items():
                history.setdefault(name, []).append(visit)
        return history

    def searched(self, step: int) -> dict[str, float]:
        """Return the point that the search of a step has chosen (`feed/search.py`)."""
        chosen = next((each["chosen"] for each in Run(self.path).searches if each["step"] == step), None)
        if chosen is None:
            raise RunError(f"{self.path}/star lacks the search of step {step}, whose temperature goes on: start anew")
        return chosen


class Sampler(Generic[T]):
    """Goes through the problems (or demonstrations) in a fresh order every epoch.

    An epoch is ⌊N / P⌋ steps (where N < P, one of N), so that no problem comes twice in a step; the few problems left
    over at its end differ from epoch to epoch. Steps count from 1. The addresses of the draws count them from 0, as
    runs always have.
    """

    def __init__(self, problems: Sequence[T], *, per_step: int, seed: int):
        self.problems, self.per_step, self.seed = problems, min(per_step, len(problems)), seed
        self.steps_per_epoch = len(problems) // self.per_step

    def at(self, step: int) -> list[T]:
        """Return the problems of a step."""
        epoch, position = divmod(step - 1, self.steps_per_epoch)
        order = generator(self.seed, "order", epoch).permutation(len(self.problems))
        return [self.problems[i] for i in order[position * self.per_step : (position + 1) * self.per_step]]

    def epoch(self, step: int) -> float:
        """Return how many epochs are done after a step."""
        return step / self.steps_per_epoch


@dataclass(frozen=True, kw_only=True)
class PromptSampler:
    """Base of all prompt samplers; they define `choose`."""

    steers_temperature: ClassVar[bool] = False
    """Whether the temperature is its own choice, and a metric then. Self-training has another way to choose it."""
    follows_steps: ClassVar[bool] = False
    """Whether a choice depends on `config.steps`, so that a run cannot be resumed with another number."""
    rounds = 0
    """Rounds in which problems whose groups no gate lets through are replaced: a setting of some."""

    def choose(self, step: int, ledger: Ledger) -> list[Draw]:
        """Return what a step (the first is 1) samples first: each a problem of the ledger, none twice, all at one
        temperature."""
        raise NotImplementedError

    def pool(self, step: int, ledger: Ledger) -> Sequence[Problem]:
        """Return the problems that may replace others in a step."""
        return ledger.problems

    def draw(self, problem: Problem, step: int, ledger: Ledger) -> Draw:
        """Return how a problem is sampled in a step."""
        return ledger.draw(problem)

    def check(self, config: Config, problems: Sequence[Problem]) -> None:
        """Raise ConfigError or DataError for settings that do not go with those of other sections, or the problems."""

    def max_new_tokens(self, step: int, ledger: Ledger) -> int:
        """Return the length at which the responses of a step are truncated."""
        return ledger.config.sampling.max_new_tokens

    def refreshes(self, step: int) -> bool:
        """Return whether, before a step's update, the policy becomes the reference and the optimizer begins anew."""
        return False

    def prepare(self, step: int, ledger: Ledger, feed: "Feed") -> Mapping[str, float]:
        """Do what the choice for a step needs the policy for, and write it down; return metrics of it."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Epoch(PromptSampler):
    """Goes through the problems in a fresh order every epoch."""

    def choose(self, step: int, ledger: Ledger) -> list[Draw]:
        """Return the next problems of the epoch."""
        s, seed = ledger.config.sampling, ledger.config.seed
        return [ledger.draw(p) for p in Sampler(ledger.problems, per_step=s.prompts_per_step, seed=seed).at(step)]


@dataclass(frozen=True, kw_only=True)
class Refill(Epoch):
    """DAPO's dynamic sampling (arXiv 2503.14476, §3.2): problems without signal are replaced, round by round."""

    rounds: NonNegativeInt = 3
    """Rounds in which problems whose groups no gate lets through are replaced by further ones."""


@dataclass(frozen=True, kw_only=True)
class Pooled(PromptSampler):
    """Base of the samplers that go through a part of the problems, epoch by epoch; they define `since`."""

    def since(self, step: int, ledger: Ledger) -> tuple[int, Sequence[Problem]]:
        """Return the step from which on the pool is what it is in a step, and the pool."""
        raise NotImplementedError

    def pool(self, step: int, ledger: Ledger) -> Sequence[Problem]:
        return self.since(step, ledger)[1]

    def prepare(self, step: int, ledger: Ledger, feed: "Feed") -> Mapping[str, float]:
        """Return how many problems there are to choose from."""
        return {"sampler/pool": len(self.pool(step, ledger))}

    def choose(self, step: int, ledger: Ledger) -> list[Draw]:
        first, pool = self.since(step, ledger)
        if not pool:
            return []
        per_step, seed = ledger.config.sampling.prompts_per_step, derive(ledger.config.seed, "pool", first)
        order = Sampler(pool, per_step=per_step, seed=seed)
        return [self.draw(problem, step, ledger) for problem in order.at(step - first + 1)]


def epoch_steps(pool: Sequence[Problem], ledger: Ledger) -> int:
    """Return the steps in an epoch of a pool, which may be smaller than a step."""
    return max(1, len(pool) // ledger.config.sampling.prompts_per_step)


@dataclass(frozen=True, kw_only=True)
class Uniform(PromptSampler):
    """Draws a step's problems afresh, each with the same probability: some come back before others are seen."""

    def choose(self, step: int, ledger: Ledger) -> list[Draw]:
        """Return a draw without replacement within the step."""
        return [ledger.draw(p) for p in drawn(ledger.problems, ledger, "uniform", step)]


def drawn(items: Sequence[T], ledger: Ledger, purpose: str, step: int) -> list[T]:
    """Return as many items as a step has problems (or all that there are), in an order addressed by the step."""
    order = generator(ledger.config.seed, purpose, step).permutation(len(items))
    return [items[i] for i in order[: ledger.config.sampling.prompts_per_step]]


def prompt_sampler(config: Config) -> PromptSampler:
    """Return the sampler that a configuration names, be it as `sampling.controller`."""
    name = config.sampling.controller
    if name == "none":
        return config.sampler
    settings = {"every": config.sampling.controller_every} if name == "query-effect" else {}
    return registry("sampler")[name](**settings)


def chosen(sampler: PromptSampler, step: int, ledger: Ledger) -> list[Draw]:
    """Return what a sampler chooses for a step. Raises DataError where that cannot be sampled."""
    draws = sampler.choose(step, ledger)
    _check(sampler, draws, step, ledger)
    transformed = ledger.config.transform.apply(step, draws, ledger)
    _check(sampler, transformed, step, ledger)
    return transformed


def replacements(
    sampler: PromptSampler, step: int, round: int, count: int, seen: Set[str], ledger: Ledger
) -> list[Draw]:
    """Return draws of up to `count` further problems for a round of a step, none of those in `seen`."""
    pool = sampler.pool(step, ledger)
    order = generator(ledger.config.seed, "refill", step - 1, round).permutation(len(pool))
    return [sampler.draw(pool[i], step, ledger) for i in order if pool[i].id not in seen][:count]


def _check(sampler: PromptSampler, draws: Sequence[Draw], step: int, ledger: Ledger) -> None:
    name = registry("sampler").name_of(type(sampler)) or type(sampler).__name__
    said = f"step {step}: the sampler {name} chooses"
    kept = "The run is kept as it is after the step before"
    if not draws:
        raise DataError(
            f"{said} no problem: none of the {len(ledger.problems)} training problems is left for it. {kept}; give "
            "other settings of the sampler, or more problems, to a new run that starts from it (--model RUN)"
        )
    known, seen = {problem.id for problem in ledger.problems}, set[tuple[str, str]]()
    for draw in draws:
        key = (draw.problem.id, draw.prefix)
        if draw.problem.id not in known:
            raise DataError(f"{said} the problem {draw.problem.id!r}, which is not a training problem of this run")
        if key in seen:
            raise DataError(f"{said} the problem {draw.problem.id!r} twice{' with one prefix' * bool(draw.prefix)}")
        if draw.samples < 1 or draw.temperature <= 0:
            raise DataError(
                f"{said} {draw.samples} samples of {draw.problem.id!r} at temperature {draw.temperature:g}; both must "
                "be positive"
            )
        seen.add(key)
    if len(temperatures := {draw.temperature for draw in draws}) > 1:
        shown = ", ".join(f"{each:g}" for each in sorted(temperatures))
        raise DataError(f"{said} temperatures of {shown}: an update scores all its tokens at one")
