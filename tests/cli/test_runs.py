"""`simplerl status`: runs that go on, are over, were killed, are of older versions, or are no runs.

`simplerl doctor` as it is typed.

`simplerl report`: what it writes, what it refuses, and what it does not import.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from made_metrics import texts_of, write_run
from made_runs import made_run
from support import begin_run, environment, run_main, run_small

from simplerl.doctor import RULES
from simplerl.report.figures import Figure
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
    monkeypatch.setattr("simplerl.cli.runs.time.time", lambda: 1200.0)
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
    monkeypatch.setattr("simplerl.cli.runs.time.time", lambda: 1300.0)
    with LockedDirectory(path):  # By one that goes on: what is there is of the process before.
        _, out, _ = run_main(capsys, "status", str(path))
    assert "runs; it has said nothing of what it is doing for 101 s: it begins, begins again" in out
    assert "engine" not in out


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


def test_the_steps_of_fine_tuning_are_its_own(finished: Path, tmp_path: Path, capsys) -> None:
    path = copied(finished, tmp_path / "run", {})
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "sft": {**config["sft"], "steps": 77}}))
    (path / "stage.json").write_text('{"stage": "sft"}')
    _, out, _ = run_main(capsys, "status", str(path))
    assert "step 3 of 77, is not running" in out


def test_a_run_that_goes_on_with_more_steps_is_not_finished(finished: Path, tmp_path: Path, capsys) -> None:
    path = copied(finished, tmp_path / "run", {})
    (path / "summary.json").write_bytes((finished / "summary.json").read_bytes())
    _, out, _ = run_main(capsys, "status", str(path))
    assert "step 3 of 3, finished" in out
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "steps": 9}))
    _, out, _ = run_main(capsys, "status", str(path))
    assert "step 3 of 9, is not running" in out


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


CLIPPED = {"length/clip_ratio": 0.6}


def test_healthy_run(capsys, tmp_path: Path) -> None:
    code, out, _ = run_main(capsys, "doctor", str(write_run(tmp_path / "run")), "--strict")
    assert code == 0
    assert "30 steps of training, responses of 4 steps read" in out
    elsewhere = [
        "samples-too-old",
        "engines-wait",
        "reward-length",
        "exploration-collapsing",
        "selection-starving",
        "wrong-selected",
    ]
    elsewhere += ["environment-failing", "calls-invalid", "turn-limit"]
    assert re.findall("^not applicable: ([a-z-]+)", out, re.MULTILINE) == elsewhere
    assert f"healthy: {len(RULES) - len(elsewhere)} rules were applied and found nothing" in out
    assert "checked, nothing found: accuracy-fell" in out


def test_findings(capsys, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {**CLIPPED, "groups/all_right": 0.9})
    code, out, _ = run_main(capsys, "doctor", str(run))
    assert code == 0
    assert "2 findings (1 serious, 1 warning):" in out
    assert "serious · clip-ratio: Many responses are truncated (steps 6–30)" in out
    assert "warning · data-too-easy" in out
    assert out.index("clip-ratio") < out.index("data-too-easy")
    for word in ("  seen 60.0% of the responses", "  why  A truncated", "  try  Raise `sampling.max_new_tokens`"):
        assert word in out


def test_strict(capsys, tmp_path: Path) -> None:
    healthy, ill = write_run(tmp_path / "a"), write_run(tmp_path / "b", CLIPPED)
    assert run_main(capsys, "doctor", str(healthy), str(ill))[0] == 0
    assert run_main(capsys, "doctor", str(healthy), str(ill), "--strict")[0] == 1
    code, _, _ = run_main(capsys, "doctor", str(ill), "--strict", "--threshold", "clip-ratio.share=0.7")
    assert code == 0


def test_json(capsys, tmp_path: Path) -> None:
    healthy, ill = write_run(tmp_path / "a"), write_run(tmp_path / "b", CLIPPED)
    code, out, _ = run_main(capsys, "doctor", str(healthy), str(ill), "--json")
    assert code == 0
    first, second = json.loads(out)
    assert (first["healthy"], second["healthy"]) == (True, False)
    (finding,) = second["findings"]
    assert (finding["rule"], finding["severity"], finding["steps"]) == ("clip-ratio", "serious", [6, 30])
    assert finding["figures"]["clip_ratio"] == pytest.approx(0.6)


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_what_a_model_says_does_not_reach_the_terminal(capsys, tmp_path: Path, extra: list[str]) -> None:
    hostile = "\x1b[2J\x1b]0;owned\x07[red]bold[/red] \u202e\x9b31m" + "so it is 5 and " * 40
    run = write_run(tmp_path / "run", texts=lambda step: texts_of([hostile + "\x1b[31m\r\x08"] * 8))
    code, out, _ = run_main(capsys, "doctor", str(run), *extra)
    assert code == 0
    assert "repetition" in out
    assert "e.g. step 30, p0, sample 0: " in out or extra
    assert all(c.isprintable() or c == "\n" for c in out)


def test_what_a_configuration_holds_does_not_reach_the_terminal(capsys, tmp_path: Path) -> None:
    config = {"sampling": {"max_new_tokens": "\x1b]0;owned\x07"}}
    code, out, _ = run_main(capsys, "doctor", str(write_run(tmp_path / "run", CLIPPED, config=config)))
    assert code == 0
    assert "truncated at sampling.max_new_tokens = ·]0;owned·" in out
    assert all(c.isprintable() or c == "\n" for c in out)


def test_one_step_is_too_early_to_say(capsys, tmp_path: Path) -> None:
    code, out, _ = run_main(capsys, "doctor", str(write_run(tmp_path / "run", steps=1, looked=(1,))))
    assert code == 0
    assert "too early to say: 1 rule could be applied and found nothing" in out
    assert "\nhealthy:" not in out


def test_rules_are_listed(capsys) -> None:
    code, out, _ = run_main(capsys, "doctor", "--rules")
    assert code == 0
    for name, rule in RULES.items():
        assert f"\n{name}: {rule.title}" in out
        for key, entry in rule.thresholds.items():
            assert f"  {name}.{key} = {entry.default:g} ({entry.unit})" in out


def test_mistakes_of_doctor(capsys, tmp_path: Path) -> None:
    run = str(write_run(tmp_path / "run", steps=2))
    (tmp_path / "empty").mkdir()
    for arguments, words in (
        ([], ["no run was named"]),
        ([str(tmp_path / "nowhere")], ["nowhere", "does not exist"]),
        ([str(tmp_path / "empty")], ["is empty"]),
        ([str(tmp_path)], ["is not a run, but holds 1", ": run"]),
        ([run, "--threshold", "clip-ratio.shar=1"], ["'clip-ratio.shar'", "did you mean 'clip-ratio.share'"]),
        ([run, "--threshold", "clip-ratio.share"], ["RULE.NAME=VALUE"]),
        ([run, "--threshold", "clip-ratio.share=much"], ["clip-ratio.share", "finite number"]),
    ):
        code, _, err = run_main(capsys, "doctor", *arguments)
        assert code == 2, arguments
        assert err.startswith("error: ")
        for word in words:
            assert word in err


def test_damage_is_named(capsys, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run / "trajectories" / "step_000010.parquet").write_bytes(b"x")
    code, out, _ = run_main(capsys, "doctor", str(run))
    assert code == 0
    assert "damage: " in out
    assert "step_000010.parquet" in out
    assert "responses of 3 steps read" in out


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
    assert "notes·[2J.txt is not a record of a step" in out, "a name cannot clear the screen"
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
