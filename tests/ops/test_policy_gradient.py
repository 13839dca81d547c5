"""Credit, ratios, losses and weights: literals computed by hand, second implementations, identities."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from simplerl.ops.policy_gradient import (
    CORRECTIONS,
    KL_ESTIMATORS,
    NORMALISERS,
    adapted,
    clipped_policy_loss,
    clipped_share,
    clipped_value_loss,
    correction,
    following,
    gae,
    group_moments,
    group_relative,
    kl,
    leave_one_out,
    normalise,
    sequence_ratio,
    soft_maximum,
    token_rewards,
    trust_mask,
    weighted_reinforce,
    whiten,
)

# -- the clipped surrogate: literals, identities and where its gradient stops ------------------------------------------

CLIP = {"clip_low": 0.2, "clip_high": 0.2}


def loss(ratio: float, advantage: float, **clip: float) -> float:
    return clipped_policy_loss(torch.tensor([[ratio]]), torch.tensor([[advantage]]), **(clip or CLIP)).item()


@pytest.mark.parametrize(
    ("ratio", "advantage", "wanted"),
    [
        (1.5, 1.0, -1.2),  # gain is capped at 1 + ε
        (1.5, -1.0, 1.5),  # harm is not
        (0.5, 1.0, -0.5),
        (0.5, -1.0, 0.8),
        (1.1, 2.0, -2.2),
        (1.0, -3.0, 3.0),
        (1.5, 0.0, 0.0),
    ],
)
def test_literals(ratio: float, advantage: float, wanted: float) -> None:
    assert loss(ratio, advantage) == pytest.approx(wanted, rel=1e-6)


def test_each_side_has_its_own_epsilon() -> None:
    assert loss(1.5, 1.0, clip_low=0.2, clip_high=0.28) == pytest.approx(-1.28)
    assert loss(0.5, -1.0, clip_low=0.1, clip_high=0.28) == pytest.approx(0.9)


@given(st.floats(0.01, 5), st.floats(-3, 3), st.floats(0, 0.9))
def test_equal_epsilons_are_ppo(ratio: float, advantage: float, epsilon: float) -> None:
    """PPO's objective min(Aρ, A·clip(ρ)), negated."""
    clipped = min(max(ratio, 1 - epsilon), 1 + epsilon)
    wanted = -min(advantage * ratio, advantage * clipped)
    assert loss(ratio, advantage, clip_low=epsilon, clip_high=epsilon) == pytest.approx(wanted, rel=1e-4, abs=1e-5)


@given(st.floats(0.01, 5), st.floats(-3, 3))
def test_never_better_than_without_the_clip(ratio: float, advantage: float) -> None:
    assert loss(ratio, advantage) >= -advantage * ratio - 1e-5


def gradient(ratio: float, advantage: float, **clip: float) -> float:
    ratio_BT = torch.tensor([[ratio]], requires_grad=True)
    clipped_policy_loss(ratio_BT, torch.tensor([[advantage]]), **clip).sum().backward()
    return ratio_BT.grad.item()


@pytest.mark.parametrize("advantage", [1.0, -1.0])
@pytest.mark.parametrize("ratio", [0.5, 0.79, 0.81, 1.0, 1.19, 1.21, 2.0])
def test_clipped_share_says_where_the_gradient_is_held_back(ratio: float, advantage: float) -> None:
    for clip in (CLIP, {"clip_low": 0.1, "clip_high": 0.3}, {"clip_low": 0.3, "clip_high": 0.1}):
        held = clipped_share(torch.tensor([[ratio]]), torch.tensor([[advantage]]), **clip).item()
        assert held == float(gradient(ratio, advantage, **clip) == 0.0)
        assert gradient(ratio, advantage, **clip) in (0.0, -advantage)


def test_ratio_one_gives_the_gradient_of_reinforce() -> None:
    """At π = π_old, ∇ of the surrogate is −A ∇ log π: the policy gradient, whatever the clip."""
    logits_BTV = torch.randn(2, 3, 5, requires_grad=True)
    tokens_BT = torch.tensor([[0, 1, 2], [3, 4, 0]])
    advantages_BT = torch.tensor([[1.0, -2.0, 0.5], [0.3, 0.0, -1.0]])

    def logprobs() -> torch.Tensor:
        return logits_BTV.log_softmax(-1).gather(-1, tokens_BT[..., None]).squeeze(-1)

    (reinforce,) = torch.autograd.grad(-(advantages_BT * logprobs()).sum(), logits_BTV)
    ratio_BT = (logprobs() - logprobs().detach()).exp()
    for clip in ({"clip_low": 0.2, "clip_high": 0.2}, {"clip_low": 0.01, "clip_high": 3.0}):
        total = clipped_policy_loss(ratio_BT, advantages_BT, **clip).sum()
        (surrogate,) = torch.autograd.grad(total, logits_BTV, retain_graph=True)
        torch.testing.assert_close(surrogate, reinforce)


# -- GSPO, CISPO, REC, the critic ------------------------------------------------------------------------------------


def test_sequence_ratio_is_the_geometric_mean() -> None:
    log_ratio = torch.tensor([[0.1, 0.5, 9.0], [-0.2, 0.0, 0.8]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    found = sequence_ratio(log_ratio, mask)
    torch.testing.assert_close(found, torch.tensor([[1.3498588, 1.3498588, 1.0], [1.2214028] * 3]))


def test_sequence_ratio_gives_every_token_its_share_of_the_gradient() -> None:
    """d s / d log π_t = s / length: with a sequence mean, the gradient of −A·s is spread evenly."""
    log_ratio = torch.tensor([[0.1, 0.5]], requires_grad=True)
    sequence_ratio(log_ratio, torch.ones(1, 2, dtype=torch.bool))[0, 0].backward()
    torch.testing.assert_close(log_ratio.grad, torch.full((1, 2), 1.3498588 / 2))


def test_weighted_reinforce_has_no_gradient_through_its_weight() -> None:
    logprobs = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    loss = weighted_reinforce(logprobs, torch.tensor([[2.0, -1.0]]), (logprobs + 3).exp().clamp(max=5.0))
    torch.testing.assert_close(loss, torch.tensor([[10.0, -5.4365637]]))
    loss.sum().backward()
    torch.testing.assert_close(logprobs.grad, torch.tensor([[-10.0, 2.7182818]]))


BOUNDS = {"low": 0.2, "high": 0.2, "ring_low": 0.6, "ring_high": 2.0}


@pytest.mark.parametrize(
    ("mode", "advantage", "kept"),
    [
        ("none", 1.0, [1, 1, 1, 1, 1]),
        ("two-side", 1.0, [0, 0, 1, 0, 0]),
        ("two-side", -1.0, [0, 0, 1, 0, 0]),
        ("one-side", 1.0, [1, 1, 1, 0, 0]),
        ("one-side", -1.0, [0, 0, 1, 1, 1]),
        ("ring", 1.0, [1, 0, 1, 0, 0]),
        ("ring", -1.0, [0, 0, 1, 0, 1]),
    ],
)
def test_trust_masks_by_hand(mode: str, advantage: float, kept: list[int]) -> None:
    ratio = torch.tensor([0.3, 0.5, 1.1, 1.5, 3.5])
    assert trust_mask(ratio, torch.full((5,), advantage), mode=mode, **BOUNDS).tolist() == kept


@pytest.mark.parametrize(
    ("mode", "advantage", "kept"),
    [
        ("two-side", 1.0, [0, 1, 1, 0]),
        ("one-side", 1.0, [1, 1, 1, 0]),
        ("one-side", -1.0, [0, 1, 1, 1]),
        ("ring", 1.0, [1, 1, 1, 0]),
        ("ring", -1.0, [0, 1, 1, 1]),
    ],
)
def test_each_side_of_a_trust_mask_has_its_own_bound(mode: str, advantage: float, kept: list[int]) -> None:
    ratio, uneven = (
        torch.tensor([0.65, 0.75, 1.35, 1.45]),
        {"low": 0.3, "high": 0.4, "ring_low": 0.33, "ring_high": 0.42},
    )
    assert trust_mask(ratio, torch.full((4,), advantage), mode=mode, **uneven).tolist() == kept


@pytest.mark.parametrize("mode", ["none", "two-side", "one-side", "ring"])
def test_at_ratio_one_all_masks_agree(mode: str) -> None:
    assert trust_mask(torch.ones(3), torch.tensor([1.0, 0.0, -1.0]), mode=mode, **BOUNDS).tolist() == [1, 1, 1]


@given(st.floats(0.05, 5), st.floats(-3, 3))
def test_one_side_with_ratio_has_the_gradient_of_the_clip(ratio: float, advantage: float) -> None:
    """Away from the kinks: −A·sg(ρ·M)·∇log π is the gradient of PPO's clipped surrogate."""
    if min(abs(ratio - 0.8), abs(ratio - 1.2)) < 1e-4 or abs(advantage) < 1e-3:
        return
    old = torch.tensor(-1.0)
    logprob = (old + torch.tensor(ratio).log()).requires_grad_()
    rho = (logprob - old).exp()
    clipped = clipped_policy_loss(rho, torch.tensor(advantage), clip_low=0.2, clip_high=0.2)
    (wanted,) = torch.autograd.grad(clipped, logprob, retain_graph=True)
    mask = trust_mask(rho, torch.tensor(advantage), mode="one-side", **BOUNDS)
    (found,) = torch.autograd.grad(weighted_reinforce(logprob, torch.tensor(advantage), mask * rho), logprob)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("value", "target", "wanted"),
    [
        (1.0, 1.0, 0.32),  # clipped to 0.2: ½ · 0.8²
        (0.1, 1.0, 0.405),  # within the clip
        (0.5, 0.0, 0.125),  # the clipped one is nearer, so the plain one counts
        (-1.0, 1.0, 2.0),
    ],
)
def test_value_loss_literals(value: float, target: float, wanted: float) -> None:
    found = clipped_value_loss(torch.tensor(value), torch.tensor(0.0), torch.tensor(target), clip=0.2)
    assert found.item() == pytest.approx(wanted)


@given(st.floats(-2, 2), st.floats(-2, 2), st.floats(-2, 2))
def test_value_loss_is_never_below_the_plain_one(value: float, old: float, target: float) -> None:
    value_, old_, target_ = map(torch.tensor, (value, old, target))
    plain = clipped_value_loss(value_, old_, target_, clip=0.0).item()
    assert plain == pytest.approx(0.5 * (value - target) ** 2, abs=1e-5)
    assert clipped_value_loss(value_, old_, target_, clip=0.2).item() >= plain


# -- the normalisers by hand, and what must not change them ------------------------------------------------------------

#: Responses of 3, 1, 2 and 0 trainable tokens (position 0 never counts); the first two belong to one problem.
MASK = torch.tensor([[0, 1, 1, 1], [0, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]], dtype=torch.bool)
GROUPS = torch.tensor([0, 0, 1, 1])


def weights(mode: str, mask: torch.Tensor = MASK, groups: torch.Tensor = GROUPS) -> torch.Tensor:
    return normalise(mask, groups, mode=mode, constant_length=10)


@pytest.mark.parametrize(
    ("mode", "per_row"),
    [
        ("token", [1 / 6, 1 / 6, 1 / 6]),  # six tokens
        ("sequence", [1 / 9, 1 / 3, 1 / 6]),  # three responses that have any
        ("prompt", [1 / 8, 1 / 8, 1 / 4]),  # two problems, of four and two tokens
        ("constant", [1 / 30, 1 / 30, 1 / 30]),  # three responses of ten
    ],
)
def test_by_hand(mode: str, per_row: list[float]) -> None:
    wanted = MASK * torch.tensor([*per_row, 0.0])[:, None]
    torch.testing.assert_close(weights(mode), wanted)


@pytest.mark.parametrize("mode", ["token", "sequence", "prompt"])
def test_a_mean_adds_up_to_one(mode: str) -> None:
    assert weights(mode).sum().item() == pytest.approx(1.0)


@pytest.mark.parametrize("mode", NORMALISERS)
def test_nothing_to_train_on_gives_zeros(mode: str) -> None:
    found = weights(mode, torch.zeros_like(MASK))
    assert found.tolist() == torch.zeros(4, 4).tolist()


@pytest.mark.parametrize("mode", NORMALISERS)
def test_excluded_responses_are_as_if_they_were_not_there(mode: str) -> None:
    """A response whose mask is empty changes nobody's weight; nor does a whole problem of them."""
    without = weights(mode, MASK[:3], GROUPS[:3])
    torch.testing.assert_close(weights(mode)[:3], without)
    more = torch.cat([MASK, torch.zeros(2, 4, dtype=torch.bool)])
    torch.testing.assert_close(weights(mode, more, torch.tensor([0, 0, 1, 1, 2, 2]))[:3], without)


@pytest.mark.parametrize("mode", NORMALISERS)
def test_order_padding_and_names_of_groups_change_nothing(mode: str) -> None:
    order = torch.tensor([2, 0, 3, 1])
    wide = torch.cat([MASK, torch.zeros(4, 3, dtype=torch.bool)], 1)
    found = weights(mode, wide[order], torch.tensor([70, 3])[GROUPS[order]])
    torch.testing.assert_close(found[:, :4], weights(mode)[order])
    assert found[:, 4:].sum() == 0


def test_a_million_tokens_are_counted_exactly() -> None:
    """Single precision counts only to 2^24; the sum of the weights would show it."""
    mask = torch.ones(1, 2**24 + 1, dtype=torch.bool)
    found = normalise(mask, torch.zeros(1, dtype=torch.long), mode="token")
    assert found[0, 0].item() == torch.tensor(1 / (2**24 + 1), dtype=torch.float32).item()


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="batch"):
        normalise(MASK, GROUPS, mode="batch")
    with pytest.raises(ValueError, match="constant_length"):
        normalise(MASK, GROUPS, mode="constant")


# -- group-relative advantages: literals computed by hand, and identities ----------------------------------------------


def advantages(rewards: list[float], groups: list[int] | None = None, included: list[bool] | None = None, **options):
    return group_relative(
        torch.tensor(rewards),
        torch.tensor(groups or [0] * len(rewards)),
        torch.tensor(included or [True] * len(rewards)),
        **options,
    ).tolist()


def test_one_right_of_four() -> None:
    # Mean 1/4; unbiased variance (3 · 1/16 + 9/16) / 3 = 1/4; std 1/2.
    assert advantages([1.0, 0.0, 0.0, 0.0]) == pytest.approx([1.5, -0.5, -0.5, -0.5], rel=1e-5)


def test_epsilon_stands_beside_the_deviation() -> None:
    # Two rewards 1e-6 apart: std 1e-6/√2, and (d/2) / (d/√2 + 1e-6) with d = 1e-6 is 0.5 / (1/√2 + 1).
    found = advantages([0.0, 1e-6])
    assert found[1] == pytest.approx(0.5 / (1 / math.sqrt(2) + 1), rel=1e-3)
    assert advantages([0.0, 1.0], epsilon=1.0)[1] == pytest.approx(0.5 / (1 / math.sqrt(2) + 1), rel=1e-6)


def test_without_scaling_only_the_mean_is_taken_off() -> None:
    assert advantages([1.0, 0.0, 0.0, 0.0], scale="none") == [0.75, -0.25, -0.25, -0.25]


def test_groups_do_not_see_each_other_whatever_their_order() -> None:
    found = advantages([1.0, 5.0, 0.0, 5.0, 0.0, 7.0], groups=[2, 9, 2, 9, 2, 9])
    apart = advantages([1.0, 0.0, 0.0]), advantages([5.0, 5.0, 7.0])
    assert found[0::2] == pytest.approx(apart[0])
    assert found[1::2] == pytest.approx(apart[1])


def test_group_of_one_keeps_its_reward() -> None:
    # As SimpleRL-Zoo: mean 0 and std 1, so A = r / (1 + 1e-6).
    assert advantages([0.7]) == pytest.approx([0.7 / (1 + 1e-6)], rel=1e-7)


def test_excluded_members_count_in_nothing() -> None:
    nan = float("nan")
    found = advantages([1.0, nan, 0.0, 0.0, 0.0, 9.0], included=[True, False, True, True, True, False])
    assert found == pytest.approx([1.5, 0.0, -0.5, -0.5, -0.5, 0.0], rel=1e-5)


def test_a_member_left_alone_by_exclusion_has_nothing_to_be_compared_with() -> None:
    assert advantages([0.5, float("nan")], included=[True, False]) == [0.0, 0.0]


def test_nothing_included_gives_zeros() -> None:
    assert advantages([float("nan")] * 3, included=[False] * 3) == [0.0, 0.0, 0.0]


def test_moments_by_hand() -> None:
    count, mean, std = group_moments(
        torch.tensor([1.0, 2.0, 6.0, 4.0]), torch.tensor([0, 0, 0, 1]), torch.tensor([True, True, True, True])
    )
    assert count.tolist() == [3.0, 3.0, 3.0, 1.0]
    assert mean.tolist() == [3.0, 3.0, 3.0, 0.0]
    assert std.tolist() == pytest.approx([math.sqrt(7)] * 3 + [1.0])


REWARDS = st.lists(st.sampled_from([0.0, 1.0, -0.5, 0.1, 0.3]), min_size=2, max_size=12)


@given(REWARDS)
def test_advantages_add_up_to_nothing(rewards: list[float]) -> None:
    assert sum(advantages(rewards)) == pytest.approx(0.0, abs=1e-4)


@given(st.sampled_from([0.1, 0.3, 1 / 3, -0.7, 1e-3, 123.456]), st.integers(1, 33))
def test_equal_rewards_carry_exactly_no_advantage(reward: float, size: int) -> None:
    """Not nearly none: whether a group is computed at all depends on it."""
    found = advantages([reward] * size)
    assert found == ([0.0] * size if size > 1 else pytest.approx([reward], rel=1e-5))


@given(REWARDS, st.floats(-3, 3))
def test_a_constant_on_top_changes_nothing(rewards: list[float], constant: float) -> None:
    assert advantages([r + constant for r in rewards]) == pytest.approx(advantages(rewards), abs=2e-4)


@given(REWARDS.filter(lambda rewards: len(set(rewards)) > 1), st.floats(0.5, 100))
def test_scaled_rewards_give_the_same_advantages(rewards: list[float], factor: float) -> None:
    assert advantages([r * factor for r in rewards]) == pytest.approx(advantages(rewards), abs=1e-3)


@given(REWARDS)
def test_reinforce_leave_one_out_is_a_multiple(rewards: list[float]) -> None:
    """RLOO's advantage, r − mean of the others, is G / (G − 1) times the centred reward."""
    size = len(rewards)
    leave_one_out = [r - (sum(rewards) - r) / (size - 1) for r in rewards]
    centred = advantages(rewards, scale="none")
    assert [size / (size - 1) * a for a in centred] == pytest.approx(leave_one_out, abs=1e-5)


@given(st.lists(st.floats(-2, 2), min_size=2, max_size=9))
def test_leave_one_out_is_the_centred_reward_times_n_over_n_minus_one(rewards: list[float]) -> None:
    n = len(rewards)
    tensor = torch.tensor(rewards)
    found = leave_one_out(tensor, torch.zeros(n, dtype=torch.long), torch.ones(n, dtype=torch.bool)).tolist()
    others = [r - (sum(rewards) - r) / (n - 1) for r in rewards]
    assert found == pytest.approx(others, abs=1e-5)
    assert found == pytest.approx([n / (n - 1) * a for a in advantages(rewards, scale="none")], abs=1e-5)


def test_leave_one_out_leaves_out_the_undecided() -> None:
    rewards = torch.tensor([1.0, 0.0, float("nan"), 1.0, float("nan")])
    found = leave_one_out(rewards, torch.tensor([0, 0, 0, 1, 1]), torch.tensor([True, True, False, True, False]))
    assert found.tolist() == [1.0, -1.0, 0.0, 0.0, 0.0]


def test_batch_scale_with_two_groups() -> None:
    """Lite PPO's example: {7×1, 1×0} and {4×1, 4×0}. By group the lopsided one counts double, by batch it does not."""
    rewards = torch.tensor([1.0] * 7 + [0.0] + [1.0] * 4 + [0.0] * 4)
    group, included = torch.arange(16) // 8, torch.ones(16, dtype=torch.bool)
    found = group_relative(rewards, group, included, scale="batch", epsilon=1e-8).abs()
    assert found[:8].max().item() == pytest.approx(2.0637, abs=1e-3)
    assert found[8:].max().item() == pytest.approx(1.1793, abs=1e-3)
    biased = group_relative(rewards, group, included, epsilon=0.0).abs() * (8 / 7) ** 0.5
    assert biased[:8].max().item() == pytest.approx(2.6458, abs=1e-3)
    assert biased[8:].max().item() == pytest.approx(1.0, abs=1e-3)


def test_soft_maximum_literal_and_limits() -> None:
    rewards, group = torch.tensor([1.0, 0.0, 0.0, 0.0]), torch.zeros(4, dtype=torch.long)
    included = torch.ones(4, dtype=torch.bool)

    def baseline(tau: float) -> float:
        return soft_maximum(rewards, group, included, tau=tau)[0].item()

    assert baseline(1.0) == pytest.approx(0.3573740)  # log((e + 3) / 4)
    assert baseline(1e5) == pytest.approx(0.25, abs=1e-4)
    assert baseline(1e-3) == pytest.approx(1.0, abs=2e-3)


def test_soft_maximum_of_equal_rewards_is_that_reward_exactly() -> None:
    rewards = torch.tensor([0.3, 0.3, 0.3, float("nan")])
    found = soft_maximum(rewards, torch.zeros(4, dtype=torch.long), torch.tensor([True] * 3 + [False]), tau=0.7)
    assert torch.equal(found, torch.full((4,), 0.3))


def test_soft_maximum_of_nothing_decided_is_a_number() -> None:
    rewards = torch.tensor([1.0, float("nan"), float("nan")])
    found = soft_maximum(rewards, torch.tensor([0, 1, 1]), torch.tensor([True, False, False]), tau=1.0)
    assert found[0] == 1.0
    assert torch.isfinite(found).all()


def test_wrong_arguments_are_refused_of_advantages() -> None:
    with pytest.raises(ValueError, match="scale"):
        advantages([1.0, 0.0], scale="std")
    with pytest.raises(ValueError, match="shapes"):
        group_relative(torch.zeros(2), torch.zeros(3), torch.ones(2, dtype=torch.bool))


# -- token rewards, GAE and whitening: literals worked by hand, and the identities that tie them to plain returns ------

T = torch.tensor


def ones(*shape: int) -> torch.Tensor:
    return torch.ones(*shape, dtype=torch.bool)


def test_gae_literal() -> None:
    """δ = (.1, .1, .7); A_2 = .7, A_1 = .1 + .95·.7, A_0 = .1 + .95·A_1."""
    rewards, values = T([[0.0, 0.0, 1.0]]), T([[0.1, 0.2, 0.3]])
    advantages = gae(rewards, values, ones(1, 3), gamma=1.0, lam=0.95)
    torch.testing.assert_close(advantages, T([[0.82675, 0.765, 0.7]]))
    torch.testing.assert_close(advantages + values, T([[0.92675, 0.965, 1.0]]))


def test_tokens_outside_the_mask_are_no_steps() -> None:
    mask = T([[False, True, False, True, True, False]])
    rewards = T([[9.0, 0.0, 9.0, 0.0, 1.0, 9.0]])
    values = T([[9.0, 0.1, 9.0, 0.2, 0.3, 9.0]])
    found = gae(rewards, values, mask, gamma=1.0, lam=0.95)
    torch.testing.assert_close(found, T([[0.0, 0.82675, 0.0, 0.765, 0.7, 0.0]]))


def test_discount_literal() -> None:
    found = gae(T([[1.0, 0.0, 4.0]]), torch.zeros(1, 3), ones(1, 3), gamma=0.5, lam=1.0)
    torch.testing.assert_close(found, T([[2.0, 2.0, 4.0]]))


rows = st.lists(st.tuples(st.floats(-2, 2), st.floats(-2, 2)), min_size=1, max_size=8)


@given(rows, st.floats(0, 1))
def test_lambda_one_is_return_minus_value(row: list[tuple[float, float]], gamma: float) -> None:
    rewards, values = ([pair[i] for pair in row] for i in (0, 1))
    found = gae(T([rewards]), T([values]), ones(1, len(row)), gamma=gamma, lam=1.0)[0].tolist()
    for t in range(len(row)):
        wanted = sum(gamma**i * r for i, r in enumerate(rewards[t:])) - values[t]
        assert found[t] == pytest.approx(wanted, abs=1e-4)


@given(rows, st.floats(0, 1))
def test_lambda_zero_is_the_one_step_error(row: list[tuple[float, float]], gamma: float) -> None:
    rewards, values = ([pair[i] for pair in row] for i in (0, 1))
    found = gae(T([rewards]), T([values]), ones(1, len(row)), gamma=gamma, lam=0.0)[0].tolist()
    for t, value in enumerate(values):
        after = values[t + 1] if t + 1 < len(values) else 0.0
        assert found[t] == pytest.approx(rewards[t] + gamma * after - value, abs=1e-4)


def test_reward_stands_on_the_last_token_and_kl_on_each() -> None:
    found = token_rewards(T([1.0]), ones(1, 2), T([[0.1, 0.2]]), kl_coef=0.01)
    torch.testing.assert_close(found, T([[-0.001, 0.998]]))
    mask = T([[False, True, True, False], [False, True, True, True], [False] * 4])
    kl = T([[9.0, 1.0, 2.0, 9.0], [9.0, 0.0, 0.0, 4.0], [9.0] * 4])
    found = token_rewards(T([1.0, -0.5, float("nan")]), mask, kl, kl_coef=0.1)
    torch.testing.assert_close(found, T([[0.0, -0.1, 0.8, 0.0], [0.0, 0.0, 0.0, -0.9], [0.0] * 4]))


def test_whitened_literal() -> None:
    """Mean 2 and biased std √(8/3) over (0, 2, 4); what is masked out counts nowhere."""
    found = whiten(T([[0.0, 2.0, 99.0], [4.0, float("nan"), 7.0]]), T([[True, True, False], [True, False, False]]))
    torch.testing.assert_close(found, T([[-1.2247449, 0.0, 0.0], [1.2247449, 0.0, 0.0]]))


def test_whitened_has_mean_zero_and_std_one_whatever_the_split() -> None:
    values, mask = torch.randn(6, 5) * 3 + 2, torch.rand(6, 5) < 0.6
    whole = whiten(values, mask)
    assert float(whole[mask].mean()) == pytest.approx(0, abs=1e-6)
    assert float(whole[mask].std(correction=0)) == pytest.approx(1, abs=1e-6)
    order = torch.randperm(6)
    wide = torch.cat([values[order], torch.full((6, 3), 9.0)], 1)
    again = whiten(wide, torch.cat([mask[order], torch.zeros(6, 3, dtype=torch.bool)], 1))
    torch.testing.assert_close(again[:, :5], whole[order])


def test_whitened_without_spread_is_zero() -> None:
    assert torch.equal(whiten(torch.full((2, 2), 3.0), ones(2, 2)), torch.zeros(2, 2))


def test_following_skips_what_is_masked_out() -> None:
    values = T([[1.0, 2.0, 3.0, 4.0, 5.0]])
    found = following(values, T([[False, True, False, True, True]]))
    assert found.tolist() == [[0.0, 4.0, 0.0, 5.0, 0.0]]


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="shapes"):
        gae(torch.zeros(1, 2), torch.zeros(1, 3), ones(1, 2))


# -- estimators of the KL: literals, the clamp, and what they estimate -------------------------------------------------

HALF = math.log(2)  # π = 1/2, π_ref = 1/4: d = log π_ref − log π = −log 2.


@pytest.mark.parametrize(
    ("estimator", "wanted"),
    [("k1", HALF), ("k2", HALF**2 / 2), ("k3", 0.5 + HALF - 1)],
)
def test_literals_of_kl(estimator: str, wanted: float) -> None:
    found = kl(torch.tensor([[0.5]]).log(), torch.tensor([[0.25]]).log(), estimator=estimator)
    assert found.item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(("estimator", "wanted"), [("k1", -HALF), ("k2", HALF**2 / 2), ("k3", 1 - HALF)])
def test_literals_the_other_way_round(estimator: str, wanted: float) -> None:
    found = kl(torch.tensor([[0.25]]).log(), torch.tensor([[0.5]]).log(), estimator=estimator)
    assert found.item() == pytest.approx(wanted, rel=1e-5)


def test_k3_is_clamped_at_ten() -> None:
    # d = 3: e³ − 4 = 16.1 → 10; d = 2: e² − 3 = 4.389; d = −20: 20 − 1 = 19 → 10.
    found = kl(torch.zeros(1, 3), torch.tensor([[3.0, 2.0, -20.0]]), estimator="k3")
    assert found[0].tolist() == pytest.approx([10.0, math.e**2 - 3, 10.0])


@pytest.mark.parametrize("estimator", KL_ESTIMATORS)
def test_equal_policies_have_none(estimator: str) -> None:
    assert kl(torch.tensor([[-1.5]]), torch.tensor([[-1.5]]), estimator=estimator).item() == 0.0


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_unbiased(estimator: str) -> None:
    """The mean under π over a small vocabulary is the KL itself, exactly."""
    policy, reference = torch.randn(7).double().log_softmax(0), torch.randn(7).double().log_softmax(0)
    exact = (policy.exp() * (policy - reference)).sum()
    found = (policy.exp() * kl(policy[None], reference[None], estimator=estimator)[0]).sum()
    assert found.item() == pytest.approx(exact.item(), rel=1e-9)


@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_never_negative(estimator: str) -> None:
    values = torch.linspace(-12, 12, 241)[None]
    assert (kl(torch.zeros_like(values), values, estimator=estimator) >= 0).all()


def test_gradients_of_k1_k2_k3() -> None:
    # ∂/∂log π: k1 → 1, k2 → −d, k3 → 1 − e^d, and 0 where the clamp holds.
    for estimator, wanted in (("k1", 1.0), ("k2", 0.5), ("k3", 1 - math.exp(-0.5))):
        logprobs = torch.tensor([[-1.0]], requires_grad=True)
        kl(logprobs, torch.tensor([[-1.5]]), estimator=estimator).sum().backward()
        assert logprobs.grad.item() == pytest.approx(wanted, rel=1e-5), estimator


@pytest.mark.parametrize("d", [3.0, 50.0, 100.0, 1000.0])
def test_k3_far_away_has_a_finite_value_and_no_gradient(d: float) -> None:
    logprobs = torch.tensor([[-d]], requires_grad=True)
    value = kl(logprobs, torch.zeros(1, 1), estimator="k3")
    value.sum().backward()
    assert value.item() == 10.0
    assert logprobs.grad.item() == 0.0


def test_unknown_estimator_is_refused() -> None:
    with pytest.raises(ValueError, match="k4"):
        kl(torch.zeros(1, 1), torch.zeros(1, 1), estimator="k4")


@pytest.mark.parametrize(
    ("kl", "wanted"),
    [
        (0.05, 0.1),  # on target
        (0.055, 0.1 * (1 + 0.1 * 0.5)),  # a tenth over it
        (9.0, 0.1 * (1 + 0.2 * 0.5)),  # never more than a fifth
        (0.0, 0.1 * (1 - 0.2 * 0.5)),
    ],
)
def test_adaptive_coefficient(kl: float, wanted: float) -> None:
    assert adapted(0.1, kl, target=0.05, horizon=1000, count=500) == pytest.approx(wanted)


# -- the factor for a sampler that is not the trainer, by hand ---------------------------------------------------------

#: Two responses: ρ = 4, 1, ¼ (geometric mean 1) and ρ = 3, 3, and one token outside the mask.
SAMPLER = torch.full((2, 3), -2.0)
LOGPROBS = SAMPLER + torch.tensor([[math.log(4), 0.0, math.log(0.25)], [math.log(3), math.log(3), 5.0]])
CORRECTION_MASK = torch.tensor([[True, True, True], [True, True, False]])


@pytest.mark.parametrize(
    ("mode", "factor", "acted"),
    [
        ("none", [[1, 1, 1], [1, 1, 0]], [[0, 0, 0], [0, 0, 0]]),
        ("truncated", [[2, 1, 0.25], [2, 2, 0]], [[1, 0, 0], [1, 1, 0]]),
        ("token-mask", [[0, 1, 0], [0, 0, 0]], [[1, 0, 1], [1, 1, 0]]),
        ("sequence-mask", [[1, 1, 1], [0, 0, 0]], [[0, 0, 0], [1, 1, 0]]),
    ],
)
def test_literals_of_correction(mode: str, factor: list, acted: list) -> None:
    found = correction(LOGPROBS, SAMPLER, CORRECTION_MASK, mode=mode, low=0.5, high=2.0)
    torch.testing.assert_close(found[0], torch.tensor(factor, dtype=torch.float32))
    torch.testing.assert_close(found[1], torch.tensor(acted, dtype=torch.float32))


@pytest.mark.parametrize("mode", CORRECTIONS)
def test_a_sampler_that_is_the_trainer_needs_none(mode: str) -> None:
    factor, acted = correction(SAMPLER, SAMPLER, CORRECTION_MASK, mode=mode, low=0.5, high=2.0)
    assert torch.equal(factor, CORRECTION_MASK.float())
    assert not acted.any()


def test_bounds_that_are_met_exactly_let_through() -> None:
    logprobs = SAMPLER + math.log(2)
    factor, acted = correction(logprobs, SAMPLER, CORRECTION_MASK, mode="token-mask", low=0.5, high=2.0001)
    torch.testing.assert_close(factor, 2.0 * CORRECTION_MASK)
    assert not acted.any()


def test_the_factor_has_no_gradient() -> None:
    logprobs = LOGPROBS.clone().requires_grad_()
    for mode in CORRECTIONS:
        factor, _ = correction(logprobs, SAMPLER, CORRECTION_MASK, mode=mode, low=0.5, high=2.0)
        assert not factor.requires_grad


def test_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="truncated"):
        correction(LOGPROBS, SAMPLER, CORRECTION_MASK, mode="clip", low=0.5, high=2.0)
