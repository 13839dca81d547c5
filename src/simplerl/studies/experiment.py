"""What an experiment is: a question, the runs that answer it, and what to look at. TOML; a race is one too.

The experiments that ship are the TOML files beside this module; `simplerl experiment my.toml` runs one of your own:

    question = "Does a longer limit help?"
    recipe = "cub"
    overrides = { steps = 40, optimizer.lr = 1e-3 }         # what all variants share
    measures = ["accuracy", "length"]                       # columns of the table; the first is what `against` compares
    panels = [{ metric = "accuracy/mean", label = "accuracy of training samples" }, { measure = "accuracy" }]

    [[variants]]
    label = "80"

    [[variants]]
    label = "160"
    overrides.sampling.max_new_tokens = 160
    against = "80"
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from simplerl.analysis.estimates import Measure
from simplerl.config.resolve import RECIPES, as_table, resolve
from simplerl.core.errors import ConfigError, nearest
from simplerl.core.registry import Registry

#: Name in a TOML file, as a regular expression → measure.
MEASURES = TypeAdapter(dict[str, Measure]).validate_python(
    tomllib.loads(Path(__file__).with_name("measures.toml").read_text(encoding="utf-8"))
)


def measure(name: Any) -> Any:
    """Return the measure of a name; anything that is not text is left to the type check. Raises ConfigError."""
    if not isinstance(name, str):
        return name
    for form, named in MEASURES.items():
        if match := re.fullmatch(form, name):
            texts = (name, *match.groups())
            path = tuple(str(key).format(*texts) for key in named.path)
            return replace(named, label=named.label.format(*texts), path=path)
    plain = [form for form in MEASURES if "(" not in form]
    raise ConfigError(f"unknown measure {name!r}; {nearest(name, [*plain, 'pass@8', 'level 1'])}")


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Variant(_Data):
    """One setting that is compared."""

    label: str
    overrides: Mapping[str, Any] = {}  # Laid on the recipe and on the experiment's own overrides
    recipe: str = ""  # Empty: the experiment's recipe
    before: Mapping[str, Any] = {}
    """Laid on the experiment's overrides for a `simplerl sft` of the same seed, from whose model the run begins; empty:
    none."""
    against: str = ""  # Label of the variant that it is compared with, seed by seed; empty: none


class Preparation(_Data):
    """A command that is run before the runs; `{directory}` in it, and in the variants, is the study's directory."""

    name: str
    command: tuple[str, ...]  # After `simplerl`
    done: str  # The file in the directory that says that it need not be run


class Curve(_Data):
    """A panel of the plot: a metric of metrics.jsonl while training goes on."""

    metric: str
    label: str
    share: bool = True
    block: int = 5  # Steps whose mean makes a point; evaluations need no mean


class Bars(_Data):
    """A panel of the plot: a measure of each variant as a bar, each seed as a dot."""

    measure: Annotated[Measure, BeforeValidator(measure)]


class PassAtK(_Data):
    """A panel of the plot: pass@k against k, before and after."""

    pass_at_k: str = "pass@k (%)"  # Label of the axis


class Experiment(_Data):
    """A question that is answered by runs: variants × seeds."""

    name: str
    question: str
    claim: str = ""  # What the paper says
    figures: str = ""  # The paper's numbers, as far as it gives them
    source: str = "our own"  # Where the paper says it
    remarks: str = ""  # What is different here, so that nobody compares what cannot be compared
    variants: Annotated[tuple[Variant, ...], Field(min_length=1)]
    measures: Annotated[tuple[Annotated[Measure, BeforeValidator(measure)], ...], Field(min_length=1)]
    """The columns of the table. The first one is what `against` compares."""
    panels: tuple[Curve | Bars | PassAtK, ...] = ()  # Empty: the first measure as bars
    stage: Literal["train", "star"] = "train"  # The command that makes the runs
    prepare: tuple[Preparation, ...] = ()  # Run one after the other, before the runs that speak of `{directory}`
    recipe: str = "cub"
    overrides: Mapping[str, Any] = {}  # What all variants share, on top of the recipe
    x_axis: Literal["step", "tokens"] = "step"  # Of the curves


def read_experiment(path: Path, **more: Any) -> Experiment:
    """Return the experiment of a TOML file, with `more` laid on top. Raises ConfigError with the file and the key."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as an experiment: {error}") from error
    # A bar may name a measure that the table of the same file defines.
    own = {entry["label"]: entry for entry in table.get("measures", ()) if isinstance(entry, dict) and "label" in entry}
    for panel in table.get("panels", ()):
        if isinstance(panel, dict) and isinstance(panel.get("measure"), str):
            panel["measure"] = own.get(panel["measure"], panel["measure"])
    try:
        experiment = Experiment.model_validate({"name": path.stem, **table, **more})
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        known = f"; {nearest(key, Experiment.model_fields)}" if first["type"] == "extra_forbidden" else ""
        raise ConfigError(f"{path}: {key}: {first['msg']}{known}") from error
    labels = [variant.label for variant in experiment.variants]
    for variant in experiment.variants:
        if labels.count(variant.label) > 1:
            raise ConfigError(f"{path}: two variants have the label {variant.label!r}; a label names its runs")
        if variant.against and variant.against not in labels:
            raise ConfigError(
                f"{path}: {variant.label!r} is against {variant.against!r}; {nearest(variant.against, labels)}"
            )
    return experiment


#: The experiments that ship, by name.
EXPERIMENTS: Registry[Experiment] = Registry(
    "experiment",
    values={path.stem: read_experiment(path) for path in sorted(Path(__file__).parent.glob("experiments/*.toml"))},
)


# -- a race of algorithms: the same model, problems, tokens and evaluation for each, ended by a token budget ----------

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
