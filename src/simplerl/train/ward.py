"""The doctor's rounds during a run: what is newly found is said, and may end the run."""

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from simplerl.core.types import TrajectoryGroup
from simplerl.doctor import Finding, Watch, thresholds
from simplerl.runs.directory import read_metrics
from simplerl.train.config import Config
from simplerl.train.resolve import as_table


class Ward:
    """Watches a run as `config.doctor` asks for."""

    def __init__(self, config: Config, stage: str, path: Path, say: Callable[[str], None]):
        """A run that was begun before is taken up: what was found then is not said again, and does not end it again."""
        self._settings, self._say = config.doctor, say
        self._watch = None
        self.fatal: Finding | None = None
        """What ends the run, if anything does."""
        if self._settings.action != "off":
            self._watch = Watch(as_table(config), kind=stage, thresholds=thresholds.parse(self._settings.thresholds))
            if read_metrics(path):
                with self._guarded("taking up the run"):
                    self._watch.take_up(path)

    def visit(self, step: int, metrics: Mapping[str, Any], groups: Sequence[TrajectoryGroup]) -> None:
        """Judge a step that is recorded."""
        if self._watch is None:
            return
        new: list[Finding] = []
        with self._guarded(f"step {step}"):
            new = self._watch.step(step, metrics, groups)
        for found in new:
            self._say(f"  doctor: {found.severity}, {found.rule}: {found.title}. {found.seen}")
            if self._settings.action == "stop" and self._ends(found) and self.fatal is None:
                self.fatal = found

    @contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        """An error in a rule must not end a run of days. It is said, once, and the watch is over."""
        try:
            yield
        except Exception as error:
            self._watch = None
            origin = traceback.extract_tb(error.__traceback__)[-1]
            stops = " Nothing will stop it now (doctor.action = stop)." if self._settings.action == "stop" else ""
            self._say(
                f"  doctor: an error ended the watch at {what}: {type(error).__name__}: {error} "
                f"({Path(origin.filename).name}:{origin.lineno}). The run goes on unwatched.{stops} Please report "
                "this; `simplerl doctor RUN --debug` may show more"
            )

    def _ends(self, found: Finding) -> bool:
        return found.rule in self._settings.stop_on if self._settings.stop_on else found.severity == "serious"
