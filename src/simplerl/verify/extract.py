r"""Extraction: find the final answer in a response, in time linear in its length.

Only the response is ever read. It is first reduced to its final part: cut at the first stop string (a base model runs
on after its end-of-text token, and what follows answers another question), then to what follows the last `</think>`.
A *policy* looks for the answer there. The same policies serve training and evaluation, by name.

`boxes` is the one box finder of the package.
"""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

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
#: Characters at the end of a response in which an answer without a box or a phrase is looked for.
_TAIL = 20_000

Policy = Callable[[str], str | None]
"""Finds the final answer in the final part of a response: the answer as written, or None when there is none."""


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


# Boxes ---------------------------------------------------------------------------------------------------------------

# A run of backslashes is looked at once, from its start, whatever its length.
_BRACE = re.compile(r"(?<!\\)\\++(?:boxed|fbox)\s*+\{|\\.|[{}]", re.DOTALL)
_LAST_BOX = re.compile(r"\\(?:boxed|fbox)\s*+\{")


class Box(NamedTuple):
    r"""A closed `\boxed{…}` or `\fbox{…}`: where its command begins, where it ends, and what it holds."""

    start: int
    end: int
    content: str


def closing_brace(text: str, start: int) -> int:
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


def boxes(text: str) -> list[Box]:
    r"""Return the closed boxes of a text in the order in which they open.

    Braces are matched as TeX does, so `\{` and `\}` do not count. An unclosed box (a truncated response) is skipped.
    """
    if "\\boxed" not in text and "\\fbox" not in text:
        return []
    open_groups: list[tuple[int, int] | None] = []  # command and content of a box, None for any other group
    closed = []
    for match in _BRACE.finditer(text):
        token = match.group()
        if token == "}":
            group = open_groups.pop() if open_groups else None
            if group is not None:
                closed.append(Box(group[0], match.end(), text[group[1] : match.start()]))
        elif token == "{":
            open_groups.append(None)
        elif token[-1] == "{" and len(token) > 2:
            open_groups.append((match.start(), match.end()))
    return sorted(closed)


def last_box(text: str) -> str | None:
    """Return the content of the last closed box, the innermost of nested ones; None if no box is closed."""
    at = max(text.rfind("\\boxed"), text.rfind("\\fbox"))
    if at < 0:
        return None
    opening = _LAST_BOX.match(text, at)
    if opening:  # the common case reads only the tail of the response
        end = closing_brace(text, opening.end())
        if end >= 0:
            return text[opening.end() : end]
    closed = boxes(text)
    return closed[-1].content if closed else None


def is_blank(content: str) -> bool:
    r"""Whether a box holds nothing that a reader could see: spaces, empty braces, `\text{}`, spacing commands."""
    if len(content) > 200:
        return False
    content = "".join(char for char in content if char.isascii() or unicodedata.category(char)[0] not in "CZ")
    bare = re.sub(r"\\(?:text|mathrm|textbf|mbox|mathbf|boxed|fbox|[,;:!. ]|quad|qquad|phantom)|[{}\s$~]", "", content)
    return not bare


def boxed(text: str) -> str | None:
    """Return the content of the last closed box (policy `boxed`, the default).

    An empty box is no answer, like any other last box that is not one: it does not bring back an earlier one.
    """
    content = last_box(text)
    return None if content is None or is_blank(content) else content


# Formulas in prose ---------------------------------------------------------------------------------------------------

_DELIMITERS = (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$"))
_OPENING = re.compile(r"\\\$|\$\$?|\\\[|\\\(|\\begin\{((?:equation|align|gather|displaymath|math)\*?)\}")
#: Formulas are replaced by single characters while the sentence around them is read.
_FIRST_MARK, _LAST_MARK = "\ue000", "\uf8ff"
_MARK = f"[{_FIRST_MARK}-{_LAST_MARK}]"
_PRIVATE = re.compile(_MARK)


class Prose(NamedTuple):
    """A text whose formulas are replaced by marks, one private character each."""

    text: str
    formulas: list[str]

    def restore(self, text: str) -> str:
        """Return a part of the text with its formulas in place of their marks."""
        return _PRIVATE.sub(lambda mark: f" {self.formulas[ord(mark.group()) - ord(_FIRST_MARK)]} ", text)


def read_prose(text: str) -> Prose:
    r"""Replace the formulas `$…$`, `$$…$$`, `\(…\)`, `\[…\]` and displayed environments by marks.

    A single `$` may be a price: it encloses a formula only if no digit follows a closing `$` with a space before it.
    """
    text = _PRIVATE.sub("", text)
    parts: list[str] = []
    formulas: list[str] = []
    start = position = 0
    most = ord(_LAST_MARK) - ord(_FIRST_MARK)
    while len(formulas) < most and (opening := _OPENING.search(text, position)):
        position = opening.end()
        closing = f"\\end{{{opening[1]}}}" if opening[1] else dict(_DELIMITERS).get(opening[0])
        if closing is None or (end := _closing(text, position, closing)) < 0:
            continue
        inside = text[position:end]
        if inside[0] == "^" and text[opening.start() - 1 : opening.start()].isalpha():  # a unit: cm$^2$
            parts += [text[start : opening.start()], inside]
            start = position = end + len(closing)
            continue
        parts += [text[start : opening.start()], chr(ord(_FIRST_MARK) + len(formulas))]
        formulas.append(re.sub(r"&|\\\\\s*$", "", inside).strip() if opening[1] else inside.strip())
        start = position = end + len(closing)
    return Prose("".join([*parts, text[start:]]), formulas)


def _closing(text: str, begin: int, closing: str) -> int:
    """Return where a formula that begins there is closed, or −1."""
    limit = begin + MAX_ANSWER_CHARS
    end = text.find(closing, begin, limit)
    while closing[0] == "$" and end > begin and text[end - 1] == "\\":
        end = text.find(closing, end + 1, limit)
    if end < 0 or not text[begin:end].strip() or "\n\n" in text[begin:end]:
        return -1
    price = closing == "$" and text[end - 1].isspace() and text[end + 1 : end + 2].isdigit()
    return -1 if price else end


# Phrases -------------------------------------------------------------------------------------------------------------

_VERB = r"(?:is|are|was|were|be|equals|must be|should be|would be|will be)"
# Every run is bounded: three unbounded ones in a row are cubic in a response of spaces.
_PHRASE = re.compile(
    rf"""
    \b(?:answers?|ans|respuesta|réponse|antwort|ответ|final\s{{1,3}}(?:result|value))\b
        (?: [*_\s]{{0,4}}(?:\([^()\n]{{0,40}}\))?[*_\s}}]{{0,4}}[:：=]
          | (?:[^.\n:：=?!]{{0,80}}?[\s*_])?\b(?:{_VERB}|es|est|ist)\b [\s:：]{{0,3}}
          | [*_\s]{{0,4}}\n (?=\s{{0,4}}\S) )
    | 答案\s{{0,3}}(?:是|为|等于|[:：=])
    | \b(?:option|choice|alternative)\s{{0,3}}(?:{_VERB}\b|[:：])(?=[\s*_$({{\\a-z]{{0,20}}[A-H]\b)
    """,
    re.IGNORECASE | re.VERBOSE,
)
#: "Option C is correct", "(C) is the right choice": the letter stands in front.
_CHOSEN = re.compile(
    r"\b(?:[Oo]ption|[Cc]hoice|[Aa]nswer)\s{0,3}\(?([A-H])\)?\s{1,3}is\s{1,3}(?:the\s{1,3})?(?:correct|right|best)\b"
    r"|(?<![\w\\])\(?([A-H])\)?\s{1,3}is\s{1,3}(?:the\s{1,3})?(?:correct|right|best)\b(?!\s{1,3}(?:that|to)\b)"
    r"|\b(?:choose|pick|select|go\s{1,3}with)\s{1,3}(?:option\s|choice\s|answer\s)?\(?([A-H])\b(?!['’])\)?"
)
_CONTRACTED = re.compile(r"\b(is|are|was|were)n['’]t\b", re.IGNORECASE)
_NEGATION = re.compile(r"\b(?:not|never|cannot)\b|\bcan['’]t\b", re.IGNORECASE)
_LEAD = re.compile(r"(?:[\s*_#`:：}~]|\\(?:quad|qquad|[;,! ]))*+")
_END = re.compile(
    r"\n(?!\s{0,4}(?:or|and)\b)|\s{1,4}I hope\b|\\\]|\\\)|\$\$|[□■✓✅]|"
    r"(?<!i\.e)(?<!e\.g)[.。!?？](?=[\s\"'*_)`]|$)(?!\s{1,4}or\b)",
    re.IGNORECASE,
)
#: What follows a value and says nothing of it: a reason, a place, what it is not.
_CLAUSE = re.compile(
    r"(?<=.)[\s,;:(—–]{1,4}(?:and\s)?\b(?:because|since|which|where|whose|so|thus|hence|therefore|given|due|instead|not"
    r"|rather\s+than"
    r"|as\s+(?:required|expected|desired|needed|we|shown|the|stated|claimed|above|before|a|each|every|all|both|there)"
    r"|by(?!\s*[\d\ue000-\uf8ff])|(?:for|from|in)\s+(?:the|this|our|an?|each|every|his|her|their|it)"
    r"|(?:when|after|if)?\s*round(?:ed|ing)|in\s+(?:total|all|sum)|altogether|overall|of\s+(?:them|these|those)"
    r"|with\s+(?:the|this|our|an?|these|those)|obtained|found|using|via|from\s+(?=[A-Z])|QED|done"
    r"|see\s+(?:above|below|the|table|figure|step)|(?<=and\s)(?:the|this|that|we|it)\s)\b.*+",
    re.DOTALL | re.IGNORECASE,
)
#: What must not be left out with such a clause: another value, or that this one is wrong.
_HEDGE = re.compile(
    r"\b(?:or|maybe|perhaps|possibly)\b"
    r"|^[\s,;:(—–]*(?:and\s)?(?:which|not|the|this|that|it)\b[^.]*?\b(?:wrong|incorrect|false|reject\w*|invalid|impossible"
    r"|extraneous|mistaken?|ruled\s+out|sure|certain|not\s+(?:correct|right|valid|true|possible|an?|the))\b",
    re.IGNORECASE,
)
#: "1,200 per month": the rate of an amount; "60 miles per hour" and "50 per cent" are units.
_RATE = re.compile(
    r"(?<=\d)(\s?(?:dollars|cents|euros|pounds|USD))?(?:\s(?:per|a|each)\s(?!cent)[a-z]+|\s?/\s?(?:month|day|week|year|person))$"
)
_FILLER = re.compile(
    r"(?:(?:simply|just|indeed|therefore|thus|hence|clearly|exactly|precisely|then|now|equal\s+to|given\s+by|that)[\s,:]+"
    r"|(?:the\s+)?(?:number|value|integer|fraction|option|choice|letter|expression|following)[\s:]+)++",
    re.IGNORECASE,
)
#: "The largest n is 34": the words name the quantity, what follows the last "is" is the answer.
_NAMED = re.compile(
    rf"(?:[A-Za-z]|{_MARK}\s).*\b(?:is|are|equals|be)\s+(?:equal to\s+)?((?:[-+−.\d\\(\[{{$]|{_MARK}).*)", re.DOTALL
)
#: Taking back what was said: "No, it is 4", "wait", "I mean 4".
_RETRACTION = re.compile(
    rf"(?:(?<=[?!.,;)—–-])|(?<={_MARK})|\n)\s{{0,4}}(?:oh[,\s]\s?)?"
    r"(?:(?:no|nope|sorry|oops|wrong|correction|rather)"
    r"(?=\s{0,3}[,.:;!—–-]|\s+(?:it|that|this|the|i|we|wait|actually)\b|\s+[-\d\ue000-\uf8ff])"
    r"|wait|hmm+|hold\s+on|actually|scratch\s+that|i\s+mean|i\s+meant)\b"
    r"|\s(?:or\s+rather|i\s+mean|i\s+meant|correction:|no\s+wait|no,\s+wait)\b",
    re.IGNORECASE,
)
_DENIAL = re.compile(r"\b(?:wrong|incorrect|mistaken?|error|not|isn't|no)\b", re.IGNORECASE)
_REPEATED = re.compile(
    r"[\s,.:;!—–-]*+(?:wait[\s,.:;!]+|no[\s,.:;!]+|actually[\s,]+|sorry[\s,.!]+)*"
    r"(?:(?:it|that|this|they|the\s+(?:correct\s+|right\s+)?(?:answer|value|result|number))\s?"
    rf"(?:'s|’s|{_VERB}\b)(?:\s+actually)?|make\s+(?:it|that))?[\s:]*+(?=[-+−.\d\\(\[{{$]|{_MARK})",
    re.IGNORECASE,
)


def _statement(text: str) -> tuple[bool, str | None]:
    """Return whether a phrase states an answer, and the answer; None where it is taken back without another."""
    text = _CONTRACTED.sub(r"\1 not", text)
    phrase, chosen = _last(_PHRASE.finditer(text)), _last(_CHOSEN.finditer(text))
    if chosen and (phrase is None or chosen.start() > phrase.start()):
        letter = next(filter(None, chosen.groups()))
        return True, None if _SECOND_LETTER.match(text, chosen.end()) else letter
    if phrase is None:
        return False, None
    prose = read_prose(text[phrase.end() : phrase.end() + MAX_ANSWER_CHARS])
    rest = _LEAD.sub("", prose.text, count=1)
    if not rest.strip():
        return False, None
    for taken_back in reversed(list(_RETRACTION.finditer(rest))):
        after = rest[taken_back.end() :]
        again = _REPEATED.match(after)
        answer = _sentence(after[again.end() :], prose) if again else _last_quantity(Prose(after, prose.formulas))
        if answer or _DENIAL.search(taken_back.group() + after.split("\n\n")[0]):
            return True, answer
    end = _END.search(rest)
    if end and end.group() in "?？":  # a question states nothing; what follows may
        return True, _last_quantity(Prose(rest[end.end() :], prose.formulas))
    answer = _sentence(rest, prose)
    if answer and _NEGATION.search(phrase.group()):
        return True, None  # what the answer is not
    return bool(answer), answer


def _sentence(rest: str, prose: Prose) -> str | None:
    """Return the answer that a sentence begins with: without reasons behind it, and without names in front of it."""
    end = _END.search(rest)
    text = rest[: end.start()] if end else rest
    text = _FILLER.sub("", text.strip(" *_`\t\"'"), count=1) if _FILLER.match(text) else text.strip()
    sentence = text = re.sub(r"\bor,?\s+equivalently\b,?|,?\s+i\.e\.,?", " or", text)
    clause = _CLAUSE.search(text)
    if clause and clause.start() and not _HEDGE.search(clause.group()):
        text = text[: clause.start()]
    named = _NAMED.fullmatch(text) or (_NAMED.fullmatch(sentence) if text[:1].isalpha() else None)
    text = prose.restore(named[1] if named else text)
    return _clean(_RATE.sub("", text.strip())) or None


def _clean(answer: str) -> str:
    r"""Take off Markdown marks, a box without braces, and the `$` and punctuation around an answer."""
    answer = re.sub(r"\\(?:boxed|fbox)(?=\s*[^\s{])", "", answer).strip(' \t\r\n*_`,;:"').rstrip('.。*_`" ')
    answer = re.sub(r"(?<=\d)\s?[x×*·]\s?(?=10\s?(?:\^|\*\*))", r"\\times ", answer).replace("**", "^")
    if answer.count("$") - answer.count("\\$") == 1:
        answer = answer.strip("$") if not answer.endswith("\\$") else answer.lstrip("$")
    return answer.strip(" \t\r\n*_`,;:")


# The last number -----------------------------------------------------------------------------------------------------

_DIGITS = r"(?:\d{1,3}(?:[ \u00a0\u202f]\d{3})++(?![\d/])(?:\.\d++)?|\d++(?:(?:,|\{,\})\d++)*+(?:\.\d++)?|\.\d++)"
_EXPONENT = r"\s?(?:\^|\*\*)\s?(?:\{[-−]?\d{1,9}\}|[-−]?\d{1,9})"
_NUMBER = (
    rf"(?:\d{{1,9}}[\s-])?\d{{1,15}}/\d{{1,15}}(?![\d/])|{_DIGITS}[eE][-+]?\d{{1,9}}\b"
    rf"|{_DIGITS}(?:\s?(?:\\times|\\cdot|[x×*·])\s?10{_EXPONENT}|{_EXPONENT}|:\d\d\b)?"
    r"(?:\s?\\?%|\s(?:thousand|million|billion|trillion)\b|\s?[½⅓⅔¼¾])?|[½⅓⅔¼¾]"
)
_COMMAND = r"\\[dt]?frac\{[^{}]{1,40}\}\{[^{}]{1,40}\}|\\sqrt(?:\[\d{1,3}\])?\{[^{}]{1,40}\}|\\pi(?![a-z])|π|√\d{1,15}"
_LETTER = rf"[A-Za-z](?![A-Za-z'’])(?:{_EXPONENT})?"
_ATOM = rf"(?:(?:{_NUMBER})(?:\s?(?:{_COMMAND}|pi\b)|(?:{_LETTER}))?|(?:{_COMMAND})|(?<![A-Za-z]){_LETTER})"
_RUN = rf"{_ATOM}(?:(?:\s[-+−*×·/÷]\s|[-+−*×·/÷])\$?{_ATOM}){{0,40}}"
_SIGN = r"(?:(?<![\w).}])[-+−]|\b(?:minus|negative)\s)?"
_QUANTITY = re.compile(
    rf"{_MARK}|[(\[]\s?{_SIGN}{_RUN}(?:\s?,\s?{_SIGN}{_RUN}){{1,9}}\s?[)\]]"
    rf"|(?<![\w.^_}}\\]){_SIGN}(?:\\?[$€£]\s?)?{_SIGN}{_RUN}"
)
_POWER_OF_LETTER = re.compile(rf"(?<![A-Za-z\\])[A-Za-z]{_EXPONENT}")
_JOINED = re.compile(r"[\s*_,]{0,4}\b(?:or|and/or)\b[\s*_]{0,4}(?:either\s)?(?:[A-Za-z]\s?=\s?)?", re.IGNORECASE)
_LISTED = re.compile(r"[\s*_]{0,4}(?:,|,?\s?and)[\s*_]{0,4}(?:[A-Za-z]\s?=\s?)?", re.IGNORECASE)
_PLURAL = re.compile(r"\bare\b[\s:*_]{0,4}(?:[A-Za-z]\s?=\s?)?$", re.IGNORECASE)


def _last_quantity(prose: Prose) -> str | None:
    """Return the last number, or the last formula if that comes later, with what "or" joins to it."""
    text = prose.text.rstrip(" \t\r\n.。*_`")
    matches: deque[re.Match[str]] = deque(maxlen=12)
    names: re.Match[str] | None = None
    for match in _QUANTITY.finditer(text):
        content = _POWER_OF_LETTER.sub("", prose.restore(match.group()))
        if any(char.isdigit() or char in "π½⅓⅔¼¾" for char in content) or "\\pi" in content:
            matches.append(match)
        elif _PRIVATE.match(match.group()):
            (matches.append if len(content.strip()) > 1 else lambda name: None)(match)
            names = match
    if not matches:
        return _clean(prose.restore(names.group())) if names and names.end() == len(text) else None
    first = last = matches.pop()
    hedged = listed = False
    while matches:
        between = text[matches[-1].end() : first.start()]
        if not (_JOINED.fullmatch(between) or _LISTED.fullmatch(between)):
            break
        hedged = hedged or bool(_JOINED.fullmatch(between))
        first = matches.pop()
        listed = listed or bool(_PLURAL.search(text[max(0, first.start() - 20) : first.start()]))
    start = first.start() if hedged or listed else last.start()
    answer = _clean(prose.restore(text[start : last.end()]).replace("negative ", "-").replace("minus ", "-"))
    return answer.replace("$", "") if "\\$" not in answer else answer


def _last(matches: Iterable[re.Match[str]]) -> re.Match[str] | None:
    last = deque(matches, maxlen=1)
    return last.pop() if last else None


# Policies ------------------------------------------------------------------------------------------------------------


def boxed_then_phrases_then_last_number(text: str) -> str | None:
    """Return the box; else what follows "the answer is"; else the last formula or number.

    For the evaluation of base models, which often answer without the format. It finds more answers and also more
    accidental ones, so an evaluation reports it under its own name. Two values joined by "or" are one answer, and a
    value that is taken back ("3? No, it is 4") is none.
    """
    answer = boxed(text)
    if answer is not None:
        return answer
    stated, answer = _statement(text)
    if stated:
        return answer
    letter = _CLOSING_LETTER.search(text[-200:])
    if letter and not _FIRST_LETTER.search(text[-200:][: letter.start()]):
        return letter[1] or letter[2]
    tail = text[-_TAIL:]
    if len(text) > _TAIL:  # begin with a line: half a formula would turn the others inside out
        tail = tail[tail.find("\n") + 1 :]
    return _last_quantity(read_prose(tail))


def r1_tags(text: str) -> str | None:
    """Return the content of the last `<answer>…</answer>`; a box inside it is opened."""
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
    """Return what follows the last `####` on its line, as in GSM8K's own solutions."""
    at = text.rfind("####")
    if at < 0:
        return None
    return text[at + 4 : at + 4 + MAX_ANSWER_CHARS].split("\n", 1)[0].strip() or None


_STATED_LETTER = re.compile(
    r"(?:[Aa]nswer|ANSWER|[Oo]ption|[Cc]hoice)\s{0,3}(?:is|are)?\s{0,3}[:：*]{0,4}\s{0,3}[*_$({\\a-z]{0,12}([A-H])\b(?!')"
)
_SECOND_LETTER = re.compile(r"[\s*_$)}.,]{0,12}(?:or|and|/|,)\s{0,3}[*_$({\\a-z]{0,12}[A-H]\b(?!')")
_FIRST_LETTER = re.compile(r"\b[A-H][\s*_$)}.,]{0,12}(?:or|and|/|,)\s{0,3}[*_$({\\a-z]{0,12}\s{0,3}$")
_CLOSING_LETTER = re.compile(r"(?<![A-Za-z\\])\(([A-H])\)[\s.*_]{0,9}$|\n[\s*_]{0,9}([A-H])[\s.*_]{0,9}$")
_BRACKETED_LETTER = re.compile(r"\(([A-H])\)")
_LONE_LETTER = re.compile(r"^[\s(*]*+([A-H])[\s).:*]*$", re.MULTILINE)


def choice(text: str) -> str | None:
    """Return the letter of a multiple-choice answer: in the box, else "the answer is (C)", else a letter alone on a
    line, else the last letter in parentheses. Two letters joined by a word choose nothing."""
    content = boxed(text)
    if content is not None:
        return content
    tail = text[-MAX_ANSWER_CHARS:]
    for pattern in (_STATED_LETTER, _LONE_LETTER, _BRACKETED_LETTER):
        last = _last(pattern.finditer(tail))
        if last:
            # "Answer: B" states B whatever stands in front; "(B)" after "(A) or" does not.
            before = tail[max(0, last.start() - 40) : last.start()] if pattern is not _STATED_LETTER else ""
            if _NEGATION.search(last.group()) or re.search(r"(?:\bnot|n['’]t)\s{0,3}[*_$({\\]{0,4}$", before):
                return None  # what the answer is not
            if _SECOND_LETTER.match(tail, last.end()) or _FIRST_LETTER.search(before):
                return None  # "A or B" chooses nothing
            return last[1]
    return None


#: Name → policy. The name is what recipes, runs and evaluations record.
POLICIES: dict[str, Policy] = {
    "boxed": boxed,
    "boxed-then-phrases-then-last-number": boxed_then_phrases_then_last_number,
    "r1-tags": r1_tags,
    "gsm8k-hashes": gsm8k_hashes,
    "choice": choice,
}
