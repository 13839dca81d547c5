"""ROVER on a tree small enough to know everything: four ways to win out of 64, one under each branch of the root."""

import itertools
from collections.abc import Iterator

import pytest
import torch

from simplerl.algorithms import ALGORITHMS
from simplerl.algorithms.base import Algorithm
from simplerl.core.types import LossInputs

ARMS, DEPTH = 4, 3
WINNERS = {(0, 1, 2), (1, 3, 0), (2, 0, 3), (3, 2, 1)}
PATHS = torch.tensor(list(itertools.product(range(ARMS), repeat=DEPTH)))
REWARDS = torch.tensor([float(tuple(path) in WINNERS) for path in PATHS.tolist()])
#: Row of the table of logits for each place of each path: the root, 4 places below, 16 below these.
STATES = torch.stack([torch.zeros(64, dtype=torch.long), 1 + PATHS[:, 0], 5 + 4 * PATHS[:, 0] + PATHS[:, 1]], 1)


def uniform_values() -> torch.Tensor:
    """Return Q of the uniformly random policy at every place, [21, 4], by counting winning leaves."""
    values = torch.zeros(21, ARMS)
    for t in range(DEPTH):
        for state in STATES[:, t].unique():
            for arm in range(ARMS):
                below = (STATES[:, t] == state) & (PATHS[:, t] == arm)
                values[state, arm] = REWARDS[below].mean()
    return values


def leaf_probabilities(table_SA: torch.Tensor) -> torch.Tensor:
    """Return the probability of each of the 64 paths under a table of logits."""
    logprobs_SA = table_SA.log_softmax(-1)
    return logprobs_SA[STATES, PATHS].sum(1).exp()


def test_values_of_the_uniform_policy() -> None:
    values = uniform_values()
    assert values[0].tolist() == [0.0625] * 4
    leaves = leaf_probabilities(values / 0.05)
    assert float(leaves[REWARDS > 0].sum()) == pytest.approx(0.98, abs=0.005)
    assert leaves[REWARDS > 0].tolist() == pytest.approx([float(leaves[REWARDS > 0].mean())] * 4)


def expected_loss(
    algorithm: Algorithm, table_SA: torch.Tensor, old_SA: torch.Tensor, share_B: torch.Tensor, credit_B: torch.Tensor
) -> torch.Tensor:
    """Return the algorithm's loss over all 64 paths, each with its share: the expectation of a batch's loss."""
    new, old = table_SA.log_softmax(-1), old_SA.log_softmax(-1)
    weights_BT = share_B[:, None].expand(-1, DEPTH) / DEPTH
    inputs = LossInputs(
        mask_BT=torch.ones(64, DEPTH, dtype=torch.bool),
        logprobs_BT=new[STATES, PATHS],
        old_logprobs_BT=old[STATES, PATHS],
        ref_logprobs_BT=None,
        entropy_BT=torch.zeros(64, DEPTH),
        advantages_BT=credit_B[:, None].expand(-1, DEPTH),
        weights_BT=weights_BT,
        mean_BT=weights_BT,
        vocabulary_mean_BT=new.mean(-1)[STATES].detach(),
        old_vocabulary_mean_BT=old.mean(-1)[STATES],
    )
    return algorithm.loss(inputs).loss


def test_regression_finds_the_values_of_the_uniform_policy() -> None:
    """From the uniform policy, over all leaves, Q = log π − log π_old settles at the Bellman solution of the shift.

    Within a place log π cannot rise for all arms, so values show as differences between arms.
    """
    table = torch.zeros(21, ARMS, requires_grad=True)
    optimizer = torch.optim.Adam([table], lr=0.02)
    rover, share_B = ALGORITHMS["rover"](), torch.full((64,), 1 / 64)
    for _ in range(800):
        optimizer.zero_grad()
        expected_loss(rover, table, torch.zeros(21, ARMS), share_B, REWARDS - REWARDS.mean()).backward()
        optimizer.step()
    found = table.detach().log_softmax(-1)
    last = found[STATES[REWARDS > 0, 2]].sort(-1).values
    assert (last[:, 3] - last[:, 2] > 0.5).all()
    assert (found[0] - found[0].mean()).abs().max() < 0.02, "the four branches of the root are worth the same"
    greedy = {tuple(path) for path in WINNERS}
    for branch in range(ARMS):
        second = int(found[1 + branch].argmax())
        third = int(found[5 + 4 * branch + second].argmax())
        assert (branch, second, third) in greedy, "greedy is optimal under every branch"


#: A base policy that prefers some branches of the root, and so some of the ways to win.
PREFERENCE = torch.tensor([1.0, 0.5, 0.0, -0.5])


@pytest.fixture
def double_precision() -> Iterator[None]:
    """Compute in fp64: in fp32 the rounding of a processor decides how far a run goes."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def train(name: str, inner: int) -> torch.Tensor:
    """Train until 90% of the paths win, `inner` updates a step; return the shares of the four ways among those."""
    algorithm = ALGORITHMS[name]()
    table = torch.zeros(21, ARMS)
    table[0] = PREFERENCE
    table.requires_grad_()
    for _ in range(60):
        leaves = leaf_probabilities(table.detach())
        wins = leaves[REWARDS > 0]
        if wins.sum() > 0.9:
            return wins / wins.sum()
        mean = (leaves * REWARDS).sum()
        credit = REWARDS - mean
        if name == "grpo":
            credit = credit / (leaves * credit.square()).sum().sqrt()
        old = table.detach().clone()
        optimizer = torch.optim.Adam([table], lr=0.05)
        for _ in range(inner):
            optimizer.zero_grad()
            expected_loss(algorithm, table, old, leaves, credit).backward()
            optimizer.step()
    raise AssertionError(f"{name} has not learned")


def test_rover_keeps_the_ways_to_win_that_grpo_loses(double_precision: None) -> None:
    """At equal accuracy, each step's regression done to its end, the base policy's preference is what remains.

    GRPO with few updates a step loses most of it (0.35 of 1.25 nats). With 60 updates a step its clipping stops it near
    the old policy and it keeps nearly as much: that difference is no larger than rounding can move, so untested.
    """

    def diversity(shares: torch.Tensor) -> float:
        return float(-(shares * shares.log()).sum())

    rover = train("rover", 60)
    torch.testing.assert_close(rover, PREFERENCE.double().softmax(-1), rtol=0, atol=0.02)
    for inner in (1, 4):
        assert diversity(rover) > diversity(train("grpo", inner)) + 0.5
