"""AsymRE: asymmetric REINFORCE, a baseline a little below the mean.

Source: arXiv 2506.20520. Off policy, a baseline at or above the mean reward ends in collapse, one below it raises
what succeeded more than it lowers what failed: A = r − (mean − δ), δ = 0.1. The loss is −A · log π, without ratio or
clip. δ = 0 on policy is REINFORCE with the group's mean.
"""

from dataclasses import dataclass

import torch

from simplerl.algorithms.base import Algorithm, broadcast_to_tokens, policy_ratio
from simplerl.core.types import CreditInputs, LossInputs, LossOutput
from simplerl.ops.policy_gradient import group_moments, group_relative


@dataclass(frozen=True, kw_only=True)
class AsymRE(Algorithm):
    """REINFORCE with a baseline below the mean of the group."""

    baseline_shift: float = -0.1
    """Added to the group's mean to make the baseline; below 0 is towards imitation of all samples."""

    def advantages(self, inputs: CreditInputs) -> torch.Tensor:
        """Return A = r − (mean of the group + shift); a sample left alone by undecided verdicts has none."""
        batch = inputs.batch
        count_B, _, _ = group_moments(batch.rewards_B, batch.group_B, batch.included_B)
        centred_B = group_relative(batch.rewards_B, batch.group_B, batch.included_B, scale="none")
        compared_B = batch.included_B & (count_B > 1)
        return broadcast_to_tokens(torch.where(compared_B, centred_B - self.baseline_shift, 0.0), inputs)

    def loss(self, inputs: LossInputs) -> LossOutput:
        return self.total(inputs, -inputs.advantages_BT * inputs.logprobs_BT, ratio=policy_ratio(inputs))
