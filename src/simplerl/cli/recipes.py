"""List the shipped recipes, or print one fully resolved: every key with the value that a run would use."""

import argparse

EXAMPLES = """\
  simplerl recipes
  simplerl recipes cub
  simplerl recipes generic --optimizer.lr 1e-6     what would this run use?
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("name", nargs="?", help="a recipe to print; settings after it are laid on top")
    parser.set_defaults(takes_overrides=True)


def run(args: argparse.Namespace) -> int:
    """List, or resolve and print."""
    import tomllib

    from simplerl.errors import ConfigError
    from simplerl.train.resolve import RECIPES, as_table, flatten, parse_overrides, recipe_names, resolve

    if args.name is None:
        if args.overrides:
            raise ConfigError(f"{args.overrides[0]} needs the name of a recipe to lay it on: simplerl recipes NAME …")
        names = recipe_names()
        width = max(map(len, names))
        for name in names:
            about = tomllib.loads((RECIPES / f"{name}.toml").read_text(encoding="utf-8")).get("about", "")
            print(f"{name:{width}}  {about}")
        return 0
    for key, value in flatten(as_table(resolve(args.name, parse_overrides(args.overrides)))).items():
        print(f"{key} = {_toml(value)}")
    return 0


def _toml(value: object) -> str:
    """Return a value as TOML."""
    import json

    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
