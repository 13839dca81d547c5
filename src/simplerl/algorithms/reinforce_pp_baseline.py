"""REINFORCE++-baseline: the group's mean as the baseline, whitening over the global batch.

Source: arXiv 2501.03262. A = whiten(r − mean over the samples of a problem), over all tokens of the step, so that a
problem with little spread is not blown up as by GRPO's division by its own std. The KL is in the loss (k2), the rest
is PPO's clip.
"""

from dataclasses import dataclass

import torch

from simplerl.algorithms.base import Algorithm, policy_ratio, spread
from simplerl.core.types import CreditInputs, LossInputs, LossOutput
from simplerl.ops.advantages import group_relative
from simplerl.ops.losses import clipped_policy_loss, clipped_share
from simplerl.ops.returns import whiten


@dataclass(frozen=True, kw_only=True)
class ReinforcePPBaseline(Algorithm):
    """REINFORCE++ with the group's mean subtracted before the batch is whitened."""

    clip_low: float = 0.2
    """ε below: the ratio is clipped at 1 − ε."""
    clip_high: float = 0.2
    """ε above: the ratio is clipped at 1 + ε."""
    kl_coef: float = 1e-5
    """β: weight in the loss of the KL to the reference; 0 has no such term."""
    kl_estimator: str = "k2"
    """k1, k2, k3 or abs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.not_negative("clip_low", "clip_high")

    def advantages(self, inputs: CreditInputs) -> torch.Tensor:
        """Return the centred rewards, whitened over the tokens of the step."""
        batch = inputs.batch
        centred_B = group_relative(batch.rewards_B, batch.group_B, batch.included_B, scale="none")
        return whiten(spread(centred_B, inputs), inputs.mask_BT)

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
