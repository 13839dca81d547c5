"""Estimates over problems and their uncertainty. Arrays are [P, …]: problems first, M measures or G samples after.

Problems are the unit of every interval and test, because the samples of one problem are not independent.
"""

import itertools
import math
from collections.abc import Container, Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from simplerl.core.seeds import generator

#: Subsets of k samples that `majority_at_k` looks at: all of them up to this number, else as many drawn ones.
SUBSETS = 1000


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Return the unbiased estimate of P(at least one of k samples is right) from `correct` of n samples.

    1 − C(n − c, k) / C(n, k) in product form (Chen et al., arXiv 2107.03374, eq. 1). Needs 1 ≤ k ≤ n.
    """
    if not 1 <= k <= n or not 0 <= correct <= n:
        raise ValueError(f"pass@k needs 1 <= k <= n and 0 <= correct <= n; got k={k}, n={n}, correct={correct}")
    if n - correct < k:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(n - correct + 1, n + 1)))


def majority_at_k(answers: Sequence[Hashable | None], right: Hashable, k: int, *, seed: int = 0) -> float:
    """Return the share of subsets of k samples whose most frequent answer is `right` (maj@k, arXiv 2203.11171).

    `answers` holds one label per sample, None where it gave no answer and has no vote; equally frequent answers are
    decided for the one that came first, and a subset without any vote is not right. With more than `SUBSETS` subsets
    that many are drawn. Needs 1 ≤ k ≤ n.
    """
    n = len(answers)
    if not 1 <= k <= n:
        raise ValueError(f"maj@k needs 1 <= k <= n; got k={k}, n={n}")
    if math.comb(n, k) <= SUBSETS:
        subsets = itertools.combinations(range(n), k)
        count = math.comb(n, k)
    else:
        rng = generator(seed, "majority", n, k)
        subsets = (sorted(rng.choice(n, k, replace=False)) for _ in range(SUBSETS))
        count = SUBSETS
    return sum(_majority([answers[i] for i in subset]) == right for subset in subsets) / count


def _majority(votes: Sequence[Hashable | None]) -> Hashable | None:
    """Return the most frequent answer, the earliest of equals; None without any."""
    counts: dict[Hashable, int] = {}
    for vote in votes:
        if vote is not None:
            counts[vote] = counts.get(vote, 0) + 1
    return max(counts, key=counts.__getitem__) if counts else None


def bootstrap_ratios(
    above_PM: np.ndarray,
    below_PM: np.ndarray,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the percentile bootstrap interval (low_M, high_M) of Σ_P above / Σ_P below.

    With below = 1 that is a mean over problems; with counts of samples it is a mean over samples that respects that
    they come in problems. Resamples in which nothing stands below are left out; where there are no others, NaN. The
    draws are fixed by `seed`.
    """
    above_PM, below_PM = np.asarray(above_PM, dtype=np.float64), np.asarray(below_PM, dtype=np.float64)
    problems = len(above_PM)
    if above_PM.ndim != 2 or above_PM.shape != below_PM.shape or not problems:
        raise ValueError(f"the bootstrap needs two equal non-empty [P, M], got {above_PM.shape} and {below_PM.shape}")
    rng = generator(seed, "bootstrap", problems)
    sums_RM, counts_RM = np.empty((2, resamples, above_PM.shape[1]))
    for resample in range(resamples):
        times_P = np.bincount(rng.integers(0, problems, problems), minlength=problems)
        np.matmul(times_P, above_PM, out=sums_RM[resample])
        np.matmul(times_P, below_PM, out=counts_RM[resample])
    ratios_RM = np.where(counts_RM > 0, sums_RM / np.where(counts_RM > 0, counts_RM, 1), np.nan)
    tail = (1 - confidence) / 2
    empty_M = np.isnan(ratios_RM).all(0)
    ratios_RM[:, empty_M] = 0.0
    low_M, high_M = np.nanquantile(ratios_RM, [tail, 1 - tail], axis=0)
    low_M[empty_M] = high_M[empty_M] = np.nan
    return low_M, high_M


def bootstrap_interval(
    values_P: np.ndarray, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean over problems. One problem gives (value, value)."""
    values_P = np.asarray(values_P, dtype=np.float64)
    if values_P.ndim != 1 or len(values_P) == 0:
        raise ValueError(f"the bootstrap needs a non-empty vector of problems, got shape {values_P.shape}")
    above_PM = values_P[:, None]
    low_M, high_M = bootstrap_ratios(
        above_PM, np.ones_like(above_PM), confidence=confidence, resamples=resamples, seed=seed
    )
    return float(low_M[0]), float(high_M[0])


def ratio_figures(
    above_PM: np.ndarray, below_PM: np.ndarray, names: Sequence[str], *, shares: Container[str] = ()
) -> dict[str, dict[str, Any]]:
    """Return name → {value, low, high, problems} of Σ_P above / Σ_P below with its 95% bootstrap interval.

    `problems` counts those with something below; NaN where there are none. A measure in `shares` that is 0 or 1 in
    every problem gets the exact interval's other end: its bootstrap would have no width.
    """
    low_M, high_M = bootstrap_ratios(above_PM, below_PM)
    found = {}
    for m, name in enumerate(names):
        above, below = above_PM[:, m], below_PM[:, m]
        counted = int((below > 0).sum())
        value = float(above.sum() / below.sum()) if counted else float("nan")
        low, high = float(low_M[m]), float(high_M[m])
        if counted and name in shares:
            low = 1 - certain_end(counted) if value == 1 else low
            high = certain_end(counted) if value == 0 else high
        found[name] = {"value": value, "low": low, "high": high, "problems": counted}
    return found


def powers_up_to(n: int) -> tuple[int, ...]:
    """Return 1, 2, 4 … and n: the k at which curves over the number of samples are looked at."""
    return tuple(sorted({2**i for i in range(n.bit_length()) if 2**i <= n} | {n}))


def certain_end(problems: int, *, confidence: float = 0.95) -> float:
    """Return the upper end of the exact interval (Clopper & Pearson, 1934) of a share seen 0 times in `problems`.

    1 − (α/2)^(1/P). A bootstrap of equal values has no width, although nothing is certain after ten failures.
    """
    return 1.0 - ((1 - confidence) / 2) ** (1 / problems)


def sign_flip_test(differences_P: np.ndarray, *, draws: int = 20_000, seed: int = 0) -> float:
    """Return the two-sided p-value of "the mean of paired differences is 0": the sign-flip permutation test.

    Exact where the problems that differ are at most 14 (2^14 sign patterns); otherwise by draws, counting the observed
    pattern as one of them (Phipson & Smyth, 2010), so that p is never 0. Equal pairs say nothing: without
    others p is 1.
    """
    differences = np.asarray(differences_P, dtype=np.float64)
    differences = differences[differences != 0]
    if not len(differences):
        return 1.0
    observed = abs(differences.sum()) - 1e-9
    if len(differences) <= 14:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=len(differences))))
        return float((np.abs(signs @ differences) >= observed).mean())
    rng = generator(seed, "sign-flip", len(differences))
    hits = sum(abs((rng.integers(0, 2, len(differences)) * 2 - 1) @ differences) >= observed for _ in range(draws))
    return float((hits + 1) / (draws + 1))


def mean_of_estimates(figures: Sequence[Mapping[str, float]]) -> tuple[float, float, float]:
    """Return (value, low, high) of the mean of independent estimates, each with `value`, `low` and `high`.

    Half-widths of independent intervals add in squares: those of the mean are √Σ(half-width²) / number, each side by
    itself.
    """
    value = sum(f["value"] for f in figures) / len(figures)
    below = math.sqrt(sum((f["value"] - f["low"]) ** 2 for f in figures)) / len(figures)
    above = math.sqrt(sum((f["high"] - f["value"]) ** 2 for f in figures)) / len(figures)
    return value, value - below, value + above
