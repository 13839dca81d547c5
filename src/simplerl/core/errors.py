"""The errors that a user can cause. Each names the thing, its value, what is allowed and what to do next.

The command line prints a `SimpleRLError` as one message and exits with code 2; anything else is a bug of ours.
"""

import difflib
import traceback
from collections.abc import Iterable, Sequence


class SimpleRLError(Exception):
    """A mistake that a user can fix: shown as a message, never as a traceback (unless `--debug`)."""


class ConfigError(SimpleRLError):
    """An unknown key, a wrong type, or settings that contradict each other."""


class Contradiction(ConfigError):
    """Settings that contradict each other, with the values that would end it: (key, value), the best first."""

    def __init__(self, message: str, *ways: tuple[str, object]):
        super().__init__(message)
        self.ways = ways


class PluginError(SimpleRLError):
    """A plug-in that is missing, raises at import, or registers a name that is taken."""


class DataError(SimpleRLError):
    """A data file or data set that cannot be read as problems; names file and line."""


class ModelError(SimpleRLError):
    """A model or tokenizer that cannot be loaded or cannot be used for what was asked."""


class EngineLost(ModelError):
    """What samples has broken and cannot go on; an engine in a process of its own is started anew."""


class RankLost(SimpleRLError):
    """A rank of the learner has ended or does not answer; a run may go on from its newest checkpoint."""

    def __init__(self, message: str, code: int | None = None):
        super().__init__(message)
        self.code = code
        """Its exit code; negative: the signal that ended it."""
        self.stopping = False
        """Whether the run was to stop anyway."""


class RunError(SimpleRLError):
    """A run directory that is taken, incomplete, damaged or not writable."""


def nearest(name: str, options: Iterable[str]) -> str:
    """Return `did you mean 'x' or 'y'?` for the options closest to `name`, else the list of all options."""
    options = sorted(options)
    close = difflib.get_close_matches(name, options, n=2, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(option) for option in close) + "?"
    return "known: " + ", ".join(options) + "."


def first_few(names: Sequence[str]) -> str:
    """Return the first five names, and a sign that there are more."""
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")


def raised_at(error: BaseException, *, within: str = "") -> str:
    """Return `Type: message (file:line)`: where it was raised, or its last line in the file `within`."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if within and frame.filename == within]
    place = "unknown place"
    if isinstance(error, SyntaxError) and error.filename and not inside:
        place = f"{error.filename}:{error.lineno}"
    elif inside or frames:
        place = f"{(inside or frames)[-1].filename}:{(inside or frames)[-1].lineno}"
    message = (str(error).strip().splitlines() or [""])[0][:300]
    return f"{type(error).__name__}{': ' + message if message else ''} ({place})"
