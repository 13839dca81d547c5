"""Extraction: what counts as the final answer of a response, by policy."""

from __future__ import annotations

import time

import pytest

from simplerl.core.errors import SimpleRLError
from simplerl.verify import POLICIES, extract, verify

LADDER = "boxed-then-phrases-then-last-number"


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"so \boxed{5}", "5"),
        (r"so \boxed {5}", "5"),
        (r"so \fbox{5}", "5"),
        (r"so \\boxed{5}", "5"),
        (r"first \boxed{4}, then \boxed{5}", "5"),
        (r"\boxed{\frac{1}{\sqrt{2}}} is it", r"\frac{1}{\sqrt{2}}"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{\text{Answer: }\boxed{6}}", "6"),
        (r"\boxed{5} and then \boxed{6", "5"),
        (r"} \boxed{5}", "5"),
        (r"{ \boxed{5}", "5"),
        (r"\boxed{5", None),
        (r"\boxed{}", None),
        (r"\boxed{ \, {} }", None),
        (r"\boxed{\text{}}", None),
        (r"\boxed{\boxed{}}", None),
        (r"\boxed 5", None),
        ("5", None),
        ("", None),
        (r"\boxed{5\}", None),
        (r"<think>\boxed{4}</think> \boxed{5}", "5"),
        (r"<think>\boxed{4}</think> none", None),
        (r"\boxed{5}<|im_end|>\boxed{6}", "5"),
        (r"\boxed{5}<|endoftext|>Human: \boxed{6}", "5"),
        (r"<|im_start|>assistant \boxed{5}", "5"),
    ],
)
def test_boxed(response, answer):
    assert extract(response) == answer


@pytest.mark.parametrize(
    ("policy", "response", "answer"),
    [
        (LADDER, r"\boxed{5}. The answer is 6.", "5"),
        (LADDER, "The final answer is $6$. I hope it is correct.", "6"),
        (LADDER, "**Final Answer: 6**", "6"),
        (LADDER, "Answer: -3.5", "-3.5"),
        (LADDER, "所以答案是6。", "6"),
        (LADDER, "Hence\n\\[ x = 6 \\]", "x = 6"),
        (LADDER, "She sold 48+24 = 72 clips altogether.", "72"),
        (LADDER, "The total is 1,000.", "1,000"),
        (LADDER, "I do not know.", None),
        ("r1-tags", "<think>2+3</think><answer>5</answer>", "5"),
        ("r1-tags", r"<answer>\boxed{5}</answer>", "5"),
        ("r1-tags", "<answer></answer>", None),
        ("r1-tags", "<answer>5", None),
        ("r1-tags", r"\boxed{5}", None),
        ("gsm8k-hashes", "16 - 3 = 13\n#### 13", "13"),
        ("gsm8k-hashes", "#### 13\nmore text", "13"),
        ("gsm8k-hashes", "13", None),
        ("choice", r"\boxed{\text{(C)}}", r"\text{(C)}"),
        ("choice", "The answer is (C).", "C"),
        ("choice", "Therefore\nC", "C"),
        ("choice", "Because I think so.", None),
    ],
)
def test_policies(policy, response, answer):
    assert extract(response, policy) == answer


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    "junk", ["\\boxed{", "{", "}", "\\[", "$a$ ", "12 + 34 = 46, ", "answer ", "#### ", "<answer>", "("]
)
def test_time_is_linear_in_the_length(policy, junk):
    response = junk * (400_000 // len(junk))
    start = time.perf_counter()
    extract(response, policy)
    assert time.perf_counter() - start < 2.0


def test_an_unknown_policy_names_the_nearest():
    with pytest.raises(SimpleRLError, match="boxed"):
        verify("x", "y", policy="boxd")


@pytest.mark.parametrize("junk", ["\\", "\\\\{", "\\boxed ", "\\boxed"])
def test_backslashes_behind_an_open_box_cost_linear_time(junk):
    response = "\\boxed{" + junk * (400_000 // len(junk))
    start = time.perf_counter()
    assert extract(response) is None
    assert time.perf_counter() - start < 2.0


@pytest.mark.parametrize(
    "content", ["", " ", r"\,", "\u200b", "\u200b\u200d\ufeff", "\u00a0", "\u2003", r"\text{}", "{}"]
)
def test_an_empty_box_is_no_answer_and_brings_back_no_earlier_one(content):
    assert extract(rf"\boxed{{{content}}}") is None
    assert extract(rf"\boxed{{4}} no: \boxed{{{content}}}") is None
    assert extract(rf"\boxed{{{content}}} so \boxed{{4}}") == "4"


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("Answer: A", "A"),
        ("**Answer:** B", "B"),
        ("the answer is: \\text{C}", "C"),
        ("The correct option is (D).", "D"),
        ("The answer is (C) since (A) is false.", "C"),
        ("Therefore, the answer is **E**.", "E"),
        ("so it must be (B)", "B"),
        ("The answer is A or B", None),
        ("Answer: A/B", None),
        ("Answer: (A) and (C)", None),
        ("A or B", None),
        ("The answer is a dog", None),
        ("the answer is not known", None),
        ("It is (A) or (B).", None),
        ("either (A) and **(B)**", None),
        ("(A)/(B)", None),
        ("Options (A), (B), (C)", None),
        ("A\nor\nB", None),
        ("(A) and (B) are wrong, so (C)", "C"),
        ("point A, choice C", "C"),
    ],
)
def test_choice_finds_one_letter_or_nothing(response, letter):
    assert extract(response, "choice") == letter


def test_tags_closed_twice_are_no_answer():
    assert extract("<answer>5</answer></answer>", "r1-tags") is None
    assert extract("<answer>4</answer> <answer>5</answer>", "r1-tags") == "5"


@pytest.mark.parametrize("unit", ["answer" + " " * 400, "answer ", "A, ", "(A", "option : * ", "\n", " "])
def test_every_policy_is_fast_on_repetitions(unit):
    text = unit * (200_000 // len(unit))
    start = time.perf_counter()
    for policy in POLICIES:
        extract(text, policy)
    assert time.perf_counter() - start < 2
