"""Figures over seeds, from made-up run directories, against values worked out by hand."""

import json
import math
from pathlib import Path

import pytest
from support import made_up_run

from simplerl.analysis.estimates import Estimate, Measure, band, curve, measured, paired
from simplerl.core.errors import RunError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return made_up_run(tmp_path / "run", accuracies=[0.25, 0.5, 0.75], tokens=[100, 300])


@pytest.mark.parametrize(
    ("where", "path", "value"),
    [
        ("base", ("acc", "value"), 0.25),
        ("final", ("acc", "value"), 0.75),
        ("gain", ("acc", "value"), 0.5),
        ("base", ("pass@k", "8", "value"), 0.5),
        ("final", ("tokens", "value"), 20.0),
        ("last", ("policy/entropy",), 0.75),  # The mean of 0.5 and 1.0.
        ("sum", ("tokens/sampled",), 400.0),
    ],
)
def test_measures(run: Path, where, path, value: float) -> None:
    assert measured(run, Measure(label="x", where=where, path=path)) == value


def test_greedy_is_at_temperature_0_whichever_comes_first(run: Path) -> None:
    file = run / "evaluations" / "step_000002.json"
    further = [{"temperature": t, "acc": {"value": v}} for t, v in ((0.6, 0.3), (0.0, 0.9))]
    file.write_text(json.dumps({**json.loads(file.read_text()), "further": further}))
    assert measured(run, Measure(label="x", where="final", path=("greedy", "acc", "value"))) == 0.9


def test_last_is_the_last_five_steps(tmp_path: Path) -> None:
    run = made_up_run(tmp_path / "long", accuracies=[0.0] * 9, tokens=[1] * 8, entropy=1.0)
    assert measured(run, Measure(label="x", where="last", path=("policy/entropy",))) == (4 + 5 + 6 + 7 + 8) / 5


def test_a_metric_without_values_is_not_a_number(run: Path) -> None:
    assert math.isnan(measured(run, Measure(label="x", where="last", path=("policy/kl",))))


def test_a_figure_that_is_not_there_is_named(run: Path) -> None:
    with pytest.raises(RunError, match=r"step 2 .* has no pass@k/64/value"):
        measured(run, Measure(label="x", where="final", path=("pass@k", "64", "value")))
    (run / "evaluations" / "step_000000.json").unlink()
    with pytest.raises(RunError, match="lacks the evaluation of step 0"):
        measured(run, Measure(label="x", where="gain", path=("acc", "value")))


def test_interval_leaves_out_what_has_no_value() -> None:
    found = Estimate.over([1.0, math.nan, 2.0, 3.0])
    assert (found.value, found.n) == (2.0, 3)
    assert found.high - found.value == pytest.approx(2.484138, abs=1e-6)
    assert Estimate.over([math.nan]).n == 0


def test_differences_are_taken_seed_by_seed() -> None:
    """Seeds differ by 10, the variants by 1: the paired interval is that of the differences, 0.9, 1.0 and 1.1."""
    reference = {0: 10.0, 1: 20.0, 2: 30.0, 3: 99.0}
    found = paired({0: 10.9, 1: 21.0, 2: 31.1, 7: 0.0}, reference)
    assert (found.value, found.n) == (pytest.approx(1.0), 3)
    assert found.high - found.value == pytest.approx(0.2484138, abs=1e-6)


def test_curves_against_steps_and_tokens(run: Path) -> None:
    assert curve(run, "eval/accuracy", against="step") == [(0.0, 0.25), (1.0, 0.5), (2.0, 0.75)]
    assert curve(run, "eval/accuracy", against="tokens") == [(0.0, 0.25), (100.0, 0.5), (400.0, 0.75)]
    assert curve(run, "accuracy/mean", against="tokens") == [(100.0, 0.5), (400.0, 0.75)]


def test_blocks_are_means_of_points_after_each_other(run: Path) -> None:
    assert curve(run, "eval/accuracy", against="tokens", block=2) == [(50.0, 0.375), (400.0, 0.75)]
    assert curve(run, "policy/kl", against="step", block=2) == []


def test_band_is_interpolated_where_all_curves_are() -> None:
    found = band([[(0.0, 0.0), (4.0, 4.0)], [(0.0, 2.0), (2.0, 4.0), (8.0, 4.0)]])
    assert found.x == [0.0, 2.0, 4.0]
    assert found.mean == [1.0, 3.0, 4.0]
    # Two values 0 and 2: s = √2, 1 ± 12.706 · √2 / √2.
    assert found.high[0] == pytest.approx(1 + 12.706205, abs=1e-5)
    assert found.low[2] == found.high[2] == 4.0
    with pytest.raises(ValueError, match="every curve a point"):
        band([[(0.0, 1.0)], []])
