"""Write a report and its figures: whole or not at all, and never over something that is no report."""

from collections.abc import Iterable
from pathlib import Path

from simplerl.analysis.report.drawing import Figure
from simplerl.core.errors import RunError
from simplerl.runs.files import write_atomic


def check(output: Path, folder: Path | None) -> None:
    """Raise RunError where a report could not be written, before the work is done."""
    if output.is_dir():
        raise RunError(f"--output {output} is a directory; name a file, for example {output / 'report.html'}")
    if not output.parent.is_dir():
        raise RunError(f"--output {output}: the directory {output.parent} does not exist; make it, or choose another")
    if output.exists() and not _is_report(output):
        raise RunError(f"--output {output} is there already and is no report; choose another name")
    if folder is not None and folder.exists() and not folder.is_dir():
        raise RunError(f"--figures {folder} is a file; name a directory")


def _is_report(path: Path) -> bool:
    """Return whether a file may be replaced: it is empty, or an HTML page of ours."""
    try:
        with path.open("rb") as file:
            head = file.read(2000)
    except OSError as error:
        raise RunError(f"--output {path} cannot be written: {error.strerror}; choose another name") from error
    return not head or b'name="generator" content="simplerl' in head


def write(html: str, figures: Iterable[Figure], output: Path, folder: Path | None) -> int:
    """Write the page and, with a folder, every figure as PNG and PDF. Return how many figures that were.

    Raises RunError where something cannot be written.
    """
    count = 0
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"--figures {folder} cannot be made: {error.strerror}; choose another") from error
        for count, figure in enumerate(figures, 1):  # noqa: B007
            _write(folder / f"{figure.name}.png", figure.png)
            if figure.pdf is not None:
                _write(folder / f"{figure.name}.pdf", figure.pdf)
    _write(output, html.encode("utf-8"))
    return count


def _write(path: Path, content: bytes) -> None:
    try:
        write_atomic(path, content)
    except RunError as error:
        reason = error.__cause__.strerror if isinstance(error.__cause__, OSError) else error
        raise RunError(f"cannot write {path}: {reason}; choose another --output or --figures") from error
