"""Per-token policy losses. None of them normalises: that is done once, by `ops.weights`."""

import torch

TRUST_MASKS = ("none", "two-side", "one-side", "ring")


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

    GSPO's sequence-level importance ratio (arXiv 2507.18071). A row is whole in every micro-batch, so this does
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
