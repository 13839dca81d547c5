"""Measure how often a model solves each problem, so that training can be given what it can learn from.

Problems go through the same rollouts and the same verifier as training does. Results are appended to a journal chunk by
chunk; a measurement that was killed goes on there, and because chunks are always the same, ends with the same figures.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simplerl.core.errors import DataError
from simplerl.core.types import Completion, Problem, TrajectoryGroup
from simplerl.rewards import Correctness
from simplerl.rollout.backend import RolloutBackend, Sampling
from simplerl.rollout.groups import Prompted, Rollout, fingerprint
from simplerl.runs.files import cannot_write, json_line, write_atomic
from simplerl.verify import VerifierPool

#: Problems that are done, or not, together.
CHUNK = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What a model did with one problem."""

    samples: int
    decided: int
    """Responses that could be judged."""
    correct: int
    truncated: int
    tokens: int
    """Of all responses together."""

    @property
    def pass_rate(self) -> float | None:
        """Share of correct responses among those that could be judged; None if there is none."""
        return self.correct / self.decided if self.decided else None


def journal_path(output: Path) -> Path:
    """Return where the journal of a measurement stands until it is done."""
    return output.with_name(f"{output.stem}.partial.jsonl")


def measure(
    prompted: Sequence[Prompted],
    *,
    backend: RolloutBackend,
    verifier: VerifierPool,
    sampling: Sampling,
    samples: int,
    seed: int,
    settings: Mapping[str, Any],
    journal: Path,
    on_start: Callable[[int], None] = lambda done: None,
    on_done: Callable[[Completion], None] = lambda completion: None,
) -> list[Measured]:
    """Return what came of each problem, in order, going on with the journal where there is one.

    `settings` is everything else that the figures depend on; a journal of other settings is refused, never mixed.
    `on_start` is told how many responses the journal has already.
    """
    key = {
        **settings,
        "problems": fingerprint(prompted),
        "sampling": dataclasses.asdict(sampling),
        "samples": samples,
        "seed": seed,
    }
    done = _open(journal, json.loads(json.dumps(key)))
    on_start(sum(item.samples for item in done))
    rollout = Rollout(
        backend=backend, verifier=verifier, reward=Correctness(), sampling=sampling, samples=samples, seed=seed
    )
    for start in range(len(done), len(prompted), CHUNK):
        chunk = prompted[start : start + CHUNK]
        groups = rollout.sample_groups(chunk, purpose="difficulty", step=0, on_response=on_done)
        chunk = [_measured(group) for group in groups]
        _append(journal, {"chunk": [dataclasses.asdict(item) for item in chunk]})
        done += chunk
    return done


def _measured(group: TrajectoryGroup) -> Measured:
    trajectories = group.trajectories
    return Measured(
        samples=len(trajectories),
        decided=sum(t.verdict.decided for t in trajectories),
        correct=sum(t.verdict.correct for t in trajectories),
        truncated=sum(t.completion.stop_reason == "length" for t in trajectories),
        tokens=sum(len(t.completion.token_ids) for t in trajectories),
    )


def _open(journal: Path, key: dict[str, Any]) -> list[Measured]:
    """Begin a journal, or return what it holds. Raises DataError where it belongs to another measurement.

    Its last line may have been cut short when its writer was killed: it is left out.
    """
    try:
        *complete, _unfinished = (journal.read_bytes() if journal.is_file() else b"").split(b"\n")
        lines = [json.loads(line) for line in complete]
        if lines and lines[0] != key:
            differing = sorted(name for name in {*key, *lines[0]} if key.get(name) != lines[0].get(name))
            raise DataError(
                f"{journal} is of a measurement with other settings ({', '.join(differing)} differ); give the same "
                "again to go on with it, choose another --output, or delete it"
            )
        write_atomic(journal, "".join(map(json_line, lines or [key])))
        return [Measured(**item) for line in lines[1:] for item in line["chunk"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{journal} cannot be read as a journal ({error}); delete it to begin again") from error


def _append(journal: Path, value: dict[str, Any]) -> None:
    try:
        with journal.open("ab") as file:
            file.write(json_line(value).encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise cannot_write(journal, error) from error


def with_pass_rates(problems: Sequence[Problem], measured: Sequence[Measured]) -> list[Problem]:
    """Return the problems with `pass_rate` and `pass_rate_samples` in their meta; none where nothing was judged."""
    return [
        dataclasses.replace(
            problem,
            meta={
                **{key: value for key, value in problem.meta.items() if not key.startswith("pass_rate")},
                **({"pass_rate": one.pass_rate} if one.decided else {}),
                "pass_rate_samples": one.decided,
            },
        )
        for problem, one in zip(problems, measured, strict=True)
    ]


def histogram(problems: Sequence[Problem]) -> dict[str, int]:
    """Return pass rate → problems: never, by quarters, always, not measured."""
    most = {"0": 0, "up to 1/4": 0.25, "up to 1/2": 0.5, "up to 3/4": 0.75, "below 1": 1 - 1e-12, "1": 1}
    counts = dict.fromkeys((*most, "not judged"), 0)
    for problem in problems:
        rate = problem.meta.get("pass_rate")
        counts["not judged" if rate is None else next(name for name, end in most.items() if rate <= end)] += 1
    return counts
