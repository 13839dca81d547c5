"""The clipped surrogate: literals, identities and where its gradient stops."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from simplerl.ops.losses import clipped_policy_loss, clipped_share

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


def gradient(ratio: float, advantage: float) -> float:
    ratio_BT = torch.tensor([[ratio]], requires_grad=True)
    clipped_policy_loss(ratio_BT, torch.tensor([[advantage]]), **CLIP).sum().backward()
    return ratio_BT.grad.item()


@pytest.mark.parametrize("advantage", [1.0, -1.0])
@pytest.mark.parametrize("ratio", [0.5, 0.79, 0.81, 1.0, 1.19, 1.21, 2.0])
def test_clipped_share_says_where_the_gradient_is_held_back(ratio: float, advantage: float) -> None:
    held = clipped_share(torch.tensor([[ratio]]), torch.tensor([[advantage]]), **CLIP).item()
    assert held == float(gradient(ratio, advantage) == 0.0)
    assert gradient(ratio, advantage) in (0.0, -advantage)


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
