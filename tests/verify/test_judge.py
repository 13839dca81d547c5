"""Answers that leave the computing to the reader, and a fuzz of the judgement."""

from __future__ import annotations

import random

import pytest

from simplerl.verify.judge import harmless, quick, thorough

QUESTIONS = [
    # question, gold, answer, rule when it is refused
    ("What is 7+13?", "20", "7+13", "restates"),
    ("What is 7+13?", "20", "13+7", "restates"),
    ("What is 7+13?", "20", "x = 7 + 13", "restates"),
    ("What is 7+13?", "20", "20", ""),
    ("What is 7+13?", "20", "7+13=20", ""),
    ("What is 7+13?", "20", "8+12", "unfinished"),
    ("Simplify $(x+1)(x-1)$.", "x^2-1", "(x-1)(x+1)", "restates"),
    ("Simplify $(x+1)(x-1)$.", "x^2-1", "x^2-1", ""),
    ("Let $y = 3+4$. Find $y$.", "7", "3+4", "restates"),
    (r"Solve \(x > 5\) in interval notation.", r"(5,\infty)", "x>5", "restates"),
    (r"Evaluate \[\binom{10}{3}.\]", "120", r"\binom{10}{3}", "restates"),
    (r"Write $\frac{48}{18}$ in lowest terms.", r"\frac83", r"\frac{48}{18}", "restates"),
    (r"Convert $\frac{3}{20}$ to a decimal.", "0.15", r"\frac{3}{20}", "restates"),
    (r"Simplify $\sqrt{5r^3}\cdot -5\sqrt{10r^2}$.", r"-25r^2\sqrt{2r}", r"-5\sqrt{10r^2}\cdot\sqrt{5r^3}", "restates"),
    (
        r"Simplify $\frac{a}{b}\cdot\frac{b}{c}\div\frac{a}{c^2}$.",
        "c",
        r"\frac{b}{c}\div\frac{a}{c^2}\cdot\frac{a}{b}",
        "restates",
    ),
    (r"Approximate $\cos(-2.01)$.", r"\cos(-2.01)\approx -0.425", r"\cos(-2.01)", "restates"),
    (r"Approximate $\cos(-2.01)$.", r"\cos(-2.01)\approx -0.425", "-0.425", ""),
    (r"Approximate $\cos(-2.01)$.", r"\cos(-2.01)\approx -0.425", r"\cos(-2.01) \approx -0.425", ""),
    ("Is $x^2+1$ or $x+1$ larger at 2?", "x^2+1", "1+x^2", ""),
    ("Tom has 72 clips.", "72", "72 clips", ""),
    ("Tom has 12,345 clips. How many?", "12345", "12,345", ""),
    ("Tom has 72 clips.", "72", "72 wrongs", "unreadable"),
]
FINISHED = [
    ("49", "49.0"), (r"\frac32", r"\frac{6}{4}"), (r"\frac12", "0.5"), ("3.5", r"3\frac12"), ("1024", "2^{10}"),
    ("1200", r"1.2\times10^3"), (r"11\sqrt2", r"\sqrt2\cdot 11"), (r"\frac{\sqrt2}{2}", r"\frac{1}{\sqrt2}"),
    ("x^2-1", "(x-1)(x+1)"), ("x+1", "1+x"), ("50", r"50\%"), (r"(x-1)^2+y^2=9", "(x-1)^2+y^2=3^2"),
    (r"3+2\sqrt2", r"2\sqrt2+3"), ("5", r"5\text{ apples}"), (r"100!", "100!"), ("2+3", "5"),
    ("0.00001", "10^{-5}"), (r"\begin{pmatrix}1/10&0\\3/10&9/10\end{pmatrix}",
     r"\frac{1}{10}\begin{pmatrix}1&0\\3&9\end{pmatrix}"),
]  # fmt: skip
UNFINISHED = [
    ("49", "16+17+16"), ("16", "|(1-i)^8|"), (r"11\sqrt2", r"\sqrt{242}"), ("120", r"\binom{10}{3}"), ("120", "5!"),
    ("6", r"2\cdot 3"), ("9", "3^2"), ("4", r"\sqrt{16}"), ("5", r"\frac{30}{6}"), (r"\frac56", r"\frac12+\frac13"),
    ("6", r"\gcd(18,24)"), (r"\frac12", r"\sin 30^\circ"), (r"3+2\sqrt2", r"(1+\sqrt2)^2"), ("3", r"\log_2 8"),
    ("5x+3", "5(x+1)-2"), ("5x", "2x+3x"), ("(4,7)", r"\left(\frac{2+6}{2},7\right)"),
    (r"\begin{pmatrix}6&8\end{pmatrix}", r"\begin{pmatrix}2\cdot 3&4\cdot 2\end{pmatrix}"),
    ("0.01", "10^{-2}"), ("x=4", "5x=20"),
]  # fmt: skip


@pytest.mark.parametrize(("question", "gold", "answer", "rule"), QUESTIONS)
def test_an_expression_of_the_question_is_no_answer(question, gold, answer, rule):
    outcome = thorough(answer, gold, question=question)
    assert outcome.equal == (not rule)
    assert not rule or outcome.rule == rule


@pytest.mark.parametrize(("gold", "answer"), FINISHED)
def test_a_finished_form_is_right(gold, answer):
    assert thorough(answer, gold).equal


@pytest.mark.parametrize(("gold", "answer"), UNFINISHED)
def test_computing_that_is_left_is_unfinished(gold, answer):
    outcome = thorough(answer, gold)
    assert (outcome.equal, outcome.rule, outcome.status) == (False, "unfinished", "")
    assert thorough(gold, answer).equal  # where the gold is not finished, nothing is asked of the answer


def test_without_a_question_nothing_restates():
    assert thorough("(x-1)(x+1)", "x^2-1").equal
    assert thorough("7+13", "20").rule == "unfinished"


def test_a_long_or_hostile_question_costs_little():
    for part in ("$", "((", "1+", r"\[", "$x", "7 ", "$1+1$ "):
        question = part * 20_000
        assert thorough(r"\frac{2}{4}", r"\frac12", question=question).equal


def test_quick_decides_without_algebra():
    assert quick("1/2", "0.5").equal
    assert quick("x+y", "y+x") is None
    assert harmless("7")
    assert not harmless("9^{9^{9}}")


FRAGMENTS = (
    r"\frac|{|}|(|)|[|]|^|_|\sqrt|\text{|\quad|\\\\|&|\begin{cases}|\end{cases}|\begin{pmatrix}|\end{pmatrix}|,|;|or|and|=|<"
    r"|\le|\in|\mathbb{R}|\pm|%|°|!|!!|'|\mid|\overline{|\dot|1|0|x|e|i|\$|cm|not|per|/|\cdot|\cup|\setminus|\{|\}|\circ|if"
    r"|\forall|:|...|\ldots|米|①|\over|\choose|\log|\sum|-|+|*|#|~|\mathrm{|\hat{i}|mod|base|\infty|\left|\det|3 feet"
)
SEEDS = (
    r"\frac{1}{2}", "(1,2)", r"x=5\text{ or }x=3", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"12\text{ ducks}", "[0,1)",
    r"\{x\mid x>2\}", r"30^\circ15'", "3:30 PM", "2020-01-15", r"0.\overline{3}\%",
    r"2k\pi, k\in\mathbb{Z}", r"P(A|B)=5",
)  # fmt: skip


def test_mutated_answers_never_raise():
    draw = random.Random(0)
    for _ in range(3_000):
        answer = draw.choice(SEEDS)
        for _ in range(draw.randint(1, 5)):
            at = draw.randint(0, len(answer))
            answer = answer[:at] + draw.choice(FRAGMENTS.split("|")) + answer[at + draw.choice((0, 0, 1, 3)) :]
        outcome = thorough(answer, draw.choice(SEEDS), question=draw.choice(SEEDS))
        assert outcome.detail
