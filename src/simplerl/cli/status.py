"""`simplerl status`: what a run is doing, and who waits for whom, for how long."""

import argparse
import math
import time
from collections.abc import Iterator
from typing import Any

from simplerl.cli.console import printable
from simplerl.cli.options import TABLES
from simplerl.core.errors import RunError
from simplerl.runs.files import LockedDirectory
from simplerl.runs.metrics import as_number
from simplerl.runs.run import Run

#: Phase of training, and state of an engine → what is done in it.
PHASES, ENGINES = TABLES["words"]["phases"], TABLES["words"]["engines"]


def run(args: argparse.Namespace) -> None:
    """Show each run."""
    for path in args.runs:
        print("\n".join(lines(Run(path))))


def lines(run: Run) -> Iterator[str]:
    """Yield what there is to say of a run, line by line; every line is safe to print."""
    if run.is_result:
        raise RunError(f"{run.path} is a result of simplerl eval, which does nothing; give the directory of a run")
    try:
        held = LockedDirectory(run.path).held
    except RunError:  # A directory that this user may not write to: whether somebody else does is not known.
        held = False
    table, now = run.status, time.time()
    seen = as_number(table.get("time"))
    steps = run.setting("steps", "?")
    head = f"{printable(str(run.path))}: step {run.last_step} of {printable(str(steps))}"
    if not held and run.summary:
        yield f"{head}, finished"
        return
    if not held:
        sign = f"; its last sign is {lasting(now - seen)} old, when training {_phase(table)}" if seen > 0 else ""
        yield f"{head}, is not running{sign}"
        yield f"  go on: simplerl {printable(run.stage)} --output-dir {printable(str(run.path))} --resume"
        return
    if math.isnan(seen):
        yield f"{head}, runs; it says nothing of what it is doing"
        return
    yield f"{head}, runs (process {_number(table.get('pid'))} on {printable(str(table.get('host')), 60)})"
    yield f"  training  {_phase(table)}, for {lasting(now - as_number(table.get('since')))}"
    if isinstance(ahead := table.get("ahead"), dict):
        doing = printable(str(ahead.get("doing")), 100)
        yield f"  sampling  {doing}, for {lasting(now - as_number(ahead.get('since')))}"
    ranks = table.get("ranks")
    hosts = [str(rank.get("host")) for rank in ranks if isinstance(rank, dict)] if isinstance(ranks, list) else []
    if len(hosts) > 1:
        where = ", ".join(f"{hosts.count(host)} on {printable(host, 60)}" for host in dict.fromkeys(hosts))
        yield f"  learner   {len(hosts)} ranks: {where}"
    engines = table.get("engines")
    for engine in engines if isinstance(engines, list) else ():
        if isinstance(engine, dict):
            doing = ENGINES.get(str(engine.get("state")), "?").format_map({n: _number(engine.get(n)) for n in _NUMBERS})
            silent = lasting(now - as_number(engine.get("heard")))
            starts = as_number(engine.get("starts"))
            again = f", started {starts:.0f} times" if starts > 1 else ""
            yield f"  engine {_number(engine.get('engine'))}  {doing}; last sign {silent} ago{again}"


_NUMBERS = ("owes", "version")


def _phase(table: dict[str, Any]) -> str:
    return PHASES.get(str(table.get("phase")), "begins").format(step=_number(table.get("step")))


def _number(value: Any) -> str:
    return "?" if math.isnan(number := as_number(value)) else f"{number:.0f}"


def lasting(seconds: float) -> str:
    """Return a duration in words; nan is an unknown one."""
    if math.isnan(seconds):
        return "an unknown time"
    seconds = max(0.0, seconds)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
