"""Evaluations and runs beside each other: two problem by problem, many in a table, and what came of a run.

Did it help, or did we only sample again? Of two evaluations only problems that both sides answered are compared: those
with the same id, question and gold. The rest is counted.
"""

import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simplerl.analysis.estimates import Estimate
from simplerl.core.errors import RunError
from simplerl.core.seeds import generator
from simplerl.core.types import UNDECIDED
from simplerl.ops.statistics import (
    difference_figure,
    mean_of_estimates,
    pass_at_k,
    powers_up_to,
    ratio_figures,
    sign_flip_test,
)
from simplerl.runs.files import flatten
from simplerl.runs.responses import by_problem
from simplerl.runs.run import HOW, Evaluation, Run, evaluations_in, find_runs, how, is_run, why_not

#: Parts of a protocol that must be equal for a difference to be the models' own.
FAIR = (*(name for name in HOW if name != "samples"), "data_sha256")


def sides(name: str) -> dict[str, Evaluation]:
    """Return benchmark → evaluation. `name` is a result directory (one model's, or one evaluation) or `RUN@STEP`: the
    held-out evaluation of a run after a step (`RUN` alone: the last).

    Raises RunError where there is nothing, or where a benchmark is there more than once.
    """
    path = Path(name).expanduser()
    run, _, step = name.rpartition("@")
    if not path.exists() and run and step.isdecimal() and is_run(run):
        evaluations = evaluations_in(Path(run))
        there = ", ".join(str(one.step) for one in evaluations)
        evaluations = [one for one in evaluations if one.step == int(step)]
        if not evaluations:
            raise RunError(f"{run} has no evaluation of step {step}; it has {there}")
    elif not path.is_dir():
        raise RunError(f"{name} {why_not(path)}, or RUN@STEP for a run's evaluation")
    else:
        evaluations = evaluations_in(path)
        evaluations = evaluations[-1:] if is_run(path) else evaluations
    by_benchmark: dict[str, Evaluation] = {}
    for one in evaluations:
        if (other := by_benchmark.setdefault(one.benchmark, one)) is not one:
            raise RunError(
                f"{path} holds more than one evaluation of {one.benchmark}: {other.home} and {one.home}; give one of "
                "them, or the directory of one model"
            )
    return by_benchmark


def first_and_last(run: str) -> tuple[str, str]:
    """Return the two names that compare a run with itself: before training, and after the last evaluation."""
    if not is_run(run):
        raise RunError(f"{run} is not a run with evaluations; give two evaluations to compare")
    steps = [one.step for one in evaluations_in(Path(run))]
    if len(steps) < 2:
        raise RunError(f"{run} has only one evaluation; there is nothing to compare yet")
    return f"{run}@{steps[0]}", f"{run}@{steps[-1]}"


def compare(before: Evaluation, after: Evaluation) -> dict[str, Any]:
    """Return what changed from one evaluation to the other on one benchmark.

    Differences are after − before, with 95% bootstrap intervals over problems and a two-sided sign-flip test.
    """
    names = ("before", "after")
    decided = [by_problem(answer for answer in one.answers() if answer.decided) for one in (before, after)]
    asked = [questions(one) for one in (before, after)]
    both = [problem for problem in asked[0] if problem in asked[1]]
    same = [problem for problem in both if asked[0][problem] == asked[1][problem]]
    shared = [problem for problem in same if all(problem in side for side in decided)]
    if not shared:
        other = len(both) - len(same)
        raise RunError(
            f"{before.label} and {after.label} have no judged problem of {before.benchmark} in common"
            + (f": {other} have the same id, but another question or gold" if other else ": other data?")
        )
    pairs = [[side[problem] for side in decided] for problem in shared]
    n_P2 = np.array([[len(members) for members in pair] for pair in pairs])
    right_P2 = np.array([[sum(a.correct for a in members) for members in pair] for pair in pairs])
    strict_P2 = np.array([[sum(a.strictly_correct for a in members) for members in pair] for pair in pairs])
    # Of as many samples on both sides, since with more of them more is solved by chance.
    even_P = n_P2.min(1)
    first_P2 = [
        [sum(a.correct for a in members[:k]) for members in pair] for k, pair in zip(even_P, pairs, strict=True)
    ]
    change_P = np.diff(right_P2 / n_P2)[:, 0]

    def by(part: str) -> dict[str, Any]:
        name_P = np.array([getattr(pair[0][0], part) for pair in pairs])
        return {str(name): difference_figure(change_P[name_P == name]) for name in np.unique(name_P) if name}

    by_source = by("source")
    sets = _sets(shared, int(even_P.max()), np.array(first_P2))
    return {
        "benchmark": before.benchmark,
        "before": before.label,
        "after": after.label,
        "problems": len(shared),
        "left_out": {
            "only_before": len(asked[0]) - len(both),
            "only_after": len(asked[1]) - len(both),
            "other_question": len(both) - len(same),
            "undecided": len(same) - len(shared),
        },
        "unfair": unfair(before.protocol, after.protocol),
        "acc": ratio_figures(right_P2 / n_P2, np.ones_like(n_P2), names, shares=names),
        "acc_strict": ratio_figures(strict_P2 / n_P2, np.ones_like(n_P2), names, shares=names),
        "difference": difference_figure(change_P),
        "p_value": sign_flip_test(change_P),
        "by_level": by("level"),
        "by_source": by_source if len(by_source) > 1 else {},
        **_curves(n_P2, right_P2),
        "sets": sets,
        "gained": sets["expansion"],
        "lost": sets["shrinkage"],
        "more_often": int((change_P > 0).sum()),
        "less_often": int((change_P < 0).sum()),
    }


def unfair(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return what differs between two protocols beside the model, as far as both say."""
    # A result says only of another environment that there is one; a run's own evaluation says little.
    before, after = ({"environment": "single-turn", **p} if "policy" in p else p for p in (before, after))

    def short(value: Any) -> str:
        text = value["name"] if isinstance(value, dict) and "name" in value else str(value)
        return re.sub(r"\s+", " ", text)[:120]

    return [
        f"{key}: {short(before[key])} before, {short(after[key])} after"
        for key in FAIR
        if key in before and key in after and before[key] != after[key]
    ]


def _curves(n_P2: np.ndarray, right_P2: np.ndarray) -> dict[str, Any]:
    """Return the pass@k curves over k = 1, 2, 4 …, their difference, and where the curve of the base passes that of the
    trained model, if it does, with an interval: where they cross in resampled problems (None: not up to the largest k),
    and the share of resamples in which they do. A point is over the problems that have k decided samples on both sides.
    """
    ks = powers_up_to(int(n_P2.min(1).max()))
    has_PK = n_P2.min(1)[:, None] >= np.array(ks)
    curve: dict[str, Any] = {}
    change_PK = np.full(has_PK.shape, np.nan)
    for index, k in enumerate(ks):
        n, right = n_P2[has_PK[:, index]], right_P2[has_PK[:, index]]
        pass_P2 = right / n if k == 1 else np.vectorize(pass_at_k)(n, right, k)
        change_PK[has_PK[:, index], index] = change_P = pass_P2[:, 1] - pass_P2[:, 0]
        before, after = pass_P2.mean(0).tolist()
        curve[str(k)] = {"before": before, "after": after, "difference": difference_figure(change_P)}
    values = [point["difference"]["value"] for point in curve.values()]
    crossing = next((k for k, value in zip(ks, values, strict=True) if values[0] > 0 > value), None)
    rng = generator(0, "crossing", len(change_PK))
    draws = (change_PK[rng.integers(0, len(change_PK), len(change_PK))] for _ in range(1000))
    mean_RK = np.array([np.nansum(drawn, 0) / np.maximum((~np.isnan(drawn)).sum(0), 1) for drawn in draws])
    crossed_RK = (mean_RK < 0) & (mean_RK[:, :1] > 0)
    first_R = np.where(crossed_RK.any(1), np.array(ks)[crossed_RK.argmax(1)], np.inf)
    ends = np.quantile(first_R, [0.025, 0.975], method="nearest").tolist()
    low, high = (int(end) if end < np.inf else None for end in ends)
    return {
        "pass@k": curve,
        "crossing": crossing,
        "crossing_is_certain": crossing is not None and curve[str(crossing)]["difference"]["high"] < 0,
        "crossing_interval": {"low": low, "high": high, "share": float(crossed_RK.any(1).mean())},
    }


def _sets(problems: Sequence[str], most: int, right_P2: np.ndarray) -> dict[str, Any]:
    """Return what became of the set of problems solved within k (MATH-Beyond, arXiv 2510.11653).

    `expansion`: solved after alone; `shrinkage`: before alone; of those solved by both, `consolidation`: after more
    often, `preservation`: the rest. k is the most that a problem has decided samples on both sides; of one with fewer
    as many count on both. `figures` are expansion as a share of what was not solved before (where nothing was: pass@k),
    shrinkage of what was, and the overlap of the two sets (both / either).
    """
    was_P, is_P = (right_P2 > 0).T
    more_P = right_P2[:, 1] > right_P2[:, 0]
    members = {
        "expansion": is_P & ~was_P,
        "shrinkage": was_P & ~is_P,
        "consolidation": was_P & is_P & more_P,
        "preservation": was_P & is_P & ~more_P,
    }
    above_PM = np.stack([is_P & ~was_P, was_P & ~is_P, was_P & is_P], 1).astype(float)
    below_PM = np.stack([~was_P, was_P, was_P | is_P], 1).astype(float)
    shares = ("expansion", "shrinkage", "overlap")
    sets = {name: [problems[i] for i in np.flatnonzero(own_P).tolist()] for name, own_P in members.items()}
    return {"k": most, **sets, "figures": ratio_figures(above_PM, below_PM, shares, shares=shares)}


def questions(evaluation: Evaluation) -> dict[str, tuple[str, str]]:
    """Return problem id → (question, gold)."""
    rows = evaluation.responses(["problem_id", "question", "answer"]).to_pylist()
    return {row["problem_id"]: (row["question"] or "", row["answer"] or "") for row in rows}


# -- a row for each model under one protocol, and SimpleRL-Zoo's CSV of them -----------------------------------------

#: Columns per benchmark of the original's `eval_results.csv`, in its order; accuracies are in per cent.
CSV_COLUMNS = (
    "acc", "pass_acc", "tokens", "keywords", "correct_tokens", "wrong_tokens", "clip_ratio", "stop_tokens",
    "stop_ratio", "box_ratio", "repeat_ratio",
)  # fmt: skip
#: The six benchmarks of the paper's "Avg.", AIME24 by pass@1.
PAPER_AVERAGE = ("gsm8k", "math500", "minerva_math", "olympiadbench", "aime24", "amc23")


def rows(evaluations: Sequence[Evaluation]) -> dict[str, dict[str, Evaluation]]:
    """Return row → benchmark → evaluation. A row is a model under one protocol, so that no average mixes two; a further
    model of the same name, and a further protocol, make rows of their own. Benchmarks with a sample count of their own
    (`aime24@32`) go with the model's first row that has room."""
    table: dict[str, dict[str, Evaluation]] = {}
    keys: dict[str, tuple[Any, Any]] = {}  # Row → (model, protocol); no protocol is known yet of one with room for any

    def order(one: Evaluation) -> tuple[Any, ...]:
        return (one.label.rpartition("@")[0] or one.label, one.step or 0, one.benchmark, one.home.name)

    for one in sorted(evaluations, key=order):
        # The label alone does not tell models apart; how the answer is found is the benchmark's own.
        model = (one.label, one.protocol.get("weights_sha256") or one.protocol.get("model"))
        own = "@" in one.benchmark
        protocol = None if own else [one.protocol.get(key) for key in HOW if key != "policy"]
        fitting = (row for row, (m, p) in keys.items() if m == model and (own or p in (None, protocol)))
        name = next((row for row in fitting if one.benchmark not in table[row]), None)
        if name is None:
            twin = any(m[0] == one.label and m != model for m, _ in keys.values())
            base = f"{one.label} ({one.protocol.get('model')})" if twin else one.label
            numbered = (f"{base} #{number}" for number in range(3, len(table) + 4))
            name = next(row for row in (base, f"{base} ({how(one.protocol)})", *numbered) if row not in table)
            table[name], keys[name] = {}, (model, None)
        table[name][one.benchmark] = one
        keys[name] = (model, protocol or keys[name][1])
    return table


def averages(row: Mapping[str, Evaluation]) -> dict[str, Any]:
    """Return the mean accuracy over a row's benchmarks (those with a sample count of their own left out, so that AIME24
    counts once), and the paper's average where its six are all there; each with a 95% interval."""
    plain = {name: one.figures["acc"] for name, one in row.items() if "@" not in name}
    parts = {"acc": list(plain.values())}
    if all(name in plain for name in PAPER_AVERAGE):
        parts["paper_acc"] = [plain[name] for name in PAPER_AVERAGE]
    known = {name: [figure for figure in part if figure["value"] is not None] for name, part in parts.items()}
    ends = {name: mean_of_estimates(part) if part else [math.nan] * 3 for name, part in known.items()}
    return {name: dict(zip(("value", "low", "high"), three, strict=True)) for name, three in ends.items()}


def to_csv(evaluations: Sequence[Evaluation]) -> str:
    """Return the rows with the columns of the original's `eval_results.csv`: accuracies in per cent, then averages."""
    table = rows(evaluations)
    names = dict.fromkeys(name for row in table.values() for name in row)
    header = ["model", *(f"{name}_{column}" for name in (*names, "avg") for column in CSV_COLUMNS)]
    output = io.StringIO()
    writer = csv.DictWriter(output, header, restval="", lineterminator="\n")
    writer.writeheader()
    for model, row in table.items():
        cells: dict[str, Any] = {"model": model}
        for column in CSV_COLUMNS:
            figure, factor = column.replace("pass_acc", "any_correct"), 100 if column.endswith("acc") else 1
            values = {name: Estimate.of(one.figures.get(figure)).value for name, one in row.items()}
            known = {name: factor * value for name, value in values.items() if not math.isnan(value)}
            cells |= {f"{name}_{column}": round(value, 4) for name, value in known.items()}
            if counted := [value for name, value in known.items() if "@" not in name]:
                cells[f"avg_{column}"] = round(sum(counted) / len(counted), 4)
        writer.writerow(cells)
    return output.getvalue()


def markdown(table: Sequence[Sequence[str]]) -> str:
    """Return a table, its head first, as Markdown, numbers to the right."""
    head, *body = [[text.replace("|", "\\|") for text in row] for row in table]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *body]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines) + "\n"


# -- what came of runs, with what they were set to and ran on --------------------------------------------------------

#: How settings begin that say where a run is and not what it is.
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
    written = [
        {key: json.dumps(value) for key, value in sorted(flatten(run.config).items()) if not key.startswith(ASIDE)}
        for run in runs
    ]
    # A setting that an older version did not write is no difference.
    keys = sorted({key for each in written for key in each})
    usual = {key: Counter(each[key] for each in written if key in each).most_common(1)[0][0] for key in keys}
    table = []
    for run, own in zip(runs, written, strict=True):
        session = run.environment[-1] if run.environment else {}
        packages = session.get("packages")
        versions = dict(packages) if isinstance(packages, dict) else {}
        figures = {one.step or 0: one.figures.get("acc") for one in run.evaluations if one.figures}
        row = {
            "name": run.path.relative_to(directory).as_posix() if run.path != directory else run.name,
            "path": str(run.path),
            "seed": run.setting("seed"),
            "steps": run.last_step,
            "finished": run.finished,
            "settings": {key: json.loads(value) for key, value in own.items() if value != usual[key]},
            "versions": versions | {key: session.get(key) for key in ("python", "git_commit", "platform")},
            "base": figures.get(0),
            "final": figures[max(figures)] if figures else None,
            "tokens": run.total("tokens/sampled"),
            "seconds": run.total("time/step"),
        }
        table.append(row)
    return {"usual": {key: json.loads(value) for key, value in usual.items()}, "runs": table}


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
        "undecided": sum(line.get(f"verdict/{status}", 0) for line in steps for status in UNDECIDED),
    }
