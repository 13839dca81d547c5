"""What a response's wording shows: reflection keywords and repetition, as SimpleRL-Zoo reports them.

Where the original is wrong ours differs, so the figures are not the original's to the digit: whole words are counted
("await" is not "wait"), in the text as it is, over all samples; and the segments of a text that has spaces are compared
by their words, where the original nearly always compares sets of letters, which any two long sentences share.
"""

import re
from collections.abc import Iterator

#: arXiv 2503.18892, section on reflection.
KEYWORDS = ("recheck", "rethink", "try again", "wait", "alternatively", "retry", "however")
_KEYWORD = re.compile(r"\b(?:" + "|".join(word.replace(" ", r"\s+") for word in KEYWORDS) + r")\b", re.IGNORECASE)

#: Adjacent segments at least this alike are a repetition.
JACCARD = 0.85
#: Segments shorter than this many characters are not compared.
SHORTEST = 20
#: Words of a window, for text that repeats itself without a full stop.
WINDOW = 10


def keywords(response: str) -> int:
    """Return how many reflection keywords stand in a response."""
    return len(_KEYWORD.findall(response))


def repeats(response: str) -> bool:
    """Return whether a response repeats itself: adjacent sentences, lines or windows of words that are nearly equal."""
    return any(
        _alike(before, after)
        for segments in (_split(response, "\n"), _split(response, "."), _split(response, "。"), _windows(response))
        for before, after in _adjacent(segments)
    )


def _split(response: str, separator: str) -> Iterator[set[str]]:
    for segment in response.split(separator):
        if len(segment.strip()) >= SHORTEST:
            yield _units(segment)


def _windows(response: str) -> Iterator[set[str]]:
    words = response.split()
    for start in range(0, len(words) - WINDOW + 1, WINDOW):
        yield set(words[start : start + WINDOW])


def _units(segment: str) -> set[str]:
    """Return the words of a text, or its characters where it has no spaces (Chinese)."""
    words = segment.split()
    return set(words) if len(words) > 1 else set(segment.strip())


def _adjacent(segments: Iterator[set[str]]) -> Iterator[tuple[set[str], set[str]]]:
    before = next(segments, None)
    for after in segments:
        yield before, after
        before = after


def _alike(before: set[str], after: set[str]) -> bool:
    union = before | after
    return bool(union) and len(before & after) / len(union) >= JACCARD
