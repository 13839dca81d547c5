"""Entrocraft and EntroPIC: GRPO that holds the policy's entropy H, by which responses it learns from.

Entrocraft (arXiv 2604.26326), with r = ±1: above the upper bound only right responses are reinforced, A = max(r, 0),
which lowers H; below the lower bound wrong ones are only suppressed, A = min(r, 0), which raises it; between them A is
GRPO's. The bounds move linearly over the run.

EntroPIC (arXiv 2511.15248), a controller: GRPO's A times 1 + α where it is positive and 1 − α where it is negative,
with α = I + (H − H*), within ±1, and I ← I + 0.01 · (H − H*), the integral of what was missed.

H is the mean entropy over the step's tokens under the policy as the step begins, which costs a pass over them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, NonNegativeInt

from simplerl.algorithms.base import ClippedAlgorithm, broadcast_to_tokens, group_advantages
from simplerl.core.errors import ConfigError
from simplerl.core.types import CreditInputs


@dataclass(frozen=True, kw_only=True)
class Entrocraft(ClippedAlgorithm):
    """GRPO between two bounds of the entropy; only reinforcement above them, only suppression below."""

    kl_coef: NonNegativeFloat = 1e-3
    lower_start: NonNegativeFloat = 0.6
    """Lower bound of the entropy (nats) at the first step."""
    lower_end: NonNegativeFloat = 0.4
    """Lower bound at the last step."""
    upper_start: float = 0.7
    """Upper bound at the first step."""
    upper_end: float = 0.5
    """Upper bound at the last step."""
    bound_steps: NonNegativeInt = 0
    """Steps over which the bounds move; 0 takes `steps`."""
    right_above: float = 0.0
    """Responses of a higher reward are the right ones, r = 1; the others have −1."""

    needs_entropy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lower_start > self.upper_start or self.lower_end > self.upper_end:
            raise ConfigError(
                f"algorithm.lower_start = {self.lower_start}, lower_end = {self.lower_end} must not be above "
                f"algorithm.upper_start = {self.upper_start}, upper_end = {self.upper_end}"
            )

    def bounds(self, step: int) -> tuple[float, float]:
        """Return (lower, upper) bound at a step; the first is 1."""
        done = min(1.0, (step - 1) / (self.bound_steps - 1)) if self.bound_steps > 1 else 0.0
        lower = self.lower_start + done * (self.lower_end - self.lower_start)
        return lower, self.upper_start + done * (self.upper_end - self.upper_start)

    def advantages(self, inputs: CreditInputs) -> torch.Tensor:
        """Return max(r, 0), min(r, 0) or GRPO's advantages, by the entropy of the step."""
        batch, (lower, upper) = inputs.batch, self.bounds(inputs.step)
        if lower <= inputs.entropy <= upper:
            return group_advantages(inputs)
        right_B = batch.rewards_B > self.right_above
        credit_B = right_B.float() if inputs.entropy > upper else right_B.float() - 1
        return broadcast_to_tokens(torch.where(batch.included_B, credit_B, 0.0), inputs)


@dataclass(frozen=True, kw_only=True)
class EntroPIC(ClippedAlgorithm):
    """GRPO whose positive and negative advantages are weighed by a controller of the entropy."""

    entropy_target: NonNegativeFloat = 0.5
    """H*: nats per token."""
    integral_rate: NonNegativeFloat = 0.01
    """How much of a step's H − H* is added to the integral."""

    needs_entropy: ClassVar[bool] = True

    def advantages(self, inputs: CreditInputs) -> torch.Tensor:
        """Return GRPO's advantages, those above 0 times 1 + α and those below times 1 − α."""
        alpha = inputs.state.get("integral", 0.0) + inputs.entropy - self.entropy_target
        alpha = min(max(alpha, -1.0), 1.0)  # Beyond, right responses would be unlearned, or wrong ones learned.
        advantages_BT = group_advantages(inputs)
        return advantages_BT * (1 + alpha * advantages_BT.sign())

    def carried(self, inputs: CreditInputs) -> Mapping[str, float]:
        """Return the integral as the next step takes it up."""
        missed = inputs.entropy - self.entropy_target
        return {"integral": inputs.state.get("integral", 0.0) + self.integral_rate * missed}
