"""ROVER: value the uniformly random policy, and act on it.

Source: arXiv 2509.24981. In a tree with rewards at its leaves, the values of the *uniform* policy are enough to act
well, and a softmax over them keeps every way that works. The policy's own shift is the value, Q_t = ρ_T · (log π(a_t)
− log π_old(a_t)), and it is fitted to its Bellman target under the uniform policy:

    Σ w · (Q_t − sg[ r̃ + mean_v Q(v | s_{t+1}) ])²        (the mean is 0 after the last token)

with r̃ = r − mean over the samples of a problem, on every token. No KL, no clip, no critic. At ρ = 1 the gradient is
REINFORCE's with the group's mean, times 2ρ_T.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import PositiveFloat

from simplerl.algorithms.base import Algorithm, log_ratio
from simplerl.core.types import LossInputs, LossOutput
from simplerl.ops.policy_gradient import following


@dataclass(frozen=True, kw_only=True)
class ROVER(Algorithm):
    """Regression of the policy's shift to the value of the uniformly random policy."""

    scale = "none"
    value_scale: PositiveFloat = 1.0
    """ρ_T: nats of log-probability per unit of value, as a factor of Q."""

    needs_vocabulary_mean: ClassVar[bool] = True
    teaches_all = True  # A value of 0 is something to regress to.

    def loss(self, inputs: LossInputs) -> LossOutput:
        gap_BT = log_ratio(inputs)
        assert inputs.vocabulary_mean_BT is not None
        assert inputs.old_vocabulary_mean_BT is not None  # This algorithm asks for both.
        shift_BT = self.value_scale * (inputs.vocabulary_mean_BT - inputs.old_vocabulary_mean_BT)
        target_BT = inputs.advantages_BT + following(shift_BT, inputs.mask_BT)
        per_token_BT = torch.where(inputs.mask_BT, self.value_scale * gap_BT - target_BT.detach(), 0.0).square()
        return self.total(inputs, per_token_BT, ratio=gap_BT.exp())
