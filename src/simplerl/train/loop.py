"""The training loop. Read `train`: it is the complete method.

A step's data flow: problems → rollout, verdict, reward → batch → update → new weights to the sampler → record. Every
draw is addressed by the step, so a run that was killed and resumed repeats what it had not yet saved and ends with the
same weights, bit for bit (`train/run.py`).
"""

import functools
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from simplerl.config.sections import Config, OptimizerConfig
from simplerl.core.errors import ConfigError
from simplerl.feed.buffer import Buffer, ReLIFT, Row
from simplerl.feed.feed import Ahead, Feed, StepGroups
from simplerl.feed.samplers import Ledger, prompt_sampler
from simplerl.rollout import BACKENDS
from simplerl.train.batch import build_batch
from simplerl.train.components import Components, Inputs, build_components
from simplerl.train.learner import Learner, StepResult
from simplerl.train.run import Callback, Outcome, open_run

#: What a pass over the rows that a buffer has kept records of its result, under a name of its own.
REPLAYED = {"policy/loss": "buffer/loss", "optimizer/grad_norm": "buffer/grad_norm", "sft/loss": "sft/loss"}


def train(
    config: Config,
    path: Path,
    *,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    inputs: Inputs | None = None,
) -> Outcome:
    """Train into a run directory and return how it ended. `inputs` are objects in place of what `config` names."""
    if config.sampling.top_k:
        raise ConfigError(
            f"sampling.top_k = {config.sampling.top_k}: tokens would be drawn from a truncated distribution and scored "
            "under another one, so that ratios, corrections and the mismatch KL would be biased. Train with "
            "--sampling.top-k 0; sampling.top_p, whose nucleus is scored too, evaluation.top_p and simplerl sample may "
            "truncate"
        )
    if config.sampling.top_p < 1 and config.algorithm.needs_vocabulary_mean:
        raise ConfigError(
            f"sampling.top_p = {config.sampling.top_p}: {type(config.algorithm).__name__} reads a mean over the "
            "complete vocabulary, which a nucleus does not have; train with --sampling.top-p 1"
        )
    backend = config.rollout.backend
    if config.rollout.refresh == "in_flight" and not hasattr(BACKENDS[backend], "between_tokens"):
        raise ConfigError(
            f"rollout.refresh = 'in_flight' with rollout.backend = {backend!r}: it takes new weights only when no "
            "response is running; give --rollout.backend native or vllm, or --rollout.refresh step"
        )
    build = functools.partial(build_components, config, inputs=inputs)
    with open_run("train", config, path, build, resume=resume, callbacks=callbacks) as run:
        parts, config = run.components, run.components.config
        prompted, sampler = parts.sampler.problems, prompt_sampler(config)
        ledger = Ledger(config, [p.problem for p in prompted], path, vocabulary=len(parts.policy.tokenizer))
        room = parts.policy.context_length - config.sampling.max_new_tokens
        feed = Feed(config, sampler, prompted, parts.rollout, ledger, on_response=run.on_response, room=room)
        ahead: dict[str, Any] = {"start": run.start, "steps": config.steps, "at": parts.engines_at}
        ahead |= {"path": path, "say": run.say}
        with Ahead(feed, lag, **ahead) if (lag := config.rollout.lag) else nullcontext(feed) as source:
            run.source = source
            for step in run.steps():
                with run.phase("rollout", source.responses), run.kept(step - 1):
                    groups = source.take(step)
                with run.phase("learn"):
                    parts.learner.temperature = groups.temperature
                    if sampler.refreshes(step):
                        parts.learner.refresh()
                    if parts.buffer.keeps:
                        result = learn_with_buffer(parts, groups, step)
                    else:
                        result = parts.learner.step(build_batch(groups.kept, trained=groups.trained), step)
                run.sync(step)
                run.record(step, groups, result)
    return run.outcome


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
        metrics |= taken | {REPLAYED[name]: value for name, value in after.items() if name in REPLAYED}
    return StepResult(metrics=metrics, advantages=advantages)


def replayed(learner: Learner, settings: Buffer, rows: Sequence[Row], step: int) -> Mapping[str, float]:
    """Do the updates of kept rows by themselves; return their metrics."""
    if isinstance(settings, ReLIFT):
        own = OptimizerConfig(lr=settings.lr, weight_decay=settings.weight_decay, grad_clip=settings.grad_clip)
        return learner.imitate(build_batch([], rows=rows), own, settings.entropy_coef).metrics
    return learner.step(build_batch([], rows=rows, component=settings.component), step).metrics
