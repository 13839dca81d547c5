"""Build, list and inspect the cubs: the embedded family of tiny base models.

A cub is an ordinary Hugging Face model directory, pretrained from random weights on generated arithmetic text. `build`
makes one again from its seed (minutes on two cores); `list` shows the shipped ones.
"""

import argparse
from pathlib import Path

EXAMPLES = """\
  simplerl cub list
  simplerl cub show cub-llama
  simplerl cub build cub-qwen --output-dir /tmp/cub-qwen
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("action", choices=("list", "show", "build"), help="list all, show one's card, or build one")
    parser.add_argument("name", nargs="?", help="which cub (show, build)")
    parser.add_argument("--output-dir", metavar="DIR", help="where to write the model (build)")


def run(args: argparse.Namespace) -> int:
    """Carry out the action."""
    from simplerl.core.errors import ConfigError, RunError, nearest
    from simplerl.models import cub

    if args.action == "list":
        for name in cub.NAMES:
            print(f"{name:12} {cub.path(name)}")
        return 0
    if args.name not in cub.NAMES:
        raise ConfigError(f"unknown cub {args.name!r}; {nearest(args.name or '', cub.NAMES)}")
    if args.action == "show":
        print((cub.path(args.name) / "README.md").read_text(encoding="utf-8"))
        return 0
    if not args.output_dir:
        raise ConfigError("cub build needs --output-dir DIR")
    directory = Path(args.output_dir)
    if directory.is_file():
        raise RunError(f"{directory} is a file; choose another --output-dir")
    if directory.exists() and any(directory.iterdir()):
        raise RunError(f"{directory} is not empty; choose another --output-dir")

    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from simplerl.cubs.build import build

    with Progress(
        TextColumn(args.name), BarColumn(), TextColumn("{task.fields[note]}"), TimeRemainingColumn()
    ) as progress:
        task = progress.add_task("", total=None, note="writing the corpus")
        build(
            args.name,
            directory,
            lambda done, total, loss: progress.update(task, completed=done, total=total, note=f"loss {loss:.3f}"),
        )
    print((directory / "README.md").read_text(encoding="utf-8"))
    return 0
