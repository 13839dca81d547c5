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

from simplerl import data
from simplerl.core.errors import DataError, nearest
from simplerl.core.types import Problem
from simplerl.data.problems import as_text, first_text, gold
from simplerl.data.rows import SUFFIXES, Row, open_hub, read_rows, stem_of, suffix_of

LADDER = "boxed-then-phrases-then-last-number"
#: Where the files of the paper's evaluation can be had.
FILES = "github.com/hkust-nlp/simpleRL-reason, examples/simplelr_math_eval/data"

LETTERS = "ABCDEFGHIJ"


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """A set of test problems."""

    name: str
    problems: int  # Exact number; 0 for a user's own file
    citation: str
    sha256: str = ""  # Of questions and golds (see `fingerprint`); empty for a user's own file
    question: Sequence[str] = ("question", "problem")  # Fields that may hold the question
    context: Sequence[str] = ()  # The field with the story before the question, and how a story ends
    options: str = ""  # The field with the options; the answer is then the letter of one, or its index from 0
    answer: Sequence[str] = ("answer",)  # Fields that may hold the answer
    unit: bool = False  # Whether a unit stands behind the answer: `9 (apples)`
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
    question, answer = field(row, *benchmark.question), _answer(benchmark, row)
    if benchmark.context:
        name, end = benchmark.context
        question = f"{field(row, name).removesuffix(end)}{end} {question}"
    if benchmark.options:
        question = f"{question}\nAnswer Choices: {_listed(row, benchmark.options)}"
    # Behind a question it is said that only two answers are possible, where the gold is one of them.
    pairs = ("True or False", "Yes or No")
    hints = [f" ({pair})" for pair in pairs if answer.strip().lower() in pair.lower().split(" or ")]
    wanted = (benchmark.level, benchmark.kind, ("id", "unique_id", "ID"))
    level, kind, original = (first_text(row.fields, names)[1] for names in wanted)
    return Problem(
        id=f"{benchmark.name}-{index}",
        question=question + "".join(hints),
        answer=answer,
        source=benchmark.name,
        level=level.removeprefix("Level ").strip(),
        meta={"place": row.place, "kind": kind.strip(), **({"original_id": original} if original else {})},
    )


def field(row: Row, *names: str) -> str:
    """Return the text of the first field that has some. Raises DataError naming place and fields."""
    if not (text := first_text(row.fields, names)[1]):
        raise DataError(f"{row.place}: no {' or '.join(map(repr, names))} with something in it. {row.there}")
    return text.strip()


def _listed(row: Row, name: str) -> str:
    """Return the options of a row in one line: `(A) … (B) …`."""
    options = row.fields.get(name)
    if isinstance(options, str):  # `A) … B) …` in one line.
        return re.sub(r"(?:^|(?<=\s))([A-J])\)\s*", r"(\1) ", options.strip())
    texts = [as_text(option) for option in options] if isinstance(options, list) else [None]
    if not 0 < len(texts) <= len(LETTERS) or None in texts:
        raise DataError(
            f"{row.place}: field {name!r} must be a text or a list of up to {len(LETTERS)} options, got "
            f"{str(options)[:80]!r}. {row.there}"
        )
    bodies = [re.sub(r"^\s*\(?[A-J]\)\s*", "", str(text)).strip() for text in texts]
    return " ".join(f"({letter}) {body}" for letter, body in zip(LETTERS, bodies, strict=False))


def _answer(benchmark: Benchmark, row: Row) -> str:
    """Return a gold answer: the letter of an option, what follows `####`, the last box of a `solution`, or the text.

    A field that is there and empty is an empty gold, which nothing can be judged against; only a missing one is an
    error. (Two rows of gaokao2023en have none.)
    """
    name = next((name for name in benchmark.answer if row.fields.get(name) is not None), "")
    value = row.fields.get(name)
    text = field(row, *benchmark.answer) if value is None or benchmark.options else as_text(value) or ""
    if benchmark.options:
        choice = LETTERS[value] if type(value) is int and 0 <= value < len(LETTERS) else text
        if choice not in LETTERS or len(choice) != 1:
            raise DataError(f"{row.place}: field {name!r} must be a choice letter or its index, got {value!r}")
        return choice
    text = gold(text.strip(), name) or ""
    return re.sub(r"\s*\([^()]*\)", "", text).strip() if benchmark.unit else text
