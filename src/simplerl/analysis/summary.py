"""A run in one small table: before and after, with intervals."""

from pathlib import Path
from typing import Any

from simplerl.core.errors import RunError
from simplerl.runs.run import Run


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
