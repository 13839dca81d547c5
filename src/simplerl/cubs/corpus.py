"""The text that the cubs are pretrained on: generated arithmetic in which documents of several habits are mixed.

A habit is a property of the document, not of the question, so a cub draws its habit afresh for every response, in
about the proportions of its corpus, as a base model does. Reinforcement learning can then find the good habit.

| habit | response to `What is 8+19-4?` |
|---|---|
| careful | ` 8+19=27. 27-4=23. \\boxed{23}` |
| sloppy | ` 8+19=26. 26-4=22. \\boxed{22}` (each step slips with a stated probability) |
| bare | ` \\boxed{21}` (often wrong) |
| prose | ` The answer is 23.` (unboxed, with or without working, slips as above) |
| check | ` 8+19=26. Wait, 8+19=27. 27-4=23. Check: 23+4=27. \\boxed{23}` |

A share of the documents are lists of right equations (`17+8=25. 6*7=42.`), as base corpora are full of facts: from
them a tiny model learns its tables quickly. Only training expressions appear as questions, so the test split stays
unseen by the base models too; single operations, which every working is made of, appear wherever they occur.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from simplerl.core.seeds import generator
from simplerl.data.arithmetic import LARGEST, LEVELS, Expression, expression
from simplerl.data.templates import TEMPLATES

HABITS = ("careful", "sloppy", "bare", "prose", "check")


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """The mixture that makes a cub what it is."""

    habits: Mapping[str, float]
    """Habit → share of the documents; shares add up to 1."""
    templates: Mapping[str, float]
    """Prompt template → share of the documents; shares add up to 1."""
    facts: float = 0.25
    """Share of documents that are lists of equations."""
    slip: float = 0.4
    """Probability that a step of a sloppy document goes wrong."""
    bare_right: float = 0.3
    """Probability that a bare answer is right."""


def slipped(value: int, rng: np.random.Generator) -> int:
    """Return a wrong value of the kind people write: off by one or two, or by ten."""
    while True:
        wrong = value + int(rng.choice([-10, -2, -1, 1, 2, 10]))
        if 0 <= wrong <= LARGEST:
            return wrong


def _working(drawn: Expression, slip: float, rng: np.random.Generator) -> tuple[list[str], int]:
    """Write the steps of an expression, each wrong with probability `slip` and carried on from there."""
    lines, carried, value = [], {}, 0
    for left, operator, right, exact in drawn.steps:
        left, right = carried.get(left, left), carried.get(right, right)
        value = {"+": left + right, "-": left - right, "*": left * right}[operator]
        if rng.random() < slip or not 0 <= value <= LARGEST:
            value = slipped(min(max(value, 0), LARGEST), rng)
        if value != exact:
            carried[exact] = value
        lines.append(f"{left}{operator}{right}={value}.")
    return lines, value


def _checked(drawn: Expression, rng: np.random.Generator) -> str:
    """Write right steps, some preceded by a slip that is noticed, and a check of the last one."""
    lines = []
    for left, operator, right, value in drawn.steps:
        if rng.random() < 0.3:
            lines.append(f"{left}{operator}{right}={slipped(value, rng)}. Wait,")
        lines.append(f"{left}{operator}{right}={value}.")
    left, operator, right, value = drawn.steps[-1]
    if operator == "+":
        lines.append(f"Check: {value}-{right}={left}.")
    elif operator == "-":
        lines.append(f"Check: {value}+{right}={left}.")
    return " ".join(lines)


def _facts(seed: int, index: int, rng: np.random.Generator) -> str:
    """Write two to six right equations, taken from the workings of training expressions."""
    equations = []
    for place in range(int(rng.integers(2, 7))):
        drawn = expression(seed, "train", int(rng.choice(LEVELS)), 10 * index + place)
        left, operator, right, value = drawn.steps[int(rng.integers(0, len(drawn.steps)))]
        equations.append(f"{left}{operator}{right}={value}.")
    return " ".join(equations)


def respond(drawn: Expression, habit: str, corpus: Corpus, rng: np.random.Generator) -> str:
    """Return a response to an expression in one habit, with its leading space."""
    if habit == "bare":
        value = drawn.value if rng.random() < corpus.bare_right else slipped(drawn.value, rng)
        return f" \\boxed{{{value}}}"
    if habit == "check":
        return f" {_checked(drawn, rng)} \\boxed{{{drawn.value}}}"
    if habit == "prose":
        if rng.random() < 0.5:
            value = drawn.value if rng.random() < corpus.bare_right else slipped(drawn.value, rng)
            return f" The answer is {value}."
        lines, value = _working(drawn, corpus.slip, rng)
        return f" {' '.join(lines)} The answer is {value}."
    lines, value = _working(drawn, corpus.slip if habit == "sloppy" else 0.0, rng)
    return f" {' '.join(lines)} \\boxed{{{value}}}"


def document(corpus: Corpus, seed: int, index: int) -> tuple[str, str]:
    """Return (prompt, response) number `index` of a corpus: a pure function of its arguments.

    A list of equations has an empty prompt.
    """
    rng = generator(seed, "corpus", index)
    if rng.random() < corpus.facts:
        return "", _facts(seed, index, rng)
    habit = str(rng.choice(list(corpus.habits), p=list(corpus.habits.values())))
    template = str(rng.choice(list(corpus.templates), p=list(corpus.templates.values())))
    drawn = expression(seed, "train", int(rng.choice(LEVELS)), index)
    prompt = TEMPLATES[template].format(f"What is {drawn.text}?")
    response = respond(drawn, habit, corpus, rng)
    return prompt, response if prompt.endswith(":") else response.lstrip(" ")
