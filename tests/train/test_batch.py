"""From trajectories to tensors, and from rows to micro-batches."""

import dataclasses

import numpy as np
import pytest
import torch
from support import CORRECT, TIMED_OUT, WRONG, group, random_groups, trajectory

from simplerl.core.types import Batch
from simplerl.feed.feed import shuffle_rewards
from simplerl.train.batch import MicroBatch, build_batch, cut_update, microbatches


def test_every_token_in_its_place() -> None:
    groups = [
        group(
            trajectory(prompt=[5, 6], response=[7, 8, 0], logprobs=[-1.0, -2.0, -3.0], mask=[True, False, True]),
            trajectory(prompt=[5, 6], response=[9], logprobs=[-4.0], verdict=WRONG, stop_reason="length"),
        ),
        group(trajectory(prompt=[4], response=[3, 0], logprobs=[-5.0, -6.0], verdict=TIMED_OUT)),
    ]
    batch = build_batch(groups)
    assert batch.tokens_BT.tolist() == [[5, 6, 7, 8, 0], [5, 6, 9, 0, 0], [4, 3, 0, 0, 0]]
    assert batch.mask_BT.int().tolist() == [[0, 0, 1, 0, 1], [0, 0, 1, 0, 0], [0, 1, 1, 0, 0]]
    assert batch.sampler_logprobs_BT.tolist() == [[0, 0, -1, -2, -3], [0, 0, -4, 0, 0], [0, -5, -6, 0, 0]]
    assert batch.lengths_B.tolist() == [5, 3, 3]
    assert batch.prompt_lengths_B.tolist() == [2, 2, 1]
    assert batch.group_B.tolist() == [0, 0, 1]
    assert batch.rewards_B[:2].tolist() == [1.0, 0.0]
    assert batch.rewards_B[2].isnan()
    assert batch.included_B.tolist() == [True, True, False]
    assert batch.truncated_B.tolist() == [False, True, False]


def cut(rows: torch.Tensor, lengths_B: torch.Tensor, tokens: int) -> list[MicroBatch]:
    return list(microbatches(rows, lengths_B, tokens=tokens, device=torch.device("cpu")))


@pytest.mark.parametrize("tokens", [1, 7, 20, 64, 10**6])
def test_microbatches_keep_within_their_budget_and_lose_no_row(tokens: int) -> None:
    lengths_B = torch.tensor([3, 9, 5, 9, 2, 7, 1, 4])
    rows = torch.tensor([0, 1, 3, 4, 5, 7])
    pieces = [micro.rows for micro in cut(rows, lengths_B, tokens)]
    assert sorted(torch.cat(pieces).tolist()) == rows.tolist()
    for piece in pieces:
        assert len(piece) == 1 or len(piece) * int(lengths_B[piece].max()) <= tokens
    flat = [int(lengths_B[row]) for piece in pieces for row in piece]
    assert flat == sorted(flat, reverse=True), "the longest first, like lengths together"


def test_microbatches_are_as_full_as_they_may_be() -> None:
    lengths_B = torch.full((10,), 5)
    assert [len(micro.rows) for micro in cut(torch.arange(10), lengths_B, 20)] == [4, 4, 2]


def test_microbatches_are_cut_where_lengths_differ() -> None:
    """One long row would have the short ones padded to its width; a pass costs less than that, and more than a bit."""
    assert [len(micro.rows) for micro in cut(torch.arange(9), torch.tensor([60, *[6] * 8]), 640)] == [1, 8]
    assert [len(micro.rows) for micro in cut(torch.arange(9), torch.tensor([7, *[6] * 8]), 640)] == [9]


def update(share: str, tokens: int, **shape) -> tuple[Batch, list[MicroBatch]]:
    batch = build_batch(random_groups(problems=6, samples=5, **shape))
    rows = torch.tensor([row for row in range(30) if row % 7])
    device = torch.device("cpu")
    return batch, cut_update(rows, batch, tokens=tokens, device=device, share_prompts=share)


@pytest.mark.parametrize("tokens", [1, 40, 100, 10**6])
def test_shared_prompts_lose_no_row_and_keep_within_the_budget(tokens: int) -> None:
    batch, cuts = update("on", tokens, prompts=(5, 30))
    assert sorted(torch.cat([micro.rows for micro in cuts]).tolist()) == [row for row in range(30) if row % 7]
    for micro in cuts:
        assert micro.padded <= tokens or len(micro.rows) == 1
        assert micro.prompts is not None
        firsts: dict[int, list[int]] = {}
        for row, number, length in zip(micro.rows, micro.prompts.index_B, micro.prompts.lengths_B, strict=True):
            prompt = batch.tokens_BT[row, :length].tolist()
            assert length == batch.prompt_lengths_B[row]
            assert firsts.setdefault(int(number), prompt) == prompt
        assert sorted(firsts) == list(range(len(firsts)))


@pytest.mark.parametrize(("prompts", "shared"), [((40, 60), True), ((2, 4), False)])
def test_prompts_are_shared_where_that_saves_tokens(prompts: tuple[int, int], shared: bool) -> None:
    for choice, wanted in (("auto", shared), ("on", True), ("off", False)):
        assert all((micro.prompts is not None) == wanted for micro in update(choice, 200, prompts=prompts)[1])
    plain, once = (sum(micro.padded for micro in update(each, 10**6, prompts=(40, 60))[1]) for each in ("off", "on"))
    assert once < 0.6 * plain


def test_shuffled_rewards_are_the_same_rewards_elsewhere() -> None:
    groups = random_groups(problems=8, samples=8)
    before = [t.reward for g in groups for t in g.trajectories]
    shuffled = shuffle_rewards(groups, seed=0, step=3)
    after = [t.reward for g in shuffled for t in g.trajectories]
    assert sorted(after) == sorted(before)
    assert after != before
    for one, other in zip(shuffled, groups, strict=True):
        for t, old in zip(one.trajectories, other.trajectories, strict=True):
            assert t.verdict is old.verdict, "what the verifier said is not rewritten"
            assert t.completion is old.completion
    assert [t.reward for g in groups for t in g.trajectories] == before


def test_shuffling_is_addressed() -> None:
    groups = random_groups(problems=8)

    def rewards(**address: int) -> list[float]:
        return [t.reward for g in shuffle_rewards(groups, **address) for t in g.trajectories]

    assert rewards(seed=0, step=3) == rewards(seed=0, step=3)
    assert rewards(seed=0, step=3) != rewards(seed=0, step=4)
    assert rewards(seed=0, step=3) != rewards(seed=1, step=3)


def test_shuffling_leaves_the_undecided_without_a_reward() -> None:
    members = [trajectory(verdict=v) for v in (CORRECT, TIMED_OUT, WRONG, WRONG, CORRECT, TIMED_OUT)]
    (shuffled,) = shuffle_rewards([group(*members)], seed=0, step=0)
    found = [t.reward for t in shuffled.trajectories]
    assert np.isnan(found).tolist() == [False, True, False, False, False, True]
    assert sorted(r for r in found if r == r) == [0.0, 0.0, 1.0, 1.0]


def test_shuffling_leaves_out_the_rewards_of_steps() -> None:
    """Else a process reward would still teach, in a control with nothing to learn."""
    member = dataclasses.replace(trajectory(), step_rewards=((1, 0.5),))
    (shuffled,) = shuffle_rewards([group(member, trajectory(verdict=WRONG))], seed=0, step=1)
    assert [t.step_rewards for t in shuffled.trajectories] == [(), ()]


def test_shuffling_breaks_the_link_between_answer_and_reward() -> None:
    """Over many steps a right answer is rewarded no more often than a wrong one."""
    groups = [dataclasses.replace(g) for g in random_groups(problems=16, samples=8, seed=5)]
    right, wrong = [], []
    for step in range(60):
        for g in shuffle_rewards(groups, seed=0, step=step):
            for t in g.trajectories:
                (right if t.verdict.correct else wrong).append(t.reward)
    assert np.mean(right) == pytest.approx(np.mean(wrong), abs=0.03)
