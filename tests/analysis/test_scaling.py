"""The fit of ScaleRL's curve: known curves come back, with honest intervals, and an extrapolation one can check."""

import json
from pathlib import Path

import numpy as np
import pytest
from made_runs import CONFIG

from simplerl.analysis import scaling
from simplerl.analysis.scaling import Curve, fit, least_squares
from simplerl.core.errors import RunError

TRUE = Curve(start=0.2, asymptote=0.62, steepness=1.7, middle=120.0)


def run_of(path: Path, values: list[float], *, tokens: float = 5.0, metric: str = "eval/accuracy") -> Path:
    """Write a run of which each step has sampled so many tokens, in a second, and recorded a value."""
    path.mkdir()
    (path / "config.json").write_text(json.dumps(CONFIG))
    (path / "trajectories").mkdir()
    lines = [
        {"step": s, metric: v, "tokens/sampled": tokens if s else 0, "time/step": float(s > 0)}
        for s, v in enumerate(values)
    ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def curve_of(steps: int, noise: float = 0.0, seed: int = 0) -> list[float]:
    rng = np.random.default_rng(seed)
    rising = TRUE(5.0 * np.arange(1, steps + 1)) + noise * rng.standard_normal(steps)
    return [TRUE.start, *rising.tolist()]


def test_without_noise_the_parameters_come_back() -> None:
    compute = np.linspace(10, 200, 40)
    assert least_squares(compute, TRUE(compute), 0.2)[1:] == pytest.approx((0.62, 1.7, 120.0), rel=1e-3)


def test_seen_to_200_the_asymptote_is_known_to_a_point(tmp_path: Path, monkeypatch) -> None:
    """The check of the specification: A 0.62, B 1.7, C_mid 120, seen to C 200, gives A to about 0.01."""
    monkeypatch.setattr(scaling, "RESAMPLES", 60)
    misses, covered = [], 0
    for seed in range(4):
        figures = fit(run_of(tmp_path / f"r{seed}", curve_of(40, 0.003, seed)))
        misses.append(abs(figures["A"]["value"] - 0.62))
        covered += figures["A"]["low"] <= 0.62 <= figures["A"]["high"]
    assert np.mean(misses) < 0.015
    assert covered >= 3
    assert figures["skipped"] == 3, "5, 10 and 15 of 200 are the first tenth"
    assert figures["R0"] == 0.2


def test_the_extrapolation_from_the_first_half_is_measured(tmp_path: Path) -> None:
    half = fit(run_of(tmp_path / "smooth", curve_of(40)))["extrapolation"]
    assert half["until"] == 100
    assert half["error"] < 1e-3
    stops = curve_of(40)[:21] + [curve_of(40)[20]] * 20  # It stops rising half way: nobody could have known.
    broken = fit(run_of(tmp_path / "stops", stops))["extrapolation"]
    assert broken["foretold"]["value"] == pytest.approx(half["foretold"]["value"], abs=1e-6)
    assert broken["error"] > 0.04


def test_compute_may_be_seconds_and_reward_may_be_above_one(tmp_path: Path) -> None:
    values = [3 * value for value in curve_of(40)]
    figures = fit(run_of(tmp_path / "run", values, metric="reward/mean"), metric="reward/mean", over="seconds")
    assert figures["A"]["value"] == pytest.approx(1.86, rel=0.01)
    assert figures["C_mid"]["value"] == pytest.approx(24, rel=0.01), "120 tokens at 5 a second"


def test_a_share_is_at_most_all_and_so_is_its_interval(tmp_path: Path) -> None:
    values = [0.0, *np.clip(np.linspace(0.05, 1.0, 12) + 0.04 * (-1.0) ** np.arange(12), 0, 1).tolist()]
    figures = fit(run_of(tmp_path / "run", values))
    assert figures["A"]["value"] <= figures["A"]["high"] <= 1
    assert figures["extrapolation"]["foretold"]["high"] <= 1


def test_damaged_values_are_no_points(tmp_path: Path) -> None:
    values = curve_of(40)
    wanted = fit(run_of(tmp_path / "good", values))
    found = fit(run_of(tmp_path / "bad", [*values[:20], 1e300, *values[21:]]))
    assert len(found["points"]) == len(wanted["points"]) - 1
    assert found["A"]["value"] == pytest.approx(wanted["A"]["value"], abs=0.01)


def test_as_many_points_as_parameters_have_no_interval_and_fewer_no_fit(tmp_path: Path) -> None:
    figures = fit(run_of(tmp_path / "three", curve_of(3), tokens=50.0))
    assert np.isnan(figures["A"]["low"])
    assert figures["extrapolation"] is None
    with pytest.raises(RunError, match=r"has 2 values of eval/accuracy .* fewer than the 3 parameters"):
        fit(run_of(tmp_path / "two", curve_of(2), tokens=50.0))
    with pytest.raises(RunError, match="has no reward/mean over tokens"):
        fit(tmp_path / "two", metric="reward/mean")
