"""What differs between two texts, word by word: all that is not in a longest common subsequence of their words.

The rows of its table are bits of whole numbers (Hyyrö, "Bit-parallel LCS-length computation revisited", 2004), so that
the longest texts take a tenth of a second whatever they hold.
"""

import itertools
import re
from collections import defaultdict
from collections.abc import Sequence

from simplerl.markup.text import cut, escape_marked, left_out

#: Words of a side between common beginning and end that are compared; all beyond them counts as different.
MOST_WORDS = 8_000

_WORDS = re.compile(r"\s+|\d+|[^\W\d]+|[^\w\s]|_")

Runs = list[tuple[bool, str]]
"""Pieces of a text in order: (whether it differs, the piece)."""


def differences(first: str, second: str, *, limit: int = 20_000) -> tuple[str, str]:
    """Return both texts as HTML, what only the first has in `<del>` and what only the second has in `<ins>`."""
    (a, missing_a), (b, missing_b) = cut(first, limit), cut(second, limit)
    runs_a, runs_b = runs(a, b)
    sides = []
    for tag, pieces, missing in (("del", runs_a, missing_a), ("ins", runs_b, missing_b)):
        texts = ((differs, escape_marked(text)) for differs, text in pieces)
        sides.append("".join(f"<{tag}>{text}</{tag}>" if differs else text for differs, text in texts))
        sides[-1] += left_out(missing)
    return sides[0], sides[1]


def runs(first: str, second: str) -> tuple[Runs, Runs]:
    """Return the pieces of both texts."""
    a, b = _WORDS.findall(first), _WORDS.findall(second)
    shorter = min(len(a), len(b))
    head = next((i for i in range(shorter) if a[i] != b[i]), shorter)
    tail = next((i for i in range(shorter - head) if a[-1 - i] != b[-1 - i]), shorter - head)
    inner_a, inner_b = a[head : len(a) - tail], b[head : len(b) - tail]
    sides = []
    for words, inner, same in zip(
        (a, b), (inner_a, inner_b), _common(inner_a[:MOST_WORDS], inner_b[:MOST_WORDS]), strict=True
    ):
        flags = [False] * head + [index not in same for index in range(len(inner))] + [False] * tail
        pieces = itertools.groupby(zip(flags, words, strict=True), key=lambda pair: pair[0])
        sides.append([(flag, "".join(word for _, word in group)) for flag, group in pieces])
    return sides[0], sides[1]


def _common(a: Sequence[str], b: Sequence[str]) -> tuple[set[int], set[int]]:
    """Return the indices in `a` and in `b` of a longest common subsequence."""
    places: defaultdict[str, int] = defaultdict(int)
    for j, word in enumerate(b):
        places[word] |= 1 << j
    # Bit j of row i is 0 where the subsequence of a[:i] and b[: j + 1] is longer than that of a[:i] and b[:j].
    row = every = (1 << len(b)) - 1
    rows = [row]
    for word in a:
        hits = row & places[word]
        row = ((row + hits) | (row - hits)) & every
        rows.append(row)
    same_a, same_b = set(), set()
    i, j = len(a), len(b)
    while i and j:
        if a[i - 1] == b[j - 1]:
            i, j = i - 1, j - 1
            same_a.add(i)
            same_b.add(j)
        elif rows[i] >> (j - 1) & 1:
            j -= 1
        else:
            i -= 1
    return same_a, same_b
