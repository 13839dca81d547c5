"""What runs have in common and where they differ: configuration, environment, and which are one setting over seeds."""

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from simplerl.report.reading import ReportedRun

#: Keys that do not make another setting: the seed, where the run lies, and who is told about it.
NOT_A_SETTING = ("seed", "output_dir", "tracking.")

#: Keys that a reader wants to see even where all runs agree.
ALWAYS = ("model", "data", "algorithm.name", "seed")

#: Runs with different seeds from which an interval over seeds is given.
ENOUGH_SEEDS = 3

#: Parts of an environment that name the machine's own paths or change with every session.
_NOT_ENVIRONMENT = ("start_step", "data_origin", "data.left_out", "base_model.path", "reference.path")

Differences = dict[str, tuple[Any, ...]]
"""Key → the value of each run."""


class Group(NamedTuple):
    """Runs of one setting; in figures a curve, which is that of a setting over its seeds or of one run."""

    name: str
    runs: tuple[ReportedRun, ...]
    number: int = 0  # Colour, marker and line everywhere

    @property
    def independent(self) -> tuple[ReportedRun, ...]:
        """One run of each seed, the first given: two of one seed say nothing about other seeds."""
        by_seed: dict[str, ReportedRun] = {}
        for run in self.runs:
            by_seed.setdefault(json.dumps(run.seed, default=str), run)
        return tuple(by_seed.values())

    @property
    def over_seeds(self) -> bool:
        """Whether there are seeds enough for an interval over them."""
        return len(self.independent) >= ENOUGH_SEEDS


def groups(runs: Sequence[ReportedRun]) -> tuple[Group, ...]:
    """Return the runs by setting, in the order in which settings appear."""
    by_key: dict[str, list[ReportedRun]] = {}
    for run in runs:
        # A setting is the configuration, the command, and what the data and base model really were.
        values = {key: value for key, value in run.settings.items() if not key.startswith(NOT_A_SETTING)}
        hashes = {key: value for key, value in run.environment.items() if key.endswith("sha256")}
        by_key.setdefault(_text([run.run.stage, values, hashes]), []).append(run)
    named: dict[str, Group] = {}
    for members in by_key.values():
        base = members[0].label if len(members) == 1 else _common_name(members)
        name = next(n for n in (base, *(f"{base} #{i}" for i in range(2, len(named) + 2))) if n not in named)
        named[name] = Group(name, tuple(members))
    return tuple(named.values())


def series(settings: Sequence[Group]) -> tuple[Group, ...]:
    """Return what figures draw: a setting with seeds enough as one curve, every other run as its own."""
    drawn: list[tuple[str, tuple[ReportedRun, ...]]] = []
    for group in settings:
        if group.over_seeds:
            drawn.append((f"{group.name} ({len(group.independent)} seeds)", group.independent))
        else:
            drawn += [(run.label, (run,)) for run in group.runs]
    return tuple(Group(name, runs, number) for number, (name, runs) in enumerate(drawn))


def _common_name(runs: Sequence[ReportedRun]) -> str:
    """Return what the names of several runs begin with; the model and algorithm where that is too little."""
    columns = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*(r.label for r in runs), strict=False))
    common = "".join(letters[0] for letters in columns).rstrip("0123456789")
    common = re.sub(r"(^|[_\-. /])(seed|run|s)?[_\-. /]*$", "", common)
    known = (str(runs[0].settings.get(key, "?")) for key in ("model", "algorithm.name"))
    return common if len(common) >= 3 else " ".join(known)


def _differences(tables: Sequence[Mapping[str, Any]], *, always: Sequence[str] = ()) -> Differences:
    """Return the keys whose values differ between tables, with every table's value (None: it lacks the key).

    `always` keys come first.
    """
    keys = dict.fromkeys(key for key in always if any(key in table for table in tables))
    keys |= dict.fromkeys(key for table in tables for key in table)
    rows = {key: tuple(table.get(key) for table in tables) for key in keys}
    return {key: row for key, row in rows.items() if key in always or len(set(map(_text, row))) > 1}


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def configuration_differences(runs: Sequence[ReportedRun]) -> Differences:
    """Return the keys of the configuration that differ, and those that a reader always wants."""
    tables = [{"stage": r.run.stage, **{k: v for k, v in r.settings.items() if k != "output_dir"}} for r in runs]
    return _differences(tables, always=ALWAYS)


def environments(runs: Sequence[ReportedRun]) -> tuple[Differences, dict[str, Any]]:
    """Return what differs between the environments of runs (versions, commit, machine, data), and what they share."""
    tables = [{k: v for k, v in run.environment.items() if not k.startswith(_NOT_ENVIRONMENT)} for run in runs]
    differ = _differences(tables)
    return differ, {key: value for table in tables[:1] for key, value in table.items() if key not in differ}
