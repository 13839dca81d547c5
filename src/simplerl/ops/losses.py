"""Per-token policy losses. None of them normalises: that is done once, by `ops.weights`."""

import torch


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
