"""What every algorithm is: a frozen set of hyper-parameters with credit, a mask, weights and a loss.

The settings and methods here are those that mean the same for all: which tokens count, what the loss is a mean over,
the KL and entropy terms, and the correction for a sampler that is not the trainer. An algorithm adds its own and
composes `simplerl.ops`. Most take their loss from `ClippedAlgorithm` and are only another credit; apart from these
two bases, no algorithm builds on another.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from simplerl.core.errors import ConfigError
from simplerl.core.types import Batch, CreditInputs, LossComponent, LossInputs, LossOutput
from simplerl.ops.policy_gradient import (
    Correction,
    KLEstimator,
    Normaliser,
    clipped_policy_loss,
    clipped_share,
    group_moments,
    group_relative,
    kl,
    normalise,
)

#: Bounds of settings, which are checked where a configuration is read.
RatioCap = Annotated[float, Field(ge=1)]
Discount = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class Algorithm:
    """Base of all algorithms; they define `loss`, and `advantages` where credit is not the group's."""

    kl_coef: NonNegativeFloat = 0.0
    """β: weight in the loss of the KL to the reference; 0 has no such term."""
    kl_estimator: KLEstimator = "k3"
    """k1, k2 or k3."""
    kl_target: NonNegativeFloat = 0.0
    """KL (nats per token) that an adaptive coefficient steers to; 0 keeps the coefficient fixed."""
    kl_horizon: PositiveInt = 10_000
    """Responses over which an adaptive coefficient moves by up to a fifth."""
    entropy_coef: NonNegativeFloat = 0.0
    """c_H: weight of the entropy bonus."""
    normaliser: Normaliser = "token"
    """What the loss is a mean over: token, sequence, prompt or constant (`constant_length` tokens a response)."""
    constant_length: NonNegativeInt = 0
    """Tokens per response assumed by the constant normaliser (no other uses it); 0 takes sampling.max_new_tokens."""
    mask_truncated: bool = False
    """Leave responses that hit the token limit out of the loss."""
    exclude_equal: bool = False
    """Leave problems whose rewards are all equal out of the loss, and out of what it is a mean over (ScaleRL)."""
    correction: Correction = "none"
    """For a sampler that is not the trainer, by ρ = π/π_sampler: none, truncated (min(ρ, high)), token-mask (ρ within
    the bounds, else 0) or sequence-mask (0 where a response's geometric mean of ρ is out of them)."""
    correction_low: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Lower bound of the masks."""
    correction_high: RatioCap = 2.0
    """Cap of the truncated correction, upper bound of the masks."""

    components: ClassVar[tuple[LossComponent, ...]] = ("rl",)
    """The terms that `loss` is asked for; each is normalised over the complete update on its own."""
    needs_critic: ClassVar[bool] = False
    """Whether there are values to learn; the algorithm has what teaches PPO's critic then."""
    critic_warmup_steps = 0
    """Steps in which the critic learns and the policy does not yet move: a setting of the algorithms with a critic."""
    scale = "group"
    """What the centred reward is divided by: the std of its group (`group`), of the complete batch (`batch`) or nothing
    (`none`). A setting of some algorithms."""
    needs_group: ClassVar[bool] = True
    """Whether the baseline comes from the other samples of the problem, so that one sample is a contradiction."""
    needs_vocabulary_mean: ClassVar[bool] = False
    """Whether the loss reads `vocabulary_mean_BT`."""
    needs_entropy: ClassVar[bool] = False
    """Whether credit reads `CreditInputs.entropy`, which costs a pass over the step's tokens."""
    teacher_temperature = 1.0
    """Temperature of the reference, as a share of the policy's: a setting of distillation."""
    kl_reward_coef = 0.0
    """β of a KL in the reward of each token: a setting of the algorithms that have credit per token."""
    refill_rounds = 0
    """Rounds in which problems without signal are replaced: a setting of the algorithms that sample dynamically."""

    def __post_init__(self) -> None:
        if self.kl_coef > 0 and self.kl_reward_coef > 0:
            raise ConfigError(
                f"algorithm.kl_coef = {self.kl_coef} and algorithm.kl_reward_coef = {self.kl_reward_coef}: the KL "
                "would be in the loss and in the reward, and count twice; set one of them to 0"
            )
        if self.kl_coef > 0 and self.kl_estimator == "k1":
            raise ConfigError(
                f"algorithm.kl_coef = {self.kl_coef} with algorithm.kl_estimator = 'k1': the gradient of k1 in the "
                "loss is 0 in the mean, so that nothing would hold the policy near the reference; give "
                "--algorithm.kl-estimator k2 or k3 (k1 is for a KL in the reward)"
            )
        if self.kl_target > 0 and not self.needs_reference:
            raise ConfigError(
                f"algorithm.kl_target = {self.kl_target}, but there is no KL to steer: give algorithm.kl_coef"
            )

    @property
    def needs_reference(self) -> bool:
        """Whether there is a KL to a reference, in the loss or in the reward."""
        return self.kl_coef > 0 or self.kl_reward_coef > 0

    @property
    def needs_entropy_gradient(self) -> bool:
        """Whether the loss differentiates `entropy_BT`."""
        return self.entropy_coef > 0

    @property
    def teaches_all(self) -> bool:
        """Whether a response without advantage contributes to the gradient too."""
        return self.kl_coef > 0 or self.entropy_coef > 0

    def advice(self, reference: str) -> str:
        """Return a sentence on what these settings cannot do with the reference of a run (empty: its own beginning)."""
        return ""

    def mask(self, batch: Batch) -> torch.Tensor:
        """Return mask_BT: the tokens of responses with a decided verdict (if asked: an end, a group that differs)."""
        kept_B = batch.included_B & ~batch.truncated_B if self.mask_truncated else batch.included_B
        if self.exclude_equal:
            _, _, std_B = group_moments(batch.rewards_B, batch.group_B, batch.included_B)
            kept_B = kept_B & (std_B > 1e-9)
        return batch.mask_BT & kept_B[:, None]

    def weights(self, mask_BT: torch.Tensor, group_B: torch.Tensor, component: LossComponent = "rl") -> torch.Tensor:
        """Return weights_BT of one update for a term of the loss: its own global denominator."""
        return normalise(mask_BT, group_B, mode=self.normaliser, constant_length=self.constant_length)

    def has_gradient(self, advantages_BT: torch.Tensor) -> torch.Tensor:
        """Return bool [B]: whether a response can contribute to the gradient; others need not be computed."""
        return (advantages_BT != 0).any(1) | self.teaches_all

    def advantages(self, inputs: CreditInputs) -> torch.Tensor:
        """Return advantages_BT of the step, 0 outside the mask: (r − mean) / scale over the samples of a problem."""
        return group_advantages(inputs, scale=self.scale)

    def carried(self, inputs: CreditInputs) -> Mapping[str, float]:
        """Return what the credit of the next step is to see as `state`; it is in the checkpoint. Pure, as credit is."""
        return inputs.state

    def loss(self, inputs: LossInputs) -> LossOutput:
        """Return the micro-batch's share of the term `inputs.component` of the loss, and its metrics."""
        raise NotImplementedError

    def total(self, inputs: LossInputs, per_token_BT: torch.Tensor, **metrics: torch.Tensor) -> LossOutput:
        """Add entropy and KL terms to a per-token loss, weigh it and sum; means of `metrics` (each [B, T]) with it.

        Σ w · [ per token − c_H · H + β · KL(π‖π_ref) ]
        """
        if self.entropy_coef > 0:
            per_token_BT = per_token_BT - self.entropy_coef * inputs.entropy_BT
        if inputs.ref_logprobs_BT is not None:
            kl_BT = kl(inputs.logprobs_BT, inputs.ref_logprobs_BT, estimator=self.kl_estimator)
            metrics["kl"] = kl_BT
            if self.kl_coef > 0:
                per_token_BT = per_token_BT + self.kl_coef * inputs.kl_scale * kl_BT
        loss = (inputs.weights_BT * per_token_BT).sum()
        means = {f"policy/{name}": (inputs.mean_BT * value).sum().detach() for name, value in metrics.items()}
        return LossOutput(loss=loss, metrics=means)


@dataclass(frozen=True, kw_only=True)
class ClippedAlgorithm(Algorithm):
    """Base of the algorithms whose loss is PPO's clipped surrogate."""

    clip_low: NonNegativeFloat = 0.2
    """ε below: the ratio is clipped at 1 − ε."""
    clip_high: NonNegativeFloat = 0.2
    """ε above: the ratio is clipped at 1 + ε."""

    def ratio(self, inputs: LossInputs) -> torch.Tensor:
        """Return the importance ratio ρ_BT that is clipped."""
        return policy_ratio(inputs)

    def loss(self, inputs: LossInputs) -> LossOutput:
        """Return the clipped surrogate's share of the loss."""
        ratio_BT = self.ratio(inputs)
        clip = {"clip_low": self.clip_low, "clip_high": self.clip_high}
        return self.total(
            inputs,
            clipped_policy_loss(ratio_BT, inputs.advantages_BT, **clip),
            ratio=ratio_BT,
            clip_fraction=clipped_share(ratio_BT, inputs.advantages_BT, **clip),
        )


def loss_beside(inputs: LossInputs) -> LossOutput:
    """Return the share of a term that rows bring with them, beside those of the algorithm; A is their weight in it.

    `ce`: −A · log π. `ref_kl`: A · ½(log π − log π_ref)², whose gradient on samples of π is that of KL(π‖π_ref).
    """
    per_token_BT = -inputs.logprobs_BT
    if inputs.component == "ref_kl":
        assert inputs.ref_logprobs_BT is not None  # Who makes such rows has a reference.
        per_token_BT = kl(inputs.logprobs_BT, inputs.ref_logprobs_BT, estimator="k2")
    return LossOutput(loss=(inputs.weights_BT * inputs.advantages_BT * per_token_BT).sum(), metrics={})


def policy_ratio(inputs: LossInputs) -> torch.Tensor:
    """Return ρ_BT = π/π_old, 1 outside the mask."""
    return log_ratio(inputs).exp()


def log_ratio(inputs: LossInputs) -> torch.Tensor:
    """Return log π − log π_old, shape [B, T], 0 outside the mask."""
    return torch.where(inputs.mask_BT, inputs.logprobs_BT - inputs.old_logprobs_BT, 0.0)


def broadcast_to_tokens(credit_B: torch.Tensor, inputs: CreditInputs) -> torch.Tensor:
    """Return advantages_BT: one value per response, on each of its tokens that take part."""
    return credit_B[:, None] * inputs.mask_BT


def group_advantages(inputs: CreditInputs, *, scale: str = "group", epsilon: float = 1e-6) -> torch.Tensor:
    """Return advantages_BT = (r − mean) / scale over the samples of a problem (`group_relative`)."""
    batch = inputs.batch
    credit_B = group_relative(batch.rewards_B, batch.group_B, batch.included_B, scale=scale, epsilon=epsilon)
    return broadcast_to_tokens(credit_B, inputs)
