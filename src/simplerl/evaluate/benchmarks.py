"""The benchmarks: where the problems come from, how many there are, and how rows and answers are read.

The table is benchmarks.toml. A benchmark is read from the hub, or from files with the field names of the Qwen2.5-Math
evaluation, which SimpleRL-Zoo evaluates with: `DIR/NAME.jsonl` or `DIR/NAME/test.jsonl`. The number of problems must be
the stated one, and their content is compared with the files that the paper evaluated on (`sha256`), so that two numbers
that cannot be compared are not taken for comparable. Where options and hints stand in a question is that evaluation's
form too: it is part of the prompt, so it decides scores.
"""

import hashlib
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simplerl import data
from simplerl.core.errors import DataError, nearest
from simplerl.core.types import Problem
from simplerl.data.problems import first_text, gold
from simplerl.data.rows import SUFFIXES, Row, open_hub, read_rows, stem_of, suffix_of

LADDER = "boxed-then-phrases-then-last-number"
#: Where the files of the paper's evaluation can be had.
FILES = "github.com/hkust-nlp/simpleRL-reason, examples/simplelr_math_eval/data"

LETTERS = "ABCDEFGHIJ"


def first_field(row: Row, names: Sequence[str], what: str, *, empty: tuple[Any, ...] = (None,)) -> tuple[str, Any]:
    """Return (name, value) of the first field that is there and not empty. Raises DataError naming place and fields."""
    for name in names:
        value = row.fields.get(name)
        if not any(value is nothing or value == nothing for nothing in empty):
            return name, value
    raise DataError(f"{row.place}: {what}. {row.there}")


def field(row: Row, *names: str) -> Any:
    """Return the first field that is there and holds something. Raises DataError naming place and fields."""
    missing = f"no {' or '.join(map(repr, names))} with something in it"
    return first_field(row, names, missing, empty=(None, "", []))[1]


def plain(value: Any) -> str:
    """Return a value as a person would write it: 27.0 is 27."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def text(row: Row, *names: str) -> str:
    """Return the first of some fields."""
    return plain(field(row, *names))


def bare(row: Row, *names: str) -> str:
    """Return a gold answer: what follows `####`, the last box of a `solution`, or the text itself.

    A field that is there and empty is an empty gold, which nothing can be judged against; only a missing one is an
    error. (Two rows of gaokao2023en have none.)
    """
    name = next((name for name in names if row.fields.get(name) is not None), None)
    value = row.fields[name] if name else field(row, *names)
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    return gold(plain(value), name or "") or ""


def joined(row: Row, body: str, question: str, end: str = "") -> str:
    """Return a story, which gets the `end` where it does not have it, and its question."""
    return f"{text(row, body).removesuffix(end)}{end} {text(row, question)}"


def without_unit(row: Row, name: str) -> str:
    """Return 9 for `9 (apples)`."""
    return re.sub(r"\s*\([^()]*\)", "", text(row, name)).strip()


def with_choices(row: Row, question: str, choices: str) -> str:
    """Return a question with its options behind it: `Answer Choices: (A) … (B) …`."""
    options = field(row, choices)
    if isinstance(options, str):  # `A) … B) …` in one line.
        listed = re.sub(r"(?:^|(?<=\s))([A-J])\)\s*", r"(\1) ", options.strip())
    elif isinstance(options, list) and len(options) <= len(LETTERS):
        bodies = [re.sub(r"^\s*\(?[A-J]\)\s*", "", plain(option)) for option in options]
        listed = " ".join(f"({letter}) {body}" for letter, body in zip(LETTERS, bodies, strict=False))
    else:
        raise DataError(
            f"{row.place}: field {choices!r} must be a text or a list of up to {len(LETTERS)} options, got "
            f"{str(options)[:80]!r}"
        )
    return f"{text(row, question)}\nAnswer Choices: {listed}"


def letter(row: Row, name: str) -> str:
    """Return a gold choice, given as a letter or as its index from 0."""
    value = field(row, name)
    choice = LETTERS[value] if type(value) is int and 0 <= value < len(LETTERS) else plain(value)
    if choice not in LETTERS or len(choice) != 1:
        raise DataError(f"{row.place}: field {name!r} must be a choice letter or its index, got {value!r}")
    return choice


def hinted(question: str, answer: str) -> str:
    """Say behind a question that only two answers are possible, where the gold is one of them."""
    for pair in ("True or False", "Yes or No"):
        if answer.strip().lower() in pair.lower().split(" or "):
            return f"{question} ({pair})"
    return question


#: Name in benchmarks.toml → takes a row and fields, and gives the question or the bare gold, or says what is missing.
READERS: dict[str, Callable[..., str]] = {
    reader.__name__: reader for reader in (text, bare, joined, without_unit, with_choices, letter)
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """A set of test problems."""

    name: str
    problems: int  # Exact number; 0 for a user's own file
    citation: str
    sha256: str = ""  # Of questions and golds (see `fingerprint`); empty for a user's own file
    question: Sequence[str] = ("text", "question", "problem")  # A name from `READERS`, and fields for it
    answer: Sequence[str] = ("bare", "answer")
    level: Sequence[str] = ()  # Fields that may hold a difficulty
    kind: Sequence[str] = ()  # Fields that may hold a type of problem
    policy: str = LADDER  # How the final answer is found: the paper's order for base models, or the choice letter
    hub: Mapping[str, str] | None = None
    """Data set on the Hugging Face hub: `name`, `split` (test), `configuration`, and `revision` where one is known to
    be right; where it is not, the content hash tells."""


BENCHMARKS: dict[str, Benchmark] = {
    name: Benchmark(name=name, **row)
    for name, row in tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")).items()
}

#: What `simplerl eval` runs when nothing is named: SimpleRL-Zoo's eight.
DEFAULTS = (
    "gsm8k", "math500", "minerva_math", "olympiadbench", "aime24", "amc23", "college_math", "gaokao2023en",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Loaded:
    """A benchmark's problems."""

    benchmark: Benchmark
    problems: list[Problem]
    sha256: str  # Fingerprint of what was loaded, before any limit


def fingerprint(problems: list[Problem]) -> str:
    """Return the SHA-256 over questions and golds, in order."""
    digest = hashlib.sha256()
    for problem in problems:
        digest.update(f"{problem.question}\x1f{problem.answer}\x1e".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def find(name: str) -> Benchmark:
    """Return a benchmark by name, or a user's own file or a data set as one. Raises DataError naming the nearest."""
    if name in BENCHMARKS:
        return BENCHMARKS[name]
    path = Path(name).expanduser()
    if suffix_of(path):
        own = path.name if stem_of(path) in BENCHMARKS else stem_of(path)  # A file gsm8k.jsonl is not taken for gsm8k.
    elif data.has_test_split(name):
        own = name
    else:
        raise DataError(
            f"unknown benchmark {name!r}; {nearest(name, [*BENCHMARKS, *data.DATASETS])} A {', '.join(SUFFIXES)} file "
            "works too, and what --data takes (its test split)."
        )
    return Benchmark(name=re.sub(r"[^\w.-]+", "-", own), problems=0, citation=name)


def load(
    name: str, *, data_dir: Path | None = None, limit: int = 0, say: Callable[[str], None] = lambda message: None
) -> Loaded:
    """Return the first `limit` problems of a benchmark (0: all), from a directory, the hub or a user's own file.

    Raises DataError where a row lacks a field or the number of problems is not the stated one.
    """
    benchmark = find(name)
    if benchmark.problems == 0:
        read = data.read(name, "test", benchmark=True)
        for note in read.notes:
            say(f"benchmark {name}: {note}")
        problems = read.problems
    else:
        problems = [_problem(benchmark, index, row) for index, row in enumerate(_rows(benchmark, data_dir))]
        if len(problems) != benchmark.problems:
            raise DataError(
                f"benchmark {name} has {benchmark.problems} problems, but {len(problems)} were found: the file is cut "
                f"short or another version. The paper's files are in {FILES}"
            )
    empty = [problem for problem in problems if not problem.answer]
    if empty:
        say(
            f"benchmark {name}: {len(empty)} of {len(problems)} problems have no gold answer and cannot be judged: "
            + ", ".join(problem.meta["place"] for problem in empty)
        )
    sha256 = fingerprint(problems)
    if benchmark.sha256 and sha256 != benchmark.sha256:
        say(
            f"benchmark {name}: questions or golds differ from the files that SimpleRL-Zoo evaluated on; its published "
            "figures are for those"
        )
    return Loaded(benchmark=benchmark, problems=problems[:limit] if limit else problems, sha256=sha256)


def _rows(benchmark: Benchmark, data_dir: Path | None) -> list[Row]:
    """Return the rows of a benchmark from `data_dir`, or else from the hub."""
    if data_dir is not None:
        files = _files(data_dir, benchmark.name)
        path = next((file for file in files if file.is_file()), None)
        if path is None:
            there = sorted(name for name in BENCHMARKS if any(file.is_file() for file in _files(data_dir, name)))
            raise DataError(
                f"benchmark {benchmark.name}: neither {files[0]} nor {files[1]} is there. Benchmarks in {data_dir}: "
                f"{', '.join(there) or 'none'}"
            )
        return list(read_rows(path))
    if benchmark.hub is None:
        raise DataError(
            f"benchmark {benchmark.name} is not on the hub in the form that the paper evaluated; get the files "
            f"({FILES}) and give --data-dir"
        )
    try:
        return list(open_hub(**{"split": "test", **benchmark.hub})[1])
    except DataError as error:
        raise DataError(f"{error}\nOr get the files of the paper ({FILES}) and give --data-dir") from error


def _files(data_dir: Path, name: str) -> tuple[Path, Path]:
    return data_dir / f"{name}.jsonl", data_dir / name / "test.jsonl"


def _problem(benchmark: Benchmark, index: int, row: Row) -> Problem:
    question, answer = (READERS[kind](row, *names) for kind, *names in (benchmark.question, benchmark.answer))
    wanted = (benchmark.level, benchmark.kind, ("id", "unique_id", "ID"))
    level, kind, original = (first_text(row.fields, names)[1] for names in wanted)
    return Problem(
        id=f"{benchmark.name}-{index}",
        question=hinted(question.strip(), answer),
        answer=answer,
        source=benchmark.name,
        level=level.removeprefix("Level ").strip(),
        meta={"place": row.place, "kind": kind.strip(), **({"original_id": original} if original else {})},
    )
