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

from simplerl.core.errors import RunError
from simplerl.core.seeds import generator
from simplerl.ops.statistics import (
    difference_figure,
    mean_of_estimates,
    pass_at_k,
    powers_up_to,
    ratio_figures,
    sign_flip_test,
)
from simplerl.runs.files import flatten
from simplerl.runs.responses import Answer, by_problem
from simplerl.runs.run import HOW, Evaluation, Run, find_runs, how, is_run, results, why_not

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
        return _of_run(Run(Path(run)), int(step))
    if not path.is_dir():
        raise RunError(f"{name} {why_not(path)}, or RUN@STEP for a run's evaluation")
    if is_run(path):
        return _of_run(Run(path), None)
    there: dict[str, Evaluation] = {}
    for one in results(path):
        if one.benchmark in there:
            raise RunError(
                f"{path} holds more than one evaluation of {one.benchmark}: {there[one.benchmark].home} and "
                f"{one.home}; give one of them, or the directory of one model"
            )
        there[one.benchmark] = one
    if not there:
        raise RunError(f"{path} holds no finished evaluation (responses.parquet with figures.json)")
    return there


def _of_run(run: Run, step: int | None) -> dict[str, Evaluation]:
    by_step = _evaluated(run)
    if not by_step:
        raise RunError(f"{run.path} has no evaluation yet")
    step = max(by_step) if step is None else step
    if step not in by_step:
        raise RunError(f"{run.path} has no evaluation of step {step}; it has {', '.join(map(str, by_step))}")
    return {by_step[step].benchmark: by_step[step]}


def _evaluated(run: Run) -> dict[int, Evaluation]:
    return {one.step or 0: one for one in run.evaluations if one.path.exists()}


def first_and_last(run: str) -> tuple[str, str]:
    """Return the two names that compare a run with itself: before training, and after the last evaluation."""
    if not is_run(run):
        raise RunError(f"{run} is not a run with evaluations; give two evaluations to compare")
    steps = list(_evaluated(Run(Path(run))))
    if len(steps) < 2:
        raise RunError(f"{run} has only {len(steps)} evaluation; there is nothing to compare yet")
    return f"{run}@{steps[0]}", f"{run}@{steps[-1]}"


def compare(before: Evaluation, after: Evaluation) -> dict[str, Any]:
    """Return what changed from one evaluation to the other on one benchmark.

    Differences are after − before, with 95% bootstrap intervals over problems and a two-sided sign-flip test.
    """
    first, second = (by_problem(answer for answer in one.answers() if answer.decided) for one in (before, after))
    asked = [questions(one) for one in (before, after)]
    both = [problem for problem in asked[0] if problem in asked[1]]
    other = {problem for problem in both if asked[0][problem] != asked[1][problem]}
    shared = [p for p in both if p in first and p in second and p not in other]
    if not shared:
        raise RunError(
            f"{before.label} and {after.label} have no judged problem of {before.benchmark} in common"
            + (f": {len(other)} have the same id, but another question or gold" if other else ": other data?")
        )
    pairs = [(first[problem], second[problem]) for problem in shared]
    score_P2 = np.array([[_pass(a, 1), _pass(b, 1)] for a, b in pairs])
    change_P = score_P2[:, 1] - score_P2[:, 0]
    strict_P2 = np.array([[_pass(a, 1, strict=True), _pass(b, 1, strict=True)] for a, b in pairs])
    sets = _sets(shared, pairs)
    return {
        "benchmark": before.benchmark,
        "before": before.label,
        "after": after.label,
        "problems": len(shared),
        "left_out": {
            "only_before": len(asked[0]) - len(both),
            "only_after": len(asked[1]) - len(both),
            "other_question": len(other),
            "undecided": len(both) - len(other) - len(shared),
        },
        "unfair": unfair(before.protocol, after.protocol),
        "acc": _both_sides(score_P2),
        "acc_strict": _both_sides(strict_P2),
        "difference": difference_figure(change_P),
        "p_value": sign_flip_test(change_P),
        "by_level": _by(change_P, [a[0].level for a, _ in pairs]),
        "by_source": _by(change_P, sources) if len(set(sources := [a[0].source for a, _ in pairs])) > 1 else {},
        **_curves(pairs),
        "sets": sets,
        "gained": sets["expansion"],
        "lost": sets["shrinkage"],
        "more_often": int((change_P > 0).sum()),
        "less_often": int((change_P < 0).sum()),
    }


def _by(change_P: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Return the differences of the problems of each name."""
    name_P = np.array(names)
    return {str(name): difference_figure(change_P[name_P == name]) for name in np.unique(name_P) if name}


def unfair(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return what differs between two protocols beside the model, as far as both say."""
    # A result says only of another environment that there is one; a run's own evaluation says little.
    before, after = ({"environment": "single-turn", **p} if "policy" in p else p for p in (before, after))
    return [
        f"{key}: {_short(before[key])} before, {_short(after[key])} after"
        for key in FAIR
        if key in before and key in after and before[key] != after[key]
    ]


def _short(value: Any) -> str:
    text = value["name"] if isinstance(value, dict) and "name" in value else str(value)
    return re.sub(r"\s+", " ", text)[:120]


def _both_sides(score_P2: np.ndarray) -> dict[str, Any]:
    sides = ("before", "after")
    return ratio_figures(score_P2, np.ones_like(score_P2), sides, shares=sides)


def _curves(pairs: Sequence[tuple[Sequence[Answer], Sequence[Answer]]]) -> dict[str, Any]:
    """Return the pass@k curves over k = 1, 2, 4 …, their difference, and where the curve of the base passes that of the
    trained model, if it does. A point is over the problems that have k decided samples on both sides."""
    even_P = np.array([min(map(len, pair)) for pair in pairs])
    ks = powers_up_to(int(even_P.max()))
    curve: dict[str, Any] = {}
    change_PK = np.full((len(pairs), len(ks)), np.nan)
    for index, k in enumerate(ks):
        pass_P2 = np.array(
            [[_pass(a, k), _pass(b, k)] for (a, b), even in zip(pairs, even_P, strict=True) if k <= even]
        )
        change_PK[even_P >= k, index] = change_P = pass_P2[:, 1] - pass_P2[:, 0]
        before, after = pass_P2.mean(0).tolist()
        curve[str(k)] = {"before": before, "after": after, "difference": difference_figure(change_P)}
    signs = [curve[str(k)]["difference"]["value"] for k in ks]
    crossing = next((k for k, s in zip(ks, signs, strict=True) if signs[0] > 0 > s), None)
    certain = crossing is not None and curve[str(crossing)]["difference"]["high"] < 0
    interval = _crossing_interval(change_PK, ks)
    return {"pass@k": curve, "crossing": crossing, "crossing_is_certain": certain, "crossing_interval": interval}


def _crossing_interval(change_PK: np.ndarray, ks: Sequence[int], resamples: int = 1000) -> dict[str, Any]:
    """Return where the curves cross in resampled problems: a 95% interval (None: not up to the largest k), and the
    share of resamples in which they do. NaN: the problem has no such k."""
    rng = generator(0, "crossing", len(change_PK))
    draws = (change_PK[rng.integers(0, len(change_PK), len(change_PK))] for _ in range(resamples))
    mean_RK = np.array([np.nansum(drawn, 0) / np.maximum((~np.isnan(drawn)).sum(0), 1) for drawn in draws])
    crossed_RK = (mean_RK < 0) & (mean_RK[:, :1] > 0)
    first_R = np.where(crossed_RK.any(1), np.array(ks)[crossed_RK.argmax(1)], np.inf)
    ends = np.quantile(first_R, [0.025, 0.975], method="nearest").tolist()
    low, high = (int(end) if end < np.inf else None for end in ends)
    return {"low": low, "high": high, "share": float(crossed_RK.any(1).mean())}


def _sets(problems: Sequence[str], pairs: Sequence[tuple[Sequence[Answer], Sequence[Answer]]]) -> dict[str, Any]:
    """Return what became of the set of problems solved within k (MATH-Beyond, arXiv 2510.11653).

    `expansion`: solved after alone; `shrinkage`: before alone; of those solved by both, `consolidation`: after more
    often, `preservation`: the rest. k is the most that a problem has decided samples on both sides; of one with fewer
    as many count on both: with more of them, more is solved by chance. `figures` are expansion as a share of what was
    not solved before (where nothing was: pass@k), shrinkage of what was, and the overlap of the two sets (both /
    either).
    """
    even_P = [min(map(len, pair)) for pair in pairs]
    right_P2 = np.array(
        [[sum(a.correct for a in members[:k]) for members in pair] for k, pair in zip(even_P, pairs, strict=True)]
    )
    was_P, is_P = (right_P2 > 0).T
    more_P = right_P2[:, 1] > right_P2[:, 0]
    names = {
        "expansion": is_P & ~was_P,
        "shrinkage": was_P & ~is_P,
        "consolidation": was_P & is_P & more_P,
        "preservation": was_P & is_P & ~more_P,
    }
    above_PM = np.stack([is_P & ~was_P, was_P & ~is_P, was_P & is_P], 1).astype(float)
    below_PM = np.stack([~was_P, was_P, was_P | is_P], 1).astype(float)
    shares = ("expansion", "shrinkage", "overlap")
    sets = {name: [p for p, own in zip(problems, own_P, strict=True) if own] for name, own_P in names.items()}
    return {"k": max(even_P), **sets, "figures": ratio_figures(above_PM, below_PM, shares, shares=shares)}


def _pass(members: Sequence[Answer], k: int, *, strict: bool = False) -> float:
    right = sum(a.strictly_correct if strict else a.correct for a in members)
    return right / len(members) if k == 1 else pass_at_k(len(members), right, k)


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
    keys: dict[str, tuple[Any, Any]] = {}
    for one in sorted(evaluations, key=_order):
        model, protocol = _key(one)
        own = "@" in one.benchmark
        name = next(
            (
                name
                for name, (of_model, of_protocol) in keys.items()
                if of_model == model and one.benchmark not in table[name] and (own or of_protocol in (None, protocol))
            ),
            None,
        )
        if name is None:
            name = _free_name(one, table, twin=any(k[0][0] == model[0] and k[0] != model for k in keys.values()))
            table[name], keys[name] = {}, (model, None)
        table[name][one.benchmark] = one
        keys[name] = (model, keys[name][1] if own else protocol)
    return table


def _key(one: Evaluation) -> tuple[Any, Any]:
    """Return what tells models apart (the label alone does not), and what tells their protocols apart; how the answer
    is found is the benchmark's own."""
    weights = one.protocol.get("weights_sha256") or one.protocol.get("model")
    return (one.label, weights), [one.protocol.get(name) for name in HOW if name != "policy"]


def _free_name(one: Evaluation, taken: Mapping[str, Any], *, twin: bool) -> str:
    base = f"{one.label} ({one.protocol.get('model')})" if twin else one.label
    numbered = (f"{base} #{number}" for number in range(3, len(taken) + 4))
    return next(name for name in (base, f"{base} ({how(one.protocol)})", *numbered) if name not in taken)


def _order(one: Evaluation) -> tuple[Any, ...]:
    run, _, _ = one.label.rpartition("@")
    return (run or one.label, one.step or 0, one.benchmark, one.home.name)


def averages(row: Mapping[str, Evaluation]) -> dict[str, Any]:
    """Return the mean accuracy over a row's benchmarks (those with a sample count of their own left out, so that AIME24
    counts once), and the paper's average where its six are all there; each with a 95% interval."""
    plain = {name: one.figures["acc"] for name, one in row.items() if "@" not in name}
    average = {"acc": _mean(list(plain.values()))}
    if all(name in plain for name in PAPER_AVERAGE):
        average["paper_acc"] = _mean([plain[name] for name in PAPER_AVERAGE])
    return average


def _mean(figures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    known = [f for f in figures if f["value"] is not None]
    ends = mean_of_estimates(known) if known else [math.nan] * 3
    return dict(zip(("value", "low", "high"), ends, strict=True))


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
            factor = 100 if column in ("acc", "pass_acc") else 1
            figures = {
                name: one.figures["any_correct" if column == "pass_acc" else column] for name, one in row.items()
            }
            known = {name: factor * f["value"] for name, f in figures.items() if f["value"] is not None}
            cells |= {f"{name}_{column}": round(value, 4) for name, value in known.items()}
            values = [value for name, value in known.items() if "@" not in name]
            cells |= {f"avg_{column}": round(sum(values) / len(values), 4)} if values else {}
        writer.writerow(cells)
    return output.getvalue()


def markdown(table: Sequence[Sequence[str]]) -> str:
    """Return a table, its head first, as Markdown, numbers to the right."""
    head, *body = [[text.replace("|", "\\|") for text in row] for row in table]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *body]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines) + "\n"


# -- what came of runs, with what they were set to and ran on --------------------------------------------------------

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
        "tokens": run.total("tokens/sampled"),
        "seconds": run.total("time/step"),
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
