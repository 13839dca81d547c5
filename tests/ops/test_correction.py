"""The factor for a sampler that is not the trainer, by hand."""

import math

import pytest
import torch

from simplerl.ops.correction import CORRECTIONS, correction

#: Two responses: ρ = 4, 1, ¼ (geometric mean 1) and ρ = 3, 3, and one token outside the mask.
SAMPLER = torch.full((2, 3), -2.0)
LOGPROBS = SAMPLER + torch.tensor([[math.log(4), 0.0, math.log(0.25)], [math.log(3), math.log(3), 5.0]])
MASK = torch.tensor([[True, True, True], [True, True, False]])


@pytest.mark.parametrize(
    ("mode", "factor", "acted"),
    [
        ("none", [[1, 1, 1], [1, 1, 0]], [[0, 0, 0], [0, 0, 0]]),
        ("truncated", [[2, 1, 0.25], [2, 2, 0]], [[1, 0, 0], [1, 1, 0]]),
        ("token-mask", [[0, 1, 0], [0, 0, 0]], [[1, 0, 1], [1, 1, 0]]),
        ("sequence-mask", [[1, 1, 1], [0, 0, 0]], [[0, 0, 0], [1, 1, 0]]),
    ],
)
def test_literals(mode: str, factor: list, acted: list) -> None:
    found = correction(LOGPROBS, SAMPLER, MASK, mode=mode, low=0.5, high=2.0)
    torch.testing.assert_close(found[0], torch.tensor(factor, dtype=torch.float32))
    torch.testing.assert_close(found[1], torch.tensor(acted, dtype=torch.float32))


@pytest.mark.parametrize("mode", CORRECTIONS)
def test_a_sampler_that_is_the_trainer_needs_none(mode: str) -> None:
    factor, acted = correction(SAMPLER, SAMPLER, MASK, mode=mode, low=0.5, high=2.0)
    assert torch.equal(factor, MASK.float())
    assert not acted.any()


def test_bounds_that_are_met_exactly_let_through() -> None:
    logprobs = SAMPLER + math.log(2)
    factor, acted = correction(logprobs, SAMPLER, MASK, mode="token-mask", low=0.5, high=2.0001)
    torch.testing.assert_close(factor, 2.0 * MASK)
    assert not acted.any()


def test_the_factor_has_no_gradient() -> None:
    logprobs = LOGPROBS.clone().requires_grad_()
    for mode in CORRECTIONS:
        factor, _ = correction(logprobs, SAMPLER, MASK, mode=mode, low=0.5, high=2.0)
        assert not factor.requires_grad


def test_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="truncated"):
        correction(LOGPROBS, SAMPLER, MASK, mode="clip", low=0.5, high=2.0)
