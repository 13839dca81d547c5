"""Race algorithms on the cub: the same problems, tokens and evaluation for each, ended by a budget of tokens.

Each algorithm runs with its recipe `cub-NAME` where there is one, else with the recipe `cub`. The table and the plot
show accuracy, pass@8, entropy, length and the tokens that carried gradient, with 95% intervals over seeds.
"""

import argparse

EXAMPLES = """\
  simplerl race grpo
  simplerl race grpo --seeds 5 --budget 100000 --jobs 2
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from simplerl.cli.experiment import add_study_arguments, positive

    parser.add_argument(
        "algorithms", nargs="+", metavar="ALGORITHM", help="names, as in algorithm.name; all: every one"
    )
    add_study_arguments(parser)
    parser.add_argument(
        "--budget", type=positive, metavar="TOKENS", help="response tokens sampled by each run (default: 300,000)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the race."""
    from simplerl.algorithms import ALGORITHMS
    from simplerl.cli.experiment import run_study
    from simplerl.studies.race import BUDGET, race

    names = list(ALGORITHMS) if args.algorithms == ["all"] else args.algorithms
    budget = args.budget or BUDGET
    quick = " --quick" if args.quick else ""
    command = f"simplerl race {' '.join(names)} --seeds {args.seeds} --budget {budget}{quick}"
    return run_study(race(names, budget=budget), args, command=command)
