"""`simplerl status`: runs that go on, are over, were killed, are of older versions, or are no runs."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from support import begin_run, run_main, run_small

from simplerl.runs.directory import StatusFile
from simplerl.runs.files import LockedDirectory

BUSY = {
    "step": 12,
    "phase": "rollout",
    "since": 1000.0,
    "ahead": {"doing": "samples step 13 by policy 11", "since": 1100.0},
    "ranks": [{"rank": 0, "host": "here"}, {"rank": 1, "host": "there"}, {"rank": 2, "host": "there"}],
    "engines": [
        {"engine": 0, "pid": 5, "state": "answers", "owes": 7, "version": 11, "starts": 2, "heard": 1190.0},
        {"engine": 1, "pid": 6, "state": "waits", "owes": 0, "version": 11, "starts": 1, "heard": 1199.0},
    ],
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("status") / "run"
    run_small(path)
    return path


def copied(finished: Path, path: Path, table: Any) -> Path:
    """Return what is left of a run that did not come to its end."""
    path.mkdir()
    for name in ("config.json", "metrics.jsonl"):
        (path / name).write_bytes((finished / name).read_bytes())
    (path / "status.json").write_text(table if isinstance(table, str) else json.dumps(table))
    return path


def test_a_finished_run_and_one_that_was_killed(finished: Path, tmp_path: Path, capsys) -> None:
    killed = copied(finished, tmp_path / "killed", {**BUSY, "time": time.time() - 300})
    code, out, _ = run_main(capsys, "status", str(finished), str(killed))
    assert code == 0
    assert f"{finished}: step 3 of 3, finished\n" in out
    assert "is not running; its last sign is 5 min old, when training waits for the responses of step 12\n" in out
    assert f"  go on: simplerl train --output-dir {killed} --resume" in out


def test_a_run_that_goes_on_says_who_waits_for_whom(finished: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    path = copied(finished, tmp_path / "run", {**BUSY, "time": 1199.0, "pid": 4, "host": "here"})
    monkeypatch.setattr("simplerl.cli.status.time.time", lambda: 1200.0)
    with LockedDirectory(path):
        code, out, _ = run_main(capsys, "status", str(path))
    assert code == 0
    assert out.splitlines()[1:] == [
        "  training  waits for the responses of step 12, for 3 min",
        "  sampling  samples step 13 by policy 11, for 100 s",
        "  learner   3 ranks: 1 on here, 2 on there",
        "  engine 0  owes 7 responses under policy 11; last sign 10 s ago, started 2 times",
        "  engine 1  waits for requests; last sign 1 s ago",
    ]


@pytest.mark.parametrize(
    "table",
    [
        "",
        "[]",
        "{",
        '{"time": "yesterday", "phase": 3, "engines": 7, "ahead": [], "ranks": 3}',
        '{"time": 1e400}',
        "\x1b[31m",
    ],
)
def test_a_damaged_status_is_no_obstacle(table: str, finished: Path, tmp_path: Path, capsys) -> None:
    code, out, _ = run_main(capsys, "status", str(copied(finished, tmp_path / "run", table)))
    assert code == 0
    assert "step 3 of 3, is not running" in out
    assert "\x1b" not in out


def test_hostile_words_are_printed_safely(finished: Path, tmp_path: Path, capsys) -> None:
    table = {"time": time.time(), "host": "\x1b[2J", "phase": "{step.__class__}", "ahead": {"doing": "\x1b[2J"}}
    path = copied(
        finished,
        tmp_path / "run",
        {**table, "engines": [{"state": "{owes}", "owes": "\x1b"}, 3], "ranks": [3, {"host": "\x1b"}, {}]},
    )
    with LockedDirectory(path):
        code, out, _ = run_main(capsys, "status", str(path))
    assert code == 0
    assert "\x1b" not in out


def test_what_is_no_run_is_refused(tmp_path: Path, capsys) -> None:
    for name in ("nowhere", "."):
        code, _, error = run_main(capsys, "status", str(tmp_path / name))
        assert code == 2
        assert "give the directory of a run" in error


def test_the_file_follows_what_is_done_and_a_full_disk_is_not_its_business(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("simplerl.runs.directory.EVERY_S", 0.01)
    table = {"phase": "learn"}
    with StatusFile(tmp_path, lambda: table):
        deadline = time.monotonic() + 5
        while not (tmp_path / "status.json").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        table["phase"] = "sync"
        time.sleep(0.2)
        assert json.loads((tmp_path / "status.json").read_text())["phase"] == "sync"
    with StatusFile(tmp_path / "gone", lambda: table):
        time.sleep(0.05)


@pytest.mark.engines
def test_a_hung_engine_is_seen(tmp_path: Path, capsys) -> None:
    over = {"cluster": {"engines": 1}, "steps": 500}
    process = begin_run(tmp_path / "run", over)
    listed = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(process.pid)], capture_output=True, text=True)
    (engine,) = (int(line.split()[0]) for line in listed.stdout.splitlines() if "rollout.engines" in line)
    os.kill(engine, signal.SIGSTOP)
    time.sleep(5)
    _, out, _ = run_main(capsys, "status", str(tmp_path / "run"))
    process.kill()
    os.kill(engine, signal.SIGKILL)
    process.communicate()
    assert "  training  waits for the " in out or "  training  hands the weights of step " in out
    assert "  engine 0  owes" in out
