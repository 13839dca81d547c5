"""Forced end of thinking: a thought that has used up its tokens is followed by a phrase, and the policy answers.

ScaleRL (arXiv 2510.13786) interrupts thoughts so, where a limit of length alone would leave no answer to learn from.
The phrase is the environment's, so nobody is trained on it. Where it is the beginning of the answer (such as an open
box), it is judged as part of the answer.
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field, PositiveInt

from simplerl.core.types import Problem, Turn, Verdict
from simplerl.environments.base import Environment
from simplerl.verify import verify


@dataclass(frozen=True, kw_only=True)
class ForcedEnd(Environment):
    """A turn of at most `thinking_tokens`; where it did not end by itself, a phrase and another turn for the answer."""

    slow: ClassVar[bool] = False

    max_turns: PositiveInt = 2
    """Turns of the policy: the thought, and the answer after an interruption."""
    thinking_tokens: PositiveInt = 12_288
    """Tokens after which a response is interrupted; what is left of `sampling.max_new_tokens` is for the answer."""
    phrase: Annotated[str, Field(min_length=1)] = (
        "\nOkay, time is up. Let me stop thinking and formulate a final answer now.\n</think>\n"
    )
    """What ends the thought."""
    policy: str = "boxed"
    """How the answer after an interruption is found: a name from `simplerl.verify.POLICIES`."""

    def start(self, problem: Problem, rng: np.random.Generator) -> Any:
        """Return where the interrupted thought will be kept."""
        return {}

    def turn_limit(self, turn: int) -> int:
        """Return the tokens of the thought; the answer has what is left."""
        return 0 if turn else self.thinking_tokens

    def cut(self, problem: Problem, state: Any, text: str, rng: np.random.Generator) -> Turn:
        """Interrupt the thought."""
        state["thought"] = text
        return Turn(observation=self.phrase, done=False)

    def judge(self, problem: Problem, state: Any, text: str) -> Verdict | None:
        """Return the verdict on thought, phrase and answer in a row; None where nothing was interrupted."""
        thought = (state or {}).get("thought")
        if thought is None:
            return None
        answer = text[len(thought) + 1 :]  # After the line break that joins turns
        return verify(thought + self.phrase + answer, problem.answer, question=problem.question, policy=self.policy)
