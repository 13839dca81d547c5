"""Additions that change the meaning of an answer: refused before and behind, whatever form the gold has."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from simplerl.data import rows_to_audit
from simplerl.verify.judge import thorough

SHARED = Path(os.environ.get("SIMPLERL_SHARED", Path(__file__).resolve().parents[3] / "shared"))
BENCHMARKS = SHARED / "data" / "benchmarks"

#: What may be added: it denies, hedges, offers another answer, or goes on computing.
ADDITIONS = """
not; wrong; rejected; or 8; minus 1; +1; of the answer; is false; ruled out; times 2; i.e. 8; no; incorrect; never;
is not correct; except 3; unless x=0; or more; at least; less than; false; maybe; doubled; squared; excluded;
impossible; plus one; negative; halved; discarded; not the answer; but not; invalid; eliminated; if x=2; to 9; and 5;
fails; off by one; over 2; divided by 3; guess; or so; at most; nor; 8 instead; opposite; reciprocal; factorial;
rounded; does not hold; cannot be; untrue; half of; twice; hundreds; thousand; too large; contradiction; per cent more
""".replace("\n", " ").split(";")
#: Where it may stand; `{gold}` is the gold and `{words}` the addition.
FRAMES = (
    "{gold} {words}", "{gold}({words})", "{gold} ({words})", "{gold} [{words}]", "{gold}\\;\\text{({words})}",
    "{gold}\\text{ {words}}", "{gold} \\text{ ({words})}", "{gold}\\ \\mathrm{{words}}", "{gold}, {words}",
    "{gold}: {words}", "{words} {gold}", "\\text{{words} }{gold}", "({words}) {gold}", "\\text{({words})}{gold}",
)  # fmt: skip
#: Golds of every form.
GOLDS = (
    "7", "-3", "0.25", r"\frac{3}{4}", r"2\frac{1}{2}", r"11\sqrt2", r"\sqrt{3}-1", "x=5", "y=2x+1", "x^2+y^2=4",
    "(1,2)", "[0,1)", r"(-\infty,2]\cup[3,\infty)", r"\{1,2,3\}", "3, 5", "x=3, x=5", r"\pi", r"90^\circ", r"50\%",
    r"\$18", r"5\text{ cm}", r"12 \text{ ducks}", "x^2-5x+6", r"\frac{x+1}{2}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
    r"2k\pi, k\in\mathbb{Z}", "3:4", "10:15", "204_5", r"\text{yes}", r"\text{Monday}", "B", r"\text{(C)}", r"\infty",
    r"2+3i", r"\log_2 3", "x>5", r"\emptyset", "2020-01-15", r"12 \text{ ducks}, 9 \text{ goats}", r"\pm 2", "n!",
    r"\begin{cases} x=1 \\ y=2 \end{cases}", r"f(x)=\sqrt{x}", r"\mathbb{R}\setminus\{2\}", "6.02\\times10^{23}",
)  # fmt: skip


def changed(gold: str, words: str, frame: str) -> str:
    return frame.replace("{gold}", gold).replace("{words}", words.strip())


def judged_right(answer: str, gold: str) -> bool:
    outcome = thorough(answer, gold)
    return outcome.equal or outcome.rule == "unfinished"


@pytest.mark.parametrize("gold", GOLDS)
def test_an_addition_that_changes_the_meaning_is_refused(gold):
    answers = [changed(gold, words, frame) for words in ADDITIONS for frame in FRAMES]
    # "B: reciprocal" may be the text of option B, and +1 is a sign beside ±.
    allowed = 0.06 if gold in ("B", r"\text{(C)}") else 0.005
    right = [answer for answer in answers if judged_right(answer, gold)]
    assert len(right) <= allowed * len(answers), right[:20]


@pytest.mark.parametrize("gold", GOLDS)
def test_the_gold_itself_is_right(gold):
    assert thorough(gold, gold).equal
    assert thorough(f" ${gold}$. ", gold).equal


@pytest.mark.skipif(not BENCHMARKS.is_dir(), reason=f"no benchmark files at {BENCHMARKS} (set SIMPLERL_SHARED)")
def test_additions_to_the_golds_of_the_benchmarks():
    golds = sorted({row.gold for path in BENCHMARKS.glob("*.jsonl") for row in rows_to_audit(str(path)) if row.gold})
    draw = random.Random(0)
    sample = draw.sample(golds, min(1_500, len(golds)))
    pairs = [(changed(gold, draw.choice(ADDITIONS), draw.choice(FRAMES)), gold) for gold in sample]
    right = [pair for pair in pairs if judged_right(*pair)]
    assert len(golds) > 3_000
    assert len(right) <= 0.002 * len(pairs), right[:20]


@pytest.mark.parametrize(
    ("answer", "part"),
    [("7 (wrong)", "wrong"), (r"7\;\text{(rejected)}", "rejected"), ("x=5(not)", "not"), (r"11\sqrt2(wrong)", "wrong"),
     (r"7 \frob", "frob"), (r"7 \text{ quuxes}", "quuxes"), (r"\begin{foo}7\end{foo}", "foo")],
)  # fmt: skip
def test_a_refusal_names_the_part_that_was_not_understood(answer, part):
    outcome = thorough(answer, answer[:3] if answer.startswith("x=5") else "7")
    assert not outcome.equal
    assert part in outcome.detail
    assert outcome.rule == "unreadable"


@pytest.mark.parametrize(
    ("answer", "gold"),
    [("7 apples", "7"), ("7 (seven)", "7"), (r"28\% \text{ of the class}", r"28\%"), (r"\text{about } 7", "7"),
     (r"0.5 \text{ (or } 50\%)", r"\frac12"), (r"\text{The answer is } 7", "7"), (r"5 \text{ cm}^2", "5"),
     (r"12\text{ ducks}, 9\text{ goats}", "12, 9"), (r"7 \text{ quuxes}", r"7 \text{ quuxes}"),
     (r"\text{There are 5 ways}", "5")],
)  # fmt: skip
def test_a_listed_remark_is_allowed(answer, gold):
    assert judged_right(answer, gold)
