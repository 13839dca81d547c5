"""Run evaluations: what is evaluated and how, models × benchmarks, in parts that are saved as they are done.

SimpleRL-Zoo's protocol: base models greedily, trained ones at temperature 1.0 and top-p 0.95; 16,000 tokens; AIME24
also as the mean of 32 samples, which is asked for as `aime24@32` (any `NAME@N` is N samples at temperature 1.0, top-p
0.95, whatever the model is).

The noise of a response is addressed by (seed, problem, sample), and the parts are the same however often a run is
interrupted, so an evaluation that was killed and continued ends with the same file, byte for byte.

Responses that were made elsewhere go through the same verifier and figures. A line of their file speaks of one problem:
its `id` (`gsm8k-17`, the source's own id, or the index `idx`), or its `question`; and of one or several responses:
`response`, `responses`, `completion(s)`, `output(s)`, `generation(s)` or the original's `code`, each a text or a list.
`finish_reason` (a text or a list) and `sample` may be given.
"""

import functools
import hashlib
import itertools
import os
import time
import typing
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from simplerl.config.resolve import as_table, recipe_for, resolve
from simplerl.core.errors import ConfigError, DataError, RunError, first_few, nearest
from simplerl.core.registry import canonical, is_object, load_recorded, owner
from simplerl.core.types import Problem, Trajectory, TrajectoryGroup, Verdict
from simplerl.data.prompts import prompter
from simplerl.data.rows import Row, read_rows, suffix_of
from simplerl.environments import environment_class, make_environment, own_verdict
from simplerl.environments.base import Environment
from simplerl.evaluate import benchmarks
from simplerl.evaluate.benchmarks import Loaded
from simplerl.evaluate.figures import check_ks, figures
from simplerl.models.device import describe_machine, pick_device
from simplerl.models.load import Policy, load, locate_and_hash
from simplerl.ops.statistics import powers_up_to
from simplerl.rewards.builtin import Correctness
from simplerl.rollout import BACKENDS, open_backend
from simplerl.rollout.backend import Sampling
from simplerl.rollout.episodes import Episode
from simplerl.rollout.groups import Prompted, Rollout, begin_notice, prompt
from simplerl.rollout.proof import ask_back
from simplerl.runs.directory import ResultDirectory, key_of
from simplerl.runs.files import slug
from simplerl.runs.responses import ResponseFile, response_columns, write_rows
from simplerl.runs.run import RESPONSES, Run, choose, is_run
from simplerl.verify import POLICIES, VerifierPool

#: Temperature and top-p of a base model, and of a trained one or of several samples.
GREEDY, SAMPLED = (0.0, 1.0), (1.0, 0.95)

#: What is acted in where nothing is said; a protocol does not name it.
SINGLE_TURN: Mapping[str, Any] = {"name": "single-turn"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A model with what a run says of how it was trained."""

    label: str  # Name in tables and of the result's directory: `RUN@20`, or the model's own
    source: str  # What `models.load` takes
    step: int | None  # Step of its run, 0 is the base model; None for a model that is not of a run
    config: Mapping[str, Any]  # The run's configuration; for a model that is not of a run, the recipe that goes with it


def targets(name: str, steps: str = "", *, recipe: Mapping[str, Any]) -> list[Target]:
    """Return the models that a command-line argument means.

    `name` is a run directory, a checkpoint in one, or anything else that can be loaded. `steps` chooses checkpoints of
    a run: `all`, `first`, `last`, or numbers such as `0,20,40`; empty is the base model and the last. `recipe` is the
    configuration to use for a model that is not of a run. Raises RunError for a run without checkpoints, ConfigError
    for a step that it does not have.
    """
    path = Path(name).expanduser()
    if steps and not is_run(path):
        raise ConfigError(f"--steps chooses checkpoints of a run, and {name} is not a run directory")
    home = path.parents[1] if path.parent.name == "checkpoints" else path
    every: list[Target] = []
    if is_run(home):
        run = Run(home)
        base = run.config.get("model")
        if not isinstance(base, str):
            raise RunError(f"{home / 'config.json'} is not a run's configuration: it names no model")
        # A base model that was passed as an object cannot be loaded again.
        sources = ({} if is_object(base) else {0: base}) | {each.step: str(each.path) for each in run.checkpoints}
        labels = {step: f"{run.name}@{step}" for step in sources}
        every = [Target(label=labels[s], source=sources[s], step=s, config=run.config) for s in sources]
    if not is_run(path):
        own = (target for target in every if target.step and Path(target.source).name == path.name)
        return [next(own, Target(label=path.name or name, source=name, step=None, config=recipe))]
    if not any(target.step for target in every):
        raise RunError(
            f"{path} has no checkpoints yet; evaluate its base model by name ({Run(path).config['model']}), or let it "
            "train to its first checkpoint (checkpoint.every)"
        )
    return choose(
        every,
        steps or ("last" if every[0].step else "first,last"),
        lambda step, there: (
            f"{path} has no checkpoint of step {step}; it has {there} (0 is the base model; "
            "checkpoint.keep decides how many are kept)"
        ),
    )


def models_of(names: Sequence[str], steps: str, say: Callable[[str], None]) -> list[Target]:
    """Return the models to evaluate, their runs' plug-ins loaded. Beside a run, `steps` speaks of the run only."""
    for name in filter(is_run, names):
        load_recorded(Run(name).config.get("plugins", ()), say)
    all_runs = len(names) == 1 or not any(map(is_run, names))
    named = [(name, steps if all_runs or is_run(name) else "") for name in names]
    return [t for name, steps in named for t in targets(name, steps, recipe=as_table(resolve(recipe_for(name), {})))]


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What can be set. None leaves a choice to the protocol."""

    template: str | None = None  # Name or file; None: the run's or the recipe's
    stop: tuple[str, ...] | None = None  # Strings that end a response; None: the run's or the recipe's
    special_tokens: Literal["auto", "none", "bos"] | None = None  # `prompt.special_tokens`; None: the run's or recipe's
    temperature: float | None = None
    top_p: float | None = None
    samples: int = 1
    max_tokens: int = 16_000
    policy: str | None = None  # Extraction policy; None: the benchmark's
    environment: str | None = None  # Name or file.py:Class; None: the run's
    seed: int = 0
    limit: int = 0  # Only the first N problems of a benchmark; 0 is all
    ks: tuple[int, ...] = ()
    device: str = "auto"
    backend: str = "native"
    precision: str = "auto"
    max_rows: int = 512
    part: int = 512  # Responses between two saves

    def __post_init__(self) -> None:
        for name, least in {"samples": 1, "max_tokens": 1, "max_rows": 1, "part": 1, "limit": 0}.items():
            if getattr(self, name) < least:
                raise ConfigError(f"--{name.replace('_', '-')} must be at least {least}, got {getattr(self, name)}")
        if wrong := [k for k in self.ks if k < 1]:
            raise ConfigError(f"--k must be numbers from 1, got {wrong[0]}")
        if self.temperature == 0 and self.samples > 1:
            raise ConfigError(
                f"--samples {self.samples} at temperature 0 would give the same response {self.samples} times; set "
                "--temperature 1.0 (or leave it out), or --samples 1"
            )


def split_name(name: str) -> tuple[str, int | None]:
    """Return (benchmark, samples) of `NAME@N`; samples is None without a number."""
    base, at, count = name.rpartition("@")
    if not at or suffix_of(Path(name)):  # A file may have an @ in its name.
        return name, None
    if not base or not (count.isascii() and count.isdigit()) or int(count) < 1:
        raise ConfigError(
            f"benchmark {name!r}: after @ comes the number of samples, e.g. aime24@32; for files "
            "of your own give --data-dir DIR"
        )
    return base, int(count)


def prompt_settings(template: str, target: Target, settings: Settings) -> dict[str, str]:
    """Return what `prompter` takes besides a template: what is set, else what the run has, as far as it fits."""
    own = {"system": "", "special_tokens": "none", **target.config.get("prompt", {})}
    return {
        "system": own["system"] if template == "chat" else "",
        "special_tokens": settings.special_tokens or own["special_tokens"],
    }


def protocol_for(
    target: Target, name: str, loaded: Loaded, settings: Settings, *, hashes: Mapping[str, str], precision: str
) -> dict[str, Any]:
    """Return everything that decides what an evaluation measures: what is set, else what the paper does.

    It is written beside the result, as protocol.json, and hashed into its name.
    """
    own_samples = split_name(name)[1]
    samples = own_samples or settings.samples
    temperature, top_p = GREEDY if not target.step and samples == 1 else SAMPLED
    if settings.temperature is not None and not (settings.temperature == 0 and samples > 1):
        temperature, top_p = settings.temperature, 1.0 if settings.temperature == 0 else top_p
    own = target.config.get("sampling", {})
    sampling = Sampling(
        temperature=temperature,
        top_p=top_p if settings.top_p is None else settings.top_p,
        max_new_tokens=settings.max_tokens,
        stop=tuple(own.get("stop", ()) if settings.stop is None else settings.stop),
        stop_ids=tuple(own.get("stop_ids", ()) if settings.stop is None else ()),
    )
    template = settings.template or target.config.get("template") or "simple"
    prompts = prompt_settings(template, target, settings)
    policy = settings.policy or loaded.benchmark.policy
    # What was asked for, with the run's settings where it is the run's own.
    environment: Mapping[str, Any] = target.config.get("environment", SINGLE_TURN)
    if settings.environment is not None and canonical(settings.environment) != environment["name"]:
        environment = {"name": canonical(settings.environment)}
    environment_class(environment["name"])  # Loads what it is in.
    named = {"environment": environment["name"], "template": template, "policy": policy}
    owners = filter(None, (owner(kind, name) for kind, name in named.items()))
    return {
        "label": target.label,
        "model": target.source,
        "step": target.step,
        "weights_sha256": hashes["sha256"],
        "tokenizer_sha256": hashes["tokenizer_sha256"],
        "problems": len(loaded.problems),
        "data_sha256": loaded.sha256,
        "template": {
            "name": template,
            "text": getattr(prompter(template, **prompts).template, "text", None),
            **prompts,
        },
        "sampling": asdict(sampling),
        "benchmark": loaded.benchmark.name + ("" if own_samples is None else f"@{own_samples}"),
        "samples": samples,
        "policy": policy,
        **{name: getattr(settings, name) for name in ("seed", "backend", "max_rows", "part")},
        "precision": precision,
        **({} if environment["name"] == SINGLE_TURN["name"] else {"environment": dict(environment)}),
        **{f"plugin {each.name}": each.sha256 for each in owners},  # A file that changes is another evaluation.
    }


class Listener(typing.Protocol):
    """Whoever watches: is told something, that `total` responses are made, `done` of them before, and of each one."""

    def say(self, message: str) -> None: ...
    def phase(self, name: str, total: int, done: int) -> None: ...
    def advance(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Job:
    """One evaluation to do."""

    target: Target
    loaded: Loaded
    protocol: Mapping[str, Any]
    directory: ResultDirectory

    @property
    def title(self) -> str:
        """Model and benchmark, for messages."""
        return f"{self.target.label} on {self.protocol['benchmark']}"


def load_benchmarks(
    names: Sequence[str], settings: Settings, data_dir: Path | None, say: Callable[[str], None]
) -> dict[str, Loaded]:
    """Return the problems of each benchmark asked for, each read once."""
    load_once = functools.cache(functools.partial(benchmarks.load, data_dir=data_dir, limit=settings.limit, say=say))
    return {name: load_once(split_name(name)[0]) for name in names}


def evaluate(
    targets: Sequence[Target],
    loaded: Mapping[str, Loaded],
    settings: Settings,
    output: Path,
    listener: Listener,
    *,
    overwrite: bool = False,
) -> list[Path]:
    """Do every evaluation that is asked for and not complete yet, a model at a time; return the directories of all.

    Each has the directory below `output` that its protocol names. What cannot work is said before anything is sampled.
    """
    names: dict[str, Collection[str]] = {"backend": BACKENDS, "policy": POLICIES, "precision": ("auto", "fp32", "bf16")}
    for what, known in names.items():
        if (name := getattr(settings, what)) is not None and name not in known:
            raise ConfigError(f"unknown --{what} {name!r}; {nearest(name, known)}")
    device = pick_device(settings.device, "device")
    usual = "fp32" if device.type == "cpu" else "bf16"
    precision = usual if settings.precision == "auto" else settings.precision
    jobs: dict[Path, Job] = {}  # A model that was named twice is one.
    for target in targets:
        hashes, trained = locate_and_hash(target.source), target.config.get("template")
        if target.step is not None and trained and settings.template not in (None, trained):
            listener.say(
                f"{target.label} was trained with template {trained!r} and is evaluated with {settings.template!r}: "
                "the difference in prompts will be part of the difference in accuracy"
            )
        for name, problems in loaded.items():
            protocol = protocol_for(target, name, problems, settings, hashes=hashes, precision=precision)
            check_ks(settings.ks, protocol["samples"], protocol["benchmark"])
            how, template = protocol["sampling"], Path(protocol["template"]["name"]).stem
            drawn = f"t{how['temperature']:g}_p{how['top_p']:g}_n{protocol['samples']}_max{how['max_new_tokens']}"
            key = key_of(f"{template}_{drawn}_seed{settings.seed}", protocol)
            home = output / slug(target.label) / slug(protocol["benchmark"]) / key
            jobs[home] = Job(target, problems, protocol, ResultDirectory(home))
    # Labels are for people: two models may have the same one.
    for source in dict.fromkeys(job.target.source for job in jobs.values()):
        policy = None
        for job in (job for job in jobs.values() if job.target.source == source):
            if job.directory.complete and not overwrite:
                _refresh(job, settings)
                listener.say(f"{job.title}: done already, in {job.directory.path}")
            else:
                policy = policy or load(source, device=device)
                _evaluate(job, policy, settings, listener, overwrite=overwrite)
    return list(jobs)


@contextmanager
def open_rollout(
    policy: Policy,
    *,
    sampling: Sampling,
    samples: int,
    seed: int,
    answers: str = "boxed",
    lenient: Collection[str] = (),
    environment: Environment | None = None,
    backend: str = "native",
    **options: Any,
) -> Iterator[Rollout]:
    """Open what every measurement without an update shares: a model that samples, and a verifier that judges.

    `answers` is the extraction policy; `options` are the backend's.
    """
    with (
        closing(open_backend(backend, policy, **options)) as engine,
        VerifierPool(answers, workers=1, lenient=lenient) as verifier,
    ):
        ask_back(engine, policy, options.get("precision", "fp32"))
        yield Rollout(
            backend=engine,
            verifier=verifier,
            reward=Correctness(),
            sampling=sampling,
            samples=samples,
            seed=seed,
            environment=environment,
            tokenizer=policy.tokenizer,
        )


def _refresh(job: Job, settings: Settings) -> None:
    """Make the figures of a complete evaluation anew where they lack the k that are asked for, or `acc_strict`."""
    wanted = settings.ks or powers_up_to(job.protocol["samples"])
    for one in Run(job.directory.path).evaluations:
        if list(one.figures["pass@k"]) != [str(k) for k in wanted] or "acc_strict" not in one.figures:
            job.directory.finish(figures(one.answers(), ks=settings.ks))


def _evaluate(job: Job, policy: Policy, settings: Settings, listener: Listener, *, overwrite: bool) -> None:
    """Do one evaluation, or what is left of it."""
    protocol, problems, template = job.protocol, job.loaded.problems, job.protocol["template"]
    prompts = prompter(template["name"], system=template["system"], special_tokens=template["special_tokens"])
    for note in (begin_notice(problems, prompts, policy), policy.context_note):
        if note:
            listener.say(note)
    environment = make_environment(protocol.get("environment", SINGLE_TURN))
    prompted = prompt(problems, prompts, policy, environment, protocol["seed"])
    began = time.perf_counter()
    rollout = open_rollout(
        policy,
        sampling=Sampling(**protocol["sampling"]),
        answers=protocol["policy"],
        environment=environment,
        lenient=("unfinished",),  # As the literature counts; `acc_strict` leaves the unfinished answers out.
        **{name: protocol[name] for name in ("samples", "seed", "backend", "precision", "max_rows")},
    )
    with job.directory as directory, rollout as engine:

        def sample(part: Sequence[Prompted]) -> list[TrajectoryGroup]:
            readable = [item for item in part if fits(item, policy)]
            options: dict[str, Any] = {"purpose": "benchmark", "step": 0, "on_response": lambda _: listener.advance()}
            groups = {group.problem.id: group for group in engine.sample_groups(readable, **options)}
            return [groups.get(item.problem.id) or _unread(item, policy, engine.samples) for item in part]

        directory.begin(protocol, overwrite=overwrite)
        total = len(prompted) * engine.samples
        responses = directory.fill(
            prompted,
            sample,
            size=max(1, settings.part // engine.samples),
            step=job.target.step or 0,
            on_start=lambda done: listener.phase(job.title, total, done * engine.samples),
        )
        machine = describe_machine(pick_device(settings.device, "device"))
        timing = {"seconds_of_last_session": time.perf_counter() - began, **machine}
        directory.finish(figures(responses.answers(), ks=settings.ks), timing)


def fits(item: Prompted, policy: Policy) -> bool:
    """Return whether a prompt leaves room for a response in the model's context."""
    return 0 < len(item.prompt_ids) < policy.context_length


def _unread(item: Prompted, policy: Policy, samples: int) -> TrajectoryGroup:
    """Return empty responses to a prompt that the model cannot read: it counts as not solved, and says why."""
    detail = f"a prompt of {len(item.prompt_ids)} tokens leaves no room in a context of {policy.context_length}"
    response: dict[str, Any] = {"problem": item.problem, "prompt_ids": item.prompt_ids}
    trajectories = [
        Trajectory(
            **response,
            sample=sample,
            completion=Episode(**response, sample=sample, stop_reason="length").completion(),
            segments=(),
            verdict=Verdict(status="no_answer", extracted=None, rule="context", detail=detail),
            reward=0.0,
            reward_parts={},
        )
        for sample in range(samples)
    ]
    return TrajectoryGroup(problem=item.problem, trajectories=tuple(trajectories))


TEXTS = ("response", "responses", "completion", "completions", "output", "outputs", "generation", "generations", "code")
IDS = ("problem_id", "id", "unique_id", "task_id", "question_id", "idx", "index", "question", "problem")
#: More samples of a problem than anybody draws; the number must fit its column.
MOST_SAMPLES = 1_000_000_000
REASONS = {"stop": "stop", "eos": "eos", "length": "length", "eos_token": "eos", "max_tokens": "length"}


class Given(typing.NamedTuple):
    """One response made elsewhere."""

    problem: Problem
    sample: int
    response: str
    stop_reason: str | None


def _first(row: Row, names: Sequence[str], missing: str) -> tuple[str, Any]:
    """Return (name, value) of the first field that is there. Raises DataError naming place and fields."""
    if name := next((name for name in names if row.fields.get(name) is not None), ""):
        return name, row.fields[name]
    raise DataError(f"{row.place}: {missing}; wanted one of {', '.join(names)}. {row.there}")


def read_responses(path: Path, loaded: Loaded) -> list[Given]:
    """Return the responses in a file, by problem and sample, for a benchmark's problems.

    Raises DataError for a line without response, an unknown id, a duplicated row, and problems without any response.
    """
    problems = loaded.problems
    by_index = {str(index): problem for index, problem in enumerate(problems)}
    known = by_index | {str(p.meta["original_id"]): p for p in problems if "original_id" in p.meta}
    known |= {problem.question.strip(): problem for problem in problems} | {problem.id: problem for problem in problems}
    # The original's `idx` is the row, also where a benchmark's ids are other numbers (AMC23); a user's file may own it.
    indexed = known | by_index if loaded.benchmark.problems else known
    by_problem = defaultdict[str, dict[int, Given]](dict)
    seen: dict[tuple[str, ...], str] = {}
    for row in read_rows(path):
        key, value = _first(row, IDS, "no problem is named")
        name = str(value).strip()
        problem = (indexed if key in ("idx", "index") else known).get(name)
        if problem is None:
            near = nearest(name[:80], [p.id for p in problems][:5000])[:200]
            raise DataError(f"{row.place}: {loaded.benchmark.name} has no problem {name[:80]!r}; {near}")
        field, value = _first(row, TEXTS, "no response")
        texts = value if isinstance(value, list) else [value]
        if not texts or not all(isinstance(text, str) for text in texts):
            raise DataError(f"{row.place}: field {field!r} must be a text or a list of texts, not empty")
        reasons = row.fields.get("finish_reason", row.fields.get("stop_reason"))
        reasons = reasons if isinstance(reasons, list) else [reasons] * (reasons is not None)
        if len(reasons) not in (0, len(texts)):
            raise DataError(f"{row.place}: {len(texts)} responses but {len(reasons)} finish reasons")
        members = by_problem[problem.id]
        start = row.fields.get("sample", len(members))
        if type(start) is not int or not 0 <= start < MOST_SAMPLES:
            raise DataError(f"{row.place}: sample must be a number from 0 to {MOST_SAMPLES - 1:,}, got {start!r}")
        # Two equal rows are a mistake unless they say which samples they are: a file that was joined with itself.
        before = seen.setdefault((problem.id, *texts), row.place)
        if before != row.place and "sample" not in row.fields:
            raise DataError(
                f"{row.place}: the same row stands at {before}; remove one, or number the rows of a problem with "
                "'sample' if both were really drawn"
            )
        for sample, (text, reason) in enumerate(itertools.zip_longest(texts, reasons), start):
            if sample in members:
                raise DataError(f"{row.place}: sample {sample} of {problem.id} is there twice; remove one of the rows")
            stop_reason = REASONS.get(reason) if isinstance(reason, str) else None
            members[sample] = Given(problem=problem, sample=sample, response=text, stop_reason=stop_reason)
    if not by_problem:
        raise DataError(f"{path} holds no responses")
    if missing := [problem.id for problem in problems if problem.id not in by_problem]:
        raise DataError(
            f"{path} has no response to {len(missing)} of {len(problems)} problems of {loaded.benchmark.name}: "
            f"{first_few(missing)}; an accuracy over the others would not be the benchmark's. Add them (an empty "
            "response counts as no answer), or give --limit N if only the first N were answered"
        )
    return [given for problem in problems for _, given in sorted(by_problem[problem.id].items())]


def score(
    source: Path,
    loaded: Loaded,
    settings: Settings,
    output: Path,
    listener: Listener,
    *,
    tokenizer: PreTrainedTokenizerBase | None,
) -> Path:
    """Judge the responses in a file, write them with their figures, and return the directory of the result.

    What a problem's own judge decides does not go to the verifier. Only a tokenizer tells lengths.
    """
    name, policy = loaded.benchmark.name, settings.policy or loaded.benchmark.policy
    given = read_responses(source, loaded)
    samples = max(Counter(item.problem.id for item in given).values())
    check_ks(settings.ks, samples, name)
    texts = "".join(f"{item.problem.id}\x1f{item.sample}\x1f{item.response}\x1e" for item in given)
    record = {
        "label": source.stem,
        "model": str(source),
        "step": None,
        "benchmark": name,
        "problems": len(loaded.problems),
        "data_sha256": loaded.sha256,
        "template": {"name": "unknown", "text": None},
        "sampling": {"made": "elsewhere"},
        "samples": samples,
        "policy": policy,
        "seed": None,
        "responses_sha256": hashlib.sha256(texts.encode("utf-8", "surrogatepass")).hexdigest(),
    }
    listener.phase(f"{source.name} on {name}", len(given), 0)
    rows = []
    with (
        ResultDirectory(output / slug(source.stem) / slug(name) / key_of("responses", record)) as directory,
        VerifierPool(policy, workers=1, lenient=("unfinished",)) as pool,
        ThreadPoolExecutor(os.cpu_count()) as threads,
    ):
        directory.begin(record, overwrite=True)
        own = threads.map(lambda item: own_verdict(item.problem, item.response, policy), given)
        asked = [
            verdict or pool.submit(item.response, item.problem.answer, item.problem.question)
            for item, verdict in zip(given, own, strict=True)
        ]
        for item, verdict in zip(given, asked, strict=True):
            row = response_columns(*item, verdict if isinstance(verdict, Verdict) else verdict.result())
            if tokenizer:
                row["token_ids"] = tokenizer.encode(row["response"], add_special_tokens=False)
            rows.append(row)
            listener.advance()
        write_rows(directory.path / RESPONSES, rows)
        directory.finish(figures(ResponseFile(directory.path / RESPONSES).answers(), ks=settings.ks), {})
    return directory.path
