"""REINFORCE++-baseline: the group's mean as the baseline, whitening over the global batch.

Source: arXiv 2501.03262. A = whiten(r − mean over the samples of a problem), over all tokens of the step, so that a
problem with little spread is not blown up as by GRPO's division by its own std. The KL is in the loss (k2), the rest
is PPO's clip.
"""

from dataclasses import dataclass

import torch
from pydantic import NonNegativeFloat

from simplerl.algorithms.base import ClippedAlgorithm, KLEstimator, group_advantages
from simplerl.core.types import CreditInputs
from simplerl.ops.policy_gradient import whiten


@dataclass(frozen=True, kw_only=True)
class ReinforcePPBaseline(ClippedAlgorithm):
    """REINFORCE++ with the group's mean subtracted before the batch is whitened."""

    kl_coef: NonNegativeFloat = 1e-5
    kl_estimator: KLEstimator = "k2"

    def advantages(self, inputs: CreditInputs) -> torch.Tensor:
        """Return the centred rewards, whitened over the tokens of the step."""
        return whiten(group_advantages(inputs, scale="none"), inputs.mask_BT)
