"""What is evaluated and how: models and checkpoints, what the user sets, and the protocol that comes of both.

SimpleRL-Zoo's protocol: base models greedily, trained ones at temperature 1.0 and top-p 0.95; 16,000 tokens; AIME24
also as the mean of 32 samples, which is asked for as `aime24@32` (any `NAME@N` is N samples at temperature 1.0, top-p
0.95, whatever the model is).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from simplerl.core.errors import ConfigError, RunError
from simplerl.data.prompts import Prompter, prompter
from simplerl.data.rows import SUFFIXES
from simplerl.evaluate.benchmarks import Loaded
from simplerl.rollout.backend import Sampling
from simplerl.runs.run import Run, is_run
from simplerl.runs.series import choose

#: Temperature and top-p of a base model, and of a trained one or of several samples.
GREEDY, SAMPLED = (0.0, 1.0), (1.0, 0.95)


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
    if path.parent.name == "checkpoints" and is_run(path.parents[1]):
        for target in _of_run(path.parents[1])[1:]:
            if Path(target.source).name == path.name:
                return [target]
    if not is_run(path):
        if steps:
            raise ConfigError(f"--steps chooses checkpoints of a run, and {name} is not a run directory")
        return [Target(label=path.name or name, source=name, step=None, config=recipe)]
    base, *saved = _of_run(path)
    if not saved:
        raise RunError(
            f"{path} has no checkpoints yet; evaluate its base model by name ({base.source}), or let it train to its "
            "first checkpoint (checkpoint.every)"
        )
    return choose(
        [base, *saved],
        steps or "first,last",
        lambda step, there: (
            f"{path} has no checkpoint of step {step}; it has {there} (0 is the base model; "
            "checkpoint.keep decides how many are kept)"
        ),
    )


def _of_run(path: Path) -> list[Target]:
    """Return the base model of a run, then its checkpoints by step."""
    run = Run(path)
    base = run.config.get("model")
    if not isinstance(base, str):
        raise RunError(f"{path / 'config.json'} is not a run's configuration: it names no model")
    sources = {0: base} | {checkpoint.step: str(checkpoint.path) for checkpoint in run.checkpoints}
    return [
        Target(label=f"{run.name}@{step}", source=source, step=step, config=run.config)
        for step, source in sources.items()
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What can be set. None leaves a choice to the protocol."""

    template: str | None = None  # Name or file; None: the run's or the recipe's
    stop: tuple[str, ...] | None = None  # Strings that end a response; None: the run's or the recipe's
    temperature: float | None = None
    top_p: float | None = None
    samples: int = 1
    max_tokens: int = 16_000
    policy: str | None = None  # Extraction policy; None: the benchmark's
    seed: int = 0
    limit: int = 0  # Only the first N problems of a benchmark; 0 is all
    ks: tuple[int, ...] = ()
    device: str = "auto"
    backend: str = "native"
    precision: str = "auto"
    max_rows: int = 512
    part: int = 512  # Responses between two saves

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
    """A model, problems, and everything that decides what an evaluation measures."""

    target: Target
    loaded: Loaded
    benchmark: str  # Name, with `@N` where its own number of samples was asked for
    samples: int
    sampling: Sampling
    template: str  # Name or file
    system: str
    special_tokens: str
    policy: str
    seed: int

    @property
    def shown(self) -> str:
        """A readable name of it."""
        s = self.sampling
        name = f"{Path(self.template).stem}_t{s.temperature:g}_p{s.top_p:g}_n{self.samples}_max{s.max_new_tokens}"
        return f"{name}_seed{self.seed}"

    @property
    def warning(self) -> str | None:
        """What to say where a run is evaluated with another prompt than it was trained with."""
        trained = self.target.config.get("template")
        if self.target.step is None or trained in (None, self.template):
            return None
        return (
            f"{self.target.label} was trained with template {trained!r} and is evaluated with {self.template!r}: the "
            "difference in prompts will be part of the difference in accuracy"
        )

    def prompter(self) -> Prompter:
        """Return what makes prompts of problems."""
        return prompter(self.template, system=self.system, special_tokens=self.special_tokens)

    def record(self, settings: Settings, *, hashes: Mapping[str, str], precision: str) -> dict[str, Any]:
        """Return what is written beside the result, and hashed into its name."""
        text = getattr(self.prompter().template, "text", None)
        return {
            "label": self.target.label,
            "model": self.target.source,
            "step": self.target.step,
            "weights_sha256": hashes["sha256"],
            "tokenizer_sha256": hashes["tokenizer_sha256"],
            "problems": len(self.loaded.problems),
            "data_sha256": self.loaded.sha256,
            "template": {
                "name": self.template,
                "text": text,
                "system": self.system,
                "special_tokens": self.special_tokens,
            },
            "sampling": asdict(self.sampling),
            **{name: getattr(self, name) for name in ("benchmark", "samples", "policy", "seed")},
            **{name: getattr(settings, name) for name in ("backend", "max_rows", "part")},
            "precision": precision,
        }


def protocol_for(target: Target, name: str, loaded: Loaded, settings: Settings) -> Protocol:
    """Return the protocol of a model on a benchmark: what is set, else what the paper does."""
    _, own_samples = split_name(name)
    samples = own_samples or settings.samples
    temperature, top_p = GREEDY if not target.step and samples == 1 else SAMPLED
    if settings.temperature is not None and not (settings.temperature == 0 and samples > 1):
        temperature, top_p = settings.temperature, 1.0 if settings.temperature == 0 else top_p
    own, prompts = target.config.get("sampling", {}), target.config.get("prompt", {})
    template = settings.template or target.config.get("template") or "simple"
    return Protocol(
        target=target,
        loaded=loaded,
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
