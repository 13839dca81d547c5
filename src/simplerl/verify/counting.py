"""Numbers in words: `seven`, `twenty-one`, `one hundred and five`, and the powers of a thousand behind digits."""

from __future__ import annotations

import re

_SMALL = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen
"""
_ROUND = "twenty thirty forty fifty sixty seventy eighty ninety"
_UNITS, _TENS = _SMALL.split(), _ROUND.split()
_VALUES = {word: i for i, word in enumerate(_UNITS)} | {word: 10 * i for i, word in enumerate(_TENS, 2)}
#: Words that multiply the number in front of them: 1.5 million.
SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_WORD = re.compile(r"[a-z]+")


def number_in_words(text: str) -> int | None:
    """Return the whole number that English words say, all of them, else None."""
    words = _WORD.findall(text.lower())
    if not words or len(words) > 16 or re.search(r"[^a-z\s-]", text.lower()) or words[0] == "and":
        return None
    total = group = 0
    last = 10**15
    for before, word in zip(["", *words], words, strict=False):
        if word == "and":
            if before not in ("hundred", *SCALES) or word == words[-1]:
                return None
        elif word == "hundred" and 0 < group < 10:
            group *= 100
        elif word in SCALES and group and SCALES[word] < last:
            last = SCALES[word]
            total, group = total + group * last, 0
        elif word in _VALUES and _fits(group, before, _VALUES[word]):
            group += _VALUES[word]
        else:
            return None
    return total + group


def _fits(group: int, before: str, value: int) -> bool:
    """Whether a number may follow what was said: twenty one, hundred five; not five six, nor one zero."""
    if not before or before in SCALES or before in ("hundred", "and"):
        return value > 0 or (not before and not group)
    return before in _TENS and 0 < value < 10
