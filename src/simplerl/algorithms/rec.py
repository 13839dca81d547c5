"""REC: group-relative REINFORCE as the off-policy method that it secretly is.

Source: arXiv 2509.24203. A = r − mean over the samples of a problem; the loss of a token is −A · w · log π · M plus a
regulariser, with weight w and mask M without gradient. The mask alone makes it stable: with `one-side` and w = ρ the
gradient is that of PPO's clip, and w = 1 learns as well.
"""

from dataclasses import dataclass
from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat

from simplerl.algorithms.base import ClippedAlgorithm, log_ratio
from simplerl.core.types import LossInputs, LossOutput
from simplerl.ops.policy_gradient import TrustMask, trust_mask, weighted_reinforce


@dataclass(frozen=True, kw_only=True)
class REC(ClippedAlgorithm):
    """REINFORCE with a trust mask, a weight and a regulariser, each to be chosen."""

    scale = "none"
    mask_mode: TrustMask = "one-side"
    """M: none, two-side, one-side or ring."""
    weight_mode: Literal["one", "ratio", "exp"] = "one"
    """w: `one`, `ratio` (ρ) or `exp` (exp(A / weight_temperature): reward-weighted)."""
    weight_temperature: PositiveFloat = 1.0
    """T of the exponential weight."""
    ring_low: NonNegativeFloat = 0.6
    """ε' below: with `ring`, gain is let through again under 1 − ε'."""
    ring_high: NonNegativeFloat = 2.0
    """ε' above: with `ring`, harm is let through again over 1 + ε'."""
    regulariser: Literal["k2", "forward-kl"] = "k2"
    """Added to the loss with weight `tau`: `k2` ((log π − log π_old)²) or `forward-kl` (−log π)."""
    tau: NonNegativeFloat = 0.0
    """Weight of the regulariser; 0 has none."""

    @property
    def teaches_all(self) -> bool:
        """Whether a regulariser, or another term, is in the loss."""
        return self.tau > 0 or super().teaches_all

    def loss(self, inputs: LossInputs) -> LossOutput:
        gap_BT, advantages_BT = log_ratio(inputs), inputs.advantages_BT
        ratio_BT = gap_BT.exp()
        bounds = {"low": self.clip_low, "high": self.clip_high, "ring_low": self.ring_low, "ring_high": self.ring_high}
        mask_BT = trust_mask(ratio_BT, advantages_BT, mode=self.mask_mode, **bounds)
        factor_BT = mask_BT
        if self.weight_mode == "ratio":
            factor_BT = mask_BT * ratio_BT
        elif self.weight_mode == "exp":
            factor_BT = mask_BT * (advantages_BT / self.weight_temperature).exp()
        per_token_BT = weighted_reinforce(inputs.logprobs_BT, advantages_BT, factor_BT)
        if self.tau > 0:
            penalty_BT = gap_BT.square() if self.regulariser == "k2" else -inputs.logprobs_BT
            per_token_BT = per_token_BT + self.tau * penalty_BT
        return self.total(inputs, per_token_BT, ratio=ratio_BT, clip_fraction=1 - mask_BT)
