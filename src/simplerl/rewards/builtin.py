"""The built-in rewards of one response: from its verdict, its form and its length. `mixture.py` adds them up."""

from dataclasses import dataclass
from typing import ClassVar

from simplerl.core.errors import ConfigError
from simplerl.core.types import Completion, Problem, Verdict
from simplerl.rewards.base import Reward, decided
from simplerl.verify.extract import STOP_STRINGS, boxed, final_part

_TAGS = ("<think>", "</think>", "<answer>", "</answer>")


def has_box(completion: Completion) -> bool:
    r"""Whether the final part of the response holds a closed, non-empty `\boxed{…}`."""
    return boxed(final_part(completion.text)) is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Correctness(Reward):
    """`correct` for a right answer, `wrong` for a wrong or a missing one, in between where the verdict has a score.

    No reward for form: it hurts weak models.
    """

    name: ClassVar[str] = "correctness"
    correct: float = 1.0
    """For a right answer."""
    wrong: float = 0.0
    """For a wrong answer, and for none."""

    def __call__(self, problem: Problem, completion: Completion, verdict: Verdict) -> float:
        if decided(verdict).correct or not verdict.score:
            return self.correct if verdict.correct else self.wrong
        return self.wrong + verdict.score * (self.correct - self.wrong)


@dataclass(frozen=True, kw_only=True, slots=True)
class SimplerlV0(Reward):
    """Three values: right, wrong in a box, no box.

    The reward of the first SimpleRL (the PPO blog, January 2025). There "boxed" was the mere substring.
    """

    name: ClassVar[str] = "simplerl-v0"
    correct: float = 1.0
    """For a right answer in a box."""
    wrong: float = -0.5
    """For a wrong answer in a box."""
    no_box: float = -1.0
    """Without a closed, non-empty box, whatever the answer."""

    def __call__(self, problem: Problem, completion: Completion, verdict: Verdict) -> float:
        in_box = self.correct if decided(verdict).correct else self.wrong
        return in_box if has_box(completion) else self.no_box


@dataclass(frozen=True, kw_only=True, slots=True)
class Independent(Reward):
    """Four values; use it with the policy `boxed-then-phrases-then-last-number`, else the second never occurs.

    SimpleRL-Zoo's mode of this name: the answer and its box are rewarded separately.
    """

    name: ClassVar[str] = "independent"
    correct_boxed: float = 1.0
    """For a right answer in a box."""
    correct_unboxed: float = 0.5
    """For a right answer that a fallback policy found outside a box."""
    wrong_boxed: float = -0.5
    """For a wrong answer in a box."""
    neither: float = -1.0
    """For a wrong answer, or none, without a box."""

    def __call__(self, problem: Problem, completion: Completion, verdict: Verdict) -> float:
        box = has_box(completion)
        if decided(verdict).correct:
            return self.correct_boxed if box else self.correct_unboxed
        return self.wrong_boxed if box else self.neither


@dataclass(frozen=True, kw_only=True, slots=True)
class R1Tags(Reward):
    """Four values; use it with the policy `r1-tags`, or with a fallback policy if the second is to occur.

    DeepSeek-R1's format: `<think>…</think><answer>…</answer>`, each exactly once, in this order, nothing around them.
    """

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
        formatted = in_r1_format(completion.text, opened=self.think_in_prompt)
        if decided(verdict).correct:
            return self.correct if formatted else self.correct_unformatted
        return self.wrong if formatted else self.neither


def in_r1_format(text: str, *, opened: bool = False) -> bool:
    """Whether a response is one thought and one non-empty answer; `opened`: the prompt already ended with `<think>`."""
    for stop in STOP_STRINGS:
        text = text.split(stop, 1)[0]
    text = text.strip()
    if opened and not text.startswith("<think>"):
        text = "<think>" + text
    if any(text.count(tag) != 1 for tag in _TAGS):
        return False
    before, _, rest = text.partition("<think>")
    _, _, rest = rest.partition("</think>")
    between, _, rest = rest.partition("<answer>")
    answer, end_answer, after = rest.partition("</answer>")
    return bool(end_answer and answer.strip()) and not (before or between.strip() or after)


@dataclass(frozen=True, kw_only=True, slots=True)
class Format(Reward):
    """1 for a box, 0 without; the verdict is not looked at. For mixtures and for ablations."""

    name: ClassVar[str] = "format"

    def __call__(self, problem: Problem, completion: Completion, verdict: Verdict) -> float:
        return 1.0 if has_box(completion) else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Length(Reward):
    """Between −1 (at `limit` tokens or more) and 0; a part of a mixture, not a reward by itself."""

    name: ClassVar[str] = "length"
    limit: int = 16_384
    """Tokens at which the cost is −1: the maximum response length."""
    only_correct: bool = True
    """Leave wrong answers alone: a model should not learn to be wrong in few words."""

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ConfigError(f"length needs limit ≥ 1, not {self.limit}")

    def __call__(self, problem: Problem, completion: Completion, verdict: Verdict) -> float:
        if self.only_correct and not decided(verdict).correct:
            return 0.0
        return -min(len(completion.token_ids) / self.limit, 1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlong(Reward):
    """A cost of length in the last `buffer` tokens before `limit`; a part of a mixture, not a reward by itself.

    DAPO's soft overlong punishment (Yu et al., 2025, eq. 13): 0 until `limit − buffer` tokens, then linearly to −1.
    """

    name: ClassVar[str] = "overlong"
    limit: int = 16_384
    """Tokens at which the cost is −1: the maximum response length."""
    buffer: int = 4_096
    """Tokens before the limit over which the cost grows."""

    def __post_init__(self) -> None:
        if not 0 < self.buffer <= self.limit:
            raise ConfigError(f"overlong needs 0 < buffer ≤ limit, not buffer = {self.buffer}, limit = {self.limit}")

    def __call__(self, problem: Problem, completion: Completion, verdict: Verdict) -> float:
        over = len(completion.token_ids) - (self.limit - self.buffer)
        return -min(max(over / self.buffer, 0.0), 1.0)
