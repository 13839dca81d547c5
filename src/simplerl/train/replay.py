"""A step's updates: from its own responses, and from the rows that a buffer has kept."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from simplerl.config.sections import OptimizerConfig
from simplerl.core.types import COMPONENTS, Batch, LossComponent
from simplerl.feed.buffer import Buffer, ReLIFT, Row
from simplerl.feed.feed import StepGroups
from simplerl.train.batch import build_batch, joined
from simplerl.train.components import Components
from simplerl.train.learner import Learner, StepResult

#: What a pass over kept rows records of its result, under a name of its own.
METRICS = {"policy/loss": "buffer/loss", "optimizer/grad_norm": "buffer/grad_norm", "sft/loss": "sft/loss"}


def learn_with_buffer(parts: Components, groups: StepGroups, step: int) -> StepResult:
    """Do the updates of a step: on its own rows, together with or followed by those that are due.

    Rows that were sampled earlier bring their advantages with them; for their age there is `algorithm.correction`.
    """
    learner, store = parts.learner, parts.buffer
    settings = store.settings
    batch = build_batch(groups.kept, settings.components(groups.kept), trained=groups.trained)
    together, taken = store.take(step) if settings.same_update else ([], {})
    if together:
        result = learner.step(joined([batch, batch_of(together, settings.component)]), step)
    else:
        result = learner.step(batch, step)
    advantages = result.advantages[: len(batch.tokens_BT)]
    metrics = result.metrics | taken | store.put(step, groups, advantages)
    if not settings.same_update:
        due, taken = store.take(step)
        after = replayed(learner, settings, due, step) if due else {}
        metrics |= taken | {METRICS[name]: value for name, value in after.items() if name in METRICS}
    return StepResult(metrics=metrics, advantages=advantages)


def replayed(learner: Learner, settings: Buffer, rows: Sequence[Row], step: int) -> Mapping[str, float]:
    """Do the updates of kept rows by themselves; return their metrics."""
    if isinstance(settings, ReLIFT):
        own = OptimizerConfig(lr=settings.lr, weight_decay=settings.weight_decay, grad_clip=settings.grad_clip)
        return learner.imitate(batch_of(rows, None), own, settings.entropy_coef).metrics
    return learner.step(batch_of(rows, settings.component), step).metrics


def batch_of(rows: Sequence[Row], component: LossComponent | None) -> Batch:
    """Return kept rows as a batch, on the CPU, each a group of its own; None: for whatever algorithm learns from it,
    which gives the credit too."""
    width = max(len(row.tokens) for row in rows)
    arrays = {
        name: torch.from_numpy(np.stack([np.pad(getattr(row, name), (0, width - len(row.tokens))) for row in rows]))
        for name in ("tokens", "mask", "logprobs", "credit")
    }
    every_B = torch.ones(len(rows), dtype=torch.bool)
    return Batch(
        tokens_BT=arrays["tokens"].long(),
        lengths_B=torch.tensor([len(row.tokens) for row in rows]),
        prompt_lengths_B=torch.tensor([row.prompt_length for row in rows]),
        mask_BT=arrays["mask"],
        sampler_logprobs_BT=arrays["logprobs"] if component == "rl" else None,
        rewards_B=torch.zeros(len(rows)),
        group_B=torch.arange(len(rows)),
        included_B=every_B,
        truncated_B=~every_B,
        to_come_BT=torch.zeros(arrays["tokens"].shape),
        component_B=torch.full((len(rows),), COMPONENTS.index(component or "rl")),
        credit_BT=arrays["credit"] if component else torch.full(arrays["tokens"].shape, math.nan),
    )
