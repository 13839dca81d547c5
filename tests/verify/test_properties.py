"""Properties that hold for every answer, over generated ones."""

from __future__ import annotations

import string
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simplerl.verify import VerifierPool, extract, verify
from simplerl.verify.judge import quick
from simplerl.verify.normalise import normalise
from simplerl.verify.numbers import number

POOL = VerifierPool(workers=1, timeout_s=5, lenient=("unfinished",))
quickly = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))

integers = st.integers(-(10**12), 10**12)
fractions = st.builds(lambda a, b: rf"\frac{{{a}}}{{{b}}}", integers, st.integers(1, 10**6))
decimals = st.builds(lambda a, b: f"{a}.{b}", st.integers(-9999, 9999), st.integers(0, 9999))
symbols = st.sampled_from([*"abcxyz", r"\pi", r"\theta"])
atoms = st.one_of(integers.map(str), fractions, decimals, symbols, symbols.map(lambda s: rf"\sqrt{{{s}}}"))
expressions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.builds(lambda a, b: f"{a}+({b})", inner, inner),
        st.builds(lambda a, b: rf"({a})\cdot({b})", inner, inner),
        st.builds(lambda a, b: rf"\frac{{{a}}}{{{b}}}", inner, inner),
        st.builds(lambda a, n: f"({a})^{{{n}}}", inner, st.integers(2, 5)),
        st.builds(lambda a: rf"\sin({a})", inner),
    ),
    max_leaves=5,
)
answers = st.one_of(
    expressions,
    st.builds(lambda a, b: f"({a},{b})", atoms, atoms),
    st.builds(lambda a, b: f"[{a},{b})", atoms, atoms),
    st.builds(lambda items: ", ".join(items), st.lists(atoms, min_size=2, max_size=4)),
    st.builds(lambda items: r"\{" + ", ".join(items) + r"\}", st.lists(atoms, min_size=1, max_size=4)),
    st.builds(lambda a: f"x={a}", atoms),
    st.builds(lambda a: rf"{a}\%", integers),
    st.sampled_from([r"\text{yes}", "A", r"\text{(B)}", "Monday", r"\infty", r"\pm 3"]),
)
anything = st.one_of(st.text(max_size=40), st.text(alphabet="\\{}[]()^_$%,.0123456789abxfrct+-*/=<>! ", max_size=40))


def judge(answer: str, gold: str) -> bool:
    verdict = POOL.judge(answer, gold)
    return verdict.correct or verdict.rule == "unfinished"


def teardown_module():
    POOL.close()


@quickly
@given(answers)
def test_an_answer_equals_itself_in_any_dress(answer):
    for dressed in (
        answer,
        f" {answer} ",
        f"${answer}$",
        f"{answer}.",
        rf"\displaystyle {answer}",
        rf"\left. {answer}",
    ):
        assert verify(rf"So \boxed{{{dressed}}}", answer).correct


@quickly
@given(answers, answers)
def test_judgement_is_symmetric(first, second):
    assert judge(first, second) == judge(second, first)


@quickly
@given(anything, anything)
def test_judgement_of_arbitrary_text_is_symmetric_and_never_raises(first, second):
    if first.strip() and second.strip():
        outcome, back = quick(first, second), quick(second, first)
        if outcome and back and "A" <= second[:1] <= "J":
            return  # a choice letter as gold accepts the option's text, a choice letter as answer does not
        if outcome and back and not outcome.status and not back.status:
            assert outcome.equal == back.equal or {outcome.rule, back.rule} & {"words", "gold"}


@quickly
@given(st.one_of(answers, anything))
def test_normalisation_is_idempotent(text):
    once = normalise(text)
    assert normalise(once) == once


@quickly
@given(integers, integers)
def test_different_integers_are_different_in_every_form(first, second):
    forms = (str(first), f"{first:,}", f"{first}.0", rf"\frac{{{2 * first}}}{{2}}")
    for form in forms:
        assert judge(form, str(second)) == (first == second)


@quickly
@given(st.fractions(max_denominator=10**6))
def test_numbers_are_read_exactly(value):
    text = rf"\frac{{{value.numerator}}}{{{value.denominator}}}"
    assert number(text) == value
    assert number(f"{value.numerator}/{value.denominator}") == value


@quickly
@given(st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**9), max_value=10**9))
def test_decimals_are_read_exactly(value):
    assert number(f"{value:f}") == Fraction(f"{value:f}")


@quickly
@given(answers, st.text(alphabet=string.ascii_letters + " .,;\n", max_size=200))
def test_text_before_the_box_never_changes_a_verdict(answer, prose):
    alone = verify(rf"\boxed{{{answer}}}", "7")
    assert verify(prose + rf" \boxed{{{answer}}}", "7") == alone
    assert verify(rf"\boxed{{3}} {prose} \boxed{{{answer}}}", "7") == alone


@quickly
@given(answers, st.sampled_from(["<|im_end|>", "<|endoftext|>", "</s>"]), st.text(max_size=50))
def test_padding_after_the_stop_token_never_changes_a_verdict(answer, stop, rest):
    response = rf"\boxed{{{answer}}}"
    assert verify(response + stop + rest + r"\boxed{7}", "7") == verify(response, "7")


@quickly
@given(st.text(alphabet="\\boxed{} 7\n", max_size=60))
def test_only_a_closed_non_empty_box_passes(text):
    found = extract(text)
    if found is not None:
        assert found.strip()
        assert "{" + found + "}" in text
        assert "boxed" in text


@pytest.mark.slow
@settings(max_examples=20_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(anything, st.one_of(answers, anything))
def test_fuzz_arbitrary_answers_get_a_verdict(answer, gold):
    verdict = verify(rf"\boxed{{{answer}}}", gold)
    assert verdict.status != "error"
    assert verdict.detail
