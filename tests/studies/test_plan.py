"""Which runs an experiment needs, with which commands, and what of them is there already."""

import json
from pathlib import Path

import pytest
from support import SMALL, deep, run_small, small_config

from simplerl.analysis.compare import summarise
from simplerl.analysis.estimates import Measure
from simplerl.config.resolve import as_table, merge, parse_overrides, resolve
from simplerl.core.errors import ConfigError, RunError
from simplerl.studies.experiment import Experiment, Variant
from simplerl.studies.plan import arguments, plan, state_of

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


def test_quick_runs_are_short_but_otherwise_the_same(tmp_path: Path) -> None:
    quick = plan(experiment(Variant(label="a"), overrides={}), seeds=1, directory=tmp_path, quick=True)
    config = resolve("cub", parse_overrides(quick[0].command[5:]))
    assert (config.steps, config.evaluation.size) == (4, 20)
    assert config.sampling == resolve("cub", {}).sampling


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
    assert (imitating.sft.data, imitating.sft.steps, first.steps) == ("arithmetic-short", 7, 7)
    assert imitating.model == "cub-qwen"
    training = resolve("cub", parse_overrides(job.command[5:]))
    assert training.model == str(first.path.resolve())
    assert training.sft.data == ""
    assert training.steps == plain.steps == job.steps == SMALL["steps"]


def test_fine_tuning_is_not_needed_where_the_run_is_done(finished: Path, tmp_path: Path) -> None:
    table = json.loads((finished / "config.json").read_text())
    model = (tmp_path / "runs" / "a-SFT_seed0").resolve()
    (finished / "config.json").write_text(json.dumps({**table, "model": str(model)}))
    variant = Variant(label="a", before={"sft": {"data": "arithmetic-short"}})
    jobs = plan(experiment(variant), seeds=1, directory=tmp_path)
    assert [(job.name, job.state) for job in jobs] == [("a, seed 0", "done")]
