"""The responses of one step as figures: shares of them with each trait, and how their length goes with their reward.

The same extraction serves records on disk and the groups of a run that is going on. What a text shows (`TRAITS`) is
found by pure functions in linear and bounded time: of a long text the two ends are read.
"""

import math
import re
import tomllib
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from simplerl.doctor.rule import Example
from simplerl.verify.extract import boxes

if TYPE_CHECKING:
    from simplerl.runs.responses import Answer

#: Responses of a step that are looked at; of more, whole problems evenly apart.
MOST = 512
#: Characters of an example that are kept.
EXCERPT = 300


def step_features(step: int, responses: Sequence["Answer"]) -> tuple[dict[str, float], dict[str, list[Example]]]:
    """Return (figures, one example for each trait that was seen) of a step's responses; empty without any."""
    chosen = thin(responses)
    if not chosen:
        return {}, {}
    showing = {name: [r for r in chosen if shows(r.response, r.question)] for name, shows in TRAITS.items()}
    shares = {name: len(responses) / len(chosen) for name, responses in showing.items()}
    valued = [response for response in chosen if response.correct or response.restating]
    if valued and any(response.rule for response in chosen):
        showing["text/restating"] = [response for response in valued if response.restating]
        shares["text/restating"] = len(showing["text/restating"]) / len(valued)
    examples = {name: [_example(step, name, first[0])] for name, first in showing.items() if first}
    return {**shares, **correlations(chosen)}, examples


def thin(responses: Sequence["Answer"]) -> Sequence["Answer"]:
    """Return at most `MOST` responses, of whole problems that lie evenly apart (of one huge problem: its first)."""
    if len(responses) <= MOST:
        return responses
    from simplerl.runs.responses import by_problem  # Arrow is not needed to know the traits.

    problems = list(by_problem(responses).values())
    wanted = max(1, int(MOST / (len(responses) / len(problems))))
    chosen = [problems[i * len(problems) // wanted] for i in range(min(wanted, len(problems)))]
    return [response for group in chosen for response in group][:MOST]


def _example(step: int, name: str, response: "Answer") -> Example:
    """Return a response cut to where the trait shows: the end for repetition, else the beginning."""
    at_the_end = name in ("text/repetition", "text/restating")
    excerpt = response.response[-EXCERPT:] if at_the_end else response.response[:EXCERPT]
    return Example(step=step, problem_id=response.problem_id, sample=response.sample, excerpt=excerpt)


def correlations(responses: Sequence["Answer"]) -> dict[str, float]:
    """Return the correlation of length and reward within problems, and within problem and verdict, with their errors.

    A figure is left out where nothing varies: under a reward that is the verdict, none of the second kind exists.
    """
    figures: dict[str, float] = {}
    for name, by_verdict in (("text/reward_length", False), ("text/reward_length_same_verdict", True)):
        groups: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
        for r in responses:
            if r.reward is not None and r.tokens is not None and math.isfinite(r.reward):
                groups[r.problem_id, r.status if by_verdict else ""].append((float(r.tokens), r.reward))
        sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(3))
        for (problem, _), pairs in groups.items():
            x, y = np.array(pairs).T
            x, y = x - x.mean(), y - y.mean()
            sums[problem] += np.array([x @ y, x @ x, y @ y])
        result = pooled(np.array(list(sums.values()))) if sums else None
        if result:
            figures |= {name: result[0], f"{name}_error": result[1]}
    return figures


def pooled(sums_P3: np.ndarray) -> tuple[float, float] | None:
    """Return the pooled correlation and its standard error over problems; None where it does not exist.

    `sums_P3` holds Σxy, Σxx, Σyy of each problem about its own means. r = Σxy / √(Σxx Σyy) over all problems; its error
    is by linearisation, the problem being the unit: u_p = xy_p / √(SxSy) − r/2 (xx_p/Sx + yy_p/Sy), error √Σu².
    """
    xy, xx, yy = sums_P3.sum(0)
    if xx <= 1e-12 or yy <= 1e-12 or len(sums_P3) < 2:
        return None
    scale = math.sqrt(xx * yy)
    r = float(xy / scale)
    u_P = sums_P3[:, 0] / scale - r / 2 * (sums_P3[:, 1] / xx + sums_P3[:, 2] / yy)
    return r, float(np.sqrt((u_P**2).sum() * len(u_P) / (len(u_P) - 1)))


# -- what a text shows -----------------------------------------------------------------------------------------------

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
