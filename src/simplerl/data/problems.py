"""Turn rows into problems: GSM8K-style, MATH-style and plain (question, answer) fields, told apart by their names."""

from collections.abc import Iterable
from typing import Any

from simplerl.data.rows import Row
from simplerl.errors import DataError
from simplerl.types import Problem
from simplerl.verify import extract

QUESTION_FIELDS = ("question", "problem", "Question", "prompt", "input", "query")
ANSWER_FIELDS = ("answer", "final_answer", "ground_truth", "gt_answer", "Answer", "target", "solution")
LEVEL_FIELDS = ("level", "difficulty")


def _text(value: Any) -> str | None:
    """Return a field's text; numbers are written as a person would (27.0 is 27), lists of one are opened."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list | tuple):
        return _text(value[0]) if len(value) == 1 else None
    return value if isinstance(value, str) else None


def gold(text: str, field: str) -> str | None:
    """Return the bare gold answer in an answer field: after `####`, in the last box of a solution, or the text."""
    if "####" in text:
        return text.rsplit("####", 1)[1].strip()
    if field == "solution" or "\\boxed" in text:
        return extract(text, policy="boxed")
    return text.strip()


def problem(row: Row, *, source: str, index: int) -> Problem:
    """Return the problem in a row. Raises DataError, naming the place and the fields that are there."""
    fields = row.fields
    question = next((t for name in QUESTION_FIELDS if (t := _text(fields.get(name)))), None)
    found = next(((name, t) for name in ANSWER_FIELDS if (t := _text(fields.get(name)))), None)
    there = ", ".join(map(repr, fields)) or "none"
    if question is None or not question.strip():
        raise DataError(
            f"{row.place}: no question; wanted one of {', '.join(QUESTION_FIELDS)} with text in it. "
            f"Fields there: {there}"
        )
    answer = gold(found[1], found[0]) if found else None
    if not answer:
        raise DataError(
            f"{row.place}: no final answer; wanted one of {', '.join(ANSWER_FIELDS)} with an answer in it "
            f"(GSM8K: after '####'; MATH: in \\boxed{{}}). Fields there: {there}"
        )
    level = next((t for name in LEVEL_FIELDS if (t := _text(fields.get(name)))), "")
    identity = next((t for name in ("id", "unique_id", "idx", "ID") if (t := _text(fields.get(name)))), None)
    return Problem(
        id=f"{source}-{index}",
        question=question,
        answer=answer,
        source=source,
        level=level.removeprefix("Level ").strip(),
        meta={"place": row.place, **({"original_id": identity} if identity else {})},
    )


def problems(rows: Iterable[Row], *, source: str, size: int = 0) -> list[Problem]:
    """Return the problems of the first `size` rows (0: all). Raises DataError where there are none."""
    found = []
    for index, row in enumerate(rows):
        if size and index >= size:
            break
        found.append(problem(row, source=source, index=index))
    if not found:
        raise DataError(f"data set {source!r} holds no rows")
    return found
