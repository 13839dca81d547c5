"""Two evaluations beside each other, problem by problem: which were gained or lost, filtered and sorted."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from simplerl.core.types import UNDECIDED
from simplerl.viewer.index import LENGTH, STOPS, TIMEOUT, VERDICTS, Index
from simplerl.viewer.state import View

#: An id longer than this is named by its hash in links.
LONGEST_ID = 300

_UNDECIDED = [VERDICTS.index(name) for name in VERDICTS if name in UNDECIDED]


def reference(problem: str) -> str:
    """Return how a link names a problem."""
    if len(problem) <= LONGEST_ID:
        return problem
    return "sha256:" + hashlib.sha256(problem.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pair:
    """The problems of two sides (either may be missing), those of A first, in the order of the file."""

    sides: tuple[Index | None, Index | None]
    ids: list[str]
    places: tuple[np.ndarray, np.ndarray]
    """Two int64 [P]: index of the problem on each side; −1 where it is not there."""
    levels: list[str]
    kinds: list[str]
    n: tuple[np.ndarray, np.ndarray]
    correct: tuple[np.ndarray, np.ndarray]
    decided: tuple[np.ndarray, np.ndarray]
    length: tuple[np.ndarray, np.ndarray]
    other_question: np.ndarray
    """bool [P]: the same id on both sides, but another question or gold: such problems are not compared."""
    positions: dict[str, int]
    """How a link names a problem → its place."""

    @property
    def compared(self) -> np.ndarray:
        """bool [P]: judged on both sides, and the same problem."""
        return (self.decided[0] > 0) & (self.decided[1] > 0) & ~self.other_question

    def share(self, side: int) -> np.ndarray:
        """Return the share of right responses among those judged: float64 [P], NaN where none is."""
        decided = self.decided[side]
        return np.divide(self.correct[side], decided, out=np.full(len(self.ids), np.nan), where=decided > 0)

    def outcome(self, name: str) -> np.ndarray:
        """Return bool [P]: the problems of an outcome filter."""
        right_a, right_b = (self.correct[side] > 0 for side in (0, 1))
        judged_a, judged_b = (self.decided[side] > 0 for side in (0, 1))
        change = self.share(1) - self.share(0)
        found: dict[str, Callable[[], np.ndarray]] = {
            "all": lambda: np.ones(len(self.ids), dtype=bool),
            "gained": lambda: self.compared & ~right_a & right_b,
            "lost": lambda: self.compared & right_a & ~right_b,
            "better": lambda: self.compared & (change > 0),
            "worse": lambda: self.compared & (change < 0),
            "right-a": lambda: right_a,
            "wrong-a": lambda: judged_a & ~right_a,
            "right-b": lambda: right_b,
            "wrong-b": lambda: judged_b & ~right_b,
            "no-answer": lambda: self.having(lambda i: i.verdict_R == VERDICTS.index("no_answer")),
            "timeout": lambda: self.having(lambda i: i.verdict_R == TIMEOUT),
            "undecided": lambda: self.having(lambda i: np.isin(i.verdict_R, _UNDECIDED)),
            "truncated": lambda: self.having(lambda i: i.stop_R == LENGTH),
        }
        return found[name]()

    def having(self, rows: Callable[[Index], np.ndarray]) -> np.ndarray:
        """Return bool [P]: problems with a response, on either side, among the rows marked true."""
        marked = np.zeros(len(self.ids), dtype=bool)
        for index, place in zip(self.sides, self.places, strict=True):
            if index is not None:
                there = place >= 0
                marked[there] |= (index.count(rows(index)) > 0)[place[there]]
        return marked


def pair(a: Index | None, b: Index | None) -> Pair:
    """Put two sides beside each other."""
    ids = list(a.ids if a else [])
    of_a = {problem: place for place, problem in enumerate(ids)}
    ids += [problem for problem in (b.ids if b else []) if problem not in of_a]
    places = tuple(_places(index, ids) for index in (a, b))
    both = (places[0] >= 0) & (places[1] >= 0)
    other = np.zeros(len(ids), dtype=bool)
    if a and b:
        other[both] = a.asked_P[places[0][both]] != b.asked_P[places[1][both]]
    first, second = _spread(a, places[0]), _spread(b, places[1])
    return Pair(
        sides=(a, b),
        ids=ids,
        places=places,
        levels=_either(a, b, places, "levels"),
        kinds=_either(a, b, places, "kinds"),
        n=(first[0], second[0]),
        correct=(first[1], second[1]),
        decided=(first[2], second[2]),
        length=(first[3], second[3]),
        other_question=other,
        positions={reference(problem): place for place, problem in enumerate(ids)},
    )


def _places(index: Index | None, ids: list[str]) -> np.ndarray:
    of = {problem: place for place, problem in enumerate(index.ids)} if index else {}
    return np.fromiter((of.get(problem, -1) for problem in ids), np.int64, len(ids))


def _spread(index: Index | None, place: np.ndarray) -> tuple[np.ndarray, ...]:
    zero = np.zeros(len(place), dtype=np.int64)
    if index is None:
        return zero, zero, zero, np.full(len(place), np.nan)
    there = place >= 0
    found = []
    for values in (index.n_P, index.correct_P, index.decided_P, index.length_P):
        spread = np.full(len(place), np.nan) if values.dtype.kind == "f" else zero.copy()
        spread[there] = values[place[there]]
        found.append(spread)
    return tuple(found)


def _either(a: Index | None, b: Index | None, places: tuple[np.ndarray, ...], name: str) -> list[str]:
    of_a, of_b = (getattr(index, name) if index else [] for index in (a, b))
    return [of_a[i] if i >= 0 else of_b[j] for i, j in zip(places[0].tolist(), places[1].tolist(), strict=True)]


def select(pair: Pair, view: View, found: np.ndarray | None) -> np.ndarray:
    """Return the places of the problems that pass a view's filters, sorted. `found`: what the text search left."""
    keep = pair.outcome(view.outcome)
    if view.levels:
        keep &= np.fromiter((level in view.levels for level in pair.levels), bool, len(pair.ids))
    if view.kinds:
        keep &= np.fromiter((kind in view.kinds for kind in pair.kinds), bool, len(pair.ids))
    if view.shortest is not None or view.longest is not None:
        low, high = view.shortest or 0, np.inf if view.longest is None else view.longest
        keep &= pair.having(lambda index: (index.length_R >= low) & (index.length_R <= high))
    if found is not None:
        keep &= found
    places = np.flatnonzero(keep)
    return places[_order(pair, view, places)]


def _order(pair: Pair, view: View, places: np.ndarray) -> np.ndarray:
    """Return the order of a view; equals stay in the order of the file, what has no number comes last either way."""
    sort, down = view.sort, view.descending
    if sort == "file":
        return np.arange(len(places))[:: -1 if down else 1]
    if sort in ("id", "level"):
        texts = pair.ids if sort == "id" else pair.levels
        keys = [_natural(texts[place]) for place in places.tolist()]
        return np.array(sorted(range(len(places)), key=keys.__getitem__, reverse=down), dtype=np.int64)
    values = {
        "right-a": lambda: pair.share(0),
        "right-b": lambda: pair.share(1),
        "change": lambda: np.where(pair.compared, pair.share(1) - pair.share(0), np.nan),
        "length-a": lambda: pair.length[0],
        "length-b": lambda: pair.length[1],
    }[sort]()
    return np.argsort(-values[places] if down else values[places], kind="stable")


def _natural(text: str) -> tuple:
    """Return a key that puts 2 before 10."""
    parts, digits = [], ""
    for character in text[:100]:
        if character.isascii() and character.isdigit():
            digits += character
            continue
        if digits:
            parts.append((0, int(digits), ""))
            digits = ""
        parts.append((1, 0, character))
    if digits:
        parts.append((0, int(digits), ""))
    return tuple(parts)


STOPPED_AT_LIMIT = STOPS[LENGTH]
