"""GRPO: group-relative policy optimisation, as SimpleRL-Zoo runs it.

Source: arXiv 2402.03300 (the method), arXiv 2503.18892 (the recipe). The loss of an update is

    Σ w · [ max(−A·ρ, −A·clip(ρ, 1 ± ε)) − c_H · H + β · k3(π‖π_ref) ]

with ρ = π/π_old at the sampling temperature, A = (r − mean) / (std + 1e-6) over the samples of a problem, and w the
normaliser. Left out: the original's mean over micro-batches of token means, which depends on the layout.
"""

from dataclasses import dataclass

import torch

from simplerl.algorithms.base import Algorithm, policy_ratio, spread
from simplerl.core.types import CreditInputs, LossInputs, LossOutput
from simplerl.ops.advantages import SCALES, group_relative
from simplerl.ops.losses import clipped_policy_loss, clipped_share


@dataclass(frozen=True, kw_only=True)
class GRPO(Algorithm):
    """Group-relative policy optimisation."""

    clip_low: float = 0.2
    """ε below: the ratio is clipped at 1 − ε."""
    clip_high: float = 0.2
    """ε above: the ratio is clipped at 1 + ε."""
    scale: str = "group"
    """Divide the centred reward by the std of its group (`group`), of the whole batch (`batch`) or not (`none`)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.not_negative("clip_low", "clip_high")
        self.one_of("scale", SCALES)

    def advantages(self, inputs: CreditInputs) -> torch.Tensor:
        """Return A = (r − mean) / scale, over the samples of a problem."""
        batch = inputs.batch
        return spread(group_relative(batch.rewards_B, batch.group_B, batch.included_B, scale=self.scale), inputs)

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
