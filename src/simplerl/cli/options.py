"""The parser of a command from its table in `commands.toml`, whose head explains the form."""

import argparse
import math
import re
import textwrap
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simplerl.core.errors import ConfigError
from simplerl.core.registry import registry

TABLES: dict[str, Any] = tomllib.loads(Path(__file__).with_name("commands.toml").read_text(encoding="utf-8"))

#: Subcommand → its table. The command itself is `run(args)` in `simplerl/cli/NAME.py`, which may return an exit code.
COMMANDS: dict[str, dict[str, Any]] = TABLES["command"]

#: Lists are read after parsing, so that a mistake in one is a message like any other.
TYPES = {"int": int, "float": float, "path": Path}


#: Between names of a list; a comma before `key=value` is one within a name (`reasoning-gym:chain_sum,size=50`).
_BETWEEN_NAMES = re.compile(r",(?!\s*\w+=)")


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
            inner = actions.add_parser(
                name,
                help=action["summary"],
                description=f"{action['summary'][0].upper()}{action['summary'][1:]}.",
                epilog=f"examples:\n{action['examples'].rstrip()}",
                formatter_class=argparse.RawDescriptionHelpFormatter,
                allow_abbrev=False,
            )
            parser.set_defaults(inner={**(parser.get_default("inner") or {}), name: inner})
            inner.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
            fill(inner, complete(action))


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
            parts = _BETWEEN_NAMES.split(value)
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
