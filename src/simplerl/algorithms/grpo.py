"""GRPO: group-relative policy optimisation, as SimpleRL-Zoo runs it.

Source: arXiv 2402.03300 (the method), arXiv 2503.18892 (the recipe). The loss of an update is

    Σ w · [ max(−A·ρ, −A·clip(ρ, 1 ± ε)) − c_H · H + β · k3(π‖π_ref) ]

with ρ = π/π_old at the sampling temperature, A = (r − mean) / (std + 1e-6) over the samples of a problem, and w the
normaliser. Left out: the original's mean over micro-batches of token means, which depends on the layout.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from simplerl.errors import ConfigError
from simplerl.ops.advantages import group_relative
from simplerl.ops.kl import KL_ESTIMATORS, kl
from simplerl.ops.losses import clipped_policy_loss, clipped_share
from simplerl.ops.weights import NORMALISERS, normalise
from simplerl.types import Batch, LossInputs, LossOutput


@dataclass(frozen=True, kw_only=True)
class GRPO:
    """Group-relative policy optimisation."""

    clip_low: float = 0.2
    """ε below: the ratio is clipped at 1 − ε."""
    clip_high: float = 0.2
    """ε above: the ratio is clipped at 1 + ε."""
    kl_coef: float = 0.0
    """β: weight of the KL to the reference (the starting model); 0 loads no reference."""
    kl_estimator: str = "k3"
    """k1, k2, k3 or abs."""
    entropy_coef: float = 0.0
    """c_H: weight of the entropy bonus."""
    scale: str = "group"
    """Divide the centred reward by the group's std (`group`) or not (`none`)."""
    normaliser: str = "token"
    """What the loss is a mean over: token, sequence, prompt or constant."""
    constant_length: int = 0
    """Tokens per response assumed by the constant normaliser."""
    mask_truncated: bool = False
    """Leave responses that hit the token limit out of the loss."""

    needs_critic: ClassVar[bool] = False
    needs_group: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("clip_low", "clip_high", "kl_coef", "entropy_coef"):
            if getattr(self, name) < 0:
                raise ConfigError(f"algorithm.{name} must not be negative, got {getattr(self, name)}")
        for name, allowed in (
            ("kl_estimator", tuple(KL_ESTIMATORS)),
            ("scale", ("group", "none")),
            ("normaliser", NORMALISERS),
        ):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"algorithm.{name} must be one of {', '.join(allowed)}; got {getattr(self, name)!r}")
        if self.normaliser == "constant" and self.constant_length <= 0:
            raise ConfigError("algorithm.normaliser = 'constant' needs algorithm.constant_length > 0")

    @property
    def needs_reference(self) -> bool:
        """Whether the loss has a KL term."""
        return self.kl_coef > 0

    @property
    def needs_entropy_gradient(self) -> bool:
        """Whether the loss has an entropy term."""
        return self.entropy_coef > 0

    def advantages(self, batch: Batch, values_BT: torch.Tensor | None) -> torch.Tensor:
        """Return advantages_BT: one value per response, on each of its tokens."""
        advantages_B = group_relative(batch.rewards_B, batch.group_B, batch.included_B, scale=self.scale)
        return advantages_B[:, None] * batch.mask_BT

    def mask(self, batch: Batch) -> torch.Tensor:
        """Return the tokens of responses with a decided verdict (and, if asked for, an end)."""
        kept_B = batch.included_B & ~batch.truncated_B if self.mask_truncated else batch.included_B
        return batch.mask_BT & kept_B[:, None]

    def weights(self, mask_BT: torch.Tensor, group_B: torch.Tensor) -> torch.Tensor:
        """Return weights_BT of one update."""
        return normalise(mask_BT, group_B, mode=self.normaliser, constant_length=self.constant_length)

    def carries_gradient(self, advantages_BT: torch.Tensor) -> torch.Tensor:
        """Return bool [B]: every response where KL or entropy is in the loss, else those with an advantage."""
        if self.kl_coef > 0 or self.entropy_coef > 0:
            return torch.ones(len(advantages_BT), dtype=torch.bool, device=advantages_BT.device)
        return (advantages_BT != 0).any(1)

    def loss(self, inputs: LossInputs) -> LossOutput:
        """Return the micro-batch's share of the loss and its metrics."""
        clip = {"clip_low": self.clip_low, "clip_high": self.clip_high}
        ratio_BT = torch.where(inputs.mask_BT, inputs.logprobs_BT - inputs.old_logprobs_BT, 0.0).exp()
        per_token_BT = clipped_policy_loss(ratio_BT, inputs.advantages_BT, **clip)
        metrics = {
            "policy/ratio": (inputs.mean_BT * ratio_BT).sum(),
            "policy/clip_fraction": (inputs.mean_BT * clipped_share(ratio_BT, inputs.advantages_BT, **clip)).sum(),
        }
        if self.entropy_coef > 0:
            per_token_BT = per_token_BT - self.entropy_coef * inputs.entropy_BT
        if inputs.ref_logprobs_BT is not None:
            kl_BT = kl(inputs.logprobs_BT, inputs.ref_logprobs_BT, estimator=self.kl_estimator)
            per_token_BT = per_token_BT + self.kl_coef * kl_BT
            metrics["policy/kl"] = (inputs.mean_BT * kl_BT).sum()
        loss = (inputs.weights_BT * per_token_BT).sum()
        return LossOutput(loss=loss, metrics={name: value.detach() for name, value in metrics.items()})
