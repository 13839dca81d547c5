"""Lite PPO: two of the tricks, and no others.

Source: arXiv 2508.08221 ("Tricks or Traps?"). A = (r − mean of the group) / (std of the batch + 1e-8), the std taken
over all centred rewards of the step, so that a nearly uniform group is not blown up; a token mean; the plain
symmetric clip. No critic, no KL, no filter of overlong responses.
"""

from dataclasses import dataclass

import torch

from simplerl.algorithms.base import ClippedAlgorithm, group_advantages
from simplerl.core.types import CreditInputs


@dataclass(frozen=True, kw_only=True)
class LitePPO(ClippedAlgorithm):
    """The group's mean, the batch's std, a token mean and PPO's clip."""

    def advantages(self, inputs: CreditInputs) -> torch.Tensor:
        return group_advantages(inputs, scale="batch", epsilon=1e-8)
