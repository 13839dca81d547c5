"""Choosing among samples by a process reward model, against values worked out by hand."""

import pytest

from simplerl.evaluate.rerank import figures_of
from simplerl.ops.statistics import majority_at_k
from simplerl.runs.responses import Answer


def answer(sample: int, extracted: str, *, right: bool = False, status: str = "") -> Answer:
    return Answer(
        problem_id="p",
        sample=sample,
        level="",
        kind="",
        response=extracted,
        tokens=1,
        stop_reason="eos",
        status=status or ("correct" if right else "wrong"),
        extracted=extracted,
        rule="number",
    )


def test_the_best_and_the_weightiest_win() -> None:
    """Two wrong votes of 7 outvote a right one of 5, unless the weights of their worst steps say otherwise."""
    answers = [answer(0, "7"), answer(1, "7"), answer(2, "5", right=True), answer(3, "?", status="timeout")]
    scores = {("p", 0): -4.0, ("p", 1): -3.0, ("p", 2): 2.0, ("p", 3): 99.0}
    found = figures_of(answers, scores)
    assert set(found) == {"1", "2", "3"}, "an undecided response is left out"
    three = {name: figure["value"] for name, figure in found["3"].items()}
    assert three == {"maj@K": 0, "weighted maj@K": 1, "best-of-K": 1, "oracle (pass@K)": 1}
    two = {name: figure["value"] for name, figure in found["2"].items()}
    assert two["best-of-K"] == two["oracle (pass@K)"] == pytest.approx(2 / 3)
    worse = figures_of(answers, {**scores, ("p", 2): -9.0})
    assert worse["3"]["best-of-K"]["value"] == worse["3"]["weighted maj@K"]["value"] == 0


def test_weights_decide_a_vote() -> None:
    assert majority_at_k(["a", "a", "b"], "b", 3) == 0
    assert majority_at_k(["a", "a", "b"], "b", 3, weights=[0.2, 0.2, 0.5]) == 1
    assert majority_at_k([None, "a", "b"], "b", 3, weights=[9, 0.2, 0.5]) == 1
