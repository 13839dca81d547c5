"""OPMD: online policy mirror descent, in its simple form.

Source: the loss of Kimi k1.5 (arXiv 2501.12599) as simplified in Trinity-RFT (arXiv 2505.17826). A step of mirror
descent with temperature τ towards the old policy, linearised: the loss of a token is −A · log π / (1 + τ) with A = r
− baseline, the baseline the group's mean or its soft maximum τ · log mean exp(r/τ). No ratio, no clip. The soft
baseline is the mean for τ → ∞ and the best reward of the group for τ → 0.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import PositiveFloat

from simplerl.algorithms.base import Algorithm, broadcast_to_tokens, policy_ratio
from simplerl.core.types import CreditInputs, LossInputs, LossOutput
from simplerl.ops.policy_gradient import group_relative, soft_maximum, weighted_reinforce


@dataclass(frozen=True, kw_only=True)
class OPMD(Algorithm):
    """REINFORCE with a mean or soft-maximum baseline, damped by 1 + τ."""

    tau: PositiveFloat = 1.0
    """τ: how strongly a step is held to the old policy."""
    baseline: Literal["mean", "soft-maximum"] = "mean"
    """`mean` of the group, or its `soft-maximum` τ · log mean exp(r/τ)."""

    def advantages(self, inputs: CreditInputs) -> torch.Tensor:
        """Return A = r − baseline; a sample left alone by undecided verdicts has none."""
        batch = inputs.batch
        members = (batch.rewards_B, batch.group_B, batch.included_B)
        if self.baseline == "mean":
            return broadcast_to_tokens(group_relative(*members, scale="none"), inputs)
        credit_B = batch.rewards_B - soft_maximum(*members, tau=self.tau)  # 0, exactly, for a sample left alone.
        return broadcast_to_tokens(torch.where(batch.included_B, credit_B, 0.0), inputs)

    def loss(self, inputs: LossInputs) -> LossOutput:
        ratio_BT = policy_ratio(inputs)
        damping_BT = torch.full_like(ratio_BT, 1 / (1 + self.tau))
        per_token_BT = weighted_reinforce(inputs.logprobs_BT, inputs.advantages_BT, damping_BT)
        return self.total(inputs, per_token_BT, ratio=ratio_BT)
