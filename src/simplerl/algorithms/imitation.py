"""Imitation: cross-entropy on given responses, the loss of supervised fine-tuning.

The loss is the mean over all response tokens of the update of −log π: the component `ce`, on any normaliser. Every
token counts alike, whatever its reward. The algorithm of `simplerl sft`; it is not for rollouts, so it has no name in
`ALGORITHMS`.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from simplerl.algorithms.base import Algorithm
from simplerl.core.types import CreditInputs, LossComponent, LossInputs, LossOutput


@dataclass(frozen=True, kw_only=True)
class Imitation(Algorithm):
    """Supervised fine-tuning."""

    components: ClassVar[tuple[LossComponent, ...]] = ("ce",)
    needs_group: ClassVar[bool] = False

    def advantages(self, inputs: CreditInputs) -> torch.Tensor:
        """Return 1 on every token: all of them are to be imitated."""
        return inputs.mask_BT.float()

    def loss(self, inputs: LossInputs) -> LossOutput:
        return self.total(inputs, -inputs.logprobs_BT)
