"""REINFORCE++: no critic and no groups; returns per token, whitened over the global batch.

Source: arXiv 2501.03262. The reward of a token is −β · KL_t, plus the response's reward on its last token; its return
is the (discounted) sum from there on; advantages are the returns with mean 0 and std 1 over all tokens of the step.
The loss is PPO's clipped surrogate. One sample per problem is enough.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat

from simplerl.algorithms.base import ClippedAlgorithm, Discount, KLEstimator
from simplerl.core.types import CreditInputs
from simplerl.ops.policy_gradient import gae, token_rewards, whiten


@dataclass(frozen=True, kw_only=True)
class ReinforcePP(ClippedAlgorithm):
    """REINFORCE with PPO's clip, KL in the reward and returns whitened over the batch."""

    kl_reward_coef: NonNegativeFloat = 0.01
    """β: weight of each token's KL to the reference in its reward; 0 has no such term."""
    kl_estimator: KLEstimator = "k1"
    gamma: Discount = 1.0
    """Discount per token."""

    needs_group: ClassVar[bool] = False

    def advantages(self, inputs: CreditInputs) -> torch.Tensor:
        """Return the whitened returns of each token."""
        mask_BT = inputs.mask_BT
        coefficient = self.kl_reward_coef * inputs.kl_scale
        rewards_BT = token_rewards(inputs.batch.rewards_B, mask_BT, inputs.kl_BT, kl_coef=coefficient)
        returns_BT = gae(rewards_BT, torch.zeros_like(rewards_BT), mask_BT, gamma=self.gamma, lam=1.0)
        return whiten(returns_BT, mask_BT)
