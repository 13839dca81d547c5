"""Token rewards, GAE and whitening: literals worked by hand, and the identities that tie them to plain returns."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from simplerl.ops.returns import following, gae, token_rewards, whiten

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
