"""What is on disk is read as far as it can be: what is whole is shown, what is not is named."""

import json
import os
from pathlib import Path

import pytest
from made_runs import AFTER, CONFIG, made_run, rows, write_evaluation

from simplerl.core.errors import RunError
from simplerl.report.content import Content
from simplerl.report.reading import ReportedRun, gather, labels_of


def test_a_whole_run(tmp_path: Path) -> None:
    run = ReportedRun(made_run(tmp_path / "a"), "a")
    assert (run.steps, run.finished, run.seconds, run.seed, run.run.stage) == (4, True, 12.0, 0, "train")
    assert [e.step for e in run.evaluations] == [0, 4]
    assert run.first.accuracy.value == pytest.approx(3 / 8)
    assert list(run.last.pass_at) == [1, 2]
    assert run.curve("length/mean") == [(1, 11.0), (2, 12.0), (3, 13.0), (4, 14.0)]
    assert run.total("tokens/sampled") == 400
    assert (run.remarks, run.run.damage) == ([], [])


def test_lengths_have_the_interval_of_the_figures(tmp_path: Path) -> None:
    path = made_run(tmp_path / "a")
    write_evaluation(path, 4, rows(AFTER), tokens={"value": 3.75, "low": 3.0, "high": 4.5})
    run = ReportedRun(path, "a")
    assert (run.first.length.value, run.first.length.bounded) == (4.0, False), "as versions before 0.2 recorded it"
    assert (run.last.length.value, run.last.length.low, run.last.length.high) == (3.75, 3.0, 4.5)


def test_a_run_that_is_being_written(tmp_path: Path) -> None:
    path = made_run(tmp_path / "a", finished=False)
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "rewa')
    run = ReportedRun(path, "a")
    assert run.steps == 4
    assert not run.finished
    assert run.seconds == pytest.approx(6.0), "the sum of its steps"
    assert "up to its last complete line, step 4 of 4" in run.remarks[0]
    assert "the last line is cut short or is still being written" in run.run.damage[0]


def test_a_run_that_has_only_begun(tmp_path: Path) -> None:
    (tmp_path / "a" / "trajectories").mkdir(parents=True)
    (tmp_path / "a" / "config.json").write_text('{"model": "m", "data": "d", "steps": 3}')
    run = ReportedRun(tmp_path / "a", "a")
    assert run.remarks == ["No step is recorded yet.", "It has no held-out evaluation."]


@pytest.mark.parametrize("how", ["cut short", "overwritten", "empty", "text"])
def test_a_damaged_record_is_named_by_its_step(tmp_path: Path, how: str) -> None:
    path = made_run(tmp_path / "a")
    file = path / "trajectories" / "step_000003.parquet"
    content = file.read_bytes()
    middle = len(content) // 3
    file.write_bytes(
        {
            "cut short": content[: len(content) // 2],
            "overwritten": content[:20] + b"\xff" * middle + content[20 + middle :],
            "empty": b"",
            "text": b"<script>alert(1)</script>",
        }[how]
    )
    made = Content(gather([path]), pdf=False)
    assert made.problems["a"].visits == 3, "of four steps"
    assert made.damage
    assert all(str(file) in line for line in made.damage)
    assert made.damage[-1].endswith("left out") or "step 3 is not in the ledger" in made.damage[-1]


def test_a_record_of_something_else_is_named(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = made_run(tmp_path / "a")
    other = pyarrow.table({"problem_id": [[1]], "level": [1.5], "verdict": [True], "stop_reason": [{"a": 1}]})
    pyarrow.parquet.write_table(other, path / "trajectories" / "step_000002.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"x": [1]}), path / "trajectories" / "step_000003.parquet")
    (path / "trajectories" / "notes.txt").write_text("mine")
    damage = ReportedRun(path, "a").run.damage
    assert len(damage) == 3
    assert "no column problem_id" in "".join(damage)


def test_a_damaged_evaluation(tmp_path: Path) -> None:
    path = made_run(tmp_path / "a")
    write_evaluation(path, 2, rows(AFTER))
    (path / "evaluations" / "step_000002.json").write_text('{"accuracy": {"value": "ten"}}')
    (path / "evaluations" / "step_000004.parquet").write_bytes(b"PAR1")
    write_evaluation(path, 3, rows(AFTER))
    (path / "evaluations" / "step_000003.json").unlink()
    run = ReportedRun(path, "a")
    assert [e.step for e in run.evaluations] == [0, 4]
    assert not run.last.readable
    assert run.last.accuracy.value == pytest.approx(0.5), "its figures are complete"
    assert run.last.length.value == 4.0, "from the figures, without an interval"
    assert not run.last.length.bounded
    said = "\n".join(run.run.damage)
    assert "step_000002.json does not hold the figures of an evaluation: left out" in said
    assert "step_000003.parquet has no figures beside it" in said
    assert "step_000004.parquet cannot be read" in said


def test_damaged_lines_of_metrics_are_named_and_left_out(tmp_path: Path) -> None:
    path = made_run(tmp_path / "a")
    lines = (path / "metrics.jsonl").read_text().splitlines()
    lines[2] = "garbage"
    lines[3] = '{"step": 3, "reward/mean": "many", "length/mean": 1e999, "policy/entropy": NaN, "x": 4}'
    lines.append("[" * 100_000)
    (path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    run = ReportedRun(path, "a")
    assert run.recorded == [0, 1, 3, 4]
    assert run.curve("x") == [(3, 4)]
    assert [step for step, _ in run.curve("reward/mean")] == [1, 4]
    assert "metrics.jsonl:3 is damaged" in run.run.damage[0]
    assert "metrics.jsonl:6 is damaged" in run.run.damage[1]
    assert [name for name in ("reward/mean", "length/mean", "policy/entropy") if name in str(run.run.damage[2:])]


def test_tables_that_are_damaged_are_named(tmp_path: Path) -> None:
    path = made_run(tmp_path / "a")
    for name in ("config.json", "summary.json", "environment.json", "stage.json"):
        (path / name).write_text("[1")
    run = ReportedRun(path, "a")
    assert len(run.run.damage) == 4
    assert not run.finished


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = [tmp_path / "x" / "seed0", tmp_path / "y" / "seed0", tmp_path / "y" / "seed1"]
    assert labels_of(paths) == ["x/seed0", "y/seed0", "y/seed1"]
    with pytest.raises(RunError, match="given twice"):
        labels_of([tmp_path / "x", tmp_path / "y" / ".." / "x"])


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "photo.png").write_bytes(b"\x89PNG")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps({"architectures": ["Qwen2"]}))
    made_run(tmp_path / "many" / "a")
    made_run(tmp_path / "many" / "b")
    for name, message in {
        "nowhere": "does not exist",
        "foreign/photo.png": "is a file",
        "empty": "is empty",
        "foreign": "is not a run",
        "model": "is not a run",
        "many": r"holds 2 runs \(a, b\); give them",
    }.items():
        with pytest.raises(RunError, match=message):
            gather([tmp_path / name])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
@pytest.mark.parametrize("name", ["summary.json", "metrics.jsonl", "evaluations/step_000004.parquet"])
def test_a_pipe_does_not_hang_the_report(tmp_path: Path, name: str) -> None:
    path = made_run(tmp_path / "a")
    (path / name).unlink(missing_ok=True)
    os.mkfifo(path / name)
    found = Content(gather([path]), examples=1, pdf=False)
    assert any(name in line for line in found.damage)


def test_an_absurd_step_is_damage(tmp_path: Path) -> None:
    path = made_run(tmp_path / "a")
    with (path / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 10**350}) + "\n")
    run = ReportedRun(path, "a")
    assert run.steps == 4
    assert "metrics.jsonl:6 is damaged" in run.run.damage[0]


def test_deep_nesting_is_damage(tmp_path: Path) -> None:
    path = made_run(tmp_path / "a")
    deep = '{"a": ' * 5000 + "1" + "}" * 5000
    (path / "config.json").write_text(json.dumps(CONFIG | {"deep": 0}).replace('"deep": 0', f'"deep": {deep}'))
    assert "config.json cannot be read" in gather([path]).runs[0].run.damage[0]
