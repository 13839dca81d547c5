r"""The judgement of one answer against the gold: from the cheapest certain rule to the most expensive one.

`quick` decides in the calling process whatever needs no algebra, and says so when it cannot. `thorough` runs in a
worker and always decides. Both see the extracted answer, and the question where the caller knows it, never the rest of
the response. An answer of the right value may still restate the question, or leave computing to the reader: see the
last section, and docs/verifier.md.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

from simplerl.verify import words
from simplerl.verify.compare import Comparison, Undecided, assigned, without
from simplerl.verify.extract import MAX_ANSWER_CHARS, boxes, mark_formulas
from simplerl.verify.normalise import normalise
from simplerl.verify.numbers import BUDGET, QUICK_BUDGET, Spent, TooBig, Work, exact, number
from simplerl.verify.parse import IMAGINARY, Node, Unreadable, has_symbols, is_scalar, num, read

if TYPE_CHECKING:
    from simplerl.verify.points import Evaluator

#: Rules in the order in which they are tried → what each means, for tables and explanations.
RULES: dict[str, str] = words.TABLES["verdict_rules"]
#: Operation → the computing that it may leave, in words.
_STEPS: dict[str, str] = words.TABLES["computing"]
_TEXT = {name: words.pattern(text) for name, text in words.TABLES["judge"].items()}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Equal or not, by which rule, and one line why. `status` is set when the pair cannot be judged."""

    equal: bool
    rule: str
    detail: str
    status: str = ""


def _cannot(detail: str) -> Outcome:
    return Outcome(False, "gold", detail, "unjudgeable")


def shown(text: str, limit: int = 60) -> str:
    text = " ".join(text.split()).encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= limit else text[: limit - 1] + "…"


# --- one side -----------------------------------------------------------------------------------------------------


def unbox(text: str) -> str:
    r"""Return a text without an outer `\boxed{…}` round all of it."""
    text = text.strip()
    closed = boxes(text) if text.startswith(("\\boxed", "\\fbox")) else []
    return closed[0].content if closed and closed[0].end - closed[0].start == len(text) else text


@dataclass(frozen=True, slots=True)
class Reading:
    """One side, read once: its normal form, the value of a plain number with or without a currency, its tree, and
    why it has none or only words."""

    normal: str
    value: Fraction | None
    node: Node | None = None
    problem: str = ""


@lru_cache(maxsize=4_096)
def reading(text: str) -> Reading:
    """Read a text, at most MAX_ANSWER_CHARS long; never raises."""
    normal = normalise(text)
    value = number(_TEXT["currency"].sub(r"\1", normal))
    # A comma may also separate a list: that reading comes first, the number with thousands marks second.
    plain = number(normal) if "," not in normal or _TEXT["round"].fullmatch(normal) else None
    if plain is None and (date := words.date_of(normal)) is not None:
        return Reading(normal, value, Node("date", (), date))
    try:
        return Reading(normal, value, read(normal) if plain is None else num(plain))
    except (Unreadable, RecursionError) as error:
        return Reading(normal, value, None, str(error))


@lru_cache(maxsize=4_096)
def _as_written(text: str) -> Node | None:
    """The tree of a text with its numbers as they are written: 6/4 is a fraction here, not the number 3/2."""
    side = reading(text)
    value = number(_merge_thousands(side.normal)) if "," in side.normal else None
    with contextlib.suppress(Unreadable, RecursionError):
        if value is None and side.node is not None and side.node.op == "num":
            return read(side.normal)
    return side.node if value is None else num(value)


def _merge_thousands(text: str) -> str:
    """Remove commas between groups of exactly three digits."""
    return _TEXT["thousands"].sub(lambda match: match.group().replace(",", ""), text)


def _with_unit(side: Reading) -> Node | None:
    """A side as a quantity in a unit that only stands in plain letters, as in `10 m/s`."""
    match = _TEXT["quantity"].fullmatch(side.normal.replace("\\cdot", "·"))
    value = number(match[1]) if match and words.unit_of(match[2]) else None
    return Node("unit", (num(value),), match[2]) if match and value is not None else side.node


def _readings(mine: Reading, theirs: Reading) -> list[tuple[Node, Node]]:
    """The pairs of trees to compare: commas as separators, then as thousands marks, letters as units beside a unit.
    Conditions that only the gold adds are left out."""
    merged = [reading(_merge_thousands(side.normal)) if "," in side.normal else side for side in (mine, theirs)]
    units = (_with_unit(mine), _with_unit(theirs))
    both = all(node is not None and node.op == "unit" for node in units)
    pairs = [(mine.node, theirs.node), (merged[0].node, merged[1].node), *[units] * both]
    trees = [(answer, gold) for answer, gold in dict.fromkeys(pairs) if answer is not None and gold is not None]
    return [(answer, gold.args[0] if gold.op == "cond" != answer.op else gold) for answer, gold in trees]


# --- two sides ----------------------------------------------------------------------------------------------------


def quick(answer: str, gold: str, *, question: str | None = None) -> Outcome | None:
    """Decide without algebra, in linear time, or return None."""
    return _judge(answer, gold, question, algebra=False)


def thorough(answer: str, gold: str, *, question: str | None = None) -> Outcome:
    """Decide with algebra."""
    outcome = quick(answer, gold, question=question) or _judge(answer, gold, question, algebra=True)
    return outcome or _cannot("no rule decides")


def harmless(gold: str) -> bool:
    """Whether a gold by itself stays within the limits: then what an answer beside it costs is the answer's doing."""
    gold = unbox(gold)
    node = reading(gold).node if len(gold) <= MAX_ANSWER_CHARS else None
    return node is None or _evaluator(Work(BUDGET)).within_limits(node)


def _evaluator(work: Work) -> Evaluator:
    from simplerl.verify.points import Evaluator

    return Evaluator(work)


def _judge(answer: str, gold: str, question: str | None, *, algebra: bool) -> Outcome | None:
    """Judge by text, number, words and structure, in this order; None when only algebra can tell."""
    answer, gold = unbox(answer), unbox(gold)
    if not gold.strip():
        return _cannot("the gold is empty")
    if answer.strip() == gold.strip():
        return Outcome(True, "string", "the texts are the same")
    if len(answer) > MAX_ANSWER_CHARS:
        return Outcome(False, "length", f"the answer has {len(answer)} characters; the limit is {MAX_ANSWER_CHARS}")
    if len(gold) > MAX_ANSWER_CHARS:
        return _cannot("the gold is too long to compare")
    mine, theirs = reading(answer), reading(gold)
    if mine.normal == theirs.normal:
        return Outcome(True, "string", "the same once normalised")
    currencies = {match.group() for side in (mine, theirs) if (match := _TEXT["currency_sign"].search(side.normal))}
    if mine.value is not None and mine.value == theirs.value and len(currencies) < 2:
        outcome: Outcome | None = Outcome(True, "number", f"both are {shown(str(mine.value))}")
    else:
        outcome = _by_words(mine, theirs) or _compare(mine, theirs, algebra=algebra)
    if outcome and outcome.equal and outcome.rule not in ("string", "words"):
        return _computing_left(answer, gold, question, Work(BUDGET if algebra else QUICK_BUDGET)) or outcome
    return outcome


def _by_words(mine: Reading, theirs: Reading) -> Outcome | None:
    """Compare choice letters and prose, and what was not read. None when mathematics should decide."""
    gold_letter = words.choice_letter(theirs.normal)
    if gold_letter and words.chosen_letter(mine.normal) == gold_letter:
        return Outcome(True, "words", f"both choose {gold_letter}")
    my_words = words.comparable_words(mine.normal)
    if gold_letter is None and my_words is not None and my_words == words.comparable_words(theirs.normal):
        return Outcome(True, "words", "the same words")
    if theirs.node is None and words.words_of_markup(theirs.normal) is None:
        detail = f"the gold {shown(theirs.normal)!r} cannot be read: {theirs.problem}; only the same text would count"
        return _cannot(detail)
    if theirs.node is None or mine.node is None:
        unread = f"{shown(mine.normal)!r} cannot be read: {mine.problem}" if mine.node is None else "the gold is words"
        return Outcome(False, "unreadable" if theirs.node is not None else "words", unread)
    return None


def _compare(mine: Reading, theirs: Reading, *, algebra: bool) -> Outcome | None:
    """Compare the trees of two sides that were read; None when only algebra can tell."""
    assert mine.node is not None
    assert theirs.node is not None
    work = Work(BUDGET if algebra else QUICK_BUDGET)
    engine = _evaluator(work) if algebra else None
    undecided, comparison = False, Comparison(work, engine)
    for left, right in _readings(mine, theirs):
        comparison = Comparison(work, engine)
        try:
            if comparison.equal(left, right):
                return Outcome(True, comparison.rule, RULES[comparison.rule])
        except Undecided:
            undecided = True
        except (TooBig, RecursionError) as error:  # the gold's fault if it cannot be computed alone, else the answer's
            if not algebra and theirs.node.op != "num":
                return None
            reason = error if isinstance(error, TooBig) else "an expression nested too deeply"
            if algebra and not _evaluator(Work(BUDGET)).within_limits(theirs.node):
                return _cannot(f"the gold holds {reason}")
            return Outcome(False, "limits" if isinstance(error, Spent) else "screen", f"the answer holds {reason}")
    if undecided:
        return None
    label = next((part.name for part in mine.node.walk() if part.op == "label"), "")
    if label:
        return Outcome(False, "unreadable", f"{shown(mine.normal)!r} is not understood: the words {label!r}")
    return Outcome(False, comparison.rule, f"not equal: {shown(mine.normal)} against {shown(theirs.normal)}")


# --- answers that leave the computing to the reader -----------------------------------------------------------------
# docs/verifier.md lists what is finished and what is computing left. What such an answer earns the caller decides.


def _computing_left(answer: str, gold: str, question: str | None, work: Work) -> Outcome | None:
    """Why an answer of the right value does not count: it restates the question or is unfinished. None if it does."""
    mine, theirs = _as_written(answer), _as_written(gold)
    if mine is None or theirs is None or mine == theirs:
        return None
    with contextlib.suppress(TooBig, RecursionError):
        own = _form(_stated(mine))
        copied = question and (own != _form(_stated(theirs)) or theirs.name.startswith("\\approx"))
        if question and copied and {own, _form(mine)} & _forms_of_question(question):
            return Outcome(False, "restates", f"{shown(answer)!r} is an expression of the question")
        left = _computing(_stated(mine), theirs, work)
        if left and not _computing(_stated(theirs), theirs, work):
            return Outcome(False, "unfinished", f"right in value, but {left} is left to the reader: {shown(answer)}")
    return None


def _stated(node: Node) -> Node:
    """The value of `name = … = value`, or the answer itself; of an approximation the precise side."""
    if (pair := assigned(node)) is not None:
        return pair[1]
    if node.op != "rel" or any(map(has_symbols, node.args)) or not is_scalar(node.args[0]):
        return node
    return {"=": node.args[-1], "\\approx": node.args[0]}.get(node.name.split()[0], node)


def _form(node: Node) -> object:
    """The form of an expression, which operands in another order share, as a key for comparison."""
    if node.op in ("neg", "mul", "div"):
        return ("mul", *sorted(_factors(node), key=repr))
    if node.op in ("add", "list", "set"):
        return ("list" if node.op == "set" else node.op, *sorted(map(_form, _terms(node)), key=repr))
    if node.op == "num":
        return ("num", node.value)
    return (node.op, node.name, *map(_form, node.args))


def _factors(node: Node, above: bool = True) -> list[object]:
    """The forms of the factors of nested signs, products and quotients, and whether each stands above the line."""
    if node.op not in ("neg", "mul", "div"):
        return [(above, _form(node))]
    sign = [("neg",)] if node.op == "neg" else []
    return sign + [f for i, arg in enumerate(node.args) for f in _factors(arg, above == (node.op != "div" or i == 0))]


def question_expressions(question: str, longest: int = 8_000, most: int = 200) -> list[str]:
    """The expressions of a question as written: its formulas, then what looks like one in its words."""
    bare, texts = mark_formulas(question[:longest])
    texts += _TEXT["expression"].findall(bare) + _TEXT["long_number"].findall(bare)
    return [text.strip(" .,;?=$") for text in texts[:most]]


@lru_cache(maxsize=256)
def _forms_of_question(question: str) -> frozenset[object]:
    """The forms of the expressions of a question, of the sides of its equations and the parts of its lists."""
    forms: set[object] = set()
    stack = [_as_written(text) for text in question_expressions(question)]
    while stack:
        part = stack.pop()
        if part is not None and (part.args or part.op in ("num", "const")):
            forms.add(_form(part))
            stack.extend(part.args if part.op in ("rel", "list", "cond", "set", "both", "pieces") else ())
    return frozenset(forms)


def _computing(node: Node, gold: Node, work: Work) -> str:
    """What computing is left in an answer, in words; empty when it is finished."""
    if node.op == "rel":  # an equation other than `name = value` has no value to finish
        value = _stated(gold)
        solved = gold.op == "rel" and value is not gold and is_scalar(value) and not has_symbols(value)
        return "solving the equation" if solved and set(node.name.split()) == {"="} else ""
    if node.op == "both":
        texts = [_computing(arg, gold, work) for arg in node.args]
        return texts[0] if all(texts) else ""
    entries = [entry for row in node.args for entry in row.args] if node.op == "matrix" else []
    if {entry.op for entry in entries} == {"mul"} and len({entry.args[0] for entry in entries}) == 1:
        node = Node("row", tuple(entry.args[1] for entry in entries))  # a number before a matrix may stay there
    if node.op in ("list", "seq", "set", "matrix", "row", "union", "pieces", "cond"):
        return next((text for arg in node.args if (text := _computing(_stated(arg), gold, work))), "")
    stack = [node] if is_scalar(node) else []
    while stack:
        part = stack.pop()
        if _is_number(part, work):
            continue
        if part.op in _STEPS and _is_left(part, gold, work):
            return _STEPS[part.op]
        stack.extend(_terms(part) if part.op in ("add", "mul") else part.args)
    return ""


def _terms(node: Node) -> list[Node]:
    """The operands of nested sums or products."""
    return [term for part in node.args for term in (_terms(part) if part.op == node.op else [part])]


def _is_number(node: Node, work: Work) -> bool:
    """Whether an expression is one finished number: whole, decimal, mixed, a fraction of whole numbers that is not
    whole itself, a power from 1,000 on, or in scientific notation; with any sign."""
    parts = [without(arg, "neg", "percent") for arg in node.args]
    if node.op in ("neg", "percent"):
        return _is_number(parts[0], work)
    if node.op == "mul" and len(parts) == 2 and parts[0].op == "num" and parts[1].op == "pow":
        return parts[1].args[0] == num(10) and exact(parts[1], work) is not None
    if node.op not in ("div", "pow") or any(part.op != "num" for part in parts):
        return node.op == "num"
    value = exact(node, work)
    whole = all(part.value is not None and part.value.denominator == 1 for part in parts)
    return value is not None and (
        not 1_000 > abs(value) > Fraction(1, 1_000) if node.op == "pow" else whole and value.denominator > 1
    )


def _is_left(node: Node, gold: Node, work: Work) -> bool:
    """Whether computing is left at one part of an expression: it has a rational value, or could be shorter."""
    if node.op in ("add", "mul"):
        terms = _terms(node)
        rational = sum(exact(term, work) is not None for term in terms)
        if node.op == "mul":
            return rational > 1 or sum(term.op == "add" and not has_symbols(term) for term in terms) > 1
        surds = [surd for term in terms if (surd := _surd(term, work))]
        return rational > 1 or len(surds) > len(set(surds)) or (rational > 0 and any(_expands(t, work) for t in terms))
    if node.op == "func":
        return not has_symbols(node) and not any(part.op == "func" for part in gold.walk())
    if exact(node, work) is not None:
        return True
    if node.op == "pow":
        base, exponent = without(node.args[0], "neg"), exact(node.args[1], work)
        constant = base.op in ("add", "div", "root", "pow", "mul") and not has_symbols(base) and exponent != -1
        return exponent is not None and (constant or base == IMAGINARY)
    if node.op == "root":
        index, radicand = (exact(arg, work) for arg in node.args)
        if index is None or radicand is None or not 2 <= index <= 6:
            return False
        parts = [part for part in (abs(radicand.numerator), radicand.denominator) if 2 <= part <= 10**12]
        reducible = any(part % p ** int(index) == 0 for part in parts for p in range(2, 1_000))
        return reducible or (radicand < 0 and index == 2)
    return node.op != "div" and not has_symbols(node)


def _expands(term: Node, work: Work) -> bool:
    """Whether a term is a number times a sum that has a number in it: 5(x + 1)."""
    factors = _terms(without(term, "neg"))
    sums = [part for part in factors if part.op == "add" and any(exact(t, work) is not None for t in _terms(part))]
    return len(factors) == 2 and bool(sums) and any(exact(factor, work) is not None for factor in factors)


def _surd(term: Node, work: Work) -> tuple[str, ...]:
    """What a term has beside its rational factor: terms that share it are alike. Empty for a number."""
    parts = _terms(term) if (term := without(term, "neg")).op == "mul" else [term]
    return tuple(sorted(repr(_form(part)) for part in parts if exact(part, work) is None))
