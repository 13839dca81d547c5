"""`simplerl fit`: how far runs would get with more compute, by ScaleRL's curve."""

import argparse
import functools

from simplerl.analysis.estimates import shown
from simplerl.analysis.scaling import fit, plot_fits
from simplerl.cli.console import say, show_table
from simplerl.runs.files import write_json


def run(args: argparse.Namespace) -> None:
    """Fit each run, show, write."""
    fits = [fit(path, metric=args.metric, over=args.over, skip=args.skip) for path in args.paths]
    rows, words = [], []
    for one in fits:
        share, half = max(value for _, value in one["points"]) <= 1, one["extrapolation"]
        metric = functools.partial(shown, share=share, digits=1 if share else 3)
        curve = [metric(one["R0"]), metric(one["A"]), shown(one["B"], share=False, digits=2)]
        curve += [shown(one["C_mid"], share=False, digits=0), metric(one["rmse"])]
        ending = [metric(half and half[name]) for name in ("foretold", "measured", "error")]
        rows.append((one["run"], len(one["points"]), *curve, *ending))
        if half is None:
            words.append(f"{one['run']}: the first half of its {args.over} has too few points to foretell the rest")
        if one["A"]["value"] <= one["R0"]:
            words.append(f"{one['run']}: {args.metric} does not rise, so that A is no limit of learning")
    head = ("run", "points", "R0", "A", "B", f"C_mid ({args.over})", "rmse")
    title = f"{args.metric} = R0 + (A − R0) / (1 + (C_mid / C)^B), 95% intervals of the scatter about the curve"
    show_table(title, (*head, "end by first half", "end measured", "mean error"), rows)
    say(*words)
    output = args.output or args.paths[0] / "fit.json"
    write_json(output, fits)
    plot_fits(fits, output.with_suffix(".png"))
    say(f"written to {output} and {output.with_suffix('.png')}")
