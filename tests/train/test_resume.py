"""A run that is killed at any moment and resumed ends as one that was never interrupted, bit for bit."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from support import (
    SMALL,
    Crash,
    arguments,
    assert_same_run,
    command,
    crash_before_write,
    deep,
    environment,
    fingerprint,
    kills_before,
    resumes_exactly,
    run_command,
    run_main,
    run_small,
)

from simplerl.algorithms import ALGORITHMS
from simplerl.core.errors import RunError
from simplerl.feed import BUFFERS, TRANSFORMS
from simplerl.models import cub

#: Settings under which a resume has more to restore than weights and moments.
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "kl-entropy-minibatches": {
        "learner": {"prompts_per_update": 1},
        "algorithm": {"kl_coef": 0.5, "entropy_coef": 0.01},
        "optimizer": {"schedule": "cosine", "warmup_steps": 2},
    },
    "episodes": {
        "environment": {"name": "guided-retry", "hint": " No. Again:"},
        "sampling": {"max_new_tokens": 48, "temperature": 1.2},
    },
    "nucleus-of-an-older-policy": {"sampling": {"top_p": 0.8, "mask_steps": 3, "temperature": 1.2}},
    "shuffled-rewards": {"shuffle_rewards": True, "sampling": {"temperature": 1.2}},
}


#: The least of what the variants show, and responses of which some are truncated.
SHORT = {
    "steps": 2,
    "evaluation": {"every": 0, "size": 1, "samples": 1},
    "sampling": {"max_new_tokens": 14, "temperature": 1.4},
}
#: Every registered algorithm as it comes, on a temperature and in mini-batches.
BY_ALGORITHM = {
    name: {"algorithm": {"name": name}, "learner": {"prompts_per_update": 1}, "sampling": {"temperature": 1.2}}
    for name in ALGORITHMS
} | {
    "distill": {"algorithm": {"name": "distill", "teacher_temperature": 0.5}, "learner": {"prompts_per_update": 1}},
    "entropic-with-much-integral": {
        "algorithm": {"name": "entropic", "integral_rate": 2.0, "entropy_target": 0.4},
        "learner": {"prompts_per_update": 1},
    },
    "adaptive-kl": {
        "algorithm": {"name": "reinforce_pp", "kl_reward_coef": 0.2, "kl_target": 1e-4, "kl_horizon": 20},
        "learner": {"prompts_per_update": 1},
    },
    "adaptive-ppo": {
        "algorithm": {"name": "ppo", "kl_reward_coef": 0.2, "kl_target": 1e-4, "kl_horizon": 20, "critic_lr": 1e-3},
        "learner": {"prompts_per_update": 1},
        "optimizer": {"schedule": "cosine", "warmup_steps": 2},
    },
}


#: Easy problems and hard ones, few samples of each: some are solved by none.
HARD = {
    "dataset": {"levels": [1, 5], "size": 40},
    "sampling": {"prompts_per_step": 4, "samples_per_prompt": 2, "max_new_tokens": 32, "temperature": 1.2},
    "evaluation": {"every": 0, "size": 1, "samples": 1},
}
#: Every buffer and transform: its settings, and a metric that says that it acted.
BY_FEED: dict[str, tuple[dict[str, Any], str]] = {
    "rorecomp": ({"buffer": {"name": "rorecomp", "alpha": 0.6, "capacity": 3, "fade_steps": 90}}, "buffer/taken"),
    "relift": ({"buffer": {"name": "relift", "rows": 1, "lr": 1e-3}}, "buffer/taken"),
    "relift-same-update": ({"buffer": {"name": "relift", "rows": 1, "same_update": True}}, "buffer/taken"),
    "rest-rl": ({"transform": {"name": "rest-rl", "separator": "."}}, "groups/prefixed"),
    "sparkle": ({"transform": {"name": "sparkle", "separator": "."}, "dataset": {"size": 4}}, "groups/prefixed"),
    "snapshot": ({"transform": {"name": "snapshot", "separator": ".", "fade": 1.0}}, "groups/prefixed"),
}


#: The line of metrics of the last of three steps; step 0 has one too.
LAST_LINE = r"open /metrics\.jsonl 4$"
#: Policy, critic, both optimizers and the coefficient are one checkpoint: complete, or the one before it counts.
IN_CHECKPOINT = r"step_000002.*manifest\.json|os\.rename .*step_000002"


def go_on(path: Path, over: dict[str, Any]) -> None:
    """Do what a person does after a crash: resume, or start again where nothing had been written yet."""
    outcome, _ = run_small(path, over, resume=(path / "config.json").exists())
    assert outcome.finished


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Fingerprints of uninterrupted runs, by variant, their directories (`path`), and what kills leave (`killed`).

    Killed once in each step: just before its line of metrics, and just before its checkpoint gets its name.
    """
    found = {}
    for name, over in VARIANTS.items():
        path = tmp_path_factory.mktemp("reference") / "run"
        every = r"/metrics\.jsonl|os\.rename /checkpoints/"
        with kills_before(path, every if name == "plain" else r"os\.rename /checkpoints/.*step_000003") as killed:
            run_small(path, over)
        found[name] = {**fingerprint(path), "path": path, "killed": killed}
    return found


@pytest.fixture
def finished(references: dict[str, dict[str, Any]], tmp_path: Path) -> Path:
    """A copy of the plain run."""
    return shutil.copytree(references["plain"]["path"], tmp_path / "run")


def test_the_reference_learns_something(references: dict[str, dict[str, Any]]) -> None:
    for name, reference in references.items():
        assert sum(line.get("optimizer/updates", 0) for line in reference["metrics"]) >= 2, name


@pytest.mark.parametrize("variant", VARIANTS)
def test_same_command_gives_the_same_run(variant: str, references, tmp_path: Path) -> None:
    run_small(tmp_path / "run", VARIANTS[variant])
    assert_same_run(tmp_path / "run", references[variant])


@pytest.mark.parametrize("variant", VARIANTS)
def test_crash_between_steps_of_the_loop(variant: str, references) -> None:
    killed = references[variant]["killed"]
    assert len(killed) >= (7 if variant == "plain" else 1)
    if variant == "plain":
        assert (killed[0] / "evaluations" / "step_000000.json").exists(), "between the first evaluation and its line"
        assert not (killed[0] / "metrics.jsonl").exists()
    for path in killed:
        go_on(path, VARIANTS[variant])
        assert_same_run(path, references[variant])


def writes_of(path: Path, over: dict[str, Any]) -> list[str]:
    """Return every change of a file that a run makes."""
    with crash_before_write(path, 10**9) as seen:
        run_small(path, over)
    return list(seen)


@pytest.mark.slow
def test_crash_before_every_single_write(references, tmp_path: Path) -> None:
    for point in range(len(writes_of(tmp_path / "complete", {}))):
        path = tmp_path / "run"
        with pytest.raises(Crash), crash_before_write(path, point):
            run_small(path)
        go_on(path, {})
        assert_same_run(path, references["plain"])
        shutil.rmtree(path)


@pytest.mark.parametrize("name", BY_ALGORITHM)
def test_every_algorithm_resumes_exactly(name: str, tmp_path: Path, cub) -> None:
    """Whatever an algorithm carries from step to step is in the checkpoint: killed in the last step, it ends the same.

    What is recorded of a truncated response is what was sampled, with no end that the policy did not write.
    """
    whole = name == "adaptive-ppo"
    moments = f"{LAST_LINE}|{IN_CHECKPOINT}" if whole else r"open /metrics\.jsonl 3$"
    wanted = resumes_exactly(tmp_path / "run", deep(BY_ALGORITHM[name], deep(SHORT, {"steps": 2 + whole})), moments)
    assert sum(line.get("optimizer/updates", 0) for line in wanted["metrics"]) >= 2
    rows = [row for file, rows in wanted["records"].items() if file.startswith("step_") for row in rows]
    truncated = [row for row in rows if row["stop_reason"] == "length"]
    assert truncated
    for row in truncated:
        assert len(row["token_ids"]) == len(row["loss_mask"]) == SHORT["sampling"]["max_new_tokens"]
        assert not set(row["token_ids"]) & cub().stop_ids
    if "adaptive" in name:
        assert wanted["state"]["kl_scale"] != 1.0
    assert bool(wanted["critic"]) == ALGORITHMS[BY_ALGORITHM[name]["algorithm"]["name"]].needs_critic


def test_every_buffer_and_transform_is_among_them() -> None:
    assert {*BUFFERS, *TRANSFORMS} - {"none"} <= BY_FEED.keys()


@pytest.mark.parametrize("name", BY_FEED)
def test_every_buffer_and_transform_resumes_exactly(name: str, tmp_path: Path) -> None:
    """Killed before the last line of metrics, and before the checkpoint of step 2 has its name: it ends the same."""
    over, acted = BY_FEED[name]
    wanted = resumes_exactly(tmp_path / "run", deep(HARD, over), f"{LAST_LINE}|os.rename /checkpoints/.*step_000002")
    assert sum(line.get(acted, 0) for line in wanted["metrics"][2:]) > 0
    assert sum(line.get("optimizer/updates", 0) for line in wanted["metrics"]) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rorecomp", "relift"])
def test_a_buffer_survives_a_crash_before_every_single_write(name: str, tmp_path: Path) -> None:
    over = deep(HARD, BY_FEED[name][0])
    writes = writes_of(tmp_path / "whole", over)
    wanted = fingerprint(tmp_path / "whole")
    assert wanted["buffer"]
    for point in range(len(writes)):
        path = tmp_path / "run"
        with pytest.raises(Crash), crash_before_write(path, point):
            run_small(path, over)
        go_on(path, over)
        assert_same_run(path, wanted)
        shutil.rmtree(path)


def test_a_buffer_resumed_under_another_method_is_refused(tmp_path: Path, capsys) -> None:
    """By its name in the configuration, and by the name in the file where somebody has edited that."""
    path, over = tmp_path / "run", deep(HARD, BY_FEED["rorecomp"][0])
    run_small(path, deep(over, {"steps": 1}))
    code, _, error = run_main(capsys, "train", "--output-dir", str(path), "--resume", "--buffer.name", "relift")
    assert code == 2
    assert "buffer.name was 'rorecomp', now 'relift'" in error
    table = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**table, "buffer": {"name": "none"}, "steps": 2}))
    code, _, error = run_main(capsys, "train", "--output-dir", str(path), "--resume")
    assert code == 2
    assert "holds the rows of the buffer 'rorecomp', and this run has buffer.name = 'none'" in error


def test_crash_before_anything_is_written_leaves_the_name_free(references, tmp_path: Path) -> None:
    """In the first moments there is no run yet: the same command, without --resume, starts it."""
    path = tmp_path / "run"
    for point in range(5):
        with pytest.raises(Crash), crash_before_write(path, point):
            run_small(path)
    go_on(path, {})
    assert_same_run(path, references["plain"])


def test_half_a_line_of_metrics_is_forgotten(references, tmp_path: Path) -> None:
    path = tmp_path / "run"
    run_small(path, {"steps": 2})
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "reward/mean": 0.2')
    go_on(path, {})
    # Two runs of which one was extended differ in when they evaluated; the weights may not.
    assert fingerprint(path)["weights"] == references["plain"]["weights"]
    assert [line["step"] for line in fingerprint(path)["metrics"]] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "broken", ["model.safetensors", "trainer/optimizer.safetensors", "trainer/state.json", "manifest.json"]
)
def test_damaged_checkpoint_falls_back_to_the_one_before(broken: str, references, finished: Path) -> None:
    file = finished / "checkpoints" / "step_000003" / broken
    file.write_bytes(file.read_bytes()[:-20])
    outcome, listener = run_small(finished, resume=True)
    assert outcome.finished
    assert any("step_000003 is damaged" in line and broken in line for line in listener.lines)
    assert any("after step 2" in line for line in listener.lines)
    assert_same_run(finished, references["plain"])


def test_all_checkpoints_damaged_loses_nothing_more(finished: Path) -> None:
    """Nothing to go on from: the record stays as it is, and the message says what is left to do."""
    for file in (finished / "checkpoints").glob("*/model.safetensors"):
        file.unlink()
    before = {file: file.read_bytes() for file in finished.rglob("*") if file.is_file()}
    with pytest.raises(RunError, match="every checkpoint is damaged"):
        run_small(finished, resume=True)
    assert {file: file.read_bytes() for file in finished.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize("changed", ["weights", "template"])
def test_resuming_with_other_inputs_is_refused(changed: str, tmp_path: Path) -> None:
    """The same names, other content: a model directory that was written over, a template file that was edited."""
    model = Path(shutil.copytree(cub.path("cub-qwen"), tmp_path / "model"))
    template = tmp_path / "template.txt"
    template.write_text("Question: {input}\nAnswer:")
    over = {"model": str(model), "template": str(template)}
    run_small(tmp_path / "run", {**over, "steps": 1})
    if changed == "weights":
        shutil.copy(cub.path("cub-llama") / "model.safetensors", model)
    else:
        template.write_text("Q: {input}\nA:")
    with pytest.raises(RunError, match=r"model has changed" if changed == "weights" else r"template has changed"):
        run_small(tmp_path / "run", {**over, "steps": 2}, resume=True)


# -- real processes ------------------------------------------------------------------------------------------------

#: Steps of 0.1 to 0.2 s, so that a random moment falls into every part of them.
KILLED = deep(SMALL, {"steps": 8, "checkpoint": {"every": 2}, "algorithm": {"kl_coef": 0.1}})


def start(path: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command("train", "--output-dir", str(path), *more),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for(path: Path, process: subprocess.Popen[str], seconds: float = 60) -> None:
    """Wait until a file exists or the process has ended."""
    end = time.monotonic() + seconds
    while not path.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.002)


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a process and its helpers, as a machine that loses its power would."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def kill_and_resume(path: Path, *, kills: int, seed: int) -> None:
    """Kill a run at random moments, at least four times while it is alive; resume it until it has ended."""
    rng = random.Random(seed)
    met = 0
    for _ in range(kills):
        again = ["--resume"] if (path / "config.json").exists() else arguments(KILLED)
        before = (path / "environment.json").stat().st_mtime_ns if (path / "environment.json").exists() else 0
        process = start(path, *again)
        # Loading PyTorch takes most of a process's life: count the random moment from where the run begins.
        end = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < end:
            if (path / "environment.json").exists() and (path / "environment.json").stat().st_mtime_ns != before:
                break
            time.sleep(0.001)
        time.sleep(rng.uniform(0.0, 0.6))
        met += process.poll() is None
        kill(process)
    assert met >= 4, "the kills came too late to interrupt anything: make the run longer"
    for _ in range(3):
        last = run_command("train", "--output-dir", str(path), "--resume")
        if last.returncode == 0:
            return
    raise AssertionError(last.stdout + last.stderr)


@pytest.fixture(scope="module")
def killed_reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("reference") / "run"
    done = run_command("train", "--output-dir", str(path), *arguments(KILLED))
    assert done.returncode == 0, done.stdout + done.stderr
    return fingerprint(path)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "kills"), [(0, 6), (1, 15), (2, 15), (3, 15), (4, 15)])
def test_process_killed_at_random_moments(
    seed: int, kills: int, killed_reference: dict[str, Any], tmp_path: Path
) -> None:
    kill_and_resume(tmp_path / "run", kills=kills, seed=seed)
    assert_same_run(tmp_path / "run", killed_reference)


def test_interrupt_saves_a_checkpoint_and_resume_completes(tmp_path: Path) -> None:
    """The interrupted run is a process; what it is compared with, and its end, are runs in this one."""
    path = tmp_path / "run"
    process = start(path, *arguments(KILLED))
    wait_for(path / "trajectories" / "step_000001.parquet", process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert f"simplerl train --output-dir {path} --resume" in output
    stopped = sorted(entry.name for entry in (path / "checkpoints").iterdir())
    assert stopped
    assert not any(name.startswith(".") for name in stopped)
    last = int(stopped[-1].removeprefix("step_"))
    assert 1 <= last < 8
    go_on(path, KILLED)
    run_small(tmp_path / "reference", KILLED)
    found, reference = fingerprint(path), fingerprint(tmp_path / "reference")
    assert found["weights"] == reference["weights"]
    assert found["metrics"] == reference["metrics"]


def test_second_run_into_the_directory_is_refused(finished: Path, capsys) -> None:
    before = fingerprint(finished)
    code, _, error = run_main(capsys, "train", "--output-dir", str(finished))
    assert code == 2
    assert str(finished) in error
    assert "--resume" in error
    assert "--output-dir" in error
    assert fingerprint(finished) == before


def test_second_process_at_the_same_time_is_refused(finished: Path, capsys) -> None:
    from simplerl.runs.directory import RunDirectory

    with RunDirectory(finished):
        code, _, error = run_main(capsys, "train", "--output-dir", str(finished), "--resume")
    assert code == 2
    assert "another process" in error


def test_resume_without_a_run_is_refused(tmp_path: Path, capsys) -> None:
    code, _, error = run_main(capsys, "train", "--output-dir", str(tmp_path / "none"), "--resume")
    assert code == 2
    assert "hold a run to resume" in error
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("key", ["--seed", "--optimizer.lr", "--sampling.temperature"])
def test_resume_with_another_configuration_is_refused(key: str, finished: Path, capsys) -> None:
    value = "0.125" if "." in key else "7"
    code, _, error = run_main(capsys, "train", "--output-dir", str(finished), "--resume", key, value)
    assert code == 2
    assert key.removeprefix("--").replace("-", "_") in error
    assert "now" in error
