"""Figures of an evaluation against hand-computed literals."""

import math

import pytest
from support import CORRECT, TIMED_OUT, WRONG, group, trajectory

from simplerl.core.errors import ConfigError
from simplerl.core.types import Verdict
from simplerl.evaluate.figures import (
    NAMES,
    PER_RESPONSE,
    RIGHT,
    answers_of,
    evaluation_figures,
    evaluation_metrics,
    figures,
    keywords,
    repeats,
    vote_labels,
)
from simplerl.runs.responses import Answer

NO_ANSWER = Verdict(status="no_answer", extracted=None, rule="no-answer", detail="")
BROKEN = Verdict(status="error", extracted=None, rule="", detail="")


def answer(problem: str, sample: int, status: str, **over) -> Answer:
    fields = {
        "level": "1",
        "kind": "",
        "response": r"\boxed{1}",
        "tokens": 10,
        "stop_reason": "eos",
        "extracted": {"correct": "1", "wrong": "2"}.get(status),
    }
    return Answer(problem_id=problem, sample=sample, status=status, **{**fields, **over})


def seven(correct: int, problem: str = "a") -> list[Answer]:
    return [answer(problem, i, "correct" if i < correct else "wrong") for i in range(7)]


def test_pass_at_k_literal() -> None:
    found = figures(seven(2), ks=(3,))
    assert found["pass@k"]["3"]["value"] == pytest.approx(5 / 7)
    assert found["acc"]["value"] == pytest.approx(2 / 7)
    assert found["any_correct"]["value"] == 1.0


def test_accuracy_is_the_mean_over_problems() -> None:
    answers = [*seven(7), answer("b", 0, "wrong"), answer("b", 1, "correct")]
    assert figures(answers, ks=(1,))["acc"]["value"] == pytest.approx((1 + 0.5) / 2)


def test_undecided_are_counted_and_left_out() -> None:
    answers = [answer("a", 0, "correct"), answer("a", 1, "timeout"), answer("b", 0, "error"), answer("b", 1, "error")]
    found = figures(answers, ks=(1,))
    assert found["acc"]["value"] == 1.0
    assert found["acc"]["problems"] == 1
    assert (found["any_correct"]["value"], found["any_correct"]["problems"]) == (1.0, 1)
    assert (found["verdicts"]["timeout"], found["verdicts"]["error"]) == (1, 2)


def test_majority_joins_equal_answers() -> None:
    answers = [
        answer("a", 0, "wrong", extracted="0.5"),
        answer("a", 1, "wrong", extracted=r"\frac{1}{2}"),
        answer("a", 2, "correct"),
        answer("a", 3, "wrong", extracted="3"),
        answer("a", 4, "no_answer", extracted=None),
    ]
    assert vote_labels(answers) == [1, 1, RIGHT, 2, None]
    assert figures(answers, ks=(5,))["maj@k"]["5"]["value"] == 0.0
    assert figures([*answers[1:4], answers[4]], ks=(4,))["maj@k"]["4"]["value"] == 0.0, "the first of equals: 1/2"
    assert figures([answers[2], answers[0], answers[3]], ks=(3,))["maj@k"]["3"]["value"] == 1.0


def test_an_answer_cannot_name_itself_right() -> None:
    assert vote_labels([answer("a", 0, "wrong", extracted="0"), answer("a", 1, "wrong", extracted="✓")]) == [1, 2]


def test_lengths_and_shapes() -> None:
    answers = [
        answer("a", 0, "correct", tokens=10),
        answer("a", 1, "wrong", tokens=30, stop_reason="length", response="no box"),
        answer("b", 0, "wrong", tokens=20, stop_reason="stop"),
        answer("b", 1, "no_answer", tokens=40, response="Wait, however, await."),
    ]
    found = figures(answers, ks=(1,))
    value = {name: found[name]["value"] for name in PER_RESPONSE}
    assert value["tokens"] == 25
    assert value["correct_tokens"] == 10
    assert value["wrong_tokens"] == 30
    assert value["stop_tokens"] == pytest.approx(70 / 3)
    assert value["clip_ratio"] == 0.25
    assert value["stop_ratio"] == 0.75
    assert value["box_ratio"] == 0.5
    assert value["boxed_acc"] == 0.25
    assert value["answer_ratio"] == 0.75
    assert value["keywords"] == 0.5
    assert found["by_level"]["1"]["value"] == pytest.approx(0.25)


def test_lengths_that_nobody_knows_are_not_zero() -> None:
    found = figures([answer("a", 0, "correct", tokens=None, stop_reason=None)])
    assert found["tokens"]["value"] != found["tokens"]["value"]
    assert found["clip_ratio"]["problems"] == 0


def test_nothing_right_is_not_certain() -> None:
    """The exact upper end of 0 of 40 is 1 − 0.025^(1/40) = 8.8%."""
    found = figures([answer(f"p{i}", 0, "wrong") for i in range(40)])
    assert found["acc"]["low"] == 0.0
    assert found["acc"]["high"] == pytest.approx(0.0881, abs=1e-4)
    sure = figures([answer(f"p{i}", 0, "correct") for i in range(40)])
    assert sure["acc"]["low"] == pytest.approx(1 - 0.0881, abs=1e-4)


def test_k_larger_than_n_is_explained() -> None:
    with pytest.raises(
        ConfigError, match=r"--k 8 needs at least 8 samples per problem, but this evaluation has 7 \(--samples"
    ):
        figures(seven(1), ks=(8,))


def test_every_figure_is_named() -> None:
    found = figures(seven(2))
    counts = {"problems", "samples", "verdicts", "by_level", "by_kind", "by_source"}
    assert set(found) - counts == set(NAMES)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Wait, let me recheck. However", 3),
        ("await waiter rechecking", 0),
        ("try  again and try\nagain", 2),
        ("WAIT", 1),
        ("", 0),
    ],
)
def test_keywords_are_whole_words(text: str, count: int) -> None:
    assert keywords(text) == count


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("So the answer is five apples. So the answer is five apples.", True),
        ("The first step adds two and three.\nThe second step multiplies by seven and nine.", False),
        ("a b c d e f g h i j " * 3, True),
        ("一二三四五六七八九十一二三四五六七八九十甲。一二三四五六七八九十一二三四五六七八九十甲。", True),
        ("short. short. short.", False),
        ("", False),
    ],
)
def test_repetition(text: str, wanted: bool) -> None:
    assert repeats(text) is wanted


def of_training() -> list:
    """Five problems of two samples, the last without a verdict."""
    verdicts = {"r": CORRECT, "w": WRONG, "n": NO_ANSWER, "t": TIMED_OUT, "e": BROKEN}

    def members(word: str, *lengths: int, cut: tuple[int, ...] = ()):
        return [
            trajectory(verdict=verdicts[c], response=[9] * n, stop_reason="length" if i in cut else "eos")
            for i, (c, n) in enumerate(zip(word, lengths, strict=True))
        ]

    return [
        group(*members("rr", 2, 4), id="a", level="1"),
        group(*members("rw", 6, 8, cut=(1,)), id="b", level="2"),
        group(*members("wn", 1, 9, cut=(1,)), id="c", level="2"),
        group(*members("tr", 5, 5), id="d", level="1"),
        group(*members("te", 7, 3), id="e", level="3"),
    ]


def test_an_evaluation_in_training() -> None:
    found = evaluation_figures(of_training())
    # Problem by problem: 2/2, 1/2, 0/2, 1/1; e has nothing to count.
    assert found["acc"]["value"] == pytest.approx(2.5 / 4)
    assert found["acc"]["problems"] == 4
    assert found["pass@k"]["1"]["value"] == pytest.approx(2.5 / 4)
    assert found["pass@k"]["2"]["value"] == pytest.approx(2 / 3)  # of those with two decided samples
    assert found["pass@k"]["2"]["problems"] == 3
    assert {level: f["value"] for level, f in found["by_level"].items() if level != "3"} == pytest.approx(
        {"1": 1.0, "2": 0.25}
    )
    assert math.isnan(found["by_level"]["3"]["value"])
    assert found["by_level"]["3"]["problems"] == 0
    assert (found["problems"], found["samples"], found["maj@k"]) == (5, 2, {})
    assert found["answer_ratio"]["value"] == pytest.approx(8 / 10)
    assert found["clip_ratio"]["value"] == pytest.approx(0.2)
    assert found["tokens"]["value"] == pytest.approx(5.0)
    assert found["stop_tokens"]["value"] == pytest.approx(33 / 8)
    assert 0 <= found["acc"]["low"] < 2.5 / 4 < found["acc"]["high"] <= 1
    assert set(found) == set(figures(answers_of(of_training()))), "one schema"


def test_the_metrics_line_of_an_evaluation() -> None:
    ten = [group(*(trajectory(verdict=v) for v in [CORRECT] * 3 + [WRONG] * 7), id="x")]
    found = evaluation_figures(ten)
    assert list(found["pass@k"]) == ["1", "2", "4", "8", "10"]
    assert found["pass@k"]["2"]["value"] == pytest.approx(1 - (7 * 6) / (10 * 9))
    line = evaluation_metrics(found)
    assert line["eval/pass_at_k"] == found["pass@k"]["10"]["value"] == 1.0
    assert line["eval/accuracy"] == pytest.approx(0.3)
    assert (line["eval/boxed"], line["eval/length"]) == (1.0, found["tokens"]["value"])


def test_nothing_decided_has_no_value() -> None:
    found = figures([answer("a", 0, "timeout"), answer("b", 0, "error")])
    for figure in (found["acc"], found["any_correct"], found["pass@k"]["1"], found["by_level"]["1"]):
        assert math.isnan(figure["value"])
        assert figure["problems"] == 0
    assert found["tokens"]["value"] == 10


def test_accuracy_by_domain() -> None:
    """Where problems come from several sources each has a figure, and a metric; one source alone has none."""
    answers = [*seven(7), answer("b", 0, "wrong", source="sums"), answer("c", 0, "correct", source="sums")]
    assert figures(answers, ks=(1,))["by_source"] == {}, "one with a name is one source"
    answers += [answer("d", 0, "wrong", source="sorts"), answer("e", 0, "timeout", source="sorts")]
    found = figures(answers, ks=(1,))
    assert {name: (f["value"], f["problems"]) for name, f in found["by_source"].items()} == {
        "sums": (0.5, 2),
        "sorts": (0.0, 1),
    }
    line = evaluation_metrics(found)
    assert (line["eval/accuracy/sums"], line["eval/accuracy/sorts"]) == (0.5, 0.0)
    assert not [name for name in evaluation_metrics(figures(seven(2))) if name.startswith("eval/accuracy/")]
