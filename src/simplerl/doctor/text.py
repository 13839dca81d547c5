"""What a response's text shows: `TRAITS`. Pure, linear in time, and bounded: of a long text its two ends are read."""

import re
import tomllib
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from simplerl.verify.extract import boxes

#: Characters read of each end of a response. What goes wrong shows there: the beginning sets the tone, loops end it.
END = 4000
#: Shorter tails than this (characters) are not judged for repetition.
SHORTEST_LOOP = 48
#: A tail that zlib packs into this share of its size repeats itself; mathematical prose needs 0.35 and more.
PACKED = 0.2
#: Characters of the tail that are packed.
TAIL = 1200
#: Distinct runs of four characters in the last 200, as a part of all: working has 0.6 and more, tables have 0.4. Where
#: the 200 are made of fewer than 12 different characters ("1=1=11=1"), it is neither.
DISTINCT, DISTINCT_OF_FEW, CHARACTERS = 0.4, 0.6, 12
#: Words before the box that count as working, where there is no calculation.
WORDS = 8
#: Letters that a text needs for its script to be known.
LETTERS = 3

_SCRIPTS = tomllib.loads(Path(__file__).with_name("scripts.toml").read_text(encoding="utf-8"))
_LETTERS_OF = {name: re.compile(f"[{ranges}]") for name, ranges in _SCRIPTS.items()}
_LATIN_WORD = re.compile(f"[{_SCRIPTS['Latin']}]{{4,}}")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_BOX = re.compile(r"\\(?:boxed|fbox)\s{0,8}\{")
_CALCULATION = re.compile(r"=|\d\s{0,2}(?:[-+*/×÷^]|\\times|\\cdot|\\div)\s{0,2}\d|\\(?:frac|sqrt|begin)\b")
_WORD = re.compile(r"[^\W\d_]{2,}")
#: Program code: a fenced block, a definition, an import, a print at a line's start.
_CODE = re.compile(
    r"```(?:python|py|cpp|c|java|javascript|js|bash|sh|sql|matlab|julia|sage|sympy)\b|^[ \t]{0,40}(?:"
    r"def [a-z_]\w{0,80}\(|import [a-z_]\w{0,40}\s*$|import \w{1,40} as \w|from [a-z_.]{1,60} import |print\(|"
    r"for \w{1,40} in range\(|#include\s*<|public static |console\.log\()",
    re.MULTILINE,
)


def ends(text: str) -> str:
    """Return a text that is not too long, or its two ends."""
    return text if len(text) <= 2 * END else f"{text[:END]}\n{text[-END:]}"


def repeats(text: str) -> bool:
    """Return whether the end of a text goes round in circles: a loop, few different characters, or a line said thrice.

    A loop is a tail of up to 1,200 characters that zlib packs into a fifth (less the 12 bytes that zlib itself needs).
    """
    tail = text[-TAIL:].strip()
    if len(tail) < SHORTEST_LOOP:
        return False
    data = tail.encode("utf-8", "replace")
    if len(zlib.compress(data, 6)) - 12 <= PACKED * len(data):
        return True
    short = tail[-200:]
    least = DISTINCT if len(set(short)) >= CHARACTERS else DISTINCT_OF_FEW
    if len({short[i : i + 4] for i in range(len(short) - 3)}) < least * (len(short) - 3):
        return True
    lines = Counter(line.strip() for line in re.split(r"[\n。]|\.\s", ends(text)[-2 * END :]))
    return any(count >= 3 and len(line) >= 40 for line, count in lines.items())


def scripts(text: str) -> Counter[str]:
    """Return script → letters of it. LaTeX commands and Greek letters, which are mathematics, do not count.

    Of Latin only words of four letters and more do: names of variables and functions belong to no language.
    """
    text = _COMMAND.sub(" ", ends(text))
    letters = Counter({"Latin": sum(map(len, _LATIN_WORD.findall(text)))})
    if not text.isascii():
        letters.update({name: len(pattern.findall(text)) for name, pattern in _LETTERS_OF.items() if name != "Latin"})
    return +letters


def switches_language(question: str, response: str) -> bool:
    """Return whether a tenth of a response's letters, and three at least, are of no script of the question.

    Japanese is written in kana and Han together; a text with few letters switches nothing.
    """
    asked = scripts(question)
    if sum(asked.values()) < LETTERS:
        return False
    known = set(asked) | ({"Han", "Kana"} if "Kana" in asked else set())
    answered = scripts(response)
    foreign = sum(count for name, count in answered.items() if name not in known)
    return foreign >= LETTERS and foreign >= 0.1 * sum(answered.values())


def several_boxes(text: str) -> bool:
    """Return whether a text boxes different answers."""
    return (
        text.count("\\boxed") + text.count("\\fbox") > 1
        and len({"".join(box.content.split()) for box in boxes(ends(text))}) > 1
    )


def bare_box(text: str) -> bool:
    """Return whether a text boxes an answer without working: before the box no calculation and fewer than 8 words."""
    opening = _BOX.search(text)
    if opening is None:
        return False
    before = text[: opening.start()]
    if len(before) > END or _CALCULATION.search(before):
        return False
    after = text[opening.end() : opening.end() + END]
    # Working after the box is working too.
    rest = after[after.find("}") + 1 :]
    if _CALCULATION.search(_BOX.sub("", rest)):
        return False
    return len(_WORD.findall(_COMMAND.sub(" ", before))) < WORDS and len(_WORD.findall(rest)) < WORDS


#: Figure → whether a response to a question has the trait; the figure is the share of the responses that do.
TRAITS: dict[str, Callable[[str, str], bool]] = {
    "text/repetition": lambda response, question: repeats(response),
    "text/language": lambda response, question: switches_language(question, response),
    "text/bare_box": lambda response, question: bare_box(response),
    "text/several_boxes": lambda response, question: several_boxes(response),
    "text/code": lambda response, question: _CODE.search(ends(response)) is not None,
}
