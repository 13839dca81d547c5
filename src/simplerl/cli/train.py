"""`simplerl train`, `sft` and `star`: make a run, then show what came of it. `sample`: responses to imitate."""

import argparse
from typing import Any

from simplerl.cli.options import settings
from simplerl.config.resolve import configure, merge, resolve
from simplerl.core.errors import ConfigError


def run(args: argparse.Namespace) -> int:
    """Train, fine-tune or self-train; or only sample."""
    stage, overrides = args.command, settings(args)
    if stage == "sample":
        return _sample(args, overrides)
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
    show_outcome(stage, config, path)
    return 0


def _sample(args: argparse.Namespace, overrides: dict[str, Any]) -> int:
    """Write a model's responses as data to imitate."""
    if needless := sorted(overrides.keys() & {"algorithm", "reference"}):
        raise ConfigError(f"sampling learns nothing: leave out --{' and --'.join(needless)}")

    from simplerl.selftraining.star import WITHOUT_LEARNING, sample  # Torch, which a mistake above need not wait for.

    config = resolve(args.recipe, merge(overrides, WITHOUT_LEARNING))
    counts, written = sample(config, args.output, everything=args.all, say=lambda line: print(line, flush=True))
    verdicts = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    print(f"{counts.total()} responses: {verdicts}. {written} written to {args.output}")
    return 0
