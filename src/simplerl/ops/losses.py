"""Losses of tokens, and what they are a mean over. No loss normalises: that is done once, by `normalise`.

A complete update becomes one tensor of weights, and every loss is `(weights_BT * per_token_BT).sum()`. The weights are
computed before the update is cut into micro-batches, so micro-batch size, order, padding, gradient accumulation and the
number of ranks cannot change the gradient.
"""

from typing import Literal, get_args

import torch

Normaliser = Literal["token", "sequence", "prompt", "constant"]
TrustMask = Literal["none", "two-side", "one-side", "ring"]
NORMALISERS, TRUST_MASKS = get_args(Normaliser), get_args(TrustMask)


def normalise(
    mask_BT: torch.Tensor, group_B: torch.Tensor, *, mode: str = "token", constant_length: int = 0
) -> torch.Tensor:
    """Return weights_BT (float32), 0 outside the mask. With |o_i| the masked tokens of response i:

    `token`     1 / Σ_i |o_i|: the mean over all tokens (DAPO; SimpleRL-Zoo's paper);
    `sequence`  1 / (|o_i| · responses): the mean over responses of their token means (GRPO's paper);
    `prompt`    1 / (Σ_{j in its group} |o_j| · groups): the mean over problems of their token means (ScaleRL);
    `constant`  1 / (constant_length · responses): no length bias (Dr. GRPO).

    Responses and groups without a masked token count in no denominator; a mask without any token gives all zeros.
    """
    if mode not in NORMALISERS:
        raise ValueError(f"normaliser must be one of {', '.join(NORMALISERS)}; got {mode!r}")
    mask64_BT = mask_BT.double()
    tokens_B = mask64_BT.sum(1)
    responses = (tokens_B > 0).sum().clamp(min=1)
    if mode == "token":
        scale_B = torch.ones_like(tokens_B) / tokens_B.sum().clamp(min=1)
    elif mode == "sequence":
        scale_B = 1 / (tokens_B.clamp(min=1) * responses)
    elif mode == "prompt":
        groups, index_B = torch.unique(group_B, return_inverse=True)
        tokens_P = torch.zeros(len(groups), dtype=torch.float64, device=tokens_B.device).index_add_(
            0, index_B, tokens_B
        )
        scale_B = 1 / (tokens_P.clamp(min=1)[index_B] * (tokens_P > 0).sum().clamp(min=1))
    else:
        if constant_length <= 0:
            raise ValueError(f"the constant normaliser needs a positive constant_length, got {constant_length}")
        scale_B = torch.ones_like(tokens_B) / (constant_length * responses)
    return (mask64_BT * scale_B[:, None]).float()


def clipped_policy_loss(
    ratio_BT: torch.Tensor, advantages_BT: torch.Tensor, *, clip_low: float, clip_high: float
) -> torch.Tensor:
    """Return the per-token loss max(−A·ρ, −A·clip(ρ, 1 − ε_low, 1 + ε_high)), shape [B, T].

    PPO's clipped surrogate (arXiv 1707.06347, eq. 7), negated; DAPO's when the two ε differ (arXiv 2503.14476).
    """
    clipped_BT = ratio_BT.clamp(1 - clip_low, 1 + clip_high)
    return torch.maximum(-advantages_BT * ratio_BT, -advantages_BT * clipped_BT)


def clipped_share(
    ratio_BT: torch.Tensor, advantages_BT: torch.Tensor, *, clip_low: float, clip_high: float
) -> torch.Tensor:
    """Return 1.0 for each token at which the clip holds back the gradient, else 0.0."""
    outside_BT = ((advantages_BT > 0) & (ratio_BT > 1 + clip_high)) | ((advantages_BT < 0) & (ratio_BT < 1 - clip_low))
    return outside_BT.to(ratio_BT.dtype)


def sequence_ratio(log_ratio_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    """Return s_BT: on every masked token exp(mean of log π/π_old over its response's masked tokens), else 1.

    GSPO's sequence-level importance ratio (arXiv 2507.18071). A row is complete in every micro-batch, so this does
    not depend on the layout.
    """
    tokens_B = mask_BT.sum(1).clamp(min=1)
    mean_B = torch.where(mask_BT, log_ratio_BT, 0.0).sum(1) / tokens_B
    return torch.where(mask_BT, mean_B[:, None], 0.0).exp()


def weighted_reinforce(logprobs_BT: torch.Tensor, advantages_BT: torch.Tensor, factor_BT: torch.Tensor) -> torch.Tensor:
    """Return −sg(w)·A·log π, shape [B, T]: REINFORCE with a weight that carries no gradient.

    w = 1: REINFORCE; w = min(ρ, cap): CISPO (arXiv 2506.13585); w = weight · mask: REC.
    """
    return -factor_BT.detach() * advantages_BT * logprobs_BT


def trust_mask(
    ratio_BT: torch.Tensor,
    advantages_BT: torch.Tensor,
    *,
    mode: str,
    low: float,
    high: float,
    ring_low: float,
    ring_high: float,
) -> torch.Tensor:
    """Return REC's M_BT, 1.0 where a token keeps its gradient (arXiv 2509.24203).

    `none` all · `two-side` 1 − ε_l ≤ ρ ≤ 1 + ε_h · `one-side` (A ≥ 0 ∧ ρ ≤ 1 + ε_h) ∨ (A ≤ 0 ∧ ρ ≥ 1 − ε_l), which
    is where PPO's clip lets the gradient through · `ring` two-side ∨ (A ≥ 0 ∧ ρ ≤ 1 − ε'_l) ∨ (A ≤ 0 ∧ ρ ≥ 1 + ε'_h):
    far away the gradient leads back.
    """
    if mode not in TRUST_MASKS:
        raise ValueError(f"mask must be one of {', '.join(TRUST_MASKS)}; got {mode!r}")
    gain_BT, harm_BT = advantages_BT >= 0, advantages_BT <= 0
    near_BT = (ratio_BT >= 1 - low) & (ratio_BT <= 1 + high)
    if mode == "none":
        kept_BT = torch.ones_like(near_BT)
    elif mode == "two-side":
        kept_BT = near_BT
    elif mode == "one-side":
        kept_BT = (gain_BT & (ratio_BT <= 1 + high)) | (harm_BT & (ratio_BT >= 1 - low))
    else:
        kept_BT = near_BT | (gain_BT & (ratio_BT <= 1 - ring_low)) | (harm_BT & (ratio_BT >= 1 + ring_high))
    return kept_BT.to(ratio_BT.dtype)


def clipped_value_loss(
    values_BT: torch.Tensor, old_values_BT: torch.Tensor, returns_BT: torch.Tensor, *, clip: float
) -> torch.Tensor:
    """Return ½·max((clip(V, V_old ± ε) − R)², (V − R)²), shape [B, T]; ε = 0 does not clip (PPO's code, 2017)."""
    plain_BT = (values_BT - returns_BT).square()
    if clip == 0:
        return 0.5 * plain_BT
    held_BT = old_values_BT + (values_BT - old_values_BT).clamp(-clip, clip)
    return 0.5 * torch.maximum((held_BT - returns_BT).square(), plain_BT)
