"""A step's responses as figures, and what a text shows: tables of texts, and hostile ones in bounded time."""

import time

import numpy as np
import pytest

from simplerl.doctor import features
from simplerl.doctor.features import MOST, correlations, pooled, step_features, thin
from simplerl.runs.responses import Answer


def response(problem: int, sample: int, tokens: int, reward: float | None, status: str = "wrong") -> Answer:
    said = {"level": "", "kind": "", "response": "", "stop_reason": "eos", "extracted": None, "question": "?"}
    return Answer(problem_id=f"p{problem}", sample=sample, tokens=tokens, status=status, reward=reward, **said)


def test_pooled_correlation_is_that_of_centred_values() -> None:
    """Against NumPy's own, over values centred by hand."""
    rng = np.random.default_rng(0)
    x_PG = rng.normal(size=(30, 6))
    y_PG = 0.5 * x_PG + rng.normal(size=(30, 6)) + rng.normal(size=(30, 1)) * 10
    x_PG -= x_PG.mean(1, keepdims=True)
    y_PG -= y_PG.mean(1, keepdims=True)
    sums = np.stack([(x_PG * y_PG).sum(1), (x_PG**2).sum(1), (y_PG**2).sum(1)], 1)
    assert pooled(sums)[0] == pytest.approx(np.corrcoef(x_PG.ravel(), y_PG.ravel())[0, 1])


def test_error_of_the_correlation_is_what_resampling_problems_gives() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(200, 8))
    y = 0.4 * x + rng.normal(size=(200, 8))
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    sums = np.stack([(x * y).sum(1), (x**2).sum(1), (y**2).sum(1)], 1)
    resampled = [pooled(sums[rng.integers(0, 200, 200)])[0] for _ in range(2000)]
    assert pooled(sums)[1] == pytest.approx(np.std(resampled), rel=0.1)


def test_problems_of_different_difficulty_are_no_correlation() -> None:
    """Long problems that are hard: over all responses r is −1, within problems there is none."""
    found = [response(p, s, 10 + 50 * p + s % 2, float(p == 0)) for p in (0, 1) for s in range(4)]
    assert "text/reward_length" not in correlations(found)


def test_verdicts_are_held_apart() -> None:
    """Right ones are long and paid: a correlation of 1 that is the verdict's alone."""
    found = [
        response(p, s, 20 if s % 2 else 10, float(s % 2), "correct" if s % 2 else "wrong")
        for p in range(4)
        for s in range(4)
    ]
    figures = correlations(found)
    assert figures["text/reward_length"] == pytest.approx(1)
    assert "text/reward_length_same_verdict" not in figures


def test_undecided_responses_have_no_reward_to_correlate() -> None:
    judged = [response(p, s, s, float(s)) for p in (0, 1) for s in range(4)]
    undecided = [response(0, 9, 1_000_000, None, "timeout")]
    assert correlations([*judged, *undecided]) == correlations(judged)


def test_many_responses_are_thinned_by_whole_problems() -> None:
    many = [response(p, s, 1, 1.0) for p in range(1000) for s in range(8)]
    kept = thin(many)
    assert len(kept) == MOST
    problems = {r.problem_id for r in kept}
    assert len(problems) == MOST // 8
    assert {f"p{p}" for p in (0, 500)} <= problems
    assert thin(many[:100]) == many[:100]


def test_one_huge_problem_is_cut() -> None:
    assert len(thin([response(0, s, 1, 1.0) for s in range(5000)])) == MOST


def test_nothing_to_look_at() -> None:
    assert step_features(1, []) == ({}, {})


# -- what a text shows -------------------------------------------------------------------------------------------------

WORKING = (
    "Let x be the number of apples. Then 3x + 4 = 19, so 3x = 15 and x = 5. To check, 3 * 5 + 4 is 19 again, which is "
    "what the question says. The number of apples is therefore \\boxed{5}."
)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("", False),
        ("5", False),
        (WORKING, False),
        ("\n".join(f"Step {i}: {i} times {i} is {i * i}, which we add to the sum." for i in range(1, 9)), False),
        (WORKING + " The answer is 5." * 70, True),
        ("333.33333333333333333333333333333333333333333333333333", True),
        ("11111131\n1231=3173333333333331133333333313333333333333333", True),
        ("=" * 40, False),  # Too short to be judged.
        ("\n".join([WORKING, "So the answer must be five, or must it really be?"] * 3), True),
        ("因此答案是五。" * 12, True),
        (
            "首先，三加四等于七。然后把七乘以二，得到十四。最后检查一下：十四除以二是七，没有错误，所以答案就是十四。",
            False,
        ),
    ],
)
def test_repetition(response: str, expected: bool) -> None:
    assert features.repeats(response) is expected


@pytest.mark.parametrize(
    ("question", "response", "expected"),
    [
        ("What is 3 + 4?", "It is seven: \\boxed{7}", False),
        ("What is 3 + 4?", "三加四等于七，所以答案是七。", True),
        ("What is 3 + 4?", "First we add them, 然后得到七这个数。", True),
        # One character in a long text is no other language.
        ("What is 3 + 4?", WORKING + " 好", False),
        ("What is 3 + 4?", "Сумма равна семи", True),
        ("What is the angle?", "\\alpha + \\beta = α + β is the angle", False),
        ("3 + 4 = ?", "三加四等于七", False),  # A question without words has no language.
        ("三加四等于多少？", "三加四：\\frac{x}{2}，sin x + cos x，所以 x = 7，答案是七。", False),
        ("三加四等于多少？", "Three plus four equals seven.", True),
        ("りんごはいくつですか", "林檎は七個です", False),
        ("りんごはいくつですか", "七個", False),
        ("What is 3 + 4?", "", False),
    ],
)
def test_language(question: str, response: str, expected: bool) -> None:
    assert features.switches_language(question, response) is expected


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (" \\boxed{16}", True),
        ("The answer is \\boxed{16}.", True),
        ("\\boxed{16} because that is what came to my mind", False),  # Words that are no stock phrase.
        ("\\boxed{16} 8 + 8 = 16", False),  # Working behind the box is working.
        ("8+8=16. \\boxed{16}", False),
        ("Half of \\frac{32}{1}: \\boxed{16}", False),
        (WORKING, False),
        ("The answer is 16.", False),  # No box.
        ("", False),
    ],
)
def test_bare_box(response: str, expected: bool) -> None:
    assert features.bare_box(response) is expected


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("\\boxed{1} or \\boxed{2}", True),
        ("\\boxed{1}, that is \\boxed{ 1 }", False),
        ("\\boxed{\\frac{1}{2}}", False),
        ("\\boxed{1} and \\boxed{2", False),
        ("\\fbox{a}\\boxed{b}", True),
        ("\\boxed{\\}}", False),
        ("", False),
    ],
)
def test_several_boxes(response: str, expected: bool) -> None:
    assert features.several_boxes(response) is expected


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (WORKING, False),
        ("```python\nprint(3 + 4)\n```", True),
        ("We define:\ndef solve(n):\n    return n", True),
        ("import sympy as sp\nx = 1", True),
        ("from math import sqrt", True),
        ("```latex\nx = 1\n```", False),
        ("The import of apples from Chile is 7.", False),
        ("for x in range(3) holds", True),
        ("We print (7).", False),
    ],
)
def test_code(response: str, expected: bool) -> None:
    assert features.TRAITS["text/code"](response, "") is expected


HOSTILE = {
    "openings": "\\boxed{" * 200_000,
    "one character": "a" * 3_000_000,
    "spaces": " " * 3_000_000,
    "backslashes": "\\" * 2_000_000,
    "brackets and lines": "(\n" * 1_000_000,
    "fences": "`" * 2_000_000,
    "boxes": "\\boxed{1}" * 200_000,
    "sums": "1+" * 1_000_000,
    "surrogates and nulls": "\ud800\x00\x1b[2J" * 300_000,
    "mixed scripts": "a好Жا" * 500_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text_takes_no_time(kind: str) -> None:
    hostile = HOSTILE[kind]
    began = time.process_time()
    for shows in features.TRAITS.values():
        shows(hostile, hostile)
    assert time.process_time() - began < 1
