"""Write the generated pages of docs/ from the code: configuration.md, metrics.md, cli.md, the rules in doctor.md.

python tools/docs.py            write them
python tools/docs.py --check    say which are out of date, and exit with 1 if any is
"""

import ast
import dataclasses
import functools
import inspect
import os
import sys
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Union

from simplerl.algorithms import ALGORITHMS
from simplerl.cli import COMMANDS, make_parser, table_of, usage
from simplerl.config import sections
from simplerl.doctor import RULES
from simplerl.environments import ENVIRONMENTS
from simplerl.feed import BUFFERS, SAMPLERS, TRANSFORMS
from simplerl.rewards import REWARDS
from simplerl.runs.metrics import DOMAINS, METRICS, TIMINGS

DOCS = Path(__file__).parent.parent / "docs"
NOTE = "<!-- Made by tools/docs.py from the code: change the code, then run it again. -->\n"


@functools.cache
def field_docs(cls: type) -> Mapping[str, str]:
    """Return field → the text under it, of a dataclass and its bases; empty where there is none."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(node, ast.ClassDef)
        for entry, after in zip(node.body, [*node.body[1:], None], strict=True):
            if isinstance(entry, ast.AnnAssign) and isinstance(entry.target, ast.Name):
                text = after.value if isinstance(after, ast.Expr) else None
                own = str(text.value) if isinstance(text, ast.Constant) else ""
                docs[entry.target.id] = own or docs.get(entry.target.id, "")  # Another default may be all that is new.
    return docs


#: Sections whose keys depend on the name in them.
NAMED = {
    "algorithm": ALGORITHMS,
    "reward": REWARDS,
    "environment": ENVIRONMENTS,
    "sampler": SAMPLERS,
    "transform": TRANSFORMS,
    "buffer": BUFFERS,
}


def type_name(annotation: Any) -> str:
    """Return a type as a reader of the documentation would write it; a choice as `a | b`."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_name(arguments[0])
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " | ".join(type_name(each) for each in arguments if each is not type(None))
    if origin is tuple:
        return f"list of {type_name(arguments[0])}"
    return getattr(annotation, "__name__", str(annotation))


def sentence(text: str) -> str:
    """Return a docstring as one line of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def paragraph(cls: type) -> str:
    """Return the first paragraph of a class's docstring."""
    return inspect.getdoc(cls).split("\n\n")[0]


def shown(value: Any) -> str:
    """Return a default as one would write it in a recipe."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    return repr(list(value)) if isinstance(value, tuple) else repr(value)


def rows(cls: type, path: str) -> Iterator[str]:
    """Yield a table row for every plain key of a dataclass."""
    docs, hints = field_docs(cls), typing.get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        if not field.init or field.default_factory is not dataclasses.MISSING:
            continue
        kind, text = type_name(hints[field.name]), docs[field.name]
        default = "required" if field.default is dataclasses.MISSING else f"`{shown(field.default)}`"
        kind = kind.replace("|", "\\|")
        yield f"| `{path}{field.name}` | `{kind}` | {default} | {sentence(text)} |"


HEAD = "| key | type | default | meaning |\n|---|---|---|---|\n"


def table(cls: type, path: str = "") -> str:
    """Return the table of a dataclass's keys, or a remark that it has none."""
    found = list(rows(cls, path))
    return HEAD + "\n".join(found) + "\n" if found else "No keys of its own.\n"


def configuration() -> str:
    """Return docs/configuration.md."""
    parts = [
        f"""# Configuration

{NOTE}
Every key can stand in a recipe (a TOML file, in the section before its dot) and on the command line, where dashes
may stand for underscores: `--sampling.max-new-tokens 512`. The command line wins over the recipe, the recipe over the
defaults below. A list is given as `a,b`, or as TOML or JSON. An unknown key is an error that names the nearest one.

`simplerl recipes` lists the shipped recipes; `simplerl recipes NAME` prints one with every value. A recipe may begin
with `extends = "NAME"` and give only what differs, and with `about = "…"`. Without a recipe a cub is trained with
`cub`, any other model with `generic`.

## The run

{table(sections.Config)}"""
    ]
    for field in dataclasses.fields(sections.Config):
        if dataclasses.is_dataclass(field.default_factory) and field.name not in NAMED:
            parts.append(f"## {field.name}\n\n{paragraph(field.default_factory)}\n")
            parts.append(table(field.default_factory, f"{field.name}."))
    for section, registry in NAMED.items():
        room = "train" if section in ("sampler", "transform", "buffer") else f"{section}s"
        choice = f"simplerl.{room}.{section.upper()}S"
        parts.append(
            f"## {section}\n\n`{section}.name` chooses one of `{choice}`; the other keys are its own. "
            f"Default: `{next(iter(registry))}`.\n"
        )
        for name, cls in registry.items():
            parts.append(f'### {section}.name = "{name}"\n\n{paragraph(cls)}\n\n{table(cls, f"{section}.")}')
    return "\n".join(parts)


def metrics() -> str:
    """Return docs/metrics.md."""
    timings = ", ".join(f"`{prefix}`" for prefix in TIMINGS)
    parts = [
        f"""# Metrics

{NOTE}
One line per step in `metrics.jsonl`, with `step` and these names; step 0 is the base model and has the `eval/` ones
only. A value that does not exist (a mean over nothing) is `null`. What starts with {timings} depends
on the machine; everything else is the same in a run and in the same run killed and resumed.
"""
    ]
    for group in dict.fromkeys(name.split("/")[0] for name in METRICS):
        parts.append(f"## {group}\n\n| metric | meaning |\n|---|---|")
        named = [*METRICS.items(), *DOMAINS.items()]
        parts += [f"| `{name}` | {sentence(text)} |" for name, text in named if name.split("/")[0] == group]
        parts.append("")
    return "\n".join(parts)


def cli() -> str:
    """Return docs/cli.md."""
    os.environ["COLUMNS"] = "100"
    parts = [
        f"""# Command line

{NOTE}
Exit codes: 0 done, 1 a check failed or a bug of ours, 2 a mistake that you can fix (one message says which),
130 stopped by Ctrl-C. `--debug` shows the traceback of an error.

```
{usage().rstrip()}
```
"""
    ]
    for name, table in COMMANDS.items():
        for level, each in (("##", name), *(("###", f"{name} {action}") for action in table.get("actions", ()))):
            shown = make_parser(each, table_of(each)).format_help().rstrip()
            parts.append(f"{level} simplerl {each}\n\n```\n{shown}\n```\n")
    return "\n".join(parts)


RULES_BEGIN = "<!-- Rules: made by tools/docs.py from the code; change the code, then run it again. -->\n"
RULES_END = "<!-- End of the rules. -->\n"


def diagnosis() -> str:
    """Return docs/doctor.md: written by hand, but for the rules and their thresholds."""
    path = DOCS / "doctor.md"
    page = path.read_text(encoding="utf-8") if path.is_file() else f"# Diagnosis\n\n{RULES_BEGIN}{RULES_END}"
    before, rest = page.split(RULES_BEGIN)
    return before + RULES_BEGIN + "\n" + "\n".join(rules()) + "\n" + RULES_END + rest.split(RULES_END)[1]


def rules() -> Iterator[str]:
    """Yield the section of each rule."""
    head = "| threshold | default | unit | meaning |\n|---|---|---|---|"
    for name, rule in RULES.items():
        yield f"### {name}\n\n**{rule.title}.** {sentence(rule.why)}\n\n*Try:* {sentence(rule.advice)}\n"
        if rule.thresholds:
            yield head
            for key, entry in rule.thresholds.items():
                row = (f"`{name}.{key}`", f"{entry.default:g}", entry.unit, sentence(entry.meaning))
                yield "| " + " | ".join(row) + " |"
            yield ""


PAGES = {"configuration.md": configuration, "metrics.md": metrics, "cli.md": cli, "doctor.md": diagnosis}


def main() -> int:
    """Write the pages, or check them."""
    stale = 0
    for name, make in PAGES.items():
        path, text = DOCS / name, make()
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale += 1
        if "--check" in sys.argv[1:]:
            print(f"docs/{name} is out of date: run python tools/docs.py", file=sys.stderr)
        else:
            path.write_text(text, encoding="utf-8")
            print(f"wrote docs/{name}")
    return int(bool(stale) and "--check" in sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
