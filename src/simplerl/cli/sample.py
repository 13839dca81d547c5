"""Sample responses of a model into a JSONL file that `simplerl sft` reads: only the right ones, or all.

Rejection sampling: every training problem gets --sampling.samples-per-prompt responses, and those that the verifier
judges right and that ended by themselves are kept. With --all every response is kept, with its verdict.
"""

import argparse
from pathlib import Path

EXAMPLES = """\
  simplerl sample --output right.jsonl --dataset.size 200
      what the cub gets right, to imitate
  simplerl sft --sft.data right.jsonl
  simplerl sample --model DIR --data math --template qwen-boxed --output all.jsonl --all
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("recipe", nargs="?", help="a shipped recipe (simplerl recipes) or a .toml file")
    parser.add_argument("--output", metavar="FILE", required=True, help="the JSONL file to write")
    parser.add_argument("--all", action="store_true", help="keep every response, not only the right ones")
    parser.add_argument("--model", metavar="M", help="a cub, a model directory, a hub name or a run directory")
    parser.add_argument("--data", metavar="D", help="a data set, a .jsonl/.json/.parquet file or a hub data set")
    parser.add_argument("--template", metavar="T", help="prompt template: plain, simple, qwen-boxed … or a file")
    parser.add_argument("--seed", metavar="N", help="seed of everything that is drawn")
    parser.set_defaults(takes_overrides=True)


def run(args: argparse.Namespace) -> int:
    """Sample and write."""
    from simplerl.core.errors import ConfigError
    from simplerl.train.resolve import merge, parse_overrides, resolve
    from simplerl.train.sample import WITHOUT_LEARNING, sample

    keys = ("model", "data", "template", "seed")
    named = {key: getattr(args, key) for key in keys if getattr(args, key) is not None}
    overrides = merge(parse_overrides(args.overrides), named)
    if needless := sorted(overrides.keys() & {"algorithm", "reference"}):
        raise ConfigError(f"sampling learns nothing: leave out --{' and --'.join(needless)}")
    config = resolve(args.recipe, merge(overrides, WITHOUT_LEARNING))
    counts, written = sample(config, Path(args.output), everything=args.all, say=lambda line: print(line, flush=True))
    verdicts = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    print(f"{counts.total()} responses: {verdicts}. {written} written to {args.output}")
    return 0
