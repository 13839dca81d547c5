"""From recipe and command line to a checked configuration."""

import dataclasses
import json
from pathlib import Path

import pytest

from simplerl.algorithms import ALGORITHMS
from simplerl.errors import ConfigError
from simplerl.rewards import REWARDS
from simplerl.train.config import Config
from simplerl.train.resolve import (
    as_table,
    build,
    flatten,
    merge,
    parse_overrides,
    read_config,
    read_recipe,
    recipe_names,
    resolve,
    run_name,
)


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_resolves(name: str) -> None:
    config = resolve(name, {})
    table = flatten(as_table(config))
    for key, value in flatten(read_recipe(name)).items():
        assert table[key] == value, f"{name}: {key}"


@pytest.mark.parametrize("name", recipe_names())
def test_recipe_through_json_is_the_same(name: str, tmp_path: Path) -> None:
    """What a run directory holds resumes the very same run."""
    config = resolve(name, {})
    (tmp_path / "config.json").write_text(json.dumps(as_table(config)))
    assert read_config(tmp_path, {}) == config


@pytest.mark.parametrize("name", [n for n in REWARDS if n != "mixture"])
def test_every_reward_by_name(name: str) -> None:
    config = resolve("cub", {"reward": {"name": name}})
    assert type(config.reward) is REWARDS[name]
    assert build(Config, json.loads(json.dumps(as_table(config)))) == config


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_by_name(name: str) -> None:
    config = resolve("cub", {"algorithm": {"name": name}})
    assert type(config.algorithm) is ALGORITHMS[name]


def test_overrides_from_the_command_line() -> None:
    found = parse_overrides(
        [
            "--optimizer.lr",
            "1e-5",
            "--model=x=y",
            "--shuffle-rewards",
            "--sampling.max-new-tokens",
            "7",
            "--reward",
            "format",
        ]
    )
    assert found == {
        "optimizer": {"lr": "1e-5"},
        "model": "x=y",
        "shuffle_rewards": "true",
        "sampling": {"max_new_tokens": "7"},
        "reward": {"name": "format"},
    }


@pytest.mark.parametrize(
    ("argument", "key", "wanted"),
    [
        ("--optimizer.lr=1e-5", "optimizer.lr", 1e-5),
        ("--optimizer.lr=1", "optimizer.lr", 1.0),
        ("--steps=1_000", "steps", 1000),
        ("--sampling.stop=Question:,Answer:", "sampling.stop", ["Question:", "Answer:"]),
        ('--sampling.stop=["a, b"]', "sampling.stop", ["a, b"]),
        ("--sampling.stop=x", "sampling.stop", ["x"]),
        ("--dataset.levels=1,3", "dataset.levels", [1, 3]),
        ("--dataset.levels=[]", "dataset.levels", []),
        ("--shuffle-rewards", "shuffle_rewards", True),
        ("--shuffle-rewards=false", "shuffle_rewards", False),
        ("--model=true", "model", "true"),
        ("--output-dir=2024", "output_dir", "2024"),
    ],
)
def test_values_are_read_by_the_type_of_their_key(argument: str, key: str, wanted: object) -> None:
    found = flatten(as_table(resolve("cub", parse_overrides([argument]))))[key]
    assert found == wanted
    assert type(found) is type(wanted)


def test_later_wins_and_sections_merge() -> None:
    base = {"optimizer": {"lr": 1, "beta1": 2}, "steps": 3}
    assert merge(base, {"optimizer": {"lr": 9}}) == {"optimizer": {"lr": 9, "beta1": 2}, "steps": 3}
    assert base == {"optimizer": {"lr": 1, "beta1": 2}, "steps": 3}


def test_another_reward_does_not_inherit_the_keys_of_the_first() -> None:
    base = {"reward": {"name": "length", "weight": 3}}
    assert merge(base, {"reward": {"name": "format"}}) == {"reward": {"name": "format"}}
    assert merge(base, {"reward": {"weight": 4}}) == {"reward": {"name": "length", "weight": 4}}
    assert merge(base, {"reward": {"name": "length", "weight": 4}}) == {"reward": {"name": "length", "weight": 4}}


def test_extends(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('extends = "cub"\nsteps = 7\n[optimizer]\nlr = 3e-4\n')
    (tmp_path / "b.toml").write_text(f'extends = "{tmp_path / "a.toml"}"\nsteps = 8\n')
    config = resolve(str(tmp_path / "b.toml"), {})
    cub = resolve("cub", {})
    assert (config.steps, config.optimizer.lr) == (8, 3e-4)
    assert config.sampling == cub.sampling
    assert config.optimizer == dataclasses.replace(cub.optimizer, lr=3e-4)


def test_models_that_are_no_cubs_get_the_generic_recipe() -> None:
    assert resolve(None, {}) == resolve("cub", {})
    assert resolve(None, {"model": "cub-llama"}) == resolve("cub", {"model": "cub-llama"})
    assert resolve(None, {"model": "some/model"}) == resolve("generic", {"model": "some/model"})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"optimizer": {"learning_rate": 1}}, "'optimizer.learning_rate'"),
        ({"sampling": {"temprature": 1}}, "did you mean 'temperature'"),
        ({"sampling": {"max_tokens": 1}}, "max_new_tokens"),
        ({"algorithm": {"name": "grpo", "epsilon": 1}}, "'algorithm.epsilon'"),
        ({"reward": {"name": "length", "wieght": 1}}, "'reward.wieght'"),
        ({"algorithm": "grpo"}, "algorithm is a section"),
        ({"optimizer": 3}, "optimizer is a section"),
        ({"steps": "3.5"}, "steps = '3.5'"),
        ({"steps": [3]}, "steps"),
        ({"model": 7}, "model = 7"),
        ({"sampling": {"stop": [7]}}, "sampling.stop"),
    ],
)
def test_mistakes_are_named(table: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("[", r"\[").replace(".", r"\.")):
        resolve("cub", table)


def test_names_of_runs_tell_what_they_are() -> None:
    def name(overrides: dict, recipe: str | None = None) -> str:
        return run_name(recipe, overrides, resolve(recipe, overrides))

    assert name({}) == "cub-qwen_arithmetic_grpo_seed0"
    assert name({"seed": 3}) == "cub-qwen_arithmetic_grpo_seed3"
    others = [
        {"model": "cub-llama"},
        {"optimizer": {"lr": 1e-3}},
        {"optimizer": {"lr": 1e-3}, "steps": 9},
        {"shuffle_rewards": True},
        {"seed": 1},
        {"reward": {"name": "format"}},
        {"learner": {"precision": "bf16"}},
        {"rollout": {"precision": "bf16"}},
        {"checkpoint": {"every": 5}},
        {"evaluation": {"every": 5}},
    ]
    names = [name(over) for over in [{}, *others]]
    assert len(set(names)) == len(names)
    assert name({"seed": 3}) == name({"seed": 3})
    assert "/" not in name({"model": "some/model", "data": "a/b.jsonl"}, "generic")


def test_names_of_runs_never_meet_by_being_cut() -> None:
    def name(stop: str) -> str:
        overrides = {"sampling": {"stop": ["x" * 200 + stop]}}
        return run_name(None, overrides, resolve(None, overrides))

    assert len(name("a")) <= 120
    assert name("a") != name("b")
    assert name("a") == name("a")


def test_names_of_files_of_the_same_name_do_not_meet(tmp_path: Path) -> None:
    """Two data files `one/train.jsonl` and `two/train.jsonl` are two runs, and so are two owners' models."""

    def name(**over: str) -> str:
        return run_name("cub", over, resolve("cub", over))

    assert name(data="one/train.jsonl") != name(data="two/train.jsonl")
    assert name(model="one/base-0.5B") != name(model="two/base-0.5B")
