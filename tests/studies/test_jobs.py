"""Which runs an experiment needs, with which commands, and what of them is there already.

Children side by side: how many at a time, what a failure does, and what an interruption does.
"""

import json
import os
import re
import signal
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from support import SMALL, deep, run_small, small_config

from simplerl.analysis.compare import summarise
from simplerl.analysis.estimates import Measure
from simplerl.config.resolve import as_table, merge, parse_overrides, resolve
from simplerl.core.errors import ConfigError, RunError
from simplerl.runs.directory import RunDirectory
from simplerl.studies.experiment import Experiment, Variant
from simplerl.studies.jobs import Job, arguments, execute, plan, state_of

ACCURACY = Measure(label="accuracy", where="final", path=("accuracy", "value"))


def experiment(*variants: Variant, **more) -> Experiment:
    texts = dict.fromkeys(("name", "question", "claim", "figures", "source", "remarks"), "x")
    return Experiment(**texts, variants=variants, measures=(ACCURACY,), panels=(), **{"overrides": SMALL, **more})


def test_jobs_go_through_the_variants_seed_by_seed(tmp_path: Path) -> None:
    """So that an experiment which is ended early has whole seeds."""
    jobs = plan(experiment(Variant(label="a"), Variant(label="b, c")), seeds=2, directory=tmp_path)
    assert [job.name for job in jobs] == ["a, seed 0", "b, c, seed 0", "a, seed 1", "b, c, seed 1"]
    assert [job.path.name for job in jobs] == ["a_seed0", "b-c_seed0", "a_seed1", "b-c_seed1"]
    assert {job.state for job in jobs} == {"new"}
    assert not list(tmp_path.iterdir()), "planning writes nothing"


def test_the_childs_command_line_says_what_the_variant_says(tmp_path: Path) -> None:
    over = {
        "dataset": {"levels": [4, 5]},
        "evaluation": {"data": "arithmetic", "further_temperatures": [0.6, 1.2]},
        "reward": {"name": "simplerl-v0", "wrong": 0.0},
        "shuffle_rewards": True,
    }
    (job,) = plan(experiment(Variant(label="a", overrides=over)), seeds=1, directory=tmp_path)
    words = list(job.command)
    assert words[1:5] == ["-m", "simplerl", "train", "cub"]
    found = resolve("cub", parse_overrides(words[5:]))
    wanted = resolve("cub", merge(deep(SMALL, over), {"seed": 0, "output_dir": str(job.path)}))
    assert found == wanted
    assert found.dataset.levels == (4, 5)
    assert "--resume" not in words


def test_a_whole_configuration_survives_the_command_line() -> None:
    config = small_config({"dataset": {"levels": []}, "sampling": {"stop": ["Question:", "a, b"]}})
    assert resolve("cub", parse_overrides(arguments(as_table(config)))) == config


def test_an_unknown_algorithm_is_refused(tmp_path: Path) -> None:
    other = Variant(label="other", overrides={"algorithm": {"name": "gripo"}})
    with pytest.raises(ConfigError, match=r"'gripo'.*'grpo'"):
        plan(experiment(Variant(label="a"), other), seeds=1, directory=tmp_path)


def test_settings_that_do_not_work_are_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.lr"):
        plan(experiment(Variant(label="a", overrides={"optimizer": {"lr": -1}})), seeds=1, directory=tmp_path)


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    path = tmp_path / "runs" / "a_seed0"
    run_small(path)
    (path / "summary.json").write_text(json.dumps(summarise(path, seconds=1.0)))
    return path


def test_states(finished: Path, tmp_path: Path) -> None:
    assert state_of(tmp_path / "nowhere", small_config()) == "new"
    assert state_of(finished, small_config()) == "done"
    assert state_of(finished, small_config({"output_dir": "elsewhere", "checkpoint": {"every": 7}})) == "done"
    (finished / "summary.json").write_text("{")
    assert state_of(finished, small_config()) == "half"
    (job,) = plan(experiment(Variant(label="a")), seeds=1, directory=tmp_path)
    assert job.state == "half"
    assert job.command[-1] == "--resume"


def test_a_summary_of_fewer_steps_is_not_the_end(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    (finished / "summary.json").write_text(json.dumps({**summary, "steps": 2}))
    assert state_of(finished, small_config()) == "half"


def test_a_run_that_used_up_its_budget_is_done(tmp_path: Path) -> None:
    over = {"steps": 50, "token_budget": 60}
    run_small(tmp_path / "run", over)
    (tmp_path / "run" / "summary.json").write_text(json.dumps(summarise(tmp_path / "run", seconds=1.0)))
    assert state_of(tmp_path / "run", small_config(over)) == "done"


def test_a_run_of_other_settings_is_refused(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"optimizer\.lr was 0\.001, now 0\.002.*another --output-dir"):
        plan(experiment(Variant(label="a", overrides={"optimizer": {"lr": 2e-3}})), seeds=1, directory=tmp_path)


def test_a_run_from_before_a_key_existed_is_still_the_same_run(finished: Path) -> None:
    table = json.loads((finished / "config.json").read_text())
    del table["token_budget"]
    (finished / "config.json").write_text(json.dumps(table))
    assert state_of(finished, small_config()) == "done"


def test_fine_tuning_comes_first_and_is_what_the_run_begins_from(tmp_path: Path) -> None:
    before = {"sft": {"data": "arithmetic-short", "steps": 7}}
    variants = Variant(label="0"), Variant(label="7", before=before)
    plain, first, job = plan(experiment(*variants), seeds=1, directory=tmp_path)
    assert (plain.after, first.after, job.after) == ("", "", "7 (SFT), seed 0")
    assert first.name == job.after
    assert first.command[3] == "sft"
    imitating = resolve("cub", parse_overrides(first.command[5:]))
    assert (imitating.sft.data, imitating.sft.steps) == ("arithmetic-short", 7)
    assert imitating.model == "cub-qwen"
    training = resolve("cub", parse_overrides(job.command[5:]))
    assert training.model == str(first.path.resolve())
    assert training.sft.data == ""
    assert training.steps == SMALL["steps"]


def test_only_runs_that_speak_of_the_directory_wait_for_what_is_prepared(tmp_path: Path) -> None:
    prepare = [{"name": name, "command": ["sft", f"{{directory}}/{name}"], "done": f"{name}.json"} for name in "pq"]
    speaks = Variant(label="b", overrides={"model": "{directory}/q"})
    jobs = plan(experiment(Variant(label="a"), speaks, prepare=prepare), seeds=1, directory=tmp_path)
    assert [job.after for job in jobs] == ["", "p, seed 0", "", "q, seed 0"]
    assert jobs[1].command[3:] == ("sft", f"{tmp_path.resolve()}/q")
    assert resolve("cub", parse_overrides(jobs[3].command[5:])).model == f"{tmp_path.resolve()}/q"
    (tmp_path / "q.json").touch()
    jobs = plan(experiment(Variant(label="a"), speaks, prepare=prepare), seeds=1, directory=tmp_path)
    assert [job.after for job in jobs] == ["", "p, seed 0", "", "p, seed 0"], "the last one that is not done"


def test_fine_tuning_is_not_needed_where_the_run_is_done(finished: Path, tmp_path: Path) -> None:
    table = json.loads((finished / "config.json").read_text())
    model = (tmp_path / "runs" / "a-SFT_seed0").resolve()
    (finished / "config.json").write_text(json.dumps({**table, "model": str(model)}))
    variant = Variant(label="a", before={"sft": {"data": "arithmetic-short"}})
    jobs = plan(experiment(variant), seeds=1, directory=tmp_path)
    assert [(job.name, job.state) for job in jobs] == [("a, seed 0", "done")]


def job(
    directory: Path,
    label: str,
    code: str,
    *,
    state: str = "new",
    after: str = "",
) -> Job:
    return Job(
        label=label,
        seed=0,
        path=directory / label,
        log=directory / "logs" / f"{label}.log",
        command=(sys.executable, "-c", textwrap.dedent(code)),
        state=state,
        after=after,
    )


class Watching:
    def __init__(self) -> None:
        self.most, self.counts, self.results = 0, [], {}

    def say(self, message: str) -> None:
        label, how = re.fullmatch(r"\[\d/\d\] (\w+), seed 0: (.*)", message).groups()
        self.results[label] = "" if how.startswith("done in") else how

    def move(self, completed: int, note: str) -> None:
        self.counts.append(completed)
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
    failed = execute(jobs, parallel=1, say=watch.say, move=watch.move)
    assert list(failed) == ["bad, seed 0", "silent, seed 0", "killed, seed 0"]
    assert failed["bad, seed 0"] == f"exit code 2: error: no such model (log: {tmp_path / 'logs' / 'bad.log'})"
    assert failed["silent, seed 0"].startswith("exit code 3: it said nothing")
    assert failed["killed, seed 0"].startswith("killed by SIGKILL")
    assert watch.results["good"] == ""
    assert (tmp_path / "logs" / "good.log").read_text() == "fine\n"
    assert watch.counts[-1] == 4


def test_what_an_earlier_session_said_is_not_why_this_one_ended(tmp_path: Path) -> None:
    said = "import sys; print('error: no such model', file=sys.stderr); sys.exit(2)"
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    first, second = (
        execute([job(tmp_path, "a", code)], parallel=1, say=print, move=lambda *_: None)["a, seed 0"]
        for code in (said, killed)
    )
    assert "error: no such model" in first
    assert second.startswith("killed by SIGKILL: it said nothing")
    assert "no such model" in (tmp_path / "logs" / "a.log").read_text()


def test_only_so_many_at_a_time_with_one_thread_each(tmp_path: Path) -> None:
    code = "import os, time; time.sleep(0.3); print(os.environ['OMP_NUM_THREADS'])"
    jobs = [job(tmp_path, str(i), code) for i in range(4)]
    watch = Watching()
    assert execute(jobs, parallel=2, say=watch.say, move=watch.move) == {}
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
    failed = execute(jobs, parallel=3, say=watch.say, move=watch.move)
    assert watch.results["second"] == ""
    assert list(watch.results).index("other") < list(watch.results).index("second")
    assert list(failed) == ["bad, seed 0", "orphan, seed 0"]
    assert failed["orphan, seed 0"] == "not run, because it begins from bad, seed 0"
    assert not (tmp_path / "ran").exists()


def test_what_is_done_is_not_run_again(tmp_path: Path) -> None:
    done = job(tmp_path, "done", f"open({str(tmp_path / 'touched')!r}, 'w')", state="done")
    watch = Watching()
    assert execute([done, job(tmp_path, "new", "")], parallel=2, say=watch.say, move=watch.move) == {}
    assert not (tmp_path / "touched").exists()
    assert list(watch.results) == ["new"]
    assert watch.counts[0] == 1


def test_a_run_that_somebody_is_writing_to_is_left_to_them(tmp_path: Path) -> None:
    """As after a SIGKILL, which leaves the runs going: to call them failed would be wrong a moment later."""
    jobs = [job(tmp_path, name, f"open({str(tmp_path / 'touched')!r}, 'w')") for name in ("free", "busy")]
    (tmp_path / "free").mkdir()
    watch = Watching()
    with RunDirectory(tmp_path / "busy"), pytest.raises(RunError, match=r"writing to .*/busy\. .* again$"):
        execute(jobs, parallel=2, say=watch.say, move=watch.move)
    assert not (tmp_path / "touched").exists()
    assert watch.counts == []
    assert execute(jobs, parallel=2, say=watch.say, move=watch.move) == {}


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

    def interrupt() -> None:
        end = time.monotonic() + 60
        while not (tmp_path / "ready").exists() and time.monotonic() < end:
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    jobs = [job(tmp_path, "a", child), job(tmp_path, "b", "")]
    sender = threading.Thread(target=interrupt)
    sender.start()
    with pytest.raises(KeyboardInterrupt):
        execute(jobs, parallel=1, say=print, move=lambda *_: None)
    sender.join()
    assert not (tmp_path / "logs" / "b.log").exists()
    assert (tmp_path / "saved").read_text() == "1"
