"""The configuration of a training run: what may stand in a recipe and after `--` on the command line.

Every key is a field of a dataclass below; the string under it is its documentation (docs/configuration.md is made
from these). Reading and checking is in `train/resolve.py`.
"""

from dataclasses import dataclass, field

from simplerl.algorithms import ALGORITHMS, GRPO, Algorithm
from simplerl.data.prompts import SPECIAL_TOKENS
from simplerl.diagnosis import RULES, thresholds
from simplerl.errors import ConfigError, nearest
from simplerl.rewards import Correctness


@dataclass(frozen=True, kw_only=True)
class DatasetConfig:
    """Which problems of the data set are trained on."""

    split: str = "train"
    """Split of a built-in or hub data set; files have none."""
    size: int = 0
    """Use only the first N problems (0: all; `arithmetic` generates 2,000)."""
    levels: tuple[int, ...] = ()
    """Difficulty levels to keep (empty: all)."""
    seed: int = 0
    """Seed of generated data (`arithmetic`), apart from the run's own."""


@dataclass(frozen=True, kw_only=True)
class PromptConfig:
    """What the template leaves open, the same in training and evaluation."""

    system: str = ""
    """System message of the template `chat`; empty: none."""
    special_tokens: str = "none"
    """`none`: the template is the whole prompt; `bos`: the begin-of-text token stands before it."""

    def __post_init__(self) -> None:
        _one_of("prompt.special_tokens", self.special_tokens, tuple(SPECIAL_TOKENS))


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """The rollouts that are learned from."""

    prompts_per_step: int = 32
    """Problems sampled in a step."""
    samples_per_prompt: int = 8
    """Responses to each problem: the group."""
    temperature: float = 1.0
    """Sampling temperature; the update scores tokens at the same temperature."""
    top_p: float = 1.0
    """Nucleus sampling; 1 is off."""
    top_k: int = 0
    """Only the k most likely tokens; 0 is off."""
    max_prompt_tokens: int = 1024
    """Problems with longer prompts are left out, counted and named."""
    max_new_tokens: int = 3072
    """Length at which a response is truncated."""
    stop: tuple[str, ...] = ()
    """Strings that end a response, the same in training and evaluation."""
    stop_ids: tuple[int, ...] = ()
    """Token ids that end a response besides the model's own end, the same in training and evaluation."""

    def __post_init__(self) -> None:
        _positive(self, "sampling", "prompts_per_step", "samples_per_prompt", "max_prompt_tokens", "max_new_tokens")
        if self.temperature <= 0:
            raise ConfigError(
                f"sampling.temperature must be positive to learn from samples, got {self.temperature}; "
                "greedy decoding (0) is for evaluation"
            )


@dataclass(frozen=True, kw_only=True)
class RolloutConfig:
    """Who samples."""

    backend: str = "native"
    """A name from `simplerl.rollout.BACKENDS`."""
    precision: str = "auto"
    """`fp32`, `bf16` (a copy of the weights in bf16) or `auto`: fp32 on a CPU, bf16 on a GPU."""
    max_rows: int = 512
    """Responses decoded at once by the native backend."""

    def __post_init__(self) -> None:
        _positive(self, "rollout", "max_rows")
        _one_of("rollout.precision", self.precision, ("auto", "fp32", "bf16"))


@dataclass(frozen=True, kw_only=True)
class VerifierConfig:
    """Who judges."""

    policy: str = "boxed"
    """How the final answer is found in a response: a name from `simplerl.verify.POLICIES`."""
    workers: int = 1
    """Processes for the answers that the exact fast path cannot decide; started when the first one comes."""
    timeout_s: float = 2.0
    """Seconds after which a judgement is killed and counted as `timeout`."""
    unfinished: str = "wrong"
    """`wrong` or `right`: an answer of the right value that leaves computing to the reader, such as 27-4 for 23."""
    restates: str = "wrong"
    """`wrong` or `right`: an answer of the right value that only restates an expression of the question."""

    def __post_init__(self) -> None:
        _positive(self, "verifier", "workers", "timeout_s")
        for name in ("unfinished", "restates"):
            _one_of(f"verifier.{name}", getattr(self, name), ("wrong", "right"))

    @property
    def lenient(self) -> tuple[str, ...]:
        """The rules that count as right although the answer is not finished."""
        return tuple(name for name in ("unfinished", "restates") if getattr(self, name) == "right")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW and its schedule."""

    lr: float = 5e-7
    """Peak learning rate."""
    beta1: float = 0.9
    """Decay of the gradient's running mean."""
    beta2: float = 0.999
    """Decay of its running square."""
    epsilon: float = 1e-8
    """Added to the root of the running square."""
    weight_decay: float = 0.01
    """Share of a weight (times the learning rate) taken off in an update."""
    grad_clip: float = 1.0
    """Largest gradient norm; larger gradients are scaled down to it."""
    schedule: str = "constant"
    """`constant`, `linear` (to 0) or `cosine` (to `min_lr_ratio`) over the run's steps, after the warm-up."""
    warmup_steps: int = 0
    """Steps of linear warm-up."""
    min_lr_ratio: float = 0.1
    """Where the cosine schedule ends, as a share of the peak."""

    def __post_init__(self) -> None:
        _positive(self, "optimizer", "lr", "epsilon", "grad_clip")
        _one_of("optimizer.schedule", self.schedule, ("constant", "linear", "cosine"))
        for name in ("weight_decay", "warmup_steps", "min_lr_ratio"):
            if getattr(self, name) < 0:
                raise ConfigError(f"optimizer.{name} must not be negative, got {getattr(self, name)}")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"optimizer.{name} must be in [0, 1), got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class LearnerConfig:
    """How an update is computed. Nothing here but `prompts_per_update` changes what is learned, rounding aside."""

    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1` … or `auto`: a GPU if there is one."""
    prompts_per_update: int = 0
    """Mini-batch, counted in problems; 0 is one update per step, which is on-policy."""
    tokens_per_microbatch: int = 0
    """Tokens (padding included) that go through the model at once; turn down when memory runs out. 0: 4,096 on a CPU
    (larger ones leave its cache and take longer), 16,384 on a GPU."""
    precision: str = "auto"
    """`fp32`, `bf16` (autocast over fp32 master weights) or `auto`: bf16 where it is fast."""
    attention: str = "auto"
    """`eager`, `sdpa`, `flash_attention_2` (padding-free) or `auto`: eager on a CPU, the best there is on a GPU."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third slower."""

    def __post_init__(self) -> None:
        _one_of("learner.precision", self.precision, ("auto", "fp32", "bf16"))
        for name in ("prompts_per_update", "tokens_per_microbatch"):
            if getattr(self, name) < 0:
                raise ConfigError(f"learner.{name} must not be negative, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Held-out accuracy: before the first step, every so often, and after the last."""

    every: int = 0
    """Steps between evaluations; 0 is before and after only."""
    data: str = ""
    """Data set or file to evaluate on. Empty: the test split, or `holdout` problems kept from the training file."""
    size: int = 250
    """Evaluate on the first N problems of it (0: all)."""
    holdout: int = 100
    """Problems kept from a training file that has no test split."""
    samples: int = 8
    """Responses to each problem."""
    temperature: float = 1.0
    """0 is greedy."""
    further_temperatures: tuple[float, ...] = ()
    """Evaluate at these temperatures too: the figures stand in the evaluation's file, the responses are not kept."""
    top_p: float = 1.0
    """Nucleus sampling; 1 is off."""

    def __post_init__(self) -> None:
        _positive(self, "evaluation", "samples", "holdout")
        for temperature in self.further_temperatures:
            if temperature < 0:
                raise ConfigError(f"evaluation.further_temperatures must not be negative, got {temperature}")
        for name in ("every", "size", "temperature"):
            if getattr(self, name) < 0:
                raise ConfigError(f"evaluation.{name} must not be negative, got {getattr(self, name)}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"evaluation.top_p must be in (0, 1], got {self.top_p}")


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """What is kept for resuming and for later evaluation."""

    every: int = 20
    """Steps between checkpoints; the last step is always saved."""
    keep: int = 3
    """Newest checkpoints to keep; 0 keeps all."""

    def __post_init__(self) -> None:
        _positive(self, "checkpoint", "every")
        if self.keep < 0:
            raise ConfigError(f"checkpoint.keep must not be negative, got {self.keep}")


@dataclass(frozen=True, kw_only=True)
class SFTConfig:
    """Supervised fine-tuning by `simplerl sft`, with the other settings of `optimizer`; `simplerl train` ignores it."""

    data: str = ""
    """Demonstrations: `arithmetic-long`, `arithmetic-short`, `arithmetic-restating`, a .jsonl, .json or .parquet file,
    or a hub data set (owner/name)."""
    split: str = "train"
    """Split of a hub data set; files have none."""
    size: int = 0
    """Use only the first N demonstrations (0: all; those of arithmetic generate 2,000)."""
    steps: int = 100
    """Updates."""
    batch_size: int = 64
    """Demonstrations in an update."""
    max_tokens: int = 8192
    """Prompt and response together; longer ones are left out, counted and named."""
    lr: float = 5e-6
    """Peak learning rate."""
    schedule: str = "cosine"
    """`constant`, `linear` (to 0) or `cosine` (to `optimizer.min_lr_ratio`), after the warm-up."""
    warmup_steps: int = 0
    """Steps of linear warm-up."""

    def __post_init__(self) -> None:
        _positive(self, "sft", "steps", "batch_size", "max_tokens", "lr")
        _one_of("sft.schedule", self.schedule, ("constant", "linear", "cosine"))
        if self.size < 0 or self.warmup_steps < 0:
            raise ConfigError("sft.size and sft.warmup_steps must not be negative")


@dataclass(frozen=True, kw_only=True)
class DoctorConfig:
    """The rules of `simplerl doctor` while the run goes on (docs/diagnosis.md). They change nothing that is learned."""

    action: str = "warn"
    """`off`; `warn`: say what is found, once; `stop`: end the run too, with a checkpoint, at a serious finding."""
    stop_on: tuple[str, ...] = ()
    """Rules whose finding ends the run under `stop`, serious or not. Empty: every serious finding does."""
    thresholds: tuple[str, ...] = ()
    """Thresholds other than the defaults, each `RULE.NAME=VALUE`; `simplerl doctor --rules` lists them."""

    def __post_init__(self) -> None:
        _one_of("doctor.action", self.action, ("off", "warn", "stop"))
        thresholds.parse(self.thresholds)
        for rule in self.stop_on:
            if rule not in RULES:
                raise ConfigError(f"doctor.stop_on: unknown rule {rule!r}; {nearest(rule, RULES)}")


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """Experiment trackers, off by default (extra `trackers`)."""

    trackers: tuple[str, ...] = ()
    """Any of Accelerate's: wandb, tensorboard, trackio, mlflow, comet_ml, aim, clearml, dvclive, swanlab."""
    project: str = "simplerl"
    """Project name at the tracker."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole run."""

    model: str = "cub-qwen"
    """A cub, a Hugging Face model directory, a hub name, or a run directory (its newest checkpoint)."""
    reference: str = ""
    """Model that a KL term compares with, of the same vocabulary; empty: `model` as it is at the start."""
    data: str = "arithmetic"
    """A built-in data set, a .jsonl, .json or .parquet file, or a hub data set (owner/name). After an `@`: the hub's
    revision, or a directory with a built-in data set's files."""
    template: str = "simple"
    """Prompt template: `plain`, `simple`, `qwen-boxed`, `qwen25-math-cot`, `chat` (the tokenizer's own), `from-data`
    (the prompts that the data brings), or a text file with `{input}` in it."""
    steps: int = 100
    """Rollout-and-update steps."""
    token_budget: int = 0
    """End the run after the step in which the response tokens sampled so far reach this number, so that runs can be
    compared at equal tokens; `steps` stays the upper limit. 0 is off."""
    seed: int = 0
    """Seed of everything that is drawn: order of problems and sampling noise."""
    output_dir: str = ""
    """Run directory; empty: runs/ and a name made from what the run is."""
    shuffle_rewards: bool = False
    """Control experiment: shuffle rewards among the responses of a step, so that there is nothing to learn."""
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    algorithm: Algorithm = field(default_factory=GRPO)
    """`name` from `simplerl.algorithms.ALGORITHMS`, and that algorithm's own keys."""
    reward: object = field(default_factory=Correctness)
    """`name` from `simplerl.rewards.REWARDS`, and that reward's own keys."""
    verifier: VerifierConfig = field(default_factory=VerifierConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    sft: SFTConfig = field(default_factory=SFTConfig)
    doctor: DoctorConfig = field(default_factory=DoctorConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        _positive(self, "", "steps")
        if self.token_budget < 0:
            raise ConfigError(f"token_budget must not be negative, got {self.token_budget}; 0 is off")
        if self.token_budget and self.optimizer.schedule != "constant":
            raise ConfigError(
                f"token_budget = {self.token_budget} ends the run at a step that is not known beforehand, and "
                f"optimizer.schedule = {self.optimizer.schedule!r} needs to know it; use the constant schedule"
            )
        if self.reference and not self.algorithm.needs_reference:
            raise ConfigError(
                f"reference = {self.reference!r}, but there is no KL to compare with it: give algorithm.kl_coef, or "
                "leave the reference out"
            )
        group, per_update = self.sampling.samples_per_prompt, self.learner.prompts_per_update
        name = next((name for name, kind in ALGORITHMS.items() if kind is type(self.algorithm)), "?")
        if group < 2 and self.algorithm.needs_group:
            raise ConfigError(
                f"sampling.samples_per_prompt = {group}, but algorithm {name} compares the samples of a problem with "
                "each other: give at least 2"
            )
        warmup = getattr(self.algorithm, "critic_warmup_steps", 0)
        if warmup >= self.steps:
            raise ConfigError(
                f"algorithm.critic_warmup_steps = {warmup}, but the run has {self.steps} steps: the policy would never "
                "move; give fewer of the former or more --steps"
            )
        responses, horizon = self.sampling.prompts_per_step * group, self.algorithm.kl_horizon
        if self.algorithm.kl_target > 0 and 5 * horizon <= responses:
            raise ConfigError(
                f"algorithm.kl_horizon = {horizon}, but a step has {responses} responses and can take a fifth of "
                f"{responses}/{horizon} off the KL coefficient at once, which would make it negative; give a horizon "
                f"of at least {responses}"
            )
        if per_update and self.sampling.prompts_per_step % per_update:
            raise ConfigError(
                f"learner.prompts_per_update = {per_update} must divide sampling.prompts_per_step = "
                f"{self.sampling.prompts_per_step}, so that every update is of one size"
            )


def _positive(section: object, path: str, *names: str) -> None:
    for name in names:
        if getattr(section, name) <= 0:
            key = f"{path}.{name}" if path else name
            raise ConfigError(f"{key} must be positive, got {getattr(section, name)}")


def _one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{key} must be one of {', '.join(allowed)}; got {value!r}")
