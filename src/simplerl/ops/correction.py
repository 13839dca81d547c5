"""Importance correction for a sampler that is not the trainer (other kernels, other precision, a late copy).

With ρ = π_trainer/π_sampler per token, before the update, the correction is a factor without gradient on the weights
of the loss. It is not normalised again: a token that is taken out leaves the weights of the others as they are.
"""

from typing import Literal, get_args

import torch

Correction = Literal["none", "truncated", "token-mask", "sequence-mask"]
CORRECTIONS = get_args(Correction)


def correction(
    logprobs_BT: torch.Tensor, sampler_BT: torch.Tensor, mask_BT: torch.Tensor, *, mode: str, low: float, high: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (factor_BT, acted_BT): the factor, and where the bound acted (1.0) or not (0.0). Both 0 outside the mask.

    `truncated` min(ρ, high) (truncated importance sampling, Yao et al., 2025) · `token-mask` ρ where
    low ≤ ρ ≤ high, else 0 (IcePop, 2025) · `sequence-mask` 1 for a response whose geometric mean of ρ lies within
    [low, high], else 0 on all of it · `none` 1.
    """
    if mode not in CORRECTIONS:
        raise ValueError(f"correction must be one of {', '.join(CORRECTIONS)}; got {mode!r}")
    gap_BT = torch.where(mask_BT, logprobs_BT.detach() - sampler_BT, 0.0)
    ratio_BT = gap_BT.exp()
    if mode == "none":
        acted_BT, factor_BT = torch.zeros_like(mask_BT), torch.ones_like(ratio_BT)
    elif mode == "truncated":
        acted_BT, factor_BT = ratio_BT > high, ratio_BT.clamp(max=high)
    else:
        if mode == "sequence-mask":
            mean_B = gap_BT.sum(1) / mask_BT.sum(1).clamp(min=1)
            ratio_BT = mean_B.exp()[:, None].expand_as(gap_BT)
        acted_BT = (ratio_BT < low) | (ratio_BT > high)
        factor_BT = torch.where(acted_BT, 0.0, ratio_BT if mode == "token-mask" else torch.ones_like(ratio_BT))
    kept_BT = mask_BT.to(factor_BT.dtype)
    return factor_BT * kept_BT, acted_BT.to(factor_BT.dtype) * kept_BT
