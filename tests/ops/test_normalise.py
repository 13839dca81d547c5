"""The normalisers by hand, and what must not change them."""

import pytest
import torch

from simplerl.ops.losses import NORMALISERS, normalise

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
