"""GSPO: the importance ratio of the whole response.

Source: arXiv 2507.18071. Rewards belong to responses, so the ratio does too: s =
(π(response)/π_old(response))^(1/length), the geometric mean over its tokens. The loss of a response is max(−A·s,
−A·clip(s, 1 − ε_low, 1 + ε_high)), the mean over responses the loss of the update. Means vary far less than single
tokens, hence the narrow clip.
"""

from dataclasses import dataclass

import torch
from pydantic import NonNegativeFloat

from simplerl.algorithms.base import ClippedAlgorithm, Normaliser, log_ratio
from simplerl.core.types import LossInputs
from simplerl.ops.policy_gradient import sequence_ratio


@dataclass(frozen=True, kw_only=True)
class GSPO(ClippedAlgorithm):
    """GRPO's advantages with the importance ratio and the clip of whole responses."""

    clip_low: NonNegativeFloat = 3e-4
    clip_high: NonNegativeFloat = 4e-4
    normaliser: Normaliser = "sequence"

    def ratio(self, inputs: LossInputs) -> torch.Tensor:
        """Return the response's ratio on each of its tokens."""
        return sequence_ratio(log_ratio(inputs), inputs.mask_BT)
