"""Tables of judgements against hand-computed literals."""

from pathlib import Path

import pytest

from simplerl.analysis.behaviours import plot_behaviours, table
from simplerl.runs.behaviours import BEHAVIOURS, Judgement


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


def test_judges_are_kept_apart_by_their_settings() -> None:
    said = [
        judgement(0, "p", 0, True),
        judgement(0, "p", 0, False, settings="t"),
        judgement(0, "p", 0, True, "keywords"),
    ]
    found = table(said)
    assert [(j["judge"], j["settings"]) for j in found["judges"]] == [("m", "s"), ("m", "t"), ("keywords", "s")]
    assert [j["steps"][0]["behaviours"]["verification"]["value"] for j in found["judges"]] == [1.0, 0.0, 1.0]
    assert table([])["judges"] == []


def test_plot_has_a_panel_for_each_judge(tmp_path: Path) -> None:
    widths = []
    for said in ([judgement(0, "p", 0, True)], [judgement(0, "p", 0, True), judgement(None, "p", 0, True, "keywords")]):
        plot_behaviours(table(said), tmp_path / "plot.png", title="run [bold] $\\x{$")
        widths.append(int.from_bytes((tmp_path / "plot.png").read_bytes()[16:20], "big"))
    assert widths[1] == 2 * widths[0]
