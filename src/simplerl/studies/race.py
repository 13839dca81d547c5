"""A race of algorithms: the same model, problems, tokens and evaluation for each, ended by a token budget."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simplerl.config.resolve import RECIPES, as_table, resolve
from simplerl.core.errors import ConfigError
from simplerl.studies.experiment import Experiment, read_experiment

#: Response tokens for each run: about what the cub needs to learn most of what it will.
BUDGET = 300_000

#: What makes a race fair: taken from the recipe `cub-qwen`, whatever an algorithm's own recipe says.
SAME = ("model", "data", "template", "dataset", "evaluation", "verifier")

#: Optimizer updates of a step, for each: how often sampled responses are learned from is a choice of the recipe, not
#: of the method, and decides how far a run gets with its tokens. With two, every ratio and clip takes part.
UPDATES = 2

#: Samples of each held-out problem, so that pass@8 exists.
EVALUATION = {"size": 250, "samples": 8, "every": 10}


def recipe_of(algorithm: str) -> str:
    """Return the recipe of an algorithm on the cub: `cub-NAME` where there is one, else that of `cub-qwen`."""
    own = (f"cub-{algorithm}", f"cub-{algorithm.replace('_', '-')}")
    return next((name for name in own if name in RECIPES), "cub-qwen")


def race(algorithms: Sequence[str], *, budget: int = BUDGET, backend: str = "native") -> Experiment:
    """Return the race as an experiment. Raises ConfigError for unknown or repeated algorithms and a small budget."""
    table = as_table(resolve("cub-qwen", {}))
    same = {key: table[key] for key in SAME} | ({} if backend == "native" else {"rollout": {"backend": backend}})
    return read_experiment(
        Path(__file__).with_name("race.toml"),
        question=f"Which algorithm learns most from {budget:,} response tokens?",
        overrides={**same, "token_budget": budget, "evaluation": {**same["evaluation"], **EVALUATION}},
        variants=[_runner(name, budget) for name in algorithms],
    )


def _runner(algorithm: str, budget: int) -> dict[str, Any]:
    """Return the variant of an algorithm, with as many steps as may be needed to use the budget up."""
    recipe = recipe_of(algorithm)
    overrides: dict[str, Any] = {"algorithm": {"name": algorithm}}
    sampling = resolve(recipe, overrides).sampling
    responses = sampling.prompts_per_step * sampling.samples_per_prompt
    if budget < responses:
        raise ConfigError(
            f"--budget {budget} is less than a step of {algorithm}: {responses} responses of a token or more. Give a "
            "budget of several steps; the default is 300,000"
        )
    # Every response has a token at least, so that by this step the budget is used up.
    steps = -(-budget // responses)
    learner = {"prompts_per_update": sampling.prompts_per_step // UPDATES}
    return {"label": algorithm, "recipe": recipe, "overrides": {**overrides, "steps": steps, "learner": learner}}
