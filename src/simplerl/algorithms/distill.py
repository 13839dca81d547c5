"""On-policy distillation: learn from a teacher's say on one's own responses.

Source: arXiv 2306.13649 (GKD, on-policy data and the reverse KL), as Thinking Machines run it ("On-policy
distillation", 2025): the student samples, the teacher scores every token, and the loss is KL(π‖π_teacher) on the very
tokens. Its gradient is that of

    ½(log π − log π_teacher)²        the component `ref_kl`, with a denominator of its own

and no reward takes part. The teacher is the reference, a model of the same vocabulary. Without one it is the policy as
it begins, at a lower temperature: self-distillation by sharpening (arXiv 2412.01951), which needs no reward either.
`rl_coef` adds GRPO's clipped surrogate as the component `rl` of the same update.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveFloat

from simplerl.algorithms.base import ClippedAlgorithm, KLEstimator
from simplerl.core.types import LossComponent, LossInputs, LossOutput


@dataclass(frozen=True, kw_only=True)
class Distill(ClippedAlgorithm):
    """The reverse KL to a teacher on the policy's own responses, alone or beside the reward."""

    kl_coef: PositiveFloat = 1.0
    kl_estimator: KLEstimator = "k2"
    teacher_temperature: PositiveFloat = 1.0
    """Temperature of the teacher, as a share of the policy's; below 1 it is surer of itself."""
    rl_coef: NonNegativeFloat = 0.0
    """Weight of the clipped surrogate beside the KL; 0: the reward takes no part."""

    components: ClassVar[tuple[LossComponent, ...]] = ("rl", "ref_kl")

    @property
    def needs_group(self) -> bool:  # type: ignore[override]
        """Whether the surrogate takes part, whose baseline comes from the other samples of the problem."""
        return self.rl_coef > 0

    def advice(self, reference: str) -> str:
        """Say that a teacher which is the policy itself has nothing to teach."""
        if reference or self.rl_coef or self.teacher_temperature != 1:
            return ""
        return (
            "WARNING: without --reference the teacher is the policy as it begins, and at algorithm.teacher_temperature "
            "= 1 it has nothing to teach: name a teacher, or sharpen it (--algorithm.teacher-temperature 0.5)"
        )

    def loss(self, inputs: LossInputs) -> LossOutput:
        """Return the share of the KL to the teacher, or of the surrogate."""
        if inputs.component == "ref_kl":
            return self.total(inputs, torch.zeros_like(inputs.logprobs_BT))
        alone = dataclasses.replace(inputs, ref_logprobs_BT=None, entropy_BT=torch.zeros_like(inputs.entropy_BT))
        surrogate = super().loss(alone)  # KL and entropy are in the other term.
        return LossOutput(loss=self.rl_coef * surrogate.loss, metrics=surrogate.metrics)
