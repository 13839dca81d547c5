"""What came of a run, in one small table; and runs beside each other, with what they were set to and ran on."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from simplerl.core.errors import RunError
from simplerl.runs.files import flatten
from simplerl.runs.run import Run, find_runs

#: Settings that say where a run is and not what it is.
ASIDE = ("output_dir", "seed", "tracking.", "doctor.", "checkpoint.")


def tracked(directory: Path, warn: Callable[[str], None] = lambda message: None) -> dict[str, Any]:
    """Return {"runs": a row per run, "usual": the settings that most have}, of every run in a directory, however deep.

    A row has `name`, `path`, `seed`, `steps`, `finished`, `settings` (those that are not the usual ones), `versions` of
    packages with `git_commit` and `platform` (of the last session), the held-out accuracy `base` and `final` with its
    intervals, and `tokens` and `seconds`. Raises RunError where there is no run.
    """
    runs = [run for run in find_runs(directory, warn) if not run.is_result and run.lines]
    if not runs:
        raise RunError(f"{directory} holds no run with recorded steps; of results, give two to compare")
    settings = [
        {k: v for k, v in flatten(run.config).items() if not any(k == a or k.startswith(a) for a in ASIDE)}
        for run in runs
    ]
    keys = sorted({key for each in settings for key in each})
    # A setting that an older version did not write is no difference.
    values = {key: [json.dumps(each[key]) for each in settings if key in each] for key in keys}
    usual = {key: Counter(written).most_common(1)[0][0] for key, written in values.items()}
    differing = [key for key in keys if len(set(values[key])) > 1]
    return {
        "usual": {key: json.loads(written) for key, written in usual.items()},
        "runs": [
            _row(run, directory, {k: own[k] for k in differing if k in own and json.dumps(own[k]) != usual[k]})
            for run, own in zip(runs, settings, strict=True)
        ],
    }


def _row(run: Run, directory: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    session = run.environment[-1] if run.environment else {}
    packages = session.get("packages")
    figures = {one.step or 0: one.figures.get("acc") for one in run.evaluations if one.figures}
    steps = [line for step, line in run.lines.items() if step > 0]
    return {
        "name": run.path.relative_to(directory).as_posix() if run.path != directory else run.name,
        "path": str(run.path),
        "seed": run.setting("seed"),
        "steps": run.last_step,
        "finished": run.finished,
        "settings": settings,
        "versions": {
            **(packages if isinstance(packages, dict) else {}),
            **{key: session.get(key) for key in ("python", "git_commit", "platform")},
        },
        "base": figures.get(0),
        "final": figures[max(figures)] if figures else None,
        "tokens": sum(line.get("tokens/sampled") or 0 for line in steps),
        "seconds": sum(line.get("time/step") or 0 for line in steps),
    }


def summarise(path: Path, *, seconds: float) -> dict[str, Any]:
    """Return the content of summary.json for a finished run that took `seconds`.

    `base_accuracy` and `final_accuracy` are held-out accuracies at the evaluation's temperature (1 by default).
    """
    run = Run(path)
    if not run.lines:
        raise RunError(f"{path} has no metrics to summarise")
    last, steps = run.last_step, [line for step, line in run.lines.items() if step > 0]
    base, final = (run.figures_at(step) for step in (0, last))
    sampled, useful = (sum(line.get(f"tokens/{name}", 0) for line in steps) for name in ("sampled", "useful"))
    by_budget = last < run.setting("steps", 0) and 0 < run.setting("token_budget", 0) <= sampled
    accuracies = [figures["acc"]["value"] for figures in (base, final)]
    return {
        "base_accuracy": accuracies[0],
        "final_accuracy": accuracies[1],
        "gain": None if None in accuracies else accuracies[1] - accuracies[0],
        "base": base,
        "final": final,
        "steps": last,
        "ended_by": "token_budget" if by_budget else "steps",
        "seconds": seconds,
        "tokens": {"sampled": sampled, "useful": useful},
        "undecided": sum(
            line.get(f"verdict/{kind}", 0) for line in steps for kind in ("unjudgeable", "timeout", "error")
        ),
    }
