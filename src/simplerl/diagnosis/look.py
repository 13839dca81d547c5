"""Look at the responses of one step: shares of them with each trait, and how their length goes with their reward."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from simplerl.diagnosis import text
from simplerl.diagnosis.history import Example

#: Responses of a step that are looked at; of more, whole problems evenly apart.
MOST = 512
#: Characters of an example that are kept.
EXCERPT = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    """One response as the record has it."""

    problem_id: str
    sample: int
    question: str
    text: str
    tokens: int | None
    status: str
    """The verdict's."""
    reward: float | None
    """None where the verdict is undecided."""
    rule: str = ""
    """The rule that decided; empty where the record does not say."""

    @property
    def restating(self) -> bool:
        """Whether the value is right and the answer restates the question or leaves computing to the reader."""
        return self.rule in ("restates", "unfinished")


#: Figure → whether a response has the trait. Each becomes the share of the step's responses that do.
TRAITS: dict[str, Callable[[Response], bool]] = {
    "text/repetition": lambda r: text.repeats(r.text),
    "text/language": lambda r: text.switches_language(r.question, r.text),
    "text/bare_box": lambda r: text.bare_box(r.text),
    "text/several_boxes": lambda r: text.several_boxes(r.text),
    "text/code": lambda r: text.is_code(r.text),
}


def look(step: int, responses: Iterable[Response]) -> tuple[dict[str, float], dict[str, list[Example]]]:
    """Return (figures, one example for each trait that was seen) of a step's responses."""
    found = thin(list(responses))
    if not found:
        return {}, {}
    figures: dict[str, float] = {"text/responses": len(found)}
    examples = {}
    for name, has in TRAITS.items():
        those = [response for response in found if has(response)]
        figures[name] = len(those) / len(found)
        if those:
            examples[name] = [example(step, name, those[0])]
    valued = [response for response in found if response.status == "correct" or response.restating]
    if valued and any(response.rule for response in found):
        restating = [response for response in valued if response.restating]
        figures["text/restating"] = len(restating) / len(valued)
        if restating:
            examples["text/restating"] = [example(step, "text/restating", restating[0])]
    figures |= correlations(found)
    return figures, examples


def thin(responses: list[Response]) -> list[Response]:
    """Return at most `MOST` responses, of whole problems that lie evenly apart (of one huge problem: its first)."""
    if len(responses) <= MOST:
        return responses
    groups: dict[str, list[Response]] = defaultdict(list)
    for response in responses:
        groups[response.problem_id].append(response)
    problems = list(groups.values())
    wanted = max(1, int(MOST / (len(responses) / len(problems))))
    chosen = [problems[i * len(problems) // wanted] for i in range(min(wanted, len(problems)))]
    return [response for group in chosen for response in group][:MOST]


def example(step: int, name: str, response: Response) -> Example:
    """Return a response cut to where the trait shows: the end for repetition, else the beginning."""
    cut = response.text[-EXCERPT:] if name in ("text/repetition", "text/restating") else response.text[:EXCERPT]
    return Example(step=step, problem_id=response.problem_id, sample=response.sample, excerpt=cut)


def correlations(responses: Sequence[Response]) -> dict[str, float]:
    """Return the correlation of length and reward within problems, and within problem and verdict, with their errors.

    A figure is left out where nothing varies: under a reward that is the verdict, none of the second kind exists.
    """
    judged = [r for r in responses if r.reward is not None and math.isfinite(r.reward) and r.tokens is not None]
    figures = {}
    for name, key in (
        ("text/reward_length", lambda r: r.problem_id),
        ("text/reward_length_same_verdict", lambda r: (r.problem_id, r.status)),
    ):
        groups: dict[object, list[tuple[float, float]]] = defaultdict(list)
        problem_of: dict[object, str] = {}
        for response in judged:
            groups[key(response)].append((float(response.tokens), response.reward))
            problem_of[key(response)] = response.problem_id
        sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(3))
        for group, pairs in groups.items():
            x, y = np.array(pairs).T
            x, y = x - x.mean(), y - y.mean()
            sums[problem_of[group]] += np.array([x @ y, x @ x, y @ y])
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
