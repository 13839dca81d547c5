"""Optional experiment trackers (wandb, TensorBoard, trackio, mlflow …) through Accelerate's adapters; off by default.

They get the configuration and the metrics, nothing else: no environment, no keys.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simplerl.core.errors import ConfigError, nearest
from simplerl.train.run import Callback


class Trackers(Callback):
    """The trackers of a run."""

    def __init__(self, names: Sequence[str], project: str, path: Path, config: Mapping[str, Any]):
        """Check the names. The trackers start with the first metrics: only then is the run directory ours."""
        self._names, self._project, self._path, self._config = names, project, path, config
        self._trackers: list[Any] | None = None
        try:
            from accelerate.tracking import LOGGER_TYPE_TO_CLASS
        except ImportError as error:
            needed = f"tracking.trackers = {', '.join(names)} needs: pip install 'simplerl[trackers]'"
            raise ConfigError(needed) from error
        self._classes = LOGGER_TYPE_TO_CLASS
        if unknown := next((name for name in names if name not in self._classes), None):
            raise ConfigError(f"unknown tracker {unknown!r}; {nearest(unknown, map(str, self._classes))}")

    def _start(self, name: str) -> Any:
        tracker_class = self._classes[name]
        directory = {"logging_dir": str(self._path / "trackers")} if tracker_class.requires_logging_directory else {}
        plain = {k: v if isinstance(v, int | float | str | bool) else str(v) for k, v in self._config.items()}
        try:
            tracker = tracker_class(self._project, **directory)
            if hasattr(tracker, "start"):
                tracker.start()
            tracker.store_init_configuration(plain)
        except ImportError as error:
            raise ConfigError(f"tracker {name!r} is not installed: pip install {name}") from error
        return tracker

    def on_step(self, step: int, metrics: Mapping[str, Any], groups: Sequence[Any]) -> None:
        """Hand on a step's metrics."""
        if self._trackers is None:
            from accelerate import PartialState

            PartialState()
            self._trackers = [self._start(name) for name in self._names]
        for tracker in self._trackers:
            tracker.log(dict(metrics), step=step)

    def close(self) -> None:
        """Close the trackers."""
        for tracker in self._trackers or ():
            tracker.finish()
