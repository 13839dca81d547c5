"""`simplerl experiment` and `simplerl race`, whole: children train, results are made, and the same command goes on."""

import json
import shutil
from pathlib import Path

import pytest
from support import SMALL, deep, run_main

from simplerl import studies
from simplerl.config.resolve import resolve
from simplerl.runs.directory import read_metrics
from simplerl.studies import race
from simplerl.studies.experiment import Bars, Curve, Experiment, Variant
from simplerl.train.loop import train

TINY = Experiment(
    name="tiny",
    question="Does it run?",
    claim="It does.",
    figures="No figure.",
    source="us",
    remarks="too short to learn anything",
    overrides=deep(SMALL, {"steps": 2, "checkpoint": {"every": 1}}),
    variants=(
        Variant(label="true"),
        Variant(label="shuffled", overrides={"shuffle_rewards": True}, against="true"),
    ),
    measures=("accuracy", "gain"),
    panels=(Curve(metric="accuracy/mean", label="accuracy"), Bars(measure="accuracy")),
)


@pytest.fixture(autouse=True)
def _registered(monkeypatch) -> None:
    monkeypatch.setitem(studies.EXPERIMENTS, "tiny", TINY)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("experiment")


def tiny(capsys, directory: Path, *more: str) -> tuple[int, str, str]:
    words = ("--seeds", "1", "--jobs", "2", "--output-dir", str(directory))
    return run_main(capsys, "experiment", "tiny", *words, *more)


def test_it_runs_goes_on_and_survives_a_failure(capsys, made: Path) -> None:
    """One story with few children, because each takes seconds to start: one goes on, one begins, one fails."""
    table = deep(dict(TINY.overrides), {"seed": 0})
    half, new = made / "runs" / "true_seed0", made / "runs" / "shuffled_seed0"
    train(resolve(TINY.recipe, table), half)  # A run that is interrupted before its last checkpoint.
    reached = read_metrics(half)[-1]["eval/accuracy"]
    shutil.rmtree(half / "checkpoints" / "step_000002")
    (half / "summary.json").unlink()
    code, out, _ = tiny(capsys, made)
    assert code == 0
    assert "[2/2]" in out
    assert "true, seed 0: done" in out
    assert "resuming" in (made / "logs" / "true_seed0.log").read_text()
    assert "It does. No figure. (us)" in out
    results = json.loads((made / "results.json").read_text())
    assert results["variants"]["true"]["measures"]["accuracy after"]["seeds"]["0"] == reached
    for label, path in (("true", half), ("shuffled", new)):
        last = read_metrics(path)[-1]
        assert last["step"] == 2
        assert results["variants"][label]["measures"]["accuracy after"]["seeds"]["0"] == last["eval/accuracy"]
        assert json.loads((path / "environment.json").read_text())["sessions"][-1]["cpu_threads"] == 1
        assert json.loads((path / "config.json").read_text())["shuffle_rewards"] is (label == "shuffled")
    assert (made / "plot.png").exists()

    # A child that fails is shown with its message; the other counts, and the exit code says that something is missing.
    for file in (new / "checkpoints").glob("*/model.safetensors"):
        file.unlink()
    (new / "summary.json").unlink()
    code, out, _ = tiny(capsys, made)
    assert code == 1
    assert "shuffled, seed 0: failed" in out
    assert "every checkpoint is damaged" in out
    again = json.loads((made / "results.json").read_text())
    assert again["variants"]["true"]["measures"] == results["variants"]["true"]["measures"]
    assert list(again["variants"]) == ["true"]
    assert list(again["failed"]) == ["shuffled, seed 0"]

    # What is complete is left alone: nothing runs, the results are made again from the directories.
    shutil.rmtree(new)
    shutil.copytree(half, new)
    config = json.loads((new / "config.json").read_text())
    (new / "config.json").write_text(json.dumps({**config, "shuffle_rewards": True}))
    (made / "results.json").unlink()
    code, out, _ = tiny(capsys, made)
    assert code == 0
    assert "2 runs, 2 of them done already" in out
    difference = json.loads((made / "results.json").read_text())["variants"]["shuffled"]["difference"]
    assert (difference["value"], difference["n"]) == (0.0, 1)


def test_other_settings_are_refused(capsys, made: Path, monkeypatch) -> None:
    changed = {**dict(TINY), "overrides": deep(dict(TINY.overrides), {"optimizer": {"lr": 0.5}})}
    monkeypatch.setitem(studies.EXPERIMENTS, "tiny", Experiment(**changed))
    code, _, error = tiny(capsys, made)
    assert code == 2
    assert "was made with other settings: optimizer.lr was 0.001, now 0.5" in error
    assert "--output-dir" in error


@pytest.mark.slow
def test_a_race_ends_by_its_budget(capsys, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(race, "EVALUATION", {"size": 10, "samples": 8, "every": 0})
    words = ("--seeds", "1", "--budget", "4000", "--output-dir", str(tmp_path / "race"))
    code, out, _ = run_main(capsys, "race", "grpo", *words)
    assert code == 0, out
    results = json.loads((tmp_path / "race" / "results.json").read_text())
    sampled = results["variants"]["grpo"]["measures"]["tokens sampled"]["value"]
    assert 4000 <= sampled < 4000 + 64 * 8 * 80
    assert set(results["variants"]["grpo"]["measures"]) >= {"accuracy after", "pass@8 after", "tokens useful"}
    assert (tmp_path / "race" / "plot.png").exists()


def test_without_a_name_the_experiments_are_listed(capsys) -> None:
    code, out, _ = run_main(capsys, "experiment", "--seeds", "2")
    assert code == 0
    for name, experiment in studies.EXPERIMENTS.items():
        assert f"{name} " in out
        assert f"{experiment.question} ({2 * len(experiment.variants)} runs with 2 seeds)" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("experiment", "grup-size"), "unknown experiment 'grup-size'; did you mean 'group-size'"),
        (("experiment", "missing.toml"), "missing.toml cannot be read as an experiment"),
        (("experiment", "tiny", "--seeds", "0"), "must be at least 1, got 0"),
        (("experiment", "tiny", "--jobs", "x"), "--jobs"),
        (("race", "grop"), "unknown algorithm 'grop'; did you mean 'grpo'"),
        (("race", "grpo", "--budget", "-5"), "--budget"),
        (("race",), "ALGORITHM"),
    ],
)
def test_bad_input(words: tuple[str, ...], message: str, capsys, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, error = run_main(capsys, *words)
    assert code == 2
    assert message in error
    assert not list(tmp_path.iterdir())
