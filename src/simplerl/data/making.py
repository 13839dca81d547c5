"""Make training data: filter problems by a figure or by what benchmarks ask, build tiers, write a file with a report.

The file is one that `data.read` takes back; it is written completely or not at all. A row has id, question, answer,
source and level, and where they are known the file's own prompt (as messages), the measured pass rate and the number of
samples behind it, and the further columns that rewards and environments read.

Problems that a benchmark asks too share n-grams of words with it, or if short the same words and signs. It is the usual
test (13-grams, as for GPT-3, arXiv 2005.14165, appendix C), on questions alone. Time is linear in the words of data and
benchmarks together: the benchmarks' n-grams are put into one table.
"""

import dataclasses
import json
import re
import statistics
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from simplerl import __version__, data
from simplerl.core.errors import ConfigError, DataError
from simplerl.core.types import Problem
from simplerl.data.audit import KINDS, Report, check_golds
from simplerl.data.problems import TAKEN, ProblemSet, Reading, choices_of, question_in, question_of
from simplerl.data.rows import SUFFIXES, path_of, read_rows, stem_of, suffix_of
from simplerl.runs.files import make_directory, write_atomic, write_json
from simplerl.verify.pool import VerifierPool

#: What a row does not repeat of `Problem.meta`: it has fields of its own for it, or it is of this reading alone.
_OWN = TAKEN - {"solution", "tests", "pass_rate", "pass_rate_samples"} | {"stem"}


def check_output(path: Path, *, overwrite: bool) -> Path:
    """Return the path of a data file that may be written; else raise DataError or RunError, before any work is done."""
    if path.suffix != ".jsonl":
        raise DataError(f"output {path}: the ending must be .jsonl, got {path.suffix!r}")
    for taken in (path, report_path(path)):
        if taken.is_dir():
            raise DataError(f"output {taken} is a directory; give a file")
        if taken.exists() and not overwrite:
            raise DataError(f"output {taken} exists already; give another --output, or --overwrite to replace it")
    make_directory(path.parent)
    return path


def report_path(path: Path) -> Path:
    """Return where the report of a data file stands: `easy.jsonl` has `easy.report.json`."""
    return path.with_name(f"{path.stem}.report.json")


def as_row(problem: Problem) -> dict[str, Any]:
    """Return a problem as a row. Its id and source are those that it had where it first came from."""
    meta = problem.meta
    row: dict[str, Any] = {
        "id": str(meta.get("original_id", problem.id)),
        "question": problem.question,
        "answer": problem.answer,
        "source": str(meta.get("origin", problem.source)),
        "level": problem.level,
    }
    if meta.get("messages"):
        row["prompt"] = [{"role": role, "content": content} for role, content in meta["messages"]]
    row |= {name: value for name, value in meta.items() if name not in _OWN and value is not None and value == value}
    if meta.get("options"):  # Unless the labels that the question shows are not those of a list.
        asked = {**row, "options": list(meta["options"])}
        told = choices_of(asked, problem.answer)
        same = question_of(asked) == problem.question and all(meta[name] == value for name, value in told.items())
        row = asked if same else row
    return row


def write(path: Path, problems: Sequence[Problem], report: Mapping[str, Any]) -> None:
    """Write the data file and its report. Raises DataError for no problem, RunError where it cannot be written."""
    if not problems:
        raise DataError(f"nothing is left to write to {path}: every problem was removed")
    write_atomic(path, "".join(_line(as_row(problem)) for problem in problems))
    write_json(report_path(path), report)


def _line(row: dict[str, Any]) -> str:
    try:
        line = json.dumps(row, ensure_ascii=False) + "\n"
    except TypeError as error:
        raise DataError(f"a column of {row['id']} cannot be stored as JSON ({error}); leave it out") from error
    # Half a surrogate pair is no character, but JSON can write it with an escape.
    return line if line.isascii() or not any("\ud800" <= c <= "\udfff" for c in line) else json.dumps(row) + "\n"


def report_of(command: str, problem_set: ProblemSet, settings: Mapping[str, Any], **figures: Any) -> dict[str, Any]:
    """Return a report: what was read, from where, with which settings, and what came of it."""
    return {
        "command": f"simplerl data {command}",
        "simplerl": __version__,
        "input": dict(problem_set.origin),
        "settings": dict(settings),
        "read": len(problem_set.problems) + len(problem_set.left_out),
        "no_gold": [{"id": item.id, "place": item.place, "why": item.why} for item in problem_set.left_out],
        "decisions": dict(problem_set.decisions),
        **figures,
    }


class Filtered(NamedTuple):
    """What a filter makes of problems."""

    kept: list[Problem]
    removed: list[dict[str, Any]]  # Each by its name, with what is said of it
    why: str  # Key of `removed` that says why
    title: str
    rows: Sequence[tuple[str, int]]  # Counts to show, between those read and those kept
    report: Mapping[str, Any]  # What the report holds besides


def where(problem: Problem) -> dict[str, Any]:
    """Return how a report names a problem."""
    own = {"original_id": problem.meta["original_id"]} if "original_id" in problem.meta else {}
    return {"id": problem.id, **own, "place": problem.meta.get("place", "")}


def part(
    problems: Sequence[Problem], why: Callable[[Problem], Mapping[str, Any] | None]
) -> tuple[list[Problem], list[dict[str, Any]]]:
    """Return (the problems that stay, the others named with what is said of them). `why` says nothing of who stays."""
    said = [(item, why(item)) for item in problems]
    removed = [{**where(item), **reason} for item, reason in said if reason is not None]
    return [item for item, reason in said if reason is None], removed


def by_prompt_tokens(problems: Sequence[Problem], count: Callable[[Problem], int], limit: int) -> Filtered:
    """Keep the problems whose prompt has at most `limit` tokens."""
    counts = {item.id: count(item) for item in problems}
    kept, removed = part(problems, lambda item: {"tokens": counts[item.id]} if counts[item.id] > limit else None)
    tokens = sorted(counts.values())
    p95 = tokens[round(0.95 * (len(tokens) - 1))]
    figures = {"min": tokens[0], "median": statistics.median(tokens), "p95": p95, "max": tokens[-1]}
    title = f"prompts of at most {limit:,} tokens (longest: {tokens[-1]:,})"
    return Filtered(kept, removed, "tokens", title, [("longer prompts", len(removed))], {"prompt_tokens": figures})


def by_pass_rate(problems: Sequence[Problem], *, least: float, most: float) -> Filtered:
    """Keep the problems whose `pass_rate` lies within bounds; one without it is removed."""
    if not 0 <= least <= most <= 1:
        raise ConfigError(f"pass rates lie between 0 and 1, the least first: got {least} and {most}")
    for item in problems:
        if not 0 <= (rate := item.meta.get("pass_rate") or 0) <= 1:
            raise DataError(f"{item.meta.get('place', item.id)}: pass_rate must be a share between 0 and 1, got {rate}")

    def why(item: Problem) -> dict[str, Any] | None:
        rate = item.meta.get("pass_rate")
        if rate is None:
            return {"pass_rate": None, "why": "no sample could be judged"}
        return None if least <= rate <= most else {"pass_rate": rate, "why": "pass rate"}

    kept, removed = part(problems, why)
    rates = histogram(problems)
    rows = [(f"pass rate {name}", count) for name, count in rates.items()]
    title = f"pass rates between {least} and {most}"
    return Filtered(kept, removed, "pass_rate", title, rows, {"pass_rates": rates})


def by_gold(problems: Sequence[Problem], *, workers: int, timeout_s: float) -> Filtered:
    """Keep the problems whose gold the verifier can judge."""
    report = Report(name="")
    with VerifierPool("boxed", workers, timeout_s) as pool:
        golds = [item for item in problems if "tests" not in item.meta]
        check_golds(report, [Reading(id=item.id, place="", problem=item) for item in golds], pool)
    findings = report.findings
    why = {finding.id: finding.why for kind in ("rejected", "unjudgeable") for finding in findings[kind]}
    kept, removed = part(problems, lambda item: {"gold": item.answer, "why": why[item.id]} if item.id in why else None)
    rows = [(KINDS[kind], len(findings[kind])) for kind in ("rejected", "unjudgeable", "literal")]
    literal = {"same_text_only": [asdict(item) for item in findings["literal"]]}
    return Filtered(kept, removed, "why", "golds against themselves", rows, literal)


def histogram(problems: Sequence[Problem]) -> dict[str, int]:
    """Return pass rate → problems: never, by quarters, always, not measured."""
    most = {"0": 0, "up to 1/4": 0.25, "up to 1/2": 0.5, "up to 3/4": 0.75, "below 1": 1 - 1e-12, "1": 1}
    counts = dict.fromkeys((*most, "not judged"), 0)
    for problem in problems:
        rate = problem.meta.get("pass_rate")
        counts["not judged" if rate is None else next(name for name, end in most.items() if rate <= end)] += 1
    return counts


#: A word, a number, or one character of a script that is written without spaces.
_EAST = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_EAST}]|[^\W_{_EAST}]+")
#: The same, and the signs that make 17-9 another question than 17+9.
_SIGN = re.compile(rf"[{_EAST}]|[^\W_{_EAST}]+|[-+*/^=<>%!|\u00b1\u00d7\u00f7\u2212]")


def words(text: str) -> list[str]:
    """Return the words of a text: compatibility forms unified, lower case, punctuation and signs left out."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def exact(text: str) -> str:
    """Return a text in the form in which two are the same question: words and signs, one space apart."""
    return " ".join(_SIGN.findall(unicodedata.normalize("NFKC", text).casefold())) or text.strip()


class Asked(NamedTuple):
    """A question of a benchmark."""

    benchmark: str
    place: str
    question: str


def benchmark_files(names: Sequence[str]) -> Iterator[str]:
    """Yield files and data sets; a directory stands for every data file in it, and every `NAME/test` below."""
    for name in names:
        path = path_of(name)
        if not path.is_dir():
            yield name
            continue
        # As `--data-dir` of an evaluation has them: NAME.jsonl or NAME/test.jsonl.
        below = (*path.iterdir(), *path.glob("*/test.*"))
        files = sorted(file for file in below if suffix_of(file) and not file.match("*.report.json"))
        if not files:
            raise DataError(f"directory {path} holds no {', '.join(SUFFIXES)} file to compare with")
        yield from map(str, files)


def questions(name: str) -> Iterator[Asked]:
    """Yield the questions of a file, with or without gold, or of a data set's test split."""
    path = path_of(name)
    if not suffix_of(path):
        for item in data.read(name, "test").problems:
            yield Asked(benchmark=name, place=item.meta.get("place", item.id), question=item.question)
        return
    for row in read_rows(path):
        yield Asked(benchmark=stem_of(path), place=row.place, question=question_in(row))


def decontaminate(
    problems: Sequence[Problem], asked: Iterable[Asked], *, n: int = 13
) -> tuple[list[Problem], list[dict[str, Any]]]:
    """Return (problems that no benchmark asks, the others named, with what they share). `n`: length of the n-grams.

    `how` is `N-gram` or `exact`, `shared` the first n-gram that they share or the complete question, `shared_ngrams`
    how many of the problem's stand in benchmarks.
    """
    grams: dict[str, Asked] = {}
    asked_exactly: dict[str, Asked] = {}
    for item in asked:
        for gram in _grams(words(item.question), n):
            grams.setdefault(gram, item)
        asked_exactly.setdefault(exact(item.question), item)

    def hit(problem: Problem) -> dict[str, Any] | None:
        shared = [gram for gram in _grams(words(problem.question), n) if gram in grams]
        same = exact(problem.question)
        if not shared and same not in asked_exactly:
            return None
        other = grams[shared[0]] if shared else asked_exactly[same]
        how = {"how": f"{n}-gram", "shared": shared[0]} if shared else {"how": "exact", "shared": same}
        benchmark = {"benchmark": other.benchmark, "benchmark_place": other.place}
        question = {"question": problem.question, "benchmark_question": other.question}
        return {**how, "shared_ngrams": len(shared), **benchmark, **question}

    return part(problems, hit)


def _grams(words: list[str], n: int) -> Iterator[str]:
    return (" ".join(words[start : start + n]) for start in range(len(words) - n + 1))


#: SimpleRL-Zoo's tiers of difficulty (arXiv 2503.18892), made of GSM8K and MATH: name → (whether GSM8K is in it, levels
#: of MATH, how many problems the paper reports).
TIERS = {
    "easy": (True, ("1",), "about 8,000"),
    "medium": (False, ("1", "2", "3", "4"), "about 8,000"),
    "hard": (False, ("3", "4", "5"), "8,523"),
}


class Tiers(NamedTuple):
    """The tiers, and the problems that are in none."""

    problems: dict[str, list[Problem]]
    excluded: list[Problem]  # Asked by a benchmark that was to be kept out
    without_level: list[Problem]  # Rows of MATH whose level is not 1 to 5


def sourced(problems: Sequence[Problem], source: str, label: str) -> list[Problem]:
    """Return problems with a source and with ids that stay unique when sets are put together."""
    return [
        dataclasses.replace(
            item,
            id=f"{label}-{index}",
            source=source,
            meta={key: value for key, value in item.meta.items() if key not in ("origin", "original_id", "messages")},
        )
        for index, item in enumerate(problems)
    ]


def build_tiers(gsm8k: Sequence[Problem], math: Sequence[Problem], *, exclude: Collection[str] = ()) -> Tiers:
    """Return the tiers. `exclude` holds questions that must not be trained on. Raises DataError for an empty tier."""
    asked = {exact(question) for question in exclude}
    left: list[Problem] = []
    excluded: list[Problem] = []
    for item in [*gsm8k, *math]:
        (excluded if exact(item.question) in asked else left).append(item)
    levels = {item.level for item in left if item.source == "math"}
    tiers: dict[str, list[Problem]] = {}
    for name, (with_gsm8k, wanted, _) in TIERS.items():
        if not levels & {*wanted}:
            raise DataError(
                f"tier {name} has no problem of MATH: it needs levels {', '.join(wanted)}, and the levels there "
                f"are {', '.join(sorted(map(repr, levels))) or 'none'}"
            )
        tiers[name] = [p for p in left if (p.level in wanted if p.source == "math" else with_gsm8k)]
    without_level = [item for item in left if item.source == "math" and item.level not in tuple("12345")]
    return Tiers(tiers, excluded, without_level)


def counts(problems: Sequence[Problem]) -> dict[str, int]:
    """Return `gsm8k` and `math level N` → problems."""
    numbers = Counter(item.source if item.source == "gsm8k" else f"math level {item.level}" for item in problems)
    return dict(sorted(numbers.items()))
