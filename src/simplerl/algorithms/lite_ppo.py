"""Lite PPO: two of the tricks, and no others.

Source: arXiv 2508.08221 ("Tricks or Traps?"). A = (r − mean of the group) / (std of the batch + 1e-8), the std taken
over all centred rewards of the step, so that a nearly uniform group is not blown up; a token mean; the plain
symmetric clip. No critic, no KL, no filter of overlong responses.
"""

from dataclasses import dataclass

import torch

from simplerl.algorithms.base import Algorithm, policy_ratio, spread
from simplerl.core.types import CreditInputs, LossInputs, LossOutput
from simplerl.ops.advantages import group_relative
from simplerl.ops.losses import clipped_policy_loss, clipped_share


@dataclass(frozen=True, kw_only=True)
class LitePPO(Algorithm):
    """The group's mean, the batch's std, a token mean and PPO's clip."""

    clip_low: float = 0.2
    """ε below: the ratio is clipped at 1 − ε."""
    clip_high: float = 0.2
    """ε above: the ratio is clipped at 1 + ε."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.not_negative("clip_low", "clip_high")

    def advantages(self, inputs: CreditInputs) -> torch.Tensor:
        """Return A = (r − mean of the group) / (std of the batch + 1e-8)."""
        batch = inputs.batch
        credit_B = group_relative(batch.rewards_B, batch.group_B, batch.included_B, scale="batch", epsilon=1e-8)
        return spread(credit_B, inputs)

    def loss(self, inputs: LossInputs) -> LossOutput:
        """Return the clipped surrogate's share of the loss."""
        ratio_BT = policy_ratio(inputs)
        clip = {"clip_low": self.clip_low, "clip_high": self.clip_high}
        return self.total(
            inputs,
            clipped_policy_loss(ratio_BT, inputs.advantages_BT, **clip),
            ratio=ratio_BT,
            clip_fraction=clipped_share(ratio_BT, inputs.advantages_BT, **clip),
        )
