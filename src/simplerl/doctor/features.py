"""The responses of one step as figures: shares of them with each trait, and how their length goes with their reward.

The same extraction serves records on disk and the groups of a run that is going on.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from simplerl.core.types import TrajectoryGroup
from simplerl.doctor.observation import Example
from simplerl.doctor.text import TRAITS

if TYPE_CHECKING:
    from simplerl.runs.responses import ResponseFile

#: Responses of a step that are looked at; of more, whole problems evenly apart.
MOST = 512
#: Characters of an example, and of a response (its two ends), that are kept.
EXCERPT, MOST_CHARACTERS = 300, 20_000


class Response(NamedTuple):
    """One response as the record has it.

    `status` is the verdict's; `reward` is None where that is undecided; `rule` is the verifier's that decided, empty
    where the record does not say.
    """

    problem_id: str
    sample: int
    question: str
    text: str
    tokens: int | None
    status: str
    reward: float | None
    rule: str = ""

    @property
    def restating(self) -> bool:
        """Whether the value is right and the answer restates the question or leaves computing to the reader."""
        return self.rule in ("restates", "unfinished")


def responses_of(groups: Iterable[TrajectoryGroup]) -> list[Response]:
    """Return the responses of groups that were just sampled."""
    responses = []
    for t in (trajectory for group in groups for trajectory in group.trajectories):
        tokens, reward = len(t.completion.token_ids), None if math.isnan(t.reward) else float(t.reward)
        asked = (t.problem.id, t.sample, t.problem.question)
        responses.append(Response(*asked, t.completion.text, tokens, t.verdict.status, reward, t.verdict.rule))
    return responses


def read_responses(records: "ResponseFile", most: int) -> list[Response]:
    """Return the first responses of a record, read few at a time. Raises RunError where it cannot be read."""
    columns = ["problem_id", "sample", "question", "response", "verdict", "reward", "rule", "token_ids"]
    responses: list[Response] = []
    for table in records.batches(columns, size=64):
        lengths = table["token_ids"].combine_chunks().value_lengths().to_pylist()
        for row, tokens in zip(table.drop_columns(["token_ids"]).to_pylist(), lengths, strict=True):
            text, half, reward = row["response"] or "", MOST_CHARACTERS // 2, row["reward"]
            text = text if len(text) <= MOST_CHARACTERS else text[:half] + text[-half:]
            reward = reward if reward is not None and math.isfinite(reward) else None
            asked = (row["problem_id"], row["sample"], (row["question"] or "")[:MOST_CHARACTERS])
            responses.append(Response(*asked, text, tokens, row["verdict"], reward, row["rule"] or ""))
        if len(responses) >= most:
            break
    return responses


def step_features(step: int, responses: Sequence[Response]) -> tuple[dict[str, float], dict[str, list[Example]]]:
    """Return (figures, one example for each trait that was seen) of a step's responses; empty without any."""
    chosen = thin(responses)
    if not chosen:
        return {}, {}
    showing = {name: [r for r in chosen if shows(r.text, r.question)] for name, shows in TRAITS.items()}
    shares = {name: len(responses) / len(chosen) for name, responses in showing.items()}
    valued = [response for response in chosen if response.status == "correct" or response.restating]
    if valued and any(response.rule for response in chosen):
        showing["text/restating"] = [response for response in valued if response.restating]
        shares["text/restating"] = len(showing["text/restating"]) / len(valued)
    examples = {name: [_example(step, name, first[0])] for name, first in showing.items() if first}
    return {"text/responses": len(chosen), **shares, **correlations(chosen)}, examples


def thin(responses: Sequence[Response]) -> Sequence[Response]:
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


def _example(step: int, name: str, response: Response) -> Example:
    """Return a response cut to where the trait shows: the end for repetition, else the beginning."""
    at_the_end = name in ("text/repetition", "text/restating")
    excerpt = response.text[-EXCERPT:] if at_the_end else response.text[:EXCERPT]
    return Example(step=step, problem_id=response.problem_id, sample=response.sample, excerpt=excerpt)


def correlations(responses: Sequence[Response]) -> dict[str, float]:
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
