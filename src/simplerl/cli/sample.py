"""`simplerl sample`: responses of a model as data to imitate."""

import argparse

from simplerl.cli.options import settings
from simplerl.config.resolve import merge, resolve
from simplerl.core.errors import ConfigError


def run(args: argparse.Namespace) -> None:
    """Sample and write."""
    overrides = settings(args)
    if needless := sorted(overrides.keys() & {"algorithm", "reference"}):
        raise ConfigError(f"sampling learns nothing: leave out --{' and --'.join(needless)}")

    from simplerl.selftraining.sample import WITHOUT_LEARNING, sample  # Torch, which a mistake above need not wait for.

    config = resolve(args.recipe, merge(overrides, WITHOUT_LEARNING))
    counts, written = sample(config, args.output, everything=args.all, say=lambda line: print(line, flush=True))
    verdicts = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    print(f"{counts.total()} responses: {verdicts}. {written} written to {args.output}")
