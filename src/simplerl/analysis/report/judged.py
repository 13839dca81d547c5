"""Cognitive behaviours in a report: the share of a run's responses in which a judge saw each, over steps."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simplerl.analysis.report.records import Estimate, Run
from simplerl.errors import RunError
from simplerl.ops.statistics import bootstrap_ratios
from simplerl.runs.behaviours import BEHAVIOURS, Judgement, read_behaviours

#: The judge that is a list of patterns: quick, offline, and weaker than a model that reads.
KEYWORDS = "keywords"

#: What is said of a run that nobody judged.
NOBODY = "No responses were judged yet."

#: Judges of one run that are drawn.
MOST_JUDGES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Judge:
    """What one judge saw."""

    name: str
    judged: int
    undecided: int
    """Responses for which it gave no answer that could be read."""
    curves: Mapping[str, Sequence[tuple[float, Estimate]]]
    """Behaviour → (step, share of responses), with 95% intervals over problems."""


def read_judges(run: Run) -> list[Judge] | str:
    """Return what each judge saw, those that read before those that match words; a sentence where nobody judged."""
    try:
        found = [j for j in read_behaviours(run.path) if j.step is not None]
    except RunError as error:
        return str(error)
    if not found:
        return NOBODY
    by_judge: dict[str, list[Judgement]] = {}
    for judgement in found:
        by_judge.setdefault(judgement.judge, []).append(judgement)
    names = sorted(by_judge, key=lambda name: (name == KEYWORDS, -len(by_judge[name]), name))
    return [_judge(name, by_judge[name]) for name in names[:MOST_JUDGES]]


def _judge(name: str, judgements: Sequence[Judgement]) -> Judge:
    # Judgements by other patterns, or of another prompt, are not mixed: those that are most are shown.
    (settings, _), *_ = Counter(j.settings for j in judgements).most_common(1)
    own = [j for j in judgements if j.settings == settings]
    steps = sorted({j.step for j in own})
    return Judge(
        name=name,
        judged=sum(j.status == "judged" for j in own),
        undecided=sum(j.status != "judged" for j in own),
        curves={
            behaviour: [
                (float(step), share)
                for step in steps
                if (share := _share([j for j in own if j.step == step], behaviour)).known
            ]
            for behaviour in BEHAVIOURS
        },
    )


def _share(judgements: Sequence[Judgement], behaviour: str) -> Estimate:
    """Return the share of responses that show a behaviour among those of which that is known."""
    known = [(j.problem_id, shows) for j in judgements if (shows := j.shows(behaviour)) is not None]
    if not known:
        return Estimate()
    place = {problem: number for number, problem in enumerate(dict.fromkeys(problem for problem, _ in known))}
    problem_B = np.array([place[problem] for problem, _ in known])
    above_P = np.bincount(problem_B, weights=np.array([float(shows) for _, shows in known]))
    below_P = np.bincount(problem_B).astype(float)
    low, high = bootstrap_ratios(above_P[:, None], below_P[:, None])
    return Estimate(value=float(above_P.sum() / below_P.sum()), low=float(low[0]), high=float(high[0]))
