"""The mathematics of the policy gradient: credit, ratios, losses, and what a loss is a mean over.

*Credit* is given to responses, beside the other samples of the same problem, or token by token. Tokens outside the mask
(not chosen by the policy, or left out of the loss) are no steps of a trajectory: what follows one masked token is the
next masked one. *Losses* are of tokens, and none normalises: that is done once, by `normalise`. A complete update
becomes one tensor of weights, and every loss is `(weights_BT * per_token_BT).sum()`. The weights are computed before
the update is cut into micro-batches, so micro-batch size, order, padding, gradient accumulation and the number of ranks
cannot change the gradient.
"""

import functools
import math
from typing import Literal, get_args

import torch

Scale = Literal["group", "batch", "none"]
Normaliser = Literal["token", "sequence", "prompt", "constant"]
TrustMask = Literal["none", "two-side", "one-side", "ring"]
Correction = Literal["none", "truncated", "token-mask", "sequence-mask"]
KLEstimator = Literal["k1", "k2", "k3"]
SCALES, NORMALISERS = get_args(Scale), get_args(Normaliser)
TRUST_MASKS, CORRECTIONS = get_args(TrustMask), get_args(Correction)

# -- credit of responses -----------------------------------------------------------------------------------------------


def _sums(values_B: torch.Tensor, index_B: torch.Tensor, groups: int) -> torch.Tensor:
    """Return sums_P (float64) over the members of each group."""
    return torch.zeros(groups, dtype=torch.float64, device=values_B.device).index_add_(0, index_B, values_B)


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
    count_P = _sums(kept_B, index_B, len(groups))
    mean_P = _sums(rewards64_B, index_B, len(groups)) / count_P.clamp(min=1)
    squares_P = _sums(kept_B * (rewards64_B - mean_P[index_B]).square(), index_B, len(groups))
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
    count_P = _sums(included_B.double(), index_B, len(groups)).clamp(min=1)
    mean_P = _sums(shares_B, index_B, len(groups)) / count_P
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


# -- credit of tokens --------------------------------------------------------------------------------------------------


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


# -- losses ------------------------------------------------------------------------------------------------------------


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
        tokens_P = _sums(tokens_B, index_B, len(groups))
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


# -- distances between policies ----------------------------------------------------------------------------------------


def kl(logprobs_BT: torch.Tensor, ref_logprobs_BT: torch.Tensor, *, estimator: str = "k3") -> torch.Tensor:
    """Return a per-token estimate of KL(π‖π_ref) in nats, shape [B, T], from samples of π (Schulman, "Approximating KL
    divergence", 2020). With d = log π_ref − log π:

    `k1` −d · `k2` d²/2 · `k3` e^d − d − 1, clamped to [−10, 10] as in SimpleRL-Zoo ("low_var_kl").
    """
    if estimator not in KL_ESTIMATORS:
        raise ValueError(f"KL estimator must be one of {', '.join(KL_ESTIMATORS)}; got {estimator!r}")
    return KL_ESTIMATORS[estimator](ref_logprobs_BT - logprobs_BT)


KL_ESTIMATORS = {
    "k1": lambda d: -d,
    "k2": lambda d: 0.5 * d.square(),
    # The clamp has long cut in at d = 20; beyond d = 88 an infinite exponential would make its gradient NaN.
    "k3": lambda d: (torch.expm1(d.clamp(max=20)) - d).clamp(-10, 10),
}


def adapted(coefficient: float, kl: float, *, target: float, horizon: int, count: int) -> float:
    """Return the KL coefficient for the next step: β · (1 + clip(KL/target − 1, ±0.2) · n/horizon).

    The proportional controller of Ziegler et al. (arXiv 1909.08593, §2.2); `count` n is the responses of the step.
    """
    error = min(max(kl / target - 1, -0.2), 0.2)
    return coefficient * (1 + error * count / horizon)


def correction(
    logprobs_BT: torch.Tensor, sampler_BT: torch.Tensor, mask_BT: torch.Tensor, *, mode: str, low: float, high: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (factor_BT, acted_BT): the correction for a sampler that is not the trainer (other kernels or precision, a
    late copy), and where its bound acted (1.0) or not (0.0). Both 0 outside the mask.

    With ρ = π_trainer/π_sampler per token, before the update, the factor on the weights of the loss has no gradient. It
    is not normalised again: a token that is taken out leaves the weights of the others as they are.

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
