"""Optional experiment trackers (wandb, TensorBoard, trackio, mlflow …) through Accelerate's adapters; off by default.

They get the configuration and the metrics, nothing else: no environment, no keys.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simplerl.core.errors import ConfigError, nearest
from simplerl.train.run import Callback


class Trackers(Callback):
    """The trackers of a run; none by default."""

    def __init__(self, names: Sequence[str], project: str, path: Path, config: Mapping[str, Any]):
        """Check the names. The trackers start with the first metrics: only then is the run directory ours."""
        self._names, self._project, self._path, self._config = names, project, path, config
        self._trackers: list[Any] | None = None
        if not names:
            return
        try:
            from accelerate.tracking import LOGGER_TYPE_TO_CLASS
        except ImportError as error:
            raise ConfigError(
                f"tracking.trackers = {', '.join(names)} needs: pip install 'simplerl[trackers]'"
            ) from error
        for name in names:
            if name not in LOGGER_TYPE_TO_CLASS:
                raise ConfigError(f"unknown tracker {name!r}; {nearest(name, map(str, LOGGER_TYPE_TO_CLASS))}")

    def _start(self) -> list[Any]:
        if not self._names:
            return []
        from accelerate import PartialState
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        PartialState()
        started = []
        for name in self._names:
            tracker_class = LOGGER_TYPE_TO_CLASS[name]
            directory = (
                {"logging_dir": str(self._path / "trackers")} if tracker_class.requires_logging_directory else {}
            )
            try:
                tracker = tracker_class(self._project, **directory)
                if hasattr(tracker, "start"):
                    tracker.start()
                tracker.store_init_configuration(
                    {
                        key: value if isinstance(value, int | float | str | bool) else str(value)
                        for key, value in self._config.items()
                    }
                )
            except ImportError as error:
                raise ConfigError(f"tracker {name!r} is not installed: pip install {name}") from error
            started.append(tracker)
        return started

    def on_step(self, step: int, metrics: Mapping[str, Any], groups: Sequence[Any]) -> None:
        """Hand on a step's metrics."""
        if self._trackers is None:
            self._trackers = self._start()
        for tracker in self._trackers:
            tracker.log(dict(metrics), step=step)

    def __enter__(self) -> "Trackers":
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the trackers."""
        for tracker in self._trackers or ():
            tracker.finish()
