"""The training loop. Read `train` and `_step`: they are the whole method.

A step's data flow: problems → collect (rollout, verdict, reward) → batch → update → new weights to the sampler →
record. Every draw is addressed by the step, so a run that was killed and resumed repeats what it had not yet saved and
ends with the same weights, bit for bit (`train/work.py`).
"""

from pathlib import Path

from simplerl.models.device import peak_memory_gib
from simplerl.rollout.metrics import rollout_metrics
from simplerl.runs.directory import sampled_tokens
from simplerl.train.batch import build_batch
from simplerl.train.config import Config
from simplerl.train.gather import gather
from simplerl.train.guards import clock, memory_advice
from simplerl.train.session import Session, advantages_by_row, prepare
from simplerl.train.work import Listener, Outcome, Work, begin, due


def train(config: Config, path: Path, *, resume: bool, listener: Listener) -> Outcome:
    """Train into a run directory and return how it ended."""

    def ready(checkpoint: Path | None) -> Session:
        return prepare(config, listener.say, checkpoint=checkpoint)

    with begin("train", config, path, ready, resume=resume, listener=listener) as work:
        step, tokens = work.start, sampled_tokens(path)
        while not _ended(config, step, tokens):
            if work.interrupted():
                return work.stop(step)
            step += 1
            tokens += _step(work, step, tokens)
    return Outcome(step=step, finished=True)


def _ended(config: Config, step: int, tokens: int) -> bool:
    """Return whether a run is over after a step, with so many tokens sampled so far."""
    return step >= config.steps or 0 < config.token_budget <= tokens


def _step(work: Work, step: int, before: int) -> int:
    """Do step `step` (the first is 1) and record it. Return the tokens it sampled; `before` it so many had been."""
    session, listener = work.session, work.listener
    config, learner = session.config, session.learner
    seconds: dict[str, float] = {}
    with clock(seconds, "time/step"):
        with clock(seconds, "time/rollout"):
            listener.phase("rollout", config.sampling.prompts_per_step * config.sampling.samples_per_prompt)
            with memory_advice():
                groups, dropped, drawn = gather(session, step, lambda completion: listener.advance())
        if work.interrupted():
            listener.say("stopping after this step, with a checkpoint (again: at once, without)")
        with clock(seconds, "time/learn"), memory_advice():
            listener.phase("update", 0)
            batch = build_batch(groups)
            learned = learner.step(batch, step - 1)
        with clock(seconds, "time/sync"):
            session.backend.sync(learner.weights(), version=step)
        with clock(seconds, "time/save"):
            work.run.record_trajectories(step, [*groups, *dropped], advantages_by_row(learned.advantages_BT, batch))
        metrics = {
            **rollout_metrics([*groups, *dropped]),
            **drawn,
            **learned.metrics,
            "data/epoch": session.sampler.epoch(step),
        }
        last = _ended(config, step, before + metrics["tokens/sampled"])
        if last or due(config.evaluation.every, step):
            with clock(seconds, "time/evaluate"):
                metrics |= work.evaluate(step)
    busy = seconds["time/rollout"] + seconds["time/learn"]
    metrics |= {
        **seconds,
        "throughput/tokens_per_second": metrics["tokens/sampled"] / busy,
        "throughput/useful_tokens_per_second": metrics["tokens/useful"] / busy,
        "memory/peak_gib": peak_memory_gib(learner.device),
    }
    work.record(step, metrics, groups)
    if last or due(config.checkpoint.every, step):
        work.save(step)
    return metrics["tokens/sampled"]
