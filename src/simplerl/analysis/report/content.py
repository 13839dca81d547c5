"""Everything that a report shows, as frozen data, made from what was found on disk. The page only arranges it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from simplerl.analysis.report import benchmark_figures, drawing, figures, settings, summary
from simplerl.analysis.report.benchmarks import Benchmarks, read_benchmarks
from simplerl.analysis.report.drawing import Figure
from simplerl.analysis.report.examples import Examples, choose
from simplerl.analysis.report.exploring import Explored, explore
from simplerl.analysis.report.judged import Judge, read_judges
from simplerl.analysis.report.records import Estimate, Found, Run
from simplerl.analysis.report.settings import Group, Series
from simplerl.core.errors import RunError
from simplerl.doctor import Diagnosis, diagnose

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
class Setting:
    """A setting over its seeds."""

    group: Group
    measures: Sequence[summary.OverSeeds]
    beside: Estimate
    """Final accuracy beside the first setting, seed by seed; no value with fewer than three shared seeds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """A report without its form."""

    runs: Sequence[Run]
    groups: Sequence[Group]
    series: Sequence[Series]
    outcomes: Sequence[summary.Outcome]
    seeds: Sequence[Setting]
    """Every setting, where one has several seeds; empty where none has."""
    against_first: dict[str, summary.Change | str]
    configuration: dict[str, tuple[Any, ...]]
    environment: dict[str, tuple[Any, ...]]
    shared_environment: dict[str, Any]
    diagnoses: dict[str, Diagnosis | str]
    """By the run's label; a sentence where there is nothing to judge."""
    judges: dict[str, list[Judge] | str]
    """By the run's label; a sentence where nobody judged."""
    explored: dict[str, Explored | str]
    """By the run's label; a sentence where there is nothing to say."""
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
    diagnoses: dict[str, Diagnosis | str] = {}
    for run in runs:
        progress(f"diagnosing {run.label}")
        diagnoses[run.label] = _diagnosed(run)
    judges = {run.label: read_judges(run) for run in runs}
    explored: dict[str, Explored | str] = {}
    for run in runs:
        progress(f"exploration of {run.label}")
        explored[run.label] = explore(run)
    progress("comparing runs")
    benchmarks = read_benchmarks(found.results, progress=progress) if found.results else None
    planned = figures.of_runs(drawn, explored=explored, judges=judges) if runs else []
    if benchmarks:
        planned += benchmark_figures.of_benchmarks(benchmarks)
    made: dict[str, Figure] = {}
    for one in planned:
        progress(f"drawing {one.title}")
        if figure := drawing.render(one, pdf=options.pdf):
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
        seeds=_settings(groups),
        against_first=summary.against_first(runs),
        configuration=settings.configuration_differences(runs) if runs else {},
        environment=settings.environment_differences(runs),
        shared_environment=settings.shared_environment(runs),
        diagnoses=diagnoses,
        judges=judges,
        explored=explored,
        figures=made,
        examples=examples,
        benchmarks=benchmarks,
        damage=[*(line for run in runs for line in run.damage), *found.damage],
        options=options,
    )


def _diagnosed(run: Run) -> Diagnosis | str:
    try:
        return diagnose(run.path)
    except RunError as error:
        return str(error)


def _settings(groups: Sequence[Group]) -> list[Setting]:
    if not any(len(group.independent) > 1 for group in groups):
        return []
    return [
        Setting(
            group=group,
            measures=summary.over_seeds(group),
            beside=Estimate() if group is groups[0] else summary.paired_gain(group, groups[0]),
        )
        for group in groups
    ]
