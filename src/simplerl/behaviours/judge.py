"""Judging: which responses are looked at, what it will cost, and what was answered as judgements.

An answer's address is a hash of everything that it depends on, so it is paid for once: for equal responses, over steps
and runs, and however often the process is killed.
"""

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simplerl.behaviours import keywords
from simplerl.behaviours.definitions import PROMPT_VERSION, flags, messages
from simplerl.behaviours.reading import read_reply
from simplerl.core.seeds import derive
from simplerl.runs.behaviours import Judgement
from simplerl.runs.stages import Stage, read_columns

#: Bytes of a token, for the estimate of cost: few, because mathematics has short tokens. A Chinese character is three
#: bytes and about one token.
BYTES_PER_TOKEN = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """A response to be judged, and where it stands."""

    step: int | None
    home: Path
    """The run or result directory that it is of."""
    problem_id: str
    sample: int
    question: str
    response: str


def select(stage: Stage, number: int, *, seed: int = 0) -> list[Item]:
    """Return `number` of a stage's responses (0: all), split over its problems as evenly as can be.

    The draw is addressed by problem and sample, not by step: the same problems and samples are chosen at every step,
    so that steps differ by the model alone. Raises RunError where the file cannot be read.
    """
    rows = read_columns(stage.file, ["problem_id", "sample", "question", "response"])
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["problem_id"], []).append(row)
    order = sorted(groups, key=lambda problem: derive(seed, "behaviours", problem))
    ranked = [
        sorted(groups[problem], key=lambda row: derive(seed, "behaviours", problem, row["sample"])) for problem in order
    ]
    # Every problem's first, then every problem's second …
    turns = (row for turn in itertools.zip_longest(*ranked) for row in turn if row is not None)
    return [
        Item(
            step=stage.step,
            home=stage.home,
            problem_id=row["problem_id"],
            sample=row["sample"],
            question=row["question"] or "",
            response=row["response"] or "",
        )
        for row in itertools.islice(turns, number or None)
    ]


def by_keywords(item: Item) -> Judgement:
    """Return what the keyword detector says."""
    return Judgement(
        step=item.step,
        problem_id=item.problem_id,
        sample=item.sample,
        judge=keywords.JUDGE,
        settings=keywords.VERSION,
        status="judged",
        behaviours=keywords.detect(item.response),
        flags=flags(item.response),
        key=_hash([keywords.JUDGE, keywords.VERSION, item.question, item.response]),
    )


@dataclass(frozen=True, kw_only=True)
class Judge:
    """A model that judges, with everything that its answers depend on."""

    model: str
    parameters: Mapping[str, Any]

    @property
    def settings(self) -> str:
        """Prompt version and parameters as one line."""
        shown = ", ".join(
            f"{name} {json.dumps(value, ensure_ascii=False, sort_keys=True)}"
            for name, value in sorted(self.parameters.items())
        )
        return f"prompt {PROMPT_VERSION}" + (f", {shown}" if shown else "")

    def address(self, item: Item) -> str:
        """Return the content address of the answer about a response."""
        return _hash([self.model, dict(self.parameters), PROMPT_VERSION, item.question, item.response])

    def judgement(self, item: Item, answer: Mapping[str, Any]) -> Judgement:
        """Return what an answer says of a response; undecided, with the reason, where it cannot be read."""
        behaviours, unfounded, detail = {}, {}, ""
        text, reason = answer.get("reply"), answer.get("finish_reason")
        if text is None or not text.strip():
            detail = "the judge said nothing" + (f" ({reason})" if reason else "")
        else:
            try:
                behaviours, unfounded = read_reply(text, item.response)
            except ValueError as error:
                detail = f"truncated at the token limit: {error}" if reason == "length" else str(error)
        return Judgement(
            step=item.step,
            problem_id=item.problem_id,
            sample=item.sample,
            judge=self.model,
            settings=self.settings,
            status="undecided" if detail else "judged",
            behaviours=behaviours,
            unfounded=unfounded,
            flags=flags(item.response),
            detail=detail,
            key=self.address(item),
        )


def _hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What has to be asked."""

    items: int
    """Responses that are to have an answer."""
    there: int
    """Of them, those whose answer is there already."""
    todo: Mapping[str, Item]
    """Address → one of the responses that it is of: equal responses are asked about once."""
    homes: Mapping[str, frozenset[Path]]
    """Address → the directories that its answer belongs into."""
    tokens_in: int = field(init=False)
    """Estimated from the number of bytes."""
    tokens_out: int = field(init=False)
    """Estimated: the names of the behaviours, and half of the response in quotations at most."""

    def __post_init__(self) -> None:
        def tokens(*texts: str) -> int:
            return -(-sum(len(text.encode("utf-8", "replace")) for text in texts) // BYTES_PER_TOKEN)

        asked = [messages(item.question, item.response) for item in self.todo.values()]
        tokens_in = sum(tokens(*(message["content"] for message in request)) for request in asked)
        tokens_out = sum(40 + min(tokens(item.response) // 2, 300) for item in self.todo.values())
        object.__setattr__(self, "tokens_in", tokens_in)
        object.__setattr__(self, "tokens_out", tokens_out)


def plan(judge: Judge, items: Sequence[Item], answers: Mapping[str, Any]) -> Plan:
    """Return what has to be asked, given the answers that are there."""
    todo: dict[str, Item] = {}
    homes: dict[str, set[Path]] = {}
    there = 0
    for item in items:
        key = judge.address(item)
        homes.setdefault(key, set()).add(item.home)
        there += key in answers
        if key not in answers:
            todo.setdefault(key, item)
    shared = {key: frozenset(places) for key, places in homes.items()}
    return Plan(items=len(items), there=there, todo=todo, homes=shared)


def cost(tokens_in: int, tokens_out: int, price_in: float, price_out: float) -> float:
    """Return what tokens cost at prices per million."""
    return (tokens_in * price_in + tokens_out * price_out) / 1_000_000
