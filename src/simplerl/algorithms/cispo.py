"""CISPO: clip the weight, not the gradient.

Source: arXiv 2506.13585 (MiniMax-M1). PPO's clip takes a token out of the gradient altogether; CISPO keeps every
token and only caps its importance weight, which carries no gradient: the loss of a token is −sg(min(ρ, cap)) · A ·
log π. Token mean, no KL.
"""

from dataclasses import dataclass

from simplerl.algorithms.base import Algorithm, RatioCap, policy_ratio
from simplerl.core.types import LossInputs, LossOutput
from simplerl.ops.policy_gradient import Scale, weighted_reinforce


@dataclass(frozen=True, kw_only=True)
class CISPO(Algorithm):
    """REINFORCE with a capped importance weight on every token."""

    ratio_cap: RatioCap = 5.0
    """Largest importance weight."""
    scale: Scale = "group"
    """Divide the centred reward by the std of its group (`group`), of all (`batch`) or not (`none`)."""

    def loss(self, inputs: LossInputs) -> LossOutput:
        ratio_BT = policy_ratio(inputs)
        per_token_BT = weighted_reinforce(inputs.logprobs_BT, inputs.advantages_BT, ratio_BT.clamp(max=self.ratio_cap))
        capped_BT = (ratio_BT > self.ratio_cap).to(ratio_BT.dtype)
        return self.total(inputs, per_token_BT, ratio=ratio_BT, clip_fraction=capped_BT)
