"""Which cognitive behaviours a judge saw in which response: the record, append-only, beside what was judged.

    RUN/behaviours/            or RESULT/behaviours/
        judgements.jsonl       one line per judged response and judge; the last line about one is the one that holds
        answers.jsonl          what the endpoint answered, by content address: nothing is paid for twice
        table.json, behaviours.png   what they come to

The folder has its own lock, so that a run may be judged while it trains. Columns: docs/run-format.md.
"""

import json
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from simplerl.core.errors import RunError
from simplerl.runs.files import DirectoryLock, cannot_write, json_line
from simplerl.runs.trajectories import whole_characters

#: The behaviours of SimpleRL-Zoo (arXiv 2503.18892); `simplerl.behaviours.definitions` says what they are.
BEHAVIOURS = ("backtracking", "verification", "subgoal_setting", "enumeration")

FOLDER, JUDGEMENTS, ANSWERS, TABLE, PLOT = (
    "behaviours",
    "judgements.jsonl",
    "answers.jsonl",
    "table.json",
    "behaviours.png",
)

Status = Literal["judged", "undecided"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """What one judge says of one response."""

    step: int | None
    """Step of the run that the response was sampled after; None for a model that is of no run."""
    problem_id: str
    sample: int
    judge: str
    """`keywords`, or the name of the model that judged."""
    settings: str
    """What else the judgement depends on: version of the patterns, or of the prompt with the request's parameters."""
    status: Status
    """`undecided`: the judge gave no answer that could be read. That is not "no behaviour"."""
    behaviours: Mapping[str, tuple[str, ...]]
    """Behaviour → its examples, quotations from the response. Every behaviour where judged, none where undecided."""
    unfounded: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Behaviour → examples that the judge gave and that do not stand in the response; they count for nothing."""
    flags: tuple[str, ...] = ()
    """What a reader should know of the response, e.g. `addresses_judge`."""
    detail: str = ""
    """One line: why it is undecided."""
    key: str
    """Content address of response, question and judge; the answer's key in answers.jsonl."""

    def shows(self, behaviour: str) -> bool | None:
        """Return whether the response shows a behaviour; None where that is not known.

        That is so where the judge gave no readable answer, and where it gave examples of which none stands in the
        response.
        """
        if self.status != "judged":
            return None
        if self.behaviours[behaviour]:
            return True
        return None if self.unfounded.get(behaviour) else False

    @property
    def place(self) -> tuple[Any, ...]:
        """What a later line about the same thing replaces this one by."""
        return (self.step, self.problem_id, self.sample, self.judge, self.settings)


def read_behaviours(path: Path) -> list[Judgement]:
    """Return the judgements of a run, a result or a folder of judgements; none where nothing was judged yet.

    Of several lines about the same response by the same judge the last holds. A last line that is still being written
    is left out; raises RunError where another is damaged.
    """
    file = next((p for p in (path / FOLDER / JUDGEMENTS, path / JUDGEMENTS) if p.is_file()), None)
    if file is None:
        return []
    found: dict[tuple[Any, ...], Judgement] = {}

    def refuse(place: str) -> None:
        raise RunError(f"{place} is damaged; move the file away and give the command again: answers are kept apart")

    for place, line in _lines(file, refuse):
        judgement = _judgement(place, line)
        found.pop(judgement.place, None)
        found[judgement.place] = judgement
    return list(found.values())


def _lines(file: Path, damaged: Callable[[str], None]) -> Iterable[tuple[str, dict[str, Any]]]:
    """Yield (place, object) of the whole lines of a file; `damaged` is told of those that are none."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise RunError(f"{file} cannot be read: {error.strerror or error}") from error
    *lines, _unfinished = content.split(b"\n")
    for number, line in enumerate(lines, 1):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            yield f"{file}:{number}", value
        elif line.strip():
            damaged(f"{file}:{number}")


def _judgement(place: str, line: dict[str, Any]) -> Judgement:
    try:
        judgement = Judgement(
            **{
                **line,
                "behaviours": {name: tuple(items) for name, items in line["behaviours"].items()},
                "unfounded": {name: tuple(items) for name, items in line["unfounded"].items()},
                "flags": tuple(line["flags"]),
            }
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{place} is no judgement of this version ({error}); move the file away and judge again"
        ) from None
    texts = (judgement.problem_id, judgement.judge, judgement.settings, judgement.detail, judgement.key)
    quoted = [text for part in (judgement.behaviours, judgement.unfounded) for texts in part.values() for text in texts]
    wanted = BEHAVIOURS if judgement.status == "judged" else ()
    if (
        judgement.status not in get_args(Status)
        or not all(isinstance(text, str) for text in (*texts, *quoted, *judgement.flags))
        or not isinstance(judgement.sample, int)
        or not isinstance(judgement.step, int | None)
        or any(name not in judgement.behaviours for name in wanted)
    ):
        raise RunError(f"{place} is no judgement of this version; move the file away and judge again")
    return judgement


class BehaviourDirectory:
    """The folder of judgements, for the one process that writes to it. Every line is on disk before it counts."""

    def __init__(self, path: Path):
        self.path = path
        self._lock = DirectoryLock(path)
        self._one_at_a_time = threading.Lock()

    def __enter__(self) -> "BehaviourDirectory":
        """Make the folder where it is not there, take its lock, and cut off a line that was never finished."""
        self._lock.take()
        for name in (JUDGEMENTS, ANSWERS):
            self._cut(self.path / name)
        return self

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    def _cut(self, file: Path) -> None:
        if not file.is_file():
            return
        try:
            content = file.read_bytes()
            if content and not content.endswith(b"\n"):
                os.truncate(file, content.rfind(b"\n") + 1)
        except OSError as error:
            raise cannot_write(file, error) from error

    def keep_answer(self, key: str, answer: Mapping[str, Any]) -> None:
        """Append what an endpoint answered and flush it to disk. May be called from several threads."""
        self._append(self.path / ANSWERS, [{"key": key, **answer}])

    def record(self, judgements: Iterable[Judgement]) -> None:
        """Append judgements and flush them to disk."""
        self._append(self.path / JUDGEMENTS, [_line(judgement) for judgement in judgements])

    def _append(self, file: Path, lines: list[dict[str, Any]]) -> None:
        data = "".join(map(json_line, lines)).encode("utf-8", "replace")
        with self._one_at_a_time:
            try:
                with file.open("ab") as handle:
                    handle.write(data)
                    handle.flush()
                    os.fsync(handle.fileno())
            except OSError as error:
                raise cannot_write(file, error) from error


def read_answers_kept(path: Path, warn: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """Return content address → what the endpoint answered. `warn` is told of damaged lines, which are asked again."""
    file = path / ANSWERS
    if not file.is_file():
        return {}
    found = {}
    for place, line in _lines(file, lambda place: warn(f"{place} is damaged and left out: it will be asked again")):
        if isinstance(line.get("key"), str) and isinstance(line.get("reply"), str | None):
            found[line["key"]] = line
        else:
            warn(f"{place} is no answer of this version and left out: it will be asked again")
    return found


def _line(judgement: Judgement) -> dict[str, Any]:
    def clean(parts: Mapping[str, tuple[str, ...]]) -> dict[str, list[str | None]]:
        return {name: [whole_characters(text) for text in texts] for name, texts in parts.items()}

    return {
        "step": judgement.step,
        "problem_id": whole_characters(judgement.problem_id),
        "sample": judgement.sample,
        "judge": judgement.judge,
        "settings": judgement.settings,
        "status": judgement.status,
        "behaviours": clean(judgement.behaviours),
        "unfounded": clean(judgement.unfounded),
        "flags": list(judgement.flags),
        "detail": whole_characters(judgement.detail),
        "key": judgement.key,
    }
