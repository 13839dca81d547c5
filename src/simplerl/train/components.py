"""What a run is put together from: problems as prompts, model, rollout, verifier, learner. What is left out is said."""

import copy
import dataclasses
import functools
import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from simplerl import data
from simplerl.config.sections import Config
from simplerl.core.errors import ConfigError, DataError, ModelError, first_few
from simplerl.core.registry import is_object, recall
from simplerl.core.seeds import generator
from simplerl.core.types import Problem
from simplerl.data.problems import ProblemSet, select
from simplerl.data.prompts import Prompter, difference, prompter
from simplerl.feed.buffer import Store
from simplerl.feed.samplers import Sampler, prompt_sampler
from simplerl.models import lora
from simplerl.models.checkpoint import TRAINER
from simplerl.models.device import SMALL_MODEL, check_devices, describe_machine, has_fast_bf16, pick_device, ranks_here
from simplerl.models.load import Policy, files_of, load, locate, locate_and_hash, pick_attention, weights_hash
from simplerl.rollout import open_backend
from simplerl.rollout.backend import RolloutBackend, Sampling
from simplerl.rollout.groups import Prompted, Rollout, begin_notice, fingerprint, prompt
from simplerl.rollout.proof import ask_back, text_ids
from simplerl.rollout.vllm import cache_shares
from simplerl.rollout.wire import StoredWeights
from simplerl.train.learner import Learner
from simplerl.verify import VerifierPool

if TYPE_CHECKING:
    from simplerl.rollout.cluster import Cluster
    from simplerl.rollout.engines import Engines

#: Folder of a checkpoint with the policies before its own that still sample.
POLICIES = "policies"
#: Layers up to which the rounding of bf16 stays negligible.
SHALLOW_LAYERS = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """What a Python caller passes as objects, instead of what the configuration names."""

    policy: Policy | None = None  # Starts the run instead of `config.model`; its weights are trained in place
    problems: ProblemSet | None = None  # Trained on instead of `config.data`
    held_out: Sequence[Problem] | None = None  # Evaluated on instead of `config.evaluation.data`


@dataclass(frozen=True, kw_only=True, eq=False)
class Components:
    """A run's parts, put together."""

    config: Config
    policy: Policy
    sampler: Sampler[Any]  # Of the training problems; of the demonstrations in fine-tuning
    held_out: list[Prompted]
    learner: Learner
    rollout: Rollout
    evaluation: Rollout  # The same engine and verifier, drawing as `config.evaluation` says
    buffer: Store  # What is kept for later steps
    environment: dict[str, Any]  # Versions, machine, data: what the configuration does not say
    running: ExitStack  # Ends what has been started
    #: Version → what the policy said of the proof's text, for engines that are busy and are asked later.
    proofs: dict[int, np.ndarray] = dataclasses.field(default_factory=dict)
    #: What the policy and the engines said when these were asked back before.
    said: list[tuple[np.ndarray, np.ndarray]] = dataclasses.field(default_factory=list)

    @property
    def backend(self) -> RolloutBackend:
        """The engine that training and evaluation sample from."""
        return self.rollout.backend

    def sync(self, version: int) -> float | None:
        """Give the engine the learner's weights and have it prove that it uses them; return how far it is off.

        Engines that sample ahead are busy (None): they prove it when they take the weights up (`engines_at`), which is
        here where they take them in flight.
        """
        self.backend.sync(self.learner.weights(), version=version)
        if (every := self.config.sampling.mask_steps) and (mask := self.learner.scorer.mask):
            if version % every == 0:
                self.learner.copy_policy(mask.model)
            cast("Any", self.backend).mask.sync(mask.model.state_dict(keep_vars=True).items(), version)
        if not (lag := self.config.rollout.lag) or self.config.rollout.refresh == "in_flight":
            return self._ask_back(self.backend, self.learner.text_logprobs)
        self.proofs[version] = self.learner.text_logprobs(text_ids(self.policy))
        self.proofs.pop(version - lag - 1, None)
        return None

    def engines_at(self, version: int) -> tuple[RolloutBackend, float]:
        """Return the engines under the policy of a version, and how far they are off when asked back.

        Of weights that are taken in flight there is only the newest policy, which was asked at its sync (nan).
        """
        if self.config.rollout.refresh == "in_flight":
            return self.backend, float("nan")
        engines = cast("Engines", self.backend).at(version)
        return engines, self._ask_back(engines, lambda ids: self.proofs[version])

    def _ask_back(self, engine: RolloutBackend, own: Callable[[Sequence[int]], np.ndarray]) -> float:
        return ask_back(engine, self.policy, self.environment["rollout_precision"], own=own, before=self.said)

    def snapshot(self, state: dict[str, Any], *, copies: bool) -> Callable[[Path], None]:
        """Return what writes a checkpoint: the learner's, kept rows, and the policies that still sample.

        With `copies` it is the checkpoint of this moment, and may be written in another thread while training goes on.
        """
        learner, buffer = self.learner.snapshot(state, copies), copy.copy(self.buffer)
        own = {version: self.proofs[version].tolist() for version in sorted(self.proofs)[:-1]}
        paths = {version: cast("Engines", self.backend).path_of(version) for version in own}
        # An open file outlives its name, which the engines take away when training has gone on.
        policies = {(version, file.name): file.open("rb") for version in own for file in paths[version].iterdir()}

        def write(directory: Path) -> None:
            learner(directory)
            buffer.save(directory / TRAINER)
            for (version, name), content in policies.items():
                target = directory / POLICIES / str(version) / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with content, target.open("wb") as file:
                    shutil.copyfileobj(content, file)
            if own:
                (directory / POLICIES / "proofs.json").write_text(json.dumps(own), encoding="utf-8")

        return write

    def restore(self, directory: Path) -> None:
        """Take up what a snapshot has written, but for the policy's weights, which are there."""
        self.learner.restore(directory)
        self.buffer.restore(directory / TRAINER)
        if self.config.rollout.lag and (directory / POLICIES).is_dir():
            own = json.loads((directory / POLICIES / "proofs.json").read_text(encoding="utf-8"))
            for version, values in own.items():
                weights = StoredWeights(directory / POLICIES / version)
                cast("Engines", self.backend).publish(weights, int(version))
                self.proofs[int(version)] = np.array(values, dtype=np.float32)

    def close(self) -> None:
        """Release processes and memory."""
        self.running.close()


def learner_device(config: Config) -> torch.device:
    """Return the device of a learner. `auto` is a GPU where there is one, but the processor for a tiny model that this
    process alone trains: launching its operations takes longer than computing them (docs/performance.md)."""
    wanted, alone = config.learner.device, not (config.learner.sharded or config.cluster.engines)
    if wanted == "auto" and alone and config.rollout.backend == "native" and not is_object(config.model):
        sizes = [file.stat().st_size for file in Path(locate(config.model)).glob("*.safetensors")]
        wanted = "cpu" if 0 < sum(sizes) < 2 * SMALL_MODEL else wanted
    return pick_device(wanted)


def build_components(
    config: Config, say: Callable[[str], None], *, checkpoint: Path | None = None, inputs: Inputs | None = None
) -> Components:
    """Put a run's parts together. `checkpoint` is where to resume from instead of the configured model."""
    with ExitStack() as running:  # What has been started ends where another part cannot be.
        parts = _build(running, config, say, checkpoint, inputs or Inputs())
        return dataclasses.replace(parts, running=running.pop_all())


def _build(
    running: ExitStack, config: Config, say: Callable[[str], None], checkpoint: Path | None, inputs: Inputs
) -> Components:
    for argument, name, given in (("model", config.model, inputs.policy), ("data", config.data, inputs.problems)):
        if is_object(name) and given is None:
            recall(name, argument)
    device = learner_device(config)
    split = load_problems(config, say, inputs)
    template = prompter(config.template, system=config.prompt.system, special_tokens=config.prompt.special_tokens)
    half = "fp32" not in (config.learner.precision, config.rollout.precision) and not config.learner.sharded
    attention = pick_attention(config.learner.attention, device, half=half and device.type != "cpu")
    loads_on = device
    if config.learner.sharded:
        from simplerl.train.ranks import Ranks, spread

        ranks_here(config.learner.ranks, device, placed=bool(config.cluster.address))
        loads_on = torch.device("cpu")  # No GPU need have room for all of a model.
    given = inputs.policy  # It is trained in place, so its hash is taken before.
    # Who samples has the model in a process of its own: here nobody needs all of it.
    bare = config.learner.sharded and bool(config.cluster.engines) and not config.lora.rank and not given
    base_model = {"path": given.name, "sha256": weights_hash(given.model)} if given else locate_and_hash(config.model)
    read = functools.partial(load, device=loads_on, attention=attention, bare=bare)
    policy, reference = load_models(config, checkpoint, inputs, read, loads_on)
    bare = bool(files_of(policy.model))
    learns_in, samples_in = pick_precisions(config, policy.model.config, device)
    policy.check(list(config.sampling.stop_ids), "setting sampling.stop_ids")
    train, held_out, data_record = make_prompts(split, template, policy, config, say)
    config = with_steps_for(config, len(train), say)
    check_methods(config, [item.problem for item in train], say)
    sampled_from = policy
    if config.lora.rank:  # The sampler has the merged weights, of its own.
        sampled_from = dataclasses.replace(policy, model=copy.deepcopy(policy.model))
        shape = {name: getattr(config.lora, name) for name in ("rank", "alpha", "targets")}
        lora.add(policy.model, **shape, base=policy.name, seed=config.seed)
        if checkpoint:
            lora.restore(policy.model, checkpoint)
    learner = Learner(
        policy,
        config.algorithm,
        optimizer=config.optimizer,
        learner=config.learner,
        precision=learns_in,
        temperature=config.sampling.temperature,
        steps=config.steps,
        reference=reference,
        seed=config.seed,
        top_p=config.sampling.top_p,
        masked=config.sampling.mask_steps > 0,
        factors=config.cluster.engines > 0 and config.lora.send == "adapters",
    )
    if learner.note:
        say(learner.note)
    cluster = join_cluster(config, device, running, say)
    if config.learner.sharded:  # What is complete is the engine's from here on.
        plugins = [each.name for each in config.plugins]
        ranks = Ranks(config.learner.ranks, device, plugins=plugins, cluster=cluster)
        running.callback(ranks.close)
        learner = spread(learner, ranks)
        if bare and (note := begin_notice(split.train, template, policy, learner.text_logprobs)):
            say(note)
        elif not bare:
            sampled_from.model.to(device)
    options: dict[str, Any] = {"precision": samples_in, "max_rows": config.rollout.max_rows}
    backend = start_backend(config, sampled_from, say, device=device, cluster=cluster, **options)
    running.callback(backend.close)
    if config.rollout.refresh == "in_flight":
        say("rollout.refresh = in_flight: time decides which policy samples which token; no two runs will be the same")
    elif not backend.exact:
        say(f"rollout.backend = {config.rollout.backend} draws its own random numbers: no two runs will be the same")
    if config.sampling.mask_steps and (mask := learner.scorer.mask):
        cast("Any", backend).mask = open_backend("native", dataclasses.replace(policy, model=mask.model), **options)
    rollout, evaluation = rollouts(config, backend, policy.tokenizer)
    running.callback(rollout.verifier.close)
    running.callback(evaluation.verifier.close)
    own = config.rollout.backend != "native" or config.cluster.engines
    if config.learner.sharded and own and not bare:  # An engine with weights of its own has read it.
        sampled_from.model.to("cpu")
    return Components(
        config=config,
        policy=policy,
        sampler=Sampler(train, per_step=config.sampling.prompts_per_step, seed=config.seed),
        held_out=held_out,
        rollout=rollout,
        evaluation=evaluation,
        learner=learner,
        buffer=Store(
            config.buffer, config, lambda text: [*policy.encode(text), policy.end_token], policy.context_length
        ),
        environment={
            **describe_machine(device),
            "ranks": config.learner.ranks,
            "learner_precision": learns_in,
            "rollout_precision": samples_in,
            "attention": policy.model.config._attn_implementation,
            "parameters": sum(p.numel() for p in policy.model.parameters()),
            "trained_parameters": sum(p.numel() for p in policy.model.parameters() if p.requires_grad),
            "base_model": base_model,
            "reference": locate_and_hash(config.reference) if config.reference else None,
            **data_record,
        },
        running=running,
    )


def join_cluster(
    config: Config, device: torch.device, running: ExitStack, say: Callable[[str], None]
) -> "Cluster | None":
    """Return the cluster that places engines and ranks, where the configuration names one."""
    if not (address := config.cluster.address):
        return None
    from simplerl.rollout.cluster import Cluster

    first, here = device.index or 0, min(config.learner.ranks, torch.cuda.device_count())
    on_gpus = device.type == "cuda"
    cluster = Cluster(address, gpus=int(on_gpus), own_gpus=range(first, first + here) if on_gpus else (), say=say)
    running.callback(cluster.close)
    return cluster


def check_methods(config: Config, problems: Sequence[Problem], say: Callable[[str], None]) -> None:
    """Have what adapts to the data look at it, and say what the settings cannot do. Raises ConfigError, DataError."""
    prompt_sampler(config).check(config, problems)
    for note in (
        config.algorithm.advice(config.reference),
        config.transform.check(problems),
        config.buffer.check(problems),
    ):
        if note:
            say(note)


def rollouts(config: Config, backend: RolloutBackend, tokenizer: PreTrainedTokenizerBase) -> tuple[Rollout, Rollout]:
    """Return what samples and judges for training, and what does for evaluation, over one backend."""
    s, e, v = config.sampling, config.evaluation, config.verifier
    limits: dict[str, Any] = {"max_new_tokens": s.max_new_tokens, "stop": s.stop, "stop_ids": s.stop_ids}

    def verifier() -> VerifierPool:
        return VerifierPool(v.policy, workers=v.workers, timeout_s=v.timeout_s, lenient=v.lenient)

    rollout = Rollout(
        backend=backend,
        verifier=verifier(),
        reward=config.reward,
        sampling=Sampling(temperature=s.temperature, top_p=s.top_p, top_k=s.top_k, masked=s.mask_steps > 0, **limits),
        samples=s.samples_per_prompt,
        seed=config.seed,
        environment=config.environment,
        tokenizer=tokenizer,
    )
    # While steps are sampled in one thread, another evaluates: what only one may use at a time is there twice.
    own = {"verifier": verifier(), "tokenizer": copy.deepcopy(tokenizer)} if config.rollout.lag else {}
    drawn = Sampling(temperature=e.temperature, top_p=e.top_p, top_k=0, **limits)
    return rollout, dataclasses.replace(rollout, sampling=drawn, samples=e.samples, **own)


def start_backend(
    config: Config,
    policy: Policy,
    say: Callable[[str], None],
    *,
    device: torch.device,
    cluster: "Cluster | None",
    **options: Any,
) -> RolloutBackend:
    """Return what samples from a policy: in this process, or engines in others. `options` are the backend's."""
    name, size = config.rollout.backend, config.rollout.tensor_parallel
    if size > 1:
        cache_shares(policy.model.config, size)
        if not cluster:
            first = torch.device(device.type) if config.cluster.engines else device
            check_devices(size, first, "rollout.tensor_parallel", "worker")
        options["tensor_parallel"] = size
    if not config.cluster.engines:
        return open_backend(name, policy, **options)
    from simplerl.rollout.engines import Engines

    return Engines(
        name,
        policy,
        count=config.cluster.engines,
        timeout_s=config.cluster.timeout_s,
        keep=config.rollout.lag + 1,
        in_flight=config.rollout.refresh == "in_flight",
        plugins=[each.name for each in config.plugins],
        say=say,
        first_device=(device.index or 0) + config.learner.ranks,
        device=device,
        cluster=cluster,
        **options,
    )


def pick_precisions(config: Config, model: PretrainedConfig, device: torch.device) -> tuple[str, str]:
    """Return the precisions of (update, rollouts) on a device: what is asked for, or what is fast and agrees.

    On a CPU rollouts are fp32, and so is the update of a deep model: the rounding of bf16 grows from layer to layer
    to a mismatch of 4e-3 nats a token (270M parameters, 18 layers), and stays at 2e-6 in two (docs/log.md).
    """
    on_cpu = device.type == "cpu"
    deep = model.get_text_config().num_hidden_layers > SHALLOW_LAYERS
    learns_in, samples_in = config.learner.precision, config.rollout.precision
    if learns_in == "auto":
        learns_in = "bf16" if has_fast_bf16(device) and not (on_cpu and deep) else "fp32"
    if samples_in == "auto":
        samples_in = "fp32" if on_cpu else "bf16"
    return learns_in, samples_in


def load_models(
    config: Config, checkpoint: Path | None, inputs: Inputs, read: Callable[[str], Policy], device: torch.device
) -> tuple[Policy, PreTrainedModel | None]:
    """Return the policy and the model of the KL; None where there is no KL, or it is the policy as it starts.

    `read` loads a model by its name. Raises ModelError where the reference's tokens are not the policy's.
    """
    given, wanted = inputs.policy, config.algorithm.needs_reference
    if config.lora.rank:  # The checkpoint holds adapters; the model is what it was, and so is the reference.
        checkpoint = None
    elif checkpoint and lora.base_of(checkpoint):
        raise ModelError(f"{checkpoint} holds adapters, and this run trains all weights: it was changed")
    policy = given or read(str(checkpoint or config.model))
    reference: PreTrainedModel | None = None
    if wanted and config.reference:
        other = read(config.reference)
        theirs, ours = other.tokenizer.get_vocab(), policy.tokenizer.get_vocab()
        if theirs != ours:
            raise ModelError(
                f"the reference {config.reference!r} has another vocabulary than {policy.name!r}: {len(theirs)} and "
                f"{len(ours)} tokens, {len(theirs.items() & ours.items())} of them the same. A KL compares the same "
                "tokens: give --reference a model with the same tokenizer, or leave it out to compare with the "
                "starting model"
            )
        reference = other.model
    elif wanted and checkpoint:
        start = None if given else read(config.model)
        reference = start.model if start else copy.deepcopy(policy.model)
    if given:
        module: torch.nn.Module = given.model
        module.to(device)
        if checkpoint:
            module.load_state_dict(read(str(checkpoint)).model.state_dict())
    return policy, reference


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """The problems of a run, and what is to be recorded of how they were chosen."""

    train: list[Problem]
    held_out: list[Problem]
    shared: list[str]  # Ids left out of training because their question is held out
    read: dict[str, ProblemSet]
    """`train` and, where they are not a part of these, `held_out` → what was read: origin, rows that were left out."""


def with_steps_for(config: Config, problems: int, say: Callable[[str], None]) -> Config:
    """Return a configuration whose steps sample all the training problems, where these are fewer than it asks for."""
    if not 0 < problems < config.sampling.prompts_per_step:
        return config
    say(
        f"sampling.prompts_per_step = {config.sampling.prompts_per_step}, but there are only {problems} training "
        f"problems: each step samples all {problems}"
    )
    learner, per_update = config.learner, config.learner.prompts_per_update
    if per_update and problems % per_update:
        say(f"learner.prompts_per_update = {per_update} does not divide them: each step is one update")
        learner = dataclasses.replace(learner, prompts_per_update=0)
    return dataclasses.replace(
        config, sampling=dataclasses.replace(config.sampling, prompts_per_step=problems), learner=learner
    )


def load_problems(config: Config, say: Callable[[str], None], inputs: Inputs | None = None) -> Split:
    """Return the problems that the configuration (or the caller) asks for, saying what is left out of them."""
    options, inputs = config.dataset, inputs or Inputs()
    if inputs.problems is not None:
        read = {"train": select(inputs.problems, name="data", levels=options.levels, size=options.size)}
    else:
        chosen: dict[str, Any] = {"size": options.size, "seed": options.seed, "levels": options.levels}
        read = {"train": data.read(config.data, options.split, **chosen)}
    train = read["train"].problems
    size, source = config.evaluation.size, config.evaluation.data
    if inputs.held_out is not None:
        read["held_out"] = ProblemSet(problems=list(inputs.held_out)[: size or None])
    elif source:
        read["held_out"] = data.read(source, "test", size=size, seed=options.seed)
    elif inputs.problems is None and data.has_test_split(config.data):
        read["held_out"] = data.read(config.data, "test", size=size, seed=options.seed, levels=options.levels)
    else:
        count = config.evaluation.holdout or min(100, max(1, len(train) // 5))
        if count >= len(train):
            raise ConfigError(
                f"evaluation.holdout = {count} leaves nothing to train on: {config.data} has {len(train)} problems; "
                "set a smaller --evaluation.holdout, or --evaluation.data"
            )
        order = generator(options.seed, "holdout").permutation(len(train))
        held = set(order[:count].tolist())
        held_out = [train[i] for i in sorted(held)][: size or None]
        train = [item for i, item in enumerate(train) if i not in held]
    for what, problems in read.items():
        for note in problems.notes:
            say(f"{what.replace('_', '-')} data: {note} (all of them in environment.json)")
    held_out = read["held_out"].problems if "held_out" in read else held_out
    questions = {item.question for item in held_out}
    shared = [item.id for item in train if item.question in questions]
    if shared:
        say(
            f"{len(shared)} of {len(train)} training problems are held out too and are not trained on: "
            f"{first_few(shared)}"
        )
    if len(shared) == len(train):
        raise DataError(
            f"every training problem of {config.data} is also held out "
            f"({source or ('its test split' if 'held_out' in read else 'evaluation.holdout of them')}); give other "
            "problems with --evaluation.data, or leave it out"
        )
    return Split(
        train=[item for item in train if item.question not in questions],
        held_out=held_out,
        shared=shared,
        read=read,
    )


def fit(
    prompted: list[Prompted], limit: int, what: str, say: Callable[[str], None]
) -> tuple[list[Prompted], list[str]]:
    """Return (prompts within `limit` tokens, ids of the others), saying what was left out."""
    short = [item for item in prompted if 0 < len(item.prompt_ids) <= limit]
    long = [item.problem.id for item in prompted if not 0 < len(item.prompt_ids) <= limit]
    if long:
        longest = max(len(item.prompt_ids) for item in prompted)
        say(
            f"{len(long)} of {len(prompted)} {what} problems have prompts of more than {limit} tokens (up to {longest})"
            f" and are left out: {first_few(long)} (all of them in environment.json)"
        )
    if not short:
        raise DataError(
            f"all {len(prompted)} {what} prompts are longer than {limit} tokens, which is the smaller of "
            "sampling.max_prompt_tokens and what sampling.max_new_tokens leaves of the model's context "
            f"(shortest {min(len(item.prompt_ids) for item in prompted)}); change these, or choose another template"
        )
    return short, long


def make_prompts(
    split: Split, prompter: Prompter, policy: Policy, config: Config, say: Callable[[str], None]
) -> tuple[list[Prompted], list[Prompted], dict[str, Any]]:
    """Return (training, held-out) prompts that leave room for a response, and what environment.json says of the data.

    Raises ConfigError where none does.
    """
    for what, items in (("training", split.train), ("held-out", split.held_out)):
        for name, count in Counter(item.id for item in items).most_common(1):
            if count > 1:  # It addresses the random draws.
                raise DataError(f"{count} {what} problems have the id {name!r}; give each its own")
    room = policy.context_length - config.sampling.max_new_tokens
    if room < 1:
        raise ConfigError(
            f"sampling.max_new_tokens = {config.sampling.max_new_tokens} leaves no room for a prompt in the context of "
            f"{config.model} ({policy.context_length} tokens)"
        )
    limit = min(config.sampling.max_prompt_tokens, room)
    begins = None if files_of(policy.model) else begin_notice(split.train, prompter, policy)  # Else it is asked later.
    notes = difference(split.train, prompter, policy.tokenizer), begins
    for note in (*notes, policy.context_note and f"{policy.name}: {policy.context_note}"):
        if note:
            say(note)
    asked = {"environment": config.environment, "seed": config.seed}
    train, long_train = fit(prompt(split.train, prompter, policy, **asked), limit, "training", say)
    held_out, long_held_out = fit(prompt(split.held_out, prompter, policy, **asked), limit, "held-out", say)
    record = {
        "train": {"problems": len(train), "sha256": fingerprint(train)},
        "held_out": {"problems": len(held_out), "sha256": fingerprint(held_out)},
        "left_out_too_long": {"train": long_train, "held_out": long_held_out},
        "left_out_held_out": split.shared,
        "left_out_no_gold": {what: [item.place for item in read.left_out] for what, read in split.read.items()},
    }
    origin = {what: dict(read.origin) for what, read in split.read.items()}
    decisions = {what: dict(read.decisions) for what, read in split.read.items()}
    return train, held_out, {"data": record, "data_origin": origin, "data_decisions": decisions}
