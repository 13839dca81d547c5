"""Complete responses of our own making, with the policy that reads them and the question that they answer: one file per
kind, each line a gold, a response, and whether a reward is due."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simplerl.verify import verify

RESPONSES = Path(__file__).parent / "responses"
KINDS = sorted(path.stem for path in RESPONSES.glob("*.jsonl"))


def load(kind: str) -> list[dict]:
    return [json.loads(line) for line in (RESPONSES / f"{kind}.jsonl").read_text(encoding="utf-8").splitlines()]


def rewarded(row: dict) -> bool:
    """An answer to a known question must be finished; without the question only its value is labelled."""
    question = row.get("question")
    verdict = verify(row["response"], row["gold"], question=question, policy=row.get("policy", "boxed"))
    return verdict.correct or (question is None and verdict.rule == "unfinished")


def test_there_are_responses_of_every_kind():
    assert set(KINDS) >= {"boxes", "ladder", "one_way", "question"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_response_is_judged_as_labelled(kind):
    wrong = [row for row in load(kind) if rewarded(row) != row["correct"]]
    assert not wrong


def test_the_question_alone_changes_the_judgement_of_an_expression_of_it():
    row = {"gold": "32", "response": r"\boxed{14+18}", "question": "What is $14+18$?"}
    assert verify(row["response"], row["gold"], question=row["question"]).rule == "restates"
    assert not rewarded(row)
    assert rewarded({"gold": "32", "response": r"\boxed{32}", "question": "What is $14+18$?"})
