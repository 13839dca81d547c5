"""DAPO: decoupled clip and dynamic sampling.

Source: arXiv 2503.14476. Four things on top of GRPO: a higher upper clip (room for unlikely tokens to grow), a token
mean (long responses count by their tokens), dynamic sampling (problems whose rewards are all equal teach nothing;
they are dropped and replaced, up to `refill_rounds` times), and overlong shaping (the reward `overlong`, in a
mixture). No KL.
"""

from dataclasses import dataclass

import torch

from simplerl.algorithms.base import Algorithm, policy_ratio, spread
from simplerl.core.types import CreditInputs, LossInputs, LossOutput
from simplerl.ops.advantages import group_relative
from simplerl.ops.losses import clipped_policy_loss, clipped_share


@dataclass(frozen=True, kw_only=True)
class DAPO(Algorithm):
    """GRPO with a higher upper clip, a token mean and dynamic sampling."""

    clip_low: float = 0.2
    """ε below: the ratio is clipped at 1 − ε."""
    clip_high: float = 0.28
    """ε above: the ratio is clipped at 1 + ε."""
    refill_rounds: int = 3
    """Rounds in which problems whose rewards are all equal are replaced by further ones; 0 keeps them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.not_negative("clip_low", "clip_high")

    def advantages(self, inputs: CreditInputs) -> torch.Tensor:
        """Return A = (r − mean) / (std + 1e-6), over the samples of a problem."""
        batch = inputs.batch
        return spread(group_relative(batch.rewards_B, batch.group_B, batch.included_B), inputs)

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
