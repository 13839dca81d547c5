"""What differs between two texts, word by word.

Myers' greedy algorithm ("An O(ND) difference algorithm", 1986) on what is left between the common beginning and end,
with bounds on words and differences: then the time is at most some tenths of a second. Beyond them the whole middle
counts as different, and says so.
"""

import re
from collections.abc import Sequence

from simplerl.markup.text import cut, escape_marked, left_out

#: Words of a side between common beginning and end, and words that differ, up to which single words are told apart.
MOST_WORDS, MOST_DIFFERENCES = 5_000, 400

_WORDS = re.compile(r"\s+|\d+|[^\W\d]+|[^\w\s]|_")

Runs = list[tuple[bool, str]]
"""Pieces of a text in order: (whether it differs, the piece)."""


def runs(first: str, second: str) -> tuple[Runs, Runs, bool]:
    """Return the pieces of both texts, and whether they were compared word by word."""
    a, b = _WORDS.findall(first), _WORDS.findall(second)
    shorter = min(len(a), len(b))
    head = next((i for i in range(shorter) if a[i] != b[i]), shorter)
    tail = next((i for i in range(shorter - head) if a[-1 - i] != b[-1 - i]), shorter - head)
    inner_a, inner_b = a[head : len(a) - tail], b[head : len(b) - tail]
    common = _common(inner_a, inner_b) if max(len(inner_a), len(inner_b)) <= MOST_WORDS else None
    exact = common is not None
    kept = common or []
    sides = []
    for words, inner, side in ((a, inner_a, 0), (b, inner_b, 1)):
        same = {pair[side] for pair in kept}
        flags = [False] * head + [index not in same for index in range(len(inner))] + [False] * tail
        sides.append(_joined(words, flags))
    return sides[0], sides[1], exact


def _common(a: Sequence[str], b: Sequence[str]) -> list[tuple[int, int]] | None:
    """Return index pairs of a longest common subsequence; None with more than `MOST_DIFFERENCES` differences."""
    reach, trace = {1: 0}, []
    for d in range(min(len(a) + len(b), MOST_DIFFERENCES) + 1):
        trace.append(dict(reach))
        for k in range(-d, d + 1, 2):
            x = reach[k + 1] if k == -d or (k != d and reach[k - 1] < reach[k + 1]) else reach[k - 1] + 1
            while x < len(a) and x - k < len(b) and x >= 0 <= x - k and a[x] == b[x - k]:
                x += 1
            reach[k] = x
            if x >= len(a) and x - k >= len(b):
                return _backwards(trace, len(a), len(b))
    return None


def _backwards(trace: list[dict[int, int]], x: int, y: int) -> list[tuple[int, int]]:
    pairs = []
    for d in range(len(trace) - 1, -1, -1):
        reach, k = trace[d], x - y
        before = k + 1 if k == -d or (k != d and reach[k - 1] < reach[k + 1]) else k - 1
        came_x = reach[before] if d else 0
        came_y = came_x - before if d else 0
        while x > max(came_x, 0) and y > max(came_y, 0):
            x, y = x - 1, y - 1
            pairs.append((x, y))
        x, y = came_x, came_y
    return pairs


def _joined(words: Sequence[str], flags: Sequence[bool]) -> Runs:
    pieces: list[tuple[bool, list[str]]] = []
    for word, flag in zip(words, flags, strict=True):
        if pieces and pieces[-1][0] == flag:
            pieces[-1][1].append(word)
        else:
            pieces.append((flag, [word]))
    return [(flag, "".join(piece)) for flag, piece in pieces]


def differences(first: str, second: str, *, limit: int = 20_000) -> tuple[str, str]:
    """Return both texts as HTML, what only the first has in `<del>` and what only the second has in `<ins>`."""
    (a, missing_a), (b, missing_b) = cut(first, limit), cut(second, limit)
    runs_a, runs_b, exact = runs(a, b)
    note = "" if exact else '<span class="left-out">compared as a whole: too many differences for single words</span>'
    return (
        "".join(_piece("del", *piece) for piece in runs_a) + left_out(missing_a) + note,
        "".join(_piece("ins", *piece) for piece in runs_b) + left_out(missing_b) + note,
    )


def _piece(tag: str, differs: bool, text: str) -> str:
    return f"<{tag}>{escape_marked(text)}</{tag}>" if differs else escape_marked(text)
