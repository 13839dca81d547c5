"""The commands that show what happened in a run: `status`, `doctor`, `report`, `view`."""

import argparse
import datetime
import json
import math
import shlex
import sys
import textwrap
import time
import webbrowser
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from simplerl.cli import TABLES
from simplerl.cli.console import Bar, counted, new_console, one_line, printable, say
from simplerl.core.errors import ConfigError, RunError, SimpleRLError
from simplerl.runs.files import LockedDirectory
from simplerl.runs.metrics import as_number
from simplerl.runs.run import Run

if TYPE_CHECKING:
    from simplerl.doctor import Diagnosis

#: Phase of training, and state of an engine → what is done in it.
PHASES, ENGINES = TABLES["words"]["phases"], TABLES["words"]["engines"]

#: Seconds after which what a run has said of itself is of the past: it does every 20.
SILENT_S = 60
#: Severity of a finding → how a terminal shows it.
COLOURS = {"serious": "bold red", "warning": "bold yellow", "good": "bold green", "dim": "dim"}


def status(args: argparse.Namespace) -> None:
    """Say what each run is doing, and who waits for whom, for how long."""
    for path in args.runs:
        say(*status_lines(Run(path)))


def status_lines(run: Run) -> Iterator[str]:
    """Yield what there is to say of a run, line by line."""
    if run.is_result:
        raise RunError(f"{run.path} is a result of simplerl eval, which does nothing; give the directory of a run")
    try:
        held = LockedDirectory(run.path).held
    except RunError:  # A directory that this user may not write to: whether somebody else does is not known.
        held = False
    table, now = run.status, time.time()
    seen = as_number(table.get("time"))
    head = f"{printable(str(run.path))}: step {run.last_step} of {_number(run.planned[0])}"
    if not held and run.finished:
        yield f"{head}, finished"
        return
    if not held:
        sign = f"; its last sign is {lasting(now - seen)} old, when training {_phase(table)}" if seen > 0 else ""
        yield f"{head}, is not running{sign}"
        yield f"  go on: simplerl {run.stage} --output-dir {run.path} --resume"
        return
    if not now - seen < SILENT_S:
        silent = f" for {lasting(now - seen)}: it begins, begins again, or is stopped" if seen > 0 else ""
        yield f"{head}, runs; it has said nothing of what it is doing{silent}"
        return
    yield f"{head}, runs (process {_number(table.get('pid'))} on {one_line(str(table.get('host')))})"
    yield f"  training  {_phase(table)}, for {lasting(now - as_number(table.get('since')))}"
    if isinstance(ahead := table.get("ahead"), dict):
        yield f"  sampling  {one_line(str(ahead.get('doing')))}, for {lasting(now - as_number(ahead.get('since')))}"
    ranks = table.get("ranks")
    hosts = [str(rank.get("host")) for rank in ranks if isinstance(rank, dict)] if isinstance(ranks, list) else []
    if len(hosts) > 1:
        where = ", ".join(f"{hosts.count(host)} on {one_line(host)}" for host in dict.fromkeys(hosts))
        yield f"  learner   {len(hosts)} ranks: {where}"
    engines = table.get("engines")
    for engine in engines if isinstance(engines, list) else ():
        if isinstance(engine, dict):
            counts = {name: _number(engine.get(name)) for name in ("owes", "version")}
            doing = ENGINES.get(str(engine.get("state")), "?").format_map(counts)
            silent = lasting(now - as_number(engine.get("heard")))
            starts = as_number(engine.get("starts"))
            again = f", started {starts:.0f} times" if starts > 1 else ""
            yield f"  engine {_number(engine.get('engine'))}  {doing}; last sign {silent} ago{again}"


def _phase(table: dict[str, Any]) -> str:
    return PHASES.get(str(table.get("phase")), "begins").format(step=_number(table.get("step")))


def _number(value: Any) -> str:
    return "?" if math.isnan(number := as_number(value)) else f"{number:.0f}"


def lasting(seconds: float) -> str:
    """Return a duration in words; nan is an unknown one."""
    if math.isnan(seconds):
        return "an unknown time"
    seconds = max(0.0, seconds)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def doctor(args: argparse.Namespace) -> int:
    """Say what goes wrong in each run, and what to try."""
    from simplerl.doctor import RULES, diagnose
    from simplerl.doctor.rule import parse_thresholds

    if args.rules:
        for name, rule in RULES.items():
            say(f"\n{name}: {rule.title}")
            say(*(f"  {name}.{key} = {t.default:g} ({t.unit}): {t.meaning}" for key, t in rule.thresholds.items()))
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
        for style, line in (line for d in diagnoses for line in diagnosis_lines(d, min(110, console.width))):
            console.print(printable(line), style=COLOURS.get(style), markup=False)
    return int(args.strict and any(diagnosis.findings for diagnosis in diagnoses))


def diagnosis_lines(d: "Diagnosis", width: int) -> Iterator[tuple[str, str]]:
    """Yield (style, line) of a diagnosis."""

    def wrapped(head: str, text: str, indent: int = 2) -> list[str]:
        gap = " " * indent
        return textwrap.wrap(text, width, initial_indent=head, subsequent_indent=gap, break_on_hyphens=False)

    steps = f"{d.last_step} steps of {'fine-tuning' if d.stage == 'sft' else 'training'}"
    amount = "responses of an evaluation" if d.stage == "eval" else f"{steps}, responses of {len(d.looked)} steps read"
    yield "", f"{d.path}: {amount}"
    for warning in d.warnings:
        yield "warning", f"  damage: {printable(warning, 300)}"
    serious = sum(finding.severity == "serious" for finding in d.findings)
    if d.findings:
        warnings = len(d.findings) - serious
        counts = [f"{serious} serious"] * bool(serious) + [counted(warnings, "warning")] * bool(warnings)
        yield "", f"{counted(len(d.findings), 'finding')} ({', '.join(counts)}):"
    elif d.healthy:
        yield "good", f"healthy: {len(d.clean)} rules were applied and found nothing"
    elif d.clean:
        yield "warning", f"too early to say: {counted(len(d.clean), 'rule')} could be applied and found nothing"
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
            where = f"step {example.step}, {one_line(example.problem_id)}, sample {example.sample}"
            yield "dim", f"  e.g. {where}: {one_line(example.excerpt, 160)}"
    if d.clean:
        yield "", ""
        yield from (("dim", line) for line in wrapped("checked, nothing found: ", ", ".join(d.clean)))
    for rule, reason in d.unfit.items():
        yield "dim", f"not applicable: {rule} ({printable(reason, 300)})"
    yield "", ""


def report(args: argparse.Namespace) -> None:
    """Write one HTML file about runs and evaluations."""
    from simplerl.report import page
    from simplerl.report.outcomes import gather

    if args.no_figures and args.figures:
        raise ConfigError("--figures and --no-figures exclude each other")
    folder = None if args.no_figures else args.figures or args.output.with_name(f"{args.output.stem}_figures")
    page.check(args.output, folder)
    with Bar() as bar:
        bar.start("reading")
        sources = gather(args.paths)
        content = page.Content(sources, examples=args.examples, pdf=folder is not None, progress=bar.start)
    remarks = [f"{run.label}: {remark}" for run in content.runs for remark in run.remarks]
    for line in [*(f"left out: {line}" for line in content.damage), *remarks]:
        bar.say(line)
    command = shlex.join(["simplerl", "report", *map(str, args.paths)])
    html = page.render(content, command=command, now=datetime.datetime.now(datetime.UTC))
    page.write(html, content.figures, args.output, folder)
    bar.say(f"report: {args.output} ({len(html.encode('utf-8')) / 1e6:.1f} MB)")
    if folder is not None:
        bar.say(f"figures: {folder}/ ({len(content.figures)} as PNG and PDF)")


def view(args: argparse.Namespace) -> None:
    """Serve the page over the runs and results in a directory until Ctrl-C."""
    from simplerl.viewer.library import Library
    from simplerl.viewer.page import HOST, open_server, serve

    library = Library(args.directory)
    catalog = library.catalog
    for notice in catalog.notices:
        print(f"warning: {printable(notice, 300)}", file=sys.stderr)
    server = open_server(library, args.port)
    port = server.server_address[1]
    if port != args.port:
        print(f"port {args.port} is in use; using {port}", file=sys.stderr)
    runs = sum(entry.run is not None for entry in catalog.entries.values())
    address = f"http://{HOST}:{port}"
    say(
        f"runs: {runs}, results of models: {len(catalog.entries) - runs}, in {library.root}",
        f"{address}  (Ctrl-C ends it)",
    )
    if not args.no_browser:
        webbrowser.open(address)
    serve(server)
