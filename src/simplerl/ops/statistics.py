"""Estimates over problems and their uncertainty. Arrays are [P, …]: problems first, M measures or G samples after.

Problems are the unit of every interval and test, because the samples of one problem are not independent.
"""

import functools
import itertools
import math
from collections.abc import Container, Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from simplerl.core.seeds import generator

#: Subsets of k samples that `majority_at_k` looks at: all of them up to this number, else as many drawn ones.
SUBSETS = 1000
#: What lies outside of an interval on each side: all are of 95%.
TAIL = (1 - 0.95) / 2
#: Counts of resamples that are kept for the next figure of as many problems.
KEPT = 2**22


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Return the unbiased estimate of P(at least one of k samples is right) from `correct` of n samples.

    1 − C(n − c, k) / C(n, k) in product form (Chen et al., arXiv 2107.03374, eq. 1). Needs 1 ≤ k ≤ n.
    """
    if not 1 <= k <= n or not 0 <= correct <= n:
        raise ValueError(f"pass@k needs 1 <= k <= n and 0 <= correct <= n; got k={k}, n={n}, correct={correct}")
    if n - correct < k:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(n - correct + 1, n + 1)))


def majority_at_k(
    answers: Sequence[Hashable | None], right: Hashable, k: int, *, weights: Sequence[float] | None = None
) -> float:
    """Return the share of subsets of k samples whose most frequent answer is `right` (maj@k, arXiv 2203.11171).

    `answers` holds one label per sample, None where it gave no answer and has no vote; equally frequent answers are
    decided for the one that came first, and a subset without any vote is not right. With more than `SUBSETS` subsets
    that many are drawn. With `weights` a vote counts by that of its sample. Needs 1 ≤ k ≤ n.
    """
    n = len(answers)
    if not 1 <= k <= n:
        raise ValueError(f"maj@k needs 1 <= k <= n; got k={k}, n={n}")
    if math.comb(n, k) <= SUBSETS:
        subsets: list[Any] = list(itertools.combinations(range(n), k))
    else:
        rng = generator(0, "majority", n, k)
        subsets = [sorted(rng.choice(n, k, replace=False)) for _ in range(SUBSETS)]
    weights = weights or [1] * n
    won = sum(_majority([(answers[i], weights[i]) for i in subset]) == right for subset in subsets)
    return won / len(subsets)


def _majority(votes: Sequence[tuple[Hashable | None, float]]) -> Hashable | None:
    """Return the answer of most weight, the earliest of equals; None without any."""
    counts: dict[Hashable, float] = {}
    for vote, weight in votes:
        if vote is not None:
            counts[vote] = counts.get(vote, 0) + weight
    return max(counts, key=counts.__getitem__) if counts else None


def _resamples(problems: int, number: int) -> Iterator[np.ndarray]:
    """Yield for each resample how often each problem is drawn."""
    return iter(_kept(problems, number)) if problems * number <= KEPT else _drawn(problems, number)


def _drawn(problems: int, number: int) -> Iterator[np.ndarray]:
    rng = generator(0, "bootstrap", problems)
    return (np.bincount(rng.integers(0, problems, problems), minlength=problems) for _ in range(number))


@functools.lru_cache(maxsize=8)
def _kept(problems: int, number: int) -> np.ndarray:
    """Return the resamples as [number, problems]: a report asks for the same ones at every figure."""
    return np.array(list(_drawn(problems, number)), dtype=np.uint16)


def bootstrap_ratios(
    above_PM: np.ndarray, below_PM: np.ndarray, *, resamples: int = 2000
) -> tuple[np.ndarray, np.ndarray]:
    """Return the percentile bootstrap interval (low_M, high_M) of Σ_P above / Σ_P below.

    With below = 1 that is a mean over problems; with counts of samples it is a mean over samples that respects that
    they come in problems. Resamples in which nothing stands below are left out; where there are no others, NaN.
    """
    above_PM, below_PM = np.asarray(above_PM, dtype=np.float64), np.asarray(below_PM, dtype=np.float64)
    sums_RM, counts_RM = np.empty((2, resamples, above_PM.shape[1]))
    for resample, times_P in enumerate(_resamples(len(above_PM), resamples)):
        np.matmul(times_P, above_PM, out=sums_RM[resample])
        np.matmul(times_P, below_PM, out=counts_RM[resample])
    ratios_RM = np.where(counts_RM > 0, sums_RM / np.where(counts_RM > 0, counts_RM, 1), np.nan)
    empty_M = np.isnan(ratios_RM).all(0)
    ratios_RM[:, empty_M] = 0.0
    low_M, high_M = np.nanquantile(ratios_RM, [TAIL, 1 - TAIL], axis=0)
    low_M[empty_M] = high_M[empty_M] = np.nan
    return low_M, high_M


def ratio_figures(
    above_PM: np.ndarray, below_PM: np.ndarray, names: Sequence[str], *, shares: Container[str] = ()
) -> dict[str, dict[str, Any]]:
    """Return name → {value, low, high, problems} of Σ_P above / Σ_P below with its 95% bootstrap interval.

    `problems` counts those with something below; NaN where there are none. A measure in `shares` that is 0 or 1 in
    every problem gets the exact interval's other end: its bootstrap would have no width.
    """
    low_M, high_M = bootstrap_ratios(above_PM, below_PM)
    figures = {}
    for m, name in enumerate(names):
        above, below = above_PM[:, m], below_PM[:, m]
        counted = int((below > 0).sum())
        value = float(above.sum() / below.sum()) if counted else float("nan")
        low, high = float(low_M[m]), float(high_M[m])
        if counted and name in shares:
            low = 1 - certain_end(counted) if value == 1 else low
            high = certain_end(counted) if value == 0 else high
        figures[name] = {"value": value, "low": low, "high": high, "problems": counted}
    return figures


def intervals(
    sums: Sequence[Mapping[str, tuple[float, float]]], names: Sequence[str], *, shares: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return measure → figure of the (sum, count) of each problem, by one bootstrap for all.

    A problem that lacks a measure adds nothing to either side of its ratio. `shares` are between 0 and 1.
    """
    above_PM, below_PM = (
        np.array([[one.get(name, (0.0, 0.0))[side] for name in names] for one in sums]) for side in (0, 1)
    )
    return ratio_figures(above_PM, below_PM, names, shares=shares)


def difference_figure(change_P: np.ndarray) -> dict[str, Any]:
    """Return {value, low, high, problems} of the mean of paired differences of shares, each between −1 and 1.

    Where all are equal the bootstrap has no width, and the exact interval's (`certain_end`) stands on both sides.
    """
    figure = ratio_figures(change_P[:, None], np.ones((len(change_P), 1)), ["change"])["change"]
    if np.ptp(change_P) == 0:
        value, end = figure["value"], certain_end(len(change_P))
        figure |= {"low": max(value - end, -1.0), "high": min(value + end, 1.0)}
    return figure


def powers_up_to(n: int) -> tuple[int, ...]:
    """Return 1, 2, 4 … and n, at least 1: the k at which curves over the number of samples are looked at."""
    return tuple(sorted({2**i for i in range(n.bit_length())} | {max(n, 1)}))


def certain_end(problems: int) -> float:
    """Return the upper end of the exact interval (Clopper & Pearson, 1934) of a share seen 0 times in `problems`.

    1 − (α/2)^(1/P). A bootstrap of equal values has no width, although nothing is certain after ten failures.
    """
    return 1.0 - TAIL ** (1 / problems)


def sign_flip_test(differences_P: np.ndarray) -> float:
    """Return the two-sided p-value of "the mean of paired differences is 0": the sign-flip permutation test.

    Exact where the problems that differ are at most 14 (2^14 sign patterns); otherwise by 20,000 draws, counting the
    observed pattern as one of them (Phipson & Smyth, 2010), so that p is never 0. Equal pairs say nothing: without
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
    rng, draws = generator(0, "sign-flip", len(differences)), 20_000
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


def cohen_kappa(counts_4: np.ndarray) -> float:
    """Return the agreement of two judges about a yes or no, beyond chance: κ = (p_o − p_e) / (1 − p_e) (Cohen, 1960).

    The counts are of: both say yes, only the first, only the second, neither. p_o is the share on which they agree, p_e
    what two judges would agree on who say yes as often but independently. NaN where p_e = 1: both say the same of
    everything, and nothing can be learned of their agreement beyond chance.
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


def kappa_interval(counts_P4: np.ndarray) -> tuple[float, float]:
    """Return the percentile bootstrap interval of κ over problems; NaN where no resample has a κ.

    Resamples in which both judges say the same of everything have none and are left out.
    """
    counts_P4 = np.asarray(counts_P4, dtype=np.float64)
    kappas = np.array([cohen_kappa(times_P @ counts_P4) for times_P in _resamples(len(counts_P4), 2000)])
    kappas = kappas[~np.isnan(kappas)]
    if not len(kappas):
        return float("nan"), float("nan")
    low, high = np.quantile(kappas, [TAIL, 1 - TAIL])
    return float(low), float(high)


def two_sided(t: float, freedom: int) -> float:
    """Return P(|T| ≤ t) for Student's T with `freedom` degrees of freedom (a whole number, at least 1).

    The finite sums of Abramowitz & Stegun, 26.7.3 and 26.7.4, in θ = arctan(t / √ν).
    """
    angle = math.atan(t / math.sqrt(freedom))
    cosine, odd = math.cos(angle), freedom % 2
    term, total = (cosine, cosine) if odd else (1.0, 1.0)
    if freedom == 1:
        total = 0.0
    for power in range(3 if odd else 2, freedom - 1, 2):
        term *= cosine**2 * (power - 1) / power
        total += term
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if odd else total


def quantile(confidence: float, freedom: int) -> float:
    """Return the t with P(|T| ≤ t) = confidence, by bisection."""
    low, high = 0.0, 1.0
    while two_sided(high, freedom) < confidence:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided(middle, freedom) < confidence else (low, middle)
    return (low + high) / 2


def t_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return (mean, low, high): mean ± t · s / √n, s the unbiased standard deviation of n independent values.

    One value has no interval: low and high are NaN. Assumes values that are about normal, as means over many responses
    are; the interval may reach beyond what the quantity can be.
    """
    array = np.asarray(values, dtype=np.float64)
    mean = float(array.mean())
    if len(array) == 1:
        return mean, math.nan, math.nan
    half = quantile(0.95, len(array) - 1) * float(array.std(ddof=1)) / math.sqrt(len(array))
    return mean, mean - half, mean + half


def auc(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """Return the chance that a score of label 1 is above one of label 0, ties by half; None where one kind is missing.

    The area under the ROC curve, by ranks (Mann and Whitney).
    """
    positive = int(labels.sum())
    if not 0 < positive < len(labels):
        return None
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[inverse]
    return float((ranks[labels == 1].sum() - positive * (positive + 1) / 2) / (positive * (len(labels) - positive)))


def reliability(shares: np.ndarray, labels: np.ndarray, *, bins: int = 10) -> list[dict[str, float]]:
    """Return for each bin of predicted shares its mean prediction, the share of label 1 and its size; no empty bin."""
    bin_N = np.minimum((shares * bins).astype(int), bins - 1)
    return [
        {"predicted": float(shares[own].mean()), "seen": float(labels[own].mean()), "count": int(own.sum())}
        for own in (bin_N == number for number in range(bins))
        if own.any()
    ]
