"""Labelled cases: tables and complete responses of our own making, and the cases and golds beside a checkout."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from pathlib import Path

import pytest

from simplerl.data import rows_to_audit
from simplerl.verify import VerifierPool, equal, verify

# -- case tables of our own making, one file per category: gold, answer, and whether they are the same answer ----------

CASES = Path(__file__).parent / "cases"


def load(folder: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


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
    rows = load(CASES, category)
    verdicts = pool.verify_many((f"So it is $\\boxed{{{row['answer']}}}$.", row["gold"]) for row in rows)
    judged = zip(rows, verdicts, strict=True)
    wrong = [(row, verdict) for row, verdict in judged if equal_in_value(verdict) != row["equal"]]
    assert not wrong


# A gold is trusted with words that an answer may leave out; an answer to a choice may add the option's text.
@pytest.mark.parametrize("category", [name for name in CATEGORIES if name not in ("choice", "one_way")])
def test_judgement_is_symmetric(category, pool):
    rows = load(CASES, category)
    judged = [(row, pool.judge(row["gold"], row["answer"])) for row in rows]
    wrong = [(row, verdict) for row, verdict in judged if equal_in_value(verdict) != row["equal"]]
    assert not wrong


def test_equal_is_the_same_judgement_on_bare_answers():
    assert equal(r"\frac12", "0.5")
    assert not equal("(1,2)", "(2,1)")


@pytest.mark.parametrize("answer", [r"-\boxed{7}", r"8\fbox{7}", r"\boxed{7}{8}"])
def test_what_stands_round_a_box_is_not_left_out(answer):
    assert not equal(answer, "7")


# -- complete responses, with the policy that reads them and the question that they answer -----------------------------

RESPONSES = Path(__file__).parent / "responses"
KINDS = sorted(path.stem for path in RESPONSES.glob("*.jsonl"))


def rewarded(row: dict) -> bool:
    """An answer to a known question must be finished; without the question only its value is labelled."""
    question = row.get("question")
    verdict = verify(row["response"], row["gold"], question=question, policy=row.get("policy", "boxed"))
    return verdict.correct or (question is None and verdict.rule == "unfinished")


def test_there_are_responses_of_every_kind():
    assert set(KINDS) >= {"boxes", "ladder", "one_way", "question"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_response_is_judged_as_labelled(kind):
    wrong = [row for row in load(RESPONSES, kind) if rewarded(row) != row["correct"]]
    assert not wrong


def test_the_question_alone_changes_the_judgement_of_an_expression_of_it():
    row = {"gold": "32", "response": r"\boxed{14+18}", "question": "What is $14+18$?"}
    assert verify(row["response"], row["gold"], question=row["question"]).rule == "restates"
    assert not rewarded(row)
    assert rewarded({"gold": "32", "response": r"\boxed{32}", "question": "What is $14+18$?"})


# -- the labelled open cases and the benchmark golds that lie beside a checkout, where they are present ----------------

SHARED = Path(os.environ.get("SIMPLERL_SHARED", Path(__file__).resolve().parents[3] / "shared"))
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no labelled cases at {SHARED} (set SIMPLERL_SHARED)")


def open_cases() -> list[dict]:
    rows = []
    for path in sorted((SHARED / "verifier" / "open").glob("*.jsonl*")):
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
            rows += [{**json.loads(line), "set": path.name.split(".")[0]} for line in lines]
    return rows


@needs_shared
def test_figures_on_the_open_cases():
    rows = open_cases()
    with VerifierPool(workers=2) as pool:
        verdicts = pool.verify_many((row["prediction"], row["gold"]) for row in rows)
        assert not pool.ended["killed"]
    core, real = Counter(), Counter()
    for row, verdict in zip(rows, verdicts, strict=True):
        right = verdict.correct or verdict.rule == "unfinished"  # the labels are those of values
        cell = ("T" if right == row["expected"] else "F") + ("P" if right else "N")
        if row["set"] == "robust":
            assert verdict.correct == row["expected"], row["id"]
        elif row["tier"] == "core":
            core[cell] += 1
            if row["set"].startswith("real"):
                real[cell] += 1
    assert sum(core.values()) > 2_000
    assert (core["TP"] + core["TN"]) / sum(core.values()) >= 0.993
    assert core["TP"] / (core["TP"] + core["FN"]) >= 0.988
    assert core["FP"] / (core["FP"] + core["TN"]) <= 0.001
    assert real["FN"] / (real["TP"] + real["FN"]) <= 0.002
    assert real["FP"] == 0


@needs_shared
@pytest.mark.parametrize(
    "name",
    ["math500", "gsm8k", "aime24", "amc23", "minerva_math", "olympiadbench", "college_math", "gaokao2023en"],
)
def test_no_gold_is_rejected_against_itself(name):
    rows = list(rows_to_audit(str(SHARED / "data" / "benchmarks" / f"{name}.jsonl")))
    with VerifierPool(workers=1) as pool:
        verdicts = pool.verify_many((f"\\boxed{{{row.gold}}}", row.gold) for row in rows)
    failed = [row for row, verdict in zip(rows, verdicts, strict=True) if not verdict.correct and row.gold]
    assert rows
    assert not failed
