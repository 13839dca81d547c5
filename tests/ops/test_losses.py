"""The clipped surrogate: literals, identities and where its gradient stops."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from simplerl.ops.losses import (
    clipped_policy_loss,
    clipped_share,
    clipped_value_loss,
    sequence_ratio,
    trust_mask,
    weighted_reinforce,
)

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
