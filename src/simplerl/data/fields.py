"""What the fields of a row say: its question, its gold answer, its level, told apart by the names that people use.

General rules, for any file: a context (`Body`) stands before the question, lettered options stand after it, an answer
is bare. Benchmarks with rules of their own name their fields themselves.
"""

import itertools
import json
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from simplerl.verify import equal, extract

_TABLE = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
#: What a field says → the names that it may have.
FIELDS: dict[str, list[str]] = {**_TABLE["names"], **_TABLE["more"]}
#: What a reader takes, and names that mean something in `Problem.meta`. Other columns are handed on as they are, to
#: rewards and environments.
TAKEN = {*itertools.chain(*_TABLE["names"].values()), *_TABLE["words"]["reserved"]}
PLACEHOLDERS = {*_TABLE["words"]["placeholders"]}

#: An option that brings its letter: `A) 21`, `(B) 3`, `C. x`.
_LETTERED = re.compile(r"\s*\(?([A-Z])[).:]")
#: What an answer to a choice may have around its letter or text.
_AROUND = re.compile(r"\\text\w*\{([^{}]*)\}|[$*]")
_THOUSANDS = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d+)?")


class UnreadableRow(ValueError):
    """A row that may not be guessed at: options that cannot be shown, or an answer that is none, or may be two."""


class NoGold(ValueError):
    """A row that says itself that it has no answer; it is left out."""


def folded(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields under their names in lower case; one that is spelled so itself goes before `Answer`.

    A question that is a table (ARC and CommonsenseQA in their own files: stem and choices) is opened.
    """
    lower = {name.strip().lower(): value for name, value in fields.items()} | {
        name: value for name, value in fields.items() if name == name.lower()
    }
    question = lower.get("question")
    if isinstance(question, Mapping) and "stem" in question:
        lower |= {**question, "question": question["stem"]}
    return lower


def is_empty(value: Any) -> bool:
    """Return whether nothing stands in a field. Parquet files of pandas have NaN for nothing."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def as_text(value: Any) -> str | None:
    """Return a field's text; numbers are written as a person would (27.0 is 27), lists of one are opened."""
    if isinstance(value, bool) or value is None or value != value:
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
    texts = ((name, as_text(fields.get(name))) for name in names)
    return next(((name, text) for name, text in texts if text and text.strip()), ("", ""))


def solution_of(fields: Mapping[str, Any]) -> str:
    """Return the text in which the answer is worked out: a solution of more than the answer, or what GSM8K has."""
    texts = [as_text(fields.get(name)) or "" for name in ("solution", "answer")]
    return next((text for text in texts if "####" in text or len(text.split()) > 1), "")


def gold(text: str, field: str) -> str | None:
    """Return the bare gold answer in an answer field: after `####`, in the last box of a solution, or the text."""
    if "####" in text:
        return text.rsplit("####", 1)[1].strip()
    if field == "solution" or "\\boxed" in text:
        return extract(text, policy="boxed")
    return text.strip()


def _options(fields: Mapping[str, Any]) -> Any:
    return next((fields[name] for name in FIELDS["options"] if fields.get(name)), None)


def options_of(options: Any) -> list[tuple[str, str]]:
    """Return the (label, text) of options, without the letters that texts bring; of one long text none.

    A list gets letters unless every item has its own; a table is {letter: text} or {"label": labels, "text": texts}, a
    list may also be one of tables with a label and a text each. Raises UnreadableRow.
    """
    if isinstance(options, Mapping):
        if {"label", "text"} <= options.keys():
            if len(options["label"]) != len(options["text"]):
                raise UnreadableRow(f"as many labels as texts are needed, got {options!r}")
            pairs = list(zip(options["label"], options["text"], strict=True))
        else:
            pairs = [(letter, text) for letter, text in options.items() if text is not None]
    elif isinstance(options, list | tuple) and options and all(isinstance(item, Mapping) for item in options):
        pairs = [(item.get("label"), item.get("text")) for item in options]
    elif isinstance(options, list | tuple):
        items = _items(options)
        marks = [_LETTERED.match(item) for item in items]
        own = [mark[1] for mark in marks if mark] == list(ascii_uppercase[: len(items)])
        bare = [item[mark.end() :] if own and mark else item for item, mark in zip(items, marks, strict=True)]
        pairs = list(zip(ascii_uppercase, bare, strict=False))
    else:
        return []
    texts = [(as_text(label), as_text(text)) for label, text in pairs]
    if any(label is None or text is None for label, text in texts):
        raise UnreadableRow(f"the options must be texts or numbers, got {options!r}")
    return [(str(label).strip(), str(text).strip()) for label, text in texts]


def _items(options: Sequence[Any]) -> list[str]:
    """Return the texts of options given as a list. Raises UnreadableRow where one is not a text or a number."""
    texts = [text for item in options if (text := as_text(item)) is not None]
    if len(texts) < len(options) or len(texts) > len(ascii_uppercase):
        raise UnreadableRow(f"the options must be up to {len(ascii_uppercase)} texts or numbers, got {options!r}")
    return texts


def lettered(options: Any) -> str:
    """Return options as they stand under a question: `A) …`, one to a line; texts that have their letters keep them."""
    if isinstance(options, str):
        return options.strip()
    if isinstance(options, list | tuple) and not any(isinstance(item, Mapping) for item in options):
        items = _items(options)
        marks = [mark[1] for item in items if (mark := _LETTERED.match(item))]
        if marks == list(ascii_uppercase[: len(items)]):
            return "\n".join(item.strip() for item in items)
    return "\n".join(f"{label}) {text}" for label, text in options_of(options))


def option_of(answer: str, options: Sequence[tuple[str, str]]) -> int | None:
    """Return which option an answer names: by its label (`B`, `(b)`, `B) 21`), else by its text; None for none."""
    bare = " ".join(_AROUND.sub(lambda match: match[1] or "", answer).split()).strip(" .")
    label = re.match(r"\(?(\w+)(?:[).:].*)?$", bare)
    for index, (name, _) in enumerate(options):
        if label and label[1].casefold() == name.casefold():
            return index
    texts = [" ".join(text.split()).strip(" .").casefold() for _, text in options]
    return texts.index(bare.casefold()) if texts.count(bare.casefold()) == 1 else None


def question_of(fields: Mapping[str, Any]) -> str:
    """Return the complete question: context, question, options. Raises UnreadableRow."""
    question = stem_of(fields)
    options = _options(fields)
    shown = lettered(options) if options is not None else ""
    return f"{question}\n{shown}" if shown and shown not in question else question


def stem_of(fields: Mapping[str, Any]) -> str:
    """Return the question with its context, without options that stand in a field of their own."""
    question = first_text(fields, FIELDS["question"])[1] or _asked(fields)
    if question is None or not question.strip():
        raise UnreadableRow(f"no question; wanted one of {', '.join(FIELDS['question'])} with text in it")
    context = first_text(fields, FIELDS["context"])[1].strip()
    return f"{context} {question}" if context and not question.startswith(context) else question


def choices_of(fields: Mapping[str, Any], answer: str) -> dict[str, Any]:
    """Return what shuffling needs of a row with options: `stem`, `options` and `choice`, the index of the gold.

    Without options that can be told apart there is nothing; `choice` is None where the gold is none of them.
    """
    options = options_of(_options(fields))
    if len(options) < 2 or len({text for _, text in options}) < len(options):
        return {}
    stem, shown = stem_of(fields), lettered(_options(fields))
    if shown in stem:
        if not stem.rstrip().endswith(shown):
            return {}
        stem = stem.rstrip().removesuffix(shown).rstrip()
    return {"stem": stem, "options": tuple(text for _, text in options), "choice": option_of(answer, options)}


def _asked(fields: Mapping[str, Any]) -> str | None:
    """Return the question of a row that has only messages: what `extra_info` says, or what the user says last."""
    extra = fields.get("extra_info")
    if isinstance(extra, Mapping) and as_text(extra.get("question")):
        return as_text(extra["question"])
    return next((content for role, content in reversed(messages(fields)) if role == "user"), None)


def turns(chat: Any) -> list[tuple[str, str]]:
    """Return the (role, content) of a chat; turns have role and content, or from and value. Not a chat: none."""
    roles = {"human": "user", "gpt": "assistant"}
    said = [turn for turn in chat if isinstance(turn, Mapping)] if isinstance(chat, list | tuple) else []
    pairs = [(str(turn.get("role", turn.get("from", "user"))), turn.get("content", turn.get("value"))) for turn in said]
    return [(roles.get(role, role), content) for role, content in pairs if isinstance(content, str)]


def messages(fields: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the (role, content) of the prompt that a row brings as a chat, without the reply; else none."""
    chat = next(filter(None, (turns(fields.get(name)) for name in FIELDS["chat"])), [])
    while chat and chat[-1][0] == "assistant":
        chat.pop()
    return chat


def answer_of(fields: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return (the bare gold, what had to be decided to get it). Raises NoGold, and UnreadableRow where it is unclear.

    The gold of a row in veRL's form (SimpleRL-Zoo's files) is what it is scored with: `reward_model.ground_truth`.
    """
    decided: list[str] = []
    scored = fields.get("reward_model")
    there = [name for name in FIELDS["answer"] if name in fields]
    if isinstance(scored, Mapping) and ("ground_truth" in scored or not there):
        name, value = "reward_model.ground_truth", scored.get("ground_truth")
        if is_empty(value):
            raise NoGold(f"{name} is empty")
    else:
        name = next((name for name in there if not is_empty(fields[name])), "")
        if not name:
            empty = f": {', '.join(map(repr, there))} is empty" if there else ""
            raise UnreadableRow(f"no final answer{empty}; wanted one of {', '.join(FIELDS['answer'])} with one in it")
        value = fields[name]
        if there[0] != name:
            decided.append(f"{there[0]!r} is empty, so the answer is that of {name!r}")
    if (letter := _chosen(_options(fields), value)) is not None:
        return letter, decided
    golds = []
    for text in _answers(value, name, decided):
        bare = gold(text, name)
        if not bare:
            raise UnreadableRow(f"no final answer in {name!r} (GSM8K: after '####'; MATH: in \\boxed{{}})")
        if bare.strip("$. ").casefold() in PLACEHOLDERS or bare == "None":
            raise NoGold(f"the answer is the placeholder {bare[:40]!r}")
        golds.append(bare)
    return _joined(golds, decided), decided


def _answers(value: Any, name: str, decided: list[str]) -> list[str]:
    """Return the texts of an answer: several where it is a list, also a list of texts that is written in a text."""
    if isinstance(value, str) and value.lstrip().startswith('["'):
        # LaTeX is often put into JSON without doubling its backslashes: \times would be a tab and "imes".
        for text in (value, value.replace("\\", "\\\\")):
            try:
                listed = json.loads(text)
            except (ValueError, RecursionError):
                continue
            if isinstance(listed, list) and not any(c in str(item) for item in listed for c in "\b\f\n\r\t"):
                decided.append("a list that is written in a text is read as a list")
                value = listed
                break
        else:
            raise UnreadableRow(f"no final answer: {name!r} begins as a list does and is none: {value[:60]}")
    if not isinstance(value, list | tuple):
        single = as_text(value)
        if single is None or (isinstance(value, float) and math.isinf(value)):
            kind = {bool: "a boolean", dict: "an object"}.get(type(value), "not a finite number")
            raise UnreadableRow(
                f"no final answer: {name!r} is {kind}, {str(value)[:60]}; write the answer as the text that is "
                "to be given"
            )
        return [single]
    if not value or any(is_empty(item) for item in value):
        raise UnreadableRow(f"no final answer: {name!r} is {'a list with an empty item' if value else 'an empty list'}")
    return [text for item in value for text in _answers(item, name, decided)]


def _joined(golds: list[str], decided: list[str]) -> str:
    """Return the one gold of several final answers: one if they are forms of the same, else all, in any order."""
    golds = list(dict.fromkeys(golds))
    if len(golds) == 1:
        return golds[0]
    if all(equal(golds[0], other) for other in golds[1:]):
        decided.append("the answers of a list are forms of one: the first is the gold")
        return golds[0]
    decided.append("the answers of a list are all wanted, in any order, as the verifier reads a list")
    return ", ".join(text.replace(",", "") if _THOUSANDS.fullmatch(text) else text for text in golds)


def _chosen(options: Any, value: Any) -> str | None:
    """Return the letter of an option that is given by its index; None for any other answer."""
    if not isinstance(options, list | tuple) or isinstance(value, bool) or not isinstance(value, int):
        return None
    items = _items(options)
    if str(value) in items:
        raise UnreadableRow(
            f"the answer {value} may be the option of that text or the option of that index; give its letter"
        )
    return ascii_uppercase[value] if 0 <= value < len(items) else None


def identity_of(fields: Mapping[str, Any]) -> str | None:
    """Return the name that the row has at its source, if any."""
    extra = fields.get("extra_info")
    index = as_text(extra.get("index")) if isinstance(extra, Mapping) else None
    return first_text(fields, FIELDS["identity"])[1] or index
