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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from simplerl import __version__
from simplerl.core.errors import ConfigError, SimpleRLError, nearest
from simplerl.core.registry import blamed, load_object, load_plugins, registry

TABLES: dict[str, Any] = tomllib.loads(Path(__file__).with_name("commands.toml").read_text(encoding="utf-8"))

#: Subcommand → its table.
COMMANDS: dict[str, dict[str, Any]] = TABLES["command"]


def table_of(name: str) -> dict[str, Any]:
    """Return the table of a command, or of an action of one (`data audit`), complete."""
    command, _, action = name.partition(" ")
    table = COMMANDS[command]
    if action:
        own = table["actions"][action]
        about = f"{own['summary'][0].upper()}{own['summary'][1:]}."
        table = {"run": table.get("run"), "about": about, **own}
    return complete(table)


def complete(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table with the groups that it shares; its own rows win."""
    tables = [*(TABLES["shared"][name] for name in table.get("shared", ())), table]
    merged = {key: value for each in tables for key, value in each.items()}
    for kind in ("settings", "options"):
        merged[kind] = {key: row for each in tables for key, row in each.get(kind, {}).items()}
    return merged


def dest_of(key: str) -> str:
    """Return the attribute of an option: `--data-dir DIR` is `data_dir`."""
    return key.partition(" ")[0].lstrip("-").replace("-", "_")


def make_parser(name: str, table: Mapping[str, Any]) -> argparse.ArgumentParser:
    """Return the parser of a command, or of an action of one, from its table."""
    more = f"{names_to_choose()}\n\n" if table.get("names") else ""
    more += f"actions:\n{listed(table['actions'])}\n\n" if "actions" in table else ""
    parser = argparse.ArgumentParser(
        prog=f"simplerl {name}",
        usage=f"simplerl {name} ACTION [OPTIONS]" if "actions" in table else None,
        description=table["about"].strip(),
        epilog=f"{more}examples:\n{table['examples'].rstrip()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for key, row in {**table["settings"], **table["options"], **TABLES["shared"]["every"]["options"]}.items():
        parser.add_argument(key.partition(" ")[0], **_keywords(key, {"help": row} if isinstance(row, str) else row))
    parser.set_defaults(table=table, command=name)
    return parser


def _keywords(key: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what argparse wants to know of an option."""
    name, _, shown = key.partition(" ")
    default, text = row.get("default"), row["help"]
    if default not in (None, "") and "default:" not in text:
        text += f" (default: {default})"
    keywords: dict[str, Any] = {"help": text.replace("%", "%%")}
    if name.startswith("--") and not shown and "choices" not in row:
        return {**keywords, "action": "store_true"}
    keywords |= {"type": _reader(name, row), "default": default}
    keywords |= {key: row[key] for key in ("required", "choices") if key in row}
    if "choices" not in row:
        keywords["metavar"] = shown.strip("[. ]").split(" ")[0] or None
    if row.get("again"):
        return {**keywords, "action": "append", "default": []}
    optional, several = shown.startswith("["), "..." in shown
    if optional or several:
        keywords["nargs"] = "+" if not optional else "*" if several else "?"
    return keywords


def _reader(name: str, row: Mapping[str, Any]) -> Callable[[str], Any]:
    """Return what reads the text of an option as its type. It raises ConfigError for a value that may not be."""
    kind, bounded = row.get("type", type(row.get("default")).__name__), row.keys() & {"least", "most"}
    low, high = row.get("least", -math.inf), row.get("most", math.inf)

    def read(text: str) -> Any:
        if kind == "names":
            # A comma before `key=value` is one within a name (`reasoning-gym:chain_sum,size=50`).
            parts = re.split(r",(?!\s*\w+=)", text)
            return list(dict.fromkeys(part.strip() for part in parts if part.strip()))
        if kind == "numbers":
            try:
                return tuple(int(part) for part in text.split(","))
            except ValueError:
                raise ConfigError(f"{name} must be numbers such as 1,4,16; got {text!r}") from None
        value = {"int": int, "float": float, "path": Path}.get(kind, str)(text)
        if bounded and not low <= value <= high:
            bounds = f"be at least {low}" if high == math.inf else f"lie between {low} and {high}"
            raise ConfigError(f"{name} must {bounds}, got {value}")
        if "from" in row:
            registry(row["from"]).find(value, key=name)
        return value

    read.__name__ = kind  # What argparse calls it where it cannot be read.
    return read


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


def listed(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a line for each of some commands or actions."""
    width = max(map(len, tables))
    return "\n".join(f"  {name:{width}}  {table['summary']}" for name, table in tables.items())


def usage() -> str:
    """Return the text of `simplerl --help`."""
    return TABLES["usage"].format(commands=listed(COMMANDS))


# -- running a command -----------------------------------------------------------------------------------------------


def parse(words: list[str]) -> argparse.Namespace:
    """Read a command line, its plug-ins loaded: `overrides` are the settings in it, every `--key [value]` that its
    command does not declare, where that takes such. Raises SimpleRLError."""
    name, *rest = words
    if name not in COMMANDS:
        raise SimpleRLError(f"unknown command {name!r}; {nearest(name, COMMANDS)}")
    if actions := COMMANDS[name].get("actions", {}):
        if action := next((word for word in rest if word in actions), ""):
            rest.remove(action)
            name = f"{name} {action}"
        elif not {"-h", "--help"} & {*rest}:
            said = f"unknown action {rest[0]!r} of {name}" if rest else f"{name} wants an action"
            raise SimpleRLError(f"{said}; {nearest(' '.join(rest[:1]), actions)} See simplerl {name} --help")
    # Before there is a parser: its choices may come from them.
    plugins = [after for word, after in itertools.pairwise(rest) if word == "--plugin"]
    load_plugins([*plugins, *(word.partition("=")[2] for word in rest if word.startswith("--plugin="))])
    table = table_of(name)
    parser, own, overrides = make_parser(name, table), list[str](), list[str]()
    while rest:
        word = rest.pop(0)
        key, equals, _ = word.partition("=")
        is_setting = table.get("overrides") and key.startswith("--") and key not in parser._option_string_actions
        (overrides if is_setting else own).append(word)
        if is_setting and not equals and rest and not rest[0].startswith("--"):
            overrides.append(rest.pop(0))
    args, unknown = parser.parse_known_args(own)
    if unknown:
        key = unknown[0].partition("=")[0]
        known = [option for option in parser._option_string_actions if option.startswith("--")]
        hint = f"{nearest(key, known)} " if key.startswith("--") else ""
        raise SimpleRLError(f"{name} takes no argument {key!r}; {hint}see simplerl {name} --help")
    args.overrides = overrides
    return args


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
    words = (sys.argv[1:] if argv is None else argv) or ["--help"]
    try:
        if words[0] in ("-h", "--help", "help"):
            print(usage())
            return 0
        if words[0] in ("-V", "--version"):
            print(f"simplerl {__version__}")
            return 0
        args = parse(words)
        # A command is imported when it runs; it may return an exit code.
        return load_object(f"simplerl.cli.{args.table['run']}")(args) or 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1
    except Exception as error:
        if "--debug" in words:
            raise
        from simplerl.cli.console import printable

        if isinstance(error, SimpleRLError):
            said = printable(str(error))
        elif said := blamed(error):
            said += "; --debug shows the traceback"
        if said:
            print(f"error: {said}", file=sys.stderr)
            return 2
        print(
            f"internal error: {type(error).__name__}: {error}\n"
            "This is a bug in simplerl. Run the same command with --debug for the traceback, and please report it.",
            file=sys.stderr,
        )
        return 1
