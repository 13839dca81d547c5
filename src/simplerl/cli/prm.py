"""`simplerl prm`: label the steps of responses, train a process reward model on them, score responses with one."""

import argparse
import dataclasses

from simplerl.cli.console import Bar, say, show_table
from simplerl.cli.options import settings
from simplerl.config.resolve import merge, resolve
from simplerl.core.errors import DataError, RunError
from simplerl.core.types import Problem
from simplerl.data.rows import read_rows
from simplerl.runs.files import json_line, write_atomic


def run(args: argparse.Namespace) -> None:
    """Carry out the action."""
    {"label": _label, "train": _train, "score": _score}[args.action](args)


def _label(args: argparse.Namespace) -> None:
    from simplerl.selftraining.prm import label
    from simplerl.selftraining.star import WITHOUT_LEARNING

    config = resolve(args.recipe, merge(settings(args), WITHOUT_LEARNING))
    options = {"completions": args.completions, "steps": args.step_ends}
    counts = label(config, args.output_dir, **options, say=say)
    print(f"{counts.total()} steps: {', '.join(f'{count} {name}' for name, count in counts.most_common())}")
    print(f"Labels: {args.output_dir}. Next: simplerl prm train {args.output_dir} --output-dir DIR")


def _train(args: argparse.Namespace) -> None:
    from simplerl.analysis.plots import plot_reliability
    from simplerl.selftraining.prm import Lesson, train_prm

    lesson = Lesson(**{field.name: getattr(args, field.name) for field in dataclasses.fields(Lesson)})
    figures = train_prm(args.labels, args.output_dir, lesson, model=args.model, say=say)
    plot_reliability(figures, args.output_dir / "reliability.png")
    shown = {
        "AUC": "auc",
        "AUC, steps up to the first wrong one": "auc_first_wrong",
        "Brier score": "brier",
        "Brier score of the mean": "brier_of_the_mean",
    }
    rows = [(name, "–" if figures[key] is None else f"{figures[key]:.3f}") for name, key in shown.items()]
    show_table(f"{figures['steps']} held-out steps, {figures['good']} of them good", ("", "value"), rows)
    print(f"Process reward model: {args.output_dir} (reliability.png, prm.json)")


def _score(args: argparse.Namespace) -> None:
    from simplerl.prm import ROWS, load_prm

    if args.output.exists():
        raise RunError(f"{args.output} exists already; choose another --output, or remove it")
    prm, lines = load_prm(str(args.prm)), []
    rows = list(read_rows(args.responses))
    for row in rows:
        if any(not isinstance(row.fields.get(name), str) for name in ("question", "response")):
            raise DataError(f"{row.place}: a row to score needs the texts question and response")
    with Bar() as bar:
        bar.phase("score", len(rows))
        for start in range(0, len(rows), ROWS):
            part = rows[start : start + ROWS]
            problems = [Problem(id=r.place, question=r.fields["question"], answer="", source="scored") for r in part]
            steps = [prm.encoded(problem, r.fields["response"]) for problem, r in zip(problems, part, strict=True)]
            for row, logits in zip(part, prm.scores(steps), strict=True):
                scores = [round(float(x), 6) for x in logits]
                lines.append(json_line({**row.fields, "step_scores": scores, "score": min(scores, default=None)}))
                bar.advance()
    write_atomic(args.output, "".join(lines))
    print(f"{len(lines)} responses scored: {args.output}")
