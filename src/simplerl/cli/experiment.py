"""Re-examine a finding of SimpleRL-Zoo on the cubs: several settings × several seeds, a table, a plot.

Without a name: the experiments and the questions that they answer. Each run is a child process with one thread. What
was interrupted goes on with the same command; finished runs are not run again. The results (results.json, table.md,
plot.png) are made from the run directories alone. docs/findings.md shows what came out here.
"""

import argparse
import shlex

EXAMPLES = """\
  simplerl experiment
      the experiments and their questions
  simplerl experiment pass-at-k
  simplerl experiment group-size --seeds 5 --jobs 2 --output-dir runs/groups
  simplerl experiment control --quick
      see that it works, in a minute
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from simplerl.cli.study import add_study_arguments

    parser.add_argument("name", nargs="?", help="the experiment; none: list them")
    add_study_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """List the experiments, or run one."""
    from simplerl.core.errors import ConfigError, nearest
    from simplerl.studies import EXPERIMENTS

    if args.name is None:
        width = max(map(len, EXPERIMENTS))
        for name, experiment in EXPERIMENTS.items():
            runs = len(experiment.variants) * args.seeds
            print(f"{name:{width}}  {experiment.question} ({runs} runs with {args.seeds} seeds)")
        return 0
    if args.name not in EXPERIMENTS:
        raise ConfigError(f"unknown experiment {args.name!r}; {nearest(args.name, EXPERIMENTS)}")
    from simplerl.cli.study import run_study

    quick = " --quick" if args.quick else ""
    command = f"simplerl experiment {shlex.quote(args.name)} --seeds {args.seeds}{quick}"
    return run_study(EXPERIMENTS[args.name], args, command=command)
