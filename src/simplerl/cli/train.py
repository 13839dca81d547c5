"""`simplerl train`: reinforcement learning from verifiable rewards."""

import argparse
import json

from simplerl.cli.options import settings
from simplerl.train.resolve import configure


def run(args: argparse.Namespace) -> int:
    """Train, then show what came of it."""
    config, path = configure(args.recipe, settings(args), resume=args.resume)

    from simplerl.cli.display import execute, show_ending, show_outcome  # Torch, which a mistake need not wait for.

    outcome = execute("train", config, path, resume=args.resume)
    if not outcome.finished:
        return show_ending(outcome, "train", path)
    show_outcome(json.loads((path / "summary.json").read_text(encoding="utf-8")), path, config)
    return 0
