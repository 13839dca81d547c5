"""`simplerl doctor`: what goes wrong in a run, and what to try."""

import argparse
import json
import textwrap
from collections.abc import Iterator

from simplerl.cli.console import new_console, printable
from simplerl.core.errors import SimpleRLError
from simplerl.doctor import RULES, Diagnosis, diagnose
from simplerl.doctor.rule import WINDOW, parse_thresholds

COLOURS = {"serious": "bold red", "warning": "bold yellow", "good": "bold green", "dim": "dim"}


def run(args: argparse.Namespace) -> int:
    """Diagnose each run."""
    if args.rules:
        print(f"window.steps = {WINDOW.default:g} {WINDOW.unit}: {WINDOW.meaning}")
        for name, rule in RULES.items():
            print(f"\n{name}: {rule.title}")
            for key, entry in rule.thresholds.items():
                print(f"  {name}.{key} = {entry.default:g} ({entry.unit}): {entry.meaning}")
        return 0
    if not args.runs:
        raise SimpleRLError("no run was named; give a run directory, e.g. simplerl doctor runs/NAME")
    values = parse_thresholds(args.threshold)
    diagnoses = [diagnose(path, values) for path in args.runs]
    if args.json:
        # What a response says may hold anything: ASCII escapes keep it from a terminal's control sequences.
        print(json.dumps([diagnosis.as_table() for diagnosis in diagnoses], indent=2))
    else:
        console = new_console()
        for style, line in (line for d in diagnoses for line in lines(d, min(110, console.width))):
            console.print(line, style=COLOURS.get(style), markup=False)
    return int(args.strict and any(diagnosis.findings for diagnosis in diagnoses))


def lines(d: Diagnosis, width: int) -> Iterator[tuple[str, str]]:
    """Yield (style, line) of a diagnosis; every line is safe to print."""

    def wrapped(head: str, text: str, indent: int = 2) -> list[str]:
        gap = " " * indent
        return textwrap.wrap(text, width, initial_indent=head, subsequent_indent=gap, break_on_hyphens=False)

    steps = f"{d.last_step} steps of {'fine-tuning' if d.stage == 'sft' else 'training'}"
    amount = "responses of an evaluation" if d.stage == "eval" else f"{steps}, responses of {len(d.looked)} steps read"
    yield "", f"{printable(str(d.path))}: {amount}"
    for warning in d.warnings:
        yield "warning", f"  damage: {printable(warning)}"
    serious = sum(finding.severity == "serious" for finding in d.findings)
    if d.findings:
        counts = [f"{serious} serious" * bool(serious), _number(len(d.findings) - serious, "warning")]
        yield "", f"{_number(len(d.findings), 'finding')} ({', '.join(filter(None, counts))}):"
    elif d.healthy:
        yield "good", f"healthy: {len(d.clean)} rules were applied and found nothing"
    elif d.clean:
        yield "warning", f"too early to say: {_number(len(d.clean), 'rule')} could be applied and found nothing"
    else:
        yield "warning", "there is nothing to judge yet: no rule could be applied"
    for f in d.findings:
        when = f"step {f.steps[0]}" if f.steps[0] == f.steps[1] else f"steps {f.steps[0]}–{f.steps[1]}"
        yield "", ""
        yield f.severity, f"{f.severity} · {f.rule}: {f.title} ({when}{'' if f.lasting else ', passed since'})"
        for head, text in (("seen", f.seen), ("why", f.why), ("try", f.advice)):
            # A finding may quote a setting, and config.json may hold anything.
            yield from (("", line) for line in wrapped(f"  {head:5}", printable(text, 2000), indent=7))
        for example in f.examples:
            name, excerpt = printable(example.problem_id, 60), printable(example.excerpt.replace("\n", " "), 160)
            yield "dim", f"  e.g. step {example.step}, {name}, sample {example.sample}: {excerpt}"
    if d.clean:
        yield "", ""
        yield from (("dim", line) for line in wrapped("checked, nothing found: ", ", ".join(d.clean)))
    for rule, reason in d.unfit.items():
        yield "dim", f"not applicable: {rule} ({printable(reason)})"
    yield "", ""


def _number(count: int, what: str) -> str:
    return f"{count} {what}" + "s" * (count != 1) if count else ""
