"""The run directory: what it refuses, what it forgets, what survives."""

import errno
import json
import os
import threading
from pathlib import Path

import filelock
import numpy as np
import pytest
from support import assert_same_run, fingerprint, group, run_small, trajectory

from simplerl.core.errors import RunError
from simplerl.runs.directory import BehaviourDirectory, RunDirectory, read_metrics
from simplerl.runs.run import BEHAVIOURS, FOLDER, Judgement, Run, read_behaviours


@pytest.fixture
def run(tmp_path: Path):
    with RunDirectory(tmp_path / "run") as found:
        found.write("config.json", {})
        yield found


def fill(directory: Path) -> None:
    (directory / "model").write_text(directory.name)


def do(run: RunDirectory, step: int) -> None:
    """Record a step as the loop does."""
    run.record_trajectories(step, [group(trajectory())], [trajectory().completion.logprobs])
    run.record_evaluation(step, [group(trajectory())], {"accuracy": step})
    run.record_metrics(step, {"reward/mean": step / 3})
    run.save_checkpoint(step, fill, keep=0)


def everything(run: RunDirectory) -> set[str]:
    return {str(p.relative_to(run.path)) for p in run.path.rglob("*") if p.is_file() and p.name != ".lock"}


def test_metrics_of_a_plug_in_are_recorded_and_must_be_numbers(run: RunDirectory) -> None:
    run.record_metrics(1, {"mine/count": 3, "mine/scalar": np.float32(0.5), "mine/array": np.array([2.0])})
    for value in ("much", [1.0], np.zeros(2)):
        with pytest.raises(RunError, match=r"metric 'mine/odd' is .*; a metric must be a number"):
            run.record_metrics(2, {"mine/odd": value})
    assert read_metrics(run.path) == [{"step": 1, "mine/count": 3, "mine/scalar": 0.5, "mine/array": 2.0}]


def test_lines_come_back(run: RunDirectory) -> None:
    run.record_metrics(0, {"reward/mean": 0.1, "length/mean_stopped": float("nan")})
    run.record_metrics(1, {"reward/mean": 1 / 3})
    assert read_metrics(run.path) == [
        {"step": 0, "reward/mean": 0.1, "length/mean_stopped": None},
        {"step": 1, "reward/mean": 1 / 3},
    ]


@pytest.mark.parametrize("rest", ['{"step": 2', '{"step": 2, "reward/mean": 0.3333', "{", '{"step": 2}'])
def test_last_line_may_be_half_written(rest: str, run: RunDirectory) -> None:
    run.record_metrics(1, {"reward/mean": 0.5})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write(rest)
    steps = [line["step"] for line in read_metrics(run.path)]
    assert steps == [1], "without its end nobody knows that a line is complete"


def test_damage_in_the_middle_is_not_passed_over(run: RunDirectory) -> None:
    (run.path / "metrics.jsonl").write_text('{"step": 0}\n{"step": \n{"step": 2}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl:2"):
        read_metrics(run.path)


def test_rewind_forgets_what_came_after(run: RunDirectory) -> None:
    for step in range(5):
        do(run, step)
    for remains in ("checkpoints/.step_000002.partial", "trajectories/.step_000005.parquet.partial"):
        (run.path / remains).touch()
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "rew')
    run.rewind(2)
    assert [line["step"] for line in read_metrics(run.path)] == [0, 1, 2]
    assert run.checkpoint_steps() == [0, 1, 2]
    numbers = {name.split("step_")[1][:6] for name in everything(run) if "step_" in name}
    assert numbers == {"000000", "000001", "000002"}
    assert not any("partial" in name for name in everything(run))
    do(run, 3)
    assert [line["step"] for line in read_metrics(run.path)] == [0, 1, 2, 3]


def test_rewind_to_the_present_changes_nothing(run: RunDirectory) -> None:
    for step in range(3):
        do(run, step)
    before = {name: (run.path / name).read_bytes() for name in everything(run)}
    run.rewind(2)
    assert {name: (run.path / name).read_bytes() for name in everything(run)} == before


def test_checkpoints_are_pruned_to_the_newest(run: RunDirectory) -> None:
    for step in (5, 10, 15, 100):
        run.save_checkpoint(step, fill, keep=2)
    assert run.checkpoint_steps() == [15, 100]
    assert sorted(entry.name for entry in (run.path / "checkpoints").iterdir()) == ["step_000015", "step_000100"]
    for step in (105, 110):
        run.save_checkpoint(step, fill, keep=0)
    assert run.checkpoint_steps() == [15, 100, 105, 110]


def test_what_a_user_keeps_beside_the_steps_is_left_alone(run: RunDirectory) -> None:
    for step in (1, 2):
        do(run, step)
    kept = ("checkpoints/step_000002-good", "checkpoints/my_step_2", "trajectories/old_step_000002.parquet")
    for name in kept:
        (run.path / name).mkdir()
    assert run.checkpoint_steps() == [1, 2]
    assert run.newest_complete_checkpoint(pytest.fail) == 2
    run.rewind(1)
    assert run.checkpoint_steps() == [1]
    assert all((run.path / name).is_dir() for name in kept)


def test_the_old_checkpoint_stays_until_the_new_one_is_whole(run: RunDirectory) -> None:
    run.save_checkpoint(1, fill, keep=1)

    def full(directory: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(RunError, match="step_000002: No space left"):
        run.save_checkpoint(2, full, keep=1)
    assert run.newest_complete_checkpoint(pytest.fail) == 1


def test_damaged_checkpoints_are_passed_over_and_named(run: RunDirectory) -> None:
    for step in (1, 2, 3):
        run.save_checkpoint(step, fill, keep=0)
    (run.checkpoint(3) / "model").write_text("")
    (run.checkpoint(2) / "manifest.json").unlink()
    said: list[str] = []
    assert run.newest_complete_checkpoint(said.append) == 1
    assert ["step_000003" in said[0], "step_000002" in said[1]] == [True, True]
    (run.checkpoint(1) / "model").unlink()
    assert run.newest_complete_checkpoint(said.append) == 0


def test_full_disk_under_the_metrics(run: RunDirectory, monkeypatch) -> None:
    run.record_metrics(1, {"reward/mean": 0.5})

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(RunError, match=r"metrics\.jsonl: No space left"):
            run.record_metrics(2, {"reward/mean": 0.5})


def test_full_disk_under_the_trajectories(run: RunDirectory, monkeypatch) -> None:
    import pyarrow.parquet

    def full(*args: object, **kwargs: object) -> None:
        args[1].write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pyarrow.parquet, "write_table", full)
    with pytest.raises(RunError, match=r"step_000001\.parquet: No space left"):
        run.record_trajectories(1, [group(trajectory())], [trajectory().completion.logprobs])
    assert list((run.path / "trajectories").iterdir()) == []


def test_lock_keeps_a_second_writer_out(run: RunDirectory) -> None:
    with pytest.raises(RunError, match="another process is writing"):
        RunDirectory(run.path).__enter__()
    run.__exit__()
    with RunDirectory(run.path) as second:
        assert second.path == run.path


def test_who_only_looks_keeps_nobody_out(tmp_path: Path) -> None:
    """`simplerl status` holds the lock for a moment, in which a run may begin."""
    looking = filelock.FileLock(tmp_path / ".lock", thread_local=False)
    looking.acquire()
    threading.Timer(0.1, looking.release).start()
    with RunDirectory(tmp_path) as run:
        assert run.path == tmp_path


def test_names_are_taken_or_free(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.check(resume=False)
    assert not run.path.exists(), "checking writes nothing"
    with pytest.raises(RunError, match="no run to resume"):
        run.check(resume=True)
    with run:
        run.check(resume=False)  # Nothing but empty directories: nobody has got as far as a run.
        run.write("config.json", {})
        with pytest.raises(RunError, match="--resume"):
            run.check(resume=False)
        run.check(resume=True)


def test_directory_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "precious").write_text("x")
    with pytest.raises(RunError, match="not empty"):
        RunDirectory(tmp_path).check(resume=False)


def test_damaged_json_is_named(run: RunDirectory) -> None:
    (run.path / "environment.json").write_text('{"sessions": [')
    with pytest.raises(RunError, match=r"environment\.json is damaged"):
        run.read("environment.json")
    assert run.read("nothing.json") is None


def test_evaluation_counts_only_with_its_figures(run: RunDirectory) -> None:
    run.record_evaluation(4, [group(trajectory())], {"acc": {"value": float("nan")}})
    assert Run(run.path).figures_at(4) == {"acc": {"value": None}}
    assert json.loads((run.path / "evaluations" / "step_000004.json").read_text())
    with pytest.raises(RunError, match="lacks the evaluation of step 5"):
        Run(run.path).figures_at(5)


# --- judgements -------------------------------------------------------------------------------------------------------


NONE = dict.fromkeys(BEHAVIOURS, ())


def judgement(**given) -> Judgement:
    return Judgement(
        **{
            "step": 5,
            "problem_id": "p",
            "sample": 0,
            "judge": "m",
            "settings": "prompt 1",
            "status": "judged",
            "behaviours": {**NONE, "verification": ("Check: 4",)},
            "key": "k",
            **given,
        }
    )


def test_judgements_come_back(tmp_path: Path) -> None:
    written = [
        judgement(),
        judgement(
            step=None, sample=1, behaviours=NONE, unfounded={"enumeration": ("case 1",)}, flags=("addresses_judge",)
        ),
        judgement(sample=2, status="undecided", behaviours={}, detail="no JSON"),
        judgement(judge="keywords", settings="patterns 1"),
    ]
    with BehaviourDirectory(tmp_path / FOLDER) as directory:
        directory.record(written)
    assert read_behaviours(tmp_path) == read_behaviours(tmp_path / FOLDER) == written
    assert read_behaviours(tmp_path / "nothing") == []


def test_shows() -> None:
    one = judgement(unfounded={"enumeration": ("case 1",), "verification": ("sure",)})
    assert [one.shows(name) for name in BEHAVIOURS] == [False, True, False, None]
    assert judgement(status="undecided", behaviours={}).shows("verification") is None


def test_the_last_line_holds(tmp_path: Path) -> None:
    with BehaviourDirectory(tmp_path) as directory:
        directory.record([judgement(status="undecided", behaviours={}), judgement(sample=1)])
        directory.record([judgement()])
    assert read_behaviours(tmp_path) == [judgement(sample=1), judgement()]


@pytest.mark.parametrize("rest", ["{", '{"step": 5, "problem_id": "p"', '{"key": "k"}'])
def test_half_a_line_is_left_out_and_cut_off(rest: str, tmp_path: Path) -> None:
    with BehaviourDirectory(tmp_path) as directory:
        directory.record([judgement()])
    with (tmp_path / "judgements.jsonl").open("a") as file:
        file.write(rest)
    assert read_behaviours(tmp_path) == [judgement()]
    with BehaviourDirectory(tmp_path) as directory:
        directory.record([judgement(sample=1)])
    assert read_behaviours(tmp_path) == [judgement(), judgement(sample=1)]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "{}",
        '{"step": 1}',
        "[" * 99_999,
        json.dumps({"step": "x", "problem_id": "p"}),
    ],
)
def test_damage_is_named(line: str, tmp_path: Path) -> None:
    with BehaviourDirectory(tmp_path) as directory:
        directory.record([judgement()])
    with (tmp_path / "judgements.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(RunError, match=r"judgements\.jsonl:2"):
        read_behaviours(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"status": "perhaps"},
        {"sample": "0"},
        {"problem_id": 3},
        {"behaviours": {"verification": ["x"]}},
        {"behaviours": {**{name: [] for name in BEHAVIOURS}, "verification": [3]}},
        {"flags": [1]},
        {"more": 1},
    ],
)
def test_foreign_lines_are_refused(change: dict, tmp_path: Path) -> None:
    with BehaviourDirectory(tmp_path) as directory:
        directory.record([judgement()])
    file = tmp_path / "judgements.jsonl"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}) + "\n")
    with pytest.raises(RunError, match="not a judgement of this version"):
        read_behaviours(tmp_path)


def test_text_that_is_no_unicode_is_kept_as_far_as_it_goes(tmp_path: Path) -> None:
    with BehaviourDirectory(tmp_path) as directory:
        directory.record([judgement(detail="a\ud800b")])
    assert read_behaviours(tmp_path)[0].detail == "a?b"


def test_one_process_writes(tmp_path: Path) -> None:
    with (
        BehaviourDirectory(tmp_path),
        pytest.raises(RunError, match="another process is writing"),
        BehaviourDirectory(tmp_path),
    ):
        pass


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / FOLDER).touch()
    with pytest.raises(RunError, match="--output-dir"), BehaviourDirectory(tmp_path / FOLDER):
        pass


def test_a_run_is_judged_while_it_trains_and_resumes_as_ever(tmp_path: Path) -> None:
    run_small(tmp_path / "reference")
    run_small(tmp_path / "run", {"steps": 2})
    with RunDirectory(tmp_path / "run"), BehaviourDirectory(tmp_path / "run" / FOLDER) as directory:
        directory.record([judgement(step=1), judgement(step=3)])
    with RunDirectory(tmp_path / "run") as run:
        run.rewind(1)
    run_small(tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", fingerprint(tmp_path / "reference"))
    assert len(read_behaviours(tmp_path / "run")) == 2
    with pytest.raises(RunError, match="already holds a run"):
        RunDirectory(tmp_path / "run").check(resume=False)


def test_a_directory_that_no_tokenizer_can_be_saved_in_is_refused_at_once(tmp_path: Path) -> None:
    """Not at the first checkpoint, after all the steps before it."""
    with pytest.raises(RunError, match=r"is not UTF-8, and a tokenizer cannot be saved there; choose another"):
        RunDirectory(tmp_path / os.fsdecode(b"runs\xff") / "run").check(resume=False)


def test_a_folder_of_judgements_alone_is_not_an_empty_run(tmp_path: Path) -> None:
    with BehaviourDirectory(tmp_path / FOLDER) as directory:
        directory.record([judgement()])
    with pytest.raises(RunError, match="not empty"):
        RunDirectory(tmp_path).check(resume=False)
