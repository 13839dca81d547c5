"""Credit token by token: rewards on tokens, generalised advantage estimation, whitening.

Tokens outside the mask (not chosen by the policy, or left out of the loss) are no steps of the trajectory: what
follows one masked token is the next masked one.
"""

import torch


def token_rewards(
    rewards_B: torch.Tensor, mask_BT: torch.Tensor, kl_BT: torch.Tensor | None = None, *, kl_coef: float = 0.0
) -> torch.Tensor:
    """Return rewards_BT = −β·KL_t on every masked token, plus the response's reward on its last one; 0 elsewhere.

    Ziegler et al., arXiv 1909.08593, §2.2. A response without a masked token has no reward, whatever `rewards_B` says.
    """
    columns_T = torch.arange(mask_BT.shape[1], device=mask_BT.device)
    last_B = torch.where(mask_BT, columns_T, -1).max(1).values
    rewards_BT = torch.where(mask_BT & (columns_T == last_B[:, None]), rewards_B[:, None], 0.0)
    if kl_BT is not None:
        rewards_BT = rewards_BT - kl_coef * torch.where(mask_BT, kl_BT, 0.0)
    return rewards_BT


def gae(
    rewards_BT: torch.Tensor, values_BT: torch.Tensor, mask_BT: torch.Tensor, *, gamma: float = 1.0, lam: float = 1.0
) -> torch.Tensor:
    """Return advantages_BT = Σ_l (γλ)^l δ_{t+l} with δ_t = r_t + γ·V_{t+1} − V_t; 0 outside the mask.

    Generalised advantage estimation (arXiv 1506.02438, eq. 16). After the last token the value is 0: a truncated
    response is not continued by its estimate. λ = 1 is return − value; λ = 1 and V = 0 is the return.
    """
    if not rewards_BT.shape == values_BT.shape == mask_BT.shape:
        raise ValueError(f"shapes differ: {rewards_BT.shape}, {values_BT.shape}, {mask_BT.shape}")
    rewards64_BT, values64_BT = rewards_BT.double(), values_BT.double()
    advantages_BT = torch.zeros_like(rewards64_BT)
    later_B, value_B = torch.zeros_like(rewards64_BT[:, 0]), torch.zeros_like(rewards64_BT[:, 0])
    for t in reversed(range(mask_BT.shape[1])):
        on_B = mask_BT[:, t]
        delta_B = rewards64_BT[:, t] + gamma * value_B - values64_BT[:, t]
        later_B = torch.where(on_B, delta_B + gamma * lam * later_B, later_B)
        value_B = torch.where(on_B, values64_BT[:, t], value_B)
        advantages_BT[:, t] = torch.where(on_B, later_B, 0.0)
    return advantages_BT.to(rewards_BT)


def whiten(values_BT: torch.Tensor, mask_BT: torch.Tensor, *, epsilon: float = 1e-8) -> torch.Tensor:
    """Return (x − mean) / std over all masked tokens of the batch; 0 outside the mask, and where there is no spread."""
    values64_BT = torch.where(mask_BT, values_BT.double(), 0.0)
    count = mask_BT.sum().clamp(min=1)
    centred_BT = torch.where(mask_BT, values64_BT - values64_BT.sum() / count, 0.0)
    variance = centred_BT.square().sum() / count
    return (centred_BT / variance.clamp(min=epsilon).sqrt()).to(values_BT)


def following(values_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    """Return at each masked token the value at the next masked token of its row; 0 after the last and elsewhere."""
    columns_BT = torch.arange(mask_BT.shape[1], device=mask_BT.device).expand_as(mask_BT)
    length = mask_BT.shape[1]
    here_BT = torch.where(mask_BT, columns_BT, length)
    from_here_BT = here_BT.flip(1).cummin(1).values.flip(1)
    next_BT = torch.cat([from_here_BT[:, 1:], torch.full_like(from_here_BT[:, :1], length)], 1)
    padded_BT = torch.cat([values_BT, torch.zeros_like(values_BT[:, :1])], 1)
    return torch.where(mask_BT, padded_BT.gather(1, next_BT), 0.0)
