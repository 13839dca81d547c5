"""Fine-tune a model on responses to imitate: the cold start before reinforcement learning.

Demonstrations are rows with a question and a response (JSONL, JSON, Parquet or a hub data set), or `arithmetic-long`,
long self-checking responses for the cubs. Prompts are masked. The run directory is that of `simplerl train`, with the
same held-out evaluation and --resume; afterwards: simplerl train --model RUN. Every key of the configuration can be set
as --section.key VALUE; the section `sft` is this command's own.
"""

import argparse
import time
from pathlib import Path
from typing import Any

EXAMPLES = """\
  simplerl sft simplerl-cold-start --output-dir runs/cold
      the cub learns long, self-checking responses
  simplerl train simplerl-cold-start --model runs/cold
      then PPO from there
  simplerl sft --model DIR --sft.data responses.jsonl --template qwen-boxed --sft.lr 5e-6
  simplerl sft --output-dir runs/cold --resume
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("recipe", nargs="?", help="a shipped recipe (simplerl recipes) or a .toml file")
    parser.add_argument("--model", metavar="M", help="a cub, a model directory, a hub name or a run directory")
    parser.add_argument("--data", metavar="D", help="problems for the held-out evaluation")
    parser.add_argument("--template", metavar="T", help="prompt template: plain, simple, qwen-boxed … or a file")
    parser.add_argument("--seed", metavar="N", help="seed of everything that is drawn")
    parser.add_argument("--output-dir", metavar="DIR", help="run directory (default: runs/ and a name)")
    parser.add_argument("--resume", action="store_true", help="continue the run in --output-dir")
    parser.set_defaults(takes_overrides=True)


class Lines:
    """Listens to a run and prints its lines."""

    def __init__(self, steps: int):
        self.steps = steps

    def say(self, message: str) -> None:
        """Print a line."""
        print(message, flush=True)

    def phase(self, name: str, total: int) -> None:
        """Nothing to show."""

    def advance(self) -> None:
        """Nothing to show."""

    def step(self, step: int, metrics: dict[str, Any], groups: list[Any]) -> None:
        """Print the first and last steps, every tenth, and evaluations."""
        held_out = metrics.get("eval/accuracy")
        shown = f"  held-out {100 * held_out:.1f}%, length {metrics['eval/length']:.1f}" if held_out is not None else ""
        if step == 0:
            self.say(f"before:{shown}")
        elif shown or step % 10 == 0 or step == 1:
            self.say(f"step {step}/{self.steps}  loss {metrics['sft/loss']:.4f}{shown}")


def run(args: argparse.Namespace) -> int:
    """Fine-tune, then say what came of it."""
    began = time.perf_counter()
    from simplerl.train.resolve import merge, parse_overrides, read_config, resolve, run_name

    keys = ("model", "data", "template", "seed", "output_dir")
    named = {key: getattr(args, key) for key in keys if getattr(args, key) is not None}
    overrides = merge(parse_overrides(args.overrides), named)
    if args.resume and args.recipe is None and "output_dir" in overrides:
        config = read_config(Path(overrides["output_dir"]), overrides)
    else:
        config = resolve(args.recipe, overrides)
    path = Path(config.output_dir or Path("runs") / f"sft_{run_name(args.recipe, overrides, config)}")

    from simplerl.analysis.summary import summarise
    from simplerl.cli.display import stopped_by_doctor
    from simplerl.runs.directory import RunDirectory
    from simplerl.runs.files import write_json
    from simplerl.train.resume import check_stage
    from simplerl.train.sft import sft

    if args.resume and (path / "config.json").is_file():  # Before its configuration is found to have no demonstrations.
        check_stage(RunDirectory(path), "sft")
    outcome = sft(config, path, resume=args.resume, listener=Lines(config.sft.steps))
    if not outcome.finished:
        if outcome.finding:
            print(stopped_by_doctor(outcome.finding))
        print(f"stopped after step {outcome.step}. Continue with: simplerl sft --output-dir {path} --resume")
        return 1 if outcome.finding else 130
    summary = summarise(path, seconds=time.perf_counter() - began)
    write_json(path / "summary.json", summary)
    base, final = summary["base"], summary["final"]
    for name, figures in (("before", base), ("after", final)):
        value, low, high = (100 * figures["acc"][key] for key in ("value", "low", "high"))
        print(f"{name:6}  held-out {value:.1f}% [{low:.1f}, {high:.1f}]  length {figures['tokens']['value']:.1f}")
    print(f"Run: {path}. Next: simplerl train {args.recipe or ''} --model {path}".replace("  ", " "))
    return 0
