"""RLOO: REINFORCE with a leave-one-out baseline.

Source: arXiv 2402.14740. The baseline of a sample is the mean reward of the other samples of its problem, so it does
not depend on the sample: A = r_i − mean_{j≠i} r_j = n/(n−1) · (r_i − mean). The loss of a response is −A · log
π(response), the sum over its tokens, so the normaliser is a constant length and the gradient the plain policy
gradient (at ρ = 1).
"""

from dataclasses import dataclass

import torch

from simplerl.algorithms.base import Algorithm, Normaliser, broadcast_to_tokens, policy_ratio
from simplerl.core.types import CreditInputs, LossInputs, LossOutput
from simplerl.ops.policy_gradient import leave_one_out


@dataclass(frozen=True, kw_only=True)
class RLOO(Algorithm):
    """REINFORCE with the mean of the other samples as the baseline."""

    normaliser: Normaliser = "constant"

    def advantages(self, inputs: CreditInputs) -> torch.Tensor:
        """Return A = r − mean of the other samples of the problem."""
        batch = inputs.batch
        return broadcast_to_tokens(leave_one_out(batch.rewards_B, batch.group_B, batch.included_B), inputs)

    def loss(self, inputs: LossInputs) -> LossOutput:
        """Return −A·ρ: unbiased for data of the policy at the start of the step, without a clip."""
        ratio_BT = policy_ratio(inputs)
        return self.total(inputs, -inputs.advantages_BT * ratio_BT, ratio=ratio_BT)
