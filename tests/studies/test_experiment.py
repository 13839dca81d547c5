"""Experiments are TOML: what a file says is what is run, and a wrong file is named with its key.

A race is fair by construction: the same model, problems, evaluation and tokens for every algorithm there is.
"""

from pathlib import Path

import pytest

from simplerl.algorithms import ALGORITHMS
from simplerl.analysis.estimates import Measure
from simplerl.config.resolve import RECIPES, as_table, resolve
from simplerl.core.errors import ConfigError
from simplerl.studies import experiment as module
from simplerl.studies.experiment import Bars, Curve, PassAtK, measure, race, read_experiment, recipe_of
from simplerl.studies.jobs import table_of

OWN = """
question = "Does a longer limit help?"
overrides = { steps = 3, sampling.max_new_tokens = 80 }
measures = ["accuracy", { label = "own", where = "final", path = ["further", 0, "acc", "value"] }]
panels = [{ metric = "accuracy/mean", label = "accuracy" }, { measure = "own" }, { pass_at_k = "pass@k" }]

[[variants]]
label = "80"

[[variants]]
label = "160"
overrides.sampling.max_new_tokens = 160
against = "80"
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "limit.toml"
    path.write_text(text)
    return path


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    experiment = read_experiment(write(tmp_path, OWN))
    assert (experiment.name, experiment.recipe, experiment.x_axis, experiment.claim) == ("limit", "cub", "step", "")
    assert experiment.overrides == {"steps": 3, "sampling": {"max_new_tokens": 80}}
    assert [variant.against for variant in experiment.variants] == ["", "80"]
    own = Measure(label="own", where="final", path=("further", 0, "acc", "value"))
    assert experiment.measures == (measure("accuracy"), own)
    assert experiment.panels == (
        Curve(metric="accuracy/mean", label="accuracy"),
        Bars(measure=own),
        PassAtK(pass_at_k="pass@k"),
    )


@pytest.mark.parametrize(
    ("name", "where", "path", "label"),
    [
        ("greedy accuracy", "final", ("greedy", "acc", "value"), "greedy accuracy after"),
        ("pass@8", "final", ("pass@k", "8", "value"), "pass@8 after"),
        ("pass@4 before", "base", ("pass@k", "4", "value"), "pass@4 before"),
        ("gain of pass@64", "gain", ("pass@k", "64", "value"), "gain of pass@64"),
        ("level 3", "final", ("by_level", "3", "value"), "level 3"),
        ("domain chain_sum", "final", ("by_source", "chain_sum", "value"), "domain chain_sum"),
        ("domain knights before", "base", ("by_source", "knights", "value"), "domain knights before"),
    ],
)
def test_names_of_measures(name: str, where: str, path: tuple[str, ...], label: str) -> None:
    assert measure(name) == Measure(label=label, where=where, path=path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("question =", "question", "cannot be read as an experiment"),
        ("question =", "qestion =", "limit.toml: question: Field required"),
        ('question = "Does', 'questoin = 1\nquestion = "Does', "questoin: Extra inputs.*did you mean 'question'"),
        ('"accuracy",', '"acuracy",', "unknown measure 'acuracy'; did you mean 'accuracy'"),
        ('label = "160"', 'label = "80"', "two variants have the label '80'"),
        ('against = "80"', 'against = "8"', "is against '8'; did you mean '80'"),
        ('where = "final"', 'where = "end"', "measures"),
        ('{ measure = "own" }', '{ measure = "other" }', "unknown measure 'other'"),
    ],
)
def test_a_wrong_file_is_named_with_its_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in OWN
    with pytest.raises(ConfigError, match=message):
        read_experiment(write(tmp_path, OWN.replace(old, new)))


def test_every_algorithm_runs_on_equal_terms() -> None:
    experiment = race(list(ALGORITHMS), budget=100_000)
    assert [variant.label for variant in experiment.variants] == list(ALGORITHMS)
    base = as_table(resolve("cub-qwen", {}))
    for variant in experiment.variants:
        config = resolve(variant.recipe, table_of(experiment, variant))
        assert isinstance(config.algorithm, ALGORITHMS[variant.label])
        table = as_table(config)
        for key in ("model", "data", "template", "dataset", "verifier"):
            assert table[key] == base[key], (variant.label, key)
        assert config.token_budget == 100_000
        assert config.sampling.prompts_per_step / config.learner.prompts_per_update == module.UPDATES, variant.label
        assert (config.evaluation.size, config.evaluation.samples, config.evaluation.every) == (250, 8, 10)
        # Even if every response were a single token, the budget and not the steps would end the run.
        assert config.steps * config.sampling.prompts_per_step * config.sampling.samples_per_prompt >= 100_000


def test_an_algorithm_runs_with_its_own_recipe_where_there_is_one(monkeypatch) -> None:
    monkeypatch.setattr(module, "RECIPES", ["cub", "cub-ppo", "cub-dr-grpo"])
    assert recipe_of("ppo") == "cub-ppo"
    assert recipe_of("dr_grpo") == "cub-dr-grpo"
    assert recipe_of("rloo") == "cub-qwen"
    monkeypatch.undo()
    for name in ALGORITHMS:
        own = [found for found in (f"cub-{name}", f"cub-{name.replace('_', '-')}") if found in RECIPES]
        assert recipe_of(name) == (own[0] if own else "cub-qwen")


@pytest.mark.parametrize(
    ("names", "budget", "message"),
    [
        (["grpoo"], 1000, "unknown algorithm 'grpoo'; did you mean 'grpo'"),
        (["grpo", "grpo"], 1000, "two variants have the label 'grpo'"),
        (["grpo"], 0, "--budget 0 is less than a step of grpo"),
        (["grpo"], 511, "less than a step of grpo: 512 responses"),
        (["all", "grpo"], 1000, "unknown algorithm 'all'"),
    ],
)
def test_bad_input(names: list[str], budget: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        race(names, budget=budget)
