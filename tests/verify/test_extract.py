"""Extraction: what counts as the final answer of a response, by policy."""

from __future__ import annotations

import time

import pytest

from simplerl.core.errors import SimpleRLError
from simplerl.verify import POLICIES, extract, verify
from simplerl.verify.extract import boxes

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
    start = time.process_time()
    extract(response, policy)
    assert time.process_time() - start < 2.0


def test_an_unknown_policy_names_the_nearest():
    with pytest.raises(SimpleRLError, match="boxed"):
        verify("x", "y", policy="boxd")


@pytest.mark.parametrize("junk", ["\\", "\\\\{", "\\boxed ", "\\boxed"])
def test_backslashes_behind_an_open_box_cost_linear_time(junk):
    response = "\\boxed{" + junk * (400_000 // len(junk))
    start = time.process_time()
    assert extract(response) is None
    assert time.process_time() - start < 2.0


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
    start = time.process_time()
    for policy in POLICIES:
        extract(text, policy)
    assert time.process_time() - start < 2


#: (gold, response, whether the ladder finds an answer that equals the gold).
PROSE = [
    ("7", "The answer is:\n$$\nx = 7\n$$", True),
    (r"\frac{1}{2}", "The final answer is\n\n\\[\n\\frac{1}{2}\n\\]\n", True),
    ("7", "**Final Answer**\n\n$$7$$", True),
    ("7", "## Answer\n\n7", True),
    ("18", r"The answer is $\$18$.", True),
    ("18", r"The answer is \$18.", True),
    ("18", "The answer is $18.", True),
    ("18.5", "So she pays $18.50.", True),
    ("0.5", "The answer is .5", True),
    ("5", "It is .5.", False),
    ("7/2", "so the total is 3 1/2 cups.", True),
    ("2", "so the total is 3 1/2 cups.", False),
    ("7/2", "The answer is 3 1/2.", True),
    ("12", "The area is 12 cm^2.", True),
    ("2", "The area is 12 cm^2.", False),
    ("12", "The answer is 12 cm^2.", True),
    ("12", "The answer is $12$ cm$^2$.", True),
    ("100000", "The answer is 10^5.", True),
    ("1024", "It equals 2^{10}.", True),
    ("10", "It equals 2^{10}.", False),
    ("5000", "It is 5 x 10^3.", True),
    ("7", "The answer is 7 since 3+4=7.", True),
    ("7", "The answer is 7, as required.", True),
    ("7", "The answer is 7, so we are done.", True),
    ("7", "The answer is $7$ because $3+4=7$.", True),
    ("3", "The answer is $3$ or $4$.", False),
    ("4", "The answer is $3$ or $4$.", False),
    ("4", "The answer is 3 or 4.", False),
    ("3", "The answer is either 3 or 4.", False),
    ("4", "So we get 3 or 4.", False),
    ("3", "The answer is $3$? No, it is 4.", False),
    ("4", "The answer is $3$? No, it is 4.", True),
    ("4", "The answer is 3. Wait, no, it is 4.", True),
    ("3", "The answer is 3. Wait, no, it is 4.", False),
    ("4", "The answer is 3. No, it should be $4$.", True),
    ("4", "The answer is 3, sorry, 4.", True),
    ("3", "The answer is 3, or rather 4.", False),
    ("3", "The answer is 3. Wait, that's wrong.", False),
    ("7", "The answer is 7. No other value works.", True),
    ("7", "The answer is 7. Actually, we can check: 3+4=7.", True),
    ("3", "The answer is 3, not 4.", True),
    ("4", "The answer is 3, not 4.", False),
    ("3", "The answer is not 3.", False),
    ("C", "The correct option is C.", True),
    ("C", "The answer is option (C).", True),
    ("C", "Option C is correct.", True),
    ("C", "The correct choice is (C).", True),
    ("C", "The answer is C or D.", False),
    ("C", "So the answer is (C) because B is false.", True),
    ("3,4", "The answers are $3$ and $4$.", True),
    ("4", "The solutions are 3 and 4.", False),
    ("3,4", "The solutions are 3 and 4.", True),
    ("3,4", "The answers are $x=3$ and $x=4$.", True),
    ("4", "The answers are $x=3$ and $x=4$.", False),
    ("1200", "The answer is 1.2e3.", True),
    ("1200", "Total: 1,200", True),
    ("1200", "The answer is $1,200 per month.", True),
    ("50", "The answer is 50 percent.", True),
    ("1/2", "The answer is 50%.", True),
    ("-5", "The answer is -5.", True),
    ("-5", "So it is negative 5.", True),
    ("460", r"\textbf{Final Answer: }460", True),
    ("460", r"$\text{Answer: } 460$", True),
    ("460", r"\[ \text{ANSWER: } 460 \]", True),
    ("7", r"The answer is \fbox 7.", True),
    ("7", "The answer is **7**.", True),
    ("7", "**Answer:** `7`", True),
    ("34", "The largest integer n is 34. The answer is the largest n, which is 34", True),
    (r"\frac{3}{4}", r"So the probability equals \frac{3}{4}.", True),
    ("4", r"So the probability equals \frac{3}{4}.", False),
    (r"4\pi", "The area is 4π.", True),
    ("4", r"The area is $4\pi$ square units.", False),
    (r"4\pi", r"The area is $4\pi$ square units.", True),
    ("(3,4)", "The point is (3, 4).", True),
    ("4", "The point is (3, 4).", False),
    ("72", "She sold 48+24 = 72 clips altogether.", True),
    ("7", "The answer is $x = 7$ apples.", True),
    ("7", "The answer to the question is 7.", True),
    ("7", "Answer (in apples): 7", True),
    ("7", "答案是7。", True),
    ("1500000", "It is 1.5 million.", True),
    ("yes", "The answer is yes.", True),
    ("Evelyn", "The answer is: Evelyn", True),
    ("7", "The answer is $7$.\nQ: What is 2+2?", True),
    ("13", "What is 6+7? 6+7=13. The answer is 13.", True),
    ("3:30", "The train leaves at 3:30.", True),
    (r"\frac{x}{2}", r"Hence the result is $\frac{x}{2}$.", True),
    ("2", r"Hence the result is $\frac{x}{2}$ for all of them.", False),
    ("49", "Therefore, the sum is $16+17+16=49$.", True),
    ("12", r"The answer is $\frac{24}{2} = 12$.", True),
    ("7", "The answer is $$7$$", True),
    ("x=7", "The answer is\n\\begin{align*}\nx &= 7\n\\end{align*}", True),
    ("10", r"The answer is 10\%.", True),
    ("3", "The answer is 3 but it could be 4.", False),
    ("3", "Maybe the answer is 3, maybe it is 4.", False),
    ("3", "The answer is 3 or possibly 4.", False),
    ("5", "The answer is **5 apples**.", True),
    ("5", r"The final answer is: $\boxed 5$", True),
    ("18", "She makes $18 every day at the market.", True),
    ("2", "The answer is 2 hours.", True),
    ("540", "The answer is $540$ meters a week.", True),
    ("6", "The answer is six.", True),
    ("30", "The answer isn't 30.", False),
    ("30", "The answer cannot be 30.", False),
    ("17", "The answer is 17, and the check works.", True),
    ("9", "The answer is 9 (see the table in step 2).", True),
    ("9", "The answer is 9 (or 8, see above).", False),
    ("48", "The area of the rectangle is $48$ cm$^2$.", True),
    ("48", "The volume is 48 m^3", True),
    ("3", "The answer is 3?", False),
    ("B", "So it must be (B).", True),
    ("B", "x = 3, so the choice is clear.\n\nB", True),
    ("B", "It is (A) or (B).", False),
    ("C", "Therefore (C) is correct.", True),
    ("C", "C is the right answer.", True),
    ("C", "I choose C.", True),
    ("C", "I pick C or D.", False),
    ("1000000", "The population is 1 000 000.", True),
    ("5/2", "It is 2 ½.", True),
    ("-7", "It is −7.", True),
    ("-0.5", "It is -.5", True),
    ("1200", "The answer is $1,200/month.", True),
    ("-3", "so x=-3.", True),
    ("7", "The answer is 7 and we are done.", True),
    ("7", "The answer is 7 by the Pythagorean theorem.", True),
    ("7", r"\text{Answer} = 7", True),
    ("7", "Answer = 7", True),
    ("C", "Answer: C) 42", True),
    ("42", "#### 42", True),
    ("7", "The answer is $7$ cm.", True),
    ("2020", "In the year 2020.", True),
    ("100", "In 2020 100 people came.", True),
    ("12", r"The answer is $12\text{ cm}^2$.", True),
    (r"\frac{7}{2}", r"The answer is $3\frac{1}{2}$.", True),
    ("1/2", r"The answer is $3\frac12$.", False),
    ("7", "Answer: $7$ or maybe $8$", False),
    ("7", "The answer is either $7$ or $8$.", False),
    ("7,8", "Answer: $7$ and $8$.", True),
    ("8", "The answer is 7... no wait, it is 8.", True),
    ("7", "The answer is 7... no wait, it is 8.", False),
    ("8", "The answer is $7$. Hmm, actually it should be $8$.", True),
    ("0.25", "The probability is .25.", True),
    ("30", r"The angle is $30^\circ$.", True),
    ("(2,3)", "The point is $(2,3)$.", True),
    ("3", "The point is $(2,3)$.", False),
    ("1/3", "The probability is 1/3.", True),
    ("3", "The probability is 1/3.", False),
    ("12", "Total cost: $12.00", True),
    ("7", "Final Answer: The final answer is $7$. I hope it is correct.", True),
    ("7", "The final answer is\n\n$$\n\\boxed{7}\n$$", True),
    ("x=7", "The answer is\n\\[\n\\begin{aligned}\nx &= 7\n\\end{aligned}\n\\]", True),
    ("4", "The answer is 3? It is 4.", True),
    ("7", "The answer is 7, which is wrong.", False),
    ("7", "The answer is 7, and that is incorrect.", False),
    ("7", "The answer is 7, which is not the answer.", False),
    ("7", "The answer is 7, which is prime.", True),
]


@pytest.mark.parametrize(("gold", "response", "right"), PROSE)
def test_the_ladder_reads_prose(gold, response, right):
    assert verify(response, gold, policy=LADDER).correct is right


def test_boxes_are_found_in_the_order_in_which_they_open():
    text = r"\boxed{1} {\boxed{\text{a}\boxed{2}}} \fbox{\}} \boxed{3"
    found = boxes(text)
    assert [box.content for box in found] == ["1", r"\text{a}\boxed{2}", "2", r"\}"]
    assert [text[box.start : box.end] for box in found][2] == r"\boxed{2}"
    assert boxes("no box { }") == []


@pytest.mark.parametrize(("response", "letter"), [("The answer is not (C).", None), ("not (A) but (C)", "C")])
def test_choice_does_not_take_what_is_rejected(response, letter):
    assert extract(response, "choice") == letter
