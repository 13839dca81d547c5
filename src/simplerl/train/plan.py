"""What a run will take of each device, before it starts: bytes of the real step on fake tensors, seconds from rates.

The update is run on tensors without memory, with every allocation counted (torch's MemTracker), so that a change of the
scoring or of a model's code changes the plan. What is split over several GPUs, the engine's cache and the seconds are
sums that stand below. Several machines are a plan on paper: what runs today is said in docs/engines.md.
"""

import dataclasses
import functools
import itertools
import json
import math
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from simplerl.config.sections import Config
from simplerl.core.errors import ConfigError, ModelError, SimpleRLError
from simplerl.data.prompts import prompter
from simplerl.models import attention as grouped_attention
from simplerl.models import lora
from simplerl.models.device import SMALL_MODEL
from simplerl.models.load import cache_bytes, embeddings_of, load_tokenizer, locate, recompute_activations
from simplerl.models.score import CHUNK_ELEMENTS, Head, TokenScores, autocast
from simplerl.rollout.vllm import cache_shares, cache_tokens, divisions
from simplerl.train.components import load_problems, pick_precisions
from simplerl.train.learner import MOST_LANES, microbatch_tokens
from simplerl.train.ranks import KEEP_BELOW

SHAPES = tomllib.loads(Path(__file__).with_name("shapes.toml").read_text(encoding="utf-8"))
#: Share of a GPU that a plan may fill: the rest is CUDA's own, and what fragments.
USABLE = 0.92
#: Seconds of the native sampler for a token of all rows on a GPU, of 2 or 28 layers: it waits for launches (measured).
NATIVE_TOKEN_S = 0.04
#: Bytes a second at which a sampler in the learner's process takes its weights (assumed; an H200 copied 32e9), and at
#: which those for engines are written to shared memory and read from it (measured on a core of an AMD EPYC).
COPY_RATE, WRITE_RATE, READ_RATE = 50e9, 0.75e9, 2e9
#: GPUs of a machine: where there are more, engines are reached over the network.
MACHINE_GPUS = 8


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a plan is made for. Without GPUs: this processor and its memory."""

    gpus: int = 0
    memory_gib: float = 80.0
    """Of each GPU; without GPUs of the machine."""
    tflops: float = 990.0
    """Dense bf16 products of a GPU, in 10¹² operations a second: an H100's."""
    bandwidth: float = 3.35
    """TB/s of its memory."""
    network: float = 12.5
    """GB/s from the controller to engines on other machines: 100 Gbit/s."""
    learning: float = 0.4
    """Share of `tflops` that an update reaches."""
    decoding: float = 0.6
    """Share of `bandwidth` that decoding reaches."""
    response_tokens: int = 0
    """Mean length of a response; 0: a quarter of sampling.max_new_tokens."""
    engines: int = 0
    """How many sample; 0: as many as the GPUs come to."""
    apart: bool = False
    """Whether engines have GPUs of their own, which are not counted in `gpus`."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Bytes of one device by what they are for, and seconds of a step by phase (none without GPUs)."""

    machine: Machine
    parameters: int
    rows: int
    width: int  # Rows and columns of the largest micro-batch
    always: dict[str, int]  # What is held all the time
    learning: dict[str, int]  # What an update needs besides
    sampling: dict[str, int]  # What rollouts need besides
    seconds: dict[str, float]
    sync: str  # How the weights come to those who sample

    @property
    def peak(self) -> int:
        """The largest number of bytes at a time: of an update or of rollouts, which take turns or are on other GPUs."""
        always, learning, sampling = (sum(each.values()) for each in (self.always, self.learning, self.sampling))
        return max(always + learning, sampling + always * (not self.machine.apart))

    @property
    def fits(self) -> bool:
        """Whether it fits a device."""
        return self.peak <= self.machine.memory_gib * 2**30 * (USABLE if self.machine.gpus else 1.0)


def shape_of(name: str) -> PretrainedConfig:
    """Return a model's configuration: of the paper's models from a table, else from its files. Raises ModelError."""
    if name in SHAPES:
        table = dict(SHAPES[name])
        return AutoConfig.for_model(table.pop("model_type"), **table)
    source = locate(name)
    base = lora.base_of(Path(source))
    try:
        return AutoConfig.from_pretrained(locate(base) if base else source, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read the configuration of {name!r}: {str(error).splitlines()[0]}") from error


def update_bytes(*settings: Any) -> dict[str, int]:
    """Return the bytes that forward and backward hold at their peak, under fake tensors, and of the largest `layer`,
    and the numbers of parameters (`all`, `trained`). The settings are those of `_peaks`."""
    return max(_peaks(*settings), key=itemgetter("total"))


@functools.cache
def _peaks(
    shape: str,
    rows: int,
    width: int,
    precision: str,
    attention: str,
    checkpointing: bool,
    rank: int,
    targets: tuple[str, ...] = (),
) -> list[dict[str, int]]:
    """Return `update_bytes` until the backward pass has left the last layer, when all others' activations are held;
    until it enters the first; and from there on, when all others' gradients are.

    Where layers are alike the first and the third are linear in their number, which the largest is not, and nothing
    between them is larger than both.

    `shape` is a configuration as JSON. Every token counts as scored: which ones are is not known beforehand.
    """
    table = json.loads(shape)
    with FakeTensorMode():
        config = AutoConfig.for_model(table.pop("model_type"), **table)
        grouped = attention == grouped_attention.NAME
        given = {"attn_implementation": "eager" if grouped else attention, "dtype": torch.float32}
        model = AutoModelForCausalLM.from_config(config, **given)
        if grouped:
            model.set_attn_implementation(attention)
        size = sum(p.numel() for p in model.parameters())
        largest = _largest_layer(model)
        if rank:
            _adapt(model, rank, targets)
        if checkpointing:
            recompute_activations(model)
        model.train(checkpointing)
        tracker, head, peaks = MemTracker(), Head(model), list[dict[str, int]]()
        tracker.track_external(model)

        def note(*_: Any) -> None:
            peak = next(iter(tracker.get_tracker_snapshot("peak").values()))
            peaks.append({str(kind).rpartition(".")[2].lower(): int(bytes_) for kind, bytes_ in peak.items()})
            tracker._peak_mem.clear()

        def watch(_: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            if (hidden := [*given, *named.values()][0]).requires_grad:
                hidden.register_hook(note)

        layers = _layers(model)
        for layer in (layers[-1], layers[min(1, len(layers) - 1)]):
            layer.register_forward_pre_hook(watch, with_kwargs=True)
        tokens = torch.zeros(rows, width, dtype=torch.long)
        with tracker:
            with autocast(tokens.device, precision):
                hidden = model.base_model(input_ids=tokens, use_cache=False).last_hidden_state
            hidden_NH = hidden[:, :-1].reshape(-1, hidden.shape[-1])
            scores = (hidden_NH, head.weight, head.bias, head, tokens[:, 1:].reshape(-1), 1.0, False, 1.0, None)
            logprobs, entropy, _ = TokenScores.apply(*scores)
            del hidden, hidden_NH, scores
            (logprobs.sum() + entropy.sum()).backward()
        note()
        trained = sum(p.numel() for p in model.parameters())
        more = {"layer": largest, "all": size + trained * (rank > 0), "trained": trained}
        return [peak | more for peak in peaks]


def _layers(model: PreTrainedModel) -> list[torch.nn.Module]:
    return max((list(m) for m in model.modules() if isinstance(m, torch.nn.ModuleList)), key=len)


def _largest_layer(model: PreTrainedModel) -> int:
    """Return the bytes of the largest layer in fp32, the embedding among them."""
    largest = max(sum(p.numel() for p in layer.parameters()) for layer in _layers(model))
    return 4 * max(largest, embeddings_of(model) * model.config.get_text_config().hidden_size)


class _Adapted(torch.nn.Module):
    """A linear layer with an adapter, as peft computes it."""

    def __init__(self, base: torch.nn.Module, rank: int):
        super().__init__()
        outputs, inputs = base.weight.shape if isinstance(base, torch.nn.Linear) else reversed(base.weight.shape)
        self.base = base
        self.down = torch.nn.Linear(inputs, rank, bias=False)
        self.up = torch.nn.Linear(rank, outputs, bias=False)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.base(states) + self.up(self.down(states)) * 2.0


def _adapt(model: PreTrainedModel, rank: int, targets: Sequence[str]) -> None:
    """Freeze a model and put adapters beside linear layers as `lora.add` does: peft does not work on fake tensors."""
    model.requires_grad_(False)
    ends = tuple(f".{each}" for each in targets) or ("",)
    chosen = {f".{n}": m for n, m in model.base_model.named_modules() if lora.is_linear(m) and f".{n}".endswith(ends)}
    if not chosen:
        raise ConfigError(f"lora.targets = {', '.join(targets)}: {type(model).__name__} has no such linear layers")
    for name, layer in chosen.items():
        owner, _, last = name[1:].rpartition(".")
        setattr(model.base_model.get_submodule(owner), last, _Adapted(layer, rank))
    for module in model.modules():  # MemTracker takes every parameter for one with a gradient.
        for name, values in list(module.named_parameters(recurse=False)):
            if not values.requires_grad:
                delattr(module, name)
                module.register_buffer(name, values.detach(), persistent=False)


def stack_bytes(config: PretrainedConfig, *settings: Any) -> dict[str, int]:
    """Return `update_bytes` of a model, of a deep one from 2, 3 and 5 of its layers where they are alike.

    Where three points of a peak are not on a line all layers are counted.
    """
    table = config.to_diff_dict() | {"model_type": config.model_type}
    layers = config.get_text_config().num_hidden_layers
    kinds = getattr(config, "layer_types", None) or []

    def of(count: int) -> list[dict[str, int]]:
        cut = {"num_hidden_layers": count, **({"layer_types": kinds[:count]} if kinds else {})}
        return _peaks(json.dumps(table | cut, default=str, sort_keys=True), *settings)

    if layers > 8 and len(set(kinds)) <= 1 and config.get_text_config() is config and "num_hidden_layers" in table:
        peaks = list(zip(of(2), of(3), of(5), strict=True))[::2]
        if all(five[key] - three[key] == 2 * (three[key] - two[key]) for two, three, five in peaks for key in two):
            of_all = (
                {key: two[key] + (layers - 2) * (three[key] - two[key]) for key in two} for two, three, _ in peaks
            )
            return max(of_all, key=itemgetter("total"))
    return max(of(layers), key=itemgetter("total"))


def _size(config: PretrainedConfig) -> int:
    """Return the number of a model's parameters."""
    with torch.device("meta"):
        return sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())


def longest_prompt(config: Config) -> int:
    """Return the tokens of the longest training prompt, where model and data are on this machine; else the limit."""
    limit = config.sampling.max_prompt_tokens
    if not Path(locate(config.model)).is_dir():
        return limit
    template = prompter(config.template, system=config.prompt.system, special_tokens=config.prompt.special_tokens)
    try:
        tokenizer, problems = load_tokenizer(config.model), load_problems(config, lambda line: None).train
        longest = sorted(problems, key=lambda problem: len(problem.question))[-32:]
        return min(limit, max(len(template.ids(problem, tokenizer)) for problem in longest))
    except SimpleRLError:
        return limit


def make_plan(config: Config, machine: Machine, *, prompt_tokens: int = 0, held: int = 0) -> Plan:
    """Return the plan of a run. `prompt_tokens` is the longest prompt (0: looked for), `held` what the process has."""
    shape = shape_of(config.model)
    text, gpus, algorithm, s = shape.get_text_config(), machine.gpus, config.algorithm, config.sampling
    learns_in, samples_in = pick_precisions(config, shape, torch.device("cuda" if gpus else "cpu"))
    attention: str = config.learner.attention
    if attention == "auto" or attention.startswith("flash"):  # sdpa stands for flash: neither holds the scores.
        attention = "sdpa" if gpus else grouped_attention.NAME
    width = (prompt_tokens or longest_prompt(config)) + s.max_new_tokens
    width = min(width, getattr(text, "max_position_embeddings", None) or width)
    responses = s.prompts_per_step * s.samples_per_prompt
    model: Any = SimpleNamespace(config=shape)  # As much of it as its tokens depend on.
    tokens = config.learner.tokens_per_microbatch or (16384 if gpus else microbatch_tokens(model, torch.device("cpu")))
    rows = min(responses, max(1, tokens // width))
    checkpointing, rank = config.learner.gradient_checkpointing, config.lora.rank
    own = stack_bytes(shape, rows, width, learns_in, attention, checkpointing, rank, config.lora.targets)
    shards, weights, trained = max(1, gpus), 4 * own["all"], 4 * own["trained"]
    reference = 0 if rank or not algorithm.needs_reference else weights
    if algorithm.needs_reference and config.reference:  # Another model, be it a larger one.
        reference = 4 * _size(shape_of(config.reference))
    frozen = weights * (s.mask_steps > 0) + reference
    # A critic of adapters has a backbone of its own too.
    critic = weights + 2 * trained if algorithm.needs_critic else 0
    processes = 1 if gpus else config.learner.ranks  # On a CPU all ranks are in the same memory.
    # Weights, gradients, and what they are sent by: of a small model all at once.
    gathered = 3 * (weights if own["all"] < KEEP_BELOW else own["layer"])
    offload = bool(gpus) and config.learner.cpu_offload  # Shards, gradients and moments are in the CPU's memory.
    here = 0 if offload else 1
    copies_state = config.checkpoint.asynchronous  # On a GPU the copy is in the CPU's memory.
    always = {
        "processes": held * processes,
        "weights": here * (weights + frozen) // shards,
        "moments": here * 2 * trained // shards,
        "critic": here * (critic and critic + trained) // shards,
        "gathered from ranks": gathered * processes if offload or max(shards, processes) > 1 else 0,
        "checkpoint being written": 0 if gpus else (3 * trained + critic) * copies_state,
    }
    # Of a tiny model on a CPU several are computed at once (`Learner.lanes`), each with a gradient that is added then.
    alone = not (gpus or checkpointing or rank) and config.learner.ranks == 1 and own["all"] < SMALL_MODEL
    micros = -(-s.samples_per_prompt * (config.learner.prompts_per_update or s.prompts_per_step) // rows)
    lanes = min(MOST_LANES, torch.get_num_threads(), micros) if alone else 1
    backward = {
        "gradients": here * own["grad"] // shards if lanes == 1 else (lanes + 1) * trained,
        "activations and logits": lanes * processes * (own["total"] - own["param"] - own["buffer"] - own["grad"]),
    }
    # The optimizer's step is fused: it needs nothing but all gradients.
    learning = max(backward, {"gradients": here * trained // shards}, key=lambda parts: sum(parts.values()))
    wide = 2 if samples_in == "bf16" else 4
    cache = cache_bytes(shape, samples_in if gpus else "fp32")
    # The native sampler takes the learner's weights where they are complete, in its process, and as it wants them.
    shares = config.rollout.backend == "native" and wide == 4 and not (rank or config.learner.sharded or shards > 1)
    engines = config.cluster.engines
    engine = 0 if config.rollout.backend == "fake" or (shares and not engines) else wide * own["all"]
    if config.rollout.backend == "vllm":
        room = cache_tokens(getattr(text, "max_position_embeddings", width), config.rollout.max_rows) * cache
    else:  # Its room grows by half, and the rows of a step are at most so many.
        room = int(1.5 * min(config.rollout.max_rows, responses) * width * cache)
    logits = 4 * 4 * min(CHUNK_ELEMENTS, min(config.rollout.max_rows, responses) * text.vocab_size)
    if gpus:  # On a CPU the workers share its memory.
        split = config.rollout.tensor_parallel
        engine, room = engine // split, room // cache_shares(shape, split)
    sampling, kept = {"logits": logits}, {"engine": engine}
    (kept if config.rollout.backend == "vllm" else sampling)["cache"] = room  # vLLM's is there all the time.
    if engines and not gpus:  # Processes, and what is sent to them: a model, the policies in use, and a new one.
        sent = weights + (2 + config.rollout.lag) * sent_bytes(config, own, wide)
        kept, sampling = kept | sampling | {"engine": engines * (held + engine) + sent}, {}
    if machine.apart:
        kept, sampling = {}, kept | sampling
    sync, how = _sync(config, machine, own, wide)
    return Plan(
        machine=machine,
        parameters=own["all"],
        rows=rows,
        width=width,
        always=always | kept,
        learning=learning,
        sampling=sampling,
        seconds={**_seconds(config, machine, own["all"], trained, wide, cache, width), "sync": sync} if gpus else {},
        sync=how,
    )


def sent_bytes(config: Config, own: dict[str, int], wide: int) -> int:
    """Return the bytes of what each engine is sent at a sync: adapters in fp32, or weights, to vLLM as it has them."""
    if config.lora.rank and config.lora.send == "adapters":
        return 4 * own["trained"]
    return (wide if config.rollout.backend == "vllm" else 4) * (own["all"] - bool(config.lora.rank) * own["trained"])


def _sync(config: Config, machine: Machine, own: dict[str, int], wide: int) -> tuple[float, str]:
    """Return the seconds in which weights are with all that sample, and at which rates that is."""
    if not config.cluster.engines and (machine.engines or machine.gpus < 2):
        size = wide * own["all"]
        return size / COPY_RATE, f"{size / 1e9:.3g} GB copied at {COPY_RATE / 1e9:g} GB/s"
    size, engines = sent_bytes(config, own, wide), machine.engines or machine.gpus // config.rollout.tensor_parallel
    seconds, way = size / WRITE_RATE + size / READ_RATE, ""
    if config.cluster.address or machine.gpus > MACHINE_GPUS:
        seconds += engines * size / (machine.network * 1e9)
        way = f" sent to {engines} engines over a network of {machine.network:g} GB/s,"
    return seconds, (
        f"{size / 1e9:.3g} GB written to shared memory at {WRITE_RATE / 1e9:g} GB/s,{way} read by each engine at "
        f"{READ_RATE / 1e9:g} GB/s"
    )


def _seconds(
    config: Config, machine: Machine, parameters: int, trained: int, wide: int, cache: int, width: int
) -> dict[str, float]:
    """Return the seconds of a step from the rates of a machine; a response counts with its mean length."""
    s, algorithm = config.sampling, config.algorithm
    length = machine.response_tokens or max(1, s.max_new_tokens // 4)
    split = config.rollout.tensor_parallel
    responses, engines = s.prompts_per_step * s.samples_per_prompt, machine.engines or machine.gpus / split
    rows = min(config.rollout.max_rows, math.ceil(responses / engines))
    waves = responses / engines / rows
    # A token of all rows reads the weights once, and what each row has cached so far: half of it in the mean.
    read = (wide * parameters + rows * cache * (width - s.max_new_tokens + length / 2)) / split
    total = responses * (width - s.max_new_tokens + length)
    scored = (config.learner.prompts_per_update not in (0, s.prompts_per_step)) + algorithm.needs_reference
    passes = 2 * (2 + config.learner.gradient_checkpointing + scored) + 2 * (trained == 4 * parameters)
    critic = 8 if algorithm.needs_critic else 0
    token_s = read / (machine.bandwidth * 1e12 * machine.decoding)
    return {
        "rollout": waves * length * max(token_s, NATIVE_TOKEN_S if config.rollout.backend == "native" else 0),
        "update": total * parameters * (passes + critic) / (machine.gpus * machine.tflops * 1e12 * machine.learning),
    }


def _alternatives(config: Config, machine: Machine) -> Iterator[tuple[str, Config, Machine]]:
    """Yield changes, as one would type them, the fewest settings first: what changes nothing that is learned, then
    adapters, last more GPUs."""
    size, learner, few = config.rollout.tensor_parallel, config.learner, min(32, config.rollout.max_rows)
    parts = divisions(shape_of(config.model)) if config.rollout.backend == "vllm" else []
    settings: list[tuple[str, Any]] = [
        ("learner.gradient_checkpointing", True),
        *(("rollout.tensor_parallel", each) for each in parts if size < each <= machine.gpus),
        ("learner.tokens_per_microbatch", 1),
        ("rollout.max_rows", few),
        ("checkpoint.asynchronous", False),
        ("learner.cpu_offload", learner.cpu_offload or machine.gpus > 0),
    ]
    settings = [each for each in settings if _changed(config, *each) != config]
    adapters = [] if config.lora.rank else [("lora.rank", 32)]
    for more in ([], adapters):
        for count in range(len(settings) + 1):
            for chosen in itertools.combinations(settings, count):
                text = " ".join(f"--{key} {value}".replace("_", "-").lower() for key, value in (*chosen, *more))
                with suppress(ConfigError):  # Some do not go together.
                    other = functools.reduce(lambda config, each: _changed(config, *each), (*chosen, *more), config)
                    yield text, other, machine
    for times in (2, 4, 8, 16, 32, 64) if machine.gpus else ():
        gpus = machine.gpus * times
        asked = f"{gpus} GPUs" if machine.engines else f"--gpus {gpus}"
        text = f"{asked}, with --learner.ranks {gpus} --cluster.engines {gpus // size}"
        yield text, config, dataclasses.replace(machine, gpus=gpus)


def _changed(config: Config, key: str, value: Any) -> Config:
    section, _, name = key.partition(".")
    return dataclasses.replace(config, **{section: dataclasses.replace(getattr(config, section), **{name: value})})


def check(config: Config, machine: Machine, *, prompt_tokens: int = 0, held: int = 0) -> Plan:
    """Return a plan that fits. Raises ConfigError with the smallest change that would make it fit."""
    asked: dict[str, int] = {"prompt_tokens": prompt_tokens or longest_prompt(config), "held": held}
    plan = make_plan(config, machine, **asked)
    if plan.fits:
        return plan
    others = ((text, make_plan(other, where, **asked)) for text, other, where in _alternatives(config, machine))
    better = next((change for change in others if change[1].fits), None)
    device = f"a GPU of {machine.memory_gib:g} GiB" if machine.gpus else f"{machine.memory_gib:.1f} GiB of memory"
    largest = sorted({**plan.always, **plan.learning, **plan.sampling}.items(), key=lambda item: -item[1])[:3]
    named = ", ".join(f"{name} {size / 2**30:.1f}" for name, size in largest)
    advice = f"It fits with {better[0]} ({better[1].peak / 2**30:.1f} GiB)" if better else "Take a smaller model"
    raise ConfigError(
        f"the run does not fit: it needs {plan.peak / 2**30:.1f} GiB at its peak, of {device} ({named}). {advice}"
    )
