"""Checkpoints that are written while training goes on: the same checkpoints, complete or not there, never lost in
silence."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from support import SMALL, Silent, arguments, assert_same_run, deep, environment, fingerprint, run_small, small_config

from simplerl.core.errors import RunError
from simplerl.runs import directory
from simplerl.train.loop import train

OVER: dict[str, Any] = {"checkpoint": {"asynchronous": True}}
#: PPO with a buffer: the most that a checkpoint holds.
MUCH = {
    "algorithm": {"name": "ppo", "kl_reward_coef": 0.2, "kl_target": 1e-4, "kl_horizon": 20, "critic_lr": 1e-3},
    "buffer": {"name": "rorecomp", "alpha": 0.6, "capacity": 3, "fade_steps": 90},
    "sampling": {"prompts_per_step": 4, "samples_per_prompt": 2, "max_new_tokens": 32, "temperature": 1.2},
    "dataset": {"levels": [1, 5], "size": 40},
}
#: Holds the writing of step 2's checkpoint until step 3 has its line, then ends the process in the middle of it.
KILLED = """
import os, signal, sys, time
from pathlib import Path
from simplerl.cli import main
from simplerl.runs import directory

write, run = directory.write_directory, Path(sys.argv[sys.argv.index("--output-dir") + 1])

def slowly(path, fill):
    def half(temporary):
        if path.name == "step_000002":
            while '"step": 3' not in (run / "metrics.jsonl").read_text():
                time.sleep(0.01)
            fill(temporary)
            os.kill(os.getpid(), signal.SIGKILL)
        fill(temporary)
    write(path, half)

directory.write_directory = slowly
main(sys.argv[1:])
"""


class Steps(Silent):
    """Notes which steps are recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = {step: threading.Event() for step in range(9)}

    def on_step(self, step: int, metrics: Any, groups: Any) -> None:
        self.reached[step].set()


@pytest.mark.parametrize("over", [{}, MUCH])
def test_steps_are_taken_while_a_checkpoint_of_what_was_is_written(
    over: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The writer of step 1 begins when step 2 is trained: with what is shared in place of copied, it would differ."""
    over = deep(over, {"checkpoint": {"keep": 0}})
    run_small(tmp_path / "in turn", over)
    write, steps, seen = directory.write_directory, Steps(), []

    def slowly(path: Path, fill: Any) -> None:
        following = int(path.name.removeprefix("step_")) + 1
        seen.append(following > 3 or steps.reached[following].wait(60))
        write(path, fill)

    monkeypatch.setattr(directory, "write_directory", slowly)
    train(small_config(deep(over, OVER)), tmp_path / "run", callbacks=[steps])
    assert seen == [True] * 3
    for name in ("step_000001", "step_000002", "step_000003"):
        one, other = (tmp_path / run / "checkpoints" / name / "manifest.json" for run in ("in turn", "run"))
        assert one.read_text() == other.read_text(), name
    assert_same_run(tmp_path / "run", fingerprint(tmp_path / "in turn"))


def test_a_run_that_is_killed_in_the_middle_of_writing_is_resumed_bit_for_bit(tmp_path: Path) -> None:
    over = {"steps": 5, "algorithm": {"kl_coef": 0.1}}
    run_small(tmp_path / "straight", over)
    line = [*arguments(deep(SMALL, deep(over, OVER))), "--output-dir", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, "train", "cub", *line],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert sorted(os.listdir(tmp_path / "run" / "checkpoints")) == [".step_000002.partial", "step_000001"]
    assert '"step": 3' in (tmp_path / "run" / "metrics.jsonl").read_text()
    outcome, listener = run_small(tmp_path / "run", deep(over, OVER), resume=True)
    assert outcome.finished
    assert any("after step 1" in line for line in listener.lines)
    assert_same_run(tmp_path / "run", fingerprint(tmp_path / "straight"))


@pytest.mark.parametrize("failing", [1, 3])
def test_a_disk_that_fails_ends_the_run_with_its_message(
    failing: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """At the next step, or at the end of the run where there is none."""
    run_small(tmp_path / "straight", {"steps": 3})
    write, save = directory.write_directory, {"path": tmp_path / "run"}

    def fails(path: Path, fill: Any) -> None:
        def full(temporary: Path) -> None:
            fill(temporary)
            raise OSError(28, "No space left on device")

        write(path, full if path.name == f"step_00000{failing}" else fill)

    monkeypatch.setattr(directory, "write_directory", fails)
    with pytest.raises(RunError, match=r"step_00000\d: No space left on device"):
        run_small(**save, over=OVER)
    monkeypatch.undo()
    assert not (tmp_path / "run" / "summary.json").exists()
    assert len(os.listdir(tmp_path / "run" / "checkpoints")) == min(failing - 1, 2)
    run_small(**save, over=OVER, resume=True)
    assert_same_run(tmp_path / "run", fingerprint(tmp_path / "straight"))


def test_what_else_ends_a_run_is_not_hidden(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The checkpoint under way is written first; where it fails too, both are said."""
    write = directory.write_directory

    class Ends(Steps):
        def on_step(self, step: int, metrics: Any, groups: Any) -> None:
            super().on_step(step, metrics, groups)
            if step == 2:
                raise KeyboardInterrupt

    for full in (False, True):
        listener, path = Ends(), tmp_path / str(full)

        def later(target: Path, fill: Any, listener: Steps = listener, full: bool = full) -> None:
            listener.reached[2].wait(60)
            if full:
                raise RunError("cannot write, no space")
            write(target, fill)

        monkeypatch.setattr(directory, "write_directory", later)
        with pytest.raises(KeyboardInterrupt):
            train(small_config(OVER), path, callbacks=[listener])
        assert (path / "checkpoints" / "step_000001").exists() != full
        assert any("WARNING: cannot write, no space" in line for line in listener.lines) == full
