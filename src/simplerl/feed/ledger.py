"""The ledger: what came of every problem at which step, as a prompt sampler sees it. It has no state of its own.

Everything is read from what the run has recorded, when a sampler asks for it: a run that was killed and resumed sees
what it saw before. Each step's file is read once.
"""

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from simplerl.config.sections import Config
from simplerl.core.errors import RunError
from simplerl.core.types import Draw, Problem
from simplerl.runs.directory import read_metrics
from simplerl.runs.responses import Visit
from simplerl.runs.run import Run


class Ledger:
    """The record of a run up to the step `upto`, its problems and its settings: all that a choice may depend on."""

    def __init__(
        self,
        config: Config,
        problems: Sequence[Problem],
        path: Path,
        *,
        vocabulary: int = 0,
        read: Callable[[int], Mapping[str, Visit]] | None = None,
    ):
        """`path` is the run directory, `vocabulary` the number of tokens; `read` is for tests: step → its visits."""
        self.config, self.problems, self.path, self.vocabulary = config, problems, path, vocabulary
        self.upto = 0
        """The last step that is seen."""
        self.lag = config.rollout.lag
        """Steps that rollouts may be ahead of training, so that their outcomes are not known when one is chosen."""
        self._totals: dict[int, dict[str, tuple[int, int]]] = {0: {}}
        self._read = functools.cache(read or (lambda step: Run(path).records(step).visits(step)))

    def before(self, step: int) -> "Ledger":
        """Return the ledger as the choice for a step sees it: up to the step before, and less by the rollouts' lag."""
        return self.at(step - 1 - self.lag)

    def at(self, step: int) -> "Ledger":
        """Return the ledger up to a step, that step among it."""
        view = copy.copy(self)
        view.upto = max(0, step)
        return view

    def draw(self, problem: Problem, **over: Any) -> Draw:
        """Return the draw of a problem as the settings have it: samples, temperature; `over` says what is otherwise."""
        s = self.config.sampling
        return Draw(problem, **{"samples": s.samples_per_prompt, "temperature": s.temperature, **over})

    def visits(self, step: int) -> Mapping[str, Visit]:
        """Return problem → what came of it in a step, in the order in which they were sampled."""
        if not 1 <= step <= self.upto:
            raise IndexError(f"the ledger goes from step 1 to {self.upto}; step {step} is not in it")
        return self._read(step)

    def totals(self, *, since: int = 1) -> dict[str, tuple[int, int]]:
        """Return problem → (right, decided) of its responses from a step on; who was not sampled is not in it."""
        start = max(step for step in self._totals if step <= self.upto) if since <= 1 else since - 1
        sums = dict(self._totals[start]) if since <= 1 else {}
        for step in range(start + 1, self.upto + 1):
            for name, visit in self.visits(step).items():
                right, decided = sums.get(name, (0, 0))
                sums[name] = (right + visit.right, decided + visit.decided)
        return self._totals.setdefault(self.upto, sums) if since <= 1 else sums

    def rates(self, *, since: int = 1) -> dict[str, float]:
        """Return problem → share right of its decided responses from a step on; those without one are not in it."""
        return {name: right / decided for name, (right, decided) in self.totals(since=since).items() if decided}

    def history(self) -> dict[str, list[Visit]]:
        """Return problem → its visits, oldest first; problems that were never sampled are not in it."""
        history: dict[str, list[Visit]] = {}
        for step in range(1, self.upto + 1):
            for name, visit in self.visits(step).items():
                history.setdefault(name, []).append(visit)
        return history

    def metrics(self, step: int) -> dict[str, Any]:
        """Return the line of metrics of a step; 0 is the base model."""
        return read_metrics(self.path)[step]

    def searched(self, step: int) -> dict[str, float]:
        """Return the point that the search of a step has chosen (`feed/search.py`)."""
        chosen = next((each["chosen"] for each in Run(self.path).searches if each["step"] == step), None)
        if chosen is None:
            raise RunError(f"{self.path}/star lacks the search of step {step}, whose temperature goes on: start anew")
        return chosen
