"""Search over a corpus of your own: `<search>capital of France</search>` is answered by the passages that fit best.

The form is Search-R1's (arXiv 2503.09516) and SSRL's (2508.10874): passages stand between `<information>` and
`</information>`. Ranked by BM25 (the package bm25s), in this process; of equal rank, the corpus's first comes first.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import PositiveInt

from simplerl.core.errors import ConfigError, DataError
from simplerl.core.types import Problem, Turn
from simplerl.data.rows import read_rows
from simplerl.environments.base import Environment, answered

OPEN, CLOSE = "<search>", "</search>"
#: Columns that hold a passage, and its title.
TEXTS, TITLES = ("text", "contents", "passage", "content"), ("title", "name")


@dataclass(frozen=True, kw_only=True)
class Search(Environment):
    """The policy may look things up in a corpus."""

    stop: ClassVar[tuple[str, ...]] = (CLOSE,)
    slow: ClassVar[bool] = False

    corpus: str = ""
    """File of passages (JSONL, JSON or Parquet with a column `text`, perhaps `title`); needed."""
    passages: PositiveInt = 3
    """How many are shown."""

    def start(self, problem: Problem, rng: np.random.Generator) -> Any:
        """Return the corpus, read and indexed once."""
        return load(self.corpus)

    def step(self, problem: Problem, state: Any, text: str, rng: np.random.Generator) -> Turn:
        """Answer the query that a turn ends with; without one the episode is over."""
        if not text.endswith(CLOSE):
            return Turn()
        _, opened, query = text.removesuffix(CLOSE).rpartition(OPEN)
        if not opened or not query.strip():
            said, status = f"a call looks like {OPEN}capital of France{CLOSE}", "invalid"
        else:
            said, status = "\n".join(state.best(query.strip(), self.passages)) or "nothing found", "ok"
        return answered("information", "search", query.strip(), said, status)


@dataclass(frozen=True)
class Corpus:
    """Passages and their index."""

    passages: list[str]
    tokenize: Any
    index: Any

    def best(self, query: str, count: int) -> list[str]:
        """Return the passages that fit a query best; those that share no word with it are none of them."""
        (words,) = self.tokenize([query], return_ids=False, show_progress=False)
        known = [word for word in words if word in self.index.vocab_dict]
        if not known:
            return []
        scores = self.index.get_scores(known)
        order = np.argsort(-scores, kind="stable")[:count]
        return [self.passages[place] for place in order if scores[place] > 0]


@functools.lru_cache(maxsize=4)
def load(name: str) -> Corpus:
    """Return the corpus of a file. Raises ConfigError where none is named or bm25s is missing, DataError for a file
    without passages."""
    if not name:
        raise ConfigError("the environment search needs a corpus: --environment.corpus FILE (rows with a column text)")
    try:
        import bm25s
    except ImportError as error:
        raise ConfigError("the environment search needs bm25s: pip install 'simplerl[search]'") from error
    passages = []
    for row in read_rows(Path(name)):
        fields = {str(key).lower(): value for key, value in row.fields.items()}
        text = next((fields[key] for key in TEXTS if isinstance(fields.get(key), str)), None)
        if text is None:
            there = ", ".join(map(repr, row.fields)) or "none"
            raise DataError(f"{row.place}: no passage: one of {', '.join(TEXTS)} holds it. Fields there: {there}")
        title = next((fields[key] for key in TITLES if isinstance(fields.get(key), str)), "")
        passages.append(f"{title}: {text}" if title else text)
    if not passages:
        raise DataError(f"{name} has no passages")
    index = bm25s.BM25()
    index.index(bm25s.tokenize(passages, show_progress=False), show_progress=False)
    return Corpus(passages, bm25s.tokenize, index)
