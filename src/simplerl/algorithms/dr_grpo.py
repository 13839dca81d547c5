"""Dr. GRPO: GRPO without its two biases, "GRPO done right".

Source: arXiv 2503.20783. A = r − mean over the samples of a problem (no division by the std, which favours problems
that are nearly always or nearly never solved), and a loss that divides by a constant length (a response's own length
in the denominator makes long wrong answers cheap):

    1 / (L · responses) · Σ max(−A·ρ, −A·clip(ρ, 1 ± ε))
"""

from dataclasses import dataclass

from simplerl.algorithms.base import ClippedAlgorithm, Normaliser


@dataclass(frozen=True, kw_only=True)
class DrGRPO(ClippedAlgorithm):
    """GRPO without division by the group's std or by the response's length."""

    scale = "none"
    normaliser: Normaliser = "constant"
