"""Sample responses of a model into a JSONL file that `simplerl sft` reads: only the right ones, or all.

Rejection sampling: every training problem gets --sampling.samples-per-prompt responses, and those that the verifier
judges right and that ended by themselves are kept. With --all every response is kept, with its verdict.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from simplerl.cli.options import RunOptions, add_options, option, settings

EXAMPLES = """\
  simplerl sample --output right.jsonl --dataset.size 200
      what the cub gets right, to imitate
  simplerl sft --sft.data right.jsonl
  simplerl sample --model DIR --data math --template qwen-boxed --output all.jsonl --all
"""


NAMES = True


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Options of `simplerl sample`."""

    output: Path = option(metavar="FILE")
    """The JSONL file to write."""
    all: bool = False
    """Keep every response, not only the right ones."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_options(parser, Options)
    parser.set_defaults(takes_overrides=True)


def run(args: argparse.Namespace) -> int:
    """Sample and write."""
    from simplerl.core.errors import ConfigError
    from simplerl.train.resolve import merge, resolve
    from simplerl.train.sample import WITHOUT_LEARNING, sample

    overrides = settings(args, Options, "output", "all")
    if needless := sorted(overrides.keys() & {"algorithm", "reference"}):
        raise ConfigError(f"sampling learns nothing: leave out --{' and --'.join(needless)}")
    config = resolve(args.recipe, merge(overrides, WITHOUT_LEARNING))
    counts, written = sample(config, args.output, everything=args.all, say=lambda line: print(line, flush=True))
    verdicts = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    print(f"{counts.total()} responses: {verdicts}. {written} written to {args.output}")
    return 0
