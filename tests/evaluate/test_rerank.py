"""Choosing among samples by a process reward model, against values worked out by hand."""

import dataclasses
import math

import pytest

from simplerl.core.errors import ConfigError
from simplerl.evaluate.rerank import QUESTION, WORDS, figures_of, load_judge
from simplerl.models.score import text_logprobs
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


def test_where_nothing_could_be_judged_there_are_no_figures() -> None:
    found = figures_of(
        [answer(0, "?", status="timeout"), answer(1, "?", status="error")], {("p", 0): 1.0, ("p", 1): 2.0}
    )
    assert list(found) == ["1"]
    assert all(math.isnan(figure["value"]) and not figure["problems"] for figure in found["1"].values())


def test_weights_decide_a_vote() -> None:
    assert majority_at_k(["a", "a", "b"], "b", 3) == 0
    assert majority_at_k(["a", "a", "b"], "b", 3, weights=[0.2, 0.2, 0.5]) == 1
    assert majority_at_k([None, "a", "b"], "b", 3, weights=[9, 0.2, 0.5]) == 1


def test_an_oracle_is_pass_at_k_and_who_knows_nothing_gets_the_mean() -> None:
    """The check of Self-PRM: by judgements that are the truth, and by ones that are the same for all."""
    rights = [[True, False, False, False], [False] * 4, [True, True, False, True]]
    answers = [
        dataclasses.replace(answer(sample, str(sample), right=right), problem_id=str(p))
        for p, own in enumerate(rights)
        for sample, right in enumerate(own)
    ]
    oracle = {(a.problem_id, a.sample): float(a.correct) for a in answers}
    for figures in figures_of(answers, oracle).values():
        assert figures["best-of-K"] == figures["oracle (pass@K)"]
    blind = figures_of(answers, dict.fromkeys(oracle, 0.0))
    assert blind["4"]["best-of-K"]["value"] == pytest.approx(4 / 12)
    assert blind["2"]["best-of-K"]["value"] == pytest.approx(4 / 12)


def test_a_model_judges_its_own_responses(cub) -> None:
    """The score is the difference of the log-probabilities of what it may say, after the same question."""
    judge = load_judge("self:cub-qwen")
    rows = [{"question": "What is 2+2?", "response": f"\\boxed{{{n}}}"} for n in (4, 5)]
    policy = cub("cub-qwen")
    asked = policy.tokenizer.encode(QUESTION.format(**rows[0]), add_special_tokens=False)
    total = []
    for word in WORDS:
        said = policy.tokenizer.encode(word, add_special_tokens=False)
        total.append(float(text_logprobs(policy.model, [*asked, *said])[len(asked) - 1 :].sum()))
    scores = judge(rows)
    assert scores[0] == pytest.approx(total[0] - total[1], abs=1e-4)
    assert scores[0] != scores[1]


@pytest.mark.parametrize("name", ["prm", "prm:", "judge:x", "cub-qwen"])
def test_what_is_no_judge_is_said(name: str) -> None:
    with pytest.raises(ConfigError, match="--rerank is prm: and the directory"):
        load_judge(name)
