"""The reward `process`: what a process reward model says of a response's steps, as one number or as one for each step.

Forms: `min` is the lowest logit / `scale`, within ±1: B-STaR's r_prm (arXiv 2412.17256), added to correctness by a
mixture. The others give each step k a reward from p_k, its probability of being good (arXiv 2410.15115):

    clip        min(p_k − η, 0)
    delta       p_k − p_{k+1} for k < K − 1, p_{K−1} at K − 1, 0 on the last step
    clip-delta  delta of the clipped ones

Under `delta` what is still to come at step k is p_k: a response that is padded with good steps gains nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from simplerl.core.errors import ConfigError
from simplerl.core.types import Completion, Problem, Scored, Undecided, Verdict
from simplerl.prm.model import load_prm, step_ends, token_ends
from simplerl.rewards import Reward

FORMS = ("min", "clip", "delta", "clip-delta")


def lowest(logits: Sequence[float], scale: float) -> float:
    """Return the lowest logit / scale within ±1."""
    return min(max(min(logits) / scale, -1.0), 1.0)


def step_rewards(values: Sequence[float], form: str, eta: float = 0.5) -> list[float]:
    """Return the reward of each step from its probability of being good."""
    clipped = [min(p - eta, 0.0) for p in values] if form.startswith("clip") else list(values)
    if not form.endswith("delta"):
        return clipped
    ahead = [*clipped[1:-1], 0.0]
    return [*(p - q for p, q in zip(clipped[:-1], ahead, strict=True)), 0.0] if len(clipped) > 1 else [0.0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Process(Reward):
    """What a process reward model says of the steps; a part of a mixture with correctness."""

    name: ClassVar[str] = "process"
    prm: str = ""
    """Directory of the process reward model (`simplerl prm train`)."""
    form: str = "clip-delta"
    """`min` (one number for the response), `clip`, `delta` or `clip-delta` (one for each step)."""
    eta: float = 0.5
    """η of the clip: a step that is at least this likely to be good costs nothing."""
    scale: float = 5.0
    """What the lowest logit is divided by under `min`."""

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ConfigError(f"process needs form = {', '.join(FORMS)}, not {self.form!r}")
        if not (0 <= self.eta <= 1 and self.scale > 0):
            raise ConfigError(f"process needs 0 ≤ eta ≤ 1 and scale > 0, not {self.eta} and {self.scale}")

    def score(
        self, problem: Problem, completions: Sequence[Completion], verdicts: Sequence[Verdict]
    ) -> list[Scored | Undecided]:
        """Return the lowest score, or 0 with the rewards of the steps; a response without a step is undecided."""
        if not self.prm:
            raise ConfigError("the reward process needs a process reward model: prm = DIR (simplerl prm train)")
        prm = load_prm(self.prm)
        ids = [c.token_ids.tolist() for c in completions]
        rows = [prm.row(problem, own, c.text) for own, c in zip(ids, completions, strict=True)]
        results: list[Scored | Undecided] = []
        for completion, own, logits in zip(completions, ids, prm.scores(rows), strict=True):
            if not len(logits):
                results.append(Undecided("the response has no step for the process reward model to score"))
                continue
            if self.form == "min":
                results.append(self.scored(lowest(logits.tolist(), self.scale)))
                continue
            rewards = step_rewards([1 / (1 + math.exp(-min(max(x, -50.0), 50.0))) for x in logits], self.form, self.eta)
            ends = token_ends(prm.policy.tokenizer, own, step_ends(completion.text, prm.steps))
            results.append(Scored(0.0, {self.name: sum(rewards)}, tuple(zip(ends, rewards, strict=True))))
        return results
