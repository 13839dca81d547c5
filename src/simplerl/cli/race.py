"""`simplerl race`: algorithms at equal tokens."""

import argparse

from simplerl.algorithms import ALGORITHMS
from simplerl.cli.experiment import run_study
from simplerl.studies.race import BUDGET, race


def run(args: argparse.Namespace) -> int:
    """Run the race."""
    names = list(ALGORITHMS) if args.algorithms == ["all"] else args.algorithms
    budget = args.budget or BUDGET
    return run_study(race(names, budget=budget), args, f"race {' '.join(names)}", f" --budget {budget}")
