"""`simplerl train`, `sft` and `star`: make a run, then show what came of it."""

import argparse
import json

from simplerl.analysis.estimates import shown
from simplerl.cli.options import settings
from simplerl.config.resolve import configure


def run(args: argparse.Namespace) -> int:
    """Train, fine-tune or self-train."""
    stage, overrides = args.command, settings(args)
    if stage == "star" and args.iterations:
        overrides["steps"] = args.iterations
    config, path = configure(args.recipe, overrides, resume=args.resume, stage=stage)
    if stage == "train" and args.dry_run:
        from simplerl.cli.plan import dry_run

        dry_run(config)
        return 0

    # Torch, which a mistake need not wait for.
    from simplerl.cli.display import execute, show_ending, show_outcome
    from simplerl.runs.directory import RunDirectory
    from simplerl.train.run import check_stage

    if args.resume and (path / "config.json").is_file():  # Before its configuration is found to have no demonstrations.
        check_stage(RunDirectory(path), stage)
    outcome = execute(stage, config, path, resume=args.resume)
    if not outcome.finished:
        return show_ending(outcome, stage, path)
    summary = json.loads((path / "summary.json").read_text(encoding="utf-8"))
    if stage != "sft":
        show_outcome(summary, path, config)
        return 0
    for name, figures in (("before", summary["base"]), ("after", summary["final"])):
        accuracy, length = shown(figures["acc"], unit="%"), shown(figures["tokens"]["value"], share=False)
        print(f"{name:6}  held-out {accuracy}  length {length}")
    print(f"Run: {path}. Next: simplerl train {args.recipe or ''} --model {path}".replace("  ", " "))
    return 0
