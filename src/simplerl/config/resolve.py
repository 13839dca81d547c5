"""From recipe and command line to a checked `Config`: unknown keys, wrong types and contradictions fail, by name."""

import dataclasses
import functools
import hashlib
import json
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from simplerl.config.sections import Config, PluginConfig
from simplerl.core.errors import ConfigError, Contradiction, RunError, nearest
from simplerl.core.registry import Plugin, Registry, canonical, load_plugins, owner, registry, remember
from simplerl.core.settings import filled, names_of, read
from simplerl.data import sources
from simplerl.data.rows import suffix_of
from simplerl.environments import environment_class
from simplerl.rewards import FunctionReward, make_reward
from simplerl.runs.files import flatten

#: Name → TOML file.
RECIPES: Registry[Path] = Registry(
    "recipe", values={path.stem: path for path in sorted((Path(__file__).parent.parent / "recipes").glob("*.toml"))}
)
#: Sections whose keys depend on the `name` in them.
REGISTRIES: dict[str, Registry[Any]] = {
    kind: registry(kind) for kind in ("algorithm", "reward", "environment", "sampler", "transform", "buffer")
}
_KEYS = tomllib.loads(Path(__file__).with_name("keys.toml").read_text(encoding="utf-8"))
#: What may differ between a run and its resumption.
FREE_ON_RESUME: list[str] = _KEYS["free_on_resume"]
#: What other libraries call a key → its name here.
OTHER_NAMES: dict[str, str] = _KEYS["other_names"]


def recipe_path(name: str) -> Path:
    """Return the file of a recipe, or of a .toml file. Raises ConfigError."""
    path = Path(name)
    if name not in RECIPES and path.is_dir():
        raise ConfigError(f"{name} is a directory, not a recipe; a model or a run is given by --model {name}")
    if name in RECIPES or path.suffix != ".toml" or not path.is_file():
        return Path(RECIPES.find(name, hint="A .toml file works too."))
    return path


def recipe_chain(name: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Return (name, about, settings of its own) of a recipe and of those that it extends, the base first."""
    chain: list[tuple[str, str, dict[str, Any]]] = []
    while name:
        path, names = recipe_path(name), [each[0] for each in reversed(chain)]
        if name in names:
            raise ConfigError(f"recipe {name} extends itself: {' → '.join([*names, name])}")
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: not valid TOML: {error}") from error
        about, base = table.pop("about", ""), table.pop("extends", "")
        if not isinstance(base, str):
            raise ConfigError(f"{path}: extends must be the name of a recipe, got {base!r}")
        chain.insert(0, (name, about, table))
        name = base
    return chain


def read_recipe(name: str) -> dict[str, Any]:
    """Return the table of a shipped recipe or of a TOML file; `extends` names the recipe it builds on."""
    return functools.reduce(merge, (table for _, _, table in recipe_chain(name)))


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` laid on top, tables merged. A new `name` in algorithm or reward starts afresh."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if key == "plugins":
            names = [*_plugin_names(old or ()), *_plugin_names(value)]
            merged[key] = list(dict.fromkeys(map(canonical, names)))
        elif not (isinstance(old, Mapping) and isinstance(value, Mapping)):
            merged[key] = value
        else:
            renamed = key in REGISTRIES and value.get("name", old.get("name")) != old.get("name")
            merged[key] = value if renamed else merge(old, value)
    return merged


def parse_overrides(arguments: Sequence[str]) -> dict[str, Any]:
    """Turn `--optimizer.lr 1e-5 --model=X --shuffle-rewards` into nested tables. A dash may stand for an underscore.

    `--reward` may be repeated, each a name or `file.py:function`, with `=WEIGHT` after it.
    """
    settings: list[tuple[str, Any]] = []
    rewards: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if not argument.startswith("--") or len(argument) < 3:
            raise ConfigError(f"unexpected argument {argument!r}; settings look like --optimizer.lr 1e-5")
        key, equals, value = argument[2:].partition("=")
        if not equals:
            value = rest.pop(0) if rest and not rest[0].startswith("--") else "true"
        if key == "reward":
            rewards.append(value)
            continue
        settings.append((f"{key}.name" if key in REGISTRIES else key.replace("-", "_"), value))
    table = nested(settings)
    return merge({"reward": _reward_table(rewards)}, table) if rewards else table


def nested(settings: Iterable[tuple[str, Any]], shown: str = "--{}") -> dict[str, Any]:
    """Return settings with dotted keys as nested tables; a section may be given as a table too.

    Raises ConfigError, naming the key as `shown`, where a section is given a value as well.
    """
    tables: dict[str, Any] = {}
    for key, value in settings:
        *sections, last = key.split(".")
        table = tables
        for section in sections:
            table = table.setdefault(section, {})
            if not isinstance(table, dict):
                raise ConfigError(f"{shown.format(key)}: {section} has been given a value already")
        if isinstance(table.get(last), dict) and not isinstance(value, Mapping):
            raise ConfigError(f"{shown.format(key)} = {value!r}: {last} is a section, and has been given keys already")
        table[last] = {**table.get(last, {}), **value} if isinstance(value, Mapping) else value
    return tables


def _reward_table(rewards: Sequence[str]) -> dict[str, Any]:
    """Return the section `reward` for names and `NAME=WEIGHT`; a weight or several are a mixture."""
    parts: list[dict[str, Any]] = []
    for entry in rewards:
        name, equals, weight = entry.rpartition("=")
        try:
            part = {"name": canonical(name), "weight": float(weight)} if equals else {"name": canonical(entry)}
        except ValueError as error:
            raise ConfigError(f"--reward {entry}: the weight after '=' must be a number, got {weight!r}") from error
        parts.append(part)
    if len(parts) == 1 and "weight" not in parts[0]:
        return parts[0]
    return {"name": "mixture", "rewards": parts}


def build_config(table: Mapping[str, Any]) -> Config:
    """Return the configuration of a table, its plug-ins loaded. Raises ConfigError with the key that is wrong."""
    values = dict(table)
    explicit = load_plugins(_plugin_names(values.pop("plugins", ())))
    values |= {key: _named(key, values[key]) for key in REGISTRIES if key in values}
    config = filled(Config, values, advice=_advice)
    loaded = {each.name: each for each in filter(None, [*explicit, *_used_plugins(config)])}
    return dataclasses.replace(config, plugins=tuple(PluginConfig(each.name, each.sha256) for each in loaded.values()))


def _plugin_names(value: Any) -> list[str]:
    """Return the names of plug-ins, given as a list, as `a,b`, or as config.json has them. Raises ConfigError."""
    entries = read(tuple[str, ...], value)
    names = [entry.get("name") if isinstance(entry, Mapping) else entry for entry in entries]
    if wrong := [entry for entry, name in zip(entries, names, strict=True) if not isinstance(name, str)]:
        raise ConfigError(f"plugins: each is the path of a file or the name of a module, got {wrong[0]!r}")
    return [name for name in names if name]


def _used_plugins(config: Config) -> list[Plugin | None]:
    """Return the plug-ins that registered, or hold, something that the configuration names."""
    sections = {key: named_table(key, getattr(config, key)) for key in REGISTRIES}
    named = [
        *((key, table["name"]) for key, table in sections.items()),
        *(("reward", part["name"]) for part in sections["reward"].get("rewards", ())),
        *(("data", name) for source in (config.data, config.evaluation.data) for name in sources(source)),
        ("template", config.template),
        ("backend", config.rollout.backend),
        ("policy", config.verifier.policy),
    ]
    return [owner(kind, name) for kind, name in named]


def _advice(key: str, keys: Sequence[str]) -> str:
    """Return what a wrong key may mean: another library's name, one in a section (of a top key), or the nearest."""
    section, _, last = key.rpartition(".")
    if last in OTHER_NAMES:
        return f"it is called {OTHER_NAMES[last]!r} here"
    if not keys:
        return f"{section} has no settings"
    advice = nearest(last, keys)
    elsewhere = [dotted for dotted in flatten(as_table(Config())) if dotted.rpartition(".")[2] == last]
    if elsewhere and (not section or advice.startswith("known")):
        return f"did you mean {' or '.join(map(repr, elsewhere))}?"
    return advice


def _named(key: str, raw: Any) -> Any:
    """Return the algorithm, reward or environment of a section: the class of its name, filled with its other keys."""
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{key} is a section: give {key}.name and its keys")
    table = {"name": next(iter(REGISTRIES[key])), **raw}
    if not isinstance(name := table.pop("name"), str):
        raise ConfigError(f"{key}.name = {name!r}: must be text")
    name = canonical(name)
    cls: Any = environment_class(name) if key == "environment" else REGISTRIES[key].lookup(name)
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        if key == "reward":
            return make_reward(name, table)
        raise ConfigError(f"{key}.name = {name!r}: this is not a dataclass, whose fields are the settings")
    for setting in table.keys() - names_of(cls) if key == "algorithm" else ():
        if others := [other for other, each in REGISTRIES["algorithm"].items() if setting in names_of(each)]:
            raise ConfigError(
                f"algorithm.{setting} is a setting of {', '.join(others)}, not of {name}; leave it out, or choose "
                "another --algorithm.name"
            )
    return filled(cls, table, key, _advice)


def named_table(key: str, value: Any) -> dict[str, Any]:
    """Return the section of an algorithm or a reward."""
    if isinstance(value, FunctionReward):
        return {"name": value.source}
    name = REGISTRIES[key].name_of(type(value)) or getattr(value, "source", "") or remember(type(value))
    return {"name": name, **{setting: getattr(value, setting) for setting in names_of(value)}}


def as_table(config: Config) -> dict[str, Any]:
    """Return a configuration as plain tables: what `build_config` takes back."""
    table = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    for key, value in table.items():
        if key in REGISTRIES:
            table[key] = named_table(key, value)
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            table[key] = dataclasses.asdict(value)
    return {**table, "plugins": tuple(map(dataclasses.asdict, config.plugins))}


def default_recipe(table: Mapping[str, Any]) -> str:
    """Return the recipe for a model when none is named: `cub` for cubs and what was made of them, else `generic`."""
    return "cub" if Path(str(table.get("model", "cub-"))).name.startswith("cub-") else "generic"


def recipe_for(model: str) -> str:
    """Return the recipe that goes with a model: the shipped one for this very model, else the default.

    `generic` and `simplerl-zoo` name a model only as an example.
    """
    shipped = sorted(RECIPES, key=lambda name: (name != model, name))  # One of the model's very name comes first.
    own = (name for name in shipped if name not in ("generic", "simplerl-zoo"))
    return next((name for name in own if read_recipe(name).get("model") == model), default_recipe({"model": model}))


def _on_stderr(message: str) -> None:
    print(message, file=sys.stderr)


def resolve(recipe: str | None, overrides: Mapping[str, Any], say: Callable[[str], None] = _on_stderr) -> Config:
    """Return the configuration of a recipe with overrides on top. Raises ConfigError.

    A setting of a shipped recipe follows what the user gave, where the two cannot both hold, and that is said. What
    contradicts itself in the overrides and in a .toml file of the user's is an error.
    """
    load_plugins(_plugin_names(overrides.get("plugins", ())))  # A plug-in may bring the recipe.
    recipe = str(recipe or default_recipe(overrides))  # From Python it may be a Path.
    owner = RECIPES.plugin(recipe)
    table = merge(merge(read_recipe(recipe), overrides), {"plugins": [owner] if owner else []})
    own = {key for name, _, table in recipe_chain(recipe) if name not in RECIPES for key in flatten(table)}
    given = own | {*flatten(overrides)}
    levels, theirs = table.get("dataset", {}).get("levels"), read_recipe(recipe).get("data", "")
    if levels and "dataset.levels" not in given and sources(str(table["data"])) != sources(theirs):
        say(f"dataset.levels = () is used: {levels} are levels of {theirs}, not of data = {table['data']!r}")
        table = merge(table, {"dataset": {"levels": ()}})
    config = completed(_following(table, given, say))
    registry("backend").check(config.rollout.backend, key="rollout.backend")
    registry("policy").check(config.verifier.policy, key="verifier.policy")
    return config


def _following(table: Mapping[str, Any], given: set[str], say: Callable[[str], None]) -> Config:
    """Build a configuration, letting what was not given follow what was."""
    while True:
        try:
            return build_config(table)
        except Contradiction as error:
            way = next((way for way in error.ways if way[0] not in given), None)
            if way is None:
                raise
            (key, value), given = way, {*given, way[0]}  # No setting follows twice.
            say(f"{key} = {value!r} is used: {error}")
            section, _, name = key.rpartition(".")
            table = merge(table, {section: {name: value}} if section else {name: value})


def read_config(path: Path, overrides: Mapping[str, Any]) -> Config:
    """Return the configuration of a run directory with overrides on top, to resume it."""
    file = path / "config.json"
    if not file.is_file():
        raise RunError(f"{path} does not hold a run to resume; leave out --resume to start one, or fix --output-dir")
    try:
        table = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(table, dict):
            raise ValueError("it does not hold settings")
    except ValueError as error:
        raise RunError(
            f"{file} is damaged: {error}; give the recipe and settings of the run again, with --resume"
        ) from error
    return completed(build_config(merge(table, overrides)))


def configure(
    recipe: str | None,
    overrides: Mapping[str, Any],
    *,
    resume: bool,
    stage: str = "train",
    say: Callable[[str], None] = _on_stderr,
) -> tuple[Config, Path]:
    """Return the configuration of a run and its directory: of a recipe, or of the run in `output_dir` to resume.

    Without `output_dir` the directory is runs/ and a name made from what the run is. Of the stage `sft` `steps` are
    `sft.steps`.
    """
    if stage == "sft" and "steps" in overrides:
        own = {"steps": overrides["steps"], **overrides.get("sft", {})}
        overrides = {**{key: value for key, value in overrides.items() if key != "steps"}, "sft": own}
    prefix = "" if stage == "train" else f"{stage}_"
    if resume and recipe is None and overrides.get("output_dir"):
        config = read_config(Path(overrides["output_dir"]), overrides)
    else:
        config = resolve(recipe, overrides, say)
    return config, Path(config.output_dir or Path("runs") / f"{prefix}{run_name(recipe, overrides, config)}")


def completed(config: Config) -> Config:
    """Put in what the algorithm takes from other sections where it is left open."""
    algorithm, filled = config.algorithm, dict[str, Any]()
    if algorithm.normaliser == "constant" and not algorithm.constant_length:
        filled["constant_length"] = config.sampling.max_new_tokens
    if getattr(algorithm, "bound_steps", None) == 0:
        filled["bound_steps"] = config.steps
    return dataclasses.replace(config, algorithm=dataclasses.replace(algorithm, **filled)) if filled else config


def is_among(key: str, names: Sequence[str]) -> bool:
    """Return whether a dotted key is one of some names; a name that ends in a dot stands for its section."""
    return any(key == name or (name.endswith(".") and key.startswith(name)) for name in names)


def _expected(recipe: str, config: Config) -> dict[str, Any]:
    """Return dotted key → value of a recipe; another algorithm or reward than its own is expected at its defaults."""
    table = as_table(resolve(recipe, {}))
    for section in REGISTRIES:
        value, name = getattr(config, section), table[section]["name"]
        if named_table(section, value)["name"] != name:
            defaults = {field.name: field.default for field in dataclasses.fields(value) if field.init}
            table[section] = {"name": name} | ({} if isinstance(value, FunctionReward) else defaults)
    return flatten(table)


def run_name(recipe: str | None, overrides: Mapping[str, Any], config: Config) -> str:
    """Return a name made from what the run is: recipe or model and data, algorithm, what differs from the recipe, seed.

    Deterministic; the number of steps, and whatever else may change when a run is resumed, is no part of it. Long ones
    end in a hash of everything that is.
    """
    values = {key: value for key, value in flatten(as_table(config)).items() if not is_among(key, FREE_ON_RESUME)}
    expected = _expected(recipe or default_recipe(overrides), config)
    differing = {key: value for key, value in sorted(values.items()) if expected.get(key) != value}
    stem = [] if recipe is None else [Path(recipe).name.removesuffix(".toml")]
    data = config.data[: len(config.data) - len(suffix_of(Path(config.data)))]
    named = [config.model] * (recipe is None or "model" in differing) + [data] * (recipe is None or "data" in differing)
    last = {key: key.rpartition(".")[2] for key in values}
    unique = {name for name, number in Counter(last.values()).items() if number == 1}
    more = [
        f"{last[key] if last[key] in unique else key.removesuffix('.name')}-{value}".replace(f"{Path.cwd()}/", "")
        for key, value in differing.items()
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
