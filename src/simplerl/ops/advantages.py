"""Advantages from the rewards of a group: credit relative to the other samples of the same problem."""

import functools
import math
from typing import Literal, get_args

import torch

Scale = Literal["group", "batch", "none"]
SCALES = get_args(Scale)


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
    """Return advantages_B = (r − mean of its group) / scale; 0 where not included.

    A group of which undecided verdicts leave a single member has nothing to compare it with: its advantage is 0.

    `scale`: `group` divides by the group's unbiased std + ε (GRPO, arXiv 2402.03300, §4.1.2; ε as in SimpleRL-Zoo),
    `batch` by the (biased) std of all centred rewards + ε, whose own mean is 0 (Lite PPO, arXiv 2508.08221), `none`
    does not divide (Dr. GRPO, arXiv 2503.20783).
    """
    if scale not in SCALES:
        raise ValueError(f"scale must be one of {', '.join(SCALES)}, got {scale!r}")
    count_B, mean_B, std_B = group_moments(rewards_B, group_B, included_B)
    size_B, _, _ = group_moments(rewards_B, group_B, torch.ones_like(included_B))
    kept_B = included_B & ~((count_B == 1) & (size_B > 1))
    advantages_B = torch.where(kept_B, rewards_B - mean_B, 0.0)
    if scale == "group":
        advantages_B = torch.where(kept_B, advantages_B / (std_B + epsilon), 0.0)
    elif scale == "batch":
        squares = advantages_B.double().square().sum() / kept_B.sum().clamp(min=1)
        advantages_B = advantages_B / (squares.sqrt() + epsilon).to(advantages_B)
    return advantages_B


def leave_one_out(rewards_B: torch.Tensor, group_B: torch.Tensor, included_B: torch.Tensor) -> torch.Tensor:
    """Return advantages_B = r − mean of the *other* included members of its group (RLOO, arXiv 2402.14740).

    The same as n / (n − 1) · (r − mean of the group); 0 where not included or without another member.
    """
    count_B, _, _ = group_moments(rewards_B, group_B, included_B)
    centred_B = group_relative(rewards_B, group_B, included_B, scale="none")
    return torch.where(count_B > 1, centred_B * count_B / (count_B - 1).clamp(min=1), 0.0)


def soft_maximum(
    rewards_B: torch.Tensor, group_B: torch.Tensor, included_B: torch.Tensor, *, tau: float
) -> torch.Tensor:
    """Return baseline_B = τ · log mean exp(r/τ) over the included members of each group (OPMD).

    Between the mean (τ → ∞) and the largest reward (τ → 0). Exact for a group of equal rewards.
    """
    if tau <= 0:
        raise ValueError(f"tau must be positive, got {tau}")
    groups, index_B = torch.unique(group_B, return_inverse=True)
    rewards64_B = torch.where(included_B, rewards_B.double(), -torch.inf)
    top_P = torch.full((len(groups),), -torch.inf, dtype=torch.float64, device=rewards_B.device)
    top_P = top_P.scatter_reduce(0, index_B, rewards64_B, "amax")
    top_P = torch.where(top_P.isinf(), 0.0, top_P)
    shares_B = torch.where(included_B, ((rewards64_B - top_P[index_B]) / tau).exp(), 0.0)
    count_P = torch.zeros_like(top_P).index_add_(0, index_B, included_B.double()).clamp(min=1)
    mean_P = torch.zeros_like(top_P).index_add_(0, index_B, shares_B) / count_P
    soft_P = top_P + tau * mean_P.clamp(min=1e-300).log()
    return soft_P[index_B].to(rewards_B)


def pass_at_k_advantages(
    right_B: torch.Tensor, group_B: torch.Tensor, included_B: torch.Tensor, *, k: int
) -> torch.Tensor:
    """Return advantages_B by what each sample adds to pass@k of its group (arXiv 2508.10751, §2.3).

    `right_B` says which responses are right. A group of fewer than k included members is judged by all it has; one of
    a single member has nothing to compare it with: 0.
    """
    count_B, share_B, _ = group_moments(right_B.float(), group_B, included_B)
    numbers = zip(count_B.tolist(), (count_B * share_B).tolist(), right_B.tolist(), strict=True)
    credit_B = torch.tensor([_pass_at_k_credit(round(n), round(c), k, right) for n, c, right in numbers])
    return torch.where(included_B, credit_B.to(share_B), 0.0)


@functools.cache
def _pass_at_k_credit(n: int, c: int, k: int, right: bool) -> float:
    if n < 2:
        return 0.0
    k = min(k, n)
    failed = math.comb(n - c, k) / math.comb(n, k)  # 1 − ρ
    scale = math.sqrt(failed * (1 - failed)) + 1e-6
    if right:
        return failed / scale
    # A member that is not included may be counted wrong where all others are right: nothing is left beside it.
    others = math.comb(max(n - c - 1, 0), k - 1) / math.comb(n - 1, k - 1)
    return (failed - others) / scale
