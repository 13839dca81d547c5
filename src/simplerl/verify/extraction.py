"""Extraction: find the final answer in a response, in time linear in its length.

Only the response is ever read. It is first reduced to its final part: cut at the first stop string (a base model runs
on after its end-of-text token, and what follows answers another question), then reduced to what follows the last
`</think>`. An *extractor* looks for the answer there. The same extractors serve training and evaluation, by name.
"""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from dataclasses import dataclass
from typing import Protocol

#: Where text stops being the response: end-of-turn tokens of the common chat and base models.
STOP_STRINGS: tuple[str, ...] = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<end_of_turn>",
    "<|im_start|>",
    "<｜end▁of▁sentence｜>",
    "</s>",
)

#: Longer answers are never parsed; they count only when they equal the gold literally.
MAX_ANSWER_CHARS = 2_000

# A run of backslashes is looked at once, from its start, whatever its length.
_BOX = re.compile(r"(?<!\\)\\++(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
_LAST_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_NUMBER = re.compile(r"(?:(?<![\w).}])[-+])?\$?(?<![A-Za-z\d.])\d[\d,]*(?:\.\d+)?(?:/\d+)?")
_PHRASE = re.compile(
    r"(?:final\s+answer|answer|答案)\s*(?:is|are|was|be|equals|为|是|[:：=])\s*[:：]?\s*", re.IGNORECASE
)
# Every run of spaces is bounded: three unbounded ones in a row are cubic in a response of spaces.
_LETTER = re.compile(
    r"(?:[Aa]nswer|ANSWER|[Oo]ption|[Cc]hoice)\s{0,3}(?:is|are)?\s{0,3}[:：*]{0,4}\s{0,3}[*_$({\\a-z]{0,12}([A-H])\b(?!')"
)
_SECOND_LETTER = re.compile(r"[\s*_$)}.,]{0,12}(?:or|and|/|,)\s{0,3}[*_$({\\a-z]{0,12}[A-H]\b(?!')")
_FIRST_LETTER = re.compile(r"\b[A-H][\s*_$)}.,]{0,12}(?:or|and|/|,)\s{0,3}[*_$({\\a-z]{0,12}\s{0,3}$")
_BRACKETED_LETTER = re.compile(r"\(([A-H])\)")
_LONE_LETTER = re.compile(r"^[\s(*]*([A-H])[\s).:*]*$", re.MULTILINE)


class Extractor(Protocol):
    """Finds the final answer in the final part of a response."""

    def __call__(self, text: str) -> str | None:
        """Return the answer as written, or None when there is none."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Extraction:
    """What was found, and where: `text` is None when the response states no answer in the form asked for."""

    text: str | None
    how: str
    """For a reader, e.g. `last closed box`."""


def final_part(response: str) -> str:
    """Return the part of a response that may hold the answer: before any stop string, after the last `</think>`."""
    text = response
    if "<" in text:
        for stop in STOP_STRINGS:
            # A template may hand over its own opening token as the first characters; nothing is answered before it.
            at = text.find(stop, 1)
            if at >= 0:
                text = text[:at]
        at = text.rfind("</think>")
        if at >= 0:
            text = text[at + len("</think>") :]
    return text


def _close(text: str, start: int) -> int:
    """Return the index of the brace that closes the group opened just before `start`, or −1."""
    depth, at, end = 1, start, len(text)
    while at < end:
        char = text[at]
        if char == "\\":
            at += 1
        elif char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
            if not depth:
                return at
        at += 1
    return -1


def last_box(text: str) -> str | None:
    r"""Return the content of the last closed `\boxed{…}` or `\fbox{…}`; None if no box is closed.

    Braces are matched as TeX does, so `\{` and `\}` do not count. Of nested boxes the innermost last one is meant. An
    unclosed box (a truncated response) is skipped, not guessed at.
    """
    at = max(text.rfind("\\boxed"), text.rfind("\\fbox"))
    if at < 0:
        return None
    opening = _LAST_BOX.match(text, at)
    if opening:  # the common case reads only the tail of the response
        end = _close(text, opening.end())
        if end >= 0:
            return text[opening.end() : end]
    open_groups: list[int] = []  # start of content for a box, −1 for any other brace
    best: tuple[int, int] | None = None
    for match in _BOX.finditer(text):
        token = match.group()
        if token == "}":
            if open_groups:
                start = open_groups.pop()
                if start >= 0 and (best is None or start > best[0]):
                    best = (start, match.start())
        elif token == "{":
            open_groups.append(-1)
        elif token[-1] == "{" and len(token) > 2:
            open_groups.append(match.end())
    return text[best[0] : best[1]] if best else None


def boxed(text: str) -> str | None:
    r"""The content of the last closed, non-empty `\boxed{…}` (policy `boxed`, the default).

    An empty box is no answer, like any other last box that is not one: it does not bring back an earlier one.
    """
    content = last_box(text)
    if content is None or is_blank(content):
        return None
    return content


def is_blank(content: str) -> bool:
    r"""Whether a box holds nothing that a reader could see: spaces, empty braces, `\text{}`, spacing commands."""
    if len(content) > 200:
        return False
    content = "".join(char for char in content if char.isascii() or unicodedata.category(char)[0] not in "CZ")
    bare = re.sub(r"\\(?:text|mathrm|textbf|mbox|mathbf|boxed|fbox|[,;:!. ]|quad|qquad|phantom)|[{}\s$~]", "", content)
    return not bare


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """The last match of a pattern."""
    return deque(pattern.finditer(text), maxlen=1).pop() if pattern.search(text) else None


def _phrase(text: str) -> str | None:
    """The rest of the line after the last "the answer is …", trimmed to one answer."""
    last = _last(_PHRASE, text)
    if last is None:
        return None
    rest = text[last.end() : last.end() + MAX_ANSWER_CHARS].lstrip("* ").split("\n", 1)[0]
    rest = re.split(r"(?<=[\w}$)\]%!*])[.。](?:\s|$)|\s+I hope", rest, maxsplit=1)[0].strip(" *.。")
    maths = re.match(r"\$([^$]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", rest)
    if maths:
        return next(group for group in maths.groups() if group)
    # "The largest n is 34": the words name the quantity, what follows the last "is" is the answer.
    named = re.match(r"[A-Za-z].*\bis\s+(?:equal to\s+)?(\$?[-+\d\\(\[{].*)$", rest)
    return (named.group(1).strip("$ ") if named else rest) or None


def _last_maths(text: str) -> str | None:
    """The last `$…$`, `\\(…\\)` or `\\[…\\]` of the last lines, when the text ends with it."""
    tail = text[-MAX_ANSWER_CHARS:].rstrip()
    maths = re.search(
        r"(?:\$\$?([^$]+)\$\$?|\\\(((?:(?!\\\().)+?)\\\)|\\\[((?:(?!\\\[).)+?)\\\])[\s.。*]*$", tail, re.DOTALL
    )
    if not maths:
        return None
    found = next(group for group in maths.groups() if group)
    return found.strip()


def _last_number(text: str) -> str | None:
    """The last number of the text."""
    tail = text[-50 * MAX_ANSWER_CHARS :]
    last = _last(_NUMBER, tail)
    return last.group().rstrip(",").replace("$", "") if last else None


def boxed_then_phrases_then_last_number(text: str) -> str | None:
    """The box; else what follows "the answer is"; else a closing formula; else the last number.

    For the evaluation of base models, which often answer without the format. It finds more answers and also more
    accidental ones, so an evaluation reports it under its own name.
    """
    found = boxed(text)
    for ladder in (_phrase, _last_maths, _last_number):
        if found is None or not found.strip():
            found = ladder(text)
    return found


def r1_tags(text: str) -> str | None:
    """The content of the last `<answer>…</answer>`; a box inside it is opened."""
    end = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, end) if end >= 0 else -1
    if start < 0:
        return None
    content = text[start + len("<answer>") : end].strip()
    if "</answer>" in content:
        return None  # closed twice: which of the two ends is meant is the reader's guess
    inner = last_box(content)
    if inner is not None:
        content = inner
    return None if is_blank(content) else content


def gsm8k_hashes(text: str) -> str | None:
    """What follows the last `####` on its line, as in GSM8K's own solutions."""
    at = text.rfind("####")
    if at < 0:
        return None
    return text[at + 4 : at + 4 + MAX_ANSWER_CHARS].split("\n", 1)[0].strip() or None


def choice(text: str) -> str | None:
    """The letter of a multiple-choice answer: in the box, else "the answer is (C)", else a letter alone on a line,
    else the last letter in parentheses. Two letters joined by a word choose nothing."""
    content = boxed(text)
    if content is not None:
        return content
    tail = text[-MAX_ANSWER_CHARS:]
    for pattern in (_LETTER, _LONE_LETTER, _BRACKETED_LETTER):
        last = _last(pattern, tail)
        if last:
            # "Answer: B" states B whatever stands in front; "(B)" after "(A) or" does not.
            before = tail[max(0, last.start() - 40) : last.start()] if pattern is not _LETTER else ""
            if _SECOND_LETTER.match(tail, last.end()) or _FIRST_LETTER.search(before):
                return None  # "A or B" chooses nothing
            return next(group for group in last.groups() if group)
    return None


#: Name → extractor. The name is what recipes, runs and evaluations record.
POLICIES: dict[str, Extractor] = {
    "boxed": boxed,
    "boxed-then-phrases-then-last-number": boxed_then_phrases_then_last_number,
    "r1-tags": r1_tags,
    "gsm8k-hashes": gsm8k_hashes,
    "choice": choice,
}
