"""DPPO: a trust region of divergence in place of the clip of the ratio.

Source: arXiv 2602.04879 (the binary approximations). A ratio says little about how far the policy has moved: of a rare
token it is large after a harmless step, of a frequent one small after a harmful one. DPPO asks how far the distribution
over {this token, all others} has moved, and takes a token out of the gradient where it has moved too far in the
direction that its advantage pushes:

    −sg(M · min(ρ, cap)) · A · log π,   M = 0 where (A > 0 and π > π_old, or A < 0 and π < π_old) and D > δ

with D = |π − π_old|, the total variation of those two. δ = ∞ is CISPO's loss.
"""

from dataclasses import dataclass

import torch
from pydantic import PositiveFloat

from simplerl.algorithms.base import Algorithm, RatioCap, policy_ratio
from simplerl.core.types import LossInputs, LossOutput
from simplerl.ops.policy_gradient import Scale, weighted_reinforce


@dataclass(frozen=True, kw_only=True)
class DPPO(Algorithm):
    """REINFORCE on every token whose probability has not moved too far already."""

    delta_low: PositiveFloat = 0.2
    """δ for tokens that are made less likely."""
    delta_high: PositiveFloat = 0.2
    """δ for tokens that are made more likely."""
    ratio_cap: RatioCap = 20.0
    """Largest importance weight."""
    scale: Scale = "group"
    """Divide the centred reward by the std of its group (`group`), of all (`batch`) or not (`none`)."""

    def loss(self, inputs: LossInputs) -> LossOutput:
        ratio_BT, advantages_BT = policy_ratio(inputs), inputs.advantages_BT
        now_BT, old_BT = inputs.logprobs_BT.detach().exp(), inputs.old_logprobs_BT.exp()
        further_BT = torch.where(advantages_BT > 0, now_BT > old_BT, now_BT < old_BT) & (advantages_BT != 0)
        delta_BT = torch.where(advantages_BT > 0, self.delta_high, self.delta_low)
        held_BT = (inputs.mask_BT & further_BT & ((now_BT - old_BT).abs() > delta_BT)).to(ratio_BT.dtype)
        factor_BT = (1 - held_BT) * ratio_BT.clamp(max=self.ratio_cap)
        per_token_BT = weighted_reinforce(inputs.logprobs_BT, advantages_BT, factor_BT)
        return self.total(inputs, per_token_BT, ratio=ratio_BT, clip_fraction=held_BT)
