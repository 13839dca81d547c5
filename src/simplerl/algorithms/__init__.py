"""Algorithms: frozen dataclasses whose fields are their hyper-parameters, composed from `simplerl.ops`.

Adding one is one file and one line here. What an algorithm is to the learner stands in `Algorithm`.
"""

from typing import TYPE_CHECKING, ClassVar, Protocol

from simplerl.algorithms.grpo import GRPO
from simplerl.types import Batch, LossInputs, LossOutput

if TYPE_CHECKING:
    import torch


class Algorithm(Protocol):
    """What the learner asks of an algorithm."""

    needs_critic: ClassVar[bool]
    needs_group: ClassVar[bool]
    """Whether the baseline comes from the other samples of the problem, so that one sample is a contradiction."""

    @property
    def needs_reference(self) -> bool:
        """Whether the loss reads `ref_logprobs_BT`."""

    @property
    def needs_entropy_gradient(self) -> bool:
        """Whether the loss differentiates `entropy_BT`."""

    def advantages(self, batch: Batch, values_BT: "torch.Tensor | None") -> "torch.Tensor":
        """Return advantages_BT over the whole step, 0 outside the mask."""

    def mask(self, batch: Batch) -> "torch.Tensor":
        """Return mask_BT: the tokens that take part in the loss."""

    def weights(self, mask_BT: "torch.Tensor", group_B: "torch.Tensor") -> "torch.Tensor":
        """Return weights_BT of one update."""

    def carries_gradient(self, advantages_BT: "torch.Tensor") -> "torch.Tensor":
        """Return bool [B]: whether a response can contribute to the gradient; others need not be computed."""

    def loss(self, inputs: LossInputs) -> LossOutput:
        """Return the micro-batch's share of the loss."""


ALGORITHMS: dict[str, type] = {
    "grpo": GRPO,
}
