"""The same rules while a run goes on: a finding is said once when it appears, and once more if it becomes serious.

Watching draws no random number and changes nothing, so a run that is watched is the same run, bit for bit.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simplerl.diagnosis import thresholds as limits
from simplerl.diagnosis.evidence import read, with_flags
from simplerl.diagnosis.history import History
from simplerl.diagnosis.judge import apply, finding, follow
from simplerl.diagnosis.look import Response, look
from simplerl.diagnosis.rules import RULES
from simplerl.diagnosis.types import Finding
from simplerl.runs.files import flatten
from simplerl.types import Trajectory, TrajectoryGroup

#: Responses are looked at in the first step and in every so many: reading texts takes longer than looking at metrics.
LOOK_EVERY = 5


class Watch:
    """Keeps what a run has recorded so far, and says what is new about it."""

    def __init__(self, config: Mapping[str, Any], *, kind: str, thresholds: Mapping[str, float]):
        """`config` is the run's, as nested tables; `thresholds` maps `RULE.NAME` to values instead of the defaults."""
        checked = limits.check(thresholds)
        window = int(checked.get("window.steps", limits.WINDOW.default))
        self._thresholds = {name: limits.of_rule(name, checked) for name in RULES}
        self._history = History((), config=flatten(config), kind=kind, window=window)
        self._since: dict[str, int] = {}
        self._said: dict[str, str] = {}

    def take_up(self, path: Path) -> None:
        """Take up what a run had recorded before it was resumed. What held then has been said."""
        history = read(path, window=self._history.window).history
        history.config, history.kind = self._history.config, self._history.kind
        self._history = history
        for name, rule in RULES.items():
            found = follow(rule, history, self._thresholds[name])
            if found:
                self._since[name], self._said[name] = found.steps[0], found.severity

    def step(self, step: int, metrics: Mapping[str, Any], groups: Sequence[TrajectoryGroup]) -> list[Finding]:
        """Take in a step (0: the base model) and return what is newly found."""
        figures, examples = {}, {}
        if groups and (step == 1 or step % LOOK_EVERY == 0):
            figures, examples = look(step, [_response(t) for group in groups for t in group.trajectories])
        self._history.add(with_flags({"step": step, **metrics, **figures}), examples)
        new = []
        for name, rule in RULES.items():
            seen = apply(rule, self._history, self._thresholds[name])
            if seen is None:
                continue
            since = self._since.setdefault(name, step)
            found = finding(rule, seen, first=since, last=step, lasting=True)
            if name not in self._said or (found.severity == "serious" and self._said[name] != "serious"):
                self._said[name] = found.severity
                new.append(found)
        return new


def _response(trajectory: Trajectory) -> Response:
    reward = trajectory.reward
    return Response(
        problem_id=trajectory.problem.id,
        sample=trajectory.sample,
        question=trajectory.problem.question,
        text=trajectory.completion.text,
        tokens=len(trajectory.completion.token_ids),
        status=trajectory.verdict.status,
        reward=None if reward != reward else float(reward),
        rule=trajectory.verdict.rule,
    )
