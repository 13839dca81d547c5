"""The pre-flight check: what it recommends can be typed, and what could not be judged is no wrong answer."""

import shlex

from support import run_main

from simplerl.config.resolve import resolve
from simplerl.evaluate.preflight import by_level, recommend
from simplerl.runs.responses import Answer

NAN = float("nan")


def found(acc: float, *, problems: int = 4, **more) -> dict:
    figure = {"value": acc, "low": acc, "high": acc, "problems": problems}
    plain = {"acc": figure, "boxed": figure, "truncated": figure, "tokens": figure, "openers": {}, "by_level": {}}
    return {"measured": 4, "left_out": 0, **plain, **more}


def test_template_whose_responses_cannot_be_judged_is_not_recommended() -> None:
    assert recommend({"a": found(NAN, problems=0), "b": found(0.25)})["template"] == "b"
    advice = recommend({"a": found(NAN, problems=0)})
    assert advice["template"] is None
    assert "no response could be judged" in advice["why"]


def test_undecided_samples_are_left_out_of_a_levels_share() -> None:
    member = {"problem_id": "p", "sample": 0, "level": "1", "kind": "", "response": "", "tokens": 1}
    answers = [Answer(**member, stop_reason="eos", extracted=None, status=s) for s in ("correct", "timeout")]
    assert by_level(answers) == {"1": {"acc": 1.0, "mixed": 0.0, "problems": 1}}


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


def test_mistakes_are_found_before_anything_is_sampled(tmp_path, capsys) -> None:
    for given, wanted in (
        (["--max-tokens", "0"], "--max-tokens must be at least 1, got 0"),
        (["--policy", "boxd"], "unknown --policy 'boxd'; did you mean 'boxed'"),
        (["--output", str(tmp_path / "none" / "x.json")], "does not exist"),
    ):
        code, _, message = run_main(capsys, "preflight", "cub-qwen", *given)
        assert (code, wanted in message) == (2, True), message
