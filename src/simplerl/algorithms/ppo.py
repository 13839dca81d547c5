"""PPO with a learned critic: a baseline for every token instead of one for every problem.

Source: arXiv 1707.06347 (the clip), arXiv 1506.02438 (GAE), arXiv 1909.08593 (KL in the reward); settings of the first
SimpleRL. The reward of a token is −β · KL_t, plus the response's reward on its last token; with the critic's values V

    δ_t = r_t + γ·V_{t+1} − V_t,   A_t = Σ_l (γλ)^l δ_{t+l},   R_t = A_t + V_t

The policy's loss is the clipped surrogate with A whitened over all tokens of the step, the critic's is
½ · max((clip(V, V_old ± ε_v) − R)², (V − R)²). No groups: one sample per problem will do.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat

from simplerl.algorithms.base import ClippedAlgorithm, Discount, KLEstimator
from simplerl.core.types import CreditInputs
from simplerl.ops.policy_gradient import clipped_value_loss, gae, token_rewards, whiten


@dataclass(frozen=True, kw_only=True)
class PPO(ClippedAlgorithm):
    """Proximal policy optimisation with a critic and generalised advantage estimation."""

    gamma: Discount = 1.0
    """Discount per token."""
    lam: Discount = 0.95
    """λ of GAE: 1 trusts what was rewarded, 0 the critic."""
    kl_reward_coef: NonNegativeFloat = 0.01
    """β: weight of each token's KL to the reference in its reward; 0 has no such term."""
    kl_estimator: KLEstimator = "k1"
    reward_clip: NonNegativeFloat = 10.0
    """Rewards of responses are clipped to ± this; 0 does not clip."""
    value_clip: NonNegativeFloat = 0.2
    """ε_v: how far a value may move from the one at the start of the step; 0 does not clip."""
    critic_lr: PositiveFloat = 9e-6
    """Peak learning rate of the critic, on the policy's schedule; what is not given here it shares with `optimizer`."""
    critic_epsilon: PositiveFloat = 1e-8
    """Adam's epsilon for the critic: a large one, which keeps noise from a policy, keeps a critic from learning."""
    critic_prompts_per_update: NonNegativeInt = 0
    """The critic's mini-batch, counted in problems, within the policy's (0: all of it). Smaller is more updates."""
    critic_warmup_steps: NonNegativeInt = 0
    """Steps in which the critic learns and the policy does not yet move."""

    needs_critic: ClassVar[bool] = True
    needs_group: ClassVar[bool] = False

    def raw_advantages(self, inputs: CreditInputs) -> torch.Tensor:
        """Return GAE's advantages_BT."""
        rewards_B = inputs.batch.rewards_B
        if self.reward_clip > 0:
            rewards_B = rewards_B.clamp(-self.reward_clip, self.reward_clip)
        coefficient = self.kl_reward_coef * inputs.kl_scale
        rewards_BT = token_rewards(rewards_B, inputs.mask_BT, inputs.kl_BT, kl_coef=coefficient)
        return gae(rewards_BT, inputs.values_BT, inputs.mask_BT, gamma=self.gamma, lam=self.lam)

    def advantages(self, inputs: CreditInputs) -> torch.Tensor:
        """Return GAE's advantages with mean 0 and std 1 over all tokens of the step."""
        return whiten(self.raw_advantages(inputs), inputs.mask_BT)

    def returns(self, inputs: CreditInputs) -> torch.Tensor:
        """Return R = A + V, what the critic learns; 0 outside the mask."""
        return self.raw_advantages(inputs) + torch.where(inputs.mask_BT, inputs.values_BT, 0.0)

    def value_loss(self, values_BT: torch.Tensor, old_BT: torch.Tensor, returns_BT: torch.Tensor) -> torch.Tensor:
        return clipped_value_loss(values_BT, old_BT, returns_BT, clip=self.value_clip)
