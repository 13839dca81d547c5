"""List the shipped recipes, or print one fully resolved: every key with the value that a run would use.

What is printed is TOML and a recipe itself: saved as a file it is the very same run. A file of yours can extend any of
them (`extends = "NAME"`) and give only what differs.
"""

import argparse
from dataclasses import dataclass

from simplerl.cli.options import add_options, positional

EXAMPLES = """\
  simplerl recipes
  simplerl recipes qwen2.5-7b
  simplerl recipes generic --optimizer.lr 1e-6     what would this run use?
"""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of `simplerl recipes`."""

    name: str | None = positional(None)
    """A recipe to print; settings after it are laid on top."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_options(parser, Options)
    parser.set_defaults(takes_overrides=True)


def run(args: argparse.Namespace) -> int:
    """List, or resolve and print."""
    from simplerl.core.errors import ConfigError
    from simplerl.train.resolve import as_toml, merge, parse_overrides, recipe_header, resolve

    if args.name is None:
        if args.overrides:
            raise ConfigError(f"{args.overrides[0]} needs the name of a recipe to lay it on: simplerl recipes NAME …")
        _list()
        return 0
    config = resolve(args.name, merge(parse_overrides(args.overrides), {"plugins": args.plugin}))
    about = recipe_header(args.name)[0]
    print(f"# {args.name}" + (f": {about}" if about else ""))
    print(as_toml(config), end="")
    return 0


def _list() -> None:
    """Print the recipes in groups: name, model, data, template, and for those that differ in more, what they are."""
    from simplerl.train.resolve import recipe_header, recipe_names, resolve

    groups: dict[str, list[str]] = {
        "the cubs: tiny models, on a laptop": [],
        "SimpleRL-Zoo (arXiv 2503.18892): the paper's models, on its hardware": [],
        "any other model": [],
    }
    cubs, paper, other = groups.values()
    configs = {name: resolve(name, {}) for name in recipe_names()}
    for name, config in configs.items():
        (cubs if config.model.startswith("cub-") else paper if "simplerl-zoo" in _chain(name) else other).append(name)
    rows = {name: (name, config.model, config.data, config.template) for name, config in configs.items()}
    widths = [max(len(row[column]) for row in rows.values()) for column in range(3)]
    head = ("recipe", "model", "data", "template")
    print("  ".join(f"{text:{width}}" for text, width in zip(head, [widths[0] + 2, *widths[1:], 0], strict=True)))
    for title, names in groups.items():
        print(f"\n{title}")
        for name in sorted(names, key=lambda name: (len(_chain(name)), name)):
            cells = "  ".join(f"{text:{width}}" for text, width in zip(rows[name], [*widths, 0], strict=True))
            print(f"  {cells}".rstrip())
            if len(_chain(name)) == 1:
                print(f"      {recipe_header(name)[0]}")


def _chain(name: str) -> list[str]:
    """Return a recipe's name and those of what it extends."""
    from simplerl.train.resolve import recipe_header

    chain = [name]
    while base := recipe_header(chain[-1])[1]:
        chain.append(base)
    return chain
