"""Groups: problems in, judged and rewarded groups of trajectories out. Training and evaluation share it."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from simplerl.core.errors import ConfigError
from simplerl.core.seeds import derive
from simplerl.core.types import Completion, Problem, Segment, Trajectory, TrajectoryGroup, Verdict
from simplerl.data.prompts import Prompter
from simplerl.data.templates import AnyTemplate
from simplerl.models.load import Policy
from simplerl.rewards import Reward
from simplerl.rollout.backend import Request, RolloutBackend, Sampling
from simplerl.verify import VerifierPool


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prompted:
    """A problem as the model sees it."""

    problem: Problem
    prompt_ids: np.ndarray
    """int32 [T_prompt]."""


def prompt(problems: Sequence[Problem], template: Prompter | AnyTemplate, policy: Policy) -> list[Prompted]:
    """Format and encode problems. A bare template is the whole prompt: nothing is added to it."""
    prompter = template if isinstance(template, Prompter) else Prompter(template=template)
    return [
        Prompted(
            problem=p,
            prompt_ids=np.array(policy.check(prompter.ids(p, policy.tokenizer), f"prompt of {p.id}"), dtype=np.int32),
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Rollout:
    """Who samples, judges and rewards, and how: all that stays the same from one call to the next.

    `dataclasses.replace(rollout, sampling=…)` is the same engine under another sampling.
    """

    backend: RolloutBackend
    verifier: VerifierPool
    reward: Reward
    sampling: Sampling
    samples: int
    """Responses to each problem."""
    seed: int

    def sample_groups(
        self,
        prompted: Sequence[Prompted],
        *,
        purpose: str,
        step: int,
        on_response: Callable[[Completion], None] = lambda completion: None,
    ) -> list[TrajectoryGroup]:
        """Sample responses to each problem, judge and reward them; groups come in the order of the problems.

        The noise of a response is addressed by (seed, purpose, step, problem id, sample index). A trajectory whose
        verdict is undecided gets the reward NaN: it has none, and may not be trained on. Responses are handed to the
        verifier as they finish, so that judging runs beside generation.
        """
        requests = [
            Request(prompt_ids=item.prompt_ids, noise_key=derive(self.seed, purpose, step, item.problem.id, sample))
            for item in prompted
            for sample in range(self.samples)
        ]
        completions: dict[int, Completion] = {}
        for index, completion in self.backend.generate(requests, self.sampling):
            completions[index] = completion
            self.verifier.submit(index, completion.text, prompted[index // self.samples].problem.answer)
            on_response(completion)
        verdicts = dict(self.verifier.results())
        groups = []
        for first, item in zip(range(0, len(requests), self.samples), prompted, strict=True):
            members = [
                self._trajectory(item, sample, completions[first + sample], verdicts[first + sample])
                for sample in range(self.samples)
            ]
            groups.append(TrajectoryGroup(problem=item.problem, trajectories=tuple(members)))
        return groups

    def _trajectory(self, item: Prompted, sample: int, completion: Completion, verdict: Verdict) -> Trajectory:
        """Put a response, its verdict and its reward together."""
        reward, parts = float("nan"), {}
        if verdict.decided:
            reward = _finite(self.reward(item.problem, completion, verdict))
            parts = self.reward.parts(item.problem, completion, verdict)
        return Trajectory(
            problem=item.problem,
            sample=sample,
            prompt_ids=item.prompt_ids,
            completion=completion,
            segments=(Segment("policy", 0, len(completion.token_ids)),),
            verdict=verdict,
            reward=reward,
            reward_parts=parts,
        )


def _finite(reward: float) -> float:
    """Return the reward of a decided verdict. Raises ConfigError for NaN, which would be the gradient's too."""
    if not math.isfinite(reward):
        raise ConfigError(f"the reward gave {reward}; it must be a finite number for every response")
    return float(reward)
