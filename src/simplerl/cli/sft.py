"""`simplerl sft`: fine-tune on responses to imitate, the cold start before training."""

import argparse
import json

from simplerl.cli.options import settings
from simplerl.train.resolve import configure


def run(args: argparse.Namespace) -> int:
    """Fine-tune, then say what came of it."""
    config, path = configure(args.recipe, settings(args), resume=args.resume, prefix="sft_")

    from simplerl.cli.display import execute, show_ending  # Torch, which a mistake need not wait for.
    from simplerl.runs.directory import RunDirectory
    from simplerl.train.run import check_stage

    if args.resume and (path / "config.json").is_file():  # Before its configuration is found to have no demonstrations.
        check_stage(RunDirectory(path), "sft")
    outcome = execute("sft", config, path, resume=args.resume)
    if not outcome.finished:
        return show_ending(outcome, "sft", path)
    summary = json.loads((path / "summary.json").read_text(encoding="utf-8"))
    for name, figures in (("before", summary["base"]), ("after", summary["final"])):
        value, low, high = (100 * figures["acc"][key] for key in ("value", "low", "high"))
        print(f"{name:6}  held-out {value:.1f}% [{low:.1f}, {high:.1f}]  length {figures['tokens']['value']:.1f}")
    print(f"Run: {path}. Next: simplerl train {args.recipe or ''} --model {path}".replace("  ", " "))
    return 0
