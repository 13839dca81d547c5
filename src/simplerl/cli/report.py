"""`simplerl report`: one HTML file about runs and evaluations."""

import argparse
import datetime
import shlex

from simplerl.cli.console import Bar
from simplerl.core.errors import ConfigError
from simplerl.markup.text import visible
from simplerl.report import page
from simplerl.report.outcomes import gather


def run(args: argparse.Namespace) -> None:
    """Read, draw, write."""
    if args.no_figures and args.figures:
        raise ConfigError("--figures and --no-figures exclude each other")
    folder = None if args.no_figures else args.figures or args.output.with_name(f"{args.output.stem}_figures")
    page.check(args.output, folder)
    with Bar() as bar:
        bar.start("reading")
        sources = gather(args.paths)
        options = {"examples": args.examples, "seed": args.seed, "pdf": folder is not None}
        content = page.Content(sources, **options, progress=bar.start)
    remarks = [f"{run.label}: {remark}" for run in content.runs for remark in run.remarks]
    for line in [*(f"left out: {line}" for line in content.damage), *remarks]:
        bar.say(visible(line))
    command = shlex.join(["simplerl", "report", *map(str, args.paths)])
    html = page.render(content, command=command, now=datetime.datetime.now(datetime.UTC))
    page.write(html, content.figures, args.output, folder)
    bar.say(f"report: {args.output} ({len(html.encode('utf-8')) / 1e6:.1f} MB)")
    if folder is not None:
        bar.say(f"figures: {folder}/ ({len(content.figures)} as PNG and PDF)")
