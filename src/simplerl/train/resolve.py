"""From recipe and command line to a checked `Config`: unknown keys, wrong types and contradictions fail, by name."""

import dataclasses
import hashlib
import json
import math
import re
import tomllib
import typing
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic

from simplerl.algorithms import ALGORITHMS
from simplerl.core.errors import ConfigError, RunError, nearest
from simplerl.data.rows import SUFFIXES
from simplerl.rewards import REWARDS
from simplerl.rollout import BACKENDS
from simplerl.train.config import Config
from simplerl.verify import POLICIES

RECIPES = Path(__file__).parent.parent / "recipes"
#: Sections whose keys depend on the `name` in them.
REGISTRIES: dict[str, Mapping[str, type]] = {"algorithm": ALGORITHMS, "reward": REWARDS}
#: What may differ between a run and its resumption: nothing that changes what a step computes, rounding aside. The
#: knobs of memory are among them, so that a run that ran out of it can go on. A run's name holds none of them: it is
#: the same run.
FREE_ON_RESUME = (
    "steps",
    "token_budget",
    "output_dir",
    "checkpoint.",
    "doctor.",
    "tracking.",
    "evaluation.every",
    "learner.tokens_per_microbatch",
    "learner.gradient_checkpointing",
    "rollout.max_rows",
    "verifier.workers",
)


def recipe_names() -> list[str]:
    """Return the names of the shipped recipes."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def recipe_path(name: str) -> Path:
    """Return the file of a shipped recipe, or of a .toml file. Raises ConfigError."""
    path = RECIPES / f"{name}.toml"
    if not path.is_file():
        path = Path(name)
        if path.suffix != ".toml" or not path.is_file():
            raise ConfigError(f"unknown recipe {name!r}; {nearest(name, recipe_names())} A .toml file works too.")
    return path


def recipe_header(name: str) -> tuple[str, str]:
    """Return (about, extends) of a recipe, each empty where it has none."""
    table = tomllib.loads(recipe_path(name).read_text(encoding="utf-8"))
    return table.get("about", ""), table.get("extends", "")


def read_recipe(name: str, extending: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the table of a shipped recipe or of a TOML file; `extends` names the recipe it builds on."""
    if name in extending:
        raise ConfigError(f"recipe {name} extends itself: {' → '.join([*extending, name])}")
    path = recipe_path(name)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    base = table.pop("extends", None)
    table.pop("about", None)
    if base is not None and not isinstance(base, str):
        raise ConfigError(f"{path}: extends must be the name of a recipe, got {base!r}")
    return merge(read_recipe(base, (*extending, name)), table) if base else table


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` laid on top, tables merged. A new `name` in algorithm or reward starts afresh."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        renamed = (
            key in REGISTRIES
            and isinstance(value, Mapping)
            and isinstance(old, Mapping)
            and value.get("name", old.get("name")) != old.get("name")
        )
        merged[key] = (
            merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) and not renamed else value
        )
    return merged


def parse_overrides(arguments: Sequence[str]) -> dict[str, Any]:
    """Turn `--optimizer.lr 1e-5 --model=X --shuffle-rewards` into nested tables. A dash may stand for an underscore."""
    table: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if not argument.startswith("--") or len(argument) < 3:
            raise ConfigError(f"unexpected argument {argument!r}; settings look like --optimizer.lr 1e-5")
        key, equals, value = argument[2:].partition("=")
        if not equals:
            value = rest.pop(0) if rest and not rest[0].startswith("--") else "true"
        *sections, last = key.replace("-", "_").split(".")
        place = table
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise ConfigError(f"--{key}: {section} has been given a value already")
        place[last] = value
    for key in REGISTRIES:
        if isinstance(table.get(key), str):
            table[key] = {"name": table[key]}
    return table


def _value(raw: Any, annotation: Any) -> Any:
    """Read a command-line string the way TOML would, where the field is not a string itself."""
    if not isinstance(raw, str) or annotation is str:
        return raw
    is_tuple = str(annotation).startswith("tuple")
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = [part for part in raw.split(",") if part] if is_tuple else raw
    return [value] if is_tuple and not isinstance(value, list) else value


def build(cls: type, table: Mapping[str, Any], path: str = "") -> Any:
    """Return the dataclass `cls` filled from a table. Raises ConfigError with the dotted key that is wrong."""
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    hints = typing.get_type_hints(cls)
    values = {}
    for key, raw in table.items():
        dotted = f"{path}{key}"
        if key not in fields:
            raise ConfigError(f"unknown key {dotted!r}; {nearest(key, fields)}")
        annotation = hints[key]
        if not path and key in REGISTRIES:
            values[key] = _build_named(key, raw, REGISTRIES[key])
        elif dataclasses.is_dataclass(annotation):
            if not isinstance(raw, Mapping):
                raise ConfigError(
                    f"{dotted} is a section: give its keys, e.g. {dotted}.{dataclasses.fields(annotation)[0].name}"
                )
            values[key] = build(annotation, raw, f"{dotted}.")
        else:
            try:
                values[key] = pydantic.TypeAdapter(annotation).validate_python(_value(raw, annotation))
            except pydantic.ValidationError as error:
                raise ConfigError(f"{dotted} = {raw!r}: {error.errors()[0]['msg']}") from error
            if isinstance(values[key], float) and not math.isfinite(values[key]):
                raise ConfigError(f"{dotted} = {raw!r}: must be a finite number")
    try:
        return cls(**values)
    except TypeError as error:
        raise ConfigError(f"{path.rstrip('.') or 'configuration'}: {error}") from error


def _build_named(key: str, raw: Any, registry: Mapping[str, type]) -> Any:
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{key} is a section: give {key}.name and its keys")
    table = dict(raw)
    name = table.pop("name", next(iter(registry)))
    if name not in registry:
        raise ConfigError(f"unknown {key} {name!r}; {nearest(name, registry)}")
    own = [field.name for field in dataclasses.fields(registry[name])]
    for setting in table:
        others = [other for other, cls in registry.items() if setting in {f.name for f in dataclasses.fields(cls)}]
        if setting not in own and others and key == "algorithm":
            raise ConfigError(
                f"algorithm.{setting} is a setting of {', '.join(others)}, not of {name}; leave it out, or choose "
                f"another --algorithm.name"
            )
    return build(registry[name], table, f"{key}.")


def as_table(config: Config) -> dict[str, Any]:
    """Return a configuration as plain tables: what `build(Config, …)` takes back."""
    table: dict[str, Any] = {}
    for entry in dataclasses.fields(config):
        value = getattr(config, entry.name)
        if entry.name in REGISTRIES:
            name = next(name for name, cls in REGISTRIES[entry.name].items() if cls is type(value))
            own = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
            table[entry.name] = {"name": name, **own}
        else:
            table[entry.name] = dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value
    return table


def flatten(table: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return dotted key → value."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{path}{key}.")
        else:
            flat[f"{path}{key}"] = list(value) if isinstance(value, tuple) else value
    return flat


def default_recipe(table: Mapping[str, Any]) -> str:
    """Return the recipe for a model when none is named: `cub` for cubs and what was made of them, else `generic`."""
    return "cub" if Path(str(table.get("model", "cub-qwen"))).name.startswith("cub-") else "generic"


def recipe_for(model: str) -> str:
    """Return the recipe that goes with a model: the shipped one for this very model, else the default.

    `generic` and `simplerl-zoo` name a model only as an example.
    """
    own = (name for name in recipe_names() if name not in ("generic", "simplerl-zoo"))
    return next((name for name in own if read_recipe(name).get("model") == model), default_recipe({"model": model}))


def resolve(recipe: str | None, overrides: Mapping[str, Any]) -> Config:
    """Return the configuration of a recipe with overrides on top. Raises ConfigError."""
    recipe = recipe or default_recipe(overrides)
    config = completed(build(Config, merge(read_recipe(recipe), overrides)))
    for key, name, known in (
        ("rollout.backend", config.rollout.backend, BACKENDS),
        ("verifier.policy", config.verifier.policy, POLICIES),
    ):
        if name not in known:
            raise ConfigError(f"unknown {key} {name!r}; {nearest(name, known)}")
    algorithm = config.algorithm
    if algorithm.constant_length and algorithm.normaliser != "constant":
        raise ConfigError(
            f"algorithm.constant_length = {algorithm.constant_length} with algorithm.normaliser = "
            f"{algorithm.normaliser!r}, which does not use it: give --algorithm.normaliser constant, or "
            "--algorithm.constant-length 0"
        )
    return config


def read_config(path: Path, overrides: Mapping[str, Any]) -> Config:
    """Return the configuration of a run directory with overrides on top, to resume it."""
    file = path / "config.json"
    if not file.is_file():
        raise RunError(f"{path} holds no run to resume; leave out --resume to start one, or mend --output-dir")
    try:
        table = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(
            f"{file} is damaged: {error}; give the recipe and settings of the run again, with --resume"
        ) from error
    return completed(build(Config, merge(table, overrides)))


def completed(config: Config) -> Config:
    """Put in what one key takes from another where it is left open: the constant normaliser's length."""
    algorithm = config.algorithm
    if algorithm.normaliser != "constant" or algorithm.constant_length:
        return config
    length = config.sampling.max_new_tokens
    return dataclasses.replace(config, algorithm=dataclasses.replace(algorithm, constant_length=length))


def _expected(recipe: str, config: Config) -> dict[str, Any]:
    """Return dotted key → value of a recipe; another algorithm or reward than its own is expected at its defaults."""
    table, mine = as_table(resolve(recipe, {})), as_table(config)
    for section, registry in REGISTRIES.items():
        if mine[section]["name"] != table[section]["name"]:
            own = {field.name: field.default for field in dataclasses.fields(registry[mine[section]["name"]])}
            table[section] = {"name": table[section]["name"], **own}
    return flatten(table)


def run_name(recipe: str | None, overrides: Mapping[str, Any], config: Config) -> str:
    """Return a name made from what the run is: recipe or model and data, algorithm, what differs from the recipe, seed.

    Deterministic; the number of steps, and whatever else may change when a run is resumed, is no part of it. Long ones
    end in a hash of everything that is.
    """
    free = tuple(name for name in FREE_ON_RESUME if name.endswith("."))
    values = {
        key: value
        for key, value in flatten(as_table(config)).items()
        if key not in FREE_ON_RESUME and not key.startswith(free)
    }
    expected = _expected(recipe or default_recipe(overrides), config)
    differing = {key: value for key, value in values.items() if expected.get(key) != value}
    stem = [] if recipe is None else [Path(recipe).name.removesuffix(".toml")]
    data = config.data.removesuffix(Path(config.data).suffix if Path(config.data).suffix in SUFFIXES else "")
    named = [config.model] * (recipe is None or "model" in differing) + [data] * (recipe is None or "data" in differing)
    last = Counter(key.rsplit(".", 1)[-1] for key in values)
    more = [
        f"{key.rsplit('.', 1)[-1] if last[key.rsplit('.', 1)[-1]] == 1 else key.removesuffix('.name')}-{value}"
        for key, value in sorted(differing.items())
        if key not in ("model", "data", "seed", "algorithm.name")
    ]
    parts = [*stem, *named, values["algorithm.name"], *more, f"seed{config.seed}"]
    name = "_".join(re.sub(r"[^A-Za-z0-9.+-]+", "-", str(part)).strip("-") for part in parts)
    if len(name) <= 120:
        return name
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
    return f"{name[:100]}_{digest}"


def as_toml(config: Config) -> str:
    """Return a configuration as TOML, one dotted key a line: a recipe that is the very same run."""
    return "".join(f"{key} = {_toml(value)}\n" for key, value in flatten(as_table(config)).items())


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    # JSON's scalars are TOML's, but for one character that TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
