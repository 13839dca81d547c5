"""DeepSeek-R1's format: `<think>…</think><answer>…</answer>`, each exactly once, in this order, nothing around them.

1 right in the format, 0.5 right outside it, −0.5 wrong in the format, −1 wrong outside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simplerl.core.types import Completion, Problem, Verdict
from simplerl.rewards.base import Reward, decided
from simplerl.verify.extract import STOP_STRINGS

_TAGS = ("<think>", "</think>", "<answer>", "</answer>")


def in_r1_format(text: str, *, opened: bool = False) -> bool:
    """Whether a response is one thought and one non-empty answer; `opened`: the prompt already ended with `<think>`."""
    for stop in STOP_STRINGS:
        text = text.split(stop, 1)[0]
    text = text.strip()
    if opened and not text.startswith("<think>"):
        text = "<think>" + text
    if any(text.count(tag) != 1 for tag in _TAGS):
        return False
    think, end_think, answer, end_answer = (text.index(tag) for tag in _TAGS)
    between = text[end_think + len("</think>") : answer]
    content = text[answer + len("<answer>") : end_answer]
    return (
        think == 0 < end_think < answer < end_answer
        and end_answer + len("</answer>") == len(text)
        and not between.strip()
        and bool(content.strip())
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class R1Tags(Reward):
    """Four values; use it with the policy `r1-tags`, or with a fallback policy if the second is to occur."""

    name: ClassVar[str] = "r1-tags"
    correct: float = 1.0
    """For a right answer in the format."""
    correct_unformatted: float = 0.5
    """For a right answer outside it."""
    wrong: float = -0.5
    """For a wrong answer in the format."""
    neither: float = -1.0
    """For a wrong answer, or none, outside it."""
    think_in_prompt: bool = False
    """The prompt already ends with `<think>`, so that the response begins inside the thought."""

    def __call__(self, problem: Problem, completion: Completion, verdict: Verdict) -> float:
        """Return 1, 0.5, −0.5 or −1 (or the values given)."""
        formatted = in_r1_format(completion.text, opened=self.think_in_prompt)
        if decided(verdict).correct:
            return self.correct if formatted else self.correct_unformatted
        return self.wrong if formatted else self.neither
