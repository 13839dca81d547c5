"""Demonstrations: questions with complete responses, to be imitated. Built in, from a file, or from the hub.

`arithmetic-long` is the cold start of the cubs: some steps of the working are slips that are noticed and corrected, and
the last one is checked by the inverse operation, as a long chain of thought has them. `arithmetic-short` is the
bare working, as the solutions are that people write for other people. In `arithmetic-restating` three of four answers
are copied from the question instead: a habit of base models that the cubs do not have.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np

from simplerl.core.errors import DataError
from simplerl.core.registry import is_object, recall
from simplerl.core.seeds import generator
from simplerl.data.arithmetic import LARGEST, LEVELS, Expression, expression
from simplerl.data.problems import FIELDS, first_text, folded, turns
from simplerl.data.rows import Row, open_source


@dataclass(frozen=True, kw_only=True, slots=True)
class Demonstration:
    """A question and a response to it, exactly as it is to be imitated."""

    question: str
    response: str
    ended: bool  # False for a response that was truncated: then no end token is put after it
    place: str  # Where it stands, for messages


def load(name: str, *, split: str = "train", size: int = 0, seed: int = 0) -> list[Demonstration]:
    """Return the demonstrations of a built-in set, a file (.jsonl, .json, .parquet) or a hub data set (owner/name)."""
    if name in BUILT_IN:
        return [built_in(name, seed, index) for index in range(size or 2000)]
    if is_object(name):
        passed = recall(name, "demonstrations")
        rows: Iterable[Row] = (Row(dict(row), f"demonstrations[{index}]") for index, row in enumerate(passed))
    else:
        rows = open_source(name, split=split, known=BUILT_IN, what="demonstrations")[1]
    demonstrations = [_demonstration(row) for row in islice(rows, size or None)]
    if not demonstrations:
        raise DataError(f"{name} holds no rows to imitate")
    return demonstrations


def _demonstration(row: Row) -> Demonstration:
    """Return the demonstration in a row: two text fields, or the first exchange of a chat."""
    fields = folded(row.fields)
    question, response = (first_text(fields, FIELDS[kind])[1] for kind in ("question", "demonstration"))
    if not response and "####" in str(fields.get("answer")):
        response = str(fields["answer"])  # GSM8K: the working, then the answer.
    if not question or not response:
        chat = next(filter(None, (turns(fields.get(name)) for name in FIELDS["chat"])), [])
        said = dict(reversed(chat))  # The first turn of each.
        question, response = question or said.get("user", ""), response or said.get("assistant", "")
    if not question or not response:
        missing, wanted = ("question", FIELDS["question"]) if not question else ("response", FIELDS["demonstration"])
        raise DataError(
            f"{row.place}: no {missing} to imitate; wanted one of {', '.join(wanted)} with text in it, or one of "
            f"{', '.join(FIELDS['chat'])} with a user's and an assistant's turn. {row.there}"
        )
    ended = fields.get("stop_reason") not in ("length", "turns", "seconds")
    return Demonstration(question=question, response=response, ended=ended, place=row.place)


def built_in(name: str, seed: int, index: int) -> Demonstration:
    """Return demonstration number `index` of a built-in set: a pure function of its arguments, of train expressions."""
    if name == "arithmetic-restating" and index % 4 == 0:
        name = "arithmetic-short"
    rng = generator(seed, name, index)
    drawn = expression(seed, "train", int(rng.choice(LEVELS)), int(rng.integers(2**40)))
    response = BUILT_IN[name](drawn, rng)
    return Demonstration(question=f"What is {drawn.text}?", response=response, ended=True, place=f"{name}[{index}]")


def _long_working(drawn: Expression, rng: np.random.Generator) -> str:
    """Return a working in which some steps are slips that are noticed, and the last one is checked by its inverse.

    ` 8+19=26. Wait, 8+19=27. 27-4=23. Check: 23+4=27. \\boxed{23}`: it begins with a space, as after the template
    `plain`.
    """
    lines = []
    for left, operator, right, value in drawn.steps:
        if rng.random() < 0.2:
            lines.append(f"{left}{operator}{right}={_slip(value, rng)}. Wait,")
        lines.append(f"{left}{operator}{right}={value}.")
    left, operator, right, value = drawn.steps[-1]
    # The inverse operation, or the factors the other way round.
    check = {"+": f"{value}-{right}={left}", "-": f"{value}+{right}={left}", "*": f"{right}*{left}={value}"}[operator]
    lines.append(f"Check: {check}.")
    return f" {' '.join(lines)} \\boxed{{{drawn.value}}}"


def _slip(value: int, rng: np.random.Generator) -> int:
    """Return a wrong value near the right one."""
    while True:
        wrong = value + int(rng.choice([-10, -2, -1, 1, 2, 10]))
        if 0 <= wrong <= LARGEST:
            return wrong


#: Built-in set → the response to an expression, from a generator of noise.
BUILT_IN: dict[str, Callable[[Expression, np.random.Generator], str]] = {
    "arithmetic-long": _long_working,
    "arithmetic-short": lambda drawn, rng: drawn.working,
    "arithmetic-restating": lambda drawn, rng: f" \\boxed{{{drawn.text}}}",
}
