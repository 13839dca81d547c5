"""The learner: one step's batch in, updated weights and metrics out. On a CPU, a GPU, or several (`train/ranks.py`).

Nothing in how the batch is laid out (micro-batches, padding, order) changes the gradient, rounding aside: the weights
of the loss are computed over the complete update before it is cut.
"""

import contextlib
import copy
import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import PreTrainedModel

from simplerl.algorithms import Algorithm
from simplerl.algorithms.base import loss_beside
from simplerl.algorithms.imitation import Imitation
from simplerl.config.sections import LearnerConfig, OptimizerConfig
from simplerl.core.errors import ConfigError
from simplerl.core.types import COMPONENTS, Batch, CreditInputs, LossComponent, LossInputs
from simplerl.models import checkpoint, lora
from simplerl.models.device import SMALL_MODEL
from simplerl.models.guards import clock
from simplerl.models.load import Policy, check_finite, few_layers, load, recompute_activations
from simplerl.models.score import BaseScorer, Scorer, shares_prompts, text_logprobs
from simplerl.models.sharding import fill, gather, local, passes, read, shard, tensors
from simplerl.ops.policy_gradient import adapted, correction, kl
from simplerl.train.batch import (
    MicroBatch,
    by_response,
    cut_behind_prompts,
    cut_update,
    distinct_prompts,
    minibatches,
)
from simplerl.train.critic import Critic, value_metrics
from simplerl.train.optim import adamw, apply_gradient, learning_rate

if TYPE_CHECKING:
    from simplerl.train.ranks import Ranks

#: Log-probabilities, entropies and (or None) the vocabulary's means, each [B, T].
Scores = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]
#: Micro-batches of a tiny model that are computed at once, each with its activations.
MOST_LANES = 8
#: Component of the loss → the metric of its value.
LOSS_METRICS = {"rl": "policy/loss", "ce": "sft/loss"}


@dataclass(frozen=True, kw_only=True, eq=False)
class StepResult:
    """What a step's updates leave behind."""

    metrics: dict[str, float]
    advantages: list[np.ndarray]  # float32 [T] for each response: the credit of its tokens


@dataclass(frozen=True, kw_only=True, eq=False)
class _Prepared:
    """The complete step as its updates see it."""

    batch: Batch
    mask_BT: torch.Tensor  # bool [B, T]: the tokens of the rows that some term of the loss is for
    own_BT: torch.Tensor
    """bool [B, T]: those of them that the policy sampled in this step, whose credit the algorithm gives."""
    terms: dict[LossComponent, torch.Tensor]  # Term of the loss → bool [B, 1]: the rows that it is for
    useful_B: torch.Tensor  # bool [B]: responses that can contribute to the gradient
    advantages_BT: torch.Tensor
    old_BT: torch.Tensor | None
    """Log-probabilities under the policy at the start of the step, wherever an update after the first needs them."""
    old_mean_BT: torch.Tensor | None  # The vocabulary's means there, for the algorithms that read them
    ref_BT: torch.Tensor | None
    critic_BT: tuple[torch.Tensor, torch.Tensor] | None
    """The critic's values at the start of the step, and the returns that it learns."""
    entropy: float  # Mean entropy of the step's tokens, NaN unless the algorithm asks for it


class Learner:
    """Holds policy, reference and optimizer, and for PPO a critic."""

    def __init__(
        self,
        policy: Policy,
        algorithm: Algorithm,
        *,
        optimizer: OptimizerConfig,
        learner: LearnerConfig,
        precision: str,
        temperature: float,
        steps: int,
        reference: PreTrainedModel | None = None,
        seed: int = 0,
        top_p: float = 1.0,
        masked: bool = False,
        factors: bool = False,
    ):
        """`reference` is the model of the KL; None: the policy as it is now, or without its adapters.

        `factors`: of adapters, `weights` yields what they add (`lora.factors`), not the model with them.

        `seed` addresses the first values of a critic's head. `top_p` is that of sampling: tokens are scored as drawn,
        where they are `masked` under the nucleus of a copy of the policy (`scorer.mask`).
        """
        self.policy, self.algorithm, self.config, self.optimization = policy, algorithm, learner, optimizer
        self.device = next(policy.model.parameters()).device
        self.tokens = learner.tokens_per_microbatch or microbatch_tokens(policy.model)
        self.ranks: Ranks | None = None
        self.steps = steps
        self.kl_scale = 1.0
        self.imitator: torch.optim.AdamW | None = None
        self.own_tokenizer: Any = None
        self.carried: Mapping[str, float] = {}  # What the algorithm remembers from step to step
        self.refreshed = False  # Whether the reference is a later policy than the run began with
        self.scorer = Scorer(policy.model, temperature=temperature, precision=precision)
        self.scorer.top_p = top_p if "rl" in algorithm.components else 1.0
        if masked:
            self.scorer.mask = Scorer(copy.deepcopy(policy.model).requires_grad_(False).eval(), precision=precision)
        self.adapters, self.factors, self.seed = lora.has_adapters(policy.model), factors, seed
        size = sum(values.numel() for values in policy.model.parameters())
        self.small = size < SMALL_MODEL and not self.adapters and not learner.gradient_checkpointing
        self.reference: Scorer | BaseScorer | None = None
        if algorithm.needs_reference:
            if self.adapters and reference is None:
                if algorithm.teacher_temperature != 1:
                    raise ConfigError(
                        f"algorithm.teacher_temperature = {algorithm.teacher_temperature}: the teacher is the policy "
                        "without its adapters, at the same temperature; name the model as --reference too"
                    )
                self.reference = BaseScorer(self.scorer)
            else:
                frozen = (reference or copy.deepcopy(policy.model)).requires_grad_(False).eval()
                self.reference = Scorer(frozen, precision=precision)
                self.reference.temperature = temperature * algorithm.teacher_temperature
        self.share_prompts, self.prompts_first, self.note = _sharing(learner, policy.model)
        self.critic = None
        if algorithm.needs_critic:
            self.critic = Critic(self)
        if not learner.sharded:  # Else every rank does, with its shards.
            self._begin()

    def _begin(self) -> None:
        """Make ready to be trained, with the parameters as they are from now on."""
        if self.config.gradient_checkpointing:
            recompute_activations(self.policy.model)
        self.optimizer = adamw(self.policy.model, self.optimization)
        if self.critic:
            self.critic.begin()

    @property
    def lanes(self) -> int:
        """Micro-batches that are computed at once: of a tiny model on a CPU as many as there are threads, at most
        `MOST_LANES`, because its operations are too small to be shared by threads; else one, which has them all."""
        alone = self.device.type == "cpu" and self.small and not self.ranks
        return min(MOST_LANES, torch.get_num_threads()) if alone else 1

    @property
    def leads(self) -> bool:
        """Whether complete values come together here: on rank 0, or where there are no others."""
        return self.ranks is None or self.ranks.rank == 0

    def modules(self) -> list[torch.nn.Module]:
        """Return the modules that are split where there are ranks: the forward of each is called as a unit."""
        reference = self.reference if isinstance(self.reference, Scorer) else None
        return [each for each in (self.scorer, reference, self.critic and self.critic.model) if each is not None]

    def take_part(self, ranks: "Ranks", values: Sequence[Mapping[str, torch.Tensor]] | None) -> None:
        """Become one of the ranks, with a shard of each module; `values` are complete ones, which rank 0 has."""
        self.ranks, self.device = ranks, ranks.device
        self.tokens = self.config.tokens_per_microbatch or microbatch_tokens(self.policy.model, ranks.device)
        offload = self.config.cpu_offload and ranks.device.type != "cpu"
        for index, module in enumerate(self.modules()):
            shard(module, ranks.mesh, keep_below=ranks.keep_below, offload=offload)
            names, damaged = read(module, sent=ranks.placed)
            if self.leads:
                check_finite(self.policy.name, damaged)
            elif damaged:  # All stop here, so that none waits for another.
                return
            fill(module, values[index] if values else None, but=names)
        self._begin()

    @property
    def temperature(self) -> float:
        """At which tokens are scored: that at which they were sampled."""
        return self.scorer.temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        self.scorer.temperature = value
        if isinstance(self.reference, Scorer):
            self.reference.temperature = value * self.algorithm.teacher_temperature

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the policy's parameters and buffers by name; adapters merged into what they stand beside, or alone."""
        model, of_adapters = self.policy.model, lora.factors if self.factors else lora.merged
        named = of_adapters(model) if self.adapters else model.state_dict(keep_vars=True).items()
        yield from gather(dict(named), keep=self.leads) if self.ranks else named

    @torch.no_grad()
    def text_logprobs(self, token_ids: Sequence[int]) -> np.ndarray:
        """Return float32 [T − 1]: log-probabilities of a text's tokens after the first, at temperature 1, in fp32."""
        if self.ranks is None:
            return text_logprobs(self.policy.model, token_ids)
        scorer = self.scorer.eval()
        usual = scorer.temperature, scorer.precision, scorer.top_p
        scorer.temperature, scorer.precision, scorer.top_p = 1.0, "fp32", 1.0
        tokens_1T = torch.tensor([list(token_ids)], device=self.device)
        mask_1T = (torch.arange(tokens_1T.shape[1], device=self.device) > 0)[None]
        for tokens_BT in passes(scorer, [tokens_1T]):
            logprobs_1T, _, _ = scorer(tokens_BT, mask_1T, mask_1T.sum(1).cpu() + 1)
        scorer.temperature, scorer.precision, scorer.top_p = usual
        return logprobs_1T[0, 1:].cpu().numpy()

    def start_anew(self, name: str) -> None:
        """Give the policy the weights of a model again, or its adapters their first values."""
        module: torch.nn.Module = self.policy.model
        if self.ranks and self.adapters:
            raise ConfigError("learner.ranks: adapters that begin anew (star.mode = rest-em) need --learner.ranks 1")
        if self.ranks:
            fill(module, tensors(load(name).model) if self.leads else None)
        elif self.adapters:
            lora.start_anew(self.policy.model, self.seed)
        else:
            module.load_state_dict(load(name, device=self.device).model.state_dict())

    def restart(self) -> None:
        """Forget the optimizer's moments."""
        self.optimizer = adamw(self.policy.model, self.optimization)

    def imitate(self, batch: Batch, optimization: OptimizerConfig, entropy_coef: float) -> StepResult:
        """Do one update of −log π − c_H · H over a batch, at temperature 1, by an AdamW with moments of its own."""
        fresh = adamw(self.policy.model, optimization)
        if self.imitator is not None:  # Its moments, perhaps of a checkpoint, under these settings.
            fresh.load_state_dict({**fresh.state_dict(), "state": self.imitator.state_dict()["state"]})
        self.imitator = fresh
        beside = copy.copy(self)  # The same weights, another loss and other moments.
        beside.algorithm, beside.optimizer = Imitation(entropy_coef=entropy_coef), self.imitator
        beside.optimization, beside.config = optimization, dataclasses.replace(self.config, prompts_per_update=0)
        beside.critic = beside.reference = None
        usual = self.scorer.temperature, self.scorer.top_p
        self.scorer.temperature = self.scorer.top_p = 1.0
        result = Learner.step(beside, batch, 1)
        self.scorer.temperature, self.scorer.top_p = usual
        return result

    def refresh(self) -> None:
        """Make the policy as it is now the reference of the KL, and forget the optimizer's moments."""
        self.restart()
        if isinstance(self.reference, Scorer):
            self.copy_policy(self.reference.model)
            self.refreshed = True

    @torch.no_grad()
    def copy_policy(self, model: PreTrainedModel) -> None:
        """Give a model of the same kind, or its shards, the policy's weights as they are now."""
        own, theirs = model.state_dict(), self.policy.model.state_dict()
        for name, values in own.items():
            local(values).copy_(local(theirs[name]))

    def snapshot(self, state: dict[str, Any], copies: bool) -> Callable[[Path], None]:
        """Return what writes a checkpoint: a model directory, and what an exact resume needs. With `copies` it is that
        of this moment, while training goes on."""
        others: dict[str, Any] = {"critic": (self.critic.model, self.critic.optimizer)} if self.critic else {}
        if self.refreshed and self.reference:
            others["reference"] = (self.reference.model, None)
        if self.scorer.mask:
            others["mask"] = (self.scorer.mask.model, None)
        if self.imitator:
            others["imitator"] = (None, self.imitator)
        if copies and self.leads and not self.own_tokenizer:  # One that is in use may not be saved in another thread.
            self.own_tokenizer = copy.deepcopy(self.policy.tokenizer)
        return checkpoint.snapshot(
            model=self.policy.model,
            tokenizer=self.own_tokenizer or self.policy.tokenizer,
            optimizer=self.optimizer,
            others=others,
            state={**state, "refreshed": self.refreshed, "kl_scale": self.kl_scale, "carried": dict(self.carried)},
            writes=self.leads,
            copies=copies,
        )

    def restore(self, directory: Path) -> None:
        """Take up moments and state from a checkpoint whose weights the policy has already."""
        saved = checkpoint.Saved(directory, sent=bool(self.ranks and self.ranks.placed))
        saved.load_optimizer(self.optimizer)
        state = saved.state()
        self.kl_scale, self.carried = float(state["kl_scale"]), state.get("carried", {})
        if "imitator_optimizer" in state:
            self.imitator = adamw(self.policy.model, self.optimization)
            saved.load_optimizer(self.imitator, name="imitator_optimizer")
        self.refreshed = bool(state.get("refreshed"))
        if self.refreshed and self.reference:
            saved.load_module("reference", self.reference.model)
        if self.scorer.mask:
            saved.load_module("mask", self.scorer.mask.model)
        if self.critic:
            self.critic.restore(saved)

    def step(self, batch: Batch, step: int) -> StepResult:
        """Do the updates of a step (the first is 1).

        The step is prepared as a whole (credit, and the scores that updates compare with), then cut twice: into
        mini-batches, each an optimizer update, and these into micro-batches, whose gradients add up.
        """
        updates = minibatches(batch.group_B, self.config.prompts_per_update, batch.component_B)
        seconds: dict[str, float] = {}
        prepared = self._prepare(batch, updates, step, seconds)
        # Dropout is set to 0 when the model is loaded; training mode only lets gradient checkpointing act.
        self.policy.model.train(self.config.gradient_checkpointing)
        policy_moves = step > self.algorithm.critic_warmup_steps
        per_update = []
        for index, rows in enumerate(updates):
            done = step - 1 + index / len(updates)
            metrics = self._update(prepared, rows, done, first=index == 0) if policy_moves else {}
            if self.critic and prepared.critic_BT:
                with clock(seconds, "time/critic"):
                    metrics |= means(self.critic.updates(batch, rows, prepared.own_BT, *prepared.critic_BT, done))
            per_update.append(metrics)
        metrics = means(per_update)
        if "policy/mismatch_kl" not in metrics:
            metrics |= self._mismatch(batch, prepared.own_BT)
        trained_BT = prepared.mask_BT & policy_moves
        metrics |= {
            "optimizer/lr": learning_rate(self.optimization, done, self.steps),
            "optimizer/updates": sum("optimizer/grad_norm" in update for update in per_update),
            "tokens/useful": int(((prepared.advantages_BT != 0) & trained_BT).sum()),
            "tokens/scored": int((trained_BT & prepared.useful_B[:, None]).sum()),
        }
        if not math.isnan(prepared.entropy):
            metrics["credit/entropy"] = prepared.entropy
            metrics |= {f"credit/{name}": value for name, value in self.carried.items()}
        if prepared.critic_BT:
            metrics |= value_metrics(*prepared.critic_BT, prepared.own_BT) | seconds
        self._adapt_kl(metrics, int(batch.own_B.sum()))
        return StepResult(metrics=metrics, advantages=by_response(prepared.advantages_BT, batch))

    def _prepare(
        self, batch: Batch, updates: Sequence[torch.Tensor], step: int, seconds: dict[str, float]
    ) -> _Prepared:
        """Give credit, and score what the updates compare with: the policy as it is now, and the reference."""
        algorithm, mask_BT = self.algorithm, self.algorithm.mask(batch)
        own_B = batch.own_B
        own_BT = mask_BT & own_B[:, None]
        old_BT = old_mean_BT = ref_BT = kl_BT = values_BT = None
        kl_in_reward, entropy = algorithm.kl_reward_coef > 0, math.nan
        if kl_in_reward or algorithm.needs_entropy:
            every = mask_BT.any(1).nonzero().flatten()
            old_BT, entropy_BT, old_mean_BT = self._score(self.scorer, batch, mask_BT, every)
            entropy = float(entropy_BT[own_BT].double().mean()) if algorithm.needs_entropy else math.nan
        if kl_in_reward and self.reference and old_BT is not None:
            ref_BT, _, _ = self._score(self.reference, batch, mask_BT, every)
            kl_BT = kl(old_BT, ref_BT, estimator=algorithm.kl_estimator)
        if self.critic:
            with clock(seconds, "time/critic"):
                values_BT = self.critic.values(batch, own_BT)
        credit = CreditInputs(
            batch=dataclasses.replace(batch, included_B=batch.included_B & own_B),
            mask_BT=own_BT,
            values_BT=values_BT,
            kl_BT=kl_BT,
            kl_scale=self.kl_scale,
            step=step,
            entropy=entropy,
            state=self.carried,
        )
        # What a process reward says of a token's step and of those after it is credit of its own.
        given_BT, shape = algorithm.advantages(credit), tuple(own_BT.shape)
        if not isinstance(given_BT, torch.Tensor) or given_BT.shape != own_BT.shape:
            raise ConfigError(f"{type(algorithm).__name__}.advantages must return a tensor [B, T] = {shape}")
        if not given_BT[own_BT].isfinite().all():
            raise ConfigError(f"{type(algorithm).__name__}.advantages of step {step} are not all finite numbers")
        advantages_BT = given_BT + batch.to_come_BT * own_BT
        advantages_BT = torch.where(own_B[:, None], advantages_BT, batch.credit_BT * mask_BT)
        if own_BT.any():  # A step without a decided response has measured nothing.
            self.carried = algorithm.carried(credit)
        critic_BT = None
        if self.critic and values_BT is not None:
            critic_BT = (values_BT, self.critic.algorithm.returns(credit))
        here_B = batch.component_B >= 0  # The others have had their say in the credit of their groups.
        mask_BT, own_BT = mask_BT & here_B[:, None], own_BT & here_B[:, None]
        useful_B = algorithm.has_gradient(advantages_BT * mask_BT) & mask_BT.any(1)
        # The first update's old log-probabilities are its own, so only the rows of later ones are scored beforehand.
        if old_BT is None and len(updates) > 1:
            later = torch.cat(list(updates[1:]))
            old_BT, _, old_mean_BT = self._score(self.scorer, batch, mask_BT, later[useful_B[later]])
        if ref_BT is None and self.reference is not None:
            ref_BT, _, _ = self._score(self.reference, batch, mask_BT, useful_B.nonzero().flatten())
        return _Prepared(
            batch=batch,
            mask_BT=mask_BT,
            own_BT=own_BT,
            terms=self._terms(batch.component_B),
            useful_B=useful_B,
            advantages_BT=advantages_BT,
            old_BT=old_BT,
            old_mean_BT=old_mean_BT,
            ref_BT=ref_BT,
            critic_BT=critic_BT,
            entropy=entropy,
        )

    def _terms(self, component_B: torch.Tensor) -> dict[LossComponent, torch.Tensor]:
        """Return bool [B, 1] for each term of the loss: the rows that it is for."""
        terms = {name: component_B == index for index, name in enumerate(COMPONENTS)}
        own = {name: terms[name] | (component_B == 0) for name in self.algorithm.components}
        beside = {name: rows_B for name, rows_B in terms.items() if name != "rl" and bool(rows_B.any())}
        return {name: rows_B[:, None] for name, rows_B in (beside | own).items()}

    def deal(self, unit: torch.nn.Module, rows: torch.Tensor, batch: Batch) -> Iterable[MicroBatch]:
        """Return the micro-batches of some rows for a module, on one of several ranks those of this one."""
        cuts: dict[str, Any] = {"tokens": self.tokens, "device": self.device, "share_prompts": self.share_prompts}
        return self.ranks.deal(unit, rows, batch, **cuts) if self.ranks else cut_update(rows, batch, **cuts)

    def _each(
        self,
        scorer: Scorer | BaseScorer,
        batch: Batch,
        mask_BT: torch.Tensor,
        rows: torch.Tensor,
        work: Callable[[MicroBatch, Scores], Any],
    ) -> Iterator[tuple[MicroBatch, Any]]:
        """Yield each micro-batch of some rows, on its device, with what `work` makes of its scores, in order.

        With several `lanes` they are computed at once, each by one thread. Which one changes no bit. Where all their
        prompts fit, these are computed before, each once, and their gradient after.
        """
        wants_mean = self.algorithm.needs_vocabulary_mean
        unit = scorer.scorer if isinstance(scorer, BaseScorer) else scorer

        def worked(micro: MicroBatch) -> tuple[MicroBatch, Any]:
            tokens_BT, kept_BT = micro.cut(batch.tokens_BT), micro.cut(mask_BT)
            lengths_B = micro.lengths(batch.lengths_B)
            scores = scorer(tokens_BT, kept_BT, lengths_B, prompts=micro.prompts, vocabulary_mean=wants_mean)
            return micro, work(micro, scores)

        with self._threads() as each:
            behind: list[MicroBatch] = []
            if self.prompts_first and not (self.ranks or isinstance(scorer, BaseScorer) or scorer.mask) and len(rows):
                prompts = distinct_prompts(rows, batch, self.device)
                behind = cut_behind_prompts(rows, batch, prompts, tokens=self.tokens)
            if isinstance(scorer, BaseScorer) or not behind:
                yield from each(worked, self.deal(unit, rows, batch))
                return
            tokens_BT = batch.tokens_BT[rows].to(self.device)
            (states,) = each(functools.partial(scorer.prompt_states, tokens_BT), [prompts])
            apart = states.apart()
            yield from each(worked, [micro.behind(apart) for micro in behind])
            for _ in each(states.backward, [[values.grad for values in apart.values]]):
                pass

    @contextlib.contextmanager
    def _threads(self) -> Iterator[Callable[..., Iterable[Any]]]:
        """Give a `map` whose calls run in as many threads as there are `lanes`, in this one if there is one lane."""
        if self.lanes == 1:
            yield map
            return
        gradient, usual = torch.is_grad_enabled(), torch.get_num_threads()

        def called(function: Callable[[Any], Any], item: Any) -> Any:
            with torch.set_grad_enabled(gradient):  # Which every thread has of its own.
                return function(item)

        try:
            with ThreadPoolExecutor(self.lanes, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                yield lambda function, items: pool.map(functools.partial(called, function), items)
        finally:
            torch.set_num_threads(usual)

    @torch.no_grad()
    def _score(self, scorer: Scorer | BaseScorer, batch: Batch, mask_BT: torch.Tensor, rows: torch.Tensor) -> Scores:
        """Return the scores of some rows, 0 elsewhere, on the CPU, without gradient."""
        scorer.model.eval()
        logprobs_BT, entropy_BT = torch.zeros(mask_BT.shape), torch.zeros(mask_BT.shape)
        mean_BT = torch.zeros(mask_BT.shape) if self.algorithm.needs_vocabulary_mean else None
        for micro, scores in self._each(scorer, batch, mask_BT, rows, lambda micro, scores: scores):
            own_BT, own_entropy_BT, own_mean_BT = scores
            if micro.idle:
                continue
            logprobs_BT[micro.rows, : micro.width] = own_BT.cpu()
            entropy_BT[micro.rows, : micro.width] = own_entropy_BT.cpu()
            if mean_BT is not None and own_mean_BT is not None:
                mean_BT[micro.rows, : micro.width] = own_mean_BT.cpu()
        for values_BT in (logprobs_BT, entropy_BT, mean_BT):
            if self.ranks and values_BT is not None:
                self.ranks.sum_tensor(values_BT)
        return logprobs_BT, entropy_BT, mean_BT

    def _update(self, prepared: _Prepared, rows: torch.Tensor, done: float, *, first: bool) -> dict[str, float]:
        """Do one optimizer update over some rows; return its metrics, none if nothing carried gradient.

        `done` is how many steps of the run are done, a fraction within a step: what the learning rate follows.
        """
        batch, mask_BT = prepared.batch, prepared.mask_BT
        # The one place where a loss is normalised: over all rows of the update, before rows without gradient are left
        # out and the rest is cut into micro-batches. Each component has a denominator of its own.
        weights = {component: torch.zeros(mask_BT.shape) for component in prepared.terms}
        for component, weights_BT in weights.items():
            kept_BT = mask_BT[rows] & prepared.terms[component][rows]
            weights_BT[rows] = self.algorithm.weights(kept_BT, batch.group_B[rows], component)
        rows = rows[prepared.useful_B[rows]]
        scored = int(mask_BT[rows].sum())
        if not scored:
            return {}
        # What a plain mean is over: all tokens, those of each term, and those that this step sampled.
        counts = {"all": scored, "own": int(prepared.own_BT[rows].sum())}
        counts |= {name: int((mask_BT[rows] & rows_B1[rows]).sum()) for name, rows_B1 in prepared.terms.items()}
        sums: dict[str, torch.Tensor] = {}
        parameters = [values for values in self.policy.model.parameters() if values.requires_grad]
        at_once = self.lanes > 1  # Asked here: a thread of several has one lane itself.

        def work(micro: MicroBatch, scores: Scores) -> tuple[dict[str, torch.Tensor], Sequence[torch.Tensor | None]]:
            """Return a micro-batch's metrics and, with several lanes, its gradient, which is else added at once."""
            if micro.idle:
                (scores[0].sum() + scores[1].sum()).backward()
                return {}, []
            loss, metrics = self._loss(prepared, micro, scores, weights, counts, first=first)
            if at_once:
                return metrics, torch.autograd.grad(loss, [*parameters, *micro.leaves], allow_unused=True)
            loss.backward()
            return metrics, []

        for micro, (metrics, gradient) in self._each(self.scorer, batch, mask_BT, rows, work):
            for name, value in metrics.items():
                number = torch.as_tensor(value, dtype=torch.float64)
                if number.numel() != 1:  # Of somebody's own algorithm.
                    raise ConfigError(f"metric {name!r} must be one number, not {number.numel()}")
                sums[name] = sums.get(name, 0.0) + number.reshape(())
            for values, part in zip([*parameters, *micro.leaves] if gradient else [], gradient, strict=True):
                if part is not None:
                    values.grad = part if values.grad is None else values.grad.add_(part)
        lr = learning_rate(self.optimization, done, self.steps)
        norm = apply_gradient(self.optimizer, self.policy.model, lr=lr, grad_clip=self.optimization.grad_clip)
        numbers = {name: float(value) for name, value in sums.items()}
        return {**(self.ranks.sum_numbers(numbers) if self.ranks else numbers), "optimizer/grad_norm": norm}

    def _loss(
        self,
        prepared: _Prepared,
        micro: MicroBatch,
        scores: Scores,
        weights: dict[LossComponent, torch.Tensor],
        counts: dict[str, int],
        *,
        first: bool,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return a micro-batch's share of the loss, and of the metrics.

        In the first update the policy is the one at the start of the step: its log-probabilities are the old ones.
        """
        algorithm, batch = self.algorithm, prepared.batch
        kept_BT, own_BT = micro.cut(prepared.mask_BT), micro.cut(prepared.own_BT)
        logprobs_BT, entropy_BT, mean_BT = scores
        old_BT = logprobs_BT.detach() if first else micro.cut(prepared.old_BT)
        measured = [("policy/entropy", "all", kept_BT, entropy_BT.detach())]
        factor_BT = kept_BT
        if batch.sampler_logprobs_BT is not None:
            rollout_BT = micro.cut((batch.component_B == 0)[:, None] & prepared.mask_BT)
            sampler_BT = micro.cut(batch.sampler_logprobs_BT) * rollout_BT
            measured.append(("policy/mismatch_kl", "own", own_BT, kl(sampler_BT, old_BT, estimator="k3")))
            bounds = {"low": algorithm.correction_low, "high": algorithm.correction_high}
            factor_BT, acted_BT = correction(old_BT, sampler_BT, rollout_BT, mode=algorithm.correction, **bounds)
            if algorithm.correction != "none":
                measured += [("policy/correction", "all", kept_BT, factor_BT)]
                measured += [("policy/correction_share", "all", kept_BT, acted_BT)]
            factor_BT = torch.where(rollout_BT, factor_BT, 1.0)  # What nobody sampled is as it is meant to be.
        metrics: dict[str, torch.Tensor] = {}
        losses: list[torch.Tensor] = []
        for component, weights_BT in weights.items():
            term_BT = kept_BT & prepared.terms[component][micro.rows].to(micro.device)
            inputs = LossInputs(
                component=component,
                mask_BT=term_BT,
                logprobs_BT=logprobs_BT,
                old_logprobs_BT=old_BT,
                ref_logprobs_BT=None if prepared.ref_BT is None else micro.cut(prepared.ref_BT),
                entropy_BT=entropy_BT if algorithm.needs_entropy_gradient else entropy_BT.detach(),
                advantages_BT=micro.cut(prepared.advantages_BT),
                weights_BT=micro.cut(weights_BT) * factor_BT,
                mean_BT=term_BT.float() / max(1, counts[component]),
                kl_scale=self.kl_scale,
                vocabulary_mean_BT=mean_BT,
                old_vocabulary_mean_BT=mean_BT if first or mean_BT is None else micro.cut(prepared.old_mean_BT),
            )
            output = algorithm.loss(inputs) if component in algorithm.components else loss_beside(inputs)
            losses.append(output.loss)
            metrics |= output.metrics
            metrics[LOSS_METRICS.get(component, f"{component}/loss")] = output.loss.detach()
        for name, over, mask_BT, values_BT in measured:
            if counts[over]:
                metrics[name] = (mask_BT.float() / counts[over] * values_BT).sum()
        return torch.stack(losses).sum(), metrics

    def _mismatch(self, batch: Batch, mask_BT: torch.Tensor) -> dict[str, float]:
        """Measure the distance between sampler and trainer in a step that moved no policy, over all its tokens."""
        rows = mask_BT.any(1).nonzero().flatten()
        if batch.sampler_logprobs_BT is None or not len(rows):
            return {}
        now_BT, _, _ = self._score(self.scorer, batch, mask_BT, rows)
        gap_BT = kl(batch.sampler_logprobs_BT * mask_BT, now_BT, estimator="k3")
        return {"policy/mismatch_kl": float(gap_BT[mask_BT].double().mean())}

    def _adapt_kl(self, metrics: dict[str, float], responses: int) -> None:
        """Let an adaptive KL coefficient follow the KL that was measured on so many of the step's own responses (rows
        that a buffer has kept do not count again), and report the coefficient used."""
        algorithm = self.algorithm
        if not algorithm.needs_reference:
            return
        metrics["policy/kl_coef"] = self.kl_scale * (algorithm.kl_coef or algorithm.kl_reward_coef)
        if algorithm.kl_target > 0 and "policy/kl" in metrics:
            kl_now, horizon = metrics["policy/kl"], algorithm.kl_horizon
            self.kl_scale = adapted(self.kl_scale, kl_now, target=algorithm.kl_target, horizon=horizon, count=responses)


def _sharing(config: LearnerConfig, model: PreTrainedModel) -> tuple[str, bool, str]:
    """Return whether each micro-batch computes its prompts once (auto, on or off), whether all may be computed before
    them, and why neither where that is worth saying."""
    wanted = config.share_prompts
    if wanted == "off" or (wanted == "auto" and "flash" in model.config._attn_implementation):
        return "off", False, ""
    # A pass more for each micro-batch costs a tiny model what it saves.
    tiny = wanted == "auto" and sum(values.numel() for values in model.parameters()) < SMALL_MODEL
    if config.gradient_checkpointing:
        why = "learner.gradient_checkpointing keeps no keys and values"
    elif shares_prompts(few_layers(model) if next(model.parameters()).is_meta else model):
        return "off" if tiny else wanted, True, ""
    else:
        why = f"{type(model).__name__} gives other values behind a prompt's stored states"
    return "off", False, "" if tiny else f"prompts are computed for every response: {why}"


def microbatch_tokens(model: PreTrainedModel, device: torch.device | None = None) -> int:
    """Return how many tokens go through a model at once where nothing is set; `device` is where it will be.

    On a CPU 4,096 fit the cache for a tiny model; of a large one as many as keep what is held for the backward pass
    near 1 GiB, at about 32 fp32 numbers for each layer and hidden unit.
    """
    if (device or model.device).type != "cpu":
        return 16384
    config = model.config.get_text_config()
    return min(4096, max(256, 2**23 // (config.num_hidden_layers * config.hidden_size)))


def means(per_update: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each metric over the updates that have it."""
    values: dict[str, list[float]] = {}
    for metrics in per_update:
        for name, value in metrics.items():
            values.setdefault(name, []).append(value)
    return {name: sum(each) / len(each) for name, each in values.items()}
