"""`simplerl star`: self-training, with exploration and exploitation in balance."""

import argparse
import json

from simplerl.cli.options import settings
from simplerl.train.resolve import configure


def run(args: argparse.Namespace) -> int:
    """Train by self-training, then show what came of it."""
    overrides = settings(args) | ({"steps": args.iterations} if args.iterations else {})
    config, path = configure(args.recipe, overrides, resume=args.resume, prefix="star_")

    from simplerl.cli.display import execute, show_ending, show_outcome  # Torch, which a mistake need not wait for.

    outcome = execute("star", config, path, resume=args.resume)
    if not outcome.finished:
        return show_ending(outcome, "star", path)
    show_outcome(json.loads((path / "summary.json").read_text(encoding="utf-8")), path, config)
    return 0
