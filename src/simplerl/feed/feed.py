"""The feed: a step's groups of responses. What the prompt sampler asks for, sampled, judged and rewarded.

Everything is a function of (seed, step, what is recorded): resuming needs no state. Dynamic sampling is DAPO's (arXiv
2503.14476, §3.2): a problem whose rewards are all equal has no advantage; it is dropped and a further problem is drawn
in its place, round by round. Which one is a function of (seed, step, round) and of what was drawn before in the step.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from simplerl.config.sections import Config
from simplerl.core.errors import DataError
from simplerl.core.seeds import generator
from simplerl.core.types import Completion, Draw, TrajectoryGroup
from simplerl.feed.ledger import Ledger
from simplerl.feed.samplers import PromptSampler, chosen, replacements
from simplerl.rollout.groups import Prompted, Rollout


@dataclass(frozen=True, kw_only=True, eq=False)
class StepGroups:
    """What was sampled in a step."""

    kept: list[TrajectoryGroup] = field(default_factory=list)
    """The groups to learn from."""
    dropped: list[TrajectoryGroup] = field(default_factory=list)
    """Groups that a gate, or dynamic sampling, keeps out of the update; recorded all the same."""
    metrics: dict[str, float] = field(default_factory=dict)
    temperature: float = 1.0
    """At which they were sampled: what the update scores them at."""
    trained: bool = True
    """False where no group has passed its gates: those that are kept are recorded, and nothing is learned."""

    @property
    def all(self) -> list[TrajectoryGroup]:
        """Every group, those to learn from first."""
        return [*self.kept, *self.dropped]


class Feed:
    """Gives each step its groups."""

    def __init__(
        self,
        config: Config,
        sampler: PromptSampler,
        prompted: Sequence[Prompted],
        rollout: Rollout,
        ledger: Ledger,
        on_response: Callable[[Completion], None] = lambda completion: None,
        room: int = 0,
    ):
        """`prompted` are the problems of the ledger as the model sees them, `on_response` is called for every response
        as it finishes, and `room` is how many tokens a prompt with its prefix may have (0: any number)."""
        self.config, self.sampler, self.rollout, self.ledger = config, sampler, rollout, ledger
        self.prompted, self.on_response, self.room = prompted, on_response, room
        self.by_id = {item.problem.id: item for item in prompted}
        if len(self.by_id) < len(prompted):
            often = Counter(item.problem.id for item in prompted).most_common(1)[0]
            raise DataError(f"{often[1]} training problems have the id {often[0]!r}; give each its own")
        self.responses = config.sampling.prompts_per_step * rollout.samples
        """Responses of a step, unless its sampler wants more or fewer."""

    def take(self, step: int) -> StepGroups:
        """Return the groups of step `step` (the first is 1): sampled, judged and rewarded.

        There are as many groups to learn from as `prompts_per_step` asks for, or fewer where the rounds or the problems
        have run out; where no group passes, the first are kept, so that a step always has something to record.
        """
        # In how many rounds problems are replaced is for the sampler to say, or the algorithm.
        rounds = self.sampler.rounds or self.config.algorithm.refill_rounds
        wanted = self.config.sampling.prompts_per_step
        gates = self.config.sampling.gate or (("signal",) if rounds else ())
        ledger = self.ledger.before(step)
        prepared = self.sampler.prepare(step, ledger, self)
        draws = chosen(self.sampler, step, ledger)
        temperature = draws[0].temperature
        metrics = {"controller/temperature": temperature} if self.sampler.steers_temperature else {}
        metrics |= prepared
        if prefixed := sum(bool(draw.prefix) for draw in draws):
            metrics["groups/prefixed"] = prefixed
        kept: list[TrajectoryGroup] = []
        dropped: list[TrajectoryGroup] = []
        seen: set[str] = set()
        round, stopped = 0, Counter[str]()
        while draws:
            seen |= {draw.problem.id for draw in draws}
            groups = self.sample(draws, temperature, step, ledger)
            if self.config.shuffle_rewards:
                groups = shuffle_rewards(groups, seed=self.config.seed, step=step, round=round)
            for group in groups:
                closed = [name for name in gates if not GATES[name](group, self.config.sampling.gate_std)]
                stopped.update(closed)
                (dropped if closed else kept).append(group)
            if round == rounds or len(kept) >= wanted:
                break
            draws = replacements(self.sampler, step, round + 1, wanted - len(kept), seen, ledger)
            round += bool(draws)
        metrics |= {"groups/dropped": len(dropped)} if gates else {}
        metrics |= {"groups/rounds": round} if rounds else {}
        metrics |= {f"gate/{name.replace('-', '_')}": stopped[name] for name in self.config.sampling.gate}
        # Groups without signal have no advantage: to keep them out is left to the algorithm, which may have a KL.
        trained = bool(kept) or set(gates) <= {"signal"}
        if not kept:
            kept, dropped = dropped[:wanted], dropped[wanted:]
        return StepGroups(kept=kept, dropped=dropped, metrics=metrics, temperature=temperature, trained=trained)

    def sample(self, draws: Sequence[Draw], temperature: float, step: int, ledger: Ledger) -> list[TrajectoryGroup]:
        """Return the groups of some draws of a step."""
        limit = self.sampler.max_new_tokens(step, ledger)
        return at(self.rollout, temperature, max_new_tokens=limit).sample_groups(
            [self._prompted(draw, step) for draw in draws],
            purpose="train",
            step=step,
            samples=[draw.samples for draw in draws],
            on_response=self.on_response,
        )

    def _prompted(self, draw: Draw, step: int) -> Prompted:
        """Return a draw as the model sees it: the problem's prompt, and behind it the prefix, if there is one."""
        item = self.by_id[draw.problem.id]
        if not draw.prefix:
            return item
        if self.rollout.tokenizer is None:
            raise DataError(f"step {step}: the prefix of {draw.problem.id!r} cannot be encoded without a tokenizer")
        ids = self.rollout.tokenizer.encode(draw.prefix, add_special_tokens=False)
        prompt_ids = np.concatenate([item.prompt_ids, np.array(ids, dtype=np.int32)])
        if 0 < self.room < len(prompt_ids):
            raise DataError(
                f"step {step}: the prompt of {draw.problem.id!r} and its prefix have {len(item.prompt_ids)} and "
                f"{len(ids)} tokens, more than the {self.room} that sampling.max_new_tokens leaves of the context; "
                "give a smaller --sampling.max-new-tokens, or a sampler with shorter prefixes"
            )
        return dataclasses.replace(item, prompt_ids=prompt_ids, prefix=draw.prefix)


def at(rollout: Rollout, temperature: float, **over: Any) -> Rollout:
    """Return a rollout at another temperature; `over` changes more of its sampling."""
    return dataclasses.replace(rollout, sampling=dataclasses.replace(rollout.sampling, temperature=temperature, **over))


def has_signal(group: TrajectoryGroup) -> bool:
    """Return whether the group's decided responses have different rewards."""
    return len({t.reward for t in group.trajectories if t.verdict.decided}) > 1


def reward_std(group: TrajectoryGroup) -> float:
    """Return the standard deviation of the rewards of the group's decided responses; 0 where there is none."""
    rewards = [t.reward for t in group.trajectories if t.verdict.decided]
    return float(np.std(rewards)) if rewards else 0.0


#: Name → whether a group passes; the second argument is `sampling.gate_std`.
GATES: dict[str, Callable[[TrajectoryGroup, float], bool]] = {
    "signal": lambda group, least: has_signal(group),
    "std": lambda group, least: reward_std(group) >= least,
    "some-right": lambda group, least: any(t.verdict.correct for t in group.trajectories),
}


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
