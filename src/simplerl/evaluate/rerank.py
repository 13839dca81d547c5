"""Choose among the samples of a problem by what a model says of them: best-of-K and weighted majority, beside maj@K.

    prm:DIR      a process reward model: a response counts by its worst step, whose logit is its score
    self:MODEL   a model's own judgement (Self-PRM): log P(yes) − log P(no) to whether the response is right

A response's weight in a vote is the sigmoid of its score. The oracle, which would choose a right one wherever there is
one, is pass@K; a judge that knows nothing gets the mean accuracy. Undecided responses are left out.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from simplerl.core.errors import ConfigError
from simplerl.core.types import Problem
from simplerl.evaluate.figures import RIGHT, vote_labels
from simplerl.models.device import pick_device
from simplerl.models.load import load
from simplerl.models.score import text_logprobs
from simplerl.ops.exploration import reward_at_k_s
from simplerl.ops.statistics import intervals, majority_at_k, pass_at_k, powers_up_to
from simplerl.prm import load_prm
from simplerl.runs.files import write_json
from simplerl.runs.responses import Answer, ResponseFile, by_problem
from simplerl.runs.run import RESPONSES

#: What is computed at each K, as it is shown.
METHODS = ("maj@K", "weighted maj@K", "best-of-K", "oracle (pass@K)")
#: What a model is asked of a response, and what it may say.
QUESTION = "{question}\n\n{response}\n\nIs this response right? Answer yes or no.\nAnswer:"
WORDS = (" yes", " no")

#: Scores of rows of responses.
Judge = Callable[[Sequence[Mapping[str, Any]]], list[float]]


def load_judge(name: str) -> Judge:
    """Return what scores responses, of `prm:DIR` or `self:MODEL`. Raises ConfigError for anything else."""
    kind, _, source = name.partition(":")
    if kind not in ("prm", "self") or not source:
        raise ConfigError(
            f"--rerank is prm: and the directory of a process reward model, or self: and a model, not {name!r}"
        )
    return _by_steps(source) if kind == "prm" else _by_itself(source)


def _by_steps(source: str) -> Judge:
    prm = load_prm(source)

    def judge(rows: Sequence[Mapping[str, Any]]) -> list[float]:
        steps = []
        for row in rows:
            problem = Problem(id=row["problem_id"], question=row["question"], answer="", source="benchmark")
            ids, text = row["token_ids"], row["response"]
            steps.append(prm.encoded(problem, text) if ids is None else prm.row(problem, ids, text))
        # A response without a step is worth less than any other.
        return [float(logits.min()) if len(logits) else -math.inf for logits in prm.scores(steps)]

    return judge


def _by_itself(source: str) -> Judge:
    policy = load(source, device=pick_device("auto"))

    def logprob(text: str, word: str) -> float:
        asked = policy.tokenizer.encode(text, add_special_tokens=False)
        said = policy.tokenizer.encode(word, add_special_tokens=False)
        return float(text_logprobs(policy.model, [*asked, *said])[-len(said) :].sum())

    def judge(rows: Sequence[Mapping[str, Any]]) -> list[float]:
        texts = [QUESTION.format(question=row["question"], response=row["response"]) for row in rows]
        return [logprob(text, WORDS[0]) - logprob(text, WORDS[1]) for text in texts]

    return judge


def rerank(directory: Path, judge: str) -> dict[str, dict[str, Any]]:
    """Return K → method → figure for a finished evaluation, and write it there as rerank.json."""
    score, file = load_judge(judge), ResponseFile(directory / RESPONSES)
    answers, scores = file.answers(), dict[tuple[str, int], float]()
    for table in file.batches(["problem_id", "sample", "question", "response", "token_ids", "stop_reason"], size=256):
        rows = table.to_pylist()
        scores |= {(row["problem_id"], row["sample"]): x for row, x in zip(rows, score(rows), strict=True)}
    figures = figures_of(answers, scores)
    write_json(directory / "rerank.json", {"judge": judge, "figures": figures})
    return figures


def figures_of(answers: list[Answer], scores: Mapping[tuple[str, int], float]) -> dict[str, dict[str, Any]]:
    """Return K → method → {value, low, high, problems} for scored answers."""
    problems = [[a for a in members if a.decided] for members in by_problem(answers).values()]
    ks = powers_up_to(max(map(len, problems)))
    names = [f"{method} {k}" for k in ks for method in METHODS]
    sums: list[dict[str, tuple[float, float]]] = []
    for members in problems:
        labels, right = vote_labels(members), [a.correct for a in members]
        own = [scores[a.problem_id, a.sample] for a in members]
        weights = [1 / (1 + math.exp(-max(min(score, 50.0), -50.0))) for score in own]
        sums.append({})
        for k in (k for k in ks if k <= len(members)):
            values = (
                majority_at_k(labels, RIGHT, k),
                majority_at_k(labels, RIGHT, k, weights=weights),
                reward_at_k_s(own, right, k, 1),
                pass_at_k(len(members), sum(right), k),
            )
            sums[-1] |= {f"{method} {k}": (value, 1.0) for method, value in zip(METHODS, values, strict=True)}
    flat = intervals(sums, names, shares=names)
    return {str(k): {method: flat[f"{method} {k}"] for method in METHODS} for k in ks}
