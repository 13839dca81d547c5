"""Results of `simplerl eval` in a report."""

import datetime
import re
from pathlib import Path

import pytest
from made_runs import made_run, rows

from simplerl.evaluate.figures import figures
from simplerl.report import page
from simplerl.report.content import Content
from simplerl.report.reading import gather
from simplerl.runs.directory import ResultDirectory
from simplerl.runs.responses import ResponseFile, write_rows
from simplerl.runs.run import RESPONSES

PROTOCOL = {
    "benchmark": "sums",
    "problems": 3,
    "samples": 2,
    "seed": 0,
    "template": {"name": "plain"},
    "sampling": {"temperature": 1.0},
    "policy": "boxed",
    "data_sha256": "d",
}


def result(path: Path, label: str, outcomes: dict[str, str], **protocol) -> None:
    with ResultDirectory(path) as directory:
        directory.begin({**PROTOCOL, "label": label, "step": None, "model": label, **protocol}, overwrite=False)
        write_rows(path / RESPONSES, rows(outcomes))
        directory.finish(figures(ResponseFile(path / RESPONSES).answers()), {})


@pytest.fixture
def evaluations(tmp_path: Path) -> Path:
    place = tmp_path / "evaluations"
    result(place / "a", "base", {"p": "ww", "q": "rw", "s": "rr"})
    result(place / "b", "run@4", {"p": "rr", "q": "rr", "s": "wr"}, step=4)
    result(place / "c", "run@8", {"p": "rr", "q": "rr", "s": "rr"}, step=8, policy="loose")
    result(place / "d", "run@8", {"x": "rr"}, step=8, benchmark="<b>products</b>")
    return place


def test_results_alone(evaluations: Path) -> None:
    made = Content(gather([evaluations]), pdf=False)
    found = made.benchmarks
    assert found.names == ["sums", "<b>products</b>"]
    assert list(found.table) == ["base", "run@4", "run@8"]
    assert found.beside["run@4", "sums"]["difference"].value == pytest.approx((1 + 0.5 - 0.5) / 3)
    best = found.beside["run@8", "sums"]
    assert (len(best["gained"]), len(best["lost"])) == (1, 0)
    assert list(best["unfair"]) == ["policy: boxed before, loose after"]
    assert set(made.figures) == {"benchmarks_over_steps", "benchmarks_pass_at_k"}
    html = page.render(made, command="x", now=datetime.datetime(2026, 1, 1))
    assert "<b>" not in html
    assert re.search(r"<tr><th>base</th><td class=\"number\">50\.0 \[.*?</td><td class=\"number\">–</td>", html)
    assert "policy: boxed before, loose after" in html
    assert 'id="summary"' not in html


def test_results_beside_a_run(evaluations: Path, tmp_path: Path) -> None:
    made = Content(gather([made_run(tmp_path / "r"), evaluations]), pdf=False)
    assert {"accuracy_and_length", "benchmarks_pass_at_k"} <= made.figures.keys()
    assert page.render(made, command="x", now=datetime.datetime(2026, 1, 1)).count("<h2>") == 10


def test_a_damaged_result_is_named(evaluations: Path) -> None:
    (evaluations / "d" / "figures.json").write_text("{")
    (evaluations / "b" / RESPONSES).write_bytes(b"PAR1")
    made = Content(gather([evaluations]), pdf=False)
    assert made.benchmarks.names == ["sums"]
    said = "\n".join(made.damage)
    assert "figures.json cannot be read" in said
    assert "responses.parquet cannot be read" in said
    assert "cannot be read" in made.benchmarks.beside["run@4", "sums"]
