"""DAPO: decoupled clip and dynamic sampling.

Source: arXiv 2503.14476. Four things on top of GRPO: a higher upper clip (room for unlikely tokens to grow), a token
mean (long responses count by their tokens), dynamic sampling (problems whose rewards are all equal teach nothing;
they are dropped and replaced, up to `refill_rounds` times), and overlong shaping (the reward `overlong`, in a
mixture). No KL.
"""

from dataclasses import dataclass

from pydantic import NonNegativeFloat, NonNegativeInt

from simplerl.algorithms.base import ClippedAlgorithm


@dataclass(frozen=True, kw_only=True)
class DAPO(ClippedAlgorithm):
    """GRPO with a higher upper clip, a token mean and dynamic sampling."""

    clip_high: NonNegativeFloat = 0.28
    refill_rounds: NonNegativeInt = 3
    """Rounds in which problems whose rewards are all equal are replaced by further ones; 0 keeps them."""
