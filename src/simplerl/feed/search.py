"""The query effect of B-STaR: what is selected of a draw, and which temperature and threshold have the most of it.

Self-training searches anew in every iteration (`selftraining/star.py`); reinforcement learning may let it choose the
sampling temperature every so many steps (`feed/adaptive.py`).
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simplerl.config.sections import StarConfig
from simplerl.core.errors import DataError
from simplerl.core.seeds import generator
from simplerl.core.types import Completion, Trajectory, TrajectoryGroup
from simplerl.feed.feed import at
from simplerl.ops import exploration
from simplerl.ops.statistics import powers_up_to
from simplerl.rollout.groups import Prompted, Rollout
from simplerl.runs.files import write_json


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """A point of the grid: how to sample, what to keep, and the mean query effect that it has on the subset."""

    temperature: float
    threshold: float
    query_effect: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Selection:
    """What a threshold leaves of one problem's responses."""

    kept: list[Trajectory]  # The first of each selected response: what is imitated
    selected: int  # Responses above the threshold, equal ones counted each time: n
    unique_right: int  # Unique right responses among them: n′


def select(group: TrajectoryGroup, threshold: float) -> Selection:
    """Select the complete, decided responses whose reward is above a threshold.

    A response that was cut at a limit is never imitated: it would teach not to end. An undecided one has no reward.
    """
    above = [
        t
        for t in group.trajectories
        if t.verdict.decided and t.completion.stop_reason in ("eos", "stop") and t.reward > threshold
    ]
    first: dict[str, Trajectory] = {}
    for trajectory in above:
        first.setdefault(exploration.normalised(trajectory.completion.text), trajectory)
    kept = list(first.values())
    return Selection(kept=kept, selected=len(above), unique_right=sum(t.verdict.correct for t in kept))


def mean_query_effect(chosen: Sequence[Selection], wanted: int) -> float:
    """Return the mean query effect over problems; one of which nothing is selected counts 0."""
    return float(np.mean([exploration.query_effect(c.unique_right, c.selected, wanted) for c in chosen]))


def best(points: Sequence[Choice]) -> Choice:
    """Return the point of the highest query effect; of equal ones the lowest temperature, then highest threshold."""
    return max(points, key=lambda point: (point.query_effect, -point.temperature, point.threshold))


def subset_of(problems: Sequence[Prompted], size: int, seed: int) -> list[Prompted]:
    """Return the training problems that are searched on: the same at every search."""
    order = generator(seed, "star-subset").permutation(len(problems))
    return [problems[i] for i in sorted(order[:size].tolist())]


def search(
    star: StarConfig,
    rollout: Rollout,
    subset: Sequence[Prompted],
    wanted: int,
    step: int,
    path: Path,
    on_response: Callable[[Completion], None],
) -> tuple[Choice, int]:
    """Return the best point of the grid and how many tokens finding it took; write the complete surface below `path`.

    All temperatures share their noise, so that they are compared on the same draws.
    """
    samples = rollout.samples
    sizes = powers_up_to(samples)
    surface: dict[int, list[Choice]] = {k: [] for k in sizes}
    tokens = right = 0
    for temperature in star.temperatures:
        groups = at(rollout, temperature).sample_groups(subset, purpose="search", step=step, on_response=on_response)
        members = [t for group in groups for t in group.trajectories]
        tokens += sum(len(t.completion.token_ids) for t in members)
        right += sum(t.verdict.correct for t in members)
        for k, threshold in itertools.product(sizes, star.thresholds):
            first = [dataclasses.replace(group, trajectories=group.trajectories[:k]) for group in groups]
            chosen = [select(group, threshold) for group in first]
            effect = mean_query_effect(chosen, wanted)
            surface[k].append(Choice(temperature=temperature, threshold=threshold, query_effect=effect))
    if not right:
        raise DataError(
            f"step {step}: no response to the {len(subset)} problems of the search is right, at none of the "
            f"temperatures {', '.join(f'{each:g}' for each in star.temperatures)}: every point of the grid has the "
            "query effect 0, and there is nothing to choose by. Give easier problems, more "
            "--sampling.samples-per-prompt, a larger --star.subset, or a model that solves some"
        )
    choice = best(surface[samples])
    record = {
        "step": step,
        "problems": len(subset),
        "wanted": wanted,
        "rule": "highest mean query effect; of equal ones the lowest temperature, then the highest threshold",
        "chosen": dataclasses.asdict(choice),
        "surface": {str(k): [dataclasses.asdict(point) for point in points] for k, points in surface.items()},
    }
    folder = path / "star"
    folder.mkdir(exist_ok=True)
    write_json(folder / f"step_{step:06d}.json", record)
    return choice, tokens
