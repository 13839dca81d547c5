"""Run evaluations: models × benchmarks, in parts that are saved as they are done.

The noise of a response is addressed by (seed, problem, sample), and the parts are the same however often a run is
interrupted, so an evaluation that was killed and continued ends with the same file, byte for byte.
"""

import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from simplerl.core.errors import ConfigError, nearest
from simplerl.core.types import Completion, Trajectory, TrajectoryGroup, Verdict, VersionSpan
from simplerl.evaluate import benchmarks
from simplerl.evaluate.benchmarks import Loaded
from simplerl.evaluate.figures import check_ks, figures
from simplerl.evaluate.protocol import Protocol as Rules
from simplerl.evaluate.protocol import Settings, Target, protocol_for, split_name
from simplerl.models.device import describe_machine, pick_device
from simplerl.models.load import Policy, load, locate_and_hash, pick_attention
from simplerl.ops.statistics import powers_up_to
from simplerl.rewards.correctness import Correctness
from simplerl.rollout import BACKENDS, open_backend
from simplerl.rollout.groups import Prompted, Rollout, prompt
from simplerl.runs.results import ResultDirectory, key_of, slug
from simplerl.runs.run import Run
from simplerl.verify import POLICIES, VerifierPool


class Listener(Protocol):
    """Whoever watches."""

    def say(self, message: str) -> None:
        """Show a line."""

    def phase(self, name: str, total: int, done: int) -> None:
        """An evaluation of `total` responses begins or goes on."""

    def advance(self) -> None:
        """One response is done."""


@dataclass(frozen=True, slots=True)
class Job:
    """One evaluation to do."""

    rules: Rules
    record: Mapping[str, Any]
    directory: ResultDirectory

    @property
    def title(self) -> str:
        """Model and benchmark, for messages."""
        return f"{self.rules.target.label} on {self.rules.benchmark}"


def load_benchmarks(
    names: Sequence[str], settings: Settings, data_dir: Path | None, say: Callable[[str], None]
) -> dict[str, Loaded]:
    """Return the problems of each benchmark asked for, each read once."""
    load_once = functools.cache(functools.partial(benchmarks.load, data_dir=data_dir, limit=settings.limit, say=say))
    return {name: load_once(split_name(name)[0]) for name in names}


def plan(
    targets: Sequence[Target], loaded: Mapping[str, Loaded], settings: Settings, output: Path, listener: Listener
) -> list[Job]:
    """Return every evaluation that is asked for, with the directory that its protocol names."""
    for what, name, known in (("backend", settings.backend, BACKENDS), ("policy", settings.policy, POLICIES)):
        if name is not None and name not in known:
            raise ConfigError(f"unknown --{what} {name!r}; {nearest(name, known)}")
    cpu = pick_device(settings.device, "device").type == "cpu"
    precision = ("fp32" if cpu else "bf16") if settings.precision == "auto" else settings.precision
    jobs, said = [], set()
    for target in targets:
        hashes = locate_and_hash(target.source)
        for name, problems in loaded.items():
            rules = protocol_for(target, name, problems, settings)
            check_ks(settings.ks, rules.samples, rules.benchmark)
            if rules.warning and rules.warning not in said:
                listener.say(rules.warning)
                said.add(rules.warning)
            record = rules.record(settings, hashes=hashes, precision=precision)
            path = output / slug(target.label) / slug(rules.benchmark) / key_of(rules.shown, record)
            jobs.append(Job(rules, record, ResultDirectory(path)))
    return jobs


def evaluate(jobs: Sequence[Job], settings: Settings, listener: Listener, *, overwrite: bool = False) -> list[Path]:
    """Do the evaluations that are not complete yet, a model at a time; return the directories of all."""
    jobs = list({job.directory.path: job for job in jobs}.values())  # A model that was named twice is one.
    device = pick_device(settings.device, "device")
    with ExitStack() as stack:
        pools: dict[str, VerifierPool] = {}
        # Labels are for people: two models may have the same one.
        for source in dict.fromkeys(job.rules.target.source for job in jobs):
            of_model = [job for job in jobs if job.rules.target.source == source]
            todo = [job for job in of_model if overwrite or not job.directory.complete]
            for job in of_model:
                if job not in todo:
                    _refresh(job, settings)
                    listener.say(f"{job.title}: done already, in {job.directory.path}")
            if not todo:
                continue
            policy = load(source, device=device, attention=pick_attention("auto", device, half=False))
            options = {"precision": todo[0].record["precision"], "max_rows": settings.max_rows}
            with closing(open_backend(settings.backend, policy, **options)) as backend:
                for job in todo:
                    rules = job.rules
                    if rules.policy not in pools:
                        # As the literature counts; `acc_strict` leaves the unfinished answers out.
                        pool = VerifierPool(rules.policy, workers=1, lenient=("unfinished",))
                        pools[rules.policy] = stack.enter_context(pool)
                    rollout = Rollout(
                        backend=backend,
                        verifier=pools[rules.policy],
                        reward=Correctness(),
                        sampling=rules.sampling,
                        samples=rules.samples,
                        seed=rules.seed,
                    )
                    _evaluate(job, policy, rollout, settings, listener, overwrite=overwrite)
    return [job.directory.path for job in jobs]


def _refresh(job: Job, settings: Settings) -> None:
    """Make the figures of a complete evaluation anew where they lack the k that are asked for, or `acc_strict`."""
    wanted = settings.ks or powers_up_to(job.rules.samples)
    for one in Run(job.directory.path).evaluations:
        if list(one.figures["pass@k"]) != [str(k) for k in wanted] or "acc_strict" not in one.figures:
            job.directory.update(figures(one.answers(), ks=settings.ks))


def _evaluate(
    job: Job, policy: Policy, rollout: Rollout, settings: Settings, listener: Listener, *, overwrite: bool
) -> None:
    """Do one evaluation, or what is left of it."""
    rules, directory, samples = job.rules, job.directory, job.rules.samples
    prompted = prompt(rules.loaded.problems, rules.prompter(), policy)
    size = max(1, settings.part // samples)
    parts = [prompted[start : start + size] for start in range(0, len(prompted), size)]
    began = time.perf_counter()
    with directory:
        directory.begin(job.record, overwrite=overwrite)
        missing = [number for number in range(len(parts)) if not directory.has_part(number)]
        left = sum(len(parts[number]) for number in missing)
        total = len(prompted)
        listener.phase(job.title, total * samples, (total - left) * samples)
        for number in missing:
            directory.write_part(number, rules.target.step or 0, _groups(parts[number], policy, rollout, listener))
        responses = directory.join(len(parts))
        timing = {"seconds_of_last_session": time.perf_counter() - began, "parts_of_last_session": len(missing)}
        machine = describe_machine(pick_device(settings.device, "device"))
        directory.finish(figures(responses.answers(), ks=settings.ks), {**timing, **machine})


def _groups(part: Sequence[Prompted], policy: Policy, rollout: Rollout, listener: Listener) -> list[TrajectoryGroup]:
    """Return the part's judged responses. A prompt that fills the model's context is answered by nothing."""
    fits = [0 < len(item.prompt_ids) < policy.context_length for item in part]
    readable = list(itertools.compress(part, fits))
    answered = iter(
        rollout.sample_groups(readable, purpose="benchmark", step=0, on_response=lambda completion: listener.advance())
        if readable
        else ()
    )
    return [
        next(answered) if fit else _unread(item, policy, rollout.samples) for item, fit in zip(part, fits, strict=True)
    ]


def _unread(item: Prompted, policy: Policy, samples: int) -> TrajectoryGroup:
    """Return empty responses to a prompt that the model cannot read: it counts as not solved, and says why."""
    detail = f"a prompt of {len(item.prompt_ids)} tokens leaves no room in a context of {policy.context_length}"
    nothing = Completion(
        token_ids=np.zeros(0, dtype=np.int32),
        logprobs=np.zeros(0, dtype=np.float32),
        text="",
        stop_reason="length",
        versions=(VersionSpan(0, 0, 0),),
    )
    trajectory = Trajectory(
        problem=item.problem,
        sample=0,
        prompt_ids=item.prompt_ids,
        completion=nothing,
        segments=(),
        verdict=Verdict(status="no_answer", extracted=None, rule="context", detail=detail),
        reward=0.0,
        reward_parts={},
    )
    trajectories = tuple(dataclasses.replace(trajectory, sample=sample) for sample in range(samples))
    return TrajectoryGroup(problem=item.problem, trajectories=trajectories)
