"""Exploration over steps of made-up runs, against hand-computed literals."""

import json
import re
from pathlib import Path

import pytest
from made_answers import result_of, run_of
from support import ROOT

from simplerl.analysis.exploration import change, over_steps, peak, to_json
from simplerl.core.errors import ConfigError, RunError

W = "wrong"
STEPS = {
    # p: two unique right responses of four, wrong answers 5 and 6; q: none right, one answer four times.
    0: {
        "p": ["1+3=4", "2+2=4", ("so 5", W), ("or 6", W)],
        "q": [("it is 7", W)] * 4,
    },
    # p: one right response four times; q: one right of four.
    10: {
        "p": ["2+2=4", "  2+2=4", " 2+2=4", "2+2=4\n"],
        "q": [("it is 7", W), ("it is 8", W), "3+1=4", ("it is 8", W)],
    },
}
ANSWERS = {"so 5": "5", "or 6": "6", "it is 7": "7", "it is 8": "8"}


def with_answers(steps):
    return {
        step: {
            problem: [
                {
                    "response": s if isinstance(s, str) else s[0],
                    "verdict": "correct" if isinstance(s, str) else s[1],
                    "extracted": "4" if isinstance(s, str) else ANSWERS[s[0]],
                }
                for s in said
            ]
            for problem, said in problems.items()
        }
        for step, problems in steps.items()
    }


METRICS = [
    {"step": 0},
    *({"step": step, "tokens/sampled": 100, "tokens/useful": 90 if step <= 5 else 50} for step in range(1, 13)),
]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return run_of(tmp_path / "run", with_answers(STEPS), METRICS)


def value(point, name: str) -> float:
    return point.figures[name]["value"]


def test_literals(run: Path) -> None:
    (found,) = over_steps(run)
    first, last = found.points
    assert [(p.step, p.problems, p.samples, p.undecided) for p in found.points] == [(0, 2, 4, 0), (10, 2, 4, 0)]
    assert [value(p, "pass@1") for p in found.points] == [2 / 8, 5 / 8]
    assert [value(p, "pass@2") for p in found.points] == pytest.approx([(1 - 1 / 6) / 2, (1 + 1 / 2) / 2])
    assert [value(p, "pass@4") for p in found.points] == [0.5, 1.0]
    assert [value(p, "pass@4-1") for p in found.points] == [0.5, 1.0]
    assert [value(p, "pass@4-2") for p in found.points] == [0.5, 0.0], "four times the same is one"
    assert [value(p, "reward@4-2") for p in found.points] == [0.5, 0.5]
    assert [value(p, "reward@4-4") for p in found.points] == [0.0, 0.5]
    assert [value(p, "distinct_answers") for p in found.points] == [(3 + 1) / 2, (1 + 3) / 2]
    assert [value(p, "distinct_right") for p in found.points] == [(2 + 0) / 2, (1 + 1) / 2]
    assert [value(p, "unique_responses") for p in found.points] == [(1 + 1 / 4) / 2, (1 / 4 + 3 / 4) / 2]
    assert value(first, "distinct_equations") == (2 / 2 + 0) / 2
    assert value(last, "distinct_equations") == (1 / 4 + 1) / 2
    assert value(first, "query_effect") == pytest.approx((2 / 6 * 1 + 0) / 2)
    assert value(last, "query_effect") == pytest.approx((1 / 6 * 1 / 4 + 1 / 6) / 2)
    assert first.figures["pass@4"]["low"] < 0.5 < first.figures["pass@4"]["high"]


def test_equations_of_two_lines_are_two(tmp_path: Path) -> None:
    """A line's bullet is not a minus between its equation and that of the line before."""
    run = run_of(tmp_path / "run", {0: {"p": ["- 1+3=4\n- 2+2=4", "- 1+3=4"]}})
    (point,) = over_steps(run)[0].points
    assert value(point, "distinct_equations") == 2 / 3


def test_useful_tokens_between_evaluations(run: Path) -> None:
    (found,) = over_steps(run)
    assert len(found.useful) == 12
    assert found.useful_share(0, 10) == pytest.approx((5 * 90 + 5 * 50) / 1000)
    assert found.useful_share(10, 12) == 0.5
    assert str(found.useful_share(12, 99)) == "nan"


def test_changes_are_paired(run: Path) -> None:
    (found,) = over_steps(run)
    first, last = found.points
    assert change(first, last, "pass@1") == pytest.approx({"value": 3 / 8, "low": 1 / 4, "high": 1 / 2, "problems": 2})
    assert change(first, last, "nonsense") is None
    assert peak(found.points, "pass@4-2") is first
    assert to_json(found)["peak"]["pass@4-2"]["to_last"]["value"] == -0.5


def test_undecided_responses_are_neither_right_nor_wrong(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", {0: {"p": ["2+2=4", ("hm", "timeout")], "q": ["a 4", ("b", W)]}})
    (point,) = over_steps(run)[0].points
    assert point.undecided == 1
    assert value(point, "pass@1") == (1 + 1 / 2) / 2
    assert point.figures["pass@2"] == {"value": 1.0, "low": 0.025, "high": 1.0, "problems": 1} | {
        "low": pytest.approx(0.025)
    }
    assert value(point, "unique_responses") == 1.0, "what was said is there all the same"


def test_k_and_s_can_be_chosen(run: Path) -> None:
    point = over_steps(run, k=2, s=(2,), steps="first")[0].points[0]
    assert value(point, "pass@2-2") == pytest.approx((1 / 6) / 2)
    assert not [name for name in point.figures if name.startswith("pass@4-")]
    for given, message in (
        ({"k": 5}, "--k 5"),
        ({"k": 0}, "--k 0"),
        ({"s": (5,)}, "--s 5"),
        ({"steps": "7"}, "step 7"),
    ):
        with pytest.raises(ConfigError, match=message):
            over_steps(run, **given)


def test_rewards_that_are_missing_make_no_figure(tmp_path: Path) -> None:
    said = [{"response": "a", "reward": None}, {"response": "b", "reward": 1.0}]
    (point,) = over_steps(run_of(tmp_path / "run", {0: {"p": said}}))[0].points
    assert not [name for name in point.figures if name.startswith("reward")]
    assert value(point, "pass@2-2") == 1.0


def test_a_damaged_file_is_named_and_left_out(run: Path, tmp_path: Path) -> None:
    file = run / "evaluations" / "step_000005.parquet"
    file.write_bytes((run / "evaluations" / "step_000000.parquet").read_bytes()[:-100])
    (run / "evaluations" / ".step_000015.parquet.partial").write_bytes(b"half")
    told: list[str] = []
    (found,) = over_steps(run, warn=told.append)
    assert [p.step for p in found.points] == [0, 10]
    assert len(found.left_out) == 1
    assert [line for line in told if "cannot be read" in line] == list(found.left_out)
    assert "step_000005.parquet" in to_json(found)["left_out"][0]
    for step in (0, 10):
        (run / "evaluations" / f"step_{step:06d}.parquet").write_bytes(b"")
    with pytest.raises(RunError, match="no evaluation of run can be read"):
        over_steps(run)


def test_what_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "new" / "evaluations").mkdir(parents=True)
    (tmp_path / "new" / "config.json").write_text("{}")
    for name, message in (
        ("empty", "holds neither a run nor a finished result"),
        ("none", "does not exist"),
        ("new", "no evaluation yet"),
    ):
        with pytest.raises(RunError, match=message):
            over_steps(tmp_path / name)


def test_results_over_checkpoints_make_a_series(tmp_path: Path) -> None:
    for step, problems in with_answers(STEPS).items():
        for n, template in enumerate(("simple", "other")):
            path = tmp_path / "out" / f"mine@{step}" / "b" / str(n)
            result_of(path, problems, label=f"mine@{step}", step=step, template={"name": template})
    result_of(tmp_path / "out" / "alone", {"p": ["4"]}, label="alone")
    found = over_steps(tmp_path / "out")
    assert sorted([p.step for p in one.points] for one in found if one.points[0].step is not None) == [[0, 10]] * 2
    assert [[p.label for p in one.points] for one in found if one.points[0].step is None] == [["alone"]]
    assert all(one.useful == () for one in found)


def test_json_has_everything_and_no_nan(run: Path) -> None:
    (found,) = over_steps(run)
    text = json.dumps(to_json(found), allow_nan=False)
    assert set(json.loads(text)["points"][1]["figures"]) == set(found.points[1].figures)


def test_every_figure_is_documented(run: Path) -> None:
    page = (ROOT / "docs" / "exploration.md").read_text(encoding="utf-8")
    for name in [*over_steps(run)[0].points[0].figures, "useful_tokens"]:
        general = re.sub(r"@\d+$", "@k", re.sub(r"@\d+-\d+$", "@K-S", name))
        assert f"| `{general}` |" in page, name
