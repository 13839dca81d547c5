"""The page of a report: one HTML file that needs nothing else and runs nothing.

Every value that the template writes goes through `simplerl.markup`, so that text of models, data and directories is
shown and never executed; the policy in the page's head forbids scripts, forms and requests.
"""

import base64
import datetime
import functools
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simplerl import __version__
from simplerl.analysis.estimates import shown
from simplerl.core.errors import RunError
from simplerl.markup import CSS
from simplerl.markup.formulas import prose
from simplerl.markup.templates import Safe, environment
from simplerl.markup.text import quantity
from simplerl.report.content import Content
from simplerl.report.examples import KINDS
from simplerl.report.figures import Figure
from simplerl.report.outcomes import NOBODY, SHAPES
from simplerl.report.reading import ReportedRun, duration
from simplerl.runs.files import make_directory, write_atomic
from simplerl.runs.metrics import meaning

#: Characters shown of a response; of a longer one its beginning and its end, where the answer is.
RESPONSE_HEAD, RESPONSE_TAIL = 2400, 1200

NONE = "–"


def render(content: Content, *, command: str, now: datetime.datetime) -> str:
    """Return the report as HTML. `command` is what made it, `now` the time that it names."""
    here = Path(__file__).parent
    filters: dict[str, Any] = {
        "percent": functools.partial(written, unit="%"),
        "points": functools.partial(written, sign=True),
        "number": functools.partial(written, share=False),
        "cell": written,
        "quantity": quantity,
        "duration": duration,
        "setting": setting,
        "response": _response,
        "quoted": shlex.quote,  # What one copies into a shell.
        "base64": lambda image: Safe(base64.b64encode(image).decode("ascii")),
    }
    names = [group.name for group in content.groups] + list(content.benchmarks.table if content.benchmarks else ())
    metrics = sorted({name for run in content.runs for name in run.run.metrics.column_names} - {"step"})
    values: dict[str, Any] = {
        "c": content,
        "style": Safe(CSS + (here / "page.css").read_text(encoding="utf-8")),
        "title": ", ".join(names[:4])[:160] + (f" and {len(names) - 4} more" if len(names) > 4 else ""),
        "command": command,
        "made": now.strftime("%Y-%m-%d %H:%M UTC"),
        "version": __version__,
        "kinds": KINDS,
        "glossary": {name: about for name in metrics if (about := meaning(name))},
        "shapes": SHAPES,
        "metrics": [(name, [_last(run, name) for run in content.runs]) for name in metrics],
        "nobody": NOBODY,
    }
    return environment(here, filters).get_template("page.html.j2").render(values)


def _response(text: str | None) -> Safe:
    """Return a response with its formulas drawn; of a long one the beginning and the end."""
    text = text or ""
    if (missing := len(text) - RESPONSE_HEAD - RESPONSE_TAIL) <= 0:
        return Safe(prose(text))
    gap = f'<span class="left-out gap">… {missing:,} characters left out …</span>'
    return Safe(prose(text[:RESPONSE_HEAD]) + gap + prose(text[-RESPONSE_TAIL:]))


def _last(run: ReportedRun, metric: str) -> str:
    values = run.run.history(metric)[1]
    return quantity(values[-1]) if len(values) else NONE


# -- numbers and texts ---------------------------------------------------------------------------------------------


def written(figure: Any, **form: Any) -> str:
    """Return a number with its interval, `−3.9 [−12.5, +9.0]`, with a real minus. The form is that of `shown`."""
    return shown(figure, **form).replace("-", "−")


def setting(value: Any) -> str:
    """Return a value of a configuration as one would write it."""
    if value is None or value == "":
        return NONE if value is None else '""'
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


# -- files ---------------------------------------------------------------------------------------------------------


def check(output: Path, folder: Path | None) -> None:
    """Raise RunError where a report could not be written, or would replace something else, before the work is done."""
    if output.is_dir():
        raise RunError(f"--output {output} is a directory; name a file, for example {output / 'report.html'}")
    if not output.parent.is_dir():
        raise RunError(f"--output {output}: the directory {output.parent} does not exist; create it, or choose another")
    if folder is not None and folder.exists() and not folder.is_dir():
        raise RunError(f"--figures {folder} is a file; name a directory")
    try:
        with output.open("rb") as file:
            head = file.read(2000)
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunError(f"--output {output} cannot be written: {error.strerror}; choose another name") from error
    if head and b'name="generator" content="simplerl' not in head:
        raise RunError(f"--output {output} exists and is not a report; choose another name")


def write(html: str, figures: Mapping[str, Figure], output: Path, folder: Path | None) -> None:
    """Write the page and, with a folder, every figure as PNG and PDF, each completely or not at all.

    Raises RunError where something cannot be written.
    """
    files = {output: html.encode("utf-8")}
    if folder is not None:
        for name, figure in figures.items():
            files |= {folder / f"{name}.png": figure.png, folder / f"{name}.pdf": figure.pdf or b""}
    for path, content in files.items():
        make_directory(path.parent)
        write_atomic(path, content)
