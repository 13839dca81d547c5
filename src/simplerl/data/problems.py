"""What a row means as a problem: its question, its gold answer, its level, its unit tests; and sets of problems.

General rules, for any file: GSM8K-style, MATH-style, plain fields, chats, SimpleRL-Zoo's Parquet. A context (`Body`)
stands before the question, lettered options stand after it, an answer is bare; the names that people use are in
`fields.toml`. Benchmarks with rules of their own name their fields themselves.

A row that cannot be read is an error that names its place. A row that has no gold answer to learn from is left out, and
whatever had to be decided about the others is kept, both with their places.

A problem with unit tests has in its `meta`:
- `tests`: {"inputs": [text, …], "outputs": [text, …]}, of programs that read and write; or {"setup": text, "code":
  text}, assertions that call functions of the program; with `prefix` what stands before it (a prompt to be completed).
- `environment`: "code", which judges it wherever the run's own environment does not.
- `reference`: the program that the row holds as right, where there is one.

Data files are hostile: what they hold is read as JSON or as text, and runs in the sandbox only.
"""

import base64
import hashlib
import itertools
import json
import math
import pickletools
import re
import tomllib
import zlib
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from simplerl.core.errors import ConfigError, DataError
from simplerl.core.types import Problem
from simplerl.data.rows import Row
from simplerl.verify import equal, extract

_TABLE = tomllib.loads(Path(__file__).with_name("fields.toml").read_text(encoding="utf-8"))
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
#: What begins as a list of texts that was written as one text, as JSON or as Python does.
_LISTED = re.compile(r"""\s*\[\s*(["'])""")
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
    if isinstance(value, Decimal):
        return f"{value.normalize():f}" if value.is_finite() else None
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


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a question; empty where a row has none. Of one long text only `shown` is known."""

    shown: str = ""  # As they stand under the question: `A) …`, one to a line; texts that bring their letters keep them
    labels: Sequence[str] = ()
    texts: Sequence[str] = ()  # Without their letters
    listed: bool = False  # A list, so that a whole number may be the index of one

    def chosen(self, answer: str) -> int | None:
        """Return which option an answer names: by its label (`B`, `(b)`, `B) 21`), else by its text; None for none."""
        label = re.match(r"\(?(\w+)(?:[).:].*)?$", bare := _bare(answer))
        labels, texts = [each.casefold() for each in self.labels], [_bare(each).casefold() for each in self.texts]
        if label and label[1].casefold() in labels:
            return labels.index(label[1].casefold())
        return texts.index(bare.casefold()) if texts.count(bare.casefold()) == 1 else None


def _bare(text: str) -> str:
    """Return an answer without what may stand around it: dollars, a LaTeX text, spaces, a full stop."""
    return " ".join(_AROUND.sub(lambda match: match[1] or "", text).split()).strip(" .")


def options_in(given: Any) -> Options:
    """Return options of any form. Raises UnreadableRow for what cannot be shown.

    A list gets letters unless every item has its own, or is a table with a label and a text; a table is {letter: text}
    or {"label": labels, "text": texts}.
    """
    labels: Any
    texts: Any
    listed = isinstance(given, list | tuple)
    if listed and all(isinstance(item, Mapping) for item in given):
        labels, texts = ([item.get(name) for item in given] for name in ("label", "text"))
    elif listed:
        labels, texts = list(ascii_uppercase[: len(given)]), given
    elif isinstance(given, Mapping) and {"label", "text"} <= given.keys():
        labels, texts = given["label"], given["text"]
    elif isinstance(given, Mapping):
        there = {label: text for label, text in given.items() if text is not None}
        labels, texts = list(there), list(there.values())
    else:
        return Options(given.strip() if isinstance(given, str) else "")
    labels, texts = ([*map(as_text, each)] if isinstance(each, list | tuple) else [None] for each in (labels, texts))
    if len(labels) != len(texts) or None in [*labels, *texts]:
        wanted = f"up to {len(ascii_uppercase)} texts or numbers, with as many labels"
        raise UnreadableRow(f"the options must be {wanted}, got {given!r}")
    labels, texts = ([text.strip() for text in each] for each in (labels, texts))
    marks = [_LETTERED.match(text) for text in texts]
    if listed and [mark and mark[1] for mark in marks] == labels:
        bare = [text[mark.end() :].strip() for text, mark in zip(texts, marks, strict=True) if mark]
        return Options("\n".join(texts), labels, bare, listed)
    shown = "\n".join(f"{label}) {text}" for label, text in zip(labels, texts, strict=True))
    return Options(shown, labels, texts, listed)


def options_of(fields: Mapping[str, Any]) -> Options:
    """Return the options of a row. Raises UnreadableRow."""
    return options_in(next((fields[name] for name in FIELDS["options"] if fields.get(name)), None))


def question_of(fields: Mapping[str, Any]) -> str:
    """Return the complete question: context, question, options. Raises UnreadableRow."""
    stem, shown = stem_of(fields), options_of(fields).shown
    return f"{stem}\n{shown}" if shown and shown not in stem else stem


def stem_of(fields: Mapping[str, Any]) -> str:
    """Return the question with its context, without options that stand in a field of their own."""
    question = _asked(fields, FIELDS["question"])
    context = first_text(fields, FIELDS["context"])[1].strip()
    return f"{context} {question}" if context and not question.startswith(context) else question


def choices_of(fields: Mapping[str, Any], answer: str) -> dict[str, Any]:
    """Return what shuffling needs of a row with options: `stem`, `options` and `choice`, the index of the gold.

    Without options that can be told apart there is nothing; `choice` is None where the gold is none of them.
    """
    options, stem = options_of(fields), stem_of(fields)
    if len({*options.texts}) < max(2, len(options.texts)):
        return {}
    if options.shown in stem:
        whole = stem.rstrip()
        stem = whole.removesuffix(options.shown).rstrip()
        if stem == whole:
            return {}
    return {"stem": stem, "options": tuple(options.texts), "choice": options.chosen(answer)}


def _asked(fields: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return the first question in some fields, else what `extra_info` says, or what the user says last."""
    extra = fields.get("extra_info")
    question = first_text(fields, names)[1] or (as_text(extra.get("question")) if isinstance(extra, Mapping) else None)
    question = question or next((content for role, content in reversed(messages_of(fields)) if role == "user"), "")
    if not question.strip():
        raise UnreadableRow(f"no question; wanted one of {', '.join(names)} with text in it")
    return question


def turns(chat: Any) -> list[tuple[str, str]]:
    """Return the (role, content) of a chat; turns have role and content, or from and value. Not a chat: none."""
    roles = {"human": "user", "gpt": "assistant"}
    said = [turn for turn in chat if isinstance(turn, Mapping)] if isinstance(chat, list | tuple) else []
    pairs = [(str(turn.get("role", turn.get("from", "user"))), turn.get("content", turn.get("value"))) for turn in said]
    return [(roles.get(role, role), content) for role, content in pairs if isinstance(content, str)]


def messages_of(fields: Mapping[str, Any]) -> list[tuple[str, str]]:
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
    there = {name: fields[name] for name in FIELDS["answer"] if name in fields}
    scored = fields.get("reward_model")
    if isinstance(scored, Mapping) and ("ground_truth" in scored or not there):
        there = {"reward_model.ground_truth": scored.get("ground_truth")}
        if is_empty(scored.get("ground_truth")):
            raise NoGold("reward_model.ground_truth is empty")
    name = next((name for name, value in there.items() if not is_empty(value)), "")
    if not name:
        empty = f": {', '.join(map(repr, there))} is empty" if there else ""
        raise UnreadableRow(f"no final answer{empty}; wanted one of {', '.join(FIELDS['answer'])} with one in it")
    if name != (first := next(iter(there))):
        decided.append(f"{first!r} is empty, so the answer is that of {name!r}")
    value = there[name]
    if isinstance(value, int) and not isinstance(value, bool) and (options := options_of(fields)).listed:
        if str(value) in (*options.labels, *options.texts):
            raise UnreadableRow(
                f"the answer {value} may be the option of that text or the option of that index; give its letter"
            )
        if 0 <= value < len(options.labels):
            return options.labels[value], decided
    golds = []
    for text in _answers(value, name, decided):
        bare = gold(text, name)
        if not bare:
            raise UnreadableRow(f"no final answer in {name!r} (GSM8K: after '####'; MATH: in \\boxed{{}})")
        if _bare(bare).casefold() in PLACEHOLDERS or bare == "None":
            raise NoGold(f"the answer is the placeholder {bare[:40]!r}")
        golds.append(bare)
    return _joined(golds, decided), decided


def _answers(value: Any, name: str, decided: list[str]) -> list[str]:
    """Return the texts of an answer: several where it is a list, also a list of texts that is written in a text."""
    if isinstance(value, str) and (begins := _LISTED.match(value)):
        written = value.replace(begins[1], '"')
        # LaTeX is often put into JSON without doubling its backslashes: \times would be a tab and "imes".
        for text in (written, written.replace("\\", "\\\\")):
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
            kinds = {bool: "a boolean", dict: "an object", float: "not a finite number"}
            kind = kinds.get(type(value), f"of the type {type(value).__name__}")
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


def identity_of(fields: Mapping[str, Any]) -> str:
    """Return the name that the row has at its source; empty where it has none."""
    extra = fields.get("extra_info")
    index = as_text(extra.get("index")) if isinstance(extra, Mapping) else None
    return first_text(fields, FIELDS["identity"])[1] or index or ""


#: What is read here, so that it is not handed on twice.
TEST_FIELDS = {*FIELDS["reference"], *FIELDS["tests"], "answer"}
#: Most that a compressed field may hold.
_MOST_BYTES = 256 << 20


def tests_of(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the tests of a row, or None where it has none. Raises UnreadableRow for what cannot be read as tests."""
    there = {name: value for name in FIELDS["tests"] if not is_empty(value := fields.get(name)) and value != []}
    scored = fields.get("reward_model")
    truth = scored.get("ground_truth") if isinstance(scored, Mapping) else None
    if isinstance(truth, str) and truth.lstrip().startswith("{") and '"inputs"' in truth:
        return _tests_in(truth, "reward_model.ground_truth")
    if "input_output" in there:
        return _tests_in(there["input_output"], "input_output")
    if "public_test_cases" in there:
        return _live_code_bench(fields)
    if isinstance(there.get("test"), str) and isinstance(entry := fields.get("entry_point"), str):
        prompt = as_text(fields.get("prompt")) or ""
        code = f"{entry} = program({entry!r})\n{there['test']}\ncheck({entry})\n"
        return {"setup": prompt, "code": code, "prefix": prompt}
    if "test_list" in there:
        lines = [line for name in ("test_list", "challenge_test_list") for line in _texts(there.get(name, []), name)]
        imports = there.get("test_imports") or there.get("test_setup_code") or ""
        setup = imports if isinstance(imports, str) else "\n".join(_texts(imports, "test_imports"))
        return {"setup": setup, "code": "\n".join(lines)}
    if "tests" in there:
        return _tests_in(there["tests"], "tests", setup=as_text(fields.get("setup")) or "")
    return None


def question_with_tests(fields: Mapping[str, Any], tests: Mapping[str, Any]) -> str:
    """Return what is asked: the text, the code to start from, and of assertions the first, which names the function."""
    names = (*FIELDS["question"], "question_content", "text", "description")
    question = _asked(fields, names)
    starter = as_text(fields.get("starter_code")) or ""
    if starter.strip() and starter.strip() not in question:
        question = f"{question.rstrip()}\n\nStart from this code:\n{starter.rstrip()}"
    if not is_empty(fields.get("test_list")):
        question = f"{question.rstrip()}\nYour code should pass this test:\n{tests['code'].splitlines()[0]}"
    return question


def reference_of(fields: Mapping[str, Any]) -> str:
    """Return the program that a row holds as right; empty where there is none. Of several it is the first."""
    for name in FIELDS["reference"]:
        value = fields.get(name)
        if isinstance(value, str) and value.lstrip().startswith('["'):
            value = _json(value, name)
        if isinstance(value, list | tuple):
            value = next((item for item in value if isinstance(item, str) and item.strip()), "")
        if isinstance(value, str) and value.strip():
            return value
    return ""


def label_of(tests: Mapping[str, Any]) -> str:
    """Return how tests stand in a record as the gold: how many, and which."""
    number = len(tests["inputs"]) if "inputs" in tests else tests["code"].count("assert") + tests["code"].count("case(")
    digest = hashlib.sha256(json.dumps(tests, sort_keys=True).encode()).hexdigest()
    return f"{number} unit tests, sha256 {digest[:12]}"


def _json(value: Any, name: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise UnreadableRow(f"{name!r} holds no tests: it is not valid JSON ({error})") from error


def _texts(value: Any, name: str) -> list[str]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise UnreadableRow(f"{name!r} must be a list of texts, got {str(value)[:60]!r}")
    return list(value)


def _tests_in(value: Any, name: str, setup: str = "") -> dict[str, Any]:
    """Return the tests in one field: a table of inputs and outputs (a list of lines is a text; with `fn_name` they are
    arguments and values), one of code as `simplerl data` writes it, a list of assertions or of {input, output}."""
    tests = _json(value, name)
    if isinstance(tests, Mapping):
        tests = {key: each for key, each in tests.items() if each is not None}  # Parquet has every key in every row.
        ins, outs, code = map(tests.get, ("inputs", "outputs", "code"))
        if isinstance(code, str) and ins is outs is None and all(isinstance(text, str) for text in tests.values()):
            return {"setup": "", **{key: tests[key] for key in ("setup", "code", "prefix") if key in tests}}
        if not isinstance(ins, list) or not isinstance(outs, list) or not ins or len(ins) != len(outs):
            raise UnreadableRow(
                f"{name!r} must have as many 'inputs' as 'outputs', and at least one, or texts with 'code'"
            )
        if function := tests.get("fn_name"):
            # Some outputs are a list of the one value that is returned.
            accepted = ([out, *(out if isinstance(out, list) and len(out) == 1 else ())] for out in outs)
            return _calls(function, zip(ins, accepted, strict=True), name)
        texts = (
            ["\n".join(map(str, text)) if isinstance(text, list) else text for text in part] for part in (ins, outs)
        )
        tests = [{"input": given, "output": wanted} for given, wanted in zip(*texts, strict=True)]
    if isinstance(tests, list) and tests and all(isinstance(test, str) for test in tests):
        return {"setup": setup, "code": "\n".join(tests)}
    return _pairs(tests, name)


def _pairs(tests: Any, name: str) -> dict[str, Any]:
    """Return the tests of a list of {"input": text, "output": text}."""
    if not isinstance(tests, list) or not tests or not all(isinstance(test, Mapping) for test in tests):
        raise UnreadableRow(f"{name!r} must be a list of objects with 'input' and 'output', or of assertions")
    columns = {f"{key}s": [test.get(key) for test in tests] for key in ("input", "output")}
    if not all(isinstance(text, str) for column in columns.values() for text in column):
        raise UnreadableRow(f"{name!r}: 'input' and 'output' of a test must be texts")
    return columns


def _calls(function: Any, cases: Iterable[tuple[Any, Sequence[Any]]], name: str) -> dict[str, Any]:
    """Return calls and what they must return as code of tests."""
    lines = [f"case({function!r}, {arguments!r}, {list(accepted)!r})" for arguments, accepted in cases]
    if not isinstance(function, str) or not function.isidentifier():
        raise UnreadableRow(f"{name!r}: the function's name must be a name, got {str(function)[:60]!r}")
    return {"setup": "", "code": "\n".join(lines)}


def _live_code_bench(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return LiveCodeBench's tests. The private ones are compressed, and in them the JSON is a pickled text."""
    tests = list(_json(fields["public_test_cases"], "public_test_cases"))
    private = fields.get("private_test_cases")
    if isinstance(private, str) and private and not private.lstrip().startswith("["):
        try:
            unzip = zlib.decompressobj()
            data = unzip.decompress(base64.b64decode(private, validate=True), _MOST_BYTES)
            # Not loaded: a pickle may call anything. The texts in it are looked at.
            private = next(a for op, a, _ in pickletools.genops(data) if isinstance(a, str) and "UNICODE" in op.name)
        except (ValueError, zlib.error, StopIteration) as error:
            raise UnreadableRow(f"'private_test_cases' cannot be unpacked: {error}") from error
    tests += _json(private or "[]", "private_test_cases")
    if tests and all(isinstance(test, Mapping) and test.get("testtype") == "functional" for test in tests):
        metadata = _json(fields.get("metadata") or "{}", "metadata")
        lines = lambda text: [_json(line, "public_test_cases") for line in text.split("\n") if line.strip()]  # noqa: E731
        cases = [(lines(test["input"]), [_json(test["output"], "public_test_cases")]) for test in tests]
        return _calls(metadata.get("func_name"), cases, "metadata")
    return _pairs(tests, "public_test_cases")


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What became of a row: a problem with what was decided, or the reason why there is none."""

    id: str
    place: str
    original_id: str = ""  # The name that the row has at its source
    problem: Problem | None = None
    decided: Sequence[str] = ()
    why: str = ""  # Why there is no problem
    refused: bool = False  # It cannot be read: an error, unless rows are only looked at
    response: str | None = None  # The response that stands beside the gold, for an audit
    expected: bool | None = None  # Whether it is said to be right

    @property
    def gold(self) -> str:
        """The gold of the problem; empty where there is none."""
        return self.problem.answer if self.problem else ""

    @property
    def question(self) -> str | None:
        """The question of the problem; None where there is none, as in a labelled case."""
        return (self.problem and self.problem.question) or None

    @property
    def meta(self) -> Mapping[str, Any]:
        """What else is known of the problem."""
        return self.problem.meta if self.problem else {}


@dataclass(frozen=True, kw_only=True, slots=True)
class ProblemSet:
    """Problems with what is to be said of how they were read."""

    problems: list[Problem]
    left_out: tuple[Reading, ...] = ()
    decisions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What was decided about rows that can be read in more than one way → their places."""
    origin: Mapping[str, Any] = field(default_factory=dict)
    """Where the rows come from, exactly: a file and its SHA-256, or a hub data set and its commit."""

    @property
    def notes(self) -> list[str]:
        """A line for each reason to leave rows out, and for each decision: how many rows, and the first places."""
        total = len(self.problems) + len(self.left_out)
        why = defaultdict[str, list[str]](list)
        for item in self.left_out:
            why[f"are left out ({item.why})"].append(item.place)
        return [
            f"{len(places)} of {total} rows{what}: {'; '.join(places[:5])}{' …' if len(places) > 5 else ''}"
            for group, mark in ((why, " "), (self.decisions, ": "))
            for what, places in ((mark + text, places) for text, places in group.items())
        ]


def question_in(row: Row) -> str:
    """Return the question in a row. Raises DataError, naming the place and the fields that are there."""
    try:
        return question_of(folded(row.fields))
    except UnreadableRow as error:
        raise DataError(f"{row.place}: {error}. {row.there}") from error


def reading(row: Row, *, source: str, index: int, labelled: bool = False) -> Reading:
    """Read a row. With `labelled` one that has a field `gold` may do without a question."""
    fields = folded(row.fields)
    responses = (fields.get(name) for name in FIELDS["response"])
    item = Reading(
        id=f"{source}-{index}",
        place=row.place,
        original_id=identity_of(fields),
        response=next((text for text in responses if isinstance(text, str)), None),
        expected=expected if isinstance(expected := fields.get("expected"), bool) else None,
    )
    asked = not labelled or first_text(fields, FIELDS["question"])[1] or messages_of(fields)
    try:
        if tests := tests_of(fields):
            question = question_with_tests(fields, tests)
            answer, decided, reference = label_of(tests), list[str](), reference_of(fields)
            more = {"tests": tests, "environment": "code", **({"reference": reference} if reference else {})}
            fields = {name: value for name, value in fields.items() if name not in TEST_FIELDS}
        else:
            question = question_of(fields) if asked or "gold" not in fields else ""
            answer, decided = answer_of(fields)
            more = choices_of(fields, answer) if question else {}
            if more.get("choice", 0) is None:
                decided.append("the answer is none of the options")
        if any("\ud800" <= letter <= "\udfff" for letter in question):
            raise UnreadableRow("the question holds half of a character (a lone surrogate), which is not text")
    except NoGold as error:
        return replace(item, why=str(error))
    except UnreadableRow as error:
        return replace(item, why=f"{error}. {row.there}", refused=True)
    chat = [role for role, _ in messages_of(fields)]
    if "system" in chat:
        decided.append("the system message is not part of the question (prompt.system)")
    if "assistant" in chat or chat.count("user") > 1:
        decided.append("of several turns the user's last one is the question")
    problem = Problem(
        id=item.id,
        question=question,
        answer=answer,
        source=source,
        level=first_text(fields, FIELDS["level"])[1].removeprefix("Level ").strip(),
        meta={**_more(fields), "place": row.place, **more},
    )
    return replace(item, problem=problem, decided=tuple(dict.fromkeys(decided)))


def _more(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what else a row says: its own id and source, its own prompt, a measured pass rate, further columns."""
    more: dict[str, Any] = {name: value for name, value in fields.items() if name not in TAKEN}
    known = {
        "original_id": identity_of(fields),
        "origin": first_text(fields, FIELDS["source"])[1],
        "solution": solution_of(fields),
        "messages": tuple(messages_of(fields)),
    }
    more |= {name: value for name, value in known.items() if value}
    for name, kind in (("pass_rate", float), ("pass_rate_samples", int)):
        value = fields.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and value == value:
            more[name] = kind(value)
    return more


def readings(rows: Iterable[Row], *, source: str, labelled: bool = False) -> list[Reading]:
    """Read rows, leaving out every problem whose question stands there with another answer: neither can be trusted."""
    every = [reading(row, source=source, index=index, labelled=labelled) for index, row in enumerate(rows)]
    golds = defaultdict[str, dict[str, None]](dict)
    for item in every:
        if item.problem and item.problem.question:
            golds[" ".join(item.problem.question.split())][item.problem.answer] = None
    disputed = {
        question
        for question, (first, *others) in golds.items()
        if any(not (equal(first, other) or equal(other, first)) for other in others)
    }
    why = "the same question stands there with different answers"
    return [
        replace(item, problem=None, why=why)
        if item.problem and " ".join(item.problem.question.split()) in disputed
        else item
        for item in every
    ]


def problem_set(
    rows: Iterable[Row], *, source: str, origin: Mapping[str, Any] | None = None, strict: bool = True
) -> ProblemSet:
    """Return the problems in rows, and the rows left out. Raises DataError for no problem, or a row that is refused.

    Without `strict` rows that cannot be read are left out too.
    """
    items = readings(rows, source=source)
    refused = [item for item in items if item.refused]
    problems = [item.problem for item in items if item.problem is not None]
    if refused and (strict or not problems):
        others = f"\n{len(refused) - 1} more of {len(items)} rows cannot be read; `simplerl audit` lists them all"
        raise DataError(f"{refused[0].place}: {refused[0].why}" + (others if len(refused) > 1 else ""))
    left_out = tuple(item for item in items if item.problem is None)
    if not problems:
        reasons = f": {len(left_out)} rows without a gold answer ({left_out[0].why})" if left_out else ": no rows"
        raise DataError(f"data set {source!r} holds no problem{reasons}")
    decisions = defaultdict[str, list[str]](list)
    for item in items:
        for what in item.decided if item.problem else ():
            decisions[what].append(item.place)
    return ProblemSet(problems=problems, left_out=left_out, decisions=dict(decisions), origin=origin or {})


def select(chosen: ProblemSet, *, name: str, levels: Collection[int], size: int) -> ProblemSet:
    """Return the first `size` problems (0: all) of the wanted levels (none: all). Raises DataError for no problem."""
    wanted = {str(level) for level in levels}
    problems = [item for item in chosen.problems if not wanted or item.level in wanted]
    if wanted and not problems:
        raise DataError(f"data set {name!r} has no problem of level {', '.join(sorted(wanted))}")
    return replace(chosen, problems=problems[: size or None])


def generated_size(name: str, split: str, size: int) -> int:
    """Return how many problems of a split are generated; 0: 2,000 to train on, 250 to test on. Raises ConfigError."""
    if split not in ("train", "test"):
        raise ConfigError(f"data set {name!r} has the splits train and test, not {split!r}")
    return size or {"train": 2000, "test": 250}[split]


def distinct(streams: Iterable[Iterator[Problem | None]], size: int, patience: int | None = None) -> list[Problem]:
    """Return up to `size` problems of different questions, of which the streams give one each in turn.

    A stream has given all that it has when it ends, or when `patience` draws in a row are nothing new, or None.
    """
    problems, turns = dict[str, Problem](), deque(streams)
    while turns and len(problems) < size:
        drawn = itertools.islice(turns[0], patience)
        if new := next((each for each in drawn if each and each.question not in problems), None):
            problems[new.question] = new
            turns.rotate(-1)
        else:
            turns.popleft()
    return list(problems.values())
