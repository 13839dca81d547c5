"""Run evaluations: models × benchmarks, in parts that are saved as they are done.

The noise of a response is addressed by (seed, problem, sample), and the parts are the same however often a run is
interrupted, so an evaluation that was killed and continued ends with the same file, byte for byte.
"""

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
from simplerl.evaluate.figures import figures
from simplerl.evaluate.protocol import Protocol as Rules
from simplerl.evaluate.protocol import Settings, check_ks, protocol_for, split_name, template_differs
from simplerl.evaluate.targets import Target
from simplerl.models.device import describe_machine, pick_device
from simplerl.models.load import Policy, load, locate_and_hash, pick_attention
from simplerl.ops.statistics import powers_up_to
from simplerl.rewards import Correctness
from simplerl.rollout import BACKENDS, open_backend
from simplerl.rollout.backend import RolloutBackend
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One evaluation to do."""

    target: Target
    loaded: Loaded
    rules: Rules
    record: Mapping[str, Any]
    directory: ResultDirectory


def load_benchmarks(
    names: Sequence[str], settings: Settings, data_dir: Path | None, say: Callable[[str], None]
) -> dict[str, Loaded]:
    """Return the problems of each benchmark asked for, each read once."""
    bases = {name: split_name(name)[0] for name in names}
    loaded = {
        base: benchmarks.load(base, data_dir=data_dir, limit=settings.limit, say=say)
        for base in dict.fromkeys(bases.values())
    }
    return {name: loaded[base] for name, base in bases.items()}


def plan(
    targets: Sequence[Target], loaded: Mapping[str, Loaded], settings: Settings, output: Path, listener: Listener
) -> list[Job]:
    """Return every evaluation that is asked for, with the directory that its protocol names."""
    for what, name, known in (("backend", settings.backend, BACKENDS), ("policy", settings.policy, POLICIES)):
        if name is not None and name not in known:
            raise ConfigError(f"unknown --{what} {name!r}; {nearest(name, known)}")
    jobs, warned = [], set()
    for target in targets:
        hashes = locate_and_hash(target.source)
        for name, problems in loaded.items():
            rules = protocol_for(target, name, problems, settings)
            check_ks(settings.ks, rules.samples, rules.benchmark)
            warning = template_differs(target, rules)
            if warning and warning not in warned:
                listener.say(warning)
                warned.add(warning)
            record = rules.record(target, problems, settings, hashes=hashes, precision=_precision(settings))
            path = output / slug(target.label) / slug(rules.benchmark) / key_of(rules.shown, record)
            directory = ResultDirectory(path)
            jobs.append(Job(target=target, loaded=problems, rules=rules, record=record, directory=directory))
    return jobs


def evaluate(jobs: Sequence[Job], settings: Settings, listener: Listener, *, overwrite: bool = False) -> list[Path]:
    """Do the evaluations that are not complete yet, a model at a time; return the directories of all."""
    jobs = list({job.directory.path: job for job in jobs}.values())  # A model that was named twice is one.
    device = pick_device(settings.device, "device")
    with ExitStack() as stack:
        pools: dict[str, VerifierPool] = {}
        # Labels are for people: two models may have the same one.
        for source in dict.fromkeys(job.target.source for job in jobs):
            todo = []
            for job in (job for job in jobs if job.target.source == source):
                if overwrite or not job.directory.complete:
                    todo.append(job)
                    continue
                _refresh(job, settings)
                listener.say(f"{job.target.label} on {job.rules.benchmark}: done already, in {job.directory.path}")
            if not todo:
                continue
            policy = load(source, device=device, attention=pick_attention("auto", device, half=False))
            precision = _precision(settings)
            with closing(
                open_backend(settings.backend, policy, precision=precision, max_rows=settings.max_rows)
            ) as backend:
                for job in todo:
                    name = job.rules.policy
                    if name not in pools:
                        # As the literature counts; `acc_strict` leaves the unfinished answers out.
                        pools[name] = stack.enter_context(VerifierPool(name, workers=1, lenient=("unfinished",)))
                    _evaluate(job, policy, backend, pools[name], settings, listener, overwrite=overwrite)
    return [job.directory.path for job in jobs]


def _refresh(job: Job, settings: Settings) -> None:
    """Make the figures of a complete evaluation anew where they lack the k that are asked for, or `acc_strict`."""
    wanted = settings.ks or powers_up_to(job.rules.samples)
    for one in Run(job.directory.path).evaluations:
        if list(one.figures["pass@k"]) != [str(k) for k in wanted] or "acc_strict" not in one.figures:
            job.directory.update(figures(one.answers(), ks=settings.ks))


def _precision(settings: Settings) -> str:
    device = pick_device(settings.device, "device")
    return {"auto": "fp32" if device.type == "cpu" else "bf16"}.get(settings.precision, settings.precision)


def _evaluate(
    job: Job,
    policy: Policy,
    backend: RolloutBackend,
    verifier: VerifierPool,
    settings: Settings,
    listener: Listener,
    *,
    overwrite: bool,
) -> None:
    """Do one evaluation, or what is left of it."""
    rules, directory = job.rules, job.directory
    prompted = prompt(job.loaded.problems, rules.prompter(), policy)
    size = max(1, settings.part // rules.samples)
    parts = [prompted[start : start + size] for start in range(0, len(prompted), size)]
    began = time.perf_counter()
    try:
        directory.begin(job.record, overwrite=overwrite)
        missing = [number for number in range(len(parts)) if not directory.has_part(number)]
        done = sum(len(part) for number, part in enumerate(parts) if number not in missing)
        listener.phase(f"{job.target.label} on {rules.benchmark}", len(prompted) * rules.samples, done * rules.samples)
        for number in missing:
            groups = _groups(parts[number], policy, backend, verifier, rules, listener)
            directory.write_part(number, job.target.step or 0, groups)
        responses = directory.join(len(parts))
        timing = {"seconds_of_last_session": time.perf_counter() - began, "parts_of_last_session": len(missing)}
        machine = describe_machine(pick_device(settings.device, "device"))
        directory.finish(figures(responses.answers(), ks=settings.ks), {**timing, **machine})
    finally:
        directory.end()


def _groups(
    part: Sequence[Prompted],
    policy: Policy,
    backend: RolloutBackend,
    verifier: VerifierPool,
    rules: Rules,
    listener: Listener,
) -> list[TrajectoryGroup]:
    """Return the part's judged responses. A prompt that fills the model's context is answered by nothing."""
    readable = [item for item in part if 0 < len(item.prompt_ids) < policy.context_length]
    rollout = Rollout(
        backend=backend,
        verifier=verifier,
        reward=Correctness(),
        sampling=rules.sampling,
        samples=rules.samples,
        seed=rules.seed,
    )
    answered = iter(
        rollout.sample_groups(readable, purpose="benchmark", step=0, on_response=lambda completion: listener.advance())
        if readable
        else ()
    )
    chosen = {id(item) for item in readable}
    return [next(answered) if id(item) in chosen else _unread(item, policy, rules.samples) for item in part]


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
    trajectories = tuple(
        Trajectory(
            problem=item.problem,
            sample=sample,
            prompt_ids=item.prompt_ids,
            completion=nothing,
            segments=(),
            verdict=Verdict(status="no_answer", extracted=None, rule="context", detail=detail),
            reward=0.0,
            reward_parts={},
        )
        for sample in range(samples)
    )
    return TrajectoryGroup(problem=item.problem, trajectories=trajectories)
