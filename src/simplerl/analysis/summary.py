"""A run in one small table: before and after, with intervals."""

import json
from pathlib import Path
from typing import Any

from simplerl.core.errors import RunError
from simplerl.runs.directory import read_evaluation, read_metrics


def summarise(path: Path, *, seconds: float) -> dict[str, Any]:
    """Return the content of summary.json for a finished run that took `seconds`.

    `base_accuracy` and `final_accuracy` are held-out accuracies at the evaluation's temperature (1 by default).
    """
    lines = read_metrics(path)
    if not lines:
        raise RunError(f"{path} has no metrics to summarise")
    last = lines[-1]["step"]
    base, final = read_evaluation(path, 0), read_evaluation(path, last)
    if base is None or final is None:
        raise RunError(f"{path} lacks the evaluation of step {0 if base is None else last}")
    steps = [line for line in lines if line["step"] > 0]
    sampled = sum(line.get("tokens/sampled", 0) for line in steps)
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    by_budget = last < config["steps"] and 0 < config.get("token_budget", 0) <= sampled
    accuracies = [figures["accuracy"]["value"] for figures in (base, final)]
    return {
        "base_accuracy": base["accuracy"]["value"],
        "final_accuracy": final["accuracy"]["value"],
        "gain": None if None in accuracies else accuracies[1] - accuracies[0],
        "base": base,
        "final": final,
        "steps": last,
        "ended_by": "token_budget" if by_budget else "steps",
        "seconds": seconds,
        "tokens": {
            "sampled": sampled,
            "useful": sum(line.get("tokens/useful", 0) for line in steps),
        },
        "undecided": sum(
            line.get(f"verdict/{kind}", 0) for line in steps for kind in ("unjudgeable", "timeout", "error")
        ),
    }
