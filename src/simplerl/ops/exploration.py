"""Exploration and exploitation of one query's samples (B-STaR, arXiv 2412.17256). A mean over queries is a figure.

*Exploration*: how many different right responses are there among K samples? *Exploitation*: does a score pick the right
ones? With n ≥ K samples every figure "among K" is the mean over all C(n, K) subsets of K of them, computed exactly: the
unbiased estimate, of which pass@k is the case S = 1. At K = n it is simply what was seen.
"""

import math
import re
from collections import Counter
from collections.abc import Hashable, Sequence
from fractions import Fraction


def normalised(response: str) -> str:
    """Return a response as it is compared: runs of white space are one space, none at the ends."""
    return " ".join(response.split())


def pass_at_k_s(n: int, classes: Sequence[int], k: int, s: int) -> float:
    """Return P(at least `s` unique right responses among k of n samples): Pass@K-S of one query.

    `classes` holds, for each unique right response, how many of the n samples it is; the others are wrong. The subsets
    of k that meet exactly u classes are the coefficient of x^k y^u in (1 + x)^wrong · Π_j (1 + y((1 + x)^m_j − 1)).
    With s = 1 this is pass@k. Needs 1 ≤ k ≤ n and s ≥ 1.
    """
    if not 1 <= k <= n or s < 1 or sum(classes) > n or any(m < 1 for m in classes):
        raise ValueError(f"Pass@K-S needs 1 <= k <= n, s >= 1 and at most n right; got {n=}, {k=}, {s=}, {classes=}")
    if k == n:
        return float(len(classes) >= s)
    # ways[u][x]: choices of x samples that meet u classes; u = s stands for s or more.
    ways = [[0] * (k + 1) for _ in range(s + 1)]
    wrong = n - sum(classes)
    ways[0] = [math.comb(wrong, x) for x in range(k + 1)]
    for m in classes:
        step = [math.comb(m, x) for x in range(k + 1)]
        new = [list(row) for row in ways]
        for u, row in enumerate(ways):
            for have, count in enumerate(row):
                if count:
                    for more in range(1, min(m, k - have) + 1):
                        new[min(u + 1, s)][have + more] += count * step[more]
        ways = new
    return float(Fraction(ways[s][k], math.comb(n, k)))


def reward_at_k_s(rewards: Sequence[float], right: Sequence[bool], k: int, s: int) -> float:
    """Return P(the top `s` by reward among k of n samples are all right): Reward@K-S of one query.

    Samples of equal reward stand in random order: the expected value over all orders is returned. With s = 1 this is
    Best-of-K. Where the reward is correctness itself it is P(at least s right among k), an oracle's figure. Needs
    1 ≤ s ≤ k ≤ n.
    """
    n = len(rewards)
    if not 1 <= s <= k <= n or len(right) != n or any(r != r for r in rewards):
        raise ValueError(f"Reward@K-S needs 1 <= s <= k <= n and no NaN; got {n=}, {k=}, {s=}")
    total, lower = Fraction(0), n
    clean = {0: 1}  # how many of the top were chosen so far, all right → ways
    for reward in sorted(set(rewards), reverse=True):
        members = [ok for r, ok in zip(rewards, right, strict=True) if r == reward]
        good, bad = sum(members), len(members) - sum(members)
        lower -= len(members)
        after: dict[int, int] = {}
        for have, ways in clean.items():
            need = s - have
            for i in range(good + 1):
                for j in range(bad + 1):
                    here, left = i + j, k - have - i - j
                    if left < 0:
                        continue
                    count = ways * math.comb(good, i) * math.comb(bad, j)
                    if here >= need:
                        total += Fraction(count * math.comb(i, need) * math.comb(lower, left), math.comb(here, need))
                    elif j == 0:
                        after[have + i] = after.get(have + i, 0) + count
        clean = after
    return float(total / math.comb(n, k))


def unique_classes(items: Sequence[Hashable]) -> list[int]:
    """Return how often each different item stands in a list, in the order of their first places."""
    return list(Counter(items).values())


_APART = re.compile(r"[\s<>,;:?!$]")
_AROUND = re.compile(r" ?([-+*/^=×÷·]) ?")


def equations(response: str) -> list[str]:
    """Return the equations in a response, as written but for the spaces around operators: `20 - 5 = 15` is `20-5=15`.

    An equation is text without white space, comma, colon and the like, parted by equals signs; a chain `a=b=c` is one.
    Nothing is computed: `2+3=5` and `3+2=5` are two. The time is linear in the length.
    """
    result = []
    for line in response.splitlines():
        for piece in _APART.split(_AROUND.sub(r"\1", " ".join(line.split()))):
            terms: list[str] = []
            for term in [*piece.rstrip(".").split("="), ""]:
                if term:
                    terms.append(term)
                    continue
                if len(terms) > 1:
                    result.append("=".join(terms))
                terms = []
    return result


def distinct_equations(responses: Sequence[str]) -> float:
    """Return unique equations / all equations in the right responses to one query; 0 where there are none (0/0 = 0)."""
    written = [equation for response in responses for equation in equations(response)]
    return len(set(written)) / len(written) if written else 0.0


def distinct_n(responses: Sequence[str], n: int = 2) -> tuple[int, int]:
    """Return (different, all) n-grams of words over a query's responses: distinct-n (arXiv 1510.03055) is their ratio.

    Words are what white space parts. Responses shorter than n words have no n-gram.
    """
    words = [response.split() for response in responses]
    grams = [gram for own in words for gram in zip(*(own[start:] for start in range(n)), strict=False)]
    return len(set(grams)), len(grams)


def query_effect(unique_right: int, selected: int, wanted: int) -> float:
    """Return min(n′/n*, 1) · n′/n: B-STaR's balance score of one query (arXiv 2412.17256, eq. 3).

    n′ unique right responses among n selected, n* wanted at least. Nothing selected has 0.
    """
    if not 0 <= unique_right <= selected or wanted < 1:
        raise ValueError(f"the query effect needs n' <= n and n* >= 1; got {unique_right=}, {selected=}, {wanted=}")
    return min(unique_right / wanted, 1.0) * unique_right / selected if selected else 0.0
