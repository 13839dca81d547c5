"""`simplerl report`: what it writes, what it refuses, and what it does not import."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from made_runs import made_run
from support import environment, run_main

from simplerl.report.figures import Figure


def test_writes_the_page_and_its_figures(tmp_path: Path, capsys, monkeypatch) -> None:
    made_run(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    code, out, _ = run_main(capsys, "report", "a")
    assert code == 0
    assert "report: report.html" in out
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert html.startswith("<!DOCTYPE html>")
    assert "simplerl report a" in html
    names = {file.name for file in (tmp_path / "report_figures").iterdir()}
    assert {"accuracy_and_length.png", "accuracy_and_length.pdf", "pass_at_k.pdf"} <= names
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == sorted(
        ["config.json", "environment.json", "metrics.jsonl", "summary.json", "evaluations", "trajectories"]
    ), "the run is left as it was"


def test_a_report_is_replaced_and_nothing_else_is(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("simplerl.report.figures.draw_all", lambda *_, **__: {})
    run = str(made_run(tmp_path / "a"))
    output = tmp_path / "r.html"
    assert run_main(capsys, "report", run, "--output", str(output), "--no-figures")[0] == 0
    first = output.stat().st_ino
    assert run_main(capsys, "report", run, "--output", str(output), "--no-figures")[0] == 0
    assert output.stat().st_ino != first
    assert not (tmp_path / "r_figures").exists()
    output.write_text("<html>my notes</html>")
    code, _, err = run_main(capsys, "report", run, "--output", str(output))
    assert code == 2
    assert "exists and is not a report" in err
    assert output.read_text() == "<html>my notes</html>"


def test_damage_is_named_on_the_terminal_and_in_the_page(tmp_path: Path, capsys, monkeypatch) -> None:
    drawn = Figure(title="t", caption="c", wide=True, png=b"\x89PNG", pdf=b"%PDF")
    monkeypatch.setattr("simplerl.report.figures.draw_all", lambda *_, **__: {"training": drawn})
    path = made_run(tmp_path / "a", finished=False)
    (path / "trajectories" / "step_000002.parquet").write_bytes(b"PAR1 and no more")
    (path / "trajectories" / "notes\x1b[2J.txt").touch()
    code, out, _ = run_main(
        capsys, "report", str(path), "--output", str(tmp_path / "r.html"), "--figures", str(tmp_path / "f")
    )
    assert code == 0
    assert "step_000002.parquet cannot be read" in out
    assert "notes␛[2J.txt is not a record of a step" in out, "a name cannot clear the screen"
    assert "a: Not finished: shown up to its last complete line, step 4 of 4" in out
    assert "step_000002.parquet cannot be read" in (tmp_path / "r.html").read_text()
    assert (tmp_path / "f" / "training.pdf").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["empty"], "empty is empty"),
        (["a", "a"], "is given twice"),
        (["a", "--output", "empty"], "is a directory; name a file"),
        (["a", "--output", "no/such/r.html"], "does not exist; create it"),
        (["a", "--figures", "a/config.json"], "is a file; name a directory"),
        (["a", "--examples", "-1"], "must lie between 0 and 50"),
        (["a", "--figures", "f", "--no-figures"], "exclude each other"),
        (["file"], "is a file"),
    ],
)
def test_mistakes_end_in_one_message(tmp_path: Path, capsys, monkeypatch, arguments: list[str], message: str) -> None:
    made_run(tmp_path / "a")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    monkeypatch.chdir(tmp_path)
    code, _, err = run_main(capsys, "report", *arguments)
    assert code == 2
    assert err.startswith("error: ")
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "report.html").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_cannot_be_written(tmp_path: Path, capsys) -> None:
    run = str(made_run(tmp_path / "a"))
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    code, _, err = run_main(capsys, "report", run, "--output", str(closed / "r.html"), "--no-figures")
    assert code == 2
    assert "Permission denied" in err


def test_a_device_that_is_full(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("simplerl.report.figures.draw_all", lambda *_, **__: {})
    from simplerl.report import page
    from simplerl.runs.files import writing

    def full(path: Path, content: bytes) -> None:
        with writing(path):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(page, "write_atomic", full)
    run = str(made_run(tmp_path / "a"))
    code, _, err = run_main(capsys, "report", run, "--output", str(tmp_path / "r.html"), "--no-figures")
    assert code == 2
    assert "No space left on device" in err
    assert "or choose another --output-dir or --output" in err


#: Figures are made and not drawn, which takes longer than all else.
LIGHT = """
import sys
import matplotlib.figure
from matplotlib.backends import backend_agg, backend_pdf
matplotlib.figure.Figure.savefig = lambda *_, **__: None
from simplerl.cli import main
assert main(["report", *sys.argv[1:]]) == 0
trainer = {"train", "rollout", "models", "algorithms", "rewards", "cubs"}
heavy = {name for name in sys.modules if name in {"torch", "transformers", "sympy"}}
heavy |= {name for name in sys.modules if name.startswith("simplerl.") and name.split(".")[1] in trainer}
assert not heavy, heavy
"""


def test_neither_torch_nor_the_trainer_is_imported(tmp_path: Path) -> None:
    run = made_run(tmp_path / "a")
    command = [sys.executable, "-c", LIGHT, str(run), "--output", str(tmp_path / "r.html")]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
