"""One call of `simplerl behaviours`: what is looked at, the answers that are there, asking for the rest, recording."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simplerl.behaviours.asking import ask
from simplerl.behaviours.endpoint import Endpoint
from simplerl.behaviours.judge import Item, Judge, Plan, by_keywords, select
from simplerl.core.errors import RunError
from simplerl.runs.behaviours import FOLDER, BehaviourDirectory, Judgement, read_answers_kept, read_behaviours
from simplerl.runs.results import slug
from simplerl.runs.stages import choose, series

#: Content address → what the endpoint answered, as it is kept.
Answers = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What is shown together: a run, or one series of results."""

    name: str
    items: tuple[Item, ...]
    folders: Mapping[Path, Path]
    """Run or result directory → the folder of its record."""
    place: Path
    """The folder that table and plot go to."""
    ending: str
    """What their names end with, so that those of several series are different."""
    left_out: tuple[str, ...]
    """Evaluations that could not be read, each with its reason."""


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

    Records go beside what they are of, or into `output/NAME`. A damaged file is told to `warn` and left out. Raises
    RunError where nothing can be read.
    """
    base = output / slug(path.resolve().name) if output else path
    all_series = series(path, warn)
    found = []
    for number, one in enumerate(all_series, 1):
        items: list[Item] = []
        left_out: list[str] = []
        stages = choose(one.stages, steps)
        for stage in stages:
            try:
                items += select(stage, responses, seed=seed)
            except RunError as error:
                left_out.append(str(error))
                warn(f"left out: {error}")
            on_done()
        if not items:
            raise RunError(f"{path}: no response of {one.name} can be read; " + "; ".join(left_out))
        found.append(
            Part(
                name=one.name,
                items=tuple(items),
                folders={stage.home: base / stage.home.relative_to(path) / FOLDER for stage in stages},
                place=base / FOLDER,
                ending="" if len(all_series) == 1 else f"_{number}_{slug(one.name)}",
                left_out=tuple(left_out),
            )
        )
    return found


def answers_there(found: Sequence[Part], warn: Callable[[str], None]) -> dict[str, Mapping[str, Any]]:
    """Return every answer that was kept beside the parts."""
    there: dict[str, Mapping[str, Any]] = {}
    for folder in dict.fromkeys(folder for part in found for folder in part.folders.values()):
        there |= read_answers_kept(folder, warn)
    return there


def readable(judge: Judge, items: Sequence[Item], answers: Answers) -> dict[str, Mapping[str, Any]]:
    """Return the answers without those that left a response undecided."""
    by_key = {judge.address(item): item for item in items}
    return {
        key: answer
        for key, answer in answers.items()
        if key not in by_key or judge.judgement(by_key[key], answer).status == "judged"
    }


def ask_and_record(
    found: Sequence[Part],
    judge: Judge | None,
    endpoint: Endpoint | None,
    planned: Plan | None,
    answers: dict[str, Mapping[str, Any]],
    *,
    concurrency: int,
    say: Callable[[str], None],
    on_done: Callable[[], None],
) -> dict[str, str]:
    """Ask for what is missing, adding to `answers`, and record every judgement; return address → why it has no answer.

    An answer is kept in every folder that it belongs into, the moment it is there. What was answered is recorded even
    where asking ends with an error, which then goes on.
    """
    folders = {home: folder for part in found for home, folder in part.folders.items()}
    with ExitStack() as stack:
        records = {home: stack.enter_context(BehaviourDirectory(folder)) for home, folder in folders.items()}

        def keep(key: str, answer: dict[str, Any]) -> None:
            for home in planned.homes[key]:
                records[home].keep_answer(key, answer)
            answers[key] = answer

        try:
            if planned is None:
                return {}
            return ask(endpoint, planned.todo, keep=keep, concurrency=concurrency, say=say, on_done=on_done)
        finally:
            for home, record in records.items():
                mine = [item for part in found for item in part.items if item.home == home]
                _record(record, judgements(mine, judge, answers), answers)


def judgements(items: Sequence[Item], judge: Judge | None, answers: Answers) -> list[Judgement]:
    """Return what keywords say of responses, and the judge where it has answered."""
    found = [by_keywords(item) for item in items]
    if judge:
        addressed = ((item, judge.address(item)) for item in items)
        found += [judge.judgement(item, answers[key]) for item, key in addressed if key in answers]
    return found


def _record(record: BehaviourDirectory, found: Sequence[Judgement], answers: Answers) -> None:
    """Append the judgements that are new or different, and the answers that another folder had."""
    before = {judgement.place: judgement for judgement in read_behaviours(record.path)}
    record.record([judgement for judgement in found if before.get(judgement.place) != judgement])
    kept = read_answers_kept(record.path, lambda message: None)
    for key in dict.fromkeys(j.key for j in found if j.key in answers and j.key not in kept):
        record.keep_answer(key, answers[key])
