"""Multiple choice: options in an order that the seed says, and the letter as the answer.

The rows' own options are what `data/` keeps of them (`Problem.meta`: `stem`, `options`, `choice`). Problems without are
asked and judged as ever, so that a mixture may hold both.
"""

import dataclasses
import re
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any, ClassVar

import numpy as np

from simplerl.core.types import Problem, Verdict, VerdictStatus
from simplerl.data.problems import options_in
from simplerl.environments.base import Environment
from simplerl.verify import extract

#: Options that speak of others by their place or letter: these keep their order.
_PLACED = re.compile(
    r"\b(?:all|none|both|neither|either|any|two|some) of (?:the|these|those|them|above)\b|\b(?:above|below)\b"
    r"|\b(?:options?|choices?|answers?|statements?) [A-J]\b|\b[A-J](?:,| and| or| &) [A-J]\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class MultipleChoice(Environment):
    """Shuffles the options of a problem and judges the letter that is chosen; the option's own text counts too."""

    slow: ClassVar[bool] = False

    policy: str = "choice"
    """How the final answer is found: `choice` finds a letter in a box, in a phrase or by itself."""
    shuffle: bool = True
    """Put the options in another order. Options that speak of each other ("all of the above") keep theirs."""

    def problem(self, problem: Problem, rng: np.random.Generator) -> Problem:
        """Return the problem with its options in the order of the random numbers, and the gold's letter there."""
        options = problem.meta.get("options")
        if not options:
            return problem
        keep = not self.shuffle or any(map(_PLACED.search, options))
        order = list(range(len(options))) if keep else rng.permutation(len(options)).tolist()
        shown = [options[index] for index in order]
        choice = problem.meta.get("choice")
        return dataclasses.replace(
            problem,
            question=f"{problem.meta['stem']}\n{options_in(shown).shown}",
            answer=problem.answer if choice is None else ascii_uppercase[order.index(choice)],
            meta={**problem.meta, "options": tuple(shown), "choice": None if choice is None else order.index(choice)},
        )

    def judge(self, problem: Problem, state: Any, text: str) -> Verdict | None:
        options, choice = problem.meta.get("options"), problem.meta.get("choice")
        if not options:
            return None
        answer = extract(text, self.policy)
        if choice is None:
            detail = f"the gold {problem.answer[:60]!r} is none of the options"
            return Verdict(status="unjudgeable", extracted=answer, rule="choice", detail=detail)
        if answer is None:
            return Verdict(status="no_answer", extracted=None, rule="choice", detail="no letter found")
        chosen = options_in(options).chosen(answer)
        detail = f"{problem.answer} is right" if chosen is not None else f"{answer[:60]!r} is none of the options"
        status: VerdictStatus = "correct" if chosen == choice else "wrong"
        return Verdict(status=status, extracted=answer, rule="choice", detail=detail)
