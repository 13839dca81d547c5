"""What commands show with: a console, tables, and the progress bar."""

from collections.abc import Iterable, Sequence
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table


def new_console() -> Console:
    """Return a console as wide as the terminal, and wide enough for tables where there is none."""
    console = Console(highlight=False, soft_wrap=True, emoji=False)
    return console if console.is_terminal else Console(highlight=False, soft_wrap=True, emoji=False, width=140)


def say(*lines: str) -> None:
    """Print lines, whatever they quote: see `printable`."""
    for line in lines:
        new_console().print(printable(line), markup=False)


def show_table(title: str, head: Sequence[str], rows: Iterable[Sequence[object]], *, left: int = 1) -> None:
    """Print a table with `left` columns of words, the others of figures; an empty row is a line across."""
    table = Table(title=escape(printable(title)), title_justify="left")
    for number, name in enumerate(head):
        table.add_column(escape(printable(name)), justify="left" if number < left else "right", overflow="fold")
    for row in rows:
        if row:
            table.add_row(*(escape(f"{cell:,}" if isinstance(cell, int) else printable(str(cell))) for cell in row))
        else:
            table.add_section()
    new_console().print(table)


def printable(text: str, limit: int | None = None) -> str:
    """Return text of a model or a file that is safe to print: control characters shown as ·, cut to a length."""
    shown = "".join(c if c.isprintable() or c == "\n" else "·" for c in text[:limit])
    return shown if limit is None or len(text) <= limit else f"{shown} …"


def counted(count: int, what: str) -> str:
    """Return a number of things in words: `1 step`, `20 steps`."""
    return f"{count:,} {what}" + "s" * (count != 1)


def one_line(text: str, width: int = 60) -> str:
    """Return text on one line that any terminal can show, cut to a width."""
    return printable(" ".join(text.split()), width) or "(empty)"


class Bar:
    """Progress, live on a terminal and plain lines elsewhere: a phase, and above it all of it where that has a name."""

    def __init__(self, name: str = "", total: float | None = None, *, quiet: bool = False) -> None:
        self.console = new_console()
        self.console.quiet = quiet
        self._progress = Progress(
            TextColumn("{task.description:>9}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
        )
        self._all = self._progress.add_task(name, total=total, note="", visible=bool(name))
        self._phase = self._progress.add_task("", total=None, note="", visible=not name)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def say(self, message: str) -> None:
        """Show a line above."""
        self.console.print(printable(message), markup=False)

    def move(self, completed: float | None = None, note: str = "") -> None:
        """Move the upper bar, and say what is behind it."""
        self._progress.update(self._all, completed=completed, note=escape(note))

    def phase(self, name: str, total: int, done: int = 0) -> None:
        """Begin to make `total` responses, `done` of them there already."""
        self.start(name, total, done)
        if not self.console.is_terminal:
            self.say(f"{name}: {total - done:,} responses to make" + (f", {done:,} are there" if done else ""))

    def start(self, name: str, total: int | None = None, done: int = 0) -> None:
        """Begin a phase; nothing is said where there is no terminal."""
        self._progress.reset(self._phase, description=escape(name), total=total or None, completed=done, visible=True)

    def advance(self) -> None:
        """One thing of the phase is done."""
        self._progress.advance(self._phase)
