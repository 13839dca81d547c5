"""What differs between two texts, word by word.

Myers' greedy algorithm ("An O(ND) difference algorithm", 1986) on what is left between the common beginning and end,
with bounds on words and differences: then the time is at most some tenths of a second. Beyond them everything between
counts as different, and the page says so.
"""

import itertools
import re
from collections.abc import Sequence

from simplerl.markup.text import cut, escape_marked, left_out

#: Words of a side between common beginning and end, and words that differ, up to which single words are told apart.
MOST_WORDS, MOST_DIFFERENCES = 5_000, 400

_WORDS = re.compile(r"\s+|\d+|[^\W\d]+|[^\w\s]|_")

Runs = list[tuple[bool, str]]
"""Pieces of a text in order: (whether it differs, the piece)."""


def differences(first: str, second: str, *, limit: int = 20_000) -> tuple[str, str]:
    """Return both texts as HTML, what only the first has in `<del>` and what only the second has in `<ins>`."""
    (a, missing_a), (b, missing_b) = cut(first, limit), cut(second, limit)
    runs_a, runs_b, exact = runs(a, b)
    note = "" if exact else '<span class="left-out">compared as a whole: too many differences for single words</span>'
    sides = []
    for tag, pieces, missing in (("del", runs_a, missing_a), ("ins", runs_b, missing_b)):
        texts = ((differs, escape_marked(text)) for differs, text in pieces)
        marked = "".join(f"<{tag}>{text}</{tag}>" if differs else text for differs, text in texts)
        sides.append(marked + left_out(missing) + note)
    return sides[0], sides[1]


def runs(first: str, second: str) -> tuple[Runs, Runs, bool]:
    """Return the pieces of both texts, and whether they were compared word by word."""
    a, b = _WORDS.findall(first), _WORDS.findall(second)
    shorter = min(len(a), len(b))
    head = next((i for i in range(shorter) if a[i] != b[i]), shorter)
    tail = next((i for i in range(shorter - head) if a[-1 - i] != b[-1 - i]), shorter - head)
    inner_a, inner_b = a[head : len(a) - tail], b[head : len(b) - tail]
    common = _common(inner_a, inner_b) if max(len(inner_a), len(inner_b)) <= MOST_WORDS else None
    sides = []
    for words, inner, side in ((a, inner_a, 0), (b, inner_b, 1)):
        same = {pair[side] for pair in common or ()}
        flags = [False] * head + [index not in same for index in range(len(inner))] + [False] * tail
        pieces = itertools.groupby(zip(flags, words, strict=True), key=lambda pair: pair[0])
        sides.append([(flag, "".join(word for _, word in group)) for flag, group in pieces])
    return sides[0], sides[1], common is not None


def _common(a: Sequence[str], b: Sequence[str]) -> list[tuple[int, int]] | None:
    """Return index pairs of a longest common subsequence; None with more than `MOST_DIFFERENCES` differences."""
    # Diagonal k = x − y → (the furthest x that d differences reach, the stretches of equal words on the way there).
    best: dict[int, tuple[int, tuple | None]] = {1: (0, None)}
    for d in range(min(len(a) + len(b), MOST_DIFFERENCES) + 1):
        for k in range(-d, d + 1, 2):
            down = k == -d or (k != d and best[k - 1][0] < best[k + 1][0])
            x, path = best[k + 1] if down else (best[k - 1][0] + 1, best[k - 1][1])
            begin = x
            while x < len(a) and x - k < len(b) and a[x] == b[x - k]:
                x += 1
            best[k] = x, (begin, x, k, path) if x > begin else path
            if x >= len(a) and x - k >= len(b):
                return _pairs(best[k][1])
    return None


def _pairs(path: tuple | None) -> list[tuple[int, int]]:
    pairs = []
    while path is not None:
        begin, end, k, path = path
        pairs += [(x, x - k) for x in range(begin, end)]
    return pairs
