"""What the fields of a row say: its question, its gold answer, its level, told apart by the names that people use.

General rules, for any file: a context (`Body`) stands before the question, lettered options stand after it, an answer
is bare. Benchmarks with rules of their own name their fields themselves.
"""

import re
from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from simplerl.verify import extract

QUESTION_FIELDS = ("question", "problem", "Question", "prompt", "input", "query")
CONTEXT_FIELDS = ("Body", "body", "context", "passage")
OPTION_FIELDS = ("options", "choices", "Options", "Choices")
ANSWER_FIELDS = ("answer", "final_answer", "ground_truth", "gt_answer", "Answer", "target", "solution", "correct")
LEVEL_FIELDS = ("level", "difficulty")
IDENTITY_FIELDS = ("id", "unique_id", "idx", "ID")
SOURCE_FIELDS = ("source", "data_source")

#: An option that brings its letter: `A) 21`, `(B) 3`, `C. x`.
_LETTERED = re.compile(r"\s*\(?([A-Z])[).:]")


class AmbiguousOptions(ValueError):
    """Options that cannot be shown, or an answer that may be an index or a value."""


def as_text(value: Any) -> str | None:
    """Return a field's text; numbers are written as a person would (27.0 is 27), lists of one are opened."""
    if isinstance(value, bool) or value is None or value != value:  # Parquet files of pandas have NaN for nothing.
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list | tuple):
        return as_text(value[0]) if len(value) == 1 else None
    return value if isinstance(value, str) else None


def first_text(fields: Mapping[str, Any], names: Sequence[str]) -> tuple[str, str]:
    """Return (name, text) of the first of the fields that has text in it; empty where none has."""
    return next(((name, text) for name in names if (text := as_text(fields.get(name)))), ("", ""))


def gold(text: str, field: str) -> str | None:
    """Return the bare gold answer in an answer field: after `####`, in the last box of a solution, or the text."""
    if "####" in text:
        return text.rsplit("####", 1)[1].strip()
    if field == "solution" or "\\boxed" in text:
        return extract(text, policy="boxed")
    return text.strip()


def _options(fields: Mapping[str, Any]) -> Any:
    return next((fields[name] for name in OPTION_FIELDS if fields.get(name)), None)


def _items(options: Sequence[Any]) -> list[str]:
    """Return the texts of options given as a list. Raises AmbiguousOptions where one is not a text or a number."""
    texts = [text for item in options if (text := as_text(item)) is not None]
    if len(texts) < len(options) or len(texts) > len(ascii_uppercase):
        raise AmbiguousOptions(f"the options must be up to {len(ascii_uppercase)} texts or numbers, got {options!r}")
    return texts


def lettered(options: Any) -> str:
    """Return options as they stand under a question: `A) …`, one to a line.

    A text stays as it is, a list gets letters unless every item has its own, a table is {letter: text} or
    {"label": letters, "text": texts}. Raises AmbiguousOptions.
    """
    if isinstance(options, str):
        return options.strip()
    if isinstance(options, Mapping):
        if {"label", "text"} <= options.keys():
            if len(options["label"]) != len(options["text"]):
                raise AmbiguousOptions(f"as many labels as texts are needed, got {options!r}")
            pairs = list(zip(options["label"], options["text"], strict=True))
        else:
            pairs = [(letter, text) for letter, text in options.items() if text is not None]
        return "\n".join(f"{letter}) {as_text(text)}" for letter, text in pairs)
    items = _items(options)
    marks = [mark[1] for item in items if (mark := _LETTERED.match(item))]
    if marks == list(ascii_uppercase[: len(items)]):
        return "\n".join(item.strip() for item in items)
    return "\n".join(f"{letter}) {item}" for letter, item in zip(ascii_uppercase, items, strict=False))


def question_of(fields: Mapping[str, Any]) -> str | None:
    """Return the complete question: context, question, options. Raises AmbiguousOptions."""
    question = first_text(fields, QUESTION_FIELDS)[1] or _asked(fields)
    if question is None or not question.strip():
        return None
    context = first_text(fields, CONTEXT_FIELDS)[1].strip()
    if context and not question.startswith(context):
        question = f"{context} {question}"
    options = _options(fields)
    shown = lettered(options) if options is not None else ""
    return f"{question}\n{shown}" if shown and shown not in question else question


def _asked(fields: Mapping[str, Any]) -> str | None:
    """Return the question of a row that has only messages: what `extra_info` says, or what the user says last."""
    extra = fields.get("extra_info")
    if isinstance(extra, Mapping) and as_text(extra.get("question")):
        return as_text(extra["question"])
    users = [content for role, content in messages(fields) if role == "user"]
    return users[-1] if users else None


def messages(fields: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the (role, content) of a row's `prompt`, where that is a list of messages; else none."""
    prompt = fields.get("prompt")
    if not isinstance(prompt, list | tuple):
        return []
    return [
        (str(item.get("role", "user")), item["content"])
        for item in prompt
        if isinstance(item, Mapping) and isinstance(item.get("content"), str)
    ]


def is_published(fields: Mapping[str, Any]) -> bool:
    """Return whether a row has the form of SimpleRL-Zoo's Parquet files (veRL's): `reward_model.ground_truth`."""
    return isinstance(fields.get("reward_model"), Mapping)


def answer_of(fields: Mapping[str, Any]) -> str | None:
    """Return the bare gold; of a published row what it is scored with. Raises AmbiguousOptions."""
    if is_published(fields):
        truth = as_text(fields["reward_model"].get("ground_truth"))
        return gold(truth, "ground_truth") if truth else None
    name, text = first_text(fields, ANSWER_FIELDS)
    if not name:
        return None
    options, value = _options(fields), fields[name]
    if isinstance(options, list | tuple) and isinstance(value, int):
        items = _items(options)
        if text in items:
            raise AmbiguousOptions(
                f"the answer {value} may be the option of that text or the option of that index; give its letter"
            )
        if 0 <= value < len(items):
            return ascii_uppercase[value]
    return gold(text, name)


def level_of(fields: Mapping[str, Any]) -> str:
    """Return the level without its name (`Level 3` is 3); empty where the row has none."""
    return first_text(fields, LEVEL_FIELDS)[1].removeprefix("Level ").strip()


def identity_of(fields: Mapping[str, Any]) -> str | None:
    """Return the name that the row has at its source, if any."""
    extra = fields.get("extra_info")
    index = as_text(extra.get("index")) if isinstance(extra, Mapping) else None
    return first_text(fields, IDENTITY_FIELDS)[1] or index
