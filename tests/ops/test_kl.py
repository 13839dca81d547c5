"""Estimators of the KL: literals, the clamp, and what they estimate."""

import math

import pytest
import torch

from simplerl.ops.kl import KL_ESTIMATORS, adapted, kl

HALF = math.log(2)  # π = 1/2, π_ref = 1/4: d = log π_ref − log π = −log 2.


@pytest.mark.parametrize(
    ("estimator", "wanted"),
    [("k1", HALF), ("k2", HALF**2 / 2), ("k3", 0.5 + HALF - 1)],
)
def test_literals(estimator: str, wanted: float) -> None:
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
