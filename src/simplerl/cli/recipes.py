"""`simplerl recipes`: list the shipped recipes, or print one fully resolved."""

import argparse

from simplerl.cli.options import settings
from simplerl.config.resolve import RECIPES, as_toml, recipe_chain, resolve
from simplerl.core.errors import ConfigError


def run(args: argparse.Namespace) -> None:
    """List, or resolve and print."""
    if args.name is None:
        if args.overrides:
            raise ConfigError(f"{args.overrides[0]} needs the name of a recipe to lay it on: simplerl recipes NAME …")
        _list()
        return
    text, about = as_toml(resolve(args.name, settings(args))), recipe_chain(args.name)[-1][1]
    print(f"# {args.name}{': ' * bool(about)}{about}\n{text}", end="")


def _list() -> None:
    """Print the recipes in groups: name, model, data, template, and for those that differ in more, what they are."""
    configs = {name: resolve(name, {}) for name in sorted(RECIPES)}
    chains = {name: recipe_chain(name) for name in configs}
    rows = {name: (name, config.model, config.data, config.template) for name, config in configs.items()}
    widths = [max(len(row[column]) for row in rows.values()) for column in range(3)]

    def line(cells: tuple[str, ...], first: int = widths[0]) -> str:
        return "  ".join(f"{text:{width}}" for text, width in zip(cells, [first, *widths[1:], 0], strict=True)).rstrip()

    cubs = {name for name, config in configs.items() if config.model.startswith("cub-")}
    paper = {name for name in configs if chains[name][0][0] == "simplerl-zoo"} - cubs
    print(line(("recipe", "model", "data", "template"), widths[0] + 2))
    for title, names in (
        ("the cubs: tiny models, on a laptop", cubs),
        ("SimpleRL-Zoo (arXiv 2503.18892): the paper's models, on its hardware", paper),
        ("any other model", configs.keys() - cubs - paper),
    ):
        print(f"\n{title}")
        for name in sorted(names, key=lambda name: (len(chains[name]), name)):
            print(f"  {line(rows[name])}")
            if len(chains[name]) == 1:
                print(f"      {chains[name][0][1]}")
