"""Readers of benchmark rows: each takes a row and gives the question or the bare gold answer, or says what is missing.

The forms of the questions (where options and hints stand) are those of the Qwen2.5-Math evaluation, which SimpleRL-Zoo
uses: they are part of the prompt, so they decide scores.
"""

import re
from collections.abc import Callable
from typing import Any

from simplerl.core.errors import DataError
from simplerl.data.fields import gold
from simplerl.data.rows import Row

Reader = Callable[[Row], str]
LETTERS = "ABCDEFGHIJ"


def field(row: Row, *names: str) -> Any:
    """Return the first field that is there and holds something. Raises DataError naming place and fields."""
    for name in names:
        value = row.fields.get(name)
        if value is not None and value != "" and value != []:
            return value
    there = ", ".join(map(repr, row.fields)) or "none"
    raise DataError(f"{row.place}: no {' or '.join(map(repr, names))} with something in it. Fields there: {there}")


def plain(value: Any) -> str:
    """Return a value as a person would write it: 27.0 is 27."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def text(*names: str) -> Reader:
    """Read the first of some fields."""
    return lambda row: plain(field(row, *names))


def bare(*names: str) -> Reader:
    """Read a gold answer: what follows `####`, the last box of a `solution`, or the text itself.

    A field that is there and empty is an empty gold, which nothing can be judged against; only a missing one is an
    error. (Two rows of gaokao2023en have none.)
    """

    def read(row: Row) -> str:
        there = [name for name in names if row.fields.get(name) is not None]
        if not there:
            return field(row, *names)
        value = row.fields[there[0]]
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        return gold(plain(value), there[0]) or ""

    return read


def joined(body: str, question: str, *, full_stop: bool = False) -> Reader:
    """Read a story and its question. With `full_stop` the story gets one where it has none."""

    def read(row: Row) -> str:
        story = plain(field(row, body))
        if full_stop and not story.endswith("."):
            story += "."
        return f"{story} {plain(field(row, question))}"

    return read


def without_unit(name: str) -> Reader:
    """Read `9 (apples)` as 9."""
    return lambda row: re.sub(r"\s*\([^()]*\)", "", plain(field(row, name))).strip()


def with_choices(question: str, choices: str) -> Reader:
    """Read a question and write its options behind it: `Answer Choices: (A) … (B) …`."""

    def read(row: Row) -> str:
        options = field(row, choices)
        if isinstance(options, str):  # `A) … B) …` in one line.
            listed = re.sub(r"(?:^|(?<=\s))([A-J])\)\s*", r"(\1) ", options.strip())
        else:
            if not isinstance(options, list) or len(options) > len(LETTERS):
                raise DataError(
                    f"{row.place}: field {choices!r} must be a text or a list of up to {len(LETTERS)} options, got "
                    f"{str(options)[:80]!r}"
                )
            bodies = [re.sub(r"^\s*\(?[A-J]\)\s*", "", plain(option)) for option in options]
            listed = " ".join(f"({letter}) {body}" for letter, body in zip(LETTERS, bodies, strict=False))
        return f"{plain(field(row, question))}\nAnswer Choices: {listed}"

    return read


def letter(name: str) -> Reader:
    """Read a gold choice, given as a letter or as its index from 0."""

    def read(row: Row) -> str:
        value = field(row, name)
        found = LETTERS[value] if type(value) is int and 0 <= value < len(LETTERS) else plain(value)
        if found not in LETTERS or len(found) != 1:
            raise DataError(f"{row.place}: field {name!r} must be a choice letter or its index, got {value!r}")
        return found

    return read


def hinted(question: str, answer: str) -> str:
    """Say behind a question that only two answers are possible, where the gold is one of them."""
    for pair in ("True or False", "Yes or No"):
        if answer.strip().lower() in pair.lower().split(" or "):
            return f"{question} ({pair})"
    return question
