"""What a user is told after the first evaluation, before the first step."""

from pathlib import Path

import pytest
from support import small_config

from simplerl.train.loop import train
from simplerl.train.run import Callback


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
