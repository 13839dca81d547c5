"""A run: ended by a budget of tokens, evaluated at several temperatures, and what its user is told first."""

import json
from pathlib import Path
from typing import Any

import pytest
from support import assert_same_run, fingerprint, kills_before, run_main, run_small, small_config

from simplerl.analysis.compare import summarise
from simplerl.cli.display import Terminal
from simplerl.core.errors import ConfigError
from simplerl.runs.directory import read_metrics
from simplerl.train.loop import train
from simplerl.train.run import Callback

# -- A run that is ended by a budget of tokens ends as one that was asked for just so many steps, killed or not --------

#: Without a check of the clock: checkpoints and evaluations fall on steps that the budget must not depend on.
LONG = {"steps": 50, "evaluation": {"every": 0}, "checkpoint": {"every": 2, "keep": 0}}


@pytest.fixture(scope="module")
def by_steps(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[int]]:
    """Return (the fingerprint of a run of three steps, tokens sampled up to each step)."""
    path = tmp_path_factory.mktemp("reference") / "run"
    run_small(path, {**LONG, "steps": 3})
    counts = [line["tokens/sampled"] for line in read_metrics(path)[1:]]
    return fingerprint(path), [sum(counts[: i + 1]) for i in range(3)]


def test_ends_after_the_step_that_reaches_it(by_steps, tmp_path: Path) -> None:
    reference, tokens = by_steps
    for name, budget in (("just", tokens[2]), ("over", tokens[1] + 1)):
        outcome, listener = run_small(tmp_path / name, {**LONG, "token_budget": budget})
        assert (outcome.step, outcome.finished) == (3, True)
        assert sum(line.get("tokens/sampled", 0) for line in read_metrics(tmp_path / name)) == tokens[2]
        assert "eval/accuracy" in listener.metrics[3]
        assert_same_run(tmp_path / name, reference)
    summary = summarise(tmp_path / "over", seconds=1.0)
    assert (summary["steps"], summary["ended_by"]) == (3, "token_budget")


def test_steps_stay_the_upper_limit(by_steps, tmp_path: Path) -> None:
    reference, _ = by_steps
    outcome, _ = run_small(tmp_path / "run", {**LONG, "steps": 3, "token_budget": 10**9})
    assert (outcome.step, outcome.finished) == (3, True)
    assert summarise(tmp_path / "run", seconds=1.0)["ended_by"] == "steps"
    assert_same_run(tmp_path / "run", reference)


def test_killed_and_resumed_it_ends_at_the_same_step(by_steps, tmp_path: Path) -> None:
    """Killed before each line of metrics, so that tokens of steps that are forgotten must not count."""
    reference, tokens = by_steps
    over = {**LONG, "token_budget": tokens[2]}
    with kills_before(tmp_path / "whole", r"/metrics\.jsonl [3-9]$") as killed:
        run_small(tmp_path / "whole", over)
    assert killed
    for path in killed:
        outcome, _ = run_small(path, over, resume=True)
        assert (outcome.step, outcome.finished) == (3, True)
        assert_same_run(path, reference)


def test_a_run_that_has_used_it_up_does_nothing_more_until_it_is_raised(by_steps, tmp_path: Path) -> None:
    reference, tokens = by_steps
    path = tmp_path / "run"
    run_small(path, {**LONG, "token_budget": tokens[1]})
    before = fingerprint(path)
    outcome, _ = run_small(path, {**LONG, "token_budget": tokens[1]}, resume=True)
    assert (outcome.step, outcome.finished) == (2, True)
    assert fingerprint(path) == before
    outcome, _ = run_small(path, {**LONG, "token_budget": tokens[2]}, resume=True)
    assert outcome.step == 3
    assert fingerprint(path)["weights"] == reference["weights"]


def test_schedules_that_need_the_number_of_steps_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"token_budget = 100 .* 'cosine'"):
        small_config({"token_budget": 100, "optimizer": {"schedule": "cosine"}})
    with pytest.raises(ConfigError, match="must not be negative"):
        small_config({"token_budget": -1})


def test_the_command_says_how_it_ended(capsys, tmp_path: Path) -> None:
    path = tmp_path / "run"
    words = ["--steps", "9", "--token-budget", "60", "--sampling.prompts-per-step", "2", "--evaluation.size", "2"]
    code, out, _ = run_main(capsys, "train", "--output-dir", str(path), *words)
    assert code == 0
    assert "60 tokens (at most 9 steps)" in out
    assert "(the token budget is used up)" in out
    assert json.loads((path / "summary.json").read_text())["ended_by"] == "token_budget"


def test_what_is_left_is_told_by_tokens_or_steps_whichever_ends_first(tmp_path: Path) -> None:
    terminal = Terminal(small_config({"steps": 10, "token_budget": 1000}), tmp_path)
    terminal._tokens = {1: 50, 2: 350, 3: 900}
    assert terminal._share(1) == 0.1  # 50 tokens are 5%, one step of ten is 10%.
    assert terminal._share(2) == 0.4
    assert terminal._share(3) == 1.0


# -- further temperatures ----------------------------------------------------------------------------------------------


def test_evaluation_at_further_temperatures(tmp_path: Path) -> None:
    run_small(tmp_path / "one", {"steps": 1, "evaluation": {"temperature": 0.5}})
    _, listener = run_small(tmp_path / "two", {"steps": 1, "evaluation": {"further_temperatures": [0.0, 0.5]}})
    for step in (0, 1):
        name = f"evaluations/step_{step:06d}.json"
        own, both = (json.loads((tmp_path / run / name).read_text()) for run in ("one", "two"))
        greedy, half = both["further"]
        assert both["temperature"] == 1.0
        assert greedy["temperature"] == 0.0
        # A problem answered greedily is answered in the same way every time: one response is enough.
        assert (greedy["samples"], both["samples"], list(greedy["pass@k"])) == (1, 2, ["1"])
        assert listener.metrics[step]["eval/accuracy_greedy"] == greedy["acc"]["value"]
        for key in ("temperature", "acc", "pass@k", "tokens", "verdicts"):
            assert half[key] == own[key], key
    assert "further" not in own
    with pytest.raises(ConfigError, match="further_temperatures must not be negative, got -1"):
        small_config({"evaluation": {"further_temperatures": [-1.0]}})


# -- what a user is told after the first evaluation, before the first step ---------------------------------------------


class Listener(Callback):
    """Notes what is said, and which steps were recorded when it was."""

    def __init__(self) -> None:
        self.said: list[tuple[int, str]] = []
        self.steps = 0

    def say(self, message: str) -> None:
        self.said.append((self.steps, message))

    def on_step(self, step, metrics, groups) -> None:
        self.steps += 1


@pytest.mark.parametrize(
    ("over", "wanted"),
    [
        (
            {"sampling": {"max_new_tokens": 1}},
            ["100% of", "max_new_tokens = 1,", "--sampling.max-new-tokens"],
        ),
        (
            {"verifier": {"policy": "r1-tags"}},
            ["0% of", "policy = r1-tags", "--template", "--verifier.policy"],
        ),
        ({}, []),
    ],
    ids=["cut", "form", "neither"],
)
def test_hopeless_responses_are_told_before_the_first_step(over: dict, wanted: list[str], tmp_path: Path) -> None:
    listener = Listener()
    train(small_config({**over, "steps": 1, "doctor": {"action": "off"}}), tmp_path / "run", callbacks=[listener])
    warnings = [(steps, line) for steps, line in listener.said if line.startswith("WARNING")]
    assert len(warnings) == bool(wanted), listener.said
    for steps, line in warnings:
        assert steps == 1, "after the evaluation of step 0 and nothing else"
        assert all(fragment in line for fragment in wanted), line
