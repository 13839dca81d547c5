"""The responses of one step as figures: shares of them with each trait, and how their length goes with their reward.

The same extraction serves records on disk and the groups of a run that is going on.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from simplerl.doctor.observation import Example
from simplerl.doctor.text import TRAITS

if TYPE_CHECKING:
    from simplerl.runs.responses import Answer

#: Responses of a step that are looked at; of more, whole problems evenly apart.
MOST = 512
#: Characters of an example that are kept.
EXCERPT = 300


def step_features(step: int, responses: Sequence["Answer"]) -> tuple[dict[str, float], dict[str, list[Example]]]:
    """Return (figures, one example for each trait that was seen) of a step's responses; empty without any."""
    chosen = thin(responses)
    if not chosen:
        return {}, {}
    showing = {name: [r for r in chosen if shows(r.response, r.question)] for name, shows in TRAITS.items()}
    shares = {name: len(responses) / len(chosen) for name, responses in showing.items()}
    valued = [response for response in chosen if response.correct or response.restating]
    if valued and any(response.rule for response in chosen):
        showing["text/restating"] = [response for response in valued if response.restating]
        shares["text/restating"] = len(showing["text/restating"]) / len(valued)
    examples = {name: [_example(step, name, first[0])] for name, first in showing.items() if first}
    return {"text/responses": len(chosen), **shares, **correlations(chosen)}, examples


def thin(responses: Sequence["Answer"]) -> Sequence["Answer"]:
    """Return at most `MOST` responses, of whole problems that lie evenly apart (of one huge problem: its first)."""
    if len(responses) <= MOST:
        return responses
    groups: dict[str, list[Answer]] = defaultdict(list)
    for response in responses:
        groups[response.problem_id].append(response)
    problems = list(groups.values())
    wanted = max(1, int(MOST / (len(responses) / len(problems))))
    chosen = [problems[i * len(problems) // wanted] for i in range(min(wanted, len(problems)))]
    return [response for group in chosen for response in group][:MOST]


def _example(step: int, name: str, response: "Answer") -> Example:
    """Return a response cut to where the trait shows: the end for repetition, else the beginning."""
    at_the_end = name in ("text/repetition", "text/restating")
    excerpt = response.response[-EXCERPT:] if at_the_end else response.response[:EXCERPT]
    return Example(step=step, problem_id=response.problem_id, sample=response.sample, excerpt=excerpt)


def correlations(responses: Sequence["Answer"]) -> dict[str, float]:
    """Return the correlation of length and reward within problems, and within problem and verdict, with their errors.

    A figure is left out where nothing varies: under a reward that is the verdict, none of the second kind exists.
    """
    figures: dict[str, float] = {}
    for name, by_verdict in (("text/reward_length", False), ("text/reward_length_same_verdict", True)):
        groups: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
        for r in responses:
            if r.reward is not None and r.tokens is not None and math.isfinite(r.reward):
                groups[r.problem_id, r.status if by_verdict else ""].append((float(r.tokens), r.reward))
        sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(3))
        for (problem, _), pairs in groups.items():
            x, y = np.array(pairs).T
            x, y = x - x.mean(), y - y.mean()
            sums[problem] += np.array([x @ y, x @ x, y @ y])
        result = pooled(np.array(list(sums.values()))) if sums else None
        if result:
            figures |= {name: result[0], f"{name}_error": result[1]}
    return figures


def pooled(sums_P3: np.ndarray) -> tuple[float, float] | None:
    """Return the pooled correlation and its standard error over problems; None where it does not exist.

    `sums_P3` holds Σxy, Σxx, Σyy of each problem about its own means. r = Σxy / √(Σxx Σyy) over all problems; its error
    is by linearisation, the problem being the unit: u_p = xy_p / √(SxSy) − r/2 (xx_p/Sx + yy_p/Sy), error √Σu².
    """
    xy, xx, yy = sums_P3.sum(0)
    if xx <= 1e-12 or yy <= 1e-12 or len(sums_P3) < 2:
        return None
    scale = math.sqrt(xx * yy)
    r = float(xy / scale)
    u_P = sums_P3[:, 0] / scale - r / 2 * (sums_P3[:, 1] / xx + sums_P3[:, 2] / yy)
    return r, float(np.sqrt((u_P**2).sum() * len(u_P) / (len(u_P) - 1)))
