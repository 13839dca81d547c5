"""Dr. GRPO: GRPO without its two biases, "GRPO done right".

Source: arXiv 2503.20783. A = r − mean over the samples of a problem (no division by the std, which favours problems
that are nearly always or nearly never solved), and a loss that divides by a constant length (a response's own length
in the denominator makes long wrong answers cheap):

    1 / (L · responses) · Σ max(−A·ρ, −A·clip(ρ, 1 ± ε))
"""

from dataclasses import dataclass

import torch

from simplerl.algorithms.base import Algorithm, policy_ratio, spread
from simplerl.core.types import CreditInputs, LossInputs, LossOutput
from simplerl.ops.advantages import group_relative
from simplerl.ops.losses import clipped_policy_loss, clipped_share


@dataclass(frozen=True, kw_only=True)
class DrGRPO(Algorithm):
    """GRPO without division by the group's std or by the response's length."""

    clip_low: float = 0.2
    """ε below: the ratio is clipped at 1 − ε."""
    clip_high: float = 0.2
    """ε above: the ratio is clipped at 1 + ε."""
    normaliser: str = "constant"
    """What the loss is a mean over: token, sequence, prompt or constant (`constant_length` tokens a response)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.not_negative("clip_low", "clip_high")

    def advantages(self, inputs: CreditInputs) -> torch.Tensor:
        """Return A = r − mean over the samples of a problem."""
        batch = inputs.batch
        return spread(group_relative(batch.rewards_B, batch.group_B, batch.included_B, scale="none"), inputs)

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
