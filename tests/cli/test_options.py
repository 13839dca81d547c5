"""Options of a command come from a dataclass: names, types, defaults, choices, help."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest

from simplerl.cli.options import add_options, field_docs, option, positional, read_options, type_name


@dataclass(frozen=True, kw_only=True)
class Base:
    """What several commands share."""

    limit: int = 20
    """Rows to show.

    At least one.
    """
    share: float | None = None
    """A share, in %."""


@dataclass(frozen=True, kw_only=True)
class Options(Base):
    """What one command takes."""

    runs: tuple[Path, ...] = positional()
    """Run directories."""
    output: Path = option(metavar="FILE", flags=["-o"])
    """JSON to write."""
    show_as: Literal["text", "json"] = "text"
    """How to show them."""
    force: bool = False
    """Write over a file that is there."""
    limit: int = 5
    """Fewer rows."""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="x", exit_on_error=False)
    add_options(made, Options)
    return made


def test_what_is_left_out_has_its_default() -> None:
    options = read_options(parser().parse_args(["a", "b", "--output", "x.json"]), Options)
    assert options == Options(runs=(Path("a"), Path("b")), output=Path("x.json"))
    assert (options.limit, options.share, options.show_as, options.force) == (5, None, "text", False)


def test_what_is_given_has_its_type() -> None:
    given = ["a", "-o", "x", "--limit", "7", "--share", "0.5", "--show-as", "json", "--force"]
    options = read_options(parser().parse_args(given), Options)
    assert options == Options(runs=(Path("a"),), output=Path("x"), limit=7, share=0.5, show_as="json", force=True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["a"], "--output"),
        (["--output", "x"], "runs"),
        (["a", "--output", "x", "--limit", "many"], "invalid int value: 'many'"),
        (["a", "--output", "x", "--show-as", "xml"], "invalid choice: 'xml'"),
    ],
)
def test_mistakes_are_named(given: list[str], message: str, capsys) -> None:
    with pytest.raises((SystemExit, argparse.ArgumentError)) as caught:
        parser().parse_args(given)
    assert message in capsys.readouterr().err + str(caught.value)


def test_the_help_is_the_text_under_the_field() -> None:
    shown = " ".join(parser().format_help().split())
    assert "-o FILE, --output FILE JSON to write" in shown, "an abbreviation stays as it is"
    assert "--limit N fewer rows" in shown, "the text of the class that declares the field last"
    assert "--share X a share, in %" in shown
    assert "--show-as {text,json} how to show them" in shown
    assert field_docs(Base)["limit"].startswith("Rows to show.")
    assert field_docs(Options)["limit"] == "Fewer rows."


@pytest.mark.parametrize(
    ("annotation", "name"),
    [
        (int, "int"),
        (int | None, "int"),
        (Literal["a", "b"], "a | b"),
        (tuple[str, ...], "list of str"),
        (Annotated[tuple[float, ...], "more"], "list of float"),
    ],
)
def test_types_as_a_reader_would_write_them(annotation: object, name: str) -> None:
    assert type_name(annotation) == name
