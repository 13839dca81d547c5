"""Say what goes wrong in a run: rules over its metrics and responses, with figures, steps and what to try.

Reads run directories of `simplerl train` and `simplerl sft`, also while they run, and result directories of `simplerl
eval`; writes nothing there. A healthy run is said to be so, with what was checked. Every rule and threshold is
explained in docs/doctor.md. The exit code is 0 also with findings; with --strict it is then 1.
"""

import argparse
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simplerl.doctor import Diagnosis, Finding

EXAMPLES = """\
  simplerl doctor runs/mine
  simplerl doctor runs/mine runs/other --strict
      exit code 1 if anything is found, for scripts
  simplerl doctor runs/mine --threshold clip-ratio.share=0.4 --threshold entropy-collapse.fraction=0.05
  simplerl doctor runs/mine --json -
  simplerl doctor --rules
      every rule with its thresholds
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("runs", metavar="RUN", nargs="*", type=Path, help="run directory, or a result of simplerl eval")
    parser.add_argument(
        "--threshold",
        metavar="RULE.NAME=VALUE",
        action="append",
        default=[],
        help="set a threshold (may be repeated); --rules lists them",
    )
    parser.add_argument("--strict", action="store_true", help="exit with 1 if there are findings")
    parser.add_argument("--json", metavar="FILE", help="write the diagnoses as a JSON list; - prints it instead")
    parser.add_argument("--rules", action="store_true", help="list the rules and their thresholds, and stop")


def run(args: argparse.Namespace) -> int:
    """Diagnose each run."""
    from simplerl.core.errors import SimpleRLError
    from simplerl.doctor import diagnose
    from simplerl.doctor.thresholds import parse
    from simplerl.runs.files import write_json

    if args.rules:
        print("\n".join(_rules()))
        return 0
    if not args.runs:
        raise SimpleRLError("no run was named; give a run directory, e.g. simplerl doctor runs/NAME")
    thresholds = parse(args.threshold)
    found = [diagnose(path, thresholds) for path in args.runs]
    tables = [diagnosis.as_table() for diagnosis in found]
    if args.json == "-":
        # What a response says may hold anything: ASCII escapes keep it from a terminal's control sequences.
        print(json.dumps(tables, indent=2))
    else:
        for diagnosis in found:
            show(diagnosis)
        if args.json:
            write_json(Path(args.json), tables)
            print(f"written to {args.json}")
    return int(args.strict and any(diagnosis.findings for diagnosis in found))


def show(diagnosis: "Diagnosis") -> None:
    """Print a diagnosis."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False, soft_wrap=True)
    colours = {"serious": "bold red", "warning": "bold yellow", "good": "bold green", "dim": "dim"}
    for style, line in lines(diagnosis, width=min(110, console.width if console.is_terminal else 110)):
        text = escape(line)
        console.print(f"[{colours[style]}]{text}[/]" if style else text)


def lines(diagnosis: "Diagnosis", *, width: int) -> Iterator[tuple[str, str]]:
    """Yield (style, line) of a diagnosis; every line is safe to print."""
    from simplerl.cli.display import printable

    d = diagnosis
    what = {"sft": "steps of fine-tuning", "eval": "responses of an evaluation"}.get(d.stage, "steps of training")
    amount = what if d.stage == "eval" else f"{d.last_step} {what}, responses of {len(d.looked)} steps read"
    yield "", f"{printable(str(d.path))}: {amount}"
    for warning in d.warnings:
        yield "warning", f"  damage: {printable(warning)}"
    serious = sum(finding.severity == "serious" for finding in d.findings)
    if d.findings:
        rest = len(d.findings) - serious
        counts = [f"{serious} serious" * bool(serious), _number(rest, "warning") * bool(rest)]
        yield "", f"{_number(len(d.findings), 'finding')} ({', '.join(filter(None, counts))}):"
    elif d.healthy:
        yield "good", f"healthy: {len(d.clean)} rules were applied and found nothing"
    elif d.clean:
        yield "warning", f"too early to say: {_number(len(d.clean), 'rule')} could be applied and found nothing"
    else:
        yield "warning", "there is nothing to judge yet: no rule could be applied"
    for finding in d.findings:
        yield from _finding(finding, width)
    if d.clean:
        yield "", ""
        yield from (("dim", line) for line in _wrapped("checked, nothing found: ", ", ".join(d.clean), width))
    for rule, reason in d.unfit.items():
        yield "dim", f"not applicable: {rule} ({printable(reason)})"
    yield "", ""


def _finding(finding: "Finding", width: int) -> Iterator[tuple[str, str]]:
    from simplerl.cli.display import printable

    first, last = finding.steps
    when = f"step {first}" if first == last else f"steps {first}–{last}"
    passed = "" if finding.lasting else ", passed since"
    yield "", ""
    yield finding.severity, f"{finding.severity} · {finding.rule}: {finding.title} ({when}{passed})"
    for head, text in (("seen", finding.seen), ("why", finding.why), ("try", finding.advice)):
        # A finding may quote a setting, and config.json may hold anything.
        yield from (("", line) for line in _wrapped(f"  {head:5}", printable(text, 2000), width))
    for example in finding.examples:
        excerpt = printable(example.excerpt.replace("\n", " "), 160)
        where = f"step {example.step}, {printable(example.problem_id, 60)}, sample {example.sample}"
        yield "dim", f"  e.g. {where}: {excerpt}"


def _number(count: int, what: str) -> str:
    return f"{count} {what}" + "s" * (count != 1)


def _wrapped(head: str, text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=head,
        subsequent_indent=" " * (len(head) if len(head) < 10 else 2),
        break_on_hyphens=False,
    )


def _rules() -> Iterator[str]:
    from simplerl.doctor import RULES
    from simplerl.doctor.thresholds import WINDOW

    yield f"window.steps = {WINDOW.default:g} {WINDOW.unit}: {WINDOW.meaning}"
    for name, rule in RULES.items():
        yield f"\n{name}: {rule.title}"
        for key, entry in rule.thresholds.items():
            yield f"  {name}.{key} = {entry.default:g} ({entry.unit}): {entry.meaning}"
