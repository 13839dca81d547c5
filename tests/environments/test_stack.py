"""The stack language: what programs do, who is right, and what is refused."""

import pytest

from simplerl.core.errors import ConfigError
from simplerl.core.seeds import generator
from simplerl.data import load, read
from simplerl.environments import own_verdict
from simplerl.environments.stack import LONGEST, Stack, expression, infix, postfix, run


@pytest.mark.parametrize(
    ("program", "value"),
    [
        ("a b + c *", (2 + 3) * 5),
        ("a b c * +", 2 + 3 * 5),
        ("a b - 7 -", 2 - 3 - 7),
        ("a dup *", 4),
        ("a b swap -", 1),
        ("a b over - *", 2 * (3 - 2)),
        ("a b drop", 2),
        ("  12   ", 12),
    ],
)
def test_programs(program: str, value: int) -> None:
    assert run(program, {"a": 2, "b": 3, "c": 5}) == value


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("", "0 values"),
        ("a b", "2 values"),
        ("+", r"\+ finds too few"),
        ("a dup drop swap", "swap finds too few"),
        ("a+b", "no word 'a[+]b'"),
        ("eval", "no word"),
        ("²", "no word"),
        ("-3", "no word"),
        ("9 " + "dup * " * 49, "too large"),
        ("a " * (LONGEST + 1), "more than 100 words"),
        ("9" * 5000, "no word"),
    ],
)
def test_what_does_not_run(program: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        run(program, {"a": 2, "b": 3, "c": 5})


def test_expressions_are_read_as_they_are_written() -> None:
    """The program of an expression is what Python takes the expression for."""
    rng = generator(0, "test")
    for level in (1, 2, 3, 4):
        for index in range(100):
            tree = expression(3, "train", level, index)
            inputs = dict(zip("abc", rng.integers(-9, 10, 3).tolist(), strict=True))
            assert run(postfix(tree), inputs) == eval(infix(tree), {}, inputs)  # noqa: S307
    assert infix(("-", "a", ("-", "b", "c"))) == "a-(b-c)"
    assert infix(("*", ("+", "a", "b"), "c")) == "(a+b)*c"
    assert infix(("+", ("*", "a", "b"), "c")) == "a*b+c"


def test_any_program_that_does_it_is_right() -> None:
    problem = next(p for p in load("stack", size=200) if p.answer == "a b +")
    judged = {
        text: own_verdict(problem, f"\\boxed{{{text}}}", "boxed") for text in ("b a +", "a b swap + 0 +", "a b -")
    }
    assert [verdict.status for verdict in judged.values()] == ["correct", "correct", "wrong"]
    assert "of 8 tests pass; {'a':" in judged["a b -"].detail
    assert own_verdict(problem, "no box", "boxed").status == "no_answer"
    assert own_verdict(problem, "\\boxed{a+b}", "boxed").detail == "0 of 8 tests pass; no word 'a+b'"
    assert Stack().judge(problem, None, "\\boxed{a a +}").status == "wrong"


def test_problems_are_addressed_and_the_splits_disjoint() -> None:
    train, test = load("stack", size=300), load("stack", "test", size=100)
    assert train == load("stack", size=300) != load("stack", size=300, seed=1)
    assert not {p.question for p in train} & {p.question for p in test}
    assert {p.level for p in train} == {"1", "2", "3"}
    assert all(own_verdict(p, f"\\boxed{{{p.answer}}}", "boxed").correct for p in (*train, *test))
    few = read("stack", size=2000, levels=(1,)).problems
    assert 300 < len(few) < 600, "all that level 1 has"
    for levels in ((0,), (5,)):
        with pytest.raises(ConfigError, match="levels 1 to 4"):
            load("stack", levels=levels)
