"""Runs in one table: what differs between them, what they ran on, what came of it."""

import json
from pathlib import Path

import pytest
from made_runs import CONFIG, SESSION
from support import run_main

from simplerl.analysis.tracked import tracked
from simplerl.core.errors import RunError


def run_of(path: Path, *, session: dict | None = None, **over) -> None:
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({**CONFIG, **over}))
    (path / "environment.json").write_text(json.dumps({"sessions": [session or SESSION]}))
    lines = [{"step": s, "tokens/sampled": 10, "time/step": 0.5} for s in range(3)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_row_says_what_is_unusual(tmp_path: Path) -> None:
    run_of(tmp_path / "a")
    run_of(tmp_path / "b", seed=1)
    run_of(tmp_path / "deep" / "c", optimizer={"lr": 0.01}, output_dir="elsewhere")
    run_of(tmp_path / "d", session={**SESSION, "packages": {"simplerl": "0.2.0"}}, new_setting=3)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "metrics.jsonl").write_text("{")
    table = tracked(tmp_path)
    assert [(one["name"], one["seed"], one["settings"]) for one in table["runs"]] == [
        ("a", 0, {}),
        ("b", 1, {}),
        ("d", 0, {}),
        ("deep/c", 0, {"optimizer.lr": 0.01}),
    ]
    assert table["usual"]["optimizer.lr"] == 0.001
    first = table["runs"][0]
    assert (first["steps"], first["tokens"], first["seconds"], first["finished"]) == (2, 20, 1.0, False)
    assert first["versions"]["simplerl"] == "0.1.0"
    assert first["versions"]["git_commit"] == "c0ffee"
    assert table["runs"][2]["versions"]["simplerl"] == "0.2.0"


def test_the_command_shows_and_writes_it(tmp_path: Path, capsys) -> None:
    for name in "ab":
        run_of(tmp_path / "runs" / name, optimizer={"lr": {"a": 0.001, "b": 0.5}[name]})
    output = tmp_path / "runs.json"
    code, shown, error = run_main(capsys, "compare", str(tmp_path / "runs"), "--output", str(output))
    assert (code, error) == (0, "")
    assert "optimizer.lr = 0.5" in shown
    assert "2 …" in shown, "not finished"
    assert json.loads(output.read_text()) == tracked(tmp_path / "runs")


def test_no_run_is_a_message(tmp_path: Path, capsys) -> None:
    with pytest.raises(RunError, match="holds no run with recorded steps"):
        tracked(tmp_path)
    code, _, error = run_main(capsys, "compare", str(tmp_path))
    assert code == 2
    assert "holds no run" in error
