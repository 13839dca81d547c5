"""A step's updates: from its own responses, and from the rows that a buffer has kept."""

from collections.abc import Mapping, Sequence
from typing import Any

from simplerl.config.sections import OptimizerConfig
from simplerl.feed.buffer import Buffer, ReLIFT, Row
from simplerl.feed.feed import StepGroups
from simplerl.train.batch import build_batch
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
    together, taken = store.take(step) if settings.same_update else ([], {})
    component_B = settings.components(groups.kept)
    rows: dict[str, Any] = {"rows": together, "component": settings.component}
    result = learner.step(build_batch(groups.kept, component_B, trained=groups.trained, **rows), step)
    advantages = result.advantages[: len(result.advantages) - len(together)]
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
        return learner.imitate(build_batch([], rows=rows), own, settings.entropy_coef).metrics
    return learner.step(build_batch([], rows=rows, component=settings.component), step).metrics
