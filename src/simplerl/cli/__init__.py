"""The command line: what --help says and which options there are stands in commands.toml, whose head explains the form.

Exit codes: 0 done, 1 a check failed or a bug of ours, 2 a mistake that the user can fix (one message), 130 Ctrl-C.
"""

import argparse
import io
import itertools
import math
import os
import re
import sys
import textwrap
import tomllib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simplerl import __version__
from simplerl.core.errors import ConfigError, SimpleRLError, nearest
from simplerl.core.registry import blamed, load_object, load_plugins, registry

TABLES: dict[str, Any] = tomllib.loads(Path(__file__).with_name("commands.toml").read_text(encoding="utf-8"))

#: Subcommand → its table.
COMMANDS: dict[str, dict[str, Any]] = TABLES["command"]

#: Lists are read after parsing, so that a mistake in one is a message like any other.
TYPES = {"int": int, "float": float, "path": Path}


def complete(table: Mapping[str, Any], *more: str) -> dict[str, Any]:
    """Return the table of a command or an action with the groups that it shares, and `more`; its own rows win."""
    tables = [*(TABLES["shared"][name] for name in table.get("shared", ())), table]
    tables += [TABLES["shared"][name] for name in more]
    merged = {key: value for each in tables for key, value in each.items()}
    for kind in ("settings", "options"):
        rows = {key: row for each in tables for key, row in each.get(kind, {}).items()}
        merged[kind] = {key: {"help": row} if isinstance(row, str) else row for key, row in rows.items()}
    return merged


def dest_of(key: str) -> str:
    """Return the attribute of an option: `--data-dir DIR` is `data_dir`."""
    return key.partition(" ")[0].lstrip("-").replace("-", "_")


def fill(parser: argparse.ArgumentParser, table: Mapping[str, Any]) -> None:
    """Add the options of a completed table, and make its actions parsers of their own."""
    for key, row in {**table["settings"], **table["options"]}.items():
        parser.add_argument(key.partition(" ")[0], **_keywords(key, row))
    parser.set_defaults(table=table)
    if "actions" in table:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", title="actions")
        for name, action in table["actions"].items():
            summary = action["summary"]
            texts = _texts(f"{summary[0].upper()}{summary[1:]}.", action)
            inner = actions.add_parser(name, help=summary, **texts)
            parser.set_defaults(inner={**(parser.get_default("inner") or {}), name: inner})
            inner.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
            fill(inner, complete(action))


def _texts(about: str, table: Mapping[str, Any], more: str = "") -> dict[str, Any]:
    """Return what argparse wants to know of a parser: what it is for, and `more` and the examples below its options."""
    layout = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
    return {"description": about, "epilog": f"{more}examples:\n{table['examples'].rstrip()}", **layout}


def _keywords(key: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what argparse wants to know of an option."""
    name, _, shown = key.partition(" ")
    default, text = row.get("default"), row["help"]
    if default not in (None, "") and "default:" not in text:
        text += f" (default: {default})"
    keywords: dict[str, Any] = {"help": text.replace("%", "%%")}
    if name.startswith("--") and not shown and "choices" not in row:
        return {**keywords, "action": "store_true"}
    read = TYPES.get(row.get("type", type(default).__name__), str)
    keywords |= {"type": read, "default": default if default is None else read(default)}
    keywords |= {key: row[key] for key in ("required", "choices") if key in row}
    if "choices" not in row:
        keywords["metavar"] = shown.strip("[. ]").split(" ")[0] or None
    if row.get("again"):
        return {**keywords, "action": "append", "default": []}
    optional, several = shown.startswith("["), "..." in shown
    if optional or several:
        keywords["nargs"] = "+" if not optional else "*" if several else "?"
    return keywords


def read_options(args: argparse.Namespace) -> None:
    """Check the numbers and names of what was parsed, and part its lists. Raises ConfigError."""
    for key, row in args.table["options"].items():
        dest, name = dest_of(key), key.partition(" ")[0]
        value = getattr(args, dest)
        if value is None:
            continue
        low, high = row.get("least", -math.inf), row.get("most", math.inf)
        if ("least" in row or "most" in row) and not low <= value <= high:
            bounds = f"be at least {low}" if high == math.inf else f"lie between {low} and {high}"
            raise ConfigError(f"{name} must {bounds}, got {value}")
        if "from" in row:
            registry(row["from"]).find(value, key=name)
        if row.get("type") == "names":
            # A comma before `key=value` is one within a name (`reasoning-gym:chain_sum,size=50`).
            parts = re.split(r",(?!\s*\w+=)", value)
            setattr(args, dest, list(dict.fromkeys(part.strip() for part in parts if part.strip())))
        elif row.get("type") == "numbers":
            try:
                setattr(args, dest, tuple(int(part) for part in value.split(",")))
            except ValueError:
                raise ConfigError(f"{name} must be numbers such as 1,4,16; got {value!r}") from None


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of a command line as tables: `--section.key VALUE`, and the options that are keys."""
    from simplerl.config.resolve import merge, parse_overrides

    named = {name: getattr(args, name) for name in map(dest_of, args.table["settings"])}
    named["plugins"] = args.plugin or None
    return merge(parse_overrides(args.overrides), {key: value for key, value in named.items() if value is not None})


def names_to_choose() -> str:
    """Return the lines of --help that say what a setting may name, plug-ins included."""
    kinds = [(f"{kind}.name", kind) for kind in ("algorithm", "sampler", "transform", "buffer")]
    kinds += [(kind, kind) for kind in ("reward", "environment", "data", "template")]
    lines = [f"--{key} {', '.join(registry(kind))}" for key, kind in kinds]
    wrapped = [textwrap.fill(line, 98, initial_indent="  ", subsequent_indent="      ") for line in lines]
    return "names to choose from (a file or module of yours adds to them: --plugin):\n" + "\n".join(wrapped)


# -- running a command -----------------------------------------------------------------------------------------------


def build_parser(command: str) -> argparse.ArgumentParser:
    """Return the parser of one subcommand; the command itself is imported when it runs."""
    table = complete(COMMANDS[command], "every")
    names = f"{names_to_choose()}\n\n" if table.get("names") else ""
    parser = argparse.ArgumentParser(prog=f"simplerl {command}", **_texts(table["about"].strip(), table, names))
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


def before_torch() -> None:
    """Set what torch's libraries read when they are loaded, where the user has not.

    Threads that wait for others sleep instead of spinning, or a busy neighbour would make a run several times slower.
    oneDNN keeps what it has compiled for 32 shapes, not for 1,024: batches have ever new ones, half a GiB of them.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    before_torch()
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
        # A command is imported when it runs; it may return an exit code.
        function = (args.table if "run" in args.table else COMMANDS[command])["run"]
        return load_object(f"simplerl.cli.{function}")(args) or 0
    except SimpleRLError as error:
        if debug:
            raise
        from simplerl.cli.console import printable

        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1
    except Exception as error:
        if debug:
            raise
        if said := blamed(error):
            print(f"error: {said}; --debug shows the traceback", file=sys.stderr)
            return 2
        print(
            f"internal error: {type(error).__name__}: {error}\n"
            "This is a bug in simplerl. Run the same command with --debug for the traceback, and please report it.",
            file=sys.stderr,
        )
        return 1
