"""Everything that a report shows, made from what is on disk. The page only arranges it."""

from collections.abc import Callable
from typing import Any, TypeVar

from simplerl.analysis.estimates import Estimate
from simplerl.doctor import diagnose
from simplerl.report import figures, outcomes, settings
from simplerl.report.examples import choose
from simplerl.report.reading import ReportedRun, Sources, or_why

T = TypeVar("T")


class Content:
    """A report without its form. What is by a run's label has a sentence where there is nothing to show of it."""

    def __init__(
        self,
        sources: Sources,
        *,
        examples: int = 3,
        seed: int = 0,
        pdf: bool = True,
        progress: Callable[[str], None] = lambda _: None,
    ):
        """Make it. `progress` gets a word about each thing as it is made.

        `examples`: problems of each kind to show from each run; `seed`: of their draw; `pdf`: draw figures as PDF too.
        """
        self.per_kind, self.seed = examples, seed
        self.runs = runs = sources.runs
        self.groups = groups = settings.groups(runs)
        self.configuration = settings.configuration_differences(runs)
        self.environment, self.shared_environment = settings.environments(runs)

        def each(what: str, of: Callable[[ReportedRun], T]) -> dict[str, T | str]:
            by_label = {}
            for run in runs:
                progress(f"{what} {run.label}")
                by_label[run.label] = or_why(of, run)
            return by_label

        self.gains = each("comparing before and after:", outcomes.gain)
        self.diagnoses = each("diagnosing", lambda run: diagnose(run.path))
        self.judges = each("behaviours of", outcomes.read_judges)
        self.problems = each("problems of", outcomes.problems)
        self.explored = each("exploration of", outcomes.explore)
        choosing = "choosing responses of"
        self.examples = each(choosing, lambda run: choose(run, number=examples, seed=seed)) if examples else {}
        progress("comparing runs")
        self.against_first = outcomes.against_first(runs)
        several = any(len(group.independent) > 1 for group in groups)
        self.over_seeds = outcomes.over_seeds(groups) if several else []
        """Measures of every setting, where one has several seeds; empty where none has."""
        self.paired = [Estimate(), *(outcomes.paired_gain(group, groups[0]) for group in groups[1:])]
        """Final accuracy beside the first setting, seed by seed; no value with fewer than three shared seeds."""
        self.benchmarks = outcomes.Benchmarks(sources.results) if sources.results else None
        progress("drawing")
        shown: Any = {"explored": self.explored, "judges": self.judges, "benchmarks": self.benchmarks}
        self.figures = figures.draw_all(settings.series(groups), **shown, pdf=pdf)
        """By name, in the report's order."""
        self.damage = [*(line for run in runs for line in run.run.damage), *sources.damage]
