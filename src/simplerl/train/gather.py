"""Gather a step's groups: sample its problems and, where the algorithm asks for it, replace those that teach nothing.

DAPO's dynamic sampling (arXiv 2503.14476, §3.2): a problem whose rewards are all equal has no advantage. It is dropped
and a further problem is drawn in its place, round by round. Which one is a function of (seed, step, round) and of what
was drawn before in the step, so a resumed run draws the same.
"""

from collections.abc import Callable, Sequence

from simplerl.core.types import Completion, TrajectoryGroup
from simplerl.rollout.collect import Prompted, collect
from simplerl.train.batch import shuffle_rewards
from simplerl.train.session import Session


def gather(
    session: Session, step: int, on_done: Callable[[Completion], None]
) -> tuple[list[TrajectoryGroup], list[TrajectoryGroup], dict[str, float]]:
    """Return (groups to learn from, groups dropped, metrics) of step `step` (the first is 1).

    There are as many groups to learn from as `prompts_per_step` asks for, or fewer where the rounds or the problems
    have run out; where all are without signal, the first are kept, so that a step always has something to record.
    """
    config, sampler = session.config, session.sampler
    rounds = config.algorithm.refill_rounds
    places = sampler.places(step - 1)
    seen = set(places)
    groups = _sample(session, [sampler.problems[i] for i in places], step, 0, on_done)
    kept = [group for group in groups if not rounds or has_signal(group)]
    dropped = [group for group in groups if rounds and not has_signal(group)]
    round = 0
    while round < rounds and len(kept) < config.sampling.prompts_per_step:
        round += 1
        places = sampler.more(step - 1, round, config.sampling.prompts_per_step - len(kept), seen)
        if not places:
            break
        seen |= set(places)
        further = _sample(session, [sampler.problems[i] for i in places], step, round, on_done)
        kept += [group for group in further if has_signal(group)]
        dropped += [group for group in further if not has_signal(group)]
    metrics = {"groups/dropped": len(dropped), "groups/rounds": round} if rounds else {}
    size = config.sampling.prompts_per_step
    return (kept, dropped, metrics) if kept else (dropped[:size], dropped[size:], metrics)


def _sample(
    session: Session, problems: Sequence[Prompted], step: int, round: int, on_done: Callable[[Completion], None]
) -> list[TrajectoryGroup]:
    config = session.config
    groups = collect(
        problems,
        backend=session.backend,
        verifier=session.verifier,
        reward=config.reward,
        sampling=session.sampling,
        samples=config.sampling.samples_per_prompt,
        seed=config.seed,
        purpose="train",
        step=step,
        on_done=on_done,
    )
    return shuffle_rewards(groups, seed=config.seed, step=step, round=round) if config.shuffle_rewards else groups


def has_signal(group: TrajectoryGroup) -> bool:
    """Return whether the group's decided responses have different rewards."""
    return len({t.reward for t in group.trajectories if t.verdict.decided}) > 1
