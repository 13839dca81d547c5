"""Collect: problems in, judged and rewarded groups of trajectories out. Training and evaluation share it.

Responses are handed to the verifier as they finish, so that judging runs beside generation.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from simplerl.data.prompts import Prompter
from simplerl.data.templates import AnyTemplate
from simplerl.errors import ConfigError
from simplerl.models.load import Policy
from simplerl.rewards import Reward
from simplerl.rollout.backend import Request, RolloutBackend, Sampling
from simplerl.seeds import derive
from simplerl.types import Completion, Problem, Trajectory, TrajectoryGroup
from simplerl.verify import VerifierPool


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prompted:
    """A problem as the model sees it."""

    problem: Problem
    prompt_ids: np.ndarray
    """int32 [T_prompt]."""


def prompt(problems: Sequence[Problem], template: Prompter | AnyTemplate, policy: Policy) -> list[Prompted]:
    """Format and encode problems. A bare template is the whole prompt: nothing is added to it."""
    made = template if isinstance(template, Prompter) else Prompter(template=template)
    return [
        Prompted(
            problem=p,
            prompt_ids=np.array(policy.check(made.ids(p, policy.tokenizer), f"prompt of {p.id}"), dtype=np.int32),
        )
        for p in problems
    ]


def fingerprint(prompted: Sequence[Prompted]) -> str:
    """Return the SHA-256 over ids, prompt tokens and answers: which data a run has seen, as the model saw it."""
    digest = hashlib.sha256()
    for item in prompted:
        digest.update(f"{item.problem.id}\x1f{item.problem.answer}\x1f".encode("utf-8", "surrogatepass"))
        digest.update(item.prompt_ids.tobytes())
    return digest.hexdigest()


def collect(
    prompted: Sequence[Prompted],
    *,
    backend: RolloutBackend,
    verifier: VerifierPool,
    reward: Reward,
    sampling: Sampling,
    samples: int,
    seed: int,
    purpose: str,
    step: int,
    on_done: Callable[[Completion], None] = lambda completion: None,
) -> list[TrajectoryGroup]:
    """Sample `samples` responses to each problem, judge and reward them; groups come in the order of the problems.

    The noise of a response is addressed by (seed, purpose, step, problem id, sample index). A trajectory whose verdict
    is undecided gets the reward NaN: it has none, and may not be trained on.
    """
    requests = [
        Request(prompt_ids=item.prompt_ids, noise_key=derive(seed, purpose, step, item.problem.id, sample))
        for item in prompted
        for sample in range(samples)
    ]
    completions: list[Completion | None] = [None] * len(requests)
    for index, completion in backend.generate(requests, sampling):
        completions[index] = completion
        problem = prompted[index // samples].problem
        verifier.submit(index, completion.text, problem.answer, problem.question)
        on_done(completion)
    verdicts = dict(verifier.results())
    groups = []
    for place, item in enumerate(prompted):
        trajectories = []
        for sample in range(samples):
            completion, verdict = completions[place * samples + sample], verdicts[place * samples + sample]
            parts = reward.parts(item.problem, completion, verdict) if verdict.decided else {}
            trajectories.append(
                Trajectory(
                    problem=item.problem,
                    sample=sample,
                    prompt_ids=item.prompt_ids,
                    completion=completion,
                    loss_mask=np.ones(len(completion.token_ids), dtype=bool),
                    verdict=verdict,
                    reward=_finite(reward(item.problem, completion, verdict)) if verdict.decided else float("nan"),
                    reward_parts=parts,
                )
            )
        groups.append(TrajectoryGroup(problem=item.problem, trajectories=tuple(trajectories)))
    return groups


def _finite(reward: float) -> float:
    """Return the reward of a decided verdict. Raises ConfigError for NaN, which would be the gradient's too."""
    if not math.isfinite(reward):
        raise ConfigError(f"the reward gave {reward}; it must be a finite number for every response")
    return float(reward)
