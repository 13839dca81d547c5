"""Preflight: what is measured of each template, what is recommended, and what it is not taken in by."""

import shlex

import pytest
from support import run_main

from simplerl.config.resolve import resolve
from simplerl.core.types import Problem
from simplerl.evaluate.preflight import after_answer, choose, mixed_by_level, openers, recommend, runs_on
from simplerl.runs.responses import Answer

LONG = " and so on" * 10


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (r"so \boxed{5}.", False),
        (r"so \boxed{5}" + LONG, True),
        (r"so \boxed{5} Question: 1+1? \boxed{2}", True),
        ("no box" + LONG, False),
        (r"\boxed{\frac{1}{2}} done", False),
        ("", False),
    ],
)
def test_run_on(text: str, wanted: bool) -> None:
    assert runs_on(text) is wanted


def test_what_follows_the_first_box() -> None:
    assert after_answer(r"a \boxed{\frac{1}{2}} b") == " b"
    assert after_answer(r"a \boxed{1") is None


def test_openers_are_counted_once_a_response() -> None:
    texts = [r"\boxed{1}" + "\nQuestion: x\nQuestion: y" + LONG, r"\boxed{1}" + "\nHuman: x" + LONG, "fine"]
    assert openers(texts) == {"Question:": 0.5, "Human:": 0.5}


def test_the_sample_is_even_over_levels() -> None:
    problems = [
        Problem(id=f"{level}-{i}", question="q", answer="1", source="s", level=level)
        for level, count in (("1", 50), ("2", 3), ("3", 50))
        for i in range(count)
    ]
    chosen = choose(problems, 13, 0)
    counts = {level: sum(p.level == level for p in chosen) for level in "123"}
    assert counts == {"1": 5, "2": 3, "3": 5}
    assert chosen == choose(problems, 13, 0)
    assert chosen != choose(problems, 13, 1)
    assert len(choose(problems, 1000, 0)) == 103


def template(acc: float, half: float, boxed: float, **over) -> dict:
    def figure(value: float, width: float = 0.05) -> dict:
        return {"value": value, "low": value - width, "high": value + width, "problems": 10}

    fields = {
        "measured": 10,
        "acc": figure(acc, half),
        "boxed": figure(boxed),
        "truncated": figure(0.0),
        "openers": {},
        "mixed_by_level": {},
    }
    return {**fields, **over}


def test_of_those_that_may_be_best_the_one_that_boxes() -> None:
    measured = {"a": template(0.50, 0.1, 0.2), "b": template(0.45, 0.1, 0.9), "c": template(0.1, 0.1, 1.0)}
    assert recommend(measured)["template"] == "b"


def test_stops_and_tier() -> None:
    levels = dict(zip("12345", (0, 0.2, 1, 1, 0.9), strict=True))
    measured = {"a": template(0.5, 0.1, 0.9, openers={"Question:": 0.6, "Then": 0.1}, mixed_by_level=levels)}
    found = recommend(measured)
    assert found["stop"] == ["Question:"]
    assert found["tier"] == "hard"
    assert found["tiers"]["medium"] == pytest.approx(0.55)


def test_hopeless_cases_are_said() -> None:
    found = recommend({"a": template(0.0, 0.0, 0.01)})
    assert [line.split(":")[0] for line in found["advice"]] == [
        "no response was right",
        "hardly any response has a box",
    ]
    assert recommend({"a": {"measured": 0}})["template"] is None


def test_on_a_cub(capsys) -> None:
    arguments = ["--problems", "10", "--samples", "2", "--templates", "plain,qwen-boxed"]
    code, shown, _ = run_main(capsys, "preflight", "cub-llama", *arguments)
    assert code == 0
    assert "recommended template: plain" in shown
    assert "simplerl train --model cub-llama --data arithmetic --template plain" in shown
    rows = [[cell.strip() for cell in line.split("│")[1:]] for line in shown.splitlines() if line.startswith("│")]
    boxed = {row[0]: float(row[3]) for row in rows}
    assert boxed["plain"] > boxed["qwen-boxed"]


def test_bad_calls(capsys) -> None:
    code, _, message = run_main(capsys, "preflight", "cub-qwen", "--problems", "0")
    assert (code, "--problems must be at least 1" in message) == (2, True)
    code, _, message = run_main(capsys, "preflight", "cub-qwen", "--templates", "plane")
    assert (code, "did you mean 'plain'" in message) == (2, True)
    code, _, message = run_main(capsys, "preflight", "cub-qwenn")
    assert (code, "did you mean 'cub-qwen'" in message) == (2, True)


NAN = float("nan")


def found(acc: float, *, problems: int = 4, **more) -> dict:
    figure = {"value": acc, "low": acc, "high": acc, "problems": problems}
    plain = {"acc": figure, "boxed": figure, "truncated": figure, "tokens": figure, "openers": {}}
    return {"measured": 4, "left_out": 0, "mixed_by_level": {}, **plain, **more}


def test_template_whose_responses_cannot_be_judged_is_not_recommended() -> None:
    assert recommend({"a": found(NAN, problems=0), "b": found(0.25)})["template"] == "b"
    advice = recommend({"a": found(NAN, problems=0)})
    assert advice["template"] is None
    assert "no response could be judged" in advice["why"]


def test_undecided_samples_are_left_out_of_a_levels_share() -> None:
    member = {"sample": 0, "level": "1", "kind": "", "response": "", "tokens": 1, "stop_reason": "eos"}
    judged = [("p", "correct"), ("p", "timeout"), ("q", "correct"), ("q", "wrong")]
    answers = [Answer(**member, problem_id=name, extracted=None, status=status) for name, status in judged]
    assert mixed_by_level(answers) == {"1": 0.5}


def test_the_recommended_command_can_be_typed(monkeypatch, capsys) -> None:
    """Stop strings may hold quotes and backslashes; a model's path may hold spaces."""
    stops = ["Let's", '"Q"', "\\end", "Question:"]
    monkeypatch.setattr(
        "simplerl.evaluate.preflight.recommend",
        lambda measured: {
            "template": "plain", "why": "", "tier": None, "tiers": {}, "advice": [], "stop": stops,
        },
    )  # fmt: skip
    size = ["--problems", "2", "--samples", "2", "--max-tokens", "4", "--templates", " plain,,plain"]
    code, shown, message = run_main(capsys, "preflight", "cub-qwen", *size)
    assert (code, message) == (0, "")
    words = shlex.split(shown.splitlines()[-1])
    assert words[:2] == ["simplerl", "train"]
    config = resolve("cub", {"sampling": {"stop": words[words.index("--sampling.stop") + 1]}})
    assert config.sampling.stop == tuple(stops)


def test_mistakes_are_found_before_anything_is_sampled(capsys) -> None:
    for given, wanted in (
        (["--max-tokens", "0"], "--max-tokens must be at least 1, got 0"),
        (["--policy", "boxd"], "unknown --policy 'boxd'; did you mean 'boxed'"),
    ):
        code, _, message = run_main(capsys, "preflight", "cub-qwen", *given)
        assert (code, wanted in message) == (2, True), message
