r"""Extraction: find the final answer in a response, in time linear in its length.

Only the response is ever read. It is first reduced to its final part: cut at the first stop string (a base model runs
on after its end-of-text token, and what follows answers another question), then to what follows the last `</think>`.
A *policy* looks for the answer there. How prose states an answer is in `tables.toml`, under `prose`; every run of
characters there is bounded, so that nothing is quadratic. `boxes` is the one box finder of the package.
"""

import re
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from simplerl.verify.words import TABLES, pattern

#: Where text stops being the response: end-of-turn tokens of the common chat and base models.
STOP_STRINGS: tuple[str, ...] = tuple(TABLES["stop_strings"].split())
_STOP = re.compile("|".join(map(re.escape, STOP_STRINGS)))
#: Longer answers are never parsed; they count only when they equal the gold literally.
MAX_ANSWER_CHARS = 2_000
#: Characters at the end of a response in which an answer without a box or a phrase is looked for.
_TAIL = 20_000
_PROSE = {name: pattern(text) for name, text in TABLES["prose"].items()}


def final_part(response: str) -> str:
    """Return the part of a response that may hold the answer: before any stop string, after the last `</think>`."""
    # A template may hand over its own opening token as the first characters; nothing is answered before it.
    stop = _STOP.search(response, 1)
    return response[: stop.start() if stop else None].rpartition("</think>")[2]


# Boxes ---------------------------------------------------------------------------------------------------------------

# A run of backslashes is looked at once, from its start, whatever its length.
_BRACE = re.compile(r"(?<!\\)\\++(?:boxed|fbox)\s*+\{|\\.|[{}]", re.DOTALL)


class Box(NamedTuple):
    r"""A closed `\boxed{…}` or `\fbox{…}`: where its command begins, where it ends, and what it holds."""

    start: int
    end: int
    content: str


def closing_brace(text: str, start: int) -> int:
    """Return the index of the brace that closes the group opened just before `start`, or −1."""
    depth = 1
    for match in _BRACE.finditer(text, start):
        token = match.group()
        depth += (token[-1] == "{" and token != "\\{") - (token == "}")
        if not depth:
            return match.start()
    return -1


def boxes(text: str) -> list[Box]:
    r"""Return the closed boxes of a text in the order in which they open, and skip unclosed ones. Braces are matched
    as TeX does, so `\{` and `\}` do not count."""
    open_groups: list[tuple[int, int] | None] = []  # command and content of a box, None for any other group
    closed = []
    for match in _BRACE.finditer(text):
        token = match.group()
        if token == "}":
            group = open_groups.pop() if open_groups else None
            if group is not None:
                closed.append(Box(group[0], match.end(), text[group[1] : match.start()]))
        elif token[-1] == "{" and token != "\\{":
            open_groups.append(match.span() if len(token) > 1 else None)
    return sorted(closed)


def last_box(text: str) -> str | None:
    """Return the content of the last closed box, the innermost of nested ones; None if no box is closed."""
    at = max(text.rfind("\\boxed"), text.rfind("\\fbox"))
    closed = [] if at < 0 else boxes(text[at:]) or boxes(text)  # mostly the tail is enough
    return closed[-1].content if closed else None


def boxed(text: str) -> str | None:
    r"""Return the content of the last closed box (policy `boxed`, the default). An empty one (spaces, `\text{}`) is
    no answer, and does not bring back an earlier one."""
    return _shown(last_box(text) or "")


def _shown(content: str) -> str | None:
    """Return a content that shows something, else None."""
    visible = "".join(char for char in content if char.isascii() or unicodedata.category(char)[0] not in "CZ")
    return content if len(content) > 200 or _PROSE["invisible"].sub("", visible) else None


# Formulas in prose ---------------------------------------------------------------------------------------------------

_CLOSINGS = {"$$": "$$", "\\[": "\\]", "\\(": "\\)", "$": "$"}
#: Formulas are replaced by single characters while the sentence around them is read.
_FIRST_MARK, _LAST_MARK = 0xE000, 0xF8FF


class Prose(NamedTuple):
    """A text whose formulas are replaced by marks, one private character each."""

    text: str
    formulas: list[str]

    def restore(self, text: str) -> str:
        """Return a part of the text with its formulas in place of their marks."""
        return _PROSE["mark"].sub(lambda mark: f" {self.formulas[ord(mark.group()) - _FIRST_MARK]} ", text)


def mark_formulas(text: str) -> Prose:
    r"""Replace the formulas `$…$`, `$$…$$`, `\(…\)`, `\[…\]` and displayed environments by marks. A single
    `$` may be a price: it encloses a formula only if no digit follows a closing `$` with a space before it."""
    text = _PROSE["mark"].sub("", text)
    parts: list[str] = []
    formulas: list[str] = []
    start = position = 0
    while len(formulas) < _LAST_MARK - _FIRST_MARK and (opening := _PROSE["opening"].search(text, position)):
        position = opening.end()
        closing = f"\\end{{{opening[1]}}}" if opening[1] else _CLOSINGS.get(opening[0])
        if closing is None or (end := _closing(text, position, closing)) < 0:
            continue
        inside = text[position:end]
        parts.append(text[start : opening.start()])
        if inside[0] == "^" and text[opening.start() - 1 : opening.start()].isalpha():  # a unit: cm$^2$
            parts.append(inside)
        else:
            parts.append(chr(_FIRST_MARK + len(formulas)))
            formulas.append(re.sub(r"&|\\\\\s*$", "", inside).strip() if opening[1] else inside.strip())
        start = position = end + len(closing)
    return Prose("".join([*parts, text[start:]]), formulas)


def _closing(text: str, begin: int, closing: str) -> int:
    """Return where a formula that begins there is closed, or −1."""
    limit = begin + MAX_ANSWER_CHARS
    end = text.find(closing, begin, limit)
    while closing[0] == "$" and end > begin and text[end - 1] == "\\":
        end = text.find(closing, end + 1, limit)
    price = closing == "$" and text[end - 1].isspace() and text[end + 1 : end + 2].isdigit()
    return -1 if price or not text[begin : max(end, begin)].strip() or "\n\n" in text[begin:end] else end


# Phrases -------------------------------------------------------------------------------------------------------------


def _statement(text: str) -> tuple[bool, str | None]:
    """Return whether a phrase states an answer, and the answer; None where it is taken back without another."""
    text = _PROSE["contracted"].sub(r"\1 not", text)
    phrase, chosen = _last(_PROSE["phrase"].finditer(text)), _last(_PROSE["chosen"].finditer(text))
    if chosen and (phrase is None or chosen.start() > phrase.start()):
        letter = next(filter(None, chosen.groups()))
        return True, None if _PROSE["second_letter"].match(text, chosen.end()) else letter
    if phrase is None:
        return False, None
    prose = mark_formulas(text[phrase.end() : phrase.end() + MAX_ANSWER_CHARS])
    rest = _PROSE["lead"].sub("", prose.text, count=1)
    for taken_back in reversed(list(_PROSE["retraction"].finditer(rest))):
        after = rest[taken_back.end() :]
        again = _PROSE["repeated"].match(after)
        answer = _sentence(after[again.end() :], prose) if again else _last_quantity(Prose(after, prose.formulas))
        if answer or _PROSE["denial"].search(taken_back.group() + after.split("\n\n")[0]):
            return True, answer
    end = _PROSE["end"].search(rest)
    if end and end.group() in "?？":  # a question states nothing; what follows may
        return True, _last_quantity(Prose(rest[end.end() :], prose.formulas))
    answer = _sentence(rest, prose)
    if answer and (_PROSE["negation"].search(phrase.group()) or _PROSE["denied"].search(text[: phrase.start()][-80:])):
        return True, None  # what the answer is not
    return bool(answer), answer


def _sentence(rest: str, prose: Prose) -> str | None:
    """Return the answer that a sentence begins with: without reasons behind it, and without names in front of it."""
    end = _PROSE["end"].search(rest)
    text = (rest[: end.start()] if end else rest).strip()
    if _PROSE["filler"].match(bare := text.strip(" *_`\t\"'")):
        text = _PROSE["filler"].sub("", bare, count=1)
    sentence = text = _PROSE["equivalently"].sub(" or", text)
    clause = _PROSE["clause"].search(text)
    if clause and clause.start() and not _PROSE["hedge"].search(clause.group()):
        text = text[: clause.start()]
    named = _PROSE["named"].fullmatch(text) or (_PROSE["named"].fullmatch(sentence) if text[:1].isalpha() else None)
    denied = named and _PROSE["negation"].search(named.string, 0, named.start(1))
    text = prose.restore(named[1] if named and not denied else text)
    return _clean(_PROSE["rate"].sub("", text.strip())) or None


def _clean(answer: str) -> str:
    r"""Take off Markdown marks, a box without braces, and the `$` and punctuation around an answer."""
    answer = re.sub(r"\\(?:boxed|fbox)(?=\s*[^\s{])", "", answer).strip(' \t\r\n*_`,;:"').rstrip('.。*_`" ')
    answer = _PROSE["times_ten"].sub(r"\\times ", answer).replace("**", "^")
    return answer.strip(" \t\r\n*_`,;:")


def _last_quantity(prose: Prose) -> str | None:
    """Return the last number, or the last formula if that comes later, with what "or" joins to it."""
    text = prose.text.rstrip(" \t\r\n.。*_`")
    matches: deque[re.Match[str]] = deque(maxlen=12)
    for match in _PROSE["quantity"].finditer(text):
        content = _PROSE["power_of_letter"].sub("", prose.restore(match.group()))
        if _PROSE["numeric"].search(content) or (_PROSE["mark"].match(match.group()) and len(content.strip()) > 1):
            matches.append(match)
    if not matches or _PROSE["asked"].match(prose.text, matches[-1].end()):
        return None  # a question states nothing
    first = last = matches.pop()
    hedged = listed = False
    while matches:
        between = text[matches[-1].end() : first.start()]
        joined = _PROSE["joined"].fullmatch(between)
        if not (joined or _PROSE["listed"].fullmatch(between)):
            break
        hedged = hedged or bool(joined)
        first = matches.pop()
        listed = listed or bool(_PROSE["plural"].search(text[max(0, first.start() - 20) : first.start()]))
    start = first.start() if hedged or listed else last.start()
    answer = _clean(prose.restore(text[start : last.end()]).replace("negative ", "-").replace("minus ", "-"))
    return answer.replace("$", "") if "\\$" not in answer else answer


def _last(matches: Iterable[re.Match[str]]) -> re.Match[str] | None:
    last = deque(matches, maxlen=1)
    return last.pop() if last else None


# Policies ------------------------------------------------------------------------------------------------------------


def boxed_then_phrases_then_last_number(text: str) -> str | None:
    """Return the box; else what follows "the answer is"; else the last formula or number. Two values
    joined by "or" are one answer, and a value that is taken back ("3? No, it is 4") is none."""
    if (answer := boxed(text)) is not None:
        return answer
    stated, answer = _statement(text)
    if stated:
        return answer
    letter = _PROSE["closing_letter"].search(text[-200:])
    if letter and not _PROSE["first_letter"].search(text[-200:][: letter.start()]):
        return letter[1] or letter[2]
    # Begin with a line: half a formula would turn the others inside out.
    tail = text if len(text) <= _TAIL else text[text.find("\n", -_TAIL) + 1 :][-_TAIL:]
    return _last_quantity(mark_formulas(tail))


def r1_tags(text: str) -> str | None:
    """Return the content of the last `<answer>…</answer>`; a box inside it is opened."""
    _, opening, content = text.rpartition("</answer>")[0].rpartition("<answer>")
    if not opening or "</answer>" in content:
        return None
    inner = last_box(content)
    return _shown(content.strip() if inner is None else inner)


def gsm8k_hashes(text: str) -> str | None:
    """Return what follows the last `####` on its line, as in GSM8K's own solutions."""
    _, mark, answer = text.rpartition("####")
    return answer[:MAX_ANSWER_CHARS].partition("\n")[0].strip() or None if mark else None


def choice(text: str) -> str | None:
    """Return the letter of a multiple-choice answer: in the box, else "the answer is (C)", else a letter alone on a
    line, else the last letter in parentheses. Two letters joined by a word choose nothing."""
    if (content := boxed(text)) is not None:
        return content
    tail = text[-MAX_ANSWER_CHARS:]
    for name in ("stated_letter", "lone_letter", "bracketed_letter"):
        if last := _last(_PROSE[name].finditer(tail)):
            # "Answer: B" states B whatever stands in front; "(B)" after "(A) or" does not.
            before = tail[max(0, last.start() - 40) : last.start()] if name != "stated_letter" else ""
            denied = _PROSE["negation"].search(last.group()) or _PROSE["not_before"].search(before)
            hedged = _PROSE["second_letter"].match(tail, last.end()) or _PROSE["first_letter"].search(before)
            return None if denied or hedged else last[1]
    return None


#: Name, as runs record it → policy: the final part of a response → the answer as written, None when there is none.
POLICIES: dict[str, Callable[[str], str | None]] = {
    policy.__name__.replace("_", "-"): policy
    for policy in (boxed, boxed_then_phrases_then_last_number, r1_tags, gsm8k_hashes, choice)
}
