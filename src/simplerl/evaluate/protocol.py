"""How a model is evaluated: what the user sets, and the protocol that comes of it for one model and benchmark.

SimpleRL-Zoo's protocol: base models greedily, trained ones at temperature 1.0 and top-p 0.95; 16,000 tokens; AIME24
also as the mean of 32 samples, which is asked for as `aime24@32` (any `NAME@N` is N samples at temperature 1.0, top-p
0.95, whatever the model is).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from simplerl.core.errors import ConfigError
from simplerl.data.prompts import Prompter, prompter
from simplerl.data.rows import SUFFIXES
from simplerl.evaluate.benchmarks import Loaded
from simplerl.evaluate.targets import Target
from simplerl.rollout.backend import Sampling

#: Temperature and top-p of a base model, and of a trained one or of several samples.
GREEDY, SAMPLED = (0.0, 1.0), (1.0, 0.95)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What can be set. None leaves a choice to the protocol."""

    template: str | None = None
    """Name or file; None: the run's or the recipe's."""
    stop: tuple[str, ...] | None = None
    """Strings that end a response; None: the run's or the recipe's."""
    temperature: float | None = None
    top_p: float | None = None
    samples: int = 1
    max_tokens: int = 16_000
    policy: str | None = None
    """Extraction policy; None: the benchmark's."""
    seed: int = 0
    limit: int = 0
    """Only the first N problems of a benchmark; 0 is all."""
    ks: tuple[int, ...] = ()
    device: str = "auto"
    backend: str = "native"
    precision: str = "auto"
    max_rows: int = 512
    part: int = 512
    """Responses between two saves."""

    def __post_init__(self) -> None:
        for name in ("samples", "max_tokens", "max_rows", "part"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(self, name)}")
        if self.precision not in ("auto", "fp32", "bf16"):
            raise ConfigError(f"--precision must be auto, fp32 or bf16; got {self.precision!r}")
        if self.limit < 0:
            raise ConfigError(f"--limit must not be negative, got {self.limit}")
        if wrong := [k for k in self.ks if k < 1]:
            raise ConfigError(f"--k must be numbers from 1, got {wrong[0]}")
        if self.temperature == 0 and self.samples > 1:
            raise ConfigError(
                f"--samples {self.samples} at temperature 0 would give the same response {self.samples} times; set "
                "--temperature 1.0 (or leave it out), or --samples 1"
            )


def check_ks(ks: Sequence[int], samples: int, name: str) -> None:
    """Raise ConfigError, before anything is sampled, where a k is larger than the number of samples."""
    for k in ks:
        if k > samples:
            raise ConfigError(
                f"--k {k} needs at least {k} samples per problem, but {name} has {samples} (--samples, or NAME@N): "
                "pass@k is the chance that one of k samples is right, so it cannot be estimated from fewer"
            )


def split_name(name: str) -> tuple[str, int | None]:
    """Return (benchmark, samples) of `NAME@N`; samples is None without a number."""
    base, at, count = name.rpartition("@")
    if not at or Path(name).suffix in SUFFIXES:  # A file may have an @ in its name.
        return name, None
    if not base or not (count.isascii() and count.isdigit()) or int(count) < 1:
        raise ConfigError(f"benchmark {name!r}: after @ comes the number of samples, e.g. aime24@32")
    return base, int(count)


@dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """Everything that decides what an evaluation measures."""

    benchmark: str
    """Name, with `@N` where its own number of samples was asked for."""
    samples: int
    sampling: Sampling
    template: str
    """Name or file."""
    system: str
    special_tokens: str
    policy: str
    seed: int

    @property
    def shown(self) -> str:
        """A readable name of it."""
        s = self.sampling
        return (
            f"{Path(self.template).stem}_t{s.temperature:g}_p{s.top_p:g}_n{self.samples}_max{s.max_new_tokens}"
            f"_seed{self.seed}"
        )

    def prompter(self) -> Prompter:
        """Return what makes prompts of problems."""
        return prompter(self.template, system=self.system, special_tokens=self.special_tokens)

    def record(
        self, target: Target, loaded: Loaded, settings: Settings, *, hashes: Mapping[str, str], precision: str
    ) -> dict[str, Any]:
        """Return what is written beside the result, and hashed into its name."""
        text = getattr(self.prompter().template, "text", None)
        prompts = {"name": self.template, "text": text, "system": self.system, "special_tokens": self.special_tokens}
        return {
            "label": target.label,
            "model": target.source,
            "step": target.step,
            "weights_sha256": hashes["sha256"],
            "tokenizer_sha256": hashes["tokenizer_sha256"],
            "benchmark": self.benchmark,
            "problems": len(loaded.problems),
            "data_sha256": loaded.sha256,
            "template": prompts,
            "sampling": asdict(self.sampling),
            **{name: getattr(self, name) for name in ("samples", "policy", "seed")},
            "backend": settings.backend,
            "precision": precision,
            "max_rows": settings.max_rows,
            "part": settings.part,
        }


def protocol_for(target: Target, name: str, loaded: Loaded, settings: Settings) -> Protocol:
    """Return the protocol of a model on a benchmark: what is set, else what the paper does."""
    _, own_samples = split_name(name)
    samples = own_samples or settings.samples
    temperature, top_p = GREEDY if target.base and samples == 1 else SAMPLED
    if settings.temperature is not None and not (settings.temperature == 0 and samples > 1):
        temperature, top_p = settings.temperature, 1.0 if settings.temperature == 0 else top_p
    own, prompts = target.config.get("sampling", {}), target.config.get("prompt", {})
    template = settings.template or target.config.get("template") or "simple"
    return Protocol(
        benchmark=loaded.benchmark.name + ("" if own_samples is None else f"@{own_samples}"),
        samples=samples,
        sampling=Sampling(
            temperature=temperature,
            top_p=top_p if settings.top_p is None else settings.top_p,
            max_new_tokens=settings.max_tokens,
            stop=tuple(own.get("stop", ()) if settings.stop is None else settings.stop),
            stop_ids=tuple(own.get("stop_ids", ()) if settings.stop is None else ()),
        ),
        template=template,
        system=prompts.get("system", "") if template == "chat" else "",
        special_tokens=prompts.get("special_tokens", "none"),
        policy=settings.policy or loaded.benchmark.policy,
        seed=settings.seed,
    )


def template_differs(target: Target, protocol: Protocol) -> str | None:
    """Return a warning where a run is evaluated with another prompt than it was trained with."""
    trained = target.config.get("template")
    if target.step is None or trained is None or trained == protocol.template:
        return None
    return (
        f"{target.label} was trained with template {trained!r} and is evaluated with {protocol.template!r}: the "
        "difference in prompts will be part of the difference in accuracy"
    )
