"""`simplerl cub`: the embedded tiny base models."""

import argparse

from simplerl.core.errors import ConfigError, nearest
from simplerl.models import cub


def run(args: argparse.Namespace) -> None:
    """List the cubs, or show a model card."""
    if args.action == "list":
        for name in cub.NAMES:
            print(f"{name:12} {cub.path(name)}")
        return
    if args.name not in cub.NAMES:
        raise ConfigError(f"unknown cub {args.name!r}; {nearest(args.name or '', cub.NAMES)}")
    print((cub.path(args.name) / "README.md").read_text(encoding="utf-8"))
