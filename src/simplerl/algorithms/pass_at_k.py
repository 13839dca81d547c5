"""Pass@k training: credit for what a sample adds to the chance that one of k is right.

Source: arXiv 2508.10751. With n samples of a problem, c of them right, ρ = 1 − C(n−c, k)/C(n, k) the share of subsets
of k that hold a right one, and σ = √(ρ(1 − ρ)):

    A⁺ = (1 − ρ) / (σ + 1e-6),   A⁻ = (1 − ρ − C(n−c−1, k−1)/C(n−1, k−1)) / (σ + 1e-6)

A problem that is mostly solved teaches nothing more; a wrong response among right ones is not pushed down. With k = 1
it is GRPO with the biased std. The loss is PPO's clipped surrogate.
"""

from dataclasses import dataclass

import torch
from pydantic import PositiveInt

from simplerl.algorithms.base import ClippedAlgorithm, broadcast_to_tokens
from simplerl.core.types import CreditInputs
from simplerl.ops.policy_gradient import pass_at_k_advantages


@dataclass(frozen=True, kw_only=True)
class PassAtK(ClippedAlgorithm):
    """Credit by pass@k instead of by the mean reward."""

    k: PositiveInt = 2
    """Samples of which one is to be right; fewer than a group has, since all of a group teach nothing."""
    right_above: float = 0.0
    """Responses of a higher reward are the right ones."""

    def advantages(self, inputs: CreditInputs) -> torch.Tensor:
        """Return A⁺ for right responses, A⁻ for the others."""
        batch = inputs.batch
        right_B = batch.rewards_B > self.right_above
        return broadcast_to_tokens(pass_at_k_advantages(right_B, batch.group_B, batch.included_B, k=self.k), inputs)
