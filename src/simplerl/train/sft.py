"""Supervised fine-tuning: the cold start before reinforcement learning. Imitate responses, prompts masked.

The same run directory, checkpoints, exact resume and held-out evaluation as training by reinforcement learning; what
it leaves is a model that `simplerl train --model RUN` begins from. The loss is the mean over all response tokens of the
batch of −log π, at temperature 1; a response that was truncated is not taught to end.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from simplerl.algorithms.imitation import Imitation
from simplerl.config.sections import Config
from simplerl.core.errors import ConfigError, DataError, first_few
from simplerl.core.types import Problem
from simplerl.data import demonstrations
from simplerl.data.prompts import Prompter, prompter
from simplerl.feed.buffer import Row, to_imitate
from simplerl.feed.feed import StepGroups
from simplerl.feed.samplers import Sampler
from simplerl.models.load import Policy
from simplerl.train.batch import build_batch
from simplerl.train.components import Components, Inputs, build_components
from simplerl.train.run import Callback, Outcome, open_run

#: What a fine-tuning records of a step's result.
METRICS = ("sft/loss", "policy/entropy", "optimizer/grad_norm", "optimizer/lr")


def encode(
    items: Sequence[demonstrations.Demonstration],
    prompts: Prompter,
    policy: Policy,
    limit: int,
    say: Callable[[str], None],
) -> list[Row]:
    """Return the examples within `limit` tokens, saying which are left out. Raises DataError where none is left."""
    end = policy.end_token
    examples, long, shortest = [], [], 2**31
    for item in items:
        problem = Problem(id=item.place, question=item.question, answer="", source="demonstrations")
        prompt = policy.check(prompts.ids(problem, policy.tokenizer), f"prompt of {item.place}")
        tokens = [*prompt, *policy.encode(item.response), *([end] if item.ended else [])]
        shortest = min(shortest, len(tokens))
        if len(tokens) > limit or not prompt:
            long.append(item.place)
        else:
            examples.append(to_imitate(tokens, len(prompt)))
    if not examples:
        raise DataError(
            f"all {len(items)} demonstrations are longer than {limit} tokens, which is the smaller of sft.max_tokens "
            f"and the model's context (shortest {shortest}); raise --sft.max-tokens or give shorter ones"
        )
    if long:
        say(f"{len(long)} of {len(items)} demonstrations are longer than {limit} tokens, left out: {first_few(long)}")
    return examples


def without_rl(config: Config) -> Config:
    """Return the configuration of a run whose only loss is cross-entropy: `sft`'s settings in place of training's."""
    if not config.sft.data:
        raise ConfigError("sft.data is empty: give the demonstrations with --sft.data FILE_OR_NAME")
    own = config.sft
    return dataclasses.replace(
        config,
        algorithm=Imitation(),
        reference="",
        steps=own.steps,
        sampling=dataclasses.replace(config.sampling, temperature=1.0, samples_per_prompt=2, prompts_per_step=1),
        learner=dataclasses.replace(config.learner, prompts_per_update=0),
        rollout=dataclasses.replace(config.rollout, lag=0, refresh="step"),
        optimizer=dataclasses.replace(
            config.optimizer, lr=own.lr, schedule=own.schedule, warmup_steps=own.warmup_steps
        ),
    )


def sft(
    config: Config,
    path: Path,
    *,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    inputs: Inputs | None = None,
) -> Outcome:
    """Fine-tune into a run directory and return how it ended. `inputs` are objects in place of what `config` names."""
    plain = without_rl(config)
    items = demonstrations.load(config.sft.data, split=config.sft.split, size=config.sft.size, seed=config.dataset.seed)

    def build(say: Callable[[str], None], *, checkpoint: Path | None) -> Components:
        parts = build_components(plain, say, checkpoint=checkpoint, inputs=inputs)
        limit = min(config.sft.max_tokens, parts.policy.context_length)
        prompts = prompter(config.template, system=config.prompt.system, special_tokens=config.prompt.special_tokens)
        examples = encode(items, prompts, parts.policy, limit, say)
        order = Sampler(examples, per_step=config.sft.batch_size, seed=config.seed)
        return dataclasses.replace(parts, sampler=order)

    with open_run("sft", config, path, build, resume=resume, callbacks=callbacks) as run:
        learner, sampler = run.components.learner, run.components.sampler
        for step in run.steps():
            with run.phase("learn"):
                batch = build_batch([], rows=sampler.at(step))
                result = learner.step(batch, step)
            run.sync(step)
            metrics = {name: value for name, value in result.metrics.items() if name in METRICS}
            metrics["sft/tokens"] = int(batch.mask_BT.sum())
            run.record(step, StepGroups(), dataclasses.replace(result, metrics=metrics))
    return run.outcome
