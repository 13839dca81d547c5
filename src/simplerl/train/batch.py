"""From trajectory groups to tensors, and from tensors to micro-batches."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from simplerl.core.types import COMPONENTS, Batch, LossComponent, TrajectoryGroup
from simplerl.feed.buffer import Row, row_of
from simplerl.models.score import Prompts, PromptStates

#: Prompts are computed once where that leaves at most this share of an update's tokens: it takes two passes for one.
WORTH_SHARING = 0.7
#: What a pass through a model costs by itself, as a share of the tokens of a full micro-batch.
PASS_SHARE = 1 / 32
#: A limit on micro-batches of like size, over their mean size.
SLACKS = (1.0, 1.1, 1.25)


def build_batch(
    groups: Sequence[TrajectoryGroup],
    component_B: Sequence[int] = (),
    *,
    trained: bool = True,
    rows: Sequence[Row] = (),
    component: LossComponent | None = None,
) -> Batch:
    """Return the step's responses as one batch, on the CPU, in the order of the groups; none included if not trained
    on. Behind them come kept or given `rows`, each a group of its own.

    `component_B` says which term of the loss each response is for (`Batch.component_B`); empty: the algorithm's own.
    `component` is that of the rows, with their credit; None: whatever algorithm learns from them gives it.
    """
    trajectories = [(index, t) for index, group in enumerate(groups) for t in group.trajectories]
    every = [*(row_of(t) for _, t in trajectories), *rows]
    prompts, lengths = [row.prompt_length for row in every], [len(row.tokens) for row in every]
    shape = (len(lengths), max(lengths))
    tokens_BT = np.zeros(shape, dtype=np.int64)
    mask_BT = np.zeros(shape, dtype=bool)
    logprobs_BT = np.zeros(shape, dtype=np.float32)
    to_come_BT = np.zeros(shape, dtype=np.float32)
    credit_BT = np.full(shape, math.nan, dtype=np.float32)
    own, further = len(trajectories), len(rows)
    codes = [*(component_B or [0] * own), *[COMPONENTS.index(component or "rl")] * further]
    for index, row in enumerate(every):
        tokens_BT[index, : lengths[index]] = row.tokens
        mask_BT[index, : lengths[index]] = row.mask
        logprobs_BT[index, : lengths[index]] = row.logprobs
        if codes[index] > 0 or (component and index >= own):
            credit_BT[index] = np.pad(row.credit, (0, shape[1] - lengths[index]))
    for index, (_, t) in enumerate(trajectories):
        for end, reward in t.step_rewards:
            to_come_BT[index, prompts[index] : prompts[index] + end] += reward
    return Batch(
        tokens_BT=torch.from_numpy(tokens_BT),
        lengths_B=torch.tensor(lengths),
        prompt_lengths_B=torch.tensor(prompts),
        mask_BT=torch.from_numpy(mask_BT),
        sampler_logprobs_BT=torch.from_numpy(logprobs_BT) if own or component == "rl" else None,
        rewards_B=torch.tensor([*(t.reward for _, t in trajectories), *[0.0] * further], dtype=torch.float32),
        group_B=torch.tensor([*(index for index, _ in trajectories), *range(len(groups), len(groups) + further)]),
        included_B=torch.tensor([*(trained and t.verdict.decided for _, t in trajectories), *[True] * further]),
        truncated_B=torch.tensor(
            [*(t.completion.stop_reason == "length" for _, t in trajectories), *[False] * further]
        ),
        to_come_BT=torch.from_numpy(to_come_BT),
        component_B=torch.tensor(codes),
        credit_BT=torch.from_numpy(credit_BT),
    )


def minibatches(group_B: torch.Tensor, problems: int, component_B: torch.Tensor | None = None) -> list[torch.Tensor]:
    """Cut rows into updates of at most so many problems each (0: one update), of like size; return the rows of each.

    Dynamic sampling may leave a number that cannot be divided: an update of the remainder would be of a few problems,
    and move as far as one of many. Rows that are only for a term beside (`Batch.component_B`) are dealt to the updates
    of the others: they are no problems.
    """
    beside_B = torch.zeros_like(group_B, dtype=torch.bool) if component_B is None else component_B > 0
    beside_B = beside_B & ~beside_B.all()
    groups, beside = group_B[~beside_B].unique(), beside_B.nonzero().flatten()
    updates = math.ceil(len(groups) / (problems or len(groups)))
    bounds = [len(groups) * i // updates for i in range(updates + 1)]
    own = [torch.isin(group_B, groups[start:end]).nonzero().flatten() for start, end in itertools.pairwise(bounds)]
    return [torch.cat([rows, beside[number::updates]]) for number, rows in enumerate(own)]


@dataclass(frozen=True, kw_only=True, eq=False)
class MicroBatch:
    """What goes through a model at once: which rows of the batch, and how wide."""

    rows: torch.Tensor
    width: int
    device: torch.device
    padded: int  # Tokens that are computed, padding included
    prompts: Prompts | None = None  # The prompts of the rows, where each is computed once
    idle: bool = False
    """Holds nothing: a rank that has no rows left goes through the model all the same, as others need its shard."""

    @property
    def leaves(self) -> Sequence[torch.Tensor]:
        """What its prompts left, where gradients are collected."""
        return self.prompts.states.values if self.prompts and self.prompts.states else ()

    def behind(self, states: PromptStates) -> "MicroBatch":
        """Return the same with what its prompts have left."""
        assert self.prompts is not None
        return dataclasses.replace(self, prompts=dataclasses.replace(self.prompts, states=states))

    def cut(self, values_BT: torch.Tensor) -> torch.Tensor:
        """Return these rows of a tensor, on the device; zeros where there is nothing."""
        values_BT = values_BT[self.rows, : self.width].to(self.device)
        return torch.zeros_like(values_BT) if self.idle else values_BT

    def lengths(self, lengths_B: torch.Tensor) -> torch.Tensor:
        """Return the lengths of these rows, on the CPU."""
        return torch.full((1,), self.width) if self.idle else lengths_B[self.rows]


def microbatches(
    rows: torch.Tensor, lengths_B: torch.Tensor, *, tokens: int, device: torch.device
) -> Iterator[MicroBatch]:
    """Yield rows of like length whose padded size (rows × longest) stays within `tokens`; at least one row each.

    The longest come first, so that a memory limit shows itself at once. Cut is where the fewest tokens are computed,
    padding included, where a micro-batch costs as much as `PASS_SHARE` of its limit by itself.
    """
    order = rows[torch.sort(lengths_B[rows], descending=True, stable=True).indices]
    widths = lengths_B[order].tolist()
    cost = np.zeros(len(order) + 1)  # Of the rows from each on, the best way.
    sizes = [0] * len(order)  # Of the micro-batch that begins at each, then.
    for start in reversed(range(len(order))):
        largest = min(max(1, tokens // widths[start]), len(order) - start)
        ways = cost[start + 1 : start + largest + 1] + np.arange(1, largest + 1) * widths[start]
        sizes[start] = largest - int(ways[::-1].argmin())
        cost[start] = ways[sizes[start] - 1] + PASS_SHARE * tokens
    start = 0
    while start < len(order):
        size, longest = sizes[start], widths[start]
        yield MicroBatch(rows=order[start : start + size], width=longest, device=device, padded=size * longest)
        start += size


def cut_update(
    rows: torch.Tensor,
    batch: Batch,
    *,
    tokens: int,
    device: torch.device,
    share_prompts: str,
    rank: int = 0,
    ranks: int = 1,
) -> list[MicroBatch]:
    """Cut rows of a batch into micro-batches. `share_prompts`: off, on (each distinct prompt of a micro-batch is
    computed once for all its rows), or auto (where that saves enough tokens).

    Of several ranks each gets equally many, and they wait for each other at each one. Like sizes are dealt together,
    the largest first. Of some limits within `tokens` that is chosen under which all are done first.
    """
    cuts: dict[str, Any] = {"device": device, "share_prompts": share_prompts}
    plan = _cut(rows, batch, tokens=tokens, **cuts)
    if ranks == 1 or not plan:
        return plan
    size = sum(micro.padded for micro in plan)
    rounds = math.ceil(size / (ranks * tokens))
    limits = {math.ceil(slack * size / (ranks * each)) for each in (rounds, rounds + 1) for slack in SLACKS}
    plans = [plan, *(_cut(rows, batch, tokens=limit, **cuts) for limit in sorted(limits) if limit < tokens)]
    for plan in plans:
        plan.sort(key=lambda micro: micro.padded, reverse=True)
    # A round takes as long as its largest, which comes first.
    plan = min(plans, key=lambda plan: sum(micro.padded + PASS_SHARE * tokens for micro in plan[::ranks]))
    own = plan[rank::ranks]
    return own if len(own) == len(plan[::ranks]) else [*own, _idle(plan[0])]


def distinct_prompts(rows: torch.Tensor, batch: Batch, device: torch.device) -> Prompts:
    """Return which prompt each of some rows begins with."""
    numbers: dict[bytes, int] = {}
    starts_B = batch.prompt_lengths_B[rows]
    prompts = (batch.tokens_BT[row, :start].numpy().tobytes() for row, start in zip(rows, starts_B, strict=True))
    index_B = torch.tensor([numbers.setdefault(prompt, len(numbers)) for prompt in prompts])
    return Prompts(index_B=index_B.to(device), lengths_B=starts_B.to(device))


def cut_behind_prompts(rows: torch.Tensor, batch: Batch, prompts: Prompts, *, tokens: int) -> list[MicroBatch]:
    """Cut rows of which all prompts are computed before, at once, each once; none where these and a micro-batch do not
    fit `tokens` together, or where that does not save enough."""
    lengths_B, starts_B, device = batch.lengths_B[rows], batch.prompt_lengths_B[rows], prompts.index_B.device
    once = (int(prompts.index_B.max()) + 1) * int(starts_B.max())
    if 2 * once > tokens:
        return []
    further_B = (lengths_B - starts_B - 1).clamp(min=1)  # A response's last token predicts nothing.
    plan = list(microbatches(torch.arange(len(rows)), further_B, tokens=tokens - once, device=device))
    usual = sum(micro.padded for micro in microbatches(rows, batch.lengths_B, tokens=tokens, device=device))
    if once + sum(micro.padded for micro in plan) > WORTH_SHARING * usual:
        return []
    return [
        dataclasses.replace(
            micro, rows=rows[micro.rows], width=int(lengths_B[micro.rows].max()), prompts=prompts.of(micro.rows)
        )
        for micro in plan
    ]


def _idle(like: MicroBatch) -> MicroBatch:
    """Return a micro-batch without anything in it, which passes through a model in the manner of another."""
    one = torch.ones(1, dtype=torch.long, device=like.device)
    prompts = like.prompts and Prompts(index_B=one - 1, lengths_B=one)
    return dataclasses.replace(like, rows=like.rows[:1], width=2, padded=2, prompts=prompts, idle=True)


def _cut(
    rows: torch.Tensor, batch: Batch, *, tokens: int, device: torch.device, share_prompts: str
) -> list[MicroBatch]:
    """Return the micro-batches of all rows."""
    plain = list(microbatches(rows, batch.lengths_B, tokens=tokens, device=device))
    if share_prompts == "off" or not plain:
        return plain
    # Responses of one prompt, and either of any length or of like length: whichever pads less.
    plans = [_shared(rows, batch, tokens=tokens, device=device, by_length=each) for each in (False, True)]
    shared = min(plans, key=lambda plan: sum(micro.padded for micro in plan))
    limit = WORTH_SHARING * sum(micro.padded for micro in plain)
    return shared if share_prompts == "on" or sum(micro.padded for micro in shared) <= limit else plain


def _shared(
    rows: torch.Tensor, batch: Batch, *, tokens: int, device: torch.device, by_length: bool
) -> list[MicroBatch]:
    """Return micro-batches of rows that share prompts, the longest first, each within `tokens` or of a single row."""
    starts, lengths = batch.prompt_lengths_B.tolist(), batch.lengths_B.tolist()
    prompt = {row: batch.tokens_BT[row, : starts[row]].numpy().tobytes() for row in rows.tolist()}
    # A response's last token predicts nothing, and its first is predicted by the prompt.
    further = {row: lengths[row] - starts[row] - 1 for row in prompt}

    def family(row: int) -> tuple[int, int, bytes]:
        return further[row].bit_length() if by_length else 0, starts[row], prompt[row]

    def padded(chosen: list[int]) -> int:
        once = len({prompt[row] for row in chosen}) * max(starts[row] for row in chosen)
        return once + len(chosen) * max(further[row] for row in chosen)

    chunks: list[list[int]] = [[]]
    for _, members in itertools.groupby(sorted(prompt, key=family, reverse=True), key=family):
        fits = list(members)
        for piece in [fits] if padded(fits) <= tokens else [[row] for row in fits]:
            if chunks[-1] and padded(chunks[-1] + piece) > tokens:
                chunks.append([])
            chunks[-1] += piece
    plan = []
    for chosen in filter(None, chunks):
        picked, width = torch.tensor(chosen), max(lengths[row] for row in chosen)
        prompts = distinct_prompts(picked, batch, device)
        plan.append(MicroBatch(rows=picked, width=width, device=device, padded=padded(chosen), prompts=prompts))
    return plan


def by_response(values_BT: torch.Tensor, batch: Batch) -> list[np.ndarray]:
    """Return the values at each response's tokens, [T] each."""
    bounds = zip(batch.prompt_lengths_B.tolist(), batch.lengths_B.tolist(), strict=True)
    return [row[start:end].numpy() for row, (start, end) in zip(values_BT, bounds, strict=True)]
