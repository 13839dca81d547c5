"""Series of evaluations, and the choice of steps."""

from pathlib import Path

import pytest
from made_answers import result_of, run_of

from simplerl.core.errors import ConfigError, RunError
from simplerl.runs.results import choose, results, series


@pytest.fixture
def evaluations(tmp_path: Path):
    run = run_of(tmp_path / "run", {step: {"p": ["4"]} for step in (20, 0, 5)})
    ((name, evaluations),) = series(run, lambda message: None)
    assert name == "run"
    return evaluations


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("all", [0, 5, 20]),
        ("first", [0]),
        ("last", [20]),
        ("first,last", [0, 20]),
        ("20, 5,20", [5, 20]),
        ("all,5", [0, 5, 20]),
    ],
)
def test_choose(steps: str, expected: list[int], evaluations) -> None:
    assert [one.step for one in choose(evaluations, steps)] == expected


@pytest.mark.parametrize("steps", ["", "most", "-1", "5;20", "1.5", "7"])
def test_choose_refuses(steps: str, evaluations) -> None:
    with pytest.raises(ConfigError, match="--steps"):
        choose(evaluations, steps)


def test_results_make_a_series_for_each_run_and_protocol(tmp_path: Path) -> None:
    for step, seed in ((10, 0), (0, 0), (0, 1)):
        label = f"run@{step}"
        result_of(tmp_path / label / f"seed{seed}", {"p": ["4"]}, label=label, step=step, seed=seed)
    for more in ({"policy": "choice"}, {"environment": {"name": "calculator"}}):
        result_of(tmp_path / str(more), {"p": ["4"]}, label="run@10", step=10, seed=0, **more)
    result_of(tmp_path / "other", {"p": ["4"]}, label="other", step=None)
    found = series(tmp_path, pytest.fail)
    steps = [(name.split()[0], [one.step for one in evaluations]) for name, evaluations in found]
    wanted = [("run", [0, 10]), ("run", [0]), ("run", [10]), ("run", [10]), ("other", [None])]
    assert sorted(steps, key=str) == sorted(wanted, key=str)


def test_a_damaged_result_is_named_or_refused(tmp_path: Path) -> None:
    result_of(tmp_path / "a", {"p": ["4"]}, label="a")
    result_of(tmp_path / "b", {"p": ["4"]}, label="b")
    (tmp_path / "b" / "figures.json").write_text("{}")
    said: list[str] = []
    assert [one.label for one in results(tmp_path, said.append)] == ["a"]
    assert ["figures.json" in sentence for sentence in said] == [True]
    with pytest.raises(RunError, match=r"figures\.json"):
        results(tmp_path)


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not exist"):
        series(tmp_path / "x", pytest.fail)
    with pytest.raises(RunError, match="nor a finished result"):
        series(tmp_path, pytest.fail)
    with pytest.raises(RunError, match="no evaluation yet"):
        series(run_of(tmp_path / "run", {}), pytest.fail)
