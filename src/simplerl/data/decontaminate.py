"""Remove problems that a benchmark asks too: shared n-grams of words, or for short questions the same words and signs.

The usual test (13-grams, as for GPT-3, arXiv 2005.14165, appendix C), on questions alone. Time is linear in the words
of data and benchmarks together: the benchmarks' n-grams are put into one table.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from simplerl import data
from simplerl.core.errors import DataError
from simplerl.core.types import Problem
from simplerl.data.problems import part, question_in
from simplerl.data.rows import SUFFIXES, read_rows, stem_of, suffix_of

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
        path = Path(name).expanduser()
        if not path.is_dir():
            yield name
            continue
        # As `--data-dir` of an evaluation has them: NAME.jsonl or NAME/test.jsonl.
        files = sorted(file for file in (*path.iterdir(), *path.glob("*/test.*")) if suffix_of(file))
        if not files:
            raise DataError(f"directory {path} holds no {', '.join(SUFFIXES)} file to compare with")
        yield from map(str, files)


def questions(name: str) -> Iterator[Asked]:
    """Yield the questions of a file, with or without gold, or of a data set's test split."""
    path = Path(name).expanduser()
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
