"""The page of a report: everything that it shows, in one HTML file that needs nothing else and runs nothing.

Every value that the template writes goes through `simplerl.markup`, so that text of models, data and directories is
shown and never executed; the policy in the page's head forbids scripts, forms and requests.
"""

import base64
import datetime
import functools
import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from simplerl import __version__
from simplerl.analysis.estimates import Estimate, shown
from simplerl.core.errors import RunError
from simplerl.doctor import diagnose
from simplerl.markup import CSS, Safe, environment
from simplerl.markup.formulas import prose
from simplerl.markup.text import quantity
from simplerl.report import figures as drawing
from simplerl.report import outcomes
from simplerl.report.figures import Figure
from simplerl.report.outcomes import KINDS, NOBODY, SHAPES, ReportedRun, Sources, duration, or_why
from simplerl.runs.files import make_directory, write_atomic

T = TypeVar("T")

#: Characters shown of a response; of a longer one its beginning and its end, where the answer is.
RESPONSE_HEAD, RESPONSE_TAIL = 2400, 1200


class Content:
    """A report without its form. What is by a run's label has a sentence where there is nothing to show of it."""

    def __init__(
        self,
        sources: Sources,
        *,
        examples: int = 3,
        pdf: bool = True,
        progress: Callable[[str], None] = lambda _: None,
    ):
        """Make it. `progress` gets a word about each thing as it is made.

        `examples`: problems of each kind to show from each run; `pdf`: draw figures as PDF too.
        """
        self.per_kind = examples
        self.runs = runs = sources.runs
        self.groups = groups = outcomes.groups(runs)
        self.differences = outcomes.differences(runs)

        def each(what: str, of: Callable[[ReportedRun], T]) -> dict[str, T | str]:
            by_label = {}
            for run in runs:
                progress(f"{what} {run.label}")
                by_label[run.label] = or_why(of, run)
            return by_label

        self.gains = each("comparing before and after:", outcomes.gain)
        self.diagnoses = each("diagnosing", lambda run: diagnose(run.path))
        self.judges = each("behaviours of", outcomes.read_judges)
        self.problems = each("problems of", outcomes.problems)
        self.explored = each("exploration of", outcomes.explore)
        choose = functools.partial(outcomes.choose, number=examples)
        self.examples = each("choosing responses of", choose) if examples else {}
        progress("comparing runs")
        self.against_first = outcomes.against_first(runs)
        several = any(len(group.independent) > 1 for group in groups)
        self.over_seeds = outcomes.over_seeds(groups) if several else []
        """Measures of every setting, where one has several seeds; empty where none has."""
        self.paired = [Estimate(), *(outcomes.paired_gain(group, groups[0]) for group in groups[1:])]
        """Final accuracy beside the first setting, seed by seed; no value with fewer than three shared seeds."""
        self.benchmarks = outcomes.Benchmarks(sources.results) if sources.results else None
        progress("drawing")
        shown: Any = {"explored": self.explored, "judges": self.judges, "benchmarks": self.benchmarks}
        self.figures = drawing.draw_all(outcomes.series(groups), **shown, pdf=pdf)
        """By name, in the report's order."""
        self.damage = [*(line for run in runs for line in run.run.damage), *sources.damage]


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
    values: dict[str, Any] = {
        "c": content,
        "style": Safe(CSS + (here / "page.css").read_text(encoding="utf-8")),
        "title": ", ".join(names[:4])[:160] + (f" and {len(names) - 4} more" if len(names) > 4 else ""),
        "command": command,
        "made": now.strftime("%Y-%m-%d %H:%M UTC"),
        "version": __version__,
        "kinds": KINDS,
        "shapes": SHAPES,
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


# -- numbers and texts ---------------------------------------------------------------------------------------------


def written(figure: Any, **form: Any) -> str:
    """Return a number with its interval, `−3.9 [−12.5, +9.0]`, with a real minus. The form is that of `shown`."""
    return shown(figure, **form).replace("-", "−")


def setting(value: Any) -> str:
    """Return a value of a configuration as one would write it."""
    if value is None or value == "":
        return "–" if value is None else '""'
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
