"""Knights and knaves: generated puzzles in which everybody says something, and knights alone tell the truth.

    --data knights --dataset.levels 3,4,5 --reward knights-and-knaves --verifier.policy r1-tags

A level is the number of people, 2 to 8. What each says is drawn until exactly one assignment of roles fits, found by
trying all of them. A puzzle is a pure function of (seed, split, level, index). A hash of who says what about whom
decides its split, so that no puzzle of the one is in the other, not even under other names.
"""

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from simplerl.core.errors import ConfigError
from simplerl.core.seeds import generator, split_of
from simplerl.core.types import Completion, Problem, Verdict
from simplerl.data.problems import distinct, generated_size
from simplerl.environments.base import Environment
from simplerl.rewards import Reward
from simplerl.rewards.builtin import in_r1_format
from simplerl.verify import extract

LEVELS = (2, 3, 4, 5, 6, 7, 8)
TEST_SHARE = 0.1
NAMES = (
    "Ava", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Henry", "Ivy", "Jack", "Kate", "Liam", "Mia", "Noah",
    "Olivia", "Peter", "Quinn", "Rose", "Sam", "Tara", "Uma", "Victor", "Wendy", "Zoe",
)  # fmt: skip
ROLES = ("knave", "knight")

#: Name → (how two claims are joined in words, when the joined claim is true).
JOINTS: dict[str, tuple[str, Callable[[bool, bool], bool]]] = {
    "and": ("{} and {}", lambda a, b: a and b),
    "or": ("{} or {}", lambda a, b: a or b),
    "if": ("if {} then {}", lambda a, b: not a or b),
    "iff": ("{} if and only if {}", lambda a, b: a == b),
}

#: (person, role) is a claim; a statement is one claim, or two with the name of a joint.
Claim = tuple[int, int]
Statement = tuple[Claim] | tuple[str, Claim, Claim]


def holds(statement: Statement, roles: Sequence[int]) -> bool:
    """Return whether a statement is true where person i has the role `roles[i]` (1 is a knight)."""
    if len(statement) == 1:
        person, role = statement[0]
        return roles[person] == role
    name, first, second = statement
    return JOINTS[name][1](holds((first,), roles), holds((second,), roles))


def solutions(statements: Sequence[Statement]) -> list[tuple[int, ...]]:
    """Return every assignment of roles under which knights speak the truth and knaves do not."""
    return [
        roles
        for roles in itertools.product((0, 1), repeat=len(statements))
        if all(holds(said, roles) == bool(role) for said, role in zip(statements, roles, strict=True))
    ]


def _statement(people: int, speaker: int, rng: np.random.Generator) -> Statement:
    """Draw what a person says: of one other, or of two different people, of whom one may be the speaker."""
    first, second = (int(each) for each in rng.permutation(people)[:2])
    roles = rng.integers(0, 2, size=2)
    kind = ("", *JOINTS)[int(rng.integers(0, 1 + len(JOINTS)))]
    if not kind:
        return ((second if first == speaker else first, int(roles[0])),)
    return (kind, (first, int(roles[0])), (second, int(roles[1])))


def puzzle(seed: int, split: str, people: int, index: int) -> Problem:
    """Return puzzle number `index` of a level and split. Different indices may give the same puzzle."""
    rng = generator(seed, "knights", split, people, index)
    while True:
        statements = [_statement(people, speaker, rng) for speaker in range(people)]
        if split_of(repr(statements), TEST_SHARE) == split and len(fitting := solutions(statements)) == 1:
            break
    names = [NAMES[int(i)] for i in rng.permutation(len(NAMES))[:people]]
    said = " ".join(f'{name} says: "{_words(each, names)}."' for name, each in zip(names, statements, strict=True))
    return Problem(
        id=f"knights-{split}-s{seed}-l{people}-{index}",
        question="On an island everybody is a knight or a knave. Knights always tell the truth, knaves always lie. You "
        f"meet {people} people: {', '.join(names[:-1])} and {names[-1]}. {said} Who is a knight and who is a "
        f"knave? Answer for everybody, in the form: {names[0]} is a knight, {names[1]} is a knave.",
        answer=", ".join(f"{name} is a {ROLES[role]}" for name, role in zip(names, fitting[0], strict=True)),
        source="knights",
        level=str(people),
        meta={"environment": "knights-and-knaves", "people": tuple(names)},
    )


def _words(statement: Statement, names: Sequence[str]) -> str:
    if len(statement) == 1:
        person, role = statement[0]
        return f"{names[person]} is a {ROLES[role]}"
    name, first, second = statement
    words = JOINTS[name][0].format(_words((first,), names), _words((second,), names))
    return words[0].upper() + words[1:]


def load(split: str = "train", *, size: int = 0, seed: int = 0, levels: tuple[int, ...] = (2, 3, 4)) -> list[Problem]:
    """Return `size` different puzzles (0: 2,000 train, 250 test), the levels in turn: numbers of people, 2 to 8."""
    size = generated_size("knights", split, size)
    if not levels or not set(levels) <= set(LEVELS):
        raise ConfigError(f"data set 'knights' has the levels 2 to 8, the number of people; got {list(levels)}")
    return distinct([(puzzle(seed, split, level, index) for index in itertools.count() for level in levels)], size)


def roles_in(answer: str, people: Sequence[str]) -> dict[str, str] | None:
    """Return the role that an answer gives to everybody; None where somebody has none, or two."""
    plain = re.sub(r"\\text\w*|[{}$*_\\]", " ", re.sub("n['’]t ", " not ", answer))
    roles: dict[str, str] = {}
    for name in people:
        role = r"(not an? )?(knave|knight)s?\b( *(?:or|/) *(?:an? )?kn(?:ave|ight))?"
        said = re.findall(rf"\b{re.escape(name)}\b[^.,;\n]*?\b{role}", plain, re.IGNORECASE)
        values = {ROLES[(role.lower() == "knight") != bool(negated)] for negated, role, _ in said}
        if len(values) != 1 or any(other for *_, other in said):
            return None
        roles[name] = values.pop()
    return roles


@dataclass(frozen=True, kw_only=True)
class KnightsAndKnaves(Environment):
    """Judges the roles that an answer gives to the people of a puzzle; all must be right."""

    slow: ClassVar[bool] = False

    policy: str = "boxed"
    """How the final answer is found; in a run it is that of the verifier."""

    def judge(self, problem: Problem, state: Any, text: str) -> Verdict | None:
        people = problem.meta.get("people")
        if not people:
            return None
        answer = extract(text, self.policy)
        given = None if answer is None else roles_in(answer, people)
        if given is None:
            detail = "no answer found" if answer is None else "the answer does not give everybody one role"
            return Verdict(status="no_answer", extracted=answer, rule="roles", detail=detail)
        wrong = [name for name, role in (roles_in(problem.answer, people) or {}).items() if given[name] != role]
        detail = f"another role than {', '.join(wrong)} have" if wrong else "everybody has the right role"
        return Verdict(status="wrong" if wrong else "correct", extracted=answer, rule="roles", detail=detail)


@dataclass(frozen=True, kw_only=True, slots=True)
class LogicPuzzle(Reward):
    """Form and answer of a logic puzzle, as SimpleRL-Zoo rewards its knights and knaves.

    `form` for `<think>…</think><answer>…</answer>`, −`form` without it; to that is added `correct`, `wrong`, or
    `unreadable` where there is no such form, or nothing in it that gives everybody a role.
    """

    name: ClassVar[str] = "knights-and-knaves"
    form: float = 1.0
    """For the form, and as a cost without it."""
    correct: float = 2.0
    """For a right answer in the form."""
    wrong: float = -1.5
    """For a wrong answer in the form."""
    unreadable: float = -2.0
    """For an answer that cannot be read, and for every answer outside the form."""
    think_in_prompt: bool = False
    """The prompt already ends with `<think>`, so that the response begins inside the thought."""

    def __call__(self, problem: Problem, completion: Completion, verdict: Verdict) -> float:
        formed = in_r1_format(completion.text, opened=self.think_in_prompt)
        if not formed or verdict.status == "no_answer":
            return (self.form if formed else -self.form) + self.unreadable
        return self.form + (self.correct if verdict.correct else self.wrong)
