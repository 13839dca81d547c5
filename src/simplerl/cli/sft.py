"""Fine-tune a model on responses to imitate: the cold start before reinforcement learning.

Demonstrations are rows with a question and a response (JSONL, JSON, Parquet or a hub data set), or `arithmetic-long`,
long self-checking responses for the cubs. Prompts are masked. The run directory is that of `simplerl train`, with the
same held-out evaluation and --resume; afterwards: simplerl train --model RUN. Every key of the configuration can be set
as --section.key VALUE; the section `sft` is this command's own.
"""

import argparse
import json
from dataclasses import dataclass

from simplerl.cli.options import RunOptions, add_options, option, settings

EXAMPLES = """\
  simplerl sft simplerl-cold-start --output-dir runs/cold
      the cub learns long, self-checking responses
  simplerl train simplerl-cold-start --model runs/cold
      then PPO from there
  simplerl sft --model DIR --sft.data responses.jsonl --template qwen-boxed --sft.lr 5e-6
  simplerl sft --output-dir runs/cold --resume
"""


NAMES = True


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Options of `simplerl sft`."""

    data: str | None = option(None, metavar="D")
    """Problems for the held-out evaluation."""
    output_dir: str | None = option(None, metavar="DIR")
    """Run directory (default: runs/ and a name)."""
    resume: bool = False
    """Continue the run in --output-dir."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_options(parser, Options)
    parser.set_defaults(takes_overrides=True)


def run(args: argparse.Namespace) -> int:
    """Fine-tune, then say what came of it."""
    from simplerl.train.resolve import configure

    config, path = configure(args.recipe, settings(args, Options, "resume"), resume=args.resume, prefix="sft_")

    from simplerl.cli.display import execute, show_ending
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
