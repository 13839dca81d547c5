"""Per-token estimators of KL(π‖π_ref) from samples of π (Schulman, "Approximating KL divergence", 2020)."""

from typing import Literal

import torch

KLEstimator = Literal["k1", "k2", "k3"]


def kl(logprobs_BT: torch.Tensor, ref_logprobs_BT: torch.Tensor, *, estimator: str = "k3") -> torch.Tensor:
    """Return a per-token estimate of KL(π‖π_ref) in nats, shape [B, T]. With d = log π_ref − log π:

    `k1` −d · `k2` d²/2 · `k3` e^d − d − 1, clamped to [−10, 10] as in SimpleRL-Zoo ("low_var_kl").
    """
    if estimator not in KL_ESTIMATORS:
        raise ValueError(f"KL estimator must be one of {', '.join(KL_ESTIMATORS)}; got {estimator!r}")
    return KL_ESTIMATORS[estimator](ref_logprobs_BT - logprobs_BT)


KL_ESTIMATORS = {
    "k1": lambda d: -d,
    "k2": lambda d: 0.5 * d.square(),
    # The clamp has long cut in at d = 20; beyond d = 88 an infinite exponential would make its gradient NaN.
    "k3": lambda d: (torch.expm1(d.clamp(max=20)) - d).clamp(-10, 10),
}


def adapted(coefficient: float, kl: float, *, target: float, horizon: int, count: int) -> float:
    """Return the KL coefficient for the next step: β · (1 + clip(KL/target − 1, ±0.2) · n/horizon).

    The proportional controller of Ziegler et al. (arXiv 1909.08593, §2.2); `count` n is the responses of the step.
    """
    error = min(max(kl / target - 1, -0.2), 0.2)
    return coefficient * (1 + error * count / horizon)
