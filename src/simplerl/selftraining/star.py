"""Self-training: sample, keep the good responses, imitate them, repeat. B-STaR chooses anew each time how and what.

A step of the run is an iteration (B-STaR, arXiv 2412.17256): the policy answers `sampling.prompts_per_step` problems
`sampling.samples_per_prompt` times; responses of a reward above the threshold are selected, equal ones once; the model
imitates them for `star.updates` updates. The modes differ in what an iteration inherits (`INHERITS`). Under `b-star`
the temperature and the threshold are those of the highest mean query effect on a fixed part of the training problems:
one draw for each temperature serves all thresholds, every point of the grid is evaluated, and the surface is kept.

`sample` is the first half by itself: responses are kept in a file, for `simplerl sft` to imitate.
"""

import dataclasses
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from simplerl.algorithms.imitation import Imitation
from simplerl.config.resolve import named_table
from simplerl.config.sections import Config
from simplerl.core.errors import ConfigError, DataError, ModelError, RunError
from simplerl.core.seeds import derive
from simplerl.core.types import TrajectoryGroup
from simplerl.data import demonstrations
from simplerl.data.prompts import prompter
from simplerl.environments.base import require_single_turn
from simplerl.feed.buffer import Row, to_imitate
from simplerl.feed.feed import Feed, StepGroups
from simplerl.feed.samplers import Ledger, Sampler, prompt_sampler
from simplerl.feed.samplers import chosen as draws_of
from simplerl.feed.search import Selection, mean_query_effect, search, select, subset_of
from simplerl.models.load import locate_and_hash
from simplerl.ops import exploration
from simplerl.ops.statistics import pass_at_k
from simplerl.prm import load_prm, vocabulary_hash
from simplerl.rewards import make_reward
from simplerl.rollout.groups import Prompted, Rollout
from simplerl.runs.files import json_line, write_atomic, writing
from simplerl.runs.responses import response_columns
from simplerl.train.batch import build_batch
from simplerl.train.components import Components, Inputs, build_components
from simplerl.train.learner import Learner, StepResult, means
from simplerl.train.run import Callback, Outcome, TrainingRun, open_run
from simplerl.train.sft import METRICS, encode

#: Mode → what an iteration takes over from the one before: weights; optimizer and learning-rate schedule.
INHERITS = {
    "rest-em": (False, False),
    "iterative-rft": (True, False),
    "online-rft": (True, True),
    "b-star": (True, True),
}


class StarFeed(Feed):
    """Gives each iteration its sampled groups, how they were sampled, and what is selected from them."""

    def __init__(self, config: Config, prompted: Sequence[Prompted], rollout: Rollout, run: TrainingRun):
        """The surfaces of the search are written into the run's directory, and its phases say how far it is."""
        ledger = Ledger(config, [item.problem for item in prompted], run.directory.path)
        super().__init__(config, prompt_sampler(config), prompted, rollout, ledger, run.on_response)
        self.watch, star = run.phase, config.star
        self.wanted = star.wanted or -(-star.updates * star.batch_size // config.sampling.prompts_per_step)
        self.subset = subset_of(prompted, star.subset, config.seed)

    def select(self, step: int) -> tuple[StepGroups, list[Selection]]:
        """Return the groups of an iteration, and what is selected from each. Raises DataError where nothing is."""
        config, metrics = self.config, dict[str, float]()
        temperature, threshold = config.sampling.temperature, config.star.threshold
        if config.star.mode == "b-star":
            star, samples = config.star, self.rollout.samples
            with self.watch("search", len(self.subset) * samples * len(star.temperatures)):
                choice, metrics["star/search_tokens"] = search(
                    star, self.rollout, self.subset, self.wanted, step, self.ledger.path, self.on_response
                )
            temperature, threshold = choice.temperature, choice.threshold
            metrics["star/search_query_effect"] = choice.query_effect
        ledger = self.ledger.before(step)
        draws = draws_of(self.sampler, step, ledger)
        with self.watch("rollout", len(draws) * self.rollout.samples):
            groups = self.sample(draws, temperature, step, ledger)
        chosen = [select(group, threshold) for group in groups]
        if not any(c.kept for c in chosen):
            rewards = [t.reward for g in groups for t in g.trajectories if t.verdict.decided]
            highest = f"the highest reward is {max(rewards):g}" if rewards else "none could be judged"
            raise DataError(
                f"iteration {step}: nothing is selected of {len(groups)} problems × {self.rollout.samples} responses "
                f"at temperature {temperature:g}: {highest}, the threshold {threshold:g}. The run is kept as it is "
                "after the iteration before. Go on as a new run from there (--model RUN) with more --sampling.samples-"
                "per-prompt, easier problems, or a lower --star.threshold (--star.thresholds in b-star)"
            )
        metrics |= {"star/temperature": temperature, "star/threshold": threshold}
        return StepGroups(kept=groups, metrics=metrics | self.measures(groups, chosen)), chosen

    def measures(self, groups: Sequence[TrajectoryGroup], chosen: Sequence[Selection]) -> dict[str, float]:
        """Return exploration, exploitation and their balance in an iteration's draw: means over its problems.

        Problems of which fewer than S responses could be judged have only the balance.
        """
        s, rows = self.config.star.s, list[dict[str, float]]()
        for group in groups:
            decided = [t for t in group.trajectories if t.verdict.decided]
            if (k := len(decided)) < s:
                continue
            right = [t.completion.text for t in decided if t.verdict.correct]
            rewards, verdicts = [t.reward for t in decided], [t.verdict.correct for t in decided]
            classes = exploration.unique_classes([exploration.normalised(text) for text in right])
            rows.append(
                {
                    "pass_at_one": len(right) / k,
                    "pass_at_k": pass_at_k(k, len(right), k),
                    "pass_at_k_s": exploration.pass_at_k_s(k, classes, k, s),
                    "best_of_k": exploration.reward_at_k_s(rewards, verdicts, k, 1),
                    "reward_at_k_s": exploration.reward_at_k_s(rewards, verdicts, k, s),
                    "distinct_equations": exploration.distinct_equations(right),
                }
            )
        kept = [t for c in chosen for t in c.kept]
        return {f"star/{name}": float(np.mean([row[name] for row in rows])) for name in (rows[0] if rows else ())} | {
            "star/query_effect": mean_query_effect(chosen, self.wanted),
            "star/selected": sum(c.selected for c in chosen),
            "star/examples": len(kept),
            "star/wrong_share": sum(not t.verdict.correct for t in kept) / len(kept),
            "star/problems_without": sum(not c.kept for c in chosen) / len(chosen),
        }


def examples_of(chosen: Sequence[Selection], end: int) -> list[Row]:
    """Return what is to be imitated, token for token as it was sampled; a response cut at a stop string gets an end."""
    examples = []
    for trajectory in (t for c in chosen for t in c.kept):
        response = trajectory.completion.token_ids.tolist()
        ended = [] if trajectory.completion.stop_reason == "eos" else [end]
        tokens = [*trajectory.prompt_ids.tolist(), *response, *ended]
        start = len(trajectory.prompt_ids)
        observed = tuple((start + np.flatnonzero(~trajectory.loss_mask)).tolist())
        examples.append(to_imitate(tokens, start, observed=observed))
    return examples


def imitating(config: Config) -> Config:
    """Return the configuration of the parts: the only loss is cross-entropy, on the tokens as they are written."""
    group, s, controller = config.sampling.samples_per_prompt, config.star.s, config.sampling.controller
    sampler = prompt_sampler(config)
    if sampler.steers_temperature:
        named = f"sampler.name = {named_table('sampler', config.sampler)['name']!r}"
        raise ConfigError(
            f"{named if controller == 'none' else f'sampling.controller = {controller!r}'} is for simplerl train; "
            "self-training has star.mode = b-star for the temperature, and takes a sampler such as adastar for the "
            "problems"
        )
    foreign: dict[str, Any] = {
        f"{kind}.name": named_table(kind, getattr(config, kind))["name"] for kind in ("transform", "buffer")
    }
    foreign |= {"sampling.gate": ", ".join(config.sampling.gate) or "none", "sampler.rounds": sampler.rounds or "none"}
    for setting, value in foreign.items():
        if value != "none":
            raise ConfigError(
                f"{setting} = {value!r} is for simplerl train: self-training samples problems as they are, and selects "
                "by star.threshold; leave it out"
            )
    if group < s:
        raise ConfigError(
            f"star.s = {s}, but there are only sampling.samples_per_prompt = {group} responses to each problem; give "
            f"--star.s {group} or less, or more samples"
        )
    return dataclasses.replace(
        config,
        algorithm=Imitation(),
        reference="",
        learner=dataclasses.replace(config.learner, prompts_per_update=0),
        sampling=dataclasses.replace(config.sampling, temperature=1.0),
    )


def with_prm(rollout: Rollout, config: Config, tokenizer: PreTrainedTokenizerBase) -> Rollout:
    """Return the rollout that rewards the steps too, r = correct + r_prm, where `star.prm` asks for it."""
    if not config.star.prm:
        return rollout
    prm = load_prm(config.star.prm)
    if vocabulary_hash(prm.policy.tokenizer) != vocabulary_hash(tokenizer):
        raise ModelError(
            f"the process reward model {config.star.prm} has another tokenizer than {config.model}: it is to score the "
            "very tokens that are sampled. Train one from a model with the same tokenizer (simplerl prm train --model)"
        )
    own = named_table("reward", config.reward)
    process = {"prm": config.star.prm, "form": "min", "scale": config.star.prm_scale}
    parts = [{"name": own.pop("name"), "params": own}, {"name": "process", "params": process}]
    return dataclasses.replace(rollout, reward=make_reward("mixture", {"rewards": parts}))


def star(
    config: Config,
    path: Path,
    *,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    inputs: Inputs | None = None,
) -> Outcome:
    """Train by self-training into a run directory and return how it ended. An iteration is a step of the run."""
    settings, plain = config.star, imitating(config)
    keeps_weights, keeps_optimizer = INHERITS[settings.mode]
    if not keeps_weights and inputs and inputs.policy:
        raise ConfigError("star.mode = rest-em starts from the base model anew: give its name or directory, no object")
    updates = settings.updates * (config.steps if keeps_optimizer else 1)

    def build(say: Callable[[str], None], *, checkpoint: Path | None) -> Components:
        parts = build_components(plain, say, checkpoint=checkpoint, inputs=inputs)
        parts.learner.steps = updates
        rollout = with_prm(parts.rollout, config, parts.policy.tokenizer)
        if settings.prm:
            parts.environment["prm"] = locate_and_hash(settings.prm)
        return dataclasses.replace(parts, rollout=rollout)

    with open_run("star", config, path, build, resume=resume, callbacks=callbacks) as run:
        parts = run.components
        learner = parts.learner
        per_step = parts.config.sampling.prompts_per_step  # No more than there are problems.
        config = dataclasses.replace(config, sampling=dataclasses.replace(config.sampling, prompts_per_step=per_step))
        feed = StarFeed(config, parts.sampler.problems, parts.rollout, run)
        given = given_examples(config, parts, run.say) if settings.demonstrations else []
        for step in run.steps():
            groups, chosen = feed.select(step)
            with run.phase("learn"):
                if not keeps_weights:
                    learner.start_anew(config.model)
                if not keeps_optimizer or feed.sampler.refreshes(step):
                    learner.restart()
                examples = [*given, *examples_of(chosen, parts.policy.end_token)]
                metrics = imitate(learner, examples, config, step, inherit=keeps_optimizer)
            run.sync(step)
            run.record(step, groups, credited(metrics, groups, chosen))
    return run.outcome


def given_examples(config: Config, parts: Components, say: Callable[[str], None]) -> list[Row]:
    """Return the given responses that are imitated besides the model's own (`star.demonstrations`)."""
    items = demonstrations.load(config.star.demonstrations, split="train", size=0, seed=config.dataset.seed)
    prompts = prompter(config.template, system=config.prompt.system, special_tokens=config.prompt.special_tokens)
    return encode(items, prompts, parts.policy, parts.policy.context_length, say)


def imitate(learner: Learner, examples: Sequence[Row], config: Config, step: int, *, inherit: bool) -> dict[str, float]:
    """Do the updates of an iteration over its examples, in a fresh order at every pass; return the mean metrics."""
    star = config.star
    order = Sampler(examples, per_step=star.batch_size, seed=derive(config.seed, "star-order", step))
    before = (step - 1) * star.updates if inherit else 0
    updates = range(1, star.updates + 1)
    results = [learner.step(build_batch([], rows=order.at(update)), before + update).metrics for update in updates]
    metrics = {name: value for name, value in means(results).items() if name in METRICS}
    return metrics | {"optimizer/updates": star.updates, "optimizer/lr": results[-1]["optimizer/lr"]}


def credited(metrics: dict[str, float], groups: StepGroups, chosen: Sequence[Selection]) -> StepResult:
    """Return the result with a credit for every sampled response: 1 on the tokens of those that are imitated."""
    kept = {id(t) for c in chosen for t in c.kept}
    sampled = [t for group in groups.all for t in group.trajectories]
    advantages = [t.loss_mask.astype(np.float32) * (id(t) in kept) for t in sampled]
    useful = {"tokens/useful": int(sum(credit.sum() for credit in advantages))}
    return StepResult(metrics=metrics | useful, advantages=advantages)


# --- sampling alone ---------------------------------------------------------------------------------------------------

#: Laid over the recipe: what a learner would ask for shall not stand in the way of one sample, or of few problems.
WITHOUT_LEARNING: dict[str, Any] = {
    "algorithm": {"name": "reinforce_pp", "kl_reward_coef": 0.0},
    "reference": "",
    "learner": {"prompts_per_update": 0},
}

#: What is written of a response, of the columns of a record.
COLUMNS = ("question", "response", "answer", "problem_id", "level", "sample", "verdict", "stop_reason")


def sample(
    config: Config, output: Path, *, everything: bool, say: Callable[[str], None], inputs: Inputs | None = None
) -> tuple[Counter[str], int]:
    """Sample `samples_per_prompt` responses to every training problem and write them, one JSON object a line.

    Return (verdicts, responses written). Without `everything` only right ones that ended by themselves are kept. The
    noise is addressed by problem and sample, so the same command writes the same file.
    """
    require_single_turn(config.environment, "simplerl sample")
    if output.exists():
        raise RunError(f"{output} exists already; choose another --output, or remove it")
    with writing(output):  # Now, not after an hour of sampling.
        output.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=output.parent).close()
    # A chunk is larger than the problems are many: what the sampler of a training run would refuse.
    sampling = dataclasses.replace(config.sampling, prompts_per_step=1)
    counts: Counter[str] = Counter()
    lines: list[str] = []
    with closing(build_components(dataclasses.replace(config, sampling=sampling), say, inputs=inputs)) as parts:
        problems, chunk = parts.sampler.problems, config.sampling.prompts_per_step
        for start in range(0, len(problems), chunk):
            groups = parts.rollout.sample_groups(problems[start : start + chunk], purpose="sample", step=0)
            for t in (t for group in groups for t in group.trajectories):
                counts[t.verdict.status] += 1
                if everything or (t.verdict.correct and t.completion.stop_reason != "length"):
                    response = t.completion
                    own = response_columns(t.problem, t.sample, response.text, response.stop_reason, t.verdict)
                    row = {name: own[name] for name in COLUMNS}
                    lines.append(json_line({**row, "tokens": len(response.token_ids), "model": config.model}))
            say(f"{min(start + chunk, len(problems))}/{len(problems)} problems, {len(lines)} responses kept")
    if not lines:
        raise DataError(
            f"none of the {counts.total()} responses was right and complete, so there is nothing to write to {output}; "
            "--all keeps every response"
        )
    write_atomic(output, "".join(lines))
    return counts, len(lines)
