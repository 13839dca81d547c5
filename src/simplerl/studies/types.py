"""What an experiment is: a question, the settings that answer it, and what to look at. Data only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from simplerl.analysis.seeds import Measure


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One setting that is compared."""

    label: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Laid on the recipe and on the experiment's own overrides."""
    recipe: str = ""
    """Empty: the experiment's recipe."""
    before: Mapping[str, Any] = field(default_factory=dict)
    """Laid on the experiment's overrides for a `simplerl sft` of the same seed, from whose model the run begins; empty:
    none."""
    against: str = ""
    """Label of the variant that it is compared with, seed by seed; empty: none."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A panel of the plot: a metric of metrics.jsonl while training goes on."""

    metric: str
    label: str
    share: bool = True
    block: int = 5
    """Steps whose mean makes a point; evaluations need no mean."""


@dataclass(frozen=True, kw_only=True)
class Bars:
    """A panel of the plot: a measure of each variant as a bar, each seed as a dot."""

    measure: Measure


@dataclass(frozen=True, kw_only=True)
class PassAtK:
    """A panel of the plot: pass@k against k, before and after."""

    label: str = "pass@k (%)"


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A question that is answered by runs: variants × seeds."""

    name: str
    question: str
    claim: str
    """What the paper says."""
    figures: str
    """The paper's numbers, as far as it gives them."""
    source: str
    """Where the paper says it."""
    remarks: str
    """What is different here, so that nobody compares what cannot be compared."""
    variants: tuple[Variant, ...]
    measures: tuple[Measure, ...]
    """The columns of the table. The first one is what `against` compares."""
    panels: tuple[Curve | Bars | PassAtK, ...]
    recipe: str = "cub"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """What all variants share, on top of the recipe."""
    against: Literal["step", "tokens"] = "step"
    """The x axis of the curves."""
