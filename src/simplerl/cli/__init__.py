"""The command line: what --help says stands in commands.toml, what a command does in a file of its name.

Exit codes: 0 done, 1 a check failed or a bug of ours, 2 a mistake that the user can fix (one message), 130 Ctrl-C.
"""

import argparse
import importlib
import io
import itertools
import os
import sys
import warnings

from simplerl import __version__
from simplerl.cli.options import COMMANDS, TABLES, complete, fill, names_to_choose, read_options
from simplerl.core.errors import SimpleRLError, nearest
from simplerl.core.registry import load_plugins


def build_parser(command: str) -> argparse.ArgumentParser:
    """Return the parser of one subcommand; the command itself is imported when it runs."""
    table = complete(COMMANDS[command], "every")
    names = f"{names_to_choose()}\n\n" if table.get("names") else ""
    parser = argparse.ArgumentParser(
        prog=f"simplerl {command}",
        description=table["about"].strip(),
        epilog=f"{names}examples:\n{table['examples'].rstrip()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    fill(parser, table)
    return parser


def parser_of(parser: argparse.ArgumentParser, argv: list[str]) -> argparse.ArgumentParser:
    """Return the parser of the action that a command line begins with; the command's own where it has none."""
    return (parser.get_default("inner") or {}).get(argv[0] if argv else "", parser)


def split_overrides(parser: argparse.ArgumentParser, argv: list[str]) -> tuple[list[str], list[str]]:
    """Part the command's own arguments from configuration settings: every `--key [value]` that it does not declare."""
    own, overrides, rest = [], [], list(argv)
    while rest:
        argument = rest.pop(0)
        name = argument.partition("=")[0]
        if not name.startswith("--") or name in parser._option_string_actions:
            own.append(argument)
            continue
        overrides.append(argument)
        if "=" not in argument and rest and not rest[0].startswith("--"):
            overrides.append(rest.pop(0))
    return own, overrides


def named_plugins(argv: list[str]) -> list[str]:
    """Return the values of `--plugin`, before there is a parser: its choices may come from them."""
    named = [after for word, after in itertools.pairwise(argv) if word == "--plugin"]
    return [*named, *(word.partition("=")[2] for word in argv if word.startswith("--plugin="))]


def usage() -> str:
    """Return the text of `simplerl --help`."""
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:{width}}  {table['summary']}" for name, table in COMMANDS.items())
    return TABLES["usage"].format(commands=rows)


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    # Before torch is loaded: threads that wait for others sleep instead of spinning, or a busy neighbour would make a
    # run several times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # An ASCII terminal still gets its table.
    # A library's warnings are for who develops with it; -W or PYTHONWARNINGS shows them.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    command, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    debug = "--debug" in rest
    try:
        if command in ("-h", "--help", "help"):
            print(usage())
            return 0
        if command in ("-V", "--version"):
            print(f"simplerl {__version__}")
            return 0
        if command not in COMMANDS:
            raise SimpleRLError(f"unknown command {command!r}; {nearest(command, COMMANDS)}")
        load_plugins(named_plugins(rest))
        parser = build_parser(command)
        overrides: list[str] = []
        inner = parser_of(parser, rest)
        if inner.get_default("table").get("overrides"):
            rest, overrides = split_overrides(inner, rest)
        args, unknown = parser.parse_known_args(rest)
        if unknown:
            name = unknown[0].partition("=")[0]
            known = [option for option in inner._option_string_actions if option.startswith("--")]
            hint = f"{nearest(name, known)} " if name.startswith("--") else ""
            raise SimpleRLError(f"{command} takes no argument {name!r}; {hint}see simplerl {command} --help")
        args.command, args.overrides = command, overrides
        read_options(args)
        return importlib.import_module(f"simplerl.cli.{args.table.get('module', command)}").run(args) or 0
    except SimpleRLError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1
    except Exception as error:
        if debug:
            raise
        print(
            f"internal error: {type(error).__name__}: {error}\n"
            "This is a bug in simplerl. Run the same command with --debug for the traceback, and please report it.",
            file=sys.stderr,
        )
        return 1
