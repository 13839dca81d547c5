"""Advantages from the rewards of a group: credit relative to the other samples of the same problem."""

import torch


def group_moments(
    rewards_B: torch.Tensor, group_B: torch.Tensor, included_B: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return (count_B, mean_B, std_B) of each response's group over its included members.

    The standard deviation is the unbiased one; a group with a single included member has mean 0 and std 1, as in
    SimpleRL-Zoo's GRPO, so that its advantage is its reward. Members that are not included get their group's moments.
    """
    if not rewards_B.shape == group_B.shape == included_B.shape:
        raise ValueError(f"shapes differ: {rewards_B.shape}, {group_B.shape}, {included_B.shape}")
    groups, index_B = torch.unique(group_B, return_inverse=True)
    kept_B = included_B.double()
    rewards64_B = torch.where(included_B, rewards_B.double(), 0.0)

    def total(values_B: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(groups), dtype=torch.float64, device=values_B.device).index_add_(0, index_B, values_B)

    count_P = total(kept_B)
    mean_P = total(rewards64_B) / count_P.clamp(min=1)
    squares_P = total(kept_B * (rewards64_B - mean_P[index_B]).square())
    std_P = (squares_P / (count_P - 1).clamp(min=1)).sqrt()
    alone_P = count_P <= 1
    mean_P, std_P = torch.where(alone_P, 0.0, mean_P), torch.where(alone_P, 1.0, std_P)
    return count_P[index_B].to(rewards_B), mean_P[index_B].to(rewards_B), std_P[index_B].to(rewards_B)


def group_relative(
    rewards_B: torch.Tensor,
    group_B: torch.Tensor,
    included_B: torch.Tensor,
    *,
    scale: str = "group",
    epsilon: float = 1e-6,
) -> torch.Tensor:
    """Return advantages_B = (r − mean of its group) / (std of its group + ε); 0 where not included.

    A group of which undecided verdicts leave a single member has nothing to compare it with: its advantage is 0.

    `scale`: `group` divides by the group's unbiased std (GRPO, arXiv 2402.03300, eq. in §4.1.2; ε as in
    SimpleRL-Zoo), `none` does not divide (Dr. GRPO, arXiv 2503.20783).
    """
    count_B, mean_B, std_B = group_moments(rewards_B, group_B, included_B)
    size_B, _, _ = group_moments(rewards_B, group_B, torch.ones_like(included_B))
    left_alone_B = (count_B == 1) & (size_B > 1)
    advantages_B = rewards_B - mean_B
    if scale == "group":
        advantages_B = advantages_B / (std_B + epsilon)
    elif scale != "none":
        raise ValueError(f"scale must be 'group' or 'none', got {scale!r}")
    return torch.where(included_B & ~left_alone_B, advantages_B, 0.0)
