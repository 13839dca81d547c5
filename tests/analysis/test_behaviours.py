"""Tables of judgements and agreement against hand-computed literals."""

import pytest

from simplerl.analysis.behaviours import agreement, table
from simplerl.runs.run import BEHAVIOURS, Judgement


def judgement(
    step: int | None, problem: str, sample: int, verification: bool | None, judge: str = "m", **given
) -> Judgement:
    """`verification` None: the judge's example stands nowhere."""
    return Judgement(
        **{
            "step": step,
            "problem_id": problem,
            "sample": sample,
            "judge": judge,
            "settings": "s",
            "status": "judged",
            "behaviours": {**dict.fromkeys(BEHAVIOURS, ()), "verification": ("Check",) if verification else ()},
            "unfounded": {"verification": ("sure",)} if verification is None else {},
            "key": "k",
            **given,
        }
    )


def undecided(step: int, problem: str, sample: int) -> Judgement:
    return judgement(step, problem, sample, False, status="undecided", behaviours={}, detail="no JSON")


def test_shares_leave_out_what_is_not_known() -> None:
    said = [
        judgement(0, "p", 0, True),
        judgement(0, "p", 1, False),
        judgement(0, "p", 2, None, flags=("addresses_judge",)),
        judgement(0, "q", 0, True),
        undecided(0, "q", 1),
        judgement(5, "p", 0, False),
    ]
    (judge,) = table(said)["judges"]
    first, second = judge["steps"]
    assert first["behaviours"]["verification"]["value"] == pytest.approx(2 / 3)
    assert first["behaviours"]["verification"]["low"] == pytest.approx(0.5), "p alone, drawn twice"
    assert first["behaviours"]["enumeration"]["value"] == 0.0
    assert first["behaviours"]["enumeration"]["high"] == pytest.approx(1 - 0.025**0.5), "exact: none of two problems"
    assert {name: first[name] for name in ("step", "responses", "problems", "undecided", "unfounded", "flagged")} == {
        "step": 0,
        "responses": 5,
        "problems": 2,
        "undecided": 1,
        "unfounded": 1,
        "flagged": 1,
    }
    assert first["unknown"] == {"backtracking": 1, "verification": 2, "subgoal_setting": 1, "enumeration": 1}
    assert (second["step"], second["responses"]) == (5, 1)


def test_a_step_without_any_answer_has_no_share() -> None:
    (judge,) = table([undecided(0, "p", 0)])["judges"]
    figure = judge["steps"][0]["behaviours"]["verification"]
    assert figure["problems"] == 0
    assert figure["value"] != figure["value"]


def test_agreement_literals() -> None:
    """Of ten known pairs: both 4, judge only 1, keywords only 2, neither 3; and two that one of them does not know."""
    pairs = [(True, True)] * 4 + [(True, False)] + [(False, True)] * 2 + [(False, False)] * 3 + [(None, True)]
    first = [judgement(0, f"p{i}", 0, one) for i, (one, _) in enumerate(pairs)]
    second = [judgement(0, f"p{i}", 0, two, "keywords") for i, (_, two) in enumerate(pairs)]
    first.append(undecided(0, "x", 0))
    second += [judgement(0, "x", 0, True, "keywords"), judgement(0, "y", 0, True, "keywords")]
    found = agreement(first, second)["behaviours"]["verification"]
    assert found["responses"] == 10
    assert found["counts"] == {"both": 4, "first": 1, "second": 2, "neither": 3}
    assert found["share"]["value"] == pytest.approx(0.7)
    expected = 0.5 * 0.6 + 0.5 * 0.4
    assert found["kappa"]["value"] == pytest.approx((0.7 - expected) / (1 - expected))
    assert found["kappa"]["low"] < found["kappa"]["value"] < found["kappa"]["high"]
    (one,) = table([*first, *second])["agreement"]
    assert (one["judge"], one["with"]) == ("m", "keywords")
    assert one["behaviours"]["verification"]["counts"] == found["counts"]


def test_judges_are_kept_apart_by_their_settings() -> None:
    said = [
        judgement(0, "p", 0, True),
        judgement(0, "p", 0, False, settings="t"),
        judgement(0, "p", 0, True, "keywords"),
    ]
    found = table(said)
    assert [(j["judge"], j["settings"]) for j in found["judges"]] == [("m", "s"), ("m", "t"), ("keywords", "s")]
    assert [j["steps"][0]["behaviours"]["verification"]["value"] for j in found["judges"]] == [1.0, 0.0, 1.0]
    assert [a["behaviours"]["verification"]["share"]["value"] for a in found["agreement"]] == [1.0, 0.0]
    assert table([])["judges"] == []
