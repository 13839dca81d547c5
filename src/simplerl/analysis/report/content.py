"""Everything that a report shows, as frozen data, made from what was found on disk. The page only arranges it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from simplerl.analysis.report import figures, settings, summary
from simplerl.analysis.report.benchmarks import Benchmarks, read_benchmarks
from simplerl.analysis.report.examples import Examples, choose
from simplerl.analysis.report.figures import Figure
from simplerl.analysis.report.records import Found, Run
from simplerl.analysis.report.settings import Group, Series

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What a person chose."""

    examples: int = 3
    """Problems of each kind to show from each run."""
    seed: int = 0
    """Of the draw of examples."""
    pdf: bool = True
    """Whether figures are drawn as PDF too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """A report without its form."""

    runs: Sequence[Run]
    groups: Sequence[Group]
    series: Sequence[Series]
    outcomes: Sequence[summary.Outcome]
    against_first: dict[str, summary.Change | str]
    configuration: dict[str, tuple[Any, ...]]
    environment: dict[str, tuple[Any, ...]]
    shared_environment: dict[str, Any]
    figures: dict[str, Figure]
    """By name, in the report's order."""
    examples: dict[str, Examples | str]
    """By the run's label."""
    benchmarks: Benchmarks | None
    damage: Sequence[str]
    """Everything that was left out, of runs and results."""
    options: Options


def make(found: Found, options: Options, *, progress: Progress = lambda _: None) -> Content:
    """Make the content of a report. `progress` is told what is being made."""
    runs = found.runs
    groups = settings.groups(runs)
    drawn = settings.series(groups)
    outcomes = []
    for run in runs:
        progress(f"comparing {run.label} before and after")
        outcomes.append(summary.outcome(run))
    progress("comparing runs")
    benchmarks = read_benchmarks(found.results, progress=progress) if found.results else None
    planned = figures.of_runs(drawn) if runs else []
    if benchmarks:
        planned += figures.of_benchmarks(benchmarks)
    made: dict[str, Figure] = {}
    for drawing in planned:
        progress(f"drawing {drawing.title}")
        if figure := figures.render(drawing, pdf=options.pdf):
            made[figure.name] = figure
    examples: dict[str, Examples | str] = {}
    for run in runs:
        progress(f"choosing responses of {run.label}")
        if options.examples:
            examples[run.label] = choose(run, number=options.examples, seed=options.seed)
    return Content(
        runs=runs,
        groups=groups,
        series=drawn,
        outcomes=outcomes,
        against_first=summary.against_first(runs),
        configuration=settings.configuration_differences(runs) if runs else {},
        environment=settings.environment_differences(runs),
        shared_environment=settings.shared_environment(runs),
        figures=made,
        examples=examples,
        benchmarks=benchmarks,
        damage=[*(line for run in runs for line in run.damage), *found.damage],
        options=options,
    )
