"""The benchmarks, a row each: where the problems come from, how many there are, and how answers are found.

A benchmark is read from the hub, or from files with the field names of the Qwen2.5-Math evaluation, which SimpleRL-Zoo
evaluates with: `DIR/NAME.jsonl` or `DIR/NAME/test.jsonl`. The number of problems must be the stated one, and their
content is compared with the files that the paper evaluated on (`sha256`), so that two numbers that cannot be compared
are not taken for comparable.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from simplerl.core.errors import DataError, nearest
from simplerl.core.types import Problem
from simplerl.data.problems import problem_set
from simplerl.data.rows import SUFFIXES, Row, read_hub, read_rows
from simplerl.evaluate.readers import Reader, bare, hinted, joined, letter, text, with_choices, without_unit

LADDER = "boxed-then-phrases-then-last-number"
#: Where the files of the paper's evaluation can be had.
FILES = "github.com/hkust-nlp/simpleRL-reason, examples/simplelr_math_eval/data"


#: Where most benchmarks keep them.
QUESTION, ANSWER = text("question", "problem"), bare("answer")


@dataclass(frozen=True, kw_only=True, slots=True)
class Hub:
    """A data set on the Hugging Face hub."""

    name: str
    split: str = "test"
    configuration: str | None = None
    revision: str | None = None
    """Commit; None where we know of none that is right: the content hash tells whether it is the right one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """A set of test problems."""

    name: str
    problems: int
    """Exact number."""
    citation: str
    sha256: str
    """Of questions and golds (see `fingerprint`); empty for a user's own file."""
    question: Reader = QUESTION
    answer: Reader = ANSWER
    level: tuple[str, ...] = ()
    """Fields that may hold a difficulty."""
    kind: tuple[str, ...] = ()
    """Fields that may hold a type of problem."""
    policy: str = LADDER
    """How the final answer is found: the paper's order for base models, or the choice letter."""
    hub: Hub | None = None


def _table(*rows: Benchmark) -> dict[str, Benchmark]:
    return {row.name: row for row in rows}


BENCHMARKS: dict[str, Benchmark] = _table(
    Benchmark(
        name="gsm8k",
        problems=1319,
        citation="Cobbe et al. 2021, arXiv 2110.14168",
        sha256="44353c68eca97b0c959c5d4f35a2a9239e6cc66101b153004c81638474a40b39",
        hub=Hub(name="openai/gsm8k", configuration="main", revision="e53f048856ff4f594e959d75785d2c2d37b678ee"),
    ),
    Benchmark(
        name="math500",
        problems=500,
        citation="Lightman et al. 2023, arXiv 2305.20050; problems of MATH, arXiv 2103.03874",
        sha256="37678fc271a8e3e29e1c689fa1c9643ecd8cede3ce2a61f57ecea32c9f522a46",
        level=("level",),
        kind=("subject",),
        hub=Hub(name="HuggingFaceH4/MATH-500", revision="6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be"),
    ),
    Benchmark(
        name="minerva_math",
        problems=272,
        citation="Lewkowycz et al. 2022, arXiv 2206.14858",
        sha256="fb3e8aa357c0bc2fa125715ffde2f3edb4c230efc64a842df0227a588f08408b",
        answer=bare("solution", "answer"),
        kind=("type",),
        hub=Hub(name="math-ai/minervamath"),
    ),
    Benchmark(
        name="olympiadbench",
        problems=675,
        citation="He et al. 2024, arXiv 2402.14008; open-ended mathematics in English, text only",
        sha256="ce662942c0839ab1ef0a3f37f202202fac8395e48d14867758d6864acca0d01e",
        answer=bare("final_answer"),
        kind=("subfield",),
    ),
    Benchmark(
        name="aime24",
        problems=30,
        citation="American Invitational Mathematics Examination 2024, I and II",
        sha256="9d2f00c4a3ff6dfb949feb80216500c4d330f625e0e0158d94ecaf55c2d433d3",
        hub=Hub(name="HuggingFaceH4/aime_2024", split="train"),
    ),
    Benchmark(
        name="amc23",
        problems=40,
        citation="American Mathematics Competitions 2023, 12A and 12B",
        sha256="e09cc40379f95701c5109a1ae3c34fac5fbcbc10620b9e7db2f2e507090e1bf2",
        hub=Hub(name="math-ai/amc23"),
    ),
    Benchmark(
        name="college_math",
        problems=2818,
        citation="Tang et al. 2024, arXiv 2403.02884",
        sha256="690782306e7464479a52ad6f5b6790cca9137b16f20f17dc770431056cbe97ed",
        kind=("data_topic",),
        hub=Hub(name="realtreetune/college_math"),
    ),
    Benchmark(
        name="gaokao2023en",
        problems=385,
        citation="Liao et al. 2024, arXiv 2401.08190",
        sha256="3891648d21b1e9d2e4345d419eafec491e7423109bebeb08be02eabdfe5eb03e",
        hub=Hub(name="MARIO-Math-Reasoning/Gaokao2023-Math-En", split="train"),
    ),
    Benchmark(
        name="svamp",
        problems=1000,
        citation="Patel et al. 2021, arXiv 2103.07191",
        sha256="f05396b5e802192c1c2a65bdc1f6aa798cd62dbb874ce46355aad523a3f2067a",
        question=joined("Body", "Question", full_stop=True),
        answer=bare("Answer"),
        kind=("Type",),
        hub=Hub(name="ChilleD/SVAMP", split="train+test"),
    ),
    Benchmark(
        name="sat_math",
        problems=32,
        citation="SAT mathematics, May 2023; Zhong et al. 2023, arXiv 2304.06364",
        sha256="9804394b59f02d04399f9dbde2e6ce810b5b0ce7add53047ecf95201c10c900c",
        question=with_choices("question", "options"),
        answer=letter("Answer"),
        policy="choice",
    ),
    Benchmark(
        name="mmlu_stem",
        problems=3018,
        citation="Hendrycks et al. 2021, arXiv 2009.03300; 18 subjects",
        sha256="9f752deb3ff85b7027bd78f01e2eeb4685c58994483d73f521ec7b75bdfaa31f",
        question=with_choices("question", "choices"),
        answer=letter("answer"),
        kind=("type", "subject"),
        policy="choice",
    ),
    Benchmark(
        name="aqua",
        problems=254,
        citation="Ling et al. 2017, arXiv 1705.04146",
        sha256="313ed8eb1d50391028d68695da22c7ce162ae77e4df2b202fa03b8767890776b",
        question=with_choices("question", "options"),
        answer=letter("correct"),
        policy="choice",
        hub=Hub(name="deepmind/aqua_rat", configuration="raw"),
    ),
    Benchmark(
        name="asdiv",
        problems=2215,
        citation="Miao et al. 2020, arXiv 2106.15772",
        sha256="ccaf1462869226d0633e00094951e96751307c4316181806545d4c0c2c00e1b8",
        question=joined("body", "question"),
        answer=without_unit("answer"),
        kind=("solution_type",),
    ),
    Benchmark(
        name="mawps",
        problems=2065,
        citation="Koncel-Kedziorski et al. 2016, NAACL N16-1136",
        sha256="efd6d56b9f708eed24f6cb88bf79f6c6fb8cae2d4016beef2970cb0079a55686",
        question=text("input"),
        answer=bare("target"),
        kind=("type",),
    ),
)

#: What `simplerl eval` runs when nothing is named: SimpleRL-Zoo's eight.
DEFAULTS = (
    "gsm8k",
    "math500",
    "minerva_math",
    "olympiadbench",
    "aime24",
    "amc23",
    "college_math",
    "gaokao2023en",
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Loaded:
    """A benchmark's problems."""

    benchmark: Benchmark
    problems: list[Problem]
    sha256: str
    """Fingerprint of what was loaded, before any limit."""


def fingerprint(problems: list[Problem]) -> str:
    """Return the SHA-256 over questions and golds, in order."""
    digest = hashlib.sha256()
    for problem in problems:
        digest.update(f"{problem.question}\x1f{problem.answer}\x1e".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def find(name: str) -> Benchmark:
    """Return a benchmark by name, or a user's own file as one. Raises DataError naming the nearest."""
    if name in BENCHMARKS:
        return BENCHMARKS[name]
    path = Path(name).expanduser()
    if path.suffix in SUFFIXES:
        own = path.name if path.stem in BENCHMARKS else path.stem  # A file gsm8k.jsonl is not taken for gsm8k.
        return Benchmark(name=re.sub(r"[^\w.-]+", "-", own), problems=0, citation=str(path), sha256="")
    raise DataError(
        f"unknown benchmark {name!r}; {nearest(name, BENCHMARKS)} A .jsonl, .json or .parquet file works too."
    )


def load(
    name: str, *, data_dir: Path | None = None, limit: int = 0, say: Callable[[str], None] = lambda message: None
) -> Loaded:
    """Return the first `limit` problems of a benchmark (0: all), from a directory, the hub or a user's own file.

    Raises DataError where a row lacks a field or the number of problems is not the stated one.
    """
    benchmark = find(name)
    if benchmark.problems == 0:
        read = problem_set(read_rows(Path(name).expanduser()), source=benchmark.name)
        for row in read.left_out:
            say(f"benchmark {name}: {row.place} is left out: {row.why}")
        found = read.problems
    else:
        found = [_problem(benchmark, index, row) for index, row in enumerate(_rows(benchmark, data_dir))]
        if len(found) != benchmark.problems:
            raise DataError(
                f"benchmark {name} has {benchmark.problems} problems, but {len(found)} were found: the file is cut "
                f"short or another version. The paper's files are in {FILES}"
            )
    empty = [problem for problem in found if not problem.answer]
    if empty:
        say(
            f"benchmark {name}: {len(empty)} of {len(found)} problems have no gold answer and cannot be judged: "
            + ", ".join(problem.meta["place"] for problem in empty)
        )
    sha256 = fingerprint(found)
    if benchmark.sha256 and sha256 != benchmark.sha256:
        say(
            f"benchmark {name}: questions or golds differ from the files that SimpleRL-Zoo evaluated on; its published "
            "figures are for those"
        )
    return Loaded(benchmark=benchmark, problems=found[:limit] if limit else found, sha256=sha256)


def _rows(benchmark: Benchmark, data_dir: Path | None) -> list[Row]:
    """Return the rows of a benchmark from `data_dir`, or else from the hub."""
    if data_dir is not None:
        places = _places(data_dir, benchmark.name)
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            there = sorted(name for name in BENCHMARKS if any(p.is_file() for p in _places(data_dir, name)))
            raise DataError(
                f"benchmark {benchmark.name}: neither {places[0]} nor {places[1]} is there. Benchmarks in {data_dir}: "
                f"{', '.join(there) or 'none'}"
            )
        return list(read_rows(path))
    if benchmark.hub is None:
        raise DataError(
            f"benchmark {benchmark.name} is not on the hub in the form that the paper evaluated; get the files "
            f"({FILES}) and give --data-dir"
        )
    hub = benchmark.hub
    try:
        return list(read_hub(hub.name, split=hub.split, configuration=hub.configuration, revision=hub.revision))
    except DataError as error:
        raise DataError(f"{error}\nOr get the files of the paper ({FILES}) and give --data-dir") from error


def _places(data_dir: Path, name: str) -> tuple[Path, Path]:
    return data_dir / f"{name}.jsonl", data_dir / name / "test.jsonl"


def _problem(benchmark: Benchmark, index: int, row: Row) -> Problem:
    answer = benchmark.answer(row)
    original = next((row.fields[name] for name in ("id", "unique_id", "ID") if row.fields.get(name) is not None), None)
    return Problem(
        id=f"{benchmark.name}-{index}",
        question=hinted(benchmark.question(row).strip(), answer),
        answer=answer,
        source=benchmark.name,
        level=_first(row, benchmark.level),
        meta={
            "place": row.place,
            "kind": _first(row, benchmark.kind),
            **({} if original is None else {"original_id": str(original)}),
        },
    )


def _first(row: Row, names: tuple[str, ...]) -> str:
    value = next((row.fields[name] for name in names if row.fields.get(name) not in (None, "")), "")
    return str(value).removeprefix("Level ").strip()
