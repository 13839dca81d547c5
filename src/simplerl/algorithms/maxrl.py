"""MaxRL: the group's mean as the baseline and as the scale, so that what is seldom solved weighs most.

Source: arXiv 2602.02710. A = (r − r̄) / r̄ with r̄ the mean reward of the problem's samples; 0 where r̄ is not above 0.
With rewards of 1 and 0 it is the gradient of log(share that is right), to the order that n samples can tell, where
REINFORCE's is that of the share itself. The loss is PPO's clipped surrogate.
"""

from dataclasses import dataclass

import torch

from simplerl.algorithms.base import ClippedAlgorithm, broadcast_to_tokens
from simplerl.core.types import CreditInputs
from simplerl.ops.policy_gradient import group_moments, group_relative


@dataclass(frozen=True, kw_only=True)
class MaxRL(ClippedAlgorithm):
    """The centred reward divided by the mean reward of the problem."""

    def advantages(self, inputs: CreditInputs) -> torch.Tensor:
        members = (inputs.batch.rewards_B, inputs.batch.group_B, inputs.batch.included_B)
        _, mean_B, _ = group_moments(*members)
        centred_B = group_relative(*members, scale="none")
        credit_B = torch.where(mean_B > 0, centred_B / mean_B.clamp(min=1e-12), 0.0)
        return broadcast_to_tokens(credit_B, inputs)
