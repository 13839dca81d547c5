"""Which cognitive behaviours a judge saw in which response: the record, append-only, beside what was judged.

    RUN/behaviours/            or RESULT/behaviours/
        judgements.jsonl       one line per judged response and judge; the last line about one is the one that holds
        answers.jsonl          what the endpoint answered, by content address: nothing is paid for twice
        table.json             what they come to

The folder has its own lock, so that a run may be judged while it trains. Columns: docs/run-format.md.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter

from simplerl.core.errors import RunError
from simplerl.runs.files import JsonLines, LockedDirectory

#: The behaviours of SimpleRL-Zoo (arXiv 2503.18892); `simplerl.behaviours` says what they are.
BEHAVIOURS = ("backtracking", "verification", "subgoal_setting", "enumeration")

FOLDER, JUDGEMENTS, ANSWERS, TABLE = "behaviours", "judgements.jsonl", "answers.jsonl", "table"


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """What one judge says of one response."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    step: int | None  # Step of the run that the response was sampled after; None for a model that is of no run
    problem_id: str
    sample: int
    judge: str  # `keywords`, or the name of the model that judged
    settings: str
    """What else the judgement depends on: version of the patterns, or of the prompt with the request's parameters."""
    status: Literal["judged", "undecided"]
    """`undecided`: the judge gave no answer that could be read. That is not "no behaviour"."""
    behaviours: Mapping[str, tuple[str, ...]]
    """Behaviour → its examples, quotations from the response. Every behaviour where judged, none where undecided."""
    unfounded: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Behaviour → examples that the judge gave and that do not stand in the response; they count for nothing."""
    flags: tuple[str, ...] = ()  # What a reader should know of the response, e.g. `addresses_judge`.
    detail: str = ""  # One line: why it is undecided
    key: str  # Content address of response, question and judge; the answer's key in answers.jsonl

    def shows(self, behaviour: str) -> bool | None:
        """Return whether the response shows a behaviour; None where the judge gave no readable answer, or examples
        of which none stands in the response."""
        if self.status != "judged":
            return None
        if self.behaviours[behaviour]:
            return True
        return None if self.unfounded.get(behaviour) else False

    @property
    def identity(self) -> tuple[Any, ...]:
        """Response and judge: a later line with the same identity replaces this one."""
        return (self.step, self.problem_id, self.sample, self.judge, self.settings)


def read_behaviours(path: Path) -> list[Judgement]:
    """Return the judgements of a run, a result or a folder of judgements; none where nothing was judged yet.

    Of several lines about the same response by the same judge the last holds. A last line that is still being written
    is left out; raises RunError where another is damaged.
    """
    inside = path / FOLDER / JUDGEMENTS
    file = inside if inside.is_file() else path / JUDGEMENTS
    judgements, checked = dict[tuple[Any, ...], Judgement](), TypeAdapter(Judgement)
    for number, line in JsonLines(file).read():
        where = f"{file}:{number}"
        if line is None:
            raise RunError(f"{where} is damaged; move the file away and give the command again: answers are kept apart")
        try:
            judgement = checked.validate_json(json.dumps(line), strict=True)
            if judgement.status == "judged" and not judgement.behaviours.keys() >= set(BEHAVIOURS):
                raise ValueError("a behaviour is missing")
        except ValueError:
            raise RunError(f"{where} is not a judgement of this version; move the file away and judge again") from None
        judgements.pop(judgement.identity, None)
        judgements[judgement.identity] = judgement
    return list(judgements.values())


class BehaviourDirectory(LockedDirectory):
    """The folder of judgements, for the one process that writes to it."""

    def record(self, judgements: Iterable[Judgement]) -> None:
        """Append judgements and flush them to disk."""
        JsonLines(self.path / JUDGEMENTS).append(dataclasses.asdict(judgement) for judgement in judgements)
