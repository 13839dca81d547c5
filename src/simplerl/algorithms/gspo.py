"""GSPO: the importance ratio of the whole response.

Source: arXiv 2507.18071. Rewards belong to responses, so the ratio does too: s =
(π(response)/π_old(response))^(1/length), the geometric mean over its tokens. The loss of a response is max(−A·s,
−A·clip(s, 1 − ε_low, 1 + ε_high)), the mean over responses the loss of the update. Means vary far less than single
tokens, hence the narrow clip.
"""

from dataclasses import dataclass

import torch

from simplerl.algorithms.base import Algorithm, log_ratio, spread
from simplerl.core.types import CreditInputs, LossInputs, LossOutput
from simplerl.ops.advantages import group_relative
from simplerl.ops.losses import clipped_policy_loss, clipped_share, sequence_ratio


@dataclass(frozen=True, kw_only=True)
class GSPO(Algorithm):
    """GRPO's advantages with the importance ratio and the clip of whole responses."""

    clip_low: float = 3e-4
    """ε below: the ratio is clipped at 1 − ε."""
    clip_high: float = 4e-4
    """ε above: the ratio is clipped at 1 + ε."""
    normaliser: str = "sequence"
    """What the loss is a mean over: token, sequence, prompt or constant."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.not_negative("clip_low", "clip_high")

    def advantages(self, inputs: CreditInputs) -> torch.Tensor:
        """Return A = (r − mean) / (std + 1e-6), over the samples of a problem."""
        batch = inputs.batch
        return spread(group_relative(batch.rewards_B, batch.group_B, batch.included_B), inputs)

    def loss(self, inputs: LossInputs) -> LossOutput:
        """Return the clipped surrogate's share of the loss, with the response's ratio on each of its tokens."""
        ratio_BT = sequence_ratio(log_ratio(inputs), inputs.mask_BT)
        clip = {"clip_low": self.clip_low, "clip_high": self.clip_high}
        return self.total(
            inputs,
            clipped_policy_loss(ratio_BT, inputs.advantages_BT, **clip),
            ratio=ratio_BT,
            clip_fraction=clipped_share(ratio_BT, inputs.advantages_BT, **clip),
        )
