"""ROVER on a tree small enough to know everything: four ways to win out of 64, one under each branch of the root."""

import itertools

import pytest
import torch

from simplerl.algorithms import ALGORITHMS
from simplerl.algorithms.base import Algorithm
from simplerl.types import LossInputs

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


def losses(algorithm: Algorithm, table_SA: torch.Tensor, old_SA: torch.Tensor, rows: torch.Tensor, credit_B):
    """Return the algorithm's loss on the paths `rows`."""
    new, old = table_SA.log_softmax(-1), old_SA.log_softmax(-1)
    states, arms = STATES[rows], PATHS[rows]
    mask_BT = torch.ones(len(rows), DEPTH, dtype=torch.bool)
    inputs = LossInputs(
        mask_BT=mask_BT,
        logprobs_BT=new[states, arms],
        old_logprobs_BT=old[states, arms],
        ref_logprobs_BT=None,
        entropy_BT=torch.zeros(len(rows), DEPTH),
        advantages_BT=credit_B[:, None].expand(-1, DEPTH),
        weights_BT=mask_BT / mask_BT.sum(),
        mean_BT=mask_BT / mask_BT.sum(),
        vocabulary_mean_BT=new.mean(-1)[states].detach(),
        old_vocabulary_mean_BT=old.mean(-1)[states],
    )
    return algorithm.loss(inputs).loss


def test_regression_finds_the_values_of_the_uniform_policy() -> None:
    """From the uniform policy, over all leaves, Q = log π − log π_old settles at the Bellman solution of the shift.

    Within a place log π cannot rise for all arms, so values show as differences between arms.
    """
    table = torch.zeros(21, ARMS, requires_grad=True)
    optimizer = torch.optim.Adam([table], lr=0.02)
    rover, rows = ALGORITHMS["rover"](), torch.arange(64)
    for _ in range(1500):
        optimizer.zero_grad()
        losses(rover, table, torch.zeros(21, ARMS), rows, REWARDS - REWARDS.mean()).backward()
        optimizer.step()
    found = table.detach().log_softmax(-1)
    last = found[STATES[REWARDS > 0, 2]].sort(-1).values
    assert (last[:, 3] - last[:, 2] == pytest.approx(1.0, abs=0.05)) or (last[:, 3] - last[:, 2] > 0.5).all()
    assert (found[0] - found[0].mean()).abs().max() < 0.02, "the four branches of the root are worth the same"
    greedy = {tuple(path) for path in WINNERS}
    for branch in range(ARMS):
        second = int(found[1 + branch].argmax())
        third = int(found[5 + 4 * branch + second].argmax())
        assert (branch, second, third) in greedy, "greedy is optimal under every branch"
