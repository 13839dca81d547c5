"""Choose among the samples of a problem by a process reward model: best-of-K and weighted majority, beside maj@K.

A response counts by its worst step: its score is the lowest logit, its weight in a vote the probability of that. The
oracle, which would choose a right one wherever there is one, is pass@K. Undecided responses are left out.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from simplerl.core.types import Problem
from simplerl.evaluate.figures import RIGHT, vote_labels
from simplerl.ops.exploration import reward_at_k_s
from simplerl.ops.statistics import majority_at_k, pass_at_k, powers_up_to, ratio_figures
from simplerl.prm.model import load_prm
from simplerl.runs.files import write_json
from simplerl.runs.responses import Answer, ResponseFile, by_problem
from simplerl.runs.results import RESPONSES

#: What is computed at each K, as it is shown.
METHODS = ("maj@K", "weighted maj@K", "best-of-K", "oracle (pass@K)")


def rerank(directory: Path, prm_name: str) -> dict[str, dict[str, Any]]:
    """Return K → method → figure for a finished evaluation, and write it there as rerank.json."""
    prm, file = load_prm(prm_name), ResponseFile(directory / RESPONSES)
    answers, scores = file.answers(), dict[tuple[str, int], float]()
    for table in file.batches(["problem_id", "sample", "question", "response", "token_ids", "stop_reason"], size=256):
        rows = table.to_pylist()
        steps = []
        for row in rows:
            problem = Problem(id=row["problem_id"], question=row["question"], answer="", source="benchmark")
            ids = row["token_ids"]
            steps.append(
                prm.encoded(problem, row["response"]) if ids is None else prm.row(problem, ids, row["response"])
            )
        for row, logits in zip(rows, prm.scores(steps), strict=True):
            # A response without a step is worth less than any other.
            scores[row["problem_id"], row["sample"]] = float(logits.min()) if len(logits) else -math.inf
    figures = figures_of(answers, scores)
    write_json(directory / "rerank.json", {"prm": prm_name, "figures": figures})
    return figures


def figures_of(answers: list[Answer], scores: Mapping[tuple[str, int], float]) -> dict[str, dict[str, Any]]:
    """Return K → method → {value, low, high, problems} for scored answers."""
    problems = [[a for a in members if a.decided] for members in by_problem(answers).values()]
    ks = powers_up_to(max(map(len, problems)))
    names = [f"{method} {k}" for k in ks for method in METHODS]
    above_PM, below_PM = np.zeros((len(problems), len(names))), np.zeros((len(problems), len(names)))
    for p, members in enumerate(problems):
        labels, right = vote_labels(members), [a.correct for a in members]
        own = [scores[a.problem_id, a.sample] for a in members]
        weights = [1 / (1 + math.exp(-max(min(score, 50.0), -50.0))) for score in own]
        for i, k in enumerate(ks):
            if k > len(members):
                continue
            values = (
                majority_at_k(labels, RIGHT, k),
                majority_at_k(labels, RIGHT, k, weights=weights),
                reward_at_k_s(own, right, k, 1),
                pass_at_k(len(members), sum(right), k),
            )
            columns = slice(i * len(METHODS), (i + 1) * len(METHODS))
            above_PM[p, columns], below_PM[p, columns] = values, 1.0
    flat = ratio_figures(above_PM, below_PM, names, shares=names)
    return {str(k): {method: flat[f"{method} {k}"] for method in METHODS} for k in ks}
