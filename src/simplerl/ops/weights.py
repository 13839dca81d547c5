"""Normalise once: the whole update becomes one tensor of weights; every loss is `(weights_BT * per_token_BT).sum()`.

The weights are computed over the global update before it is cut into micro-batches, so micro-batch size, order,
padding, gradient accumulation and the number of ranks cannot change the gradient.
"""

import torch

NORMALISERS = ("token", "sequence", "prompt", "constant")


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
