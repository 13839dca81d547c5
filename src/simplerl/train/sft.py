"""Supervised fine-tuning: the cold start before reinforcement learning. Imitate responses, prompts masked.

The same run directory, checkpoints, exact resume and held-out evaluation as training by reinforcement learning; what
it leaves is a model that `simplerl train --model RUN` begins from. The loss is the mean over all response tokens of the
batch of −log π, at temperature 1; a response that was truncated is not taught to end.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from simplerl.algorithms import GRPO
from simplerl.core.errors import ConfigError, DataError
from simplerl.core.types import Problem
from simplerl.data import demonstrations
from simplerl.data.prompts import Prompter, prompter
from simplerl.models.device import peak_memory_gib
from simplerl.models.load import Policy
from simplerl.ops.weights import normalise
from simplerl.train.batch import pieces
from simplerl.train.config import Config
from simplerl.train.guards import clock, memory_advice
from simplerl.train.learner import Learner
from simplerl.train.optimizer import apply_gradient
from simplerl.train.sampler import Sampler
from simplerl.train.schedule import learning_rate
from simplerl.train.session import Session, prepare
from simplerl.train.work import Listener, Outcome, Work, begin, due


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """A prompt with the response to imitate, as tokens."""

    tokens: list[int]
    prompt_length: int


def encode(
    found: list[demonstrations.Demonstration], made: Prompter, policy: Policy, limit: int
) -> tuple[list[Example], list[str]]:
    """Return (examples within `limit` tokens, places of the others). Raises DataError where none is left."""
    end = policy.tokenizer.eos_token_id
    if end is None:
        end = min(policy.stop_ids)
    examples, long, shortest = [], [], 2**31
    for item in found:
        problem = Problem(id=item.place, question=item.question, answer="", source="demonstrations")
        prompt = policy.check(made.ids(problem, policy.tokenizer), f"prompt of {item.place}")
        tokens = [*prompt, *policy.encode(item.response), *([end] if item.ended else [])]
        shortest = min(shortest, len(tokens))
        if len(tokens) > limit or not prompt:
            long.append(item.place)
        else:
            examples.append(Example(tokens=tokens, prompt_length=len(prompt)))
    if not examples:
        raise DataError(
            f"all {len(found)} demonstrations are longer than {limit} tokens, which is the smaller of sft.max_tokens "
            f"and the model's context (shortest {shortest}); raise --sft.max-tokens or give shorter ones"
        )
    return examples, long


def without_rl(config: Config) -> Config:
    """Return the configuration for preparing a session that needs neither reference nor critic."""
    if not config.sft.data:
        raise ConfigError("sft.data is empty: give the demonstrations with --sft.data FILE_OR_NAME")
    return dataclasses.replace(
        config,
        algorithm=GRPO(),
        reference="",
        steps=config.sft.steps,
        sampling=dataclasses.replace(config.sampling, temperature=1.0, samples_per_prompt=2, prompts_per_step=1),
        learner=dataclasses.replace(config.learner, prompts_per_update=0),
        optimizer=dataclasses.replace(
            config.optimizer, lr=config.sft.lr, schedule=config.sft.schedule, warmup_steps=config.sft.warmup_steps
        ),
    )


def sft(config: Config, path: Path, *, resume: bool, listener: Listener) -> Outcome:
    """Fine-tune into a run directory and return how it ended."""
    plain = without_rl(config)
    found = demonstrations.load(config.sft.data, split=config.sft.split, size=config.sft.size, seed=config.dataset.seed)

    def ready(checkpoint: Path | None) -> Session:
        session = prepare(plain, listener.say, checkpoint=checkpoint)
        return dataclasses.replace(session, sampler=_sampler(found, config, session.policy, listener.say))

    with begin("sft", config, path, ready, resume=resume, listener=listener) as work:
        for step in range(work.start + 1, plain.steps + 1):
            if work.interrupted():
                return work.stop(step - 1)
            _step(work, step)
    return Outcome(step=plain.steps, finished=True)


def _sampler(
    found: list[demonstrations.Demonstration], config: Config, policy: Policy, say: Callable[[str], None]
) -> Sampler:
    """Return what draws the examples of each step, saying which demonstrations are left out."""
    limit = min(config.sft.max_tokens, policy.context_length)
    made = prompter(config.template, system=config.prompt.system, special_tokens=config.prompt.special_tokens)
    examples, long = encode(found, made, policy, limit)
    if long:
        named = ", ".join(long[:5]) + (" …" if len(long) > 5 else "")
        say(f"{len(long)} of {len(found)} demonstrations are longer than {limit} tokens, left out: {named}")
    return Sampler(examples, per_step=min(config.sft.batch_size, len(examples)), seed=config.seed)


def _step(work: Work, step: int) -> None:
    """Do one update and record it."""
    session, seconds = work.session, {}
    config, learner, sampler = session.config, session.learner, session.sampler
    with clock(seconds, "time/step"):
        with clock(seconds, "time/learn"), memory_advice():
            metrics = imitate(learner, sampler.at(step - 1), step - 1)
        metrics["data/epoch"] = sampler.epoch(step)
        if step == config.steps or due(config.evaluation.every, step):
            session.backend.sync(learner.weights(), version=step)
            with clock(seconds, "time/evaluate"):
                metrics |= work.evaluate(step)
    work.record(step, {**metrics, **seconds, "memory/peak_gib": peak_memory_gib(learner.device)}, [])
    if step == config.steps or due(config.checkpoint.every, step):
        work.save(step)


def imitate(learner: Learner, examples: list[Example], step: int) -> dict[str, float]:
    """Do one update on a batch of examples (the first step is 0); return its metrics."""
    lengths_B = torch.tensor([len(example.tokens) for example in examples])
    prompts_B = torch.tensor([example.prompt_length for example in examples])
    columns_T = torch.arange(int(lengths_B.max()))
    mask_BT = (columns_T >= prompts_B[:, None]) & (columns_T < lengths_B[:, None])
    tokens_BT = torch.zeros(mask_BT.shape, dtype=torch.int64)
    for row, example in enumerate(examples):
        tokens_BT[row, : len(example.tokens)] = torch.tensor(example.tokens)
    weights_BT = normalise(mask_BT, torch.arange(len(examples)), mode="token")
    model = learner.policy.model
    model.train(learner.config.gradient_checkpointing)
    loss = entropy = 0.0
    for piece in pieces(lengths_B, torch.arange(len(examples)), tokens=learner.tokens, device=learner.device):
        logprobs_BT, entropy_BT = learner.scorer(piece.cut(tokens_BT), piece.cut(mask_BT), lengths_B[piece.rows])
        share = -(piece.cut(weights_BT) * logprobs_BT).sum()
        share.backward()
        loss += float(share.detach())
        entropy += float((piece.cut(weights_BT) * entropy_BT.detach()).sum())
    rate = learning_rate(learner.optimization, step, learner.steps)
    norm = apply_gradient(learner.optimizer, model, lr=rate, grad_clip=learner.optimization.grad_clip)
    return {
        "sft/loss": loss,
        "sft/tokens": int(mask_BT.sum()),
        "policy/entropy": entropy,
        "optimizer/grad_norm": norm,
        "optimizer/lr": rate,
    }
