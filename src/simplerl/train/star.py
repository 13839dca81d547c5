"""Self-training: sample, keep the good responses, imitate them, repeat. B-STaR chooses anew each time how and what.

A step of the run is an iteration (B-STaR, arXiv 2412.17256): the policy answers `sampling.prompts_per_step` problems
`sampling.samples_per_prompt` times; responses of a reward above the threshold are selected, equal ones once; the model
imitates them for `star.updates` updates. The modes differ in what an iteration inherits (`INHERITS`). Under `b-star`
the temperature and the threshold are those of the highest mean query effect on a fixed part of the training problems:
one draw for each temperature serves all thresholds, every point of the grid is evaluated, and the surface is kept.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from simplerl.algorithms.imitation import Imitation
from simplerl.core.errors import ConfigError, DataError, ModelError
from simplerl.core.seeds import derive, generator
from simplerl.core.types import Completion, Trajectory, TrajectoryGroup
from simplerl.data import demonstrations
from simplerl.data.prompts import prompter
from simplerl.models.load import locate_and_hash
from simplerl.ops import exploration
from simplerl.ops.statistics import pass_at_k
from simplerl.prm.model import load_prm, vocabulary_hash
from simplerl.rewards import make_reward
from simplerl.rollout.groups import Prompted, Rollout
from simplerl.runs.files import write_json
from simplerl.train.components import Components, Inputs, build_components, first_few
from simplerl.train.config import Config
from simplerl.train.feed import Sampler, StepGroups
from simplerl.train.learner import Learner, StepResult, means
from simplerl.train.resolve import named_table
from simplerl.train.run import Callback, Outcome, open_run
from simplerl.train.sft import METRICS, Example, demonstration_batch, encode, end_token

#: Mode → what an iteration takes over from the one before: weights; optimizer and learning-rate schedule.
INHERITS = {
    "rest-em": (False, False),
    "iterative-rft": (True, False),
    "online-rft": (True, True),
    "b-star": (True, True),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """A point of the grid: how to sample, what to keep, and the mean query effect that it has on the subset."""

    temperature: float
    threshold: float
    query_effect: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Selection:
    """What a threshold leaves of one problem's responses."""

    kept: list[Trajectory]
    """The first of each selected response: what is imitated."""
    selected: int
    """Responses above the threshold, equal ones counted each time: n."""
    unique_right: int
    """Unique right responses among them: n′."""


def select(group: TrajectoryGroup, threshold: float) -> Selection:
    """Select the complete, decided responses whose reward is above a threshold.

    A truncated response is never imitated: it would teach not to end. An undecided one has no reward.
    """
    above = [
        t
        for t in group.trajectories
        if t.verdict.decided and t.completion.stop_reason != "length" and t.reward > threshold
    ]
    first: dict[str, Trajectory] = {}
    for trajectory in above:
        first.setdefault(exploration.normalised(trajectory.completion.text), trajectory)
    kept = list(first.values())
    return Selection(kept=kept, selected=len(above), unique_right=sum(t.verdict.correct for t in kept))


def mean_query_effect(chosen: Sequence[Selection], wanted: int) -> float:
    """Return the mean query effect over problems; one of which nothing is selected counts 0."""
    return float(np.mean([exploration.query_effect(c.unique_right, c.selected, wanted) for c in chosen]))


def first_samples(group: TrajectoryGroup, k: int) -> TrajectoryGroup:
    """Return a group of its first k samples."""
    return dataclasses.replace(group, trajectories=group.trajectories[:k])


def best(points: Sequence[Choice]) -> Choice:
    """Return the point of the highest query effect; of equal ones the lowest temperature, then highest threshold."""
    return max(points, key=lambda point: (point.query_effect, -point.temperature, point.threshold))


class StarFeed:
    """Gives each iteration its sampled groups, how they were sampled, and what is selected from them."""

    def __init__(
        self, config: Config, sampler: Sampler[Prompted], rollout: Rollout, path: Path, watch: Callable[..., Any]
    ):
        """`watch(name, responses)` is a phase of the run; the surfaces of the search are written below `path`."""
        self.config, self.sampler, self.rollout, self.path, self.watch = config, sampler, rollout, path, watch
        star, seed = config.star, config.seed
        self.wanted = star.wanted or -(-star.updates * star.batch_size // config.sampling.prompts_per_step)
        order = generator(seed, "star-subset").permutation(len(sampler.problems))
        self.subset = [sampler.problems[i] for i in sorted(order[: star.subset].tolist())]

    def at(self, temperature: float) -> Rollout:
        """Return the rollout at a temperature."""
        return dataclasses.replace(
            self.rollout, sampling=dataclasses.replace(self.rollout.sampling, temperature=temperature)
        )

    def search(self, step: int, on_response: Callable[[Completion], None]) -> tuple[Choice, int]:
        """Return the best point of the grid and how many tokens finding it took; write the complete surface.

        All temperatures share their noise, so that they are compared on the same draws.
        """
        star, samples = self.config.star, self.rollout.samples
        sizes = [k for k in (2**i for i in range(32)) if k < samples] + [samples]
        surface: dict[int, list[Choice]] = {k: [] for k in sizes}
        tokens = 0
        with self.watch("search", len(self.subset) * samples * len(star.temperatures)):
            for temperature in star.temperatures:
                groups = self.at(temperature).sample_groups(
                    self.subset, purpose="search", step=step, on_response=on_response
                )
                tokens += sum(len(t.completion.token_ids) for group in groups for t in group.trajectories)
                for k, threshold in itertools.product(sizes, star.thresholds):
                    chosen = [select(first_samples(group, k), threshold) for group in groups]
                    effect = mean_query_effect(chosen, self.wanted)
                    surface[k].append(Choice(temperature=temperature, threshold=threshold, query_effect=effect))
        choice = best(surface[samples])
        record = {
            "step": step,
            "problems": len(self.subset),
            "wanted": self.wanted,
            "rule": "highest mean query effect; of equal ones the lowest temperature, then the highest threshold",
            "chosen": dataclasses.asdict(choice),
            "surface": {str(k): [dataclasses.asdict(point) for point in points] for k, points in surface.items()},
        }
        folder = self.path / "star"
        folder.mkdir(exist_ok=True)
        write_json(folder / f"step_{step:06d}.json", record)
        return choice, tokens

    def take(self, step: int, on_response: Callable[[Completion], None]) -> tuple[StepGroups, list[Selection]]:
        """Return the groups of an iteration, and what is selected from each. Raises DataError where nothing is."""
        config, metrics = self.config, dict[str, float]()
        temperature, threshold = config.sampling.temperature, config.star.threshold
        if config.star.mode == "b-star":
            choice, metrics["star/search_tokens"] = self.search(step, on_response)
            temperature, threshold = choice.temperature, choice.threshold
            metrics["star/search_query_effect"] = choice.query_effect
        problems = self.sampler.at(step)
        with self.watch("rollout", len(problems) * self.rollout.samples):
            groups = self.at(temperature).sample_groups(problems, purpose="train", step=step, on_response=on_response)
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


def examples_of(chosen: Sequence[Selection], end: int) -> list[Example]:
    """Return what is to be imitated, token for token as it was sampled; a response cut at a stop string gets an end."""
    examples = []
    for trajectory in (t for c in chosen for t in c.kept):
        response = trajectory.completion.token_ids.tolist()
        ended = [] if trajectory.completion.stop_reason == "eos" else [end]
        tokens = [*trajectory.prompt_ids.tolist(), *response, *ended]
        examples.append(Example(tokens=tokens, prompt_length=len(trajectory.prompt_ids)))
    return examples


def imitating(config: Config) -> Config:
    """Return the configuration of the parts: the only loss is cross-entropy, on the tokens as they are written."""
    group, s = config.sampling.samples_per_prompt, config.star.s
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
        feed = StarFeed(config, parts.sampler, parts.rollout, path, run.phase)
        given = demonstrations_of(config, parts, run.say)
        for step in run.steps():
            groups, chosen = feed.take(step, run.on_response)
            with run.phase("learn"):
                if not keeps_weights:
                    learner.start_anew(config.model)
                if not keeps_optimizer:
                    learner.restart()
                examples = [*given, *examples_of(chosen, end_token(parts.policy))]
                result = imitate(learner, examples, config, step, inherit=keeps_optimizer)
            run.sync(step)
            run.record(step, groups, credited(result, groups, chosen))
    return run.outcome


def demonstrations_of(config: Config, parts: Components, say: Callable[[str], None]) -> list[Example]:
    """Return the given responses that are imitated besides the model's own; none unless `star.demonstrations` asks."""
    if not config.star.demonstrations:
        return []
    items = demonstrations.load(config.star.demonstrations, split="train", size=0, seed=config.dataset.seed)
    prompts = prompter(config.template, system=config.prompt.system, special_tokens=config.prompt.special_tokens)
    limit = parts.policy.context_length
    examples, long = encode(items, prompts, parts.policy, limit)
    if long:
        say(f"{len(long)} of {len(items)} demonstrations are longer than {limit} tokens, left out: {first_few(long)}")
    return examples


def imitate(learner: Learner, examples: Sequence[Example], config: Config, step: int, *, inherit: bool) -> StepResult:
    """Do the updates of an iteration over its examples, in a fresh order at every pass; return the mean metrics."""
    star = config.star
    order = Sampler(
        examples, per_step=min(star.batch_size, len(examples)), seed=derive(config.seed, "star-order", step)
    )
    before = (step - 1) * star.updates if inherit else 0
    results = []
    for update in range(1, star.updates + 1):
        results.append(learner.step(demonstration_batch(order.at(update)), before + update).metrics)
    metrics = {name: value for name, value in means(results).items() if name in METRICS}
    metrics |= {"optimizer/updates": star.updates, "optimizer/lr": results[-1]["optimizer/lr"]}
    return StepResult(metrics=metrics, advantages=[])


def credited(result: StepResult, groups: StepGroups, chosen: Sequence[Selection]) -> StepResult:
    """Return the result with a credit for every sampled response: 1 on the tokens of those that are imitated."""
    kept = {id(t) for c in chosen for t in c.kept}
    sampled = [t for group in groups.all for t in group.trajectories]
    advantages = [t.loss_mask.astype(np.float32) * (id(t) in kept) for t in sampled]
    useful = {"tokens/useful": int(sum(credit.sum() for credit in advantages))}
    return StepResult(metrics=result.metrics | useful, advantages=advantages)
