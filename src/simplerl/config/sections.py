"""The configuration of a training run: what may stand in a recipe and after `--` on the command line.

Every key is a field of a dataclass below; the string under it is its documentation (docs/configuration.md and --help
are made from these). `core/settings.py` fills them and checks types and bounds; what several keys must agree on is
checked below each section.
From recipes and command lines to a `Config`, and back: `config/resolve.py`.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, dataclass_transform

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from simplerl.algorithms import ALGORITHMS
from simplerl.core.errors import ConfigError, Contradiction, nearest
from simplerl.core.registry import registry
from simplerl.environments import ENVIRONMENTS
from simplerl.rewards import REWARDS


@dataclass_transform(frozen_default=True, kw_only_default=True)
def section(cls: type) -> Any:
    """Make a class a section: frozen, keywords only."""
    return dataclass(frozen=True, kw_only=True)(cls)


Decay = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Rate = Annotated[float, Field(ge=0, le=1)]
PositiveInts = tuple[PositiveInt, ...]
NonNegativeInts = tuple[NonNegativeInt, ...]
Strings = tuple[str, ...]
Grid = Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]
Precision = Literal["auto", "fp32", "bf16"]
Schedule = Literal["constant", "linear", "cosine"]


@section
class DatasetConfig:
    """Which problems of the data set are trained on."""

    split: str = "train"
    """Split of a built-in or hub data set; files have none."""
    size: NonNegativeInt = 0
    """Use only the first N problems (0: all; `arithmetic` generates 2,000)."""
    levels: tuple[int, ...] = ()
    """Difficulty levels to keep (empty: all)."""
    seed: int = 0
    """Seed of generated data (`arithmetic`), apart from the run's own."""


@section
class PromptConfig:
    """What the template leaves open, the same in training and evaluation."""

    system: str = ""
    """System message of the template `chat`; empty: none."""
    special_tokens: Literal["auto", "none", "bos"] = "auto"
    """`none`: the template is the whole prompt; `bos`: the begin-of-text token stands before it; `auto`: `bos` where
    the tokenizer itself begins a text so. A model that was trained with the token may be lost without it."""


@section
class SamplingConfig:
    """The rollouts that are learned from."""

    prompts_per_step: PositiveInt = 32
    """Problems sampled in a step."""
    samples_per_prompt: PositiveInt = 8
    """Responses to each problem: the group."""
    temperature: PositiveFloat = 1.0
    """Sampling temperature; the update scores tokens at the same temperature. Greedy decoding (0) is for evaluation."""
    top_p: Share = 1.0
    """Nucleus sampling; 1 is off."""
    mask_steps: NonNegativeInt = 0
    """Whose nucleus top_p means: 0, the policy's own; else that of a copy of it, renewed every so many steps (NLPO)."""
    top_k: int = 0
    """Only the k most likely tokens; 0 is off."""
    controller: Literal["none", "query-effect", "e3", "adastar"] = "none"
    """Another way to say `sampler.name`: none, `query-effect`, `e3` or `adastar`."""
    controller_every: PositiveInt = 10
    """Steps between two searches of the controller `query-effect`: its `sampler.every`."""
    gate: tuple[Literal["signal", "std", "some-right"], ...] = ()
    """Which groups are trained on: those that pass each of `signal` (rewards that differ), `std` (rewards whose
    standard deviation is at least `gate_std`) and `some-right` (a response that is right). Empty: all."""
    gate_std: NonNegativeFloat = 0.05
    """Standard deviation of a group's rewards below which the gate `std` keeps it out."""
    max_prompt_tokens: PositiveInt = 1024
    """Problems with longer prompts are left out, counted and named."""
    max_new_tokens: PositiveInt = 3072
    """Length at which a response is truncated."""
    stop: Strings = ()
    """Strings that end a response, the same in training and evaluation."""
    stop_ids: tuple[int, ...] = ()
    """Token ids that end a response besides the model's own end, the same in training and evaluation."""


@section
class RolloutConfig:
    """Who samples."""

    backend: str = "native"
    """`native`, `vllm` (extra `vllm`, docs/engines.md), `fake`, or a plug-in's."""
    precision: Precision = "auto"
    """`fp32`, `bf16` (a copy of the weights in bf16; on a CPU of the linear layers) or `auto`: fp32 on a CPU, bf16 on a
    GPU."""
    max_rows: PositiveInt = 512
    """Responses decoded at once."""
    tensor_parallel: PositiveInt = 1
    """Devices over which vLLM splits a model, each engine its own (vLLM's `tensor_parallel_size`): its attention heads
    and intermediate size are divided by it (docs/engines.md)."""
    lag: NonNegativeInt = 0
    """Steps by which the policy that samples may be behind the one that is trained, so that engines go on while the
    learner computes (docs/engines.md). 0: each step is sampled by the policy that it trains. More needs engines of
    their own (`cluster.engines`) and a correction (`algorithm.correction`); `simplerl train` only."""
    refresh: Literal["step", "in_flight"] = "step"
    """When engines that sample ahead take new weights. `step`: one policy samples all of a step. `in_flight`: at once,
    under running responses, whose further tokens are those of the new policy (docs/engines.md). Then time decides which
    policy samples which token: no two runs are the same."""


@section
class ClusterConfig:
    """Processes beside this one (docs/engines.md). Nothing here changes what is learned, rounding aside."""

    engines: NonNegativeInt = 0
    """Processes that sample, each with the backend that `rollout.backend` names; on GPUs each has one (or
    `rollout.tensor_parallel`), after those of the learner where there are enough. 0: this process samples."""
    address: str = ""
    """Ray cluster that places the engines, and those ranks of the learner for which this machine has no GPU (on CPUs
    all but the first) (extra `ray`): `auto` or `host:port` of one that runs, `local` for one that is started here.
    Empty: all run on this machine, without Ray."""
    timeout_s: PositiveFloat = 600.0
    """Seconds after which an engine that owes responses and has finished none counts as hung, and is replaced."""


@section
class VerifierConfig:
    """Who judges."""

    policy: str = "boxed"
    """How the final answer is found in a response: a name from `simplerl.verify.POLICIES`."""
    workers: PositiveInt = 1
    """Processes for the answers that the exact fast path cannot decide; started when the first one comes."""
    timeout_s: PositiveFloat = 2.0
    """Seconds after which a judgement is killed and counted as `timeout`."""
    unfinished: Literal["wrong", "right"] = "wrong"
    """`wrong` or `right`: an answer of the right value that leaves computing to the reader, such as 27-4 for 23."""
    restates: Literal["wrong", "right"] = "wrong"
    """`wrong` or `right`: an answer of the right value that only restates an expression of the question."""

    @property
    def lenient(self) -> tuple[str, ...]:
        """The rules that count as right although the answer is not finished."""
        return tuple(name for name in ("unfinished", "restates") if getattr(self, name) == "right")


@section
class OptimizerConfig:
    """AdamW and its schedule."""

    lr: PositiveFloat = 5e-7
    """Peak learning rate."""
    beta1: Decay = 0.9
    """Decay of the gradient's running mean."""
    beta2: Decay = 0.999
    """Decay of its running square."""
    epsilon: PositiveFloat = 1e-8
    """Added to the root of the running square."""
    weight_decay: NonNegativeFloat = 0.01
    """Share of a weight (times the learning rate) taken off in an update."""
    grad_clip: PositiveFloat = 1.0
    """Largest gradient norm; larger gradients are scaled down to it."""
    schedule: Schedule = "constant"
    """`constant`, `linear` (to 0) or `cosine` (to `min_lr_ratio`) over the run's steps, after the warm-up."""
    warmup_steps: NonNegativeInt = 0
    """Steps of linear warm-up."""
    min_lr_ratio: NonNegativeFloat = 0.1
    """Where the cosine schedule ends, as a share of the peak."""


@section
class LearnerConfig:
    """How an update is computed. Nothing here but `prompts_per_update` changes what is learned, rounding aside."""

    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1` … or `auto`: a GPU if there is one, but the processor for a model of a few million
    parameters, which is faster there."""
    ranks: PositiveInt = 1
    """Processes that each hold a share of weights, gradients and moments (FSDP2) and compute a share of the batch; on
    GPUs each has one (docs/engines.md). 1: this process alone."""
    restarts: NonNegativeInt = 3
    """How often a run goes on by itself from its newest checkpoint after a rank has ended, counted anew from each."""
    prompts_per_update: NonNegativeInt = 0
    """Mini-batch, counted in problems; 0 is one update per step, which is on-policy."""
    tokens_per_microbatch: NonNegativeInt = 0
    """Tokens (padding included) that go through the model at once; turn down when memory runs out. 0: 16,384 on a GPU;
    on a CPU 4,096 (larger ones leave its cache and take longer), or what keeps a large model near 1 GiB."""
    precision: Precision = "auto"
    """`fp32`, `bf16` (autocast over fp32 master weights) or `auto`: bf16 where it is fast, but for a deep model on a
    CPU, whose sampler in fp32 would disagree with it."""
    attention: Literal["auto", "eager", "grouped", "sdpa", "flash_attention_2"] = "auto"
    """`eager`, `grouped` (eager without its copies), `sdpa`, `flash_attention_2` (padding-free) or `auto`: grouped on a
    CPU, the best there is on a GPU."""
    share_prompts: Literal["auto", "on", "off"] = "auto"
    """Compute a prompt once for all its responses in an update: `on`, `off` or `auto`, where it saves at least 30% of
    the tokens. Long prompts and many samples gain most. Where all prompts of an update fit half a micro-batch they are
    computed before the responses, else with those of each micro-batch, which pays where a model is not tiny."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third slower."""
    cpu_offload: bool = False
    """Keep weights, gradients and moments in the memory of the CPU, from where a GPU takes a layer at a time. On a CPU
    they are there anyway."""

    @property
    def sharded(self) -> bool:
        """Whether the learner is split over ranks, be it only one."""
        return self.ranks > 1 or self.cpu_offload


@section
class LoRAConfig:
    """Training of small matrices beside a frozen model's linear layers (extra `lora`, docs/engines.md)."""

    rank: NonNegativeInt = 0
    """Rank of the matrices, 32 for instance; 0: the model itself is trained."""
    alpha: NonNegativeFloat = 0.0
    """What they add is scaled by `alpha` over `rank`; 0: twice the rank."""
    targets: Strings = ()
    """Names of the linear layers that have them (`q_proj,v_proj`); empty: all but the head."""
    send: Literal["adapters", "merged"] = "adapters"
    """What engines are sent: the adapters, which each adds to a copy of the model, or all weights of the sum."""


@section
class EvaluationConfig:
    """Held-out accuracy: before the first step, every so often, and after the last."""

    every: NonNegativeInt = 0
    """Steps between evaluations; 0 is before and after only."""
    data: str = ""
    """Data set or file to evaluate on. Empty: the test split, or `holdout` problems kept from the training file."""
    size: NonNegativeInt = 250
    """Evaluate on the first N problems of it (0: all)."""
    holdout: NonNegativeInt = 0
    """Problems kept from a training file that has no test split. 0: 100, but at most a fifth of the file."""
    samples: PositiveInt = 8
    """Responses to each problem."""
    temperature: NonNegativeFloat = 1.0
    """0 is greedy."""
    further_temperatures: tuple[NonNegativeFloat, ...] = ()
    """Evaluate at these temperatures too (0: greedily, one response a problem): the figures stand in the evaluation's
    file, the responses are not kept."""
    top_p: Share = 1.0
    """Nucleus sampling; 1 is off."""


@section
class CheckpointConfig:
    """What is kept for resuming and for later evaluation."""

    every: PositiveInt = 20
    """Steps between checkpoints; the last step is always saved."""
    keep: NonNegativeInt = 3
    """Newest checkpoints to keep; 0 keeps all."""
    asynchronous: bool = False
    """Train on while a checkpoint is written. It is copied first: 12 bytes a parameter of the CPU's memory."""


@section
class SFTConfig:
    """Supervised fine-tuning by `simplerl sft`, with the other settings of `optimizer`; `simplerl train` ignores it."""

    data: str = ""
    """Demonstrations: `arithmetic-long`, `arithmetic-short`, `arithmetic-restating`, a .jsonl, .json or .parquet file,
    or a hub data set (owner/name)."""
    split: str = "train"
    """Split of a hub data set; files have none."""
    size: NonNegativeInt = 0
    """Use only the first N demonstrations (0: all; those of arithmetic generate 2,000)."""
    steps: PositiveInt = 100
    """Updates."""
    batch_size: PositiveInt = 64
    """Demonstrations in an update."""
    max_tokens: PositiveInt = 8192
    """Prompt and response together; longer ones are left out, counted and named."""
    lr: PositiveFloat = 5e-6
    """Peak learning rate."""
    schedule: Schedule = "cosine"
    """`constant`, `linear` (to 0) or `cosine` (to `optimizer.min_lr_ratio`), after the warm-up."""
    warmup_steps: NonNegativeInt = 0
    """Steps of linear warm-up."""


@section
class StarConfig:
    """Self-training by `simplerl star`, whose iterations are the steps of the run; in `simplerl train` only the sampler
    `query-effect` reads it, for its search."""

    mode: Literal["rest-em", "iterative-rft", "online-rft", "b-star"] = "b-star"
    """What an iteration inherits: nothing (`rest-em`: it starts from the base model), the weights (`iterative-rft`),
    optimizer and learning-rate schedule too (`online-rft`, `b-star`). Under `b-star` temperature and threshold are
    chosen anew each time."""
    updates: PositiveInt = 500
    """Updates in an iteration."""
    batch_size: PositiveInt = 128
    """Responses in an update."""
    threshold: float = 0.0
    """Responses of a higher reward are selected; `b-star` chooses it."""
    temperatures: Grid = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2)
    """The temperatures that `b-star` chooses from."""
    thresholds: Annotated[tuple[float, ...], Field(min_length=1)] = tuple(i / 10 for i in range(-10, 11))
    """The thresholds that it chooses from."""
    subset: PositiveInt = 600
    """Training problems on which it does: the same in every iteration."""
    wanted: NonNegativeInt = 0
    """n* of the query effect: unique right responses wanted for a problem. 0: updates × batch_size / prompts_per_step,
    rounded up."""
    s: PositiveInt = 4
    """S of the figures Pass@K-S and Reward@K-S of an iteration; K is `sampling.samples_per_prompt`."""
    prm: str = ""
    """Directory of a process reward model (`simplerl prm train`): the lowest score of a response's steps, divided by
    `prm_scale` and held within ±1, is added to its reward. Empty: none."""
    prm_scale: PositiveFloat = 5.0
    """What the logit of a step is divided by."""
    demonstrations: str = ""
    """Given responses (as for `sft.data`) that are imitated in every iteration besides the model's own; empty: none."""


@section
class JudgeConfig:
    """The model that judges, for the rewards that ask one (docs/rewards.md); no other run asks it."""

    model: str = ""
    """Its name at the endpoint."""
    base_url: str = "http://127.0.0.1:8000/v1"
    """Address of an OpenAI-compatible endpoint."""
    api_key_env: str = ""
    """Environment variable that holds the key; empty: the endpoint needs none."""
    concurrency: PositiveInt = 8
    """Requests at a time."""
    timeout_s: PositiveFloat = 60.0
    """Seconds of silence that end a request."""
    deadline_s: PositiveFloat = 300.0
    """Seconds for the judgements of a problem's samples; those that come later are undecided."""
    price_in: NonNegativeFloat = 0.0
    """Price of a million tokens of requests, for the estimate and the budget."""
    price_out: NonNegativeFloat = 0.0
    """Price of a million tokens of answers."""
    budget: NonNegativeFloat = 0.0
    """What the run may spend; before it would spend more it ends, to be resumed with a larger one. 0: no limit."""

    def __post_init__(self) -> None:
        if self.budget and not (self.price_in or self.price_out):
            raise ConfigError(f"judge.budget = {self.budget:g} needs prices: give judge.price_in and judge.price_out")


@section
class DoctorConfig:
    """The rules of `simplerl doctor` while the run goes on (docs/doctor.md). They change nothing that is learned."""

    action: Literal["off", "warn", "stop"] = "warn"
    """`off`; `warn`: say what is found, once; `stop`: end the run too, with a checkpoint, at a serious finding."""
    stop_on: Strings = ()
    """Rules whose finding ends the run under `stop`, serious or not. Empty: every serious finding does."""
    thresholds: Strings = ()
    """Thresholds other than the defaults, each `RULE.NAME=VALUE`; `simplerl doctor --rules` lists them."""

    def __post_init__(self) -> None:
        if self.stop_on or self.thresholds:  # Only then: the rules read runs, and need what reads them.
            from simplerl.doctor.rule import RULES, parse_thresholds

            parse_thresholds(self.thresholds)
            for rule in self.stop_on:
                if rule not in RULES:
                    raise ConfigError(f"doctor.stop_on: unknown rule {rule!r}; {nearest(rule, RULES)}")


@section
class TrackingConfig:
    """Experiment trackers, off by default (extra `trackers`)."""

    trackers: Strings = ()
    """Any of Accelerate's: wandb, tensorboard, trackio, mlflow, comet_ml, aim, clearml, dvclive, swanlab."""
    project: str = "simplerl"
    """Project name at the tracker."""


@dataclass(frozen=True)
class PluginConfig:
    """A plug-in of the run."""

    name: str
    """The path of a file, or the name of a module."""
    sha256: str = ""
    """Of its source, as it was loaded."""


@section
class Config:
    """A complete run."""

    model: str = "cub-hasty"
    """A cub, a Hugging Face model directory, a hub name, or a run directory (its newest checkpoint)."""
    reference: str = ""
    """Model that a KL term compares with, of the same vocabulary; empty: `model` as it is at the start."""
    data: str = "arithmetic"
    """A built-in data set, a .jsonl, .json or .parquet file, or a hub data set (owner/name). After an `@`: the hub's
    revision, or a directory with a built-in data set's files."""
    template: str = "simple"
    """Prompt template: `plain`, `simple`, `qwen-boxed`, `qwen25-math-cot`, `three-shot`, `chat` (the tokenizer's own),
    `from-data` (the prompts that the data brings), or a text file with `{input}` in it."""
    steps: PositiveInt = 100
    """Rollout-and-update steps."""
    token_budget: NonNegativeInt = 0
    """End the run after the step in which the response tokens sampled so far reach this number, so that runs can be
    compared at equal tokens; `steps` stays the upper limit. 0 is off."""
    seed: int = 0
    """Seed of everything that is drawn: order of problems and sampling noise."""
    output_dir: str = ""
    """Run directory; empty: runs/ and a name made from what the run is."""
    plugins: tuple[PluginConfig, ...] = ()
    """Files or modules of yours to load first: what they register can be named here (docs/extending.md). The SHA-256 of
    each is recorded, and a plug-in that has changed since is said when the run is resumed."""
    shuffle_rewards: bool = False
    """Control experiment: shuffle rewards among the responses of a step, so that there is nothing to learn."""
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    algorithm: Any = field(default_factory=lambda: ALGORITHMS["grpo"]())
    """`name` from `simplerl.algorithms.ALGORITHMS`, and that algorithm's own keys."""
    reward: Any = field(default_factory=lambda: REWARDS["correctness"]())
    """`name` from `simplerl.rewards.REWARDS`, and that reward's own keys."""
    environment: Any = field(default_factory=lambda: ENVIRONMENTS["single-turn"]())
    """What the policy acts in: `name` from `simplerl.environments.ENVIRONMENTS` or `file.py:Class`, and its own keys
    (docs/environments.md)."""
    sampler: Any = field(default_factory=lambda: registry("sampler")["epoch"]())
    """What chooses a step's problems: `name` from `simplerl.train.SAMPLERS`, and that sampler's own keys
    (docs/methods.md)."""
    transform: Any = field(default_factory=lambda: registry("transform")["none"]())
    """What puts prefixes behind the prompts of a step: `name` from `simplerl.train.TRANSFORMS`, and its own keys
    (docs/methods.md)."""
    buffer: Any = field(default_factory=lambda: registry("buffer")["none"]())
    """What is kept for later steps: `name` from `simplerl.train.BUFFERS`, and its own keys (docs/methods.md)."""
    verifier: VerifierConfig = field(default_factory=VerifierConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    lora: LoRAConfig = field(default_factory=LoRAConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    sft: SFTConfig = field(default_factory=SFTConfig)
    star: StarConfig = field(default_factory=StarConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    doctor: DoctorConfig = field(default_factory=DoctorConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        """Raise Contradiction where settings of several sections cannot all hold: `resolve` may let one follow."""
        self._check_what_is_sampled()
        self._check_engines()
        self._check_updates()

    def _check_what_is_sampled(self) -> None:
        algorithm, group = self.algorithm, self.sampling.samples_per_prompt
        name = ALGORITHMS.name_of(type(algorithm)) or type(algorithm).__name__
        sampler, controller = registry("sampler").name_of(type(self.sampler)), self.sampling.controller
        if controller != "none" and sampler != "epoch":
            raise Contradiction(
                f"sampling.controller = {controller!r} and sampler.name = {sampler!r} both choose a step's problems; "
                "leave one of them out",
                ("sampling.controller", "none"),
            )
        if group < 2 and algorithm.needs_group:
            raise Contradiction(
                f"sampling.samples_per_prompt = {group}, but algorithm {name} compares the samples of a problem with "
                "each other: give at least 2",
                ("sampling.samples_per_prompt", 8),
            )
        if (k := getattr(algorithm, "k", 0)) >= group:
            raise Contradiction(
                f"algorithm.k = {k}, but a problem has only sampling.samples_per_prompt = {group} responses: pass@k of "
                "all of them gives no sample more credit than another; give a smaller k, or more samples",
                ("algorithm.k", group - 1),
                ("sampling.samples_per_prompt", 2 * k),
            )
        if self.prompt.system and self.template != "chat":
            raise Contradiction(
                f"a system message is for template 'chat'; {self.template!r} has its own text (prompt.system)",
                ("prompt.system", ""),
            )

    def _check_engines(self) -> None:
        apart = self.cluster.engines or self.learner.sharded or self.rollout.backend != "native"
        if (every := self.sampling.mask_steps) and (apart or self.lora.rank or self.sampling.top_p == 1):
            raise ConfigError(
                f"sampling.mask_steps = {every}: sampler and learner ask one copy of the policy for its nucleus; give "
                "--sampling.top-p below 1 and --rollout.backend native, without engines, ranks or adapters, or "
                "--sampling.mask-steps 0"
            )
        if (size := self.rollout.tensor_parallel) > 1 and (backend := self.rollout.backend) in ("native", "fake"):
            raise Contradiction(
                f"rollout.tensor_parallel = {size}: rollout.backend = {backend!r} does not split a model; give "
                "--rollout.backend vllm, or --rollout.tensor-parallel 1",
                ("rollout.tensor_parallel", 1),
            )
        if self.cluster.address and not self.cluster.engines and self.learner.ranks == 1:
            raise ConfigError(
                f"cluster.address = {self.cluster.address!r} places engines and ranks, and there are none: give "
                "--cluster.engines 1 or --learner.ranks 2"
            )
        if (lag := self.rollout.lag) and not self.cluster.engines:
            raise ConfigError(
                f"rollout.lag = {lag}: to sample while the learner computes takes engines of their own; give "
                "--cluster.engines 1, or leave the lag at 0"
            )
        if self.rollout.refresh == "in_flight" and not lag:
            raise ConfigError(
                "rollout.refresh = 'in_flight' with rollout.lag = 0: no response is running when weights change; give "
                "--rollout.lag 1, or leave the refresh at step"
            )
        if lag and self.algorithm.correction == "none":
            raise ConfigError(
                f"rollout.lag = {lag} with algorithm.correction = 'none': responses would be those of an older policy, "
                "and the gradient that of neither; give --algorithm.correction truncated (or token-mask, "
                "sequence-mask), or leave the lag at 0"
            )

    def _check_updates(self) -> None:
        algorithm, per_step, group = self.algorithm, self.sampling.prompts_per_step, self.sampling.samples_per_prompt
        if self.token_budget and self.optimizer.schedule != "constant":
            raise Contradiction(
                f"token_budget = {self.token_budget} ends the run at a step that is not known beforehand, and "
                f"optimizer.schedule = {self.optimizer.schedule!r} needs to know it; use the constant schedule",
                ("optimizer.schedule", "constant"),
                ("token_budget", 0),
            )
        if self.reference and not algorithm.needs_reference:
            raise Contradiction(
                f"reference = {self.reference!r}, but there is no KL to compare with it: give algorithm.kl_coef, or "
                "leave the reference out",
                ("reference", ""),
            )
        if not self.lora.rank and (self.lora.alpha or self.lora.targets):
            raise ConfigError("lora.alpha and lora.targets are for adapters, and there are none: give --lora.rank 32")
        warmup = getattr(algorithm, "critic_warmup_steps", 0)
        if warmup >= self.steps:
            raise Contradiction(
                f"algorithm.critic_warmup_steps = {warmup}, but the run has steps = {self.steps}: the policy would "
                "never move; give fewer of the former or more --steps",
                ("algorithm.critic_warmup_steps", self.steps // 2),
                ("steps", 2 * warmup),
            )
        responses, horizon = per_step * group, algorithm.kl_horizon
        if algorithm.kl_target > 0 and 5 * horizon <= responses:
            raise Contradiction(
                f"algorithm.kl_horizon = {horizon}, but a step has {responses} responses and can take a fifth of "
                f"{responses}/{horizon} off the KL coefficient at once, which would make it negative; give a horizon "
                f"of at least {responses}",
                ("algorithm.kl_horizon", responses),
            )
        if (per_update := self.learner.prompts_per_update) and per_step % per_update:
            divisors = (n for n in range(1, per_step + 1) if per_step % n == 0)
            raise Contradiction(
                f"learner.prompts_per_update = {per_update} must divide sampling.prompts_per_step = {per_step}, so "
                "that every update is of one size",
                ("learner.prompts_per_update", min(divisors, key=lambda n: max(n / per_update, per_update / n))),
                ("sampling.prompts_per_step", per_update * max(1, round(per_step / per_update))),
            )
        length, normaliser = algorithm.constant_length, algorithm.normaliser
        if length and normaliser != "constant":
            raise Contradiction(
                f"algorithm.constant_length = {length} with algorithm.normaliser = {normaliser!r}, which does not use "
                "it: give --algorithm.normaliser constant, or --algorithm.constant-length 0",
                ("algorithm.constant_length", 0),
            )
