"""The learner: one step's batch in, updated weights and metrics out. On a CPU or one GPU.

Nothing in how the batch is laid out (micro-batches, padding, order) changes the gradient, rounding aside: the weights
of the loss are computed over the whole update before it is cut.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from simplerl.algorithms import Algorithm
from simplerl.core.types import Batch, CreditInputs, LossInputs
from simplerl.models import checkpoint
from simplerl.models.load import Policy, recompute_activations
from simplerl.models.score import Scorer
from simplerl.ops.correction import correction
from simplerl.ops.kl import adapted, kl
from simplerl.train.batch import Piece, minibatches, pieces
from simplerl.train.config import LearnerConfig, OptimizerConfig
from simplerl.train.critic import Critic, value_metrics
from simplerl.train.guards import clock
from simplerl.train.optimizer import adamw, apply_gradient
from simplerl.train.schedule import learning_rate
from simplerl.train.scores import Scores, score, score_all


@dataclass(frozen=True, kw_only=True, eq=False)
class Learned:
    """What a step's update leaves behind."""

    metrics: dict[str, float]
    advantages_BT: torch.Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class _Step:
    """The whole step as its updates see it."""

    batch: Batch
    mask_BT: torch.Tensor
    useful_B: torch.Tensor
    """bool [B]: responses that can contribute to the gradient."""
    advantages_BT: torch.Tensor
    old: Scores | None
    """Under the policy at the start of the step, wherever an update after the first needs it."""
    ref_BT: torch.Tensor | None
    values_BT: torch.Tensor | None
    """The critic's, at the start of the step."""
    returns_BT: torch.Tensor | None
    """What the critic learns."""


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
    ):
        """`reference` is the model of the KL; None: the policy as it is now. `seed` addresses a critic's first head."""
        self.policy, self.algorithm, self.config, self.optimization = policy, algorithm, learner, optimizer
        self.device = next(policy.model.parameters()).device
        self.tokens = learner.tokens_per_microbatch or (4096 if self.device.type == "cpu" else 16384)
        self.steps = steps
        self.kl_scale = 1.0
        self.scorer = Scorer(policy.model, temperature=temperature, precision=precision)
        self.reference = None
        if algorithm.needs_reference:
            frozen = (reference or copy.deepcopy(policy.model)).requires_grad_(False).eval()
            self.reference = Scorer(frozen, temperature=temperature, precision=precision)
        if learner.gradient_checkpointing:
            recompute_activations(policy.model)
        self.optimizer = adamw(policy.model, optimizer)
        self.critic = None
        if algorithm.needs_critic:
            settings = {"optimizer": optimizer, "learner": learner, "precision": precision, "tokens": self.tokens}
            self.critic = Critic(policy.model, algorithm, **settings, steps=steps, seed=seed)

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the policy's parameters and buffers by name."""
        yield from self.policy.model.state_dict(keep_vars=True).items()

    def save(self, directory: Path, state: dict[str, Any]) -> None:
        """Write a checkpoint: the policy as a model directory, and what an exact resume needs."""
        checkpoint.save(
            directory,
            model=self.policy.model,
            tokenizer=self.policy.tokenizer,
            optimizer=self.optimizer,
            others={"critic": (self.critic.model, self.critic.optimizer)} if self.critic else {},
            state={**state, "kl_scale": self.kl_scale},
        )

    def restore(self, directory: Path) -> None:
        """Take up moments and state from a checkpoint whose weights the policy has already."""
        checkpoint.load_optimizer(directory, self.optimizer)
        self.kl_scale = float(checkpoint.load_state(directory)["kl_scale"])
        if self.critic:
            self.critic.restore(directory)

    def step(self, batch: Batch, step: int) -> Learned:
        """Do the updates of a step (the first is 0)."""
        seconds: dict[str, float] = {}
        whole = self._prepare(batch, seconds)
        # Dropout is set to 0 when the model is loaded; training mode only lets gradient checkpointing act.
        self.policy.model.train(self.config.gradient_checkpointing)
        updates = minibatches(batch.group_B, self.config.prompts_per_update)
        places = [step + i / len(updates) for i in range(len(updates))]
        moves = self.critic is None or step >= self.algorithm.critic_warmup_steps
        per_update = []
        for rows, place in zip(updates, places, strict=True):
            first = place == step
            metrics = self._update(whole, rows, place, first=first) if moves else {}
            if self.critic:
                with clock(seconds, "time/critic"):
                    metrics |= self._teach(whole, rows, place)
            per_update.append(metrics)
        metrics = _means(per_update)
        if "policy/mismatch_kl" not in metrics:
            metrics |= self._mismatch(whole)
        metrics |= {
            "optimizer/lr": learning_rate(self.optimization, places[-1], self.steps),
            "optimizer/updates": sum("optimizer/grad_norm" in found for found in per_update),
            "tokens/useful": int(((whole.advantages_BT != 0) & whole.mask_BT).sum()) if moves else 0,
            "tokens/scored": int((whole.mask_BT & whole.useful_B[:, None]).sum()) if moves else 0,
        }
        if self.critic:
            metrics |= {**value_metrics(whole.values_BT, whole.returns_BT, whole.mask_BT), **seconds}
        self._adapt_kl(metrics, len(batch.tokens_BT))
        return Learned(metrics=metrics, advantages_BT=whole.advantages_BT)

    def _prepare(self, batch: Batch, seconds: dict[str, float]) -> _Step:
        """Give credit, and score what the updates compare with: the policy as it is now, and the reference."""
        algorithm, mask_BT = self.algorithm, self.algorithm.mask(batch)
        every = mask_BT.any(1).nonzero().flatten()
        old = ref_BT = kl_BT = None
        if algorithm.kl_reward_coef > 0:
            old = self._score_all(self.scorer, batch, mask_BT, every)
            ref_BT = self._score_all(self.reference, batch, mask_BT, every).logprobs_BT
            kl_BT = kl(old.logprobs_BT, ref_BT, estimator=algorithm.kl_estimator)
        values_BT = returns_BT = None
        if self.critic:
            with clock(seconds, "time/critic"):
                values_BT = self.critic.values(batch, mask_BT)
        credit = CreditInputs(batch=batch, mask_BT=mask_BT, values_BT=values_BT, kl_BT=kl_BT, kl_scale=self.kl_scale)
        if self.critic:
            returns_BT = algorithm.returns(credit)
        advantages_BT = algorithm.advantages(credit)
        useful_B = algorithm.carries_gradient(advantages_BT * mask_BT) & mask_BT.any(1)
        if old is None and len(updates := minibatches(batch.group_B, self.config.prompts_per_update)) > 1:
            later = torch.cat(updates[1:])
            old = self._score_all(self.scorer, batch, mask_BT, later[useful_B[later]])
        if ref_BT is None and self.reference is not None:
            ref_BT = self._score_all(self.reference, batch, mask_BT, useful_B.nonzero().flatten()).logprobs_BT
        return _Step(
            batch=batch,
            mask_BT=mask_BT,
            useful_B=useful_B,
            advantages_BT=advantages_BT,
            old=old,
            ref_BT=ref_BT,
            values_BT=values_BT,
            returns_BT=returns_BT,
        )

    def _score_all(self, scorer: Scorer, batch: Batch, mask_BT: torch.Tensor, rows: torch.Tensor) -> Scores:
        """Return the scores of the given rows, 0 elsewhere, without gradient."""
        micro = pieces(batch.lengths_B, rows, tokens=self.tokens, device=self.device)
        return score_all(scorer, batch, mask_BT, micro, vocabulary_mean=self.algorithm.needs_vocabulary_mean)

    def _update(self, whole: _Step, rows: torch.Tensor, place: float, *, first: bool) -> dict[str, float]:
        """Do one optimizer update over some rows; return its metrics, none if nothing carried gradient.

        `place` is where in the run it is done, in steps: what the learning rate follows.
        """
        weights_BT = torch.zeros(whole.mask_BT.shape)
        weights_BT[rows] = self.algorithm.weights(whole.mask_BT[rows], whole.batch.group_B[rows])
        rows = rows[whole.useful_B[rows]]
        scored = int(whole.mask_BT[rows].sum())
        if not scored:
            return {}
        sums: dict[str, torch.Tensor] = {}
        for piece in pieces(whole.batch.lengths_B, rows, tokens=self.tokens, device=self.device):
            for name, value in self._backward(whole, piece, weights_BT, scored, first=first).items():
                sums[name] = sums.get(name, 0.0) + value.double()
        lr = learning_rate(self.optimization, place, self.steps)
        norm = apply_gradient(self.optimizer, self.policy.model, lr=lr, grad_clip=self.optimization.grad_clip)
        return {**{name: float(value) for name, value in sums.items()}, "optimizer/grad_norm": norm}

    def _teach(self, whole: _Step, rows: torch.Tensor, place: float) -> dict[str, float]:
        """Do the critic's updates over the rows of one of the policy's; return the means of their metrics."""
        parts = minibatches(whole.batch.group_B[rows], self.algorithm.critic_prompts_per_update)
        seen = (whole.mask_BT, whole.values_BT, whole.returns_BT, place)
        return _means([self.critic.update(whole.batch, rows[part], *seen) for part in parts])

    def _backward(
        self, whole: _Step, piece: Piece, weights_BT: torch.Tensor, scored: int, *, first: bool
    ) -> dict[str, torch.Tensor]:
        """Add a micro-batch's gradient; return its share of the metrics.

        In the first update the policy is the one at the start of the step: its log-probabilities are the old ones.
        """
        algorithm, batch = self.algorithm, whole.batch
        kept_BT = piece.cut(whole.mask_BT)
        logprobs_BT, entropy_BT, mean_BT = score(
            self.scorer, batch, whole.mask_BT, piece, vocabulary_mean=algorithm.needs_vocabulary_mean
        )
        old_BT = logprobs_BT.detach() if first else piece.cut(whole.old.logprobs_BT)
        sampler_BT = piece.cut(batch.sampler_logprobs_BT) * kept_BT
        bounds = {"low": algorithm.correction_low, "high": algorithm.correction_high}
        factor_BT, acted_BT = correction(old_BT, sampler_BT, kept_BT, mode=algorithm.correction, **bounds)
        inputs = LossInputs(
            mask_BT=kept_BT,
            logprobs_BT=logprobs_BT,
            old_logprobs_BT=old_BT,
            ref_logprobs_BT=None if whole.ref_BT is None else piece.cut(whole.ref_BT),
            entropy_BT=entropy_BT if algorithm.needs_entropy_gradient else entropy_BT.detach(),
            advantages_BT=piece.cut(whole.advantages_BT),
            weights_BT=piece.cut(weights_BT) * factor_BT,
            mean_BT=kept_BT.float() / scored,
            kl_scale=self.kl_scale,
            vocabulary_mean_BT=mean_BT,
            old_vocabulary_mean_BT=mean_BT if first or mean_BT is None else piece.cut(whole.old.vocabulary_mean_BT),
        )
        output = algorithm.loss(inputs)
        output.loss.backward()
        means = {
            "policy/entropy": entropy_BT.detach(),
            "policy/mismatch_kl": kl(sampler_BT, old_BT, estimator="k3"),
        }
        if algorithm.correction != "none":
            means |= {"policy/correction": factor_BT, "policy/correction_share": acted_BT}
        return {
            **output.metrics,
            "policy/loss": output.loss.detach(),
            **{name: (inputs.mean_BT * values_BT).sum() for name, values_BT in means.items()},
        }

    def _mismatch(self, whole: _Step) -> dict[str, float]:
        """Measure the distance between sampler and trainer in a step that moved no policy, over all its tokens."""
        rows = whole.mask_BT.any(1).nonzero().flatten()
        if not len(rows):
            return {}
        now_BT = self._score_all(self.scorer, whole.batch, whole.mask_BT, rows).logprobs_BT
        gap_BT = kl(whole.batch.sampler_logprobs_BT * whole.mask_BT, now_BT, estimator="k3")
        return {"policy/mismatch_kl": float(gap_BT[whole.mask_BT].double().mean())}

    def _adapt_kl(self, metrics: dict[str, float], responses: int) -> None:
        """Let an adaptive KL coefficient follow the KL that was measured, and report the coefficient used."""
        algorithm = self.algorithm
        if not algorithm.needs_reference:
            return
        metrics["policy/kl_coef"] = self.kl_scale * (algorithm.kl_coef or algorithm.kl_reward_coef)
        if algorithm.kl_target > 0 and "policy/kl" in metrics:
            control = {"target": algorithm.kl_target, "horizon": algorithm.kl_horizon, "count": responses}
            self.kl_scale = adapted(self.kl_scale, metrics["policy/kl"], **control)


def _means(per_update: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each metric over the updates that have it."""
    names = dict.fromkeys(name for metrics in per_update for name in metrics)
    found = {name: [metrics[name] for metrics in per_update if name in metrics] for name in names}
    return {name: sum(values) / len(values) for name, values in found.items()}
