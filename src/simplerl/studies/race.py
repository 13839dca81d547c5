"""A race of algorithms: the same model, problems, tokens and evaluation for each, ended by a token budget."""

from collections.abc import Sequence
from typing import Any

from simplerl.algorithms import ALGORITHMS
from simplerl.core.errors import ConfigError, nearest
from simplerl.studies.common import ACCURACY, BASE, ENTROPY, LENGTH, SAMPLED, USEFUL, pass_at
from simplerl.studies.types import Bars, Curve, Experiment, Variant
from simplerl.train.resolve import as_table, recipe_names, resolve

#: Response tokens for each run: about what the cub needs to learn most of what it will.
BUDGET = 300_000

#: What makes a race fair: taken from the recipe `cub`, whatever an algorithm's own recipe says.
SAME = ("model", "data", "template", "dataset", "evaluation", "verifier")

#: Optimizer updates of a step, for each: how often sampled responses are learned from is a choice of the recipe, not
#: of the method, and decides how far a run gets with its tokens. With two, every ratio and clip takes part.
UPDATES = 2

#: Samples of each held-out problem, so that pass@8 exists.
EVALUATION = {"size": 250, "samples": 8, "every": 10}


def recipe_of(algorithm: str) -> str:
    """Return the recipe of an algorithm on the cub: `cub-NAME` where there is one, else `cub`."""
    names = recipe_names()
    return next((name for name in (f"cub-{algorithm}", f"cub-{algorithm.replace('_', '-')}") if name in names), "cub")


def race(algorithms: Sequence[str], *, budget: int = BUDGET) -> Experiment:
    """Return the race as an experiment. Raises ConfigError for unknown or repeated algorithms and a bad budget."""
    for name in algorithms:
        if name == "all":
            raise ConfigError("all stands by itself: simplerl race all, or the names of some algorithms")
        if name not in ALGORITHMS:
            raise ConfigError(f"unknown algorithm {name!r}; {nearest(name, ALGORITHMS)}")
        if list(algorithms).count(name) > 1:
            raise ConfigError(f"algorithm {name!r} is named twice: it would race against itself")
    if budget <= 0:
        raise ConfigError(f"--budget must be a positive number of response tokens, got {budget}")
    table = as_table(resolve("cub", {}))
    same = {key: table[key] for key in SAME}
    return Experiment(
        name="race",
        question=f"Which algorithm learns most from {budget:,} response tokens?",
        claim="PPO is about as good as GRPO on Qwen2.5-Math-7B.",
        figures="The other algorithms are not compared there.",
        source="SimpleRL-Zoo, arXiv 2503.18892, finding 9",
        remarks=(
            "Each algorithm runs with its own recipe `cub-NAME` where there is one (learning rate and reward may "
            f"differ), else with that of GRPO; model, problems, verifier, evaluation, tokens and updates per step "
            f"({UPDATES}) are the same. A run ends after the step in which it has sampled its tokens."
        ),
        overrides={**same, "token_budget": budget, "evaluation": {**same["evaluation"], **EVALUATION}},
        variants=tuple(_runner(name, budget) for name in algorithms),
        measures=(ACCURACY, BASE, pass_at(8), ENTROPY, LENGTH, SAMPLED, USEFUL),
        panels=(
            Curve(metric="eval/accuracy", label="held-out accuracy", block=1),
            Curve(metric="eval/pass_at_k", label="held-out pass@8", block=1),
            Curve(metric="policy/entropy", label="entropy (nats)", share=False),
            Curve(metric="length/mean", label="response length (tokens)", share=False),
            Bars(measure=ACCURACY),
            Bars(measure=USEFUL),
        ),
        against="tokens",
    )


def _runner(algorithm: str, budget: int) -> Variant:
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
    return Variant(label=algorithm, recipe=recipe, overrides={**overrides, "steps": steps, "learner": learner})
