"""A Python interpreter as a tool: `<code>print(6*7)</code>` is answered by what the program prints.

The form is ReTool's (arXiv 2504.11536): the answer stands between `<interpreter>` and `</interpreter>`. Every program
runs alone in the sandbox; nothing is kept from one call to the next. Where there is no sandbox, nothing runs.
"""

import functools
import re
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from simplerl.core.types import Problem, Turn
from simplerl.environments import sandbox
from simplerl.environments.base import Environment, answered

OPEN, CLOSE = "<code>", "</code>"
_FENCE = re.compile(r"^\s*```(?:python|py)?[ \t]*\n(.*?)(?:\n```)?\s*$", re.DOTALL)
_turn = functools.partial(answered, "interpreter", "python")


@dataclass(frozen=True, kw_only=True)
class Interpreter(Environment):
    """The policy may run Python programs in the middle of its response."""

    stop: ClassVar[tuple[str, ...]] = (CLOSE,)

    code_seconds: PositiveFloat = 5.0
    """Seconds that a program may run."""
    memory_mb: PositiveInt = 512
    """Memory that a program may have."""

    def start(self, problem: Problem, rng: np.random.Generator) -> Any:
        """Raise SandboxError where there is no sandbox, before anything is sampled."""
        sandbox.require()

    def step(self, problem: Problem, state: Any, text: str, rng: np.random.Generator) -> Turn:
        """Run the program that a turn ends with; without one the episode is over."""
        if not text.endswith(CLOSE):
            return Turn()
        _, opened, program = text.removesuffix(CLOSE).rpartition(OPEN)
        if not opened:
            return _turn("", f"a call looks like {OPEN}print(6*7){CLOSE}", "invalid")
        fenced = _FENCE.match(program)
        program = fenced[1] if fenced else program
        limits = sandbox.Limits(seconds=self.code_seconds, memory_mb=self.memory_mb, output_kb=64)
        result = sandbox.run(program, limits=limits)
        if result.status == "lost":
            raise RuntimeError("the program was killed from outside, several times")
        if result.status == "ok":
            return _turn(program, result.stdout.strip(), "ok", result.seconds)
        reasons = {"timeout": f"TimeoutError: more than {self.code_seconds:g} s", "output": "more output than is read"}
        last = (result.stderr.strip().splitlines() or [f"exit code {result.returncode}"])[-1]
        said = "\n".join(filter(None, (result.stdout.strip(), reasons.get(result.status, last))))
        return _turn(program, said, "timeout" if result.status == "timeout" else "error", result.seconds)
