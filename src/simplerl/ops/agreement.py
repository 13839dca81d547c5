"""Agreement of two judges about a yes or no, beyond chance. Counts are [P, 4]: both, only the first, only the second,
neither; problems first, because the responses to one problem are not independent."""

import numpy as np

from simplerl.core.seeds import generator


def cohen_kappa(counts_4: np.ndarray) -> float:
    """Return κ = (p_o − p_e) / (1 − p_e) of (both, first only, second only, neither) (Cohen, 1960).

    p_o is the share on which they agree, p_e what two judges would agree on who say yes as often but independently.
    NaN where p_e = 1: both say the same of everything, and nothing can be learned of their agreement beyond chance.
    """
    both, first, second, neither = (float(count) for count in counts_4)
    n = both + first + second + neither
    if n == 0:
        return float("nan")
    yes_1, yes_2 = (both + first) / n, (both + second) / n
    expected = yes_1 * yes_2 + (1 - yes_1) * (1 - yes_2)
    if expected == 1:
        return float("nan")
    return ((both + neither) / n - expected) / (1 - expected)


def kappa_interval(
    counts_P4: np.ndarray, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of κ over problems; NaN where no resample has a κ.

    Resamples in which both judges say the same of everything have none and are left out.
    """
    counts_P4 = np.asarray(counts_P4, dtype=np.float64)
    problems = len(counts_P4)
    if counts_P4.ndim != 2 or counts_P4.shape[1] != 4 or not problems:
        raise ValueError(f"the bootstrap of kappa needs a non-empty [P, 4], got {counts_P4.shape}")
    rng = generator(seed, "bootstrap", problems)
    draws = (np.bincount(rng.integers(0, problems, problems), minlength=problems) for _ in range(resamples))
    found = np.array([cohen_kappa(times_P @ counts_P4) for times_P in draws])
    found = found[~np.isnan(found)]
    if not len(found):
        return float("nan"), float("nan")
    tail = (1 - confidence) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return float(low), float(high)
