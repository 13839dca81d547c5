"""Measure how often a model solves each problem, so that training can be given what it can learn from.

Problems go through the same rollouts and the same verifier as training does. Responses are saved part by part, as an
evaluation's are; a measurement that was killed goes on there, and ends with the same figures.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from simplerl.core.errors import DataError
from simplerl.core.types import Completion, Problem
from simplerl.rollout.groups import Prompted, Rollout, fingerprint
from simplerl.runs.responses import by_problem
from simplerl.runs.results import ResultDirectory

#: Problems that are done, or not, together.
CHUNK = 32


#: What a model did with one problem: responses (`samples`), those that could be judged (`decided`), those that were
#: `correct`, those that were `truncated`, and the `tokens` of all together.
Measured = dict[str, int]


def partial_path(output: Path) -> Path:
    """Return the directory in which the responses of a measurement stand until it is done."""
    return output.with_name(f"{output.stem}.partial")


def measure(
    prompted: Sequence[Prompted],
    rollout: Rollout,
    *,
    settings: Mapping[str, Any],
    partial: Path,
    on_start: Callable[[int], None] = lambda done: None,
    on_done: Callable[[Completion], None] = lambda completion: None,
) -> dict[str, Measured]:
    """Return what came of each problem by its id, going on with what is in the directory `partial`.

    `settings` is everything else that the figures depend on; a directory of other settings is refused, never mixed.
    `on_start` gets how many responses are there already.
    """
    key = {
        **settings,
        "problems": fingerprint(prompted),
        "sampling": dataclasses.asdict(rollout.sampling),
        "samples": rollout.samples,
        "seed": rollout.seed,
    }
    with ResultDirectory(partial) as directory:
        protocol = json.loads(json.dumps(key))
        before = directory.protocol or protocol
        if differing := sorted(name for name in {*protocol, *before} if protocol.get(name) != before.get(name)):
            raise DataError(
                f"{partial} is of a measurement with other settings ({', '.join(differing)} differ); give the same "
                "again to go on with it, choose another --output, or delete it"
            )
        directory.begin(protocol, overwrite=False)
        responses = directory.fill(
            prompted,
            lambda part: rollout.sample_groups(part, purpose="difficulty", step=0, on_response=on_done),
            size=CHUNK,
            on_start=lambda done: on_start(done * rollout.samples),
        )
    return {
        name: {
            "samples": len(answers),
            "decided": sum(a.decided for a in answers),
            "correct": sum(a.correct for a in answers),
            "truncated": sum(a.stop_reason == "length" for a in answers),
            "tokens": sum(a.tokens or 0 for a in answers),
        }
        for name, answers in by_problem(responses.answers()).items()
    }


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
