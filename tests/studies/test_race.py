"""A race is fair by construction: the same model, problems, evaluation and tokens for every algorithm there is."""

import pytest

from simplerl.algorithms import ALGORITHMS
from simplerl.config.resolve import RECIPES, as_table, resolve
from simplerl.core.errors import ConfigError
from simplerl.studies import race as module
from simplerl.studies.plan import table_of
from simplerl.studies.race import race, recipe_of


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
