"""Measure how often a model solves each problem, so that training can be given what it can learn from.

Problems go through the same rollouts and the same verifier as training does. Results are appended to a journal chunk by
chunk; a measurement that was killed goes on there, and because chunks are always the same, ends with the same figures.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from simplerl.core.errors import DataError
from simplerl.core.types import Completion, Problem, TrajectoryGroup
from simplerl.rollout.groups import Prompted, Rollout, fingerprint
from simplerl.runs.files import JsonLines

#: Problems that are done, or not, together.
CHUNK = 32


#: What a model did with one problem: responses (`samples`), those that could be judged (`decided`), those that were
#: `correct`, those that were `truncated`, and the `tokens` of all together.
Measured = dict[str, int]
NAMES = ("samples", "decided", "correct", "truncated", "tokens")


def journal_path(output: Path) -> Path:
    """Return where the journal of a measurement stands until it is done."""
    return output.with_name(f"{output.stem}.partial.jsonl")


def measure(
    prompted: Sequence[Prompted],
    rollout: Rollout,
    *,
    settings: Mapping[str, Any],
    journal: Path,
    on_start: Callable[[int], None] = lambda done: None,
    on_done: Callable[[Completion], None] = lambda completion: None,
) -> list[Measured]:
    """Return what came of each problem, in order, going on with the journal where there is one.

    `settings` is everything else that the figures depend on; a journal of other settings is refused, never mixed.
    `on_start` gets how many responses the journal has already.
    """
    key = {
        **settings,
        "problems": fingerprint(prompted),
        "sampling": dataclasses.asdict(rollout.sampling),
        "samples": rollout.samples,
        "seed": rollout.seed,
    }
    lines = JsonLines(journal)
    done = _begin(lines, json.loads(json.dumps(key)))
    on_start(sum(item["samples"] for item in done))
    for start in range(len(done), len(prompted), CHUNK):
        chunk = prompted[start : start + CHUNK]
        groups = rollout.sample_groups(chunk, purpose="difficulty", step=0, on_response=on_done)
        done += (measured := [_measured(group) for group in groups])
        lines.append([{"chunk": measured}])
    return done


def _measured(group: TrajectoryGroup) -> Measured:
    trajectories = group.trajectories
    return {
        "samples": len(trajectories),
        "decided": sum(t.verdict.decided for t in trajectories),
        "correct": sum(t.verdict.correct for t in trajectories),
        "truncated": sum(t.completion.stop_reason == "length" for t in trajectories),
        "tokens": sum(len(t.completion.token_ids) for t in trajectories),
    }


def _begin(journal: JsonLines, key: dict[str, Any]) -> list[Measured]:
    """Begin a journal, or return what it holds. Raises DataError where it belongs to another measurement.

    Its last line may have been cut short when its writer was killed: it is left out.
    """
    lines = [line for _, line in journal.read()]
    try:
        if lines and lines[0] != key:
            header = dict(lines[0] or {})
            differing = sorted(name for name in {*key, *header} if key.get(name) != header.get(name))
            raise DataError(
                f"{journal.path} is of a measurement with other settings ({', '.join(differing)} differ); give the "
                "same again to go on with it, choose another --output, or delete it"
            )
        if not lines:
            journal.append([key])
        return [{name: item[name] for name in NAMES} for line in lines[1:] for item in (line or {})["chunk"]]
    except (KeyError, TypeError) as error:
        raise DataError(f"{journal.path} cannot be read as a journal ({error}); delete it to begin again") from error


def with_pass_rates(problems: Sequence[Problem], measured: Mapping[str, Measured]) -> list[Problem]:
    """Return the problems with what was measured, by id, as `pass_rate` and `pass_rate_samples` in their meta.

    There is no rate where nothing was judged, and neither where nothing was measured.
    """
    rated = []
    for problem in problems:
        meta = {key: value for key, value in problem.meta.items() if not key.startswith("pass_rate")}
        if one := measured.get(problem.id):
            meta |= {"pass_rate": one["correct"] / one["decided"]} if one["decided"] else {}
            meta["pass_rate_samples"] = one["decided"]
        rated.append(dataclasses.replace(problem, meta=meta))
    return rated


def histogram(problems: Sequence[Problem]) -> dict[str, int]:
    """Return pass rate → problems: never, by quarters, always, not measured."""
    most = {"0": 0, "up to 1/4": 0.25, "up to 1/2": 0.5, "up to 3/4": 0.75, "below 1": 1 - 1e-12, "1": 1}
    counts = dict.fromkeys((*most, "not judged"), 0)
    for problem in problems:
        rate = problem.meta.get("pass_rate")
        counts["not judged" if rate is None else next(name for name, end in most.items() if rate <= end)] += 1
    return counts
