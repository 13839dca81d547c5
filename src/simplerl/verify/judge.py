r"""The judgement of one answer against the gold: from the cheapest certain rule to the most expensive one.

`quick` decides in the calling process whatever needs no algebra, and says so when it cannot. `thorough` runs in a
worker and always decides. Both see only the extracted answer, never the prompt or the rest of the response.
"""

from __future__ import annotations

from dataclasses import dataclass

from simplerl.verify.compare import Comparison, Engine, Undecided
from simplerl.verify.extract import MAX_ANSWER_CHARS
from simplerl.verify.nodes import Node
from simplerl.verify.normalize import normalize
from simplerl.verify.reading import Reading, in_dollars, plain_number, reading, readings, unbox
from simplerl.verify.screen import refuse
from simplerl.verify.words import choice_letter, chosen_letter, comparable_words, unnumbered, words_of_markup
from simplerl.verify.work import BUDGET, QUICK_BUDGET, Spent, TooBig, grant

#: Rules in the order in which they are tried → what each means, for tables and explanations.
RULES: dict[str, str] = {
    "string": "the normalised texts are the same",
    "number": "both are plain numbers, compared exactly",
    "words": "at least one is words or a choice letter, compared as text",
    "structure": "lists, tuples, intervals, sets and relations compared part by part",
    "exact": "both are rational expressions, computed exactly",
    "algebra": "evaluated at random points to 30 digits",
    "math-verify": "math-verify read what our own reader could not, confirmed numerically",
    "unreadable": "the answer is not mathematics or words that the verifier knows",
    "screen": "the answer is too large to compute and was not computed",
    "length": "longer than any final answer; only the same text would count",
    "no-answer": "the response states no answer in the form asked for",
    "gold": "the gold itself cannot be judged",
    "limits": "more work, time or memory than one answer may take",
    "crash": "the worker died",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """Equal or not, by which rule, and one line why. `status` is set when the pair cannot be judged."""

    equal: bool
    rule: str
    detail: str
    status: str = ""


def _yes(rule: str, detail: str) -> Outcome:
    return Outcome(equal=True, rule=rule, detail=detail)


def _no(rule: str, detail: str) -> Outcome:
    return Outcome(equal=False, rule=rule, detail=detail)


def _shown(text: str) -> str:
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= 60 else text[:57] + "…"


def _simple(answer: str, gold: str) -> Outcome | None:
    """Empty golds, equal texts, excessive lengths and plain numbers: decided without reading further."""
    if not gold.strip():
        return Outcome(equal=False, rule="gold", detail="the gold is empty", status="unjudgeable")
    if answer.strip() == gold.strip():
        return _yes("string", "the texts are the same")
    if len(answer) > MAX_ANSWER_CHARS:
        return _no("length", f"the answer has {len(answer)} characters; the limit is {MAX_ANSWER_CHARS}")
    if len(gold) > MAX_ANSWER_CHARS:
        return Outcome(equal=False, rule="gold", detail="the gold is too long to compare", status="unjudgeable")
    return None


def quick(answer: str, gold: str) -> Outcome | None:
    """Decide without algebra, in linear time, or return None."""
    answer, gold = unbox(answer), unbox(gold)
    answer, gold = in_dollars(answer, gold), in_dollars(gold, answer)
    outcome = _simple(answer, gold)
    if outcome is not None:
        return outcome
    (mine, my_value), (theirs, their_value) = plain_number(answer), plain_number(gold)
    if mine == theirs:
        return _yes("string", "the same once normalised")
    if my_value is not None and my_value == their_value:
        return _yes("number", f"both are {_shown(str(my_value))}")
    grant(QUICK_BUDGET)
    return _compare(answer, gold, None)


def thorough(answer: str, gold: str, engine: Engine, fallback: object = None) -> Outcome:
    """Decide with algebra. `fallback(answer, gold) -> bool | None` is asked where our reader could not read both."""
    outcome = quick(answer, gold)
    answer, gold = unbox(answer), unbox(gold)
    answer, gold = in_dollars(answer, gold), in_dollars(gold, answer)
    grant(BUDGET)
    if outcome is None:
        outcome = _compare(answer, gold, engine)
    if outcome is None:
        outcome = _fallback(answer, gold, fallback)
    return outcome


def harmless(gold: str, engine: Engine, fallback: object = None) -> bool:
    """Whether a gold by itself stays within the limits: then what an answer beside it costs is the answer's doing."""
    gold = unbox(gold)
    grant(BUDGET)
    try:
        node = reading(gold).node if len(gold) <= MAX_ANSWER_CHARS else None
        if node is not None:
            return engine.within_limits(node)
        if callable(fallback) and gold.strip() and not refuse(normalize(gold)):
            fallback(normalize(gold), normalize(gold))
    except TooBig:
        return False
    return True


def _compare(answer: str, gold: str, engine: Engine | None) -> Outcome | None:
    """Compare by spelling, words and structure; None when only an engine (or a fallback) can tell."""
    mine, theirs = reading(answer), reading(gold)
    if mine.spelling and mine.spelling == theirs.spelling:
        return _yes("string", "the same once normalised")
    words = _by_words(mine, theirs)
    if words is not None:
        return words
    if theirs.node is None or mine.node is None:
        return _unread(mine, theirs, engine)
    undecided = False
    for left, right in readings(answer, gold, mine, theirs):
        comparison = Comparison(engine)
        try:
            if comparison.equal(left, right):
                rule = next((r for r in ("algebra", "exact", "structure") if r in comparison.rules), "structure")
                return _yes(rule, RULES[rule])
        except Undecided:
            undecided = True
        except TooBig as error:
            return _too_big(theirs.node, error, engine)
        except RecursionError:
            return _too_big(theirs.node, TooBig("an expression nested too deeply"), engine)
    if undecided:
        return None
    rule = next((r for r in ("algebra", "exact", "structure") if r in comparison.rules), "structure")
    return _no(rule, f"not equal: {_shown(mine.normal)} against {_shown(theirs.normal)}")


def _by_words(mine: Reading, theirs: Reading) -> Outcome | None:
    """Choice letters and prose. None when mathematics should decide."""
    gold_letter = choice_letter(theirs.normal)
    if gold_letter is not None:
        letter = chosen_letter(mine.normal)
        if letter is None and theirs.normal == gold_letter:
            return None
        return _yes("words", f"both choose {letter}") if letter == gold_letter else None
    mine_words = comparable_words(mine.normal)
    if mine_words is not None and mine_words == comparable_words(theirs.normal):
        return _yes("words", "the same words")
    if theirs.node is not None and theirs.node.op == "text" and mine.node is not None and mine.node.op == "text":
        same = unnumbered(mine.node.name) == unnumbered(theirs.node.name)
        return _yes("words", "the same words") if same else _no("words", "different words")
    return None


def _unread(mine: Reading, theirs: Reading, engine: Engine | None) -> Outcome | None:
    """At least one side was not read: words stay words; mathematics may go to the fallback."""
    if words_of_markup(theirs.normal) is not None:
        if mine.node is None or mine.node.op == "text" or words_of_markup(mine.normal) is not None:
            return _no("words", "different words")
        return _no("words", f"the gold is words, the answer is not: {_shown(mine.normal)}")
    if theirs.node is not None and words_of_markup(mine.normal) is not None:
        return _no("unreadable", f"{_shown(mine.normal)} is not an answer of the gold's kind")
    return None


def _too_big(gold: Node, error: TooBig, engine: Engine | None) -> Outcome | None:
    """Something beyond the limits: the gold's fault if it cannot be computed alone, else the answer's."""
    if engine is None and gold.op != "num":
        return None
    grant(BUDGET)
    if engine is not None and not engine.within_limits(gold):
        return Outcome(equal=False, rule="gold", detail=f"the gold holds {error}", status="unjudgeable")
    return _no("limits" if isinstance(error, Spent) else "screen", f"the answer holds {error}")


def _unread_too_big(gold: str, error: TooBig, fallback: object) -> Outcome:
    """The same for a pair that only math-verify could read."""
    try:
        fallback(normalize(gold), normalize(gold))
    except TooBig:
        return Outcome(equal=False, rule="gold", detail=f"the gold holds {error}", status="unjudgeable")
    return _no("limits", f"the answer holds {error}")


def _fallback(answer: str, gold: str, fallback: object) -> Outcome:
    """Ask math-verify about what our reader could not read, after the bomb screen."""
    mine, theirs = reading(answer), reading(gold)
    unread = f"cannot be read: {mine.problem or theirs.problem}"
    for side, text in (("answer", mine.normal), ("gold", theirs.normal)):
        problem = refuse(text)
        if problem and side == "gold":
            return Outcome(equal=False, rule="gold", detail=f"the gold holds {problem}", status="unjudgeable")
        if problem:
            return _no("screen", f"the answer holds {problem}")
    try:
        verdict = fallback(mine.normal, theirs.normal) if callable(fallback) else None
    except Spent as error:
        return _unread_too_big(gold, error, fallback)
    if verdict:
        return _yes("math-verify", RULES["math-verify"])
    if theirs.node is None and verdict is None:
        detail = f"the gold {_shown(theirs.normal)!r} {unread}; only the same text would count"
        return Outcome(equal=False, rule="gold", detail=detail, status="unjudgeable")
    return _no("unreadable" if verdict is None else "math-verify", f"{_shown(mine.normal)!r} {unread}")
