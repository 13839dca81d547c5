"""Group-relative advantages: literals computed by hand, and identities."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from simplerl.ops.advantages import group_moments, group_relative, leave_one_out, soft_maximum


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


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="scale"):
        advantages([1.0, 0.0], scale="std")
    with pytest.raises(ValueError, match="shapes"):
        group_relative(torch.zeros(2), torch.zeros(3), torch.ones(2, dtype=torch.bool))
