"""Case tables of our own making, one file per category: gold, answer, and whether they are the same answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simplerl.verify import VerifierPool, equal

CASES = Path(__file__).parent / "cases"


def load(category: str) -> list[dict]:
    return [json.loads(line) for line in (CASES / f"{category}.jsonl").read_text(encoding="utf-8").splitlines()]


def equal_in_value(verdict) -> bool:
    """The tables label values: an answer that leaves computing to the reader has the right one."""
    return verdict.correct or verdict.rule == "unfinished"


CATEGORIES = sorted(path.stem for path in CASES.glob("*.jsonl"))


@pytest.fixture(scope="module")
def pool():
    with VerifierPool(workers=1, timeout_s=5) as pool:
        yield pool


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_case_is_judged_as_labelled(category, pool):
    rows = load(category)
    verdicts = pool.verify_many((f"So it is $\\boxed{{{row['answer']}}}$.", row["gold"]) for row in rows)
    judged = zip(rows, verdicts, strict=True)
    wrong = [(row, verdict) for row, verdict in judged if equal_in_value(verdict) != row["equal"]]
    assert not wrong


# A gold is trusted with words that an answer may leave out; an answer to a choice may add the option's text.
@pytest.mark.parametrize("category", [name for name in CATEGORIES if name not in ("choice", "one_way")])
def test_judgement_is_symmetric(category, pool):
    rows = load(category)
    judged = [(row, pool.judge(row["gold"], row["answer"])) for row in rows]
    wrong = [(row, verdict) for row, verdict in judged if equal_in_value(verdict) != row["equal"]]
    assert not wrong


def test_equal_is_the_same_judgement_on_bare_answers():
    assert equal(r"\frac12", "0.5")
    assert not equal("(1,2)", "(2,1)")


@pytest.mark.parametrize("answer", [r"-\boxed{7}", r"8\fbox{7}", r"\boxed{7}{8}"])
def test_what_stands_round_a_box_is_not_left_out(answer):
    assert not equal(answer, "7")
