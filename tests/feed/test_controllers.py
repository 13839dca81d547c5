"""Controllers: the formulas by hand, and runs that end the same after a crash."""

import math
from pathlib import Path
from typing import Any

import pytest
from support import SMALL, deep, resumes_exactly, run_small

from simplerl.config.resolve import resolve
from simplerl.core.errors import ConfigError
from simplerl.feed.controllers import adastar_keys, e3_allocation, e3_target, e3_temperature
from simplerl.runs.directory import read_metrics
from simplerl.runs.responses import ResponseFile
from simplerl.runs.run import Run
from simplerl.selftraining.star import star


def test_e3_heats_where_the_entropy_is_below_its_target() -> None:
    """T · (1 + T · ln(H*/H)/(ln V + ln ln V)) (arXiv 2505.18573), with ln V = e and so ln ln V = 1."""
    vocabulary: Any = math.exp(math.e)
    assert e3_temperature(1.0, 0.5, 0.5, vocabulary) == 1.0
    assert e3_temperature(1.0, 0.25, 0.5, vocabulary) == pytest.approx(1 + math.log(2) / (math.e + 1))
    assert e3_temperature(0.8, 1.0, 0.5, vocabulary) == pytest.approx(0.8 * (1 - 0.8 * math.log(2) / (math.e + 1)))
    assert e3_temperature(1.9, 0.0, 0.5, vocabulary) == 2.0, "no entropy is no reason for infinite heat"


def test_e3_lowers_its_target_at_the_end() -> None:
    assert e3_target(0.5, 60, 100) == 0.5
    assert e3_target(0.5, 80, 100) == pytest.approx(0.5 * 0.95)
    assert e3_target(0.5, 100, 100) == pytest.approx(0.45)


def test_e3_gives_hard_problems_more_samples() -> None:
    assert e3_allocation([1.0, 0.5, 0.0], 24, 4, 12) == [6, 8, 10]
    assert e3_allocation([1.0, 0.5, 0.0], 30, 4, 12) == [7, 11, 12], "what is over its most goes to the next hardest"
    for shares in ([0.0] * 5, [0.1, 0.9, 0.4]):
        assert sum(e3_allocation(shares, 8 * len(shares), 4, 12)) == 8 * len(shares)


def test_adastar_renews_as_many_keys_as_the_square_of_the_accuracy() -> None:
    """round(m · acc²) of the m problems visited, in their order (arXiv 2505.16322)."""
    first = {"a": (4, 4), "b": (4, 4), "c": (4, 4), "d": (0, 4)}  # 0.75² · 4 = 2.25
    assert adastar_keys([first]) == {"a": (1, 1.0), "b": (1, 1.0)}
    assert adastar_keys([first, {"c": (1, 2)}]) == {"a": (1, 1.0), "b": (1, 1.0)}, "0.25 · 1 renews nothing"
    assert adastar_keys([first, {"c": (2, 2)}])["c"] == (2, 1.0)
    assert adastar_keys([{"a": (0, 0)}]) == {}
    assert adastar_keys([{}, {"a": (2, 2)}]) == {"a": (2, 1.0)}, "in the first step every prompt had a prefix"


OVER = deep(
    SMALL,
    {"steps": 4, "star": {"temperatures": [0.8, 1.3], "subset": 3}, "sampling": {"controller_every": 2}},
)


@pytest.mark.parametrize("name", ["query-effect", "e3", "adastar"])
def test_a_run_under_a_controller_resumes_exactly(name: str, tmp_path: Path) -> None:
    """Killed before the line of metrics of step 3: what it decides next it reads from what is recorded."""
    over = deep(OVER, {"sampling": {"controller": name}, "dataset": {"size": 5}, "evaluation": {"every": 0}})
    resumes_exactly(tmp_path / "run", over, r"open /metrics\.jsonl 4$")
    lines = read_metrics(tmp_path / "run")
    used = {line["step"]: line.get("controller/temperature") for line in lines if line["step"]}
    assert all(abs(line["policy/mismatch_kl"]) < 1e-3 for line in lines if "policy/mismatch_kl" in line)
    if name == "query-effect":
        assert used[1] == used[2]
        assert used[3] == used[4]
        assert set(used.values()) <= {0.8, 1.3}
        assert [each["step"] for each in Run(tmp_path / "run").searches] == [1, 3]
    if name == "e3":
        assert used[1] == 1.0
        samples = ResponseFile(tmp_path / "run" / "trajectories" / "step_000004.parquet").read(["sample"])
        assert len(samples) == 8, "as many as without it, of two problems"


def test_adastar_takes_what_it_has_not_seen(tmp_path: Path) -> None:
    over = deep(OVER, {"sampling": {"controller": "adastar"}, "dataset": {"size": 8}, "evaluation": {"every": 0}})
    run_small(tmp_path / "run", over)
    folder = tmp_path / "run" / "trajectories"
    rows = [ResponseFile(file).read(["problem_id", "verdict"]).to_pylist() for file in sorted(folder.iterdir())]
    visits = []
    for step in rows:
        outcomes: dict[str, tuple[int, int]] = {}
        for row in step:
            right, n = outcomes.get(row["problem_id"], (0, 0))
            outcomes[row["problem_id"]] = (right + (row["verdict"] == "correct"), n + 1)
        keys = adastar_keys(visits)
        assert {keys.get(name, (0, 0.0)) for name in outcomes} == {(0, 0.0)}, "eight problems last for four steps"
        visits.append(outcomes)


def test_self_training_takes_the_problems_of_adastar_alone(tmp_path: Path) -> None:
    for name in ("e3", "query-effect"):
        config = resolve("cub-b-star", {"sampling": {"controller": name}})
        with pytest.raises(ConfigError, match=f"sampling.controller = '{name}' is for simplerl train"):
            star(config, tmp_path / "run")
