"""Estimates over problems and their uncertainty. Arrays are [P, G]: problems by samples."""

import numpy as np

from simplerl.seeds import generator


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Return the unbiased estimate of P(at least one of k samples is right) from `correct` of n samples.

    1 − C(n − c, k) / C(n, k) in product form (Chen et al., arXiv 2107.03374, eq. 1). Needs 1 ≤ k ≤ n.
    """
    if not 1 <= k <= n or not 0 <= correct <= n:
        raise ValueError(f"pass@k needs 1 <= k <= n and 0 <= correct <= n; got k={k}, n={n}, correct={correct}")
    if n - correct < k:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(n - correct + 1, n + 1)))


def bootstrap_interval(
    values_P: np.ndarray, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean over problems.

    Problems are the unit that is resampled, because the samples of one problem are not independent. A single problem
    gives (value, value); the draws are fixed by `seed`.
    """
    values_P = np.asarray(values_P, dtype=np.float64)
    if values_P.ndim != 1 or len(values_P) == 0:
        raise ValueError(f"the bootstrap needs a non-empty vector of problems, got shape {values_P.shape}")
    rng = generator(seed, "bootstrap", len(values_P))
    means = np.array([values_P[rng.integers(0, len(values_P), len(values_P))].mean() for _ in range(resamples)])
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
