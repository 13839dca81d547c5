"""Write a report: one HTML file about runs and evaluations, and figures fit for a paper.

A RUN is the directory of a run (`simplerl train`, `simplerl sft`), finished or still being written, or a directory of
results of `simplerl eval`. Runs of one configuration that differ in the seed are taken together: with three seeds or
more there are means with intervals over seeds. The HTML file needs no network and runs no script, so that it can be
mailed.
Reads what is there and nothing else; what is damaged is named and left out.
"""

import argparse
from pathlib import Path

EXAMPLES = """\
  simplerl report runs/mine
      writes report.html, and its figures as PNG and PDF into report_figures/
  simplerl report runs/grpo runs/ppo runs/dapo --output zoo.html
      curves together, what differs in their settings, each beside the first
  simplerl report runs/mine_seed* --figures paper/figures
      mean and interval over seeds
  simplerl report runs/mine evaluations
      with the tables of `simplerl eval --output-dir evaluations`
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("paths", metavar="RUN", nargs="+", type=Path, help="directories of runs, or of results of eval")
    parser.add_argument(
        "--output", type=Path, default=Path("report.html"), metavar="FILE", help="the HTML file (%(default)s)"
    )
    parser.add_argument(
        "--figures", type=Path, metavar="DIR", help="where the PNG and PDF figures go (beside FILE: NAME_figures)"
    )
    parser.add_argument("--no-figures", action="store_true", help="write no figures beside those in the HTML file")
    parser.add_argument(
        "--examples", type=int, default=3, metavar="N", help="problems of each kind to show per run (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draw of these problems (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Read, draw, write."""
    import datetime
    import shlex

    from simplerl.cli.progress import Bar
    from simplerl.core.errors import ConfigError
    from simplerl.markup.text import visible
    from simplerl.report import page
    from simplerl.report.content import Content, Options
    from simplerl.report.reading import gather

    if not 0 <= args.examples <= 50:
        raise ConfigError(f"--examples must lie between 0 and 50, got {args.examples}")
    if args.no_figures and args.figures:
        raise ConfigError("--figures and --no-figures exclude each other")
    folder = None if args.no_figures else args.figures or args.output.with_name(f"{args.output.stem}_figures")
    page.check(args.output, folder)
    options = Options(examples=args.examples, seed=args.seed, pdf=folder is not None)
    with Bar() as bar:
        sources = gather(args.paths, progress=lambda name: bar.start(f"reading {name}"))
        content = Content(sources, options, progress=bar.start)
    remarks = [f"{run.label}: {remark}" for run in content.runs for remark in run.remarks]
    for line in [*(f"left out: {line}" for line in content.damage), *remarks]:
        bar.say(visible(line))
    command = shlex.join(["simplerl", "report", *map(str, args.paths)])
    html = page.render(content, command=command, now=datetime.datetime.now(datetime.UTC))
    page.write(html, content.figures, args.output, folder)
    bar.say(f"report: {args.output} ({len(html.encode('utf-8')) / 1e6:.1f} MB)")
    if folder is not None:
        bar.say(f"figures: {folder}/ ({len(content.figures)} as PNG and PDF)")
    return 0
