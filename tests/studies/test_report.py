"""Tables, results and plots from made-up run directories, against values worked out by hand."""

import json
from pathlib import Path

import pytest
from support import made_up_run

from simplerl.analysis.estimates import Measure
from simplerl.studies import report
from simplerl.studies.experiment import Bars, Curve, Experiment, PassAtK, Variant
from simplerl.studies.jobs import Job

EXPERIMENT = Experiment(
    name="made-up",
    question="Is b better than a?",
    claim="It is.",
    figures="By 10 points.",
    source="a paper",
    remarks="nothing is real",
    variants=(
        Variant(label="a"),
        Variant(label="b", overrides={"steps": 2}, against="a"),
        Variant(label="c", overrides={"algorithm": {"name": "sorcery"}}, against="a"),
    ),
    measures=("accuracy", "gain", "pass@8", "entropy", "tokens sampled"),
    overrides={"steps": 3, "optimizer": {"lr": 0.1}},
    panels=(Curve(metric="eval/accuracy", label="accuracy", block=1), Bars(measure="accuracy"), PassAtK()),
)

#: Accuracy after training, by variant and seed. b is 10 points better on average, 5, 10 and 15 seed by seed.
FINAL = {"a": [0.25, 0.30, 0.35], "b": [0.30, 0.40, 0.50]}


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, list[Job]]:
    made: dict[str, list[Job]] = {}
    for label, finals in FINAL.items():
        for seed, final in enumerate(finals):
            path = made_up_run(tmp_path / f"{label}{seed}", accuracies=[0.2, 0.2, final], tokens=[1000, 500])
            job = Job(label=label, seed=seed, path=path, log=path, command=(), state="done")
            made.setdefault(label, []).append(job)
    return made


def results(runs: dict[str, list[Job]]) -> dict:
    return report.collect_results(EXPERIMENT, runs, seeds=3, failed={})


def test_results_by_hand(runs: dict[str, list[Job]]) -> None:
    found = results(runs)["variants"]
    b = found["b"]["measures"]["accuracy after"]
    assert b["seeds"] == {0: 0.30, 1: 0.40, 2: 0.50}
    # Mean 0.4, s = 0.1: 0.4 ± 4.302653 · 0.1 / √3.
    assert (b["value"], b["low"], b["high"]) == pytest.approx((0.4, 0.4 - 0.2484138, 0.4 + 0.2484138), abs=1e-6)
    # Seed by seed 0.05, 0.10, 0.15: mean 0.1, s = 0.05.
    difference = found["b"]["difference"]
    assert (difference["value"], difference["high"]) == pytest.approx((0.1, 0.1 + 0.1242069), abs=1e-6)
    assert found["a"]["difference"] is None
    assert found["b"]["settings"] == {"steps": 2, "optimizer": {"lr": 0.1}}
    assert found["b"]["seconds"] == 3.0
    assert "c" not in found


def test_table_by_hand(runs: dict[str, list[Job]]) -> None:
    assert report.rows(EXPERIMENT, results(runs)) == [
        [
            "",
            "accuracy after (%)",
            "gain (%)",
            "pass@8 after (%)",
            "entropy (nats, last 5 steps)",
            "tokens sampled",
            "difference (points)",
            "seeds",
        ],
        [
            "a",
            "30.0 [17.6, 42.4]",
            "10.0 [-2.4, 22.4]",
            "60.0 [35.2, 84.8]",
            "0.75 [0.75, 0.75]",
            "1,500 [1,500, 1,500]",
            "",
            "3",
        ],
        [
            "b",
            "40.0 [15.2, 64.8]",
            "20.0 [-4.8, 44.8]",
            "80.0 [30.3, 129.7]",
            "0.75 [0.75, 0.75]",
            "1,500 [1,500, 1,500]",
            "+10.0 [-2.4, +22.4] to a",
            "3",
        ],
        ["c", "no run has ended well", "", "", "", "", "", ""],
    ]


def test_brief_table_for_a_terminal(runs: dict[str, list[Job]]) -> None:
    b = report.rows(EXPERIMENT, results(runs), brief=True)[2]
    assert b == ["b", "40.0 ±24.8", "20.0 ±24.8", "80.0 ±49.7", "0.75 ±0.00", "1,500 ±0", "+10.0 ±12.4 to a", "3"]


def test_every_seed_has_a_row(runs: dict[str, list[Job]]) -> None:
    table = report.seed_rows(EXPERIMENT, results(runs))
    assert [row[:3] for row in table[1:]] == [
        ["a", "0", "25.0"],
        ["a", "1", "30.0"],
        ["a", "2", "35.0"],
        ["b", "0", "30.0"],
        ["b", "1", "40.0"],
        ["b", "2", "50.0"],
    ]


def test_seeds_that_failed_leave_fewer_seeds(runs: dict[str, list[Job]]) -> None:
    """The pair of a seed that one side lacks does not count, and one seed alone has no interval."""
    fewer = {"a": runs["a"], "b": runs["b"][1:2]}
    found = report.collect_results(EXPERIMENT, fewer, seeds=3, failed={"b, seed 0": "exit code 1"})
    a, b, c = report.rows(EXPERIMENT, found)[1:]
    assert a[-1] == "3"
    assert (b[1], b[-2], b[-1]) == ("40.0", "+10.0 to a", "1")
    assert c[1] == "no run has ended well"
    assert "- failed: b, seed 0: exit code 1\n" in report.text(EXPERIMENT, found, "x")


def test_a_variant_whose_reference_has_failed_has_no_difference(runs: dict[str, list[Job]]) -> None:
    found = report.collect_results(EXPERIMENT, {"b": runs["b"]}, seeds=3, failed={})
    assert found["variants"]["b"]["difference"] is None


def test_numbers() -> None:
    share = Measure(label="x", where="final", path=("x",))
    plain = Measure(label="x", where="final", path=("x",), share=False)
    assert report.cell({"value": 0.12345}, share) == "12.3"
    assert report.cell({"value": 0.5}, share, sign=True) == "+50.0"
    assert report.cell({"value": float("nan")}, share) == "–"
    assert report.cell({"value": 0.12345}, plain) == "0.12"
    assert report.cell({"value": 123456.7}, plain) == "123,457"


def test_files(runs: dict[str, list[Job]], tmp_path: Path) -> None:
    report.write(EXPERIMENT, results(runs), runs, tmp_path, command="simplerl experiment made-up")
    stored = json.loads((tmp_path / "results.json").read_text())
    assert stored["paper"] == {"claim": "It is.", "figures": "By 10 points.", "source": "a paper"}
    assert stored["variants"]["a"]["measures"]["gain"]["seeds"]["0"] == pytest.approx(0.05)
    text = (tmp_path / "table.md").read_text()
    assert "| b | 40.0 [15.2, 64.8] |" in text
    assert "Paper: It is. By 10 points. (a paper)" in text
    assert "`simplerl experiment made-up`" in text
    assert "- settings: recipe cub, steps 3, optimizer.lr 0.1\n" in text
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_without_panels_the_first_measure_is_drawn(runs: dict[str, list[Job]], tmp_path: Path) -> None:
    report.write(EXPERIMENT.model_copy(update={"panels": ()}), results(runs), runs, tmp_path, command="x")
    assert (tmp_path / "plot.png").stat().st_size > 0


def test_panels_show_the_means(runs: dict[str, list[Job]]) -> None:
    curve, bars, pass_at_k = (report._panel(EXPERIMENT, panel, results(runs), runs) for panel in EXPERIMENT.panels)
    assert curve.lines["b"].x == [0.0, 1.0, 2.0]
    assert curve.lines["b"].mean == pytest.approx([0.2, 0.2, 0.4])
    assert bars.bars["a"][0].value == pytest.approx(0.3)
    assert bars.bars["a"][1] == [0.25, 0.30, 0.35]
    assert pass_at_k.lines["b"].x == [1.0, 8.0]
    assert pass_at_k.lines["b"].mean == pytest.approx([0.4, 0.8])
    assert pass_at_k.dashed["b"].mean == pytest.approx([0.2, 0.4])
