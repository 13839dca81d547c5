"""Options of a command come from its table: names, types, defaults, choices, bounds, help."""

import argparse
import tomllib
from pathlib import Path
from typing import Any

import pytest
from support import run_main

from simplerl.cli import COMMANDS, main
from simplerl.cli.options import TABLES, complete, fill, read_options, settings
from simplerl.core.errors import ConfigError

TABLE = tomllib.loads("""
shared = ["study"]
[options]
"runs RUN [RUN ...]" = { type = "path", help = "run directories" }
"base [BASE]" = "what they are compared with"
"--output FILE" = { required = true, type = "path", help = "JSON to write" }
"--seeds N" = { default = 5, least = 1, help = "fewer seeds" }
"--share X" = { type = "float", least = 0, most = 1, help = "a share, in %" }
"--show-as" = { default = "text", choices = ["text", "json"], help = "how to show them" }
"--k K,K" = { type = "numbers", help = "the k of pass@k" }
"--only A,B" = { type = "names", help = "names" }
"--policy P" = { default = "boxed", from = "policy", help = "how answers are found" }
"--stop TEXT" = { again = true, help = "ends a response" }
"--force" = "write over a file that is there"
[settings]
"--model M" = "a model"
""")


def parser() -> argparse.ArgumentParser:
    filled = argparse.ArgumentParser(prog="x", exit_on_error=False)
    fill(filled, complete(TABLE, "every"))
    return filled


def parsed(*given: str) -> dict[str, Any]:
    args = parser().parse_args(["a", *given])
    read_options(args)
    return vars(args)


def test_what_is_left_out_has_its_default() -> None:
    args = parsed("--output", "x")
    assert (args["runs"], args["base"], args["output"]) == ([Path("a")], None, Path("x"))
    assert (args["seeds"], args["share"], args["show_as"], args["force"]) == (5, None, "text", False)
    assert (args["k"], args["only"], args["policy"], args["stop"]) == (None, None, "boxed", [])
    assert (args["quick"], args["plugin"]) == (False, []), "what every study and every command takes"


def test_what_is_given_has_its_type() -> None:
    args = parsed("b", "c", "--output", "x", "--seeds", "7", "--share", "0.5", "--show-as", "json", "--force")
    assert args["runs"] == [Path("a"), Path("b"), Path("c")]
    assert (args["seeds"], args["share"], args["show_as"], args["force"]) == (7, 0.5, "json", True)
    args = parsed("--output", "x", "--k", "1,4", "--only", " a,,b,a", "--stop", "A", "--stop", "B")
    assert (args["k"], args["only"], args["stop"]) == ((1, 4), ["a", "b"], ["A", "B"])
    args = parsed("--output", "x", "--only", "gym:sum,size=5,levels=1|2,aime24@32")
    assert args["only"] == ["gym:sum,size=5,levels=1|2", "aime24@32"], "options belong to their name"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "--output"),
        (["--output", "x", "--seeds", "many"], "invalid int value: 'many'"),
        (["--output", "x", "--show-as", "xml"], "invalid choice: 'xml'"),
        (["--output", "x", "--seeds", "0"], "--seeds must be at least 1, got 0"),
        (["--output", "x", "--share", "nan"], "--share must lie between 0 and 1, got nan"),
        (["--output", "x", "--k", "1,x"], "--k must be numbers such as 1,4,16; got '1,x'"),
        (["--output", "x", "--policy", "boxd"], "unknown --policy 'boxd'; did you mean 'boxed'?"),
    ],
)
def test_mistakes_are_named(given: list[str], message: str, capsys) -> None:
    with pytest.raises((SystemExit, argparse.ArgumentError, ConfigError)) as caught:
        parsed(*given)
    assert message in capsys.readouterr().err + str(caught.value)


def test_the_help_is_the_text_of_the_row() -> None:
    shown = " ".join(parser().format_help().split())
    assert "--output FILE JSON to write" in shown
    assert "--seeds N fewer seeds (default: 5)" in shown, "a command's own row wins over a shared one"
    assert "--share X a share, in %" in shown
    assert "--show-as {text,json} how to show them (default: text)" in shown
    assert "RUN [RUN ...]" in shown
    assert "[BASE]" in shown


def test_settings_are_keys_of_a_configuration() -> None:
    args = parser().parse_args(["a", "--output", "x", "--model", "m"])
    args.overrides = ["--optimizer.lr", "0.5"]
    table = settings(args)
    assert table["model"] == "m"
    assert set(table) == {"model", "optimizer"}


def test_the_tables_use_only_what_their_head_explains() -> None:
    known = {"help", "default", "type", "least", "most", "choices", "from", "again", "required"}
    tables = [*TABLES["shared"].values(), *COMMANDS.values(), *COMMANDS["data"]["actions"].values()]
    rows = [row for table in tables for kind in ("settings", "options") for row in table.get(kind, {}).values()]
    assert len(rows) > 100
    for row in rows:
        assert isinstance(row, str) or (set(row) <= known and row["help"])
        assert isinstance(row, str) or row.get("type", "int") in ("int", "float", "path", "numbers", "names")


@pytest.mark.parametrize("words", [["report", "a", "--examples", "51"], ["behaviours", "a", "--timeout", "inf"]])
def test_bounds_hold_before_a_command_runs(words: list[str], capsys) -> None:
    assert main(words) == 2
    assert "must lie between" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["eval", "x", "--max-new-tokens", "3"], "'--max-new-tokens'; did you mean '--max-tokens'"),
        (["view", "a", "b"], "view takes no argument 'b'; see simplerl view --help"),
    ],
)
def test_an_argument_that_a_command_does_not_take_is_named_with_the_nearest(given, said, capsys) -> None:
    code, _, error = run_main(capsys, *given)
    assert (code, said in error) == (2, True), error
