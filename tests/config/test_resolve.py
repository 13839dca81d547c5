"""From recipe and command line to a checked configuration."""

import dataclasses
import json
from pathlib import Path

import pytest

from simplerl.algorithms import ALGORITHMS
from simplerl.config.resolve import (
    RECIPES,
    as_table,
    as_toml,
    build_config,
    flatten,
    merge,
    parse_overrides,
    read_config,
    read_recipe,
    recipe_chain,
    recipe_for,
    resolve,
    run_name,
)
from simplerl.core.errors import ConfigError, RunError
from simplerl.rewards import REWARDS


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_shipped_recipe_resolves(name: str) -> None:
    config = resolve(name, {})
    table = flatten(as_table(config))
    for key, value in flatten(read_recipe(name)).items():
        assert table[key] == value, f"{name}: {key}"


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_recipe_through_json_is_the_same(name: str, tmp_path: Path) -> None:
    """What a run directory holds resumes the very same run."""
    config = resolve(name, {})
    (tmp_path / "config.json").write_text(json.dumps(as_table(config)))
    assert read_config(tmp_path, {}) == config


@pytest.mark.parametrize("name", [n for n in REWARDS if n != "mixture"])
def test_every_reward_by_name(name: str) -> None:
    config = resolve("cub", {"reward": {"name": name}})
    assert type(config.reward) is REWARDS[name]
    assert build_config(json.loads(json.dumps(as_table(config)))) == config


MINE = """
from dataclasses import dataclass
from simplerl.algorithms.grpo import GRPO
from simplerl.environments.base import Environment
from simplerl.feed.samplers import Epoch
from simplerl.rewards.builtin import Correctness

@dataclass(frozen=True, kw_only=True)
class MyAlgorithm(GRPO):
    mine: float = 2.0

@dataclass(frozen=True, kw_only=True)
class MyReward(Correctness):
    pass

@dataclass(frozen=True, kw_only=True)
class MyEnvironment(Environment):
    slow = False

@dataclass(frozen=True, kw_only=True)
class MySampler(Epoch):
    pass

def function():
    pass
"""


def test_a_class_of_a_file_is_recorded_by_its_place(tmp_path: Path) -> None:
    """Another process, that of a resumed run, finds it there."""
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    named = {key: {"name": f"{file}:My{key.title()}"} for key in ("algorithm", "reward", "environment", "sampler")}
    config = build_config(named)
    table = json.loads(json.dumps(as_table(config)))
    assert {key: table[key]["name"] for key in named} == {key: each["name"] for key, each in named.items()}
    assert [plugin.name for plugin in config.plugins] == [str(file)]
    assert build_config(table) == config
    mixture = {"name": "mixture", "rewards": [named["reward"], {"name": "format"}]}
    assert build_config({"reward": mixture}).reward._built[0][1].label == "correctness"
    with pytest.raises(ConfigError, match="is not a dataclass"):
        build_config({"algorithm": {"name": f"{file}:function"}})


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_by_name(name: str) -> None:
    config = resolve("cub", {"algorithm": {"name": name}})
    assert type(config.algorithm) is ALGORITHMS[name]


def test_k_is_at_most_the_samples_and_the_bounds_move_over_the_run() -> None:
    message = "algorithm.k = 8, but a problem has only sampling.samples_per_prompt = 8"
    with pytest.raises(ConfigError, match=message):
        resolve("cub-pass-at-k", {"algorithm": {"k": 8}, "sampling": {"samples_per_prompt": 8}})
    assert resolve("cub-pass-at-k", {"sampling": {"samples_per_prompt": 2}}).algorithm.k == 1
    assert resolve("cub-entrocraft", {"steps": 7}).algorithm.bound_steps == 7
    assert resolve("cub-entrocraft", {"algorithm": {"bound_steps": 5}}).algorithm.bound_steps == 5
    with pytest.raises(ConfigError, match="must not be above"):
        resolve("cub-entrocraft", {"algorithm": {"lower_end": 0.9}})


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


def test_tables_are_read_as_toml_and_as_json() -> None:
    """A study hands a child its settings as JSON."""
    for entry in ('{name = "format", weight = 2.0}', '{"name": "format", "weight": 2.0}'):
        config = resolve("cub", parse_overrides(["--reward", "mixture", f"--reward.rewards=[{entry}]"]))
        assert as_table(config)["reward"] == {"name": "mixture", "rewards": [{"name": "format", "weight": 2.0}]}


def test_later_wins_and_sections_merge() -> None:
    base = {"optimizer": {"lr": 1, "beta1": 2}, "steps": 3}
    assert merge(base, {"optimizer": {"lr": 9}}) == {"optimizer": {"lr": 9, "beta1": 2}, "steps": 3}
    assert base == {"optimizer": {"lr": 1, "beta1": 2}, "steps": 3}


def test_another_reward_does_not_inherit_the_keys_of_the_first() -> None:
    base = {"reward": {"name": "overlong", "weight": 3}}
    assert merge(base, {"reward": {"name": "format"}}) == {"reward": {"name": "format"}}
    assert merge(base, {"reward": {"weight": 4}}) == {"reward": {"name": "overlong", "weight": 4}}
    assert merge(base, {"reward": {"name": "overlong", "weight": 4}}) == {"reward": {"name": "overlong", "weight": 4}}


#: Base model → (template, tier, KL coefficient, longest response), as the paper's table has it (responses shorter where
#: the model's context is 4,096 tokens).
PAPER = {
    "mistral-7b": ("mistralai/Mistral-7B-v0.1", "simple", "easy", 1e-4, 8192),
    "llama-3.1-8b": ("meta-llama/Llama-3.1-8B", "simple", "easy", 1e-4, 8192),
    "deepseek-math-7b": ("deepseek-ai/deepseek-math-7b-base", "qwen-boxed", "easy", 1e-4, 3072),
    "mistral-small-24b": ("mistralai/Mistral-Small-24B-Base-2501", "qwen-boxed", "hard", 1e-3, 8192),
    "qwen2.5-0.5b": ("Qwen/Qwen2.5-0.5B", "simple", "medium", 1e-4, 8192),
    "qwen2.5-1.5b": ("Qwen/Qwen2.5-1.5B", "simple", "hard", 1e-4, 8192),
    "qwen2.5-7b": ("Qwen/Qwen2.5-7B", "qwen-boxed", "hard", 1e-4, 8192),
    "qwen2.5-math-7b": ("Qwen/Qwen2.5-Math-7B", "qwen-boxed", "hard", 1e-4, 3072),
    "qwen2.5-14b": ("Qwen/Qwen2.5-14B", "qwen-boxed", "hard", 1e-4, 8192),
    "qwen2.5-32b": ("Qwen/Qwen2.5-32B", "qwen-boxed", "hard", 1e-3, 8192),
}


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_models(name: str) -> None:
    model, template, tier, kl, longest = PAPER[name]
    config = resolve(name, {})
    assert (config.model, config.template, config.data) == (model, template, f"simplerl-zoo-{tier}")
    assert (config.algorithm.kl_coef, config.sampling.max_new_tokens) == (kl, longest)
    assert (config.sampling.prompts_per_step, config.sampling.samples_per_prompt) == (1024, 8)
    assert config.learner.prompts_per_update == 256
    assert (config.optimizer.lr, config.algorithm.entropy_coef, config.algorithm.clip_low) == (5e-7, 1e-3, 0.2)
    assert (config.sampling.temperature, config.sampling.max_prompt_tokens) == (1.0, 1024)
    assert (config.evaluation.temperature, config.evaluation.every, config.evaluation.samples) == (0.0, 5, 1)
    assert (config.checkpoint.every, config.checkpoint.keep) == (20, 0)
    assert config.sampling.stop
    roles = {"\nUser:", "\nAssistant:"} <= set(config.sampling.stop)
    assert roles == (template == "qwen-boxed" and name not in ("qwen2.5-14b", "qwen2.5-32b"))


def test_every_recipe_that_builds_on_the_papers_is_one_of_its_models() -> None:
    assert {name for name in RECIPES if [each[0] for each in recipe_chain(name)[:-1]] == ["simplerl-zoo"]} == set(PAPER)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_stops_do_not_cut_a_final_answer(name: str) -> None:
    """A solution may well say so before its box."""
    text = "So the final Answer: \\boxed{3}. Question answered, Problem: solved."
    assert not any(stop in text for stop in resolve(name, {}).sampling.stop)


@pytest.mark.parametrize("value", ["a\nb", 'q"\\', "naïve 数 🎲", "\x7f\x01", "", "<|im_end|>"])
def test_toml_holds_any_text(value: str, tmp_path: Path) -> None:
    config = resolve("cub", {"sampling": {"stop": [value or "x"]}, "output_dir": value})
    (tmp_path / "r.toml").write_text(as_toml(config), encoding="utf-8")
    assert resolve(str(tmp_path / "r.toml"), {}) == config


def test_toml_holds_a_mixture(tmp_path: Path) -> None:
    parts = [{"name": "correctness", "weight": 0.5, "params": {"wrong": -1.0}}, {"name": "format"}]
    config = resolve("cub", {"reward": {"name": "mixture", "rewards": parts}})
    (tmp_path / "r.toml").write_text(as_toml(config), encoding="utf-8")
    assert as_table(resolve(str(tmp_path / "r.toml"), {})) == as_table(config)
    assert run_name(None, {}, config) != run_name(None, {}, resolve("cub", {}))


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
        ({"reward": {"name": "overlong", "wieght": 1}}, "'reward.wieght'"),
        ({"algorithm": "grpo"}, "algorithm is a section"),
        ({"optimizer": 3}, "optimizer is a section"),
        ({"steps": "3.5"}, "steps = '3.5'"),
        ({"steps": [3]}, "steps"),
        ({"model": 7}, "model = 7"),
        ({"verifier": {"unfinished": "rigth"}}, "verifier.unfinished must be one of wrong, right; got 'rigth'"),
        ({"learner": {"attention": "flash"}}, "learner.attention must be one of auto, eager, grouped, sdpa"),
        (parse_overrides(["--steps", "--seed", "1"]), "steps = 'true': a number is needed"),
        (parse_overrides(["--optimizer.lr"]), "optimizer.lr = 'true': a number is needed"),
        (parse_overrides(["--algorithm.kl-coef"]), "algorithm.kl_coef = 'true': a number is needed"),
        (parse_overrides(["--dataset.levels"]), "dataset.levels = 'true': a number is needed"),
        (parse_overrides(["--sampler", "difficulty", "--sampler.target"]), "sampler.target = 'true': a number"),
        ({"steps": True}, "steps = True: a number is needed"),
        ({"verifier": {"restates": "no"}}, "verifier.restates must be one of wrong, right; got 'no'"),
        ({"sampling": {"stop": [7]}}, "sampling.stop"),
    ],
)
def test_mistakes_are_named(table: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("[", r"\[").replace(".", r"\.")):
        resolve("cub", table)


def test_names_of_runs_tell_what_they_are() -> None:
    def name(overrides: dict, recipe: str | None = None) -> str:
        return run_name(recipe, overrides, resolve(recipe, overrides))

    assert name({}) == "cub-hasty_arithmetic_grpo_seed0"
    assert name({"seed": 3}) == "cub-hasty_arithmetic_grpo_seed3"
    others = [
        {"model": "cub-llama"},
        {"optimizer": {"lr": 1e-3}},
        {"optimizer": {"lr": 2e-3}},
        {"evaluation": {"temperature": 0.5}},
        {"sampling": {"temperature": 0.5}},
        {"shuffle_rewards": True},
        {"seed": 1},
        {"reward": {"name": "format"}},
        {"learner": {"precision": "bf16"}},
        {"rollout": {"precision": "bf16"}},
        {"algorithm": {"kl_coef": 0.5}},
        {"prompt": {"special_tokens": "bos"}},
    ]
    names = [name(over) for over in [{}, *others]]
    assert len(set(names)) == len(names)
    assert name({"seed": 3}) == name({"seed": 3})
    assert name({"optimizer": {"lr": 1e-3}}) == "cub-hasty_arithmetic_grpo_optimizer.lr-0.001_seed0"
    assert name({"optimizer": {"lr": resolve("cub", {}).optimizer.lr}}) == name({}), "what is as in the recipe"
    assert name({}, "qwen2.5-7b") == "qwen2.5-7b_grpo_seed0"
    assert name({"model": "some/model", "data": "gsm8k"}, "cub") == "cub_some-model_gsm8k_grpo_seed0"
    assert name({"reward": {"name": "format"}}) == "cub-hasty_arithmetic_grpo_reward-format_seed0"
    assert "/" not in name({"model": "some/model", "data": "a/b.jsonl"}, "generic")


@pytest.mark.parametrize(
    "over",
    [
        {"steps": 9},
        {"rollout": {"max_rows": 4}},
        {"checkpoint": {"every": 5}},
        {"learner": {"tokens_per_microbatch": 9}},
    ],
)
def test_a_run_has_the_same_name_when_it_is_resumed(over: dict) -> None:
    """`--resume --steps N` without --output-dir must look where the run is."""
    for recipe in (None, "cub", "qwen2.5-7b"):
        assert run_name(recipe, over, resolve(recipe, over)) == run_name(recipe, {}, resolve(recipe, {}))
        long = {"sampling": {"stop": ["x" * 200]}}
        both = merge(long, over)
        assert run_name(recipe, both, resolve(recipe, both)) == run_name(recipe, long, resolve(recipe, long))


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


@pytest.mark.parametrize(
    ("model", "recipe"),
    [
        ("Qwen/Qwen2.5-0.5B", "qwen2.5-0.5b"),
        ("Qwen/Qwen2.5-7B", "qwen2.5-7b"),
        ("cub-hasty", "cub"),
        ("cub-qwen", "cub-qwen"),
        ("cub-llama", "cub"),
        ("somebody/else", "generic"),
    ],
)
def test_the_recipe_of_a_model_is_its_own(model: str, recipe: str) -> None:
    assert recipe_for(model) == recipe


def test_the_configuration_of_an_older_run_is_read() -> None:
    """Keys that are newer than the run have their defaults; no other is lost."""
    path = Path(__file__).parent.parent / "runs" / "data" / "run"
    old = flatten(json.loads((path / "config.json").read_text()))
    new = flatten(as_table(read_config(path, {})))
    assert "plugins" not in old
    assert {key: new[key] for key in old} == old
    assert new["plugins"] == []


@pytest.mark.parametrize(
    ("words", "table"),
    [
        (["--reward", "format"], {"name": "format"}),
        (["--reward=format", "--reward.name", "overlong"], {"name": "overlong"}),
        (["--reward", "format=2"], {"name": "mixture", "rewards": [{"name": "format", "weight": 2.0}]}),
        (
            ["--reward", "correctness", "--reward", "json:dumps=-0.5"],
            {"name": "mixture", "rewards": [{"name": "correctness"}, {"name": "json:dumps", "weight": -0.5}]},
        ),
    ],
)
def test_rewards_on_the_command_line(words: list[str], table: dict) -> None:
    assert parse_overrides(words)["reward"] == table


def test_plugins_of_recipe_and_command_line_add_up(tmp_path: Path) -> None:
    assert merge({"plugins": ["json"]}, {"plugins": [{"name": "json", "sha256": "x"}, "html"]}) == {
        "plugins": ["json", "html"]
    }
    config = resolve("cub", {"plugins": ["json"]})
    assert [plugin.name for plugin in config.plugins] == ["json"]
    assert len(config.plugins[0].sha256) == 64
    assert build_config(json.loads(json.dumps(as_table(config)))) == config
    for words, names in (("[]", []), ("json,html", ["json", "html"]), ('[{"name": "json"}]', ["json"])):
        assert [plugin.name for plugin in resolve("cub", {"plugins": words}).plugins] == names
    (tmp_path / "r.toml").write_text(as_toml(config), encoding="utf-8")
    assert resolve(str(tmp_path / "r.toml"), {}) == config


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("learning_rate", "it is called 'optimizer.lr' here"),
        ("num_generations", "it is called 'sampling.samples_per_prompt' here"),
        ("top_k", "did you mean 'sampling.top_k'?"),
        ("keep", "did you mean 'checkpoint.keep'?"),
    ],
)
def test_a_key_that_stands_elsewhere_is_pointed_at(key: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("?", r"\?").replace(".", r"\.")):
        resolve("cub", {key: 1})


# -- what follows what the user gave -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "given", "key", "value"),
    [
        ("generic", {"sampling": {"prompts_per_step": 4}}, "learner.prompts_per_update", 4),
        ("generic", {"sampling": {"prompts_per_step": "100"}}, "learner.prompts_per_update", 50),
        ("generic", {"sampling": {"prompts_per_step": 97}}, "learner.prompts_per_update", 97),
        ("generic", {"learner": {"prompts_per_update": 48}}, "sampling.prompts_per_step", 240),
        ("simplerl-cold-start-qwen2.5-math-7b", {"token_budget": 1000}, "optimizer.schedule", "constant"),
        ("cub-ppo", {"steps": 5, "algorithm": {"critic_warmup_steps": 8}}, None, None),
        ("cub-dr-grpo", {"algorithm": {"constant_length": 7, "normaliser": "token"}}, None, None),
        ("generic", {"sampling": {"prompts_per_step": 4}, "learner": {"prompts_per_update": 64}}, None, None),
        ("generic", {"sampling": {"samples_per_prompt": 1}}, None, None),
        ("cub", {"prompt": {"system": "Be short."}, "template": "simple"}, None, None),
    ],
)
def test_settings_follow_what_the_user_gave(recipe: str, given: dict, key: str | None, value: object) -> None:
    said: list[str] = []
    if key is None:
        with pytest.raises(ConfigError):
            resolve(recipe, given, said.append)
        assert not said
        return
    config = resolve(recipe, given, said.append)
    assert flatten(as_table(config))[key] == value
    (line,) = said
    assert line.startswith(f"{key} = {value!r} is used: ")
    assert next(iter(flatten(given))) in line, "the reason names what the user gave"
    untouched = flatten(as_table(resolve(recipe, {})))
    changed = {name for name, now in flatten(as_table(config)).items() if untouched[name] != now}
    assert changed == {key, *flatten(given)}


def test_levels_of_the_recipes_data_are_not_those_of_other_data() -> None:
    said: list[str] = []
    assert resolve("smollm2-135m", {"data": "problems.jsonl"}, said.append).dataset.levels == ()
    (line,) = said
    assert line.startswith("dataset.levels = () is used: [1, 2] are levels of arithmetic")
    kept = ({}, {"data": "arithmetic,size=50"}, {"data": "problems.jsonl", "dataset": {"levels": "1,2"}})
    assert [resolve("smollm2-135m", given).dataset.levels for given in kept] == [(1, 2)] * 3


def test_a_file_of_the_users_is_what_the_user_gave(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('extends = "generic"\nsteps = 3\n[algorithm]\nname = "ppo"\ncritic_warmup_steps = 8\n')
    with pytest.raises(ConfigError, match="critic_warmup_steps = 8, but the run has steps = 3"):
        resolve(str(own), {})
    own.write_text('extends = "generic"\n[sampling]\nprompts_per_step = 6\n')
    assert resolve(str(own), {}, lambda line: None).learner.prompts_per_update == 6


def test_what_followed_is_said_on_standard_error(capsys) -> None:
    resolve("generic", {"sampling": {"prompts_per_step": 4}})
    out, error = capsys.readouterr()
    assert not out
    assert len(error.splitlines()) == 1
    assert "learner.prompts_per_update = 64 must divide sampling.prompts_per_step = 4" in error


def test_a_directory_is_not_a_recipe(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"--model {tmp_path}"):
        resolve(str(tmp_path), {})


def test_steps_of_fine_tuning_are_its_own() -> None:
    """`simplerl sft --steps 2` is not a hundred of them."""
    from simplerl.config.resolve import configure

    config, path = configure("cub", {"steps": 2, "sft": {"data": "arithmetic-long"}}, resume=False, stage="sft")
    assert (config.sft.steps, config.sft.data, path.name[:4]) == (2, "arithmetic-long", "sft_")
    assert configure("cub", {"steps": 2, "sft": {"steps": 3}}, resume=False, stage="sft")[0].sft.steps == 3
    assert configure("cub", {"steps": 2}, resume=False)[0].steps == 2


@pytest.mark.parametrize("text", ["[1]", "null", "3", "{"])
def test_a_damaged_configuration_of_a_run_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(RunError, match=r"config\.json is damaged: .*; give the recipe and settings of the run again"):
        read_config(tmp_path, {})
