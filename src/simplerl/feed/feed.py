"""The feed: a step's groups of responses. Which problems, sampled and judged, and those replaced that teach nothing.

Everything is a function of (seed, step): resuming needs no state. Dynamic sampling is DAPO's (arXiv 2503.14476, §3.2):
a problem whose rewards are all equal has no advantage; it is dropped and a further problem is drawn in its place, round
by round. Which one is a function of (seed, step, round) and of what was drawn before in the step.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from simplerl.config.sections import Config
from simplerl.core.errors import ConfigError
from simplerl.core.seeds import generator
from simplerl.core.types import Completion, TrajectoryGroup
from simplerl.rollout.groups import Prompted, Rollout

T = TypeVar("T")


class Sampler(Generic[T]):
    """Goes through the problems (or demonstrations) in a fresh order every epoch.

    An epoch is ⌊N / P⌋ steps, so that no problem comes twice in a step; the few problems left over at its end differ
    from epoch to epoch. Steps count from 1. The addresses of the draws count them from 0, as runs always have.
    """

    def __init__(self, problems: Sequence[T], *, per_step: int, seed: int):
        if len(problems) < per_step:
            raise ConfigError(
                f"sampling.prompts_per_step = {per_step}, but there are only {len(problems)} training problems; "
                f"set --sampling.prompts-per-step {len(problems)} or give more data"
            )
        self.problems, self.per_step, self.seed = problems, per_step, seed
        self.steps_per_epoch = len(problems) // per_step

    def at(self, step: int) -> list[T]:
        """Return the problems of a step."""
        return [self.problems[i] for i in self.indices(step)]

    def indices(self, step: int) -> list[int]:
        """Return the indices of a step's problems in the list of all."""
        epoch, position = divmod(step - 1, self.steps_per_epoch)
        order = generator(self.seed, "order", epoch).permutation(len(self.problems))
        return order[position * self.per_step : (position + 1) * self.per_step].tolist()

    def more(self, step: int, round: int, count: int, seen: set[int]) -> list[int]:
        """Return the indices of up to `count` further problems for a round of a step, none of those in `seen`."""
        order = generator(self.seed, "refill", step - 1, round).permutation(len(self.problems))
        return [int(i) for i in order if int(i) not in seen][:count]

    def epoch(self, step: int) -> float:
        """Return how many epochs are done after a step."""
        return step / self.steps_per_epoch


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is sampled in a step, and how."""

    indices: list[int]
    """Of the problems, in the sampler's list."""
    temperature: float
    samples: list[int] = field(default_factory=list)
    """Responses to each; empty: those of the rollout."""
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class StepGroups:
    """What was sampled in a step."""

    kept: list[TrajectoryGroup] = field(default_factory=list)
    """The groups to learn from."""
    dropped: list[TrajectoryGroup] = field(default_factory=list)
    """Groups without signal that dynamic sampling has replaced; recorded all the same."""
    metrics: dict[str, float] = field(default_factory=dict)
    temperature: float = 1.0
    """At which they were sampled: what the update scores them at."""

    @property
    def all(self) -> list[TrajectoryGroup]:
        """Every group, those to learn from first."""
        return [*self.kept, *self.dropped]


class Feed:
    """Gives each step its groups."""

    def __init__(
        self,
        config: Config,
        sampler: Sampler[Prompted],
        rollout: Rollout,
        on_response: Callable[[Completion], None] = lambda completion: None,
        plan: Callable[[int], Plan] | None = None,
    ):
        """`on_response` is called for every response as it finishes; `plan` says what a step samples."""
        self.plan = plan or (lambda step: Plan(indices=sampler.indices(step), temperature=config.sampling.temperature))
        self.config, self.sampler, self.rollout, self.on_response = config, sampler, rollout, on_response
        self.responses = config.sampling.prompts_per_step * rollout.samples
        """Responses of a step, unless problems are replaced."""

    def take(self, step: int) -> StepGroups:
        """Return the groups of step `step` (the first is 1): sampled, judged and rewarded.

        There are as many groups to learn from as `prompts_per_step` asks for, or fewer where the rounds or the problems
        have run out; where all are without signal, the first are kept, so that a step always has something to record.
        """
        wanted, rounds = self.config.sampling.prompts_per_step, self.config.algorithm.refill_rounds
        kept: list[TrajectoryGroup] = []
        dropped: list[TrajectoryGroup] = []
        seen: set[int] = set()
        plan = self.plan(step)
        round, indices = 0, plan.indices
        while indices:
            seen |= set(indices)
            for group in self._sample(indices, plan, step, round):
                (kept if not rounds or has_signal(group) else dropped).append(group)
            if round == rounds or len(kept) >= wanted:
                break
            round += 1
            indices = self.sampler.more(step, round, wanted - len(kept), seen)
        metrics: dict[str, float] = {"groups/dropped": len(dropped), "groups/rounds": round} if rounds else {}
        metrics |= plan.metrics
        if not kept:
            kept, dropped = dropped[:wanted], dropped[wanted:]
        return StepGroups(kept=kept, dropped=dropped, metrics=metrics, temperature=plan.temperature)

    def _sample(self, indices: Sequence[int], plan: Plan, step: int, round: int) -> list[TrajectoryGroup]:
        problems = [self.sampler.problems[i] for i in indices]
        groups = at(self.rollout, plan.temperature).sample_groups(
            problems,
            purpose="train",
            step=step,
            samples=() if round else plan.samples,
            on_response=self.on_response,
        )
        if self.config.shuffle_rewards:
            return shuffle_rewards(groups, seed=self.config.seed, step=step, round=round)
        return groups


def at(rollout: Rollout, temperature: float) -> Rollout:
    """Return a rollout at another temperature."""
    return dataclasses.replace(rollout, sampling=dataclasses.replace(rollout.sampling, temperature=temperature))


def has_signal(group: TrajectoryGroup) -> bool:
    """Return whether the group's decided responses have different rewards."""
    return len({t.reward for t in group.trajectories if t.verdict.decided}) > 1


def shuffle_rewards(
    groups: Sequence[TrajectoryGroup], *, seed: int, step: int, round: int = 0
) -> list[TrajectoryGroup]:
    """Return the groups with rewards permuted among their decided responses: the control with nothing to learn."""
    rewards = np.array([t.reward for group in groups for t in group.trajectories if t.verdict.decided])
    shuffled = iter(generator(seed, "shuffle-rewards", step, *([round] if round else [])).permutation(rewards).tolist())
    return [
        dataclasses.replace(
            group,
            trajectories=tuple(
                dataclasses.replace(t, reward=next(shuffled)) if t.verdict.decided else t for t in group.trajectories
            ),
        )
        for group in groups
    ]
