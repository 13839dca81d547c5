"""GRPO: group-relative policy optimisation, as SimpleRL-Zoo runs it.

Source: arXiv 2402.03300 (the method), arXiv 2503.18892 (the recipe). The loss of an update is

    Σ w · [ max(−A·ρ, −A·clip(ρ, 1 ± ε)) − c_H · H + β · k3(π‖π_ref) ]

with ρ = π/π_old at the sampling temperature, A = (r − mean) / (std + 1e-6) over the samples of a problem, and w the
normaliser. Left out: the original's mean over micro-batches of token means, which depends on the layout.
"""

from dataclasses import dataclass

from simplerl.algorithms.base import ClippedAlgorithm
from simplerl.ops.policy_gradient import Scale


@dataclass(frozen=True, kw_only=True)
class GRPO(ClippedAlgorithm):
    """Group-relative policy optimisation."""

    scale: Scale = "group"
    """Divide the centred reward by the std of its group (`group`), of all (`batch`) or not (`none`)."""
