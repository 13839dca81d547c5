"""One call of `simplerl behaviours`: which responses are looked at, what has to be asked, asking it, recording it."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simplerl.behaviours.judging import Item, Judge, by_keywords, messages
from simplerl.core.seeds import derive
from simplerl.judge.asking import AnswerCache, ask, estimate_tokens
from simplerl.judge.endpoint import Endpoint, Reply
from simplerl.runs.directory import BehaviourDirectory
from simplerl.runs.files import slug
from simplerl.runs.run import ANSWERS, FOLDER, Evaluation, Judgement, read_behaviours, read_series


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What is shown together: a run, or one series of results."""

    name: str
    items: tuple[Item, ...]
    folders: Mapping[Path, Path]  # Run or result directory → the folder of its record
    output: Path  # The folder that table and plot go to
    ending: str  # What their names end with, so that those of several series are different
    left_out: tuple[str, ...]  # Evaluations that could not be read, each with its reason


def parts(
    path: Path,
    *,
    steps: str,
    responses: int,
    seed: int,
    output: Path | None,
    warn: Callable[[str], None],
    on_done: Callable[[], None] = lambda: None,
) -> list[Part]:
    """Return what there is to look at in a run or a directory of results, `responses` of each step.

    Records go beside what they are of, or into `output/NAME`. `warn` hears of a damaged file, which is left out. Raises
    RunError where nothing can be read.
    """
    base = output / slug(path.resolve().name) if output else path
    result = []
    for one in read_series(path, steps, lambda e: select(e, responses, seed=seed), warn=warn, on_done=on_done):
        items = tuple(item for chosen in one.values for item in chosen)
        folders = {item.home: base / item.home.relative_to(path) / FOLDER for item in items}
        where: Any = {"folders": folders, "output": base / FOLDER, "ending": one.ending}
        result.append(Part(name=one.name, items=items, left_out=tuple(one.left_out), **where))
    return result


def select(evaluation: Evaluation, number: int, *, seed: int = 0) -> list[Item]:
    """Return `number` of an evaluation's responses (0: all), split over its problems as evenly as can be.

    The draw is addressed by problem and sample, not by step: the same problems and samples are chosen at every step,
    so that steps differ by the model alone. Raises RunError where the file cannot be read.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in evaluation.responses(["problem_id", "sample", "question", "response"]).to_pylist():
        groups.setdefault(row["problem_id"], []).append(row)
    ranked = [
        sorted(groups[problem], key=lambda row: derive(seed, "behaviours", row["problem_id"], row["sample"]))
        for problem in sorted(groups, key=lambda problem: derive(seed, "behaviours", problem))
    ]
    # Every problem's first, then every problem's second …
    turns = (row for turn in itertools.zip_longest(*ranked) for row in turn if row is not None)
    return [
        Item(
            step=evaluation.step,
            home=evaluation.home,
            problem_id=row["problem_id"],
            sample=row["sample"],
            question=row["question"] or "",
            response=row["response"] or "",
        )
        for row in itertools.islice(turns, number or None)
    ]


class Session:
    """Parts, who judges them (None: keywords alone), and the answers that are there already."""

    def __init__(self, shown: Sequence[Part], judge: Judge | None, warn: Callable[[str], None]):
        """Read every answer that was kept beside the parts; `warn` hears of damaged ones."""
        self.parts, self.judge = shown, judge
        self.items = [item for part in shown for item in part.items]
        self._folders = {home: folder for part in shown for home, folder in part.folders.items()}
        self.answers: dict[str, Reply] = {}
        """Address → answer."""
        for folder in dict.fromkeys(self._folders.values()):
            self.answers |= AnswerCache(folder / ANSWERS).read(warn)

    def judgements(self, items: Iterable[Item]) -> list[Judgement]:
        """Return what keywords say of responses, and the judge where it has answered."""
        items = list(items)
        answered = [(item, self.answers[key]) for key, item in self._addressed(items) if key in self.answers]
        judged = [self.judge.judgement(*pair) for pair in answered] if self.judge else []
        return [*map(by_keywords, items), *judged]

    def forget_undecided(self) -> None:
        """Forget the answers that could not be read, so that they are asked for again."""
        for judgement in self.judgements(self.items):
            if judgement.status == "undecided":
                self.answers.pop(judgement.key, None)

    def missing(self) -> dict[str, Item]:
        """Return what has to be asked: address → one of the responses that it is of, as equal ones are asked once."""
        requests: dict[str, Item] = {}
        for key, item in self._addressed(self.items):
            if key not in self.answers:
                requests.setdefault(key, item)
        return requests

    def _addressed(self, items: Iterable[Item]) -> list[tuple[str, Item]]:
        return [(self.judge.address(item), item) for item in items] if self.judge else []

    def ask_and_record(
        self,
        requests: Mapping[str, Item],
        endpoint: Endpoint | None,
        *,
        concurrency: int,
        say: Callable[[str], None],
        on_done: Callable[[], None],
    ) -> dict[str, str]:
        """Ask for what is missing and record every judgement; return address → why it has no answer.

        An answer is kept in every folder that it belongs into, the moment it is there. What was answered is recorded
        even where asking ends with an error, which then goes on.
        """
        homes = defaultdict[str, set[Path]](set)
        for key, item in self._addressed(self.items):
            homes[key].add(item.home)
        with ExitStack() as stack:
            records = {home: stack.enter_context(BehaviourDirectory(folder)) for home, folder in self._folders.items()}
            caches = {home: AnswerCache(folder / ANSWERS) for home, folder in self._folders.items()}

            def keep(key: str, reply: Reply) -> None:
                for home in homes[key]:
                    caches[home].keep(key, reply)
                self.answers[key] = reply

            try:
                if endpoint is None:
                    return {}
                asked = {key: messages(item.question, item.response) for key, item in requests.items()}
                return ask(endpoint, asked, keep=keep, concurrency=concurrency, say=say, on_done=on_done)
            finally:
                for home, record in records.items():
                    # New or different judgements, and the answers that another folder had.
                    new = self.judgements(item for item in self.items if item.home == home)
                    recorded = {judgement.identity: judgement for judgement in read_behaviours(record.path)}
                    record.record([judgement for judgement in new if recorded.get(judgement.identity) != judgement])
                    kept = caches[home].read(lambda message: None)
                    for key in dict.fromkeys(j.key for j in new if j.key in self.answers and j.key not in kept):
                        caches[home].keep(key, self.answers[key])


def estimate(requests: Iterable[Item]) -> tuple[int, int]:
    """Return about how many tokens go in and come out: the behaviours' names, and quotations of half a response."""
    tokens_in = tokens_out = 0
    for item in requests:
        tokens_in += sum(estimate_tokens(message["content"]) for message in messages(item.question, item.response))
        tokens_out += 40 + min(estimate_tokens(item.response) // 2, 300)
    return tokens_in, tokens_out
