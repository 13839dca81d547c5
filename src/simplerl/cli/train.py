"""Train a base model by reinforcement learning from verifiable rewards.

Without arguments: the embedded cub learns arithmetic on the CPU in about a minute. Every key of the configuration can
be set as --section.key VALUE; sections are dataset, sampling, algorithm, reward, verifier, rollout, optimizer, learner,
evaluation, checkpoint, doctor and tracking. `simplerl recipes NAME` prints every key with the value that a run would
use, and docs/configuration.md explains them. What the doctor finds is said while the run goes on (docs/doctor.md);
with --doctor.action stop a serious finding ends it, with a checkpoint and exit code 1.
"""

import argparse
import json
from pathlib import Path

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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("recipe", nargs="?", help="a shipped recipe (simplerl recipes) or a .toml file")
    parser.add_argument("--model", metavar="M", help="a cub, a model directory, a hub name or a run directory")
    parser.add_argument("--data", metavar="D", help="a data set, a .jsonl/.json/.parquet file or a hub data set")
    parser.add_argument("--template", metavar="T", help="prompt template: plain, simple, qwen-boxed … or a file")
    parser.add_argument("--steps", metavar="N", help="rollout-and-update steps")
    parser.add_argument("--seed", metavar="N", help="seed of everything that is drawn")
    parser.add_argument(
        "--output-dir", metavar="DIR", help="run directory (default: runs/ and a name from the settings)"
    )
    parser.add_argument("--resume", action="store_true", help="continue the run in --output-dir")

    parser.set_defaults(takes_overrides=True)


def run(args: argparse.Namespace) -> int:
    """Train, then show what came of it."""
    from simplerl.cli.display import Terminal, show_outcome, stopped_by_doctor
    from simplerl.train.resolve import merge, parse_overrides, read_config, resolve, run_name

    named = {
        key: getattr(args, key)
        for key in ("model", "data", "template", "steps", "seed", "output_dir")
        if getattr(args, key) is not None
    }
    overrides = merge(parse_overrides(args.overrides), named)
    if args.resume and args.recipe is None and "output_dir" in overrides:
        config = read_config(Path(overrides["output_dir"]), overrides)
    else:
        config = resolve(args.recipe, overrides)
    path = Path(config.output_dir or Path("runs") / run_name(args.recipe, overrides, config))

    from simplerl.cli.trackers import Trackers
    from simplerl.train.loop import train
    from simplerl.train.resolve import as_table, flatten

    trackers = Trackers(config.tracking.trackers, config.tracking.project, path, flatten(as_table(config)))
    with Terminal(config, path, trackers) as terminal:
        try:
            outcome = train(config, path, resume=args.resume, callbacks=[terminal])
        finally:
            trackers.finish()
    if not outcome.finished:
        if outcome.finding:
            print(stopped_by_doctor(outcome.finding))
        print(f"stopped after step {outcome.step}. Continue with: simplerl train --output-dir {path} --resume")
        return 1 if outcome.finding else 130
    show_outcome(json.loads((path / "summary.json").read_text(encoding="utf-8")), path, config)
    return 0
