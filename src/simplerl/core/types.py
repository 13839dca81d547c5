"""Stage types: one frozen record for each stage of the flow problem → completion → verdict → trajectory → batch.

No field ever means "not filled in yet", and no value is stored under another value's name. *Rollout* is the act,
*trajectory* the record; the *verifier* decides correctness, the *reward* is the number trained on, the *advantage* is
credit. Shape suffixes: B sequences, T tokens, V vocabulary, P problems, G samples of one problem, H hidden.

Importing this module imports neither NumPy nor torch: the records hold NumPy arrays, and only the types of an update
(`Batch`, `CreditInputs`, `LossInputs`, `LossOutput`) hold tensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    import torch

StopReason = Literal["eos", "stop", "length", "turns", "seconds"]
VerdictStatus = Literal["correct", "wrong", "no_answer", "unjudgeable", "timeout", "error"]

#: Terms of a loss: policy gradient, cross-entropy on given tokens, KL to the reference as a term of its own.
LossComponent = Literal["rl", "ce", "ref_kl"]
#: In the order of `Batch.component_B`.
COMPONENTS: tuple[LossComponent, ...] = ("rl", "ce", "ref_kl")

#: Verdicts that say nothing about the answer. What training does with them is an explicit policy, never reward 0.
UNDECIDED: frozenset[VerdictStatus] = frozenset({"unjudgeable", "timeout", "error"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """A question with a final answer that can be checked by rule."""

    id: str  # Unique within its data set; addresses every random draw made for this problem
    question: str
    answer: str
    """The gold answer, bare (no `####`, no `\\boxed`)."""
    source: str  # Name of the data set or file that the problem comes from
    level: str = ""  # Difficulty tier as the source names it; empty where the source has none
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Draw:
    """What a prompt sampler asks for: a problem, how often it is sampled, and how.

    >>> Draw(Problem(id="gsm8k-0", question="2+2?", answer="4", source="gsm8k"), samples=8, temperature=1.0).prefix
    ''
    """

    problem: Problem
    samples: int
    temperature: float
    prefix: str = ""
    """Stands behind the prompt: the policy is given it, and goes on from there. Nobody is trained on it."""


@dataclass(frozen=True, slots=True)
class VersionSpan:
    """Tokens `start` … `end` − 1 of a response, sampled by weights that had seen `version` updates."""

    version: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens `start` … `end` − 1 of a response, written by the policy or by its environment (a tool's output)."""

    author: Literal["policy", "environment"]
    start: int
    end: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Completion:
    """One sampled response. `token_ids` ends with the stop token if there was one; `text` never contains it."""

    token_ids: np.ndarray  # int32 [T]: the response's tokens, prompt excluded
    logprobs: np.ndarray
    """float32 [T]: log-probability (nats) of each token under the very distribution that was sampled."""
    text: str  # The response as a reader sees it: cut at the stop string, special tokens removed
    stop_reason: StopReason
    """`eos`: a stop token; `stop`: a stop string; `length`: truncated at the token limit; `turns`, `seconds`: at one of
    its environment."""
    versions: tuple[VersionSpan, ...]
    """Which weights sampled which tokens, in order: `(VersionSpan(3, 0, 17),)`; several if they changed in flight."""
    entropies: np.ndarray | None = None
    """float32 [T]: entropy (nats) of the distribution that each token was drawn from; None where the backend does not
    tell."""

    @property
    def policy_version(self) -> int:
        """Number of updates that the oldest of the sampling weights had seen."""
        return min(span.version for span in self.versions)


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What a verifier says of one response. An exception is the status `error`, never `wrong`."""

    status: VerdictStatus
    extracted: str | None  # The final answer found in the response; None if there is none (`no_answer`)
    rule: str
    """Name of the rule that decided, e.g. `string`, `number`, `restates`; all of them in `simplerl.verify.RULES`."""
    detail: str  # One line for a reader: why
    score: float | None = None
    """Share of a full mark, 0 to 1, where the task gives one (tests that pass); None: all or nothing.
    It is what `correctness` pays; the status is `correct` for a full mark alone."""

    @property
    def correct(self) -> bool:
        """Whether the response was judged right."""
        return self.status == "correct"

    @property
    def decided(self) -> bool:
        """Whether the verifier could tell at all."""
        return self.status not in UNDECIDED


@dataclass(frozen=True, slots=True)
class Scored:
    """What a reward says of a response: the number trained on, and the unweighted values that it is made of.

    >>> Scored(1.1, {"correctness": 1.0, "format": 1.0}).value
    1.1
    """

    value: float  # Finite
    parts: Mapping[str, float] = field(default_factory=dict)  # Name of the part → its value
    steps: tuple[tuple[int, float], ...] = ()
    """(tokens up to its end, reward) of each step of the response; empty where only the whole has a reward."""


@dataclass(frozen=True, slots=True)
class Undecided:
    """A reward that could not be given: it raised, or what it returned is not a finite number. Never reward 0.

    The trajectory is left out of the update and counted, as one with an undecided verdict is.
    """

    detail: str  # One line for a reader: what went wrong, with file and line
    applies: bool = True
    """False where the reward itself says that it does not apply (None): a mixture goes on without it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """What a policy asked of a tool, and what came of it.

    >>> Call(tool="calculator", arguments="6*7", result="42").status
    'ok'
    """

    tool: str
    arguments: str  # As the policy wrote them
    result: str  # What the tool said, or what was wrong
    status: Literal["ok", "invalid", "error", "timeout"] = "ok"
    """`invalid`: there is no such tool, or it cannot read its arguments; `error`, `timeout`: the tool failed."""
    seconds: float = 0.0
    turn: int = 0  # The first is 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """What an environment answers to a turn of the policy.

    >>> Turn(observation="=42", done=False).calls
    ()
    """

    observation: str = ""  # Appended as tokens that nobody is trained on; empty where the episode is over
    done: bool = True
    calls: tuple[Call, ...] = ()  # What was called in this turn


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Trajectory:
    """One response to one problem with everything that was found out about it."""

    problem: Problem
    sample: int  # Index of this sample among the problem's samples, 0 … G−1
    prompt_ids: np.ndarray  # int32 [T_prompt]: the prompt exactly as the model saw it
    completion: Completion
    segments: tuple[Segment, ...]
    """Who wrote which tokens, in order: `(Segment("policy", 0, 17),)` where there is a single turn."""
    verdict: Verdict
    reward: float  # The number trained on
    reward_parts: Mapping[str, float]  # The unweighted values of each part of the reward, by name
    step_rewards: tuple[tuple[int, float], ...] = ()
    """(tokens up to its end, reward) of each step, besides `reward`; empty without a process reward."""
    texts: tuple[tuple[str, str], ...] = ()
    """(author, text) of each turn and observation, in order; empty where there is a single turn."""
    calls: tuple[Call, ...] | None = None  # What was asked of tools, in order; None where there is a single turn
    prefix: str = ""
    """What the prompt sampler has put behind the prompt, and `prompt_ids` end with; empty where it put nothing."""

    @property
    def loss_mask(self) -> np.ndarray:
        """bool [T]: True where the policy chose the token, so that it may be trained on."""
        mask_T = self.completion.token_ids < 0
        for segment in self.segments:
            mask_T[segment.start : segment.end] = segment.author == "policy"
        return mask_T


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrajectoryGroup:
    """All samples of one problem drawn in one step."""

    problem: Problem
    trajectories: tuple[Trajectory, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch:
    """The responses of one update as tensors: prompt, then response, padded on the right.

    Everything with a T axis is aligned with `tokens_BT`: position t speaks of token t given the tokens before it, so
    position 0 never counts.
    """

    tokens_BT: torch.Tensor  # int64 [B, T]
    lengths_B: torch.Tensor  # int64 [B]: prompt plus response tokens
    prompt_lengths_B: torch.Tensor  # int64 [B]
    mask_BT: torch.Tensor  # bool [B, T]: True at the response tokens that may be trained on
    sampler_logprobs_BT: torch.Tensor | None
    """float32 [B, T]: log-probabilities under the distribution that was sampled, 0 outside the response; None where no
    policy sampled the tokens (demonstrations)."""
    rewards_B: torch.Tensor  # float32 [B]
    group_B: torch.Tensor  # int64 [B]: index of the problem within the step; samples of one problem share it
    included_B: torch.Tensor  # bool [B]: False where the verdict is undecided, so that the reward means nothing
    truncated_B: torch.Tensor  # bool [B]: the response hit the token limit
    to_come_BT: torch.Tensor
    """float32 [B, T]: the rewards of the steps that end at or after the token, added up; 0 without a process reward."""
    component_B: torch.Tensor
    """int64 [B]: the term of the loss that a row is for. 0: the algorithm's own; 1, 2: `ce`, `ref_kl` and no other;
    −1: none, the row is only here for the credit of its group."""
    credit_BT: torch.Tensor
    """float32 [B, T]: credit that is given with the row: of one that was sampled earlier its advantages, of `ce` and
    `ref_kl` their weight. NaN: the algorithm gives it."""

    @property
    def own_B(self) -> torch.Tensor:
        """bool [B]: the responses that the policy sampled in this step, whose credit the algorithm gives."""
        return (self.component_B <= 0) & self.credit_BT[:, 0].isnan()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CreditInputs:
    """What an algorithm sees of a complete step when it gives credit."""

    batch: Batch
    mask_BT: torch.Tensor  # bool [B, T]: the tokens that take part in the loss
    values_BT: torch.Tensor | None
    """float32 [B, T]: the critic's estimate before each token; None for algorithms without one."""
    kl_BT: torch.Tensor | None  # float32 [B, T]: KL to the reference at each token; None unless the reward has it
    kl_scale: float  # What an adaptive controller has made of the KL coefficient, as a factor; 1 where it is fixed
    step: int = 1  # The step of the run; the first is 1
    entropy: float = math.nan
    """Mean entropy (nats) over the masked tokens under the policy as the step begins; NaN unless the algorithm asks."""
    state: Mapping[str, float] = field(default_factory=dict)
    """What the algorithm has carried over from the step before (`Algorithm.carried`); empty at the first."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LossInputs:
    """What an algorithm's loss sees of one micro-batch. Sums over micro-batches are those over the complete batch."""

    mask_BT: torch.Tensor  # bool [B, T]
    logprobs_BT: torch.Tensor  # float32 [B, T], with gradient
    old_logprobs_BT: torch.Tensor  # float32 [B, T]: under the policy at the start of the step
    ref_logprobs_BT: torch.Tensor | None  # float32 [B, T] under the reference model; None for algorithms without one
    entropy_BT: torch.Tensor
    """float32 [B, T]: entropy (nats) of the next-token distribution, with gradient where the algorithm asks for it."""
    advantages_BT: torch.Tensor  # float32 [B, T]
    weights_BT: torch.Tensor
    """float32 [B, T]: the loss normaliser, computed once over the complete update; 0 outside `mask_BT`."""
    mean_BT: torch.Tensor  # float32 [B, T]: weights of a plain mean over all tokens of the update, for metrics
    kl_scale: float = 1.0
    """What an adaptive controller has made of the KL coefficient, as a factor; 1 where it is fixed."""
    vocabulary_mean_BT: torch.Tensor | None = None
    """float32 [B, T]: mean over the vocabulary of log π at each token's place, without gradient; None unless asked."""
    old_vocabulary_mean_BT: torch.Tensor | None = None
    """float32 [B, T]: the same under the policy at the start of the step."""
    component: LossComponent = "rl"
    """Which term of the loss is wanted; each has weights of its own, normalised over the complete update."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LossOutput:
    """A micro-batch's share of the loss and of the metrics: both add up over micro-batches."""

    loss: torch.Tensor  # float32 [], with gradient
    metrics: Mapping[str, torch.Tensor]  # `group/name` → float32 [], without gradient
