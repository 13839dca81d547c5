"""Children side by side: how many at a time, what a failure does, and what an interruption does."""

import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from support import environment

from simplerl.core.errors import RunError
from simplerl.runs.directory import RunDirectory
from simplerl.studies.execute import execute, share_done
from simplerl.studies.plan import Job


def job(
    directory: Path,
    label: str,
    code: str,
    *,
    state: str = "new",
    steps: int = 4,
    token_budget: int = 0,
    after: str = "",
) -> Job:
    return Job(
        label=label,
        seed=0,
        path=directory / label,
        log=directory / "logs" / f"{label}.log",
        command=(sys.executable, "-c", textwrap.dedent(code)),
        state=state,
        steps=steps,
        token_budget=token_budget,
        after=after,
    )


class Watching:
    def __init__(self) -> None:
        self.most, self.shares, self.results = 0, [], {}

    def say(self, message: str) -> None:
        label, how = re.fullmatch(r"\[\d/\d\] (\w+), seed 0: (.*)", message).groups()
        self.results[label] = "" if how.startswith("done in") else how

    def move(self, completed: float, note: str) -> None:
        self.shares.append(completed)
        self.most = max(self.most, note.count("seed 0"))


def test_a_child_that_fails_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    said = "import sys; print('chatter'); print('error: no such model', file=sys.stderr); sys.exit(2)"
    jobs = [
        job(tmp_path, "bad", said),
        job(tmp_path, "silent", "import sys; sys.exit(3)"),
        job(tmp_path, "killed", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"),
        job(tmp_path, "good", "print('fine')"),
    ]
    watch = Watching()
    failed = execute(jobs, parallel=1, watch=watch)
    assert list(failed) == ["bad, seed 0", "silent, seed 0", "killed, seed 0"]
    assert failed["bad, seed 0"] == f"exit code 2: error: no such model (log: {tmp_path / 'logs' / 'bad.log'})"
    assert failed["silent, seed 0"].startswith("exit code 3: it said nothing")
    assert failed["killed, seed 0"].startswith("killed by SIGKILL")
    assert watch.results["good"] == ""
    assert (tmp_path / "logs" / "good.log").read_text() == "fine\n"
    assert watch.shares[-1] == 4


def test_only_so_many_at_a_time_with_one_thread_each(tmp_path: Path) -> None:
    code = "import os, time; time.sleep(0.3); print(os.environ['OMP_NUM_THREADS'])"
    jobs = [job(tmp_path, str(i), code) for i in range(4)]
    watch = Watching()
    assert execute(jobs, parallel=2, watch=watch) == {}
    assert watch.most == 2
    assert {(tmp_path / "logs" / f"{i}.log").read_text() for i in range(4)} == {"1\n"}


def test_a_run_waits_for_the_one_that_it_begins_from(tmp_path: Path) -> None:
    made = str(tmp_path / "model")
    jobs = [
        job(tmp_path, "first", f"import time; time.sleep(0.5); open({made!r}, 'w')"),
        job(tmp_path, "second", f"open({made!r})", after="first, seed 0"),
        job(tmp_path, "other", ""),
        job(tmp_path, "bad", "import sys; sys.exit(1)"),
        job(tmp_path, "orphan", f"open({str(tmp_path / 'ran')!r}, 'w')", after="bad, seed 0"),
    ]
    watch = Watching()
    failed = execute(jobs, parallel=3, watch=watch)
    assert watch.results["second"] == ""
    assert list(watch.results).index("other") < list(watch.results).index("second")
    assert list(failed) == ["bad, seed 0", "orphan, seed 0"]
    assert failed["orphan, seed 0"] == "not run, because it begins from bad, seed 0"
    assert not (tmp_path / "ran").exists()


def test_what_is_done_is_not_run_again(tmp_path: Path) -> None:
    done = job(tmp_path, "done", f"open({str(tmp_path / 'touched')!r}, 'w')", state="done")
    watch = Watching()
    assert execute([done, job(tmp_path, "new", "")], parallel=2, watch=watch) == {}
    assert not (tmp_path / "touched").exists()
    assert list(watch.results) == ["new"]
    assert watch.shares[0] == 1


def test_a_run_that_somebody_is_writing_to_is_left_to_them(tmp_path: Path) -> None:
    """As after a SIGKILL, which leaves the runs going: to call them failed would be wrong a moment later."""
    jobs = [job(tmp_path, name, f"open({str(tmp_path / 'touched')!r}, 'w')") for name in ("free", "busy")]
    (tmp_path / "free").mkdir()
    watch = Watching()
    with RunDirectory(tmp_path / "busy"), pytest.raises(RunError, match=r"writing to .*/busy\. .* again$"):
        execute(jobs, parallel=2, watch=watch)
    assert not (tmp_path / "touched").exists()
    assert watch.shares == []
    assert execute(jobs, parallel=2, watch=watch) == {}


def test_shares_of_runs_under_way(tmp_path: Path) -> None:
    def wrote(label: str, tokens: list[int], **more: int) -> float:
        (tmp_path / label).mkdir()
        lines = ['{"step": 0}\n', *(f'{{"step": {i}, "tokens/sampled": {n}}}\n' for i, n in enumerate(tokens, 1))]
        (tmp_path / label / "metrics.jsonl").write_text("".join(lines) + '{"step": 9, "tok')
        return share_done(job(tmp_path, label, "", **more))

    assert share_done(job(tmp_path, "nothing", "")) == 0.0
    assert wrote("steps", [10], steps=4) == 0.25
    assert wrote("tokens", [10, 20], steps=100, token_budget=40) == 0.75
    assert wrote("both", [10, 20], steps=2, token_budget=1000) == 1.0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "kill"])
def test_an_interruption_reaches_the_children_once_and_waits_for_them(number: signal.Signals, tmp_path: Path) -> None:
    """As train does: the first signal asks to save, which takes a moment; a second would stop it at once."""
    child = f"""
        import pathlib, signal, time
        place = pathlib.Path({str(tmp_path)!r})
        seen = []
        signal.signal(signal.SIGINT, lambda *_: seen.append(1))
        (place / "ready").touch()
        end = time.monotonic() + 60
        while not seen and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.5)
        (place / "saved").write_text(str(len(seen)))
    """
    parent = f"""
        import pathlib, sys, types
        sys.modules["support"] = types.SimpleNamespace(environment=None)  # It imports PyTorch.
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_execute import Watching, job
        from simplerl.studies.execute import execute
        place = pathlib.Path({str(tmp_path)!r})
        try:
            execute([job(place, "a", {child!r}), job(place, "b", "")], parallel=1, watch=Watching())
        except KeyboardInterrupt:
            print("saved" if (place / "saved").exists() else "lost", (place / "logs" / "b.log").exists())
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(parent)],
        env={**environment(), "PYTHONPATH": f"{environment()['PYTHONPATH']}:{Path(__file__).parent.parent}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 60
    while not (tmp_path / "ready").exists() and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(number)
    try:
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert output == "saved False\n"
    assert (tmp_path / "saved").read_text() == "1"
