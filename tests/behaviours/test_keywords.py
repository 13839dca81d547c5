"""The keyword detector: whole words, every phrase, its behaviour and no other's."""

import time

import pytest

from simplerl.behaviours.judging import MOST, PHRASES, detect
from simplerl.runs.run import BEHAVIOURS


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_every_phrase_is_found_as_it_stands(name: str) -> None:
    for phrase in PHRASES[name]:
        shouted = phrase.upper().replace(" ", "\n  ")
        hits = detect(f"so (here) {shouted}. Then")[name]
        assert hits, phrase
        assert hits[0] in shouted


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("We await the result.", "backtracking"),
        ("The waiter came.", "backtracking"),
        ("He paid by cheque and a checkbox.", "verification"),
        ("uncheck it", "verification"),
        ("In case 12 of the court", "enumeration"),
        ("step 10", "subgoal_setting"),
        ("", "enumeration"),
    ],
)
def test_parts_of_words_are_not_found(text: str, name: str) -> None:
    assert detect(text)[name] == ()


def test_literal() -> None:
    text = "Step 1: add. 2+2=5. Wait, that's wrong. Let me check: 2+2=4. Wait. Case 1: x=1."
    assert detect(text) == {
        "backtracking": ("Wait", "that's wrong", "Wait"),
        "verification": ("check",),
        "subgoal_setting": ("Step 1",),
        "enumeration": ("Case 1",),
    }


def test_examples_are_bounded_and_time_is_linear() -> None:
    began = time.perf_counter()
    found = detect("wait " * 200_000 + "a" * 500_000 + " " * 500_000 + "let me " * 100_000)
    assert found["backtracking"] == ("wait",) * MOST
    assert time.perf_counter() - began < 5
