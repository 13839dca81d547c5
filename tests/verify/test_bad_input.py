"""Bad and hostile input: a verdict with a reason, in time, never an exception, never an effect."""

from __future__ import annotations

import time

import pytest

from simplerl.core.types import UNDECIDED
from simplerl.verify import VerifierPool, verify

BOMBS = [
    "9^9^9^9", "9**9**9**9", r"5^{5^{5^{5^5}}}", "(10^{10})!", "99999999!", "((20)!)!", r"\binom{10^9}{5\cdot10^8}",
    r"\sum_{i=1}^{10^9} i", r"\prod_{i=1}^{10^7}(i+\frac12)", r"\log_2(2^{10^{12}}+1)", "1e999999999", "10**10**10",
    "((x+1)^{99})^{99}", "(x+y+z)^{5000}", r"\int_0^{1} e^{x^2} dx", r"\sin(10^{10^{10}})", r"\sqrt[10^9]{2}",
    "x^{17}+y^{13}+\\sin(xy)e^x=x^5y^3", "{" * 5_000 + "8" + "}" * 5_000, "(" * 900 + "8" + ")" * 900, "1+" * 900 + "1",
    "^".join(["2"] * 300), r"\frac{1}{" * 300 + "1" + "}" * 300, "-" * 1500 + "8", "!" * 500, "|" * 501, r"\sqrt" * 400,
    "8" * 1_900, ",".join(map(str, range(400))), r"\pm1" * 200, "a_" * 600, "'" * 900, r"\text{" * 300, "$" * 1_000,
    r"\operatorname{__import__}('os')", "9" * 500 + "^" + "9" * 500, r"\gcd(10^{4000}+1,10^{3999}+7)",
]  # fmt: skip
STRANGE = [
    "",
    " ",
    "\x00",
    "\x00\x008",
    "\ud800",
    "\u202e8\u202c",
    "é" * 500,
    "\U0001f600",
    "{",
    "}",
    "\\",
    "\\\\",
    "$",
    "7\n",
    "\\begin{pmatrix}",
    "\\begin{pmatrix}&&\\\\&&\\end{pmatrix}",
    "\\frac",
    "\\frac{",
    "\\sqrt[",
    "^",
    "_",
    "!",
    "%",
    "\\%",
    ",",
    ",,,",
    "=",
    "==",
    "x=",
    "<",
    "\\in",
    "\\cup",
    "()",
    "[]",
    "\\{\\}",
    ":",
    "::",
    "|",
    "||",
    "'",
]


@pytest.fixture(scope="module")
def pool():
    with VerifierPool(workers=1) as pool:
        assert all(worker.ensure_process() for worker in pool._workers)
        yield pool


@pytest.mark.parametrize("bomb", BOMBS, ids=range(len(BOMBS)))
def test_a_bomb_is_not_correct_and_ends_in_time(bomb, pool):
    for gold in ("7", r"\sqrt{2}", "x+1"):
        start = time.perf_counter()
        (verdict,) = pool.verify_many([(f"\\boxed{{{bomb}}}", gold)])
        assert not verdict.correct
        assert time.perf_counter() - start < 2.5
    assert not pool.ended["killed"]


@pytest.mark.parametrize("bomb", BOMBS[:12], ids=range(12))
def test_a_bomb_as_gold_equals_only_itself(bomb, pool):
    same, other = pool.verify_many([(f"\\boxed{{{bomb}}}", bomb), (r"\boxed{7}", bomb)])
    assert same.correct
    assert not other.correct


@pytest.mark.parametrize("text", STRANGE, ids=range(len(STRANGE)))
def test_strange_text_gets_a_verdict_with_a_reason(text, pool):
    pairs = [(text, "7"), (f"\\boxed{{{text}}}", "7"), (r"\boxed{7}", text), (f"\\boxed{{{text}}}", f"({text},1)")]
    for verdict in pool.verify_many(pairs):
        assert verdict.status != "error"
        assert verdict.detail
        assert verdict.rule


def test_empty_gold_cannot_be_judged():
    for gold in ("", "   ", None):
        verdict = verify(r"\boxed{7}", gold)
        assert verdict.status == "unjudgeable"
        assert verdict.status in UNDECIDED
        assert "empty" in verdict.detail


def test_a_gold_that_is_not_understood_matches_only_its_own_text():
    gold = r"\foo{x} \bar \baz"
    assert verify(f"\\boxed{{{gold}}}", gold).correct
    other = verify(r"\boxed{\qux{7}}", gold)
    assert other.status == "unjudgeable"
    assert "cannot be read" in other.detail


def test_megabytes():
    prose = "lorem ipsum " * 100_000
    assert verify(prose + r"\boxed{8}", "8").correct
    long = verify("\\boxed{" + "x" * 1_000_000 + "}", "7")
    assert (long.status, long.rule) == ("wrong", "length")
    same = "y" * 3_000
    assert verify(f"\\boxed{{{same}}}", same).correct


def test_bytes_are_decoded_with_replacement():
    assert verify(b"\xff\xfe \\boxed{8}", b"8").correct


def test_nothing_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for gold in ("7", "(1,2)", r"\begin{pmatrix}1\\2\end{pmatrix}"):
        for code in (
            f"open('{tmp_path}/x','w')",
            f"[open('{tmp_path}/y','w'),2]",
            "__import__('os').system('touch z')",
        ):
            assert not verify(f"\\boxed{{{code}}}", gold).correct
    assert not list(tmp_path.iterdir())
