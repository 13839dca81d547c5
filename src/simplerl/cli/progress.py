"""A progress bar with messages above it: live on a terminal, plain lines elsewhere."""

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def wide_console() -> Console:
    """Return a console for tables: as wide as the terminal, and wide enough where there is none."""
    console = Console(highlight=False, soft_wrap=True)
    return console if console.is_terminal else Console(highlight=False, soft_wrap=True, width=140)


class Bar:
    """Shows one phase at a time."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(highlight=False, soft_wrap=True, quiet=quiet)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
        )
        self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> "Bar":
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def say(self, message: str) -> None:
        """Show a line."""
        self.console.print(escape(message))

    def phase(self, name: str, total: int, done: int = 0) -> None:
        """Start anew: `total` things, `done` of them already."""
        self._progress.reset(self._task, description=escape(name), total=total or None, completed=done)
        if not self.console.is_terminal:
            self.say(f"{name}: {total - done:,} responses to make" + (f", {done:,} are there" if done else ""))

    def start(self, name: str, total: int | None = None) -> None:
        """Start anew with anything that is not responses to be made; nothing is said where there is no terminal."""
        self._progress.reset(self._task, description=escape(name), total=total)

    def advance(self) -> None:
        """One thing is done."""
        self._progress.advance(self._task)
