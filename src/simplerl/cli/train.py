"""Train a base model by reinforcement learning from verifiable rewards.

Without arguments: the embedded cub learns arithmetic on the CPU in about a minute. Every key of the configuration can
be set as --section.key VALUE; sections are dataset, sampling, algorithm, reward, verifier, rollout, optimizer, learner,
evaluation, checkpoint, doctor and tracking. `simplerl recipes NAME` prints every key with the value that a run would
use, and docs/configuration.md explains them. What the doctor finds is said while the run goes on (docs/doctor.md);
with --doctor.action stop a serious finding ends it, with a checkpoint and exit code 1.
"""

import argparse
import json
from dataclasses import dataclass

from simplerl.cli.options import RunOptions, add_options, option, settings

EXAMPLES = """\
  simplerl train
      the default: cub-qwen learns arithmetic, in about a minute on two cores
  simplerl train --model cub-llama --seed 1 --output-dir runs/llama
  simplerl train --model Qwen/Qwen2.5-0.5B --data gsm8k --template simple
      a real model on real data, on one GPU
  simplerl train --model DIR --data problems.jsonl --sampling.max-new-tokens 512 --optimizer.lr 1e-6
  simplerl train --output-dir runs/llama --resume
      continue a run that was stopped, or killed
  simplerl train --shuffle-rewards
      the control: rewards shuffled among responses, nothing to learn
"""


NAMES = True


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Options of `simplerl train`."""

    steps: str | None = option(None, metavar="N")
    """Rollout-and-update steps."""
    output_dir: str | None = option(None, metavar="DIR")
    """Run directory (default: runs/ and a name from the settings)."""
    resume: bool = False
    """Continue the run in --output-dir."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_options(parser, Options)
    parser.set_defaults(takes_overrides=True)


def run(args: argparse.Namespace) -> int:
    """Train, then show what came of it."""
    from simplerl.train.resolve import configure

    config, path = configure(args.recipe, settings(args, Options, "resume"), resume=args.resume)

    from simplerl.cli.display import execute, show_ending, show_outcome

    outcome = execute("train", config, path, resume=args.resume)
    if not outcome.finished:
        return show_ending(outcome, "train", path)
    show_outcome(json.loads((path / "summary.json").read_text(encoding="utf-8")), path, config)
    return 0
