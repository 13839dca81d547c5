"""Knights and knaves, multiple choice, and problems that bring their own judge."""

import dataclasses

import numpy as np
import pytest

from simplerl.core.errors import ConfigError
from simplerl.core.seeds import generator
from simplerl.core.types import Completion, Problem, Verdict, VersionSpan
from simplerl.data import load
from simplerl.environments import own_verdict
from simplerl.environments.base import has_turns
from simplerl.environments.calculator import Calculator
from simplerl.environments.knights import KnightsAndKnaves, LogicPuzzle, holds, puzzle, roles_in, solutions
from simplerl.environments.multiple_choice import MultipleChoice

# A says "B is a knave", B says "A and B are knights": B would have to be right of himself and of A, who denies it.
PAIR = [((1, 0),), ("and", (0, 1), (1, 1))]


def test_solutions_by_hand() -> None:
    assert solutions(PAIR) == [(1, 0)]
    assert solutions([((1, 1),), ((0, 1),)]) == [(0, 0), (1, 1)], "each vouches for the other"
    assert solutions([((0, 0),), ((0, 1),)]) == [], "nobody says of himself that he is a knave"


@pytest.mark.parametrize(
    ("joint", "table"), [("and", "1000"), ("or", "1110"), ("if", "1011"), ("iff", "1001")]
)  # for roles 11, 10, 01, 00
def test_joints(joint: str, table: str) -> None:
    roles = [(1, 1), (1, 0), (0, 1), (0, 0)]
    assert "".join(str(int(holds((joint, (0, 1), (1, 1)), each))) for each in roles) == table


def test_puzzles_are_addressed_and_the_splits_disjoint() -> None:
    train, test = (load("knights", split, size=200, levels=(2, 3, 8)) for split in ("train", "test"))
    assert train == load("knights", size=200, levels=(2, 3, 8)) != load("knights", size=200, levels=(2, 3, 8), seed=1)
    assert not {p.question for p in train} & {p.question for p in test}
    assert {p.level for p in train} == {"2", "3", "8"}
    assert len({p.question for p in train}) == 200

    def shape(problem: Problem) -> str:  # the puzzle under other names
        text = problem.question.partition("Who is")[0]
        for number, name in enumerate(problem.meta["people"]):
            text = text.replace(name, f"#{number}")
        return text

    assert not {shape(p) for p in train} & {shape(p) for p in test}


def test_the_gold_is_judged_right() -> None:
    judge = KnightsAndKnaves().judge
    for problem in load("knights", size=30, levels=(2, 5, 8)):
        verdict = judge(problem, None, f"\\boxed{{{problem.answer}}}")
        assert verdict is not None
        assert verdict.correct
        swapped = problem.answer.replace("knight", "k").replace("knave", "knight").replace("k,", "knave,")
        assert not judge(problem, None, f"\\boxed{{{swapped}}}").correct


@pytest.mark.parametrize(
    ("answer", "roles"),
    [
        ("Ava is a knight, Ben is a knave", ("knight", "knave")),
        ("Ben is a knave and Ava is a Knight.", ("knight", "knave")),
        (r"\text{Ava: knight}, \text{Ben: knave}", ("knight", "knave")),
        ("Ava is not a knave; Ben is not a knight", ("knight", "knave")),
        ("Ava isn't a knave; Ben isn’t a knight", ("knight", "knave")),
        ("Ava and Ben are knaves", ("knave", "knave")),
        ("Ava is a knight", None),
        ("Ava is a knight or a knave, Ben is a knave", None),
        ("Ava: knight/knave, Ben: knave", None),
        ("Ava is a knight, Ben is a knave, Ava is a knave", None),
        ("", None),
    ],
)
def test_roles_in_an_answer(answer: str, roles: tuple[str, str] | None) -> None:
    assert roles_in(answer, ("Ava", "Ben")) == (roles and dict(zip(("Ava", "Ben"), roles, strict=True)))


def completion(text: str) -> Completion:
    zeros = np.zeros(1, np.float32)
    span = (VersionSpan(0, 0, 1),)
    return Completion(token_ids=np.zeros(1, np.int32), logprobs=zeros, text=text, stop_reason="eos", versions=span)


@pytest.mark.parametrize(
    ("text", "status", "reward"),
    [
        ("<think>t</think><answer>right</answer>", "correct", 3.0),
        ("<think>t</think><answer>other</answer>", "wrong", -0.5),
        ("<think>t</think><answer>hm</answer>", "no_answer", -1.0),
        ("right", "correct", -3.0),
        ("other", "wrong", -3.0),
    ],
)
def test_the_reward_of_the_zoo(text: str, status: str, reward: float) -> None:
    """Form ±1; answer +2, −1.5, and −2 for what cannot be read or has not the form."""
    verdict = Verdict(status=status, extracted=None, rule="roles", detail="")  # type: ignore[arg-type]
    assert LogicPuzzle()(puzzle(0, "train", 2, 0), completion(text), verdict) == reward


QUESTION = Problem(
    id="q",
    question="Q?\nA) 3\nB) 4\nC) 5\nD) 6",
    answer="B",
    source="s",
    meta={"stem": "Q?", "options": ("3", "4", "5", "6"), "choice": 1},
)


def asked(problem: Problem, seed: int = 0) -> Problem:
    return MultipleChoice().problem(problem, generator(seed, "test"))


def test_who_only_judges_has_no_turns() -> None:
    assert not has_turns(MultipleChoice())
    assert not has_turns(None)
    assert has_turns(Calculator())


def test_the_gold_follows_the_shuffle() -> None:
    orders = set()
    for seed in range(60):
        problem = asked(QUESTION, seed)
        orders.add(problem.meta["options"])
        assert f"{problem.answer}) 4" in problem.question.split("\n")
        assert problem.meta["options"][problem.meta["choice"]] == "4"
        assert problem == asked(QUESTION, seed)
    assert len(orders) > 15, "of 24"
    assert MultipleChoice(shuffle=False).problem(QUESTION, generator(0, "test")).question == QUESTION.question


@pytest.mark.parametrize("last", ["All of the above", "Both A and B", "None of these", "Answer A"])
def test_options_that_speak_of_others_keep_their_order(last: str) -> None:
    meta = {**QUESTION.meta, "options": ("3", "4", "5", last)}
    assert all(asked(dataclasses.replace(QUESTION, meta=meta), s).meta["options"][3] == last for s in range(20))


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("So \\boxed{B}.", "correct"),
        ("The answer is (B).", "correct"),
        ("\\boxed{4}", "correct"),
        ("\\boxed{\\text{(b)}}", "correct"),
        ("\\boxed{B) 4}", "correct"),
        ("\\boxed{C}", "wrong"),
        ("\\boxed{7}", "wrong"),
        ("\\boxed{A or B}", "wrong"),
        ("I do not know", "no_answer"),
    ],
)
def test_letters_are_judged(text: str, status: str) -> None:
    verdict = MultipleChoice().judge(QUESTION, None, text)
    assert verdict is not None
    assert verdict.status == status


def test_a_gold_that_is_no_option_is_never_wrong() -> None:
    odd = asked(dataclasses.replace(QUESTION, answer="9", meta={**QUESTION.meta, "choice": None}))
    verdict = MultipleChoice().judge(odd, None, "\\boxed{A}")
    assert verdict is not None
    assert verdict.status == "unjudgeable"
    assert "none of the options" in verdict.detail


def test_problems_with_judges_of_their_own() -> None:
    plain = Problem(id="p", question="Q", answer="1", source="s")
    knights = puzzle(0, "train", 2, 0)
    assert own_verdict(plain, "\\boxed{1}", "boxed") is None, "the verifier's"
    assert own_verdict(knights, f"<answer>{knights.answer}</answer>", "r1-tags").correct
    assert own_verdict(knights, f"\\boxed{{{knights.answer}}}", "r1-tags").status == "no_answer", "another policy"
    broken = dataclasses.replace(knights, meta={**knights.meta, "people": 3})
    assert own_verdict(broken, "\\boxed{x}", "boxed").status == "error"
    with pytest.raises(ConfigError, match="did you mean 'knights-and-knaves'"):
        own_verdict(dataclasses.replace(plain, meta={"environment": "knights-and-knave"}), "", "boxed")
