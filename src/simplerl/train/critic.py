"""The critic's half of a learner: values for giving credit, and the regression to the returns."""

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import torch

from simplerl.algorithms.ppo import PPO
from simplerl.core.types import Batch
from simplerl.models.checkpoint import Saved
from simplerl.models.load import recompute_activations
from simplerl.models.value_head import ValueModel
from simplerl.train.batch import MicroBatch, minibatches
from simplerl.train.optim import adamw, apply_gradient, learning_rate

if TYPE_CHECKING:
    from simplerl.train.learner import Learner


class Critic:
    """Holds the value model and its optimizer, and goes through batches as its learner does."""

    def __init__(self, learner: "Learner"):
        self.learner, self.algorithm = learner, cast(PPO, learner.algorithm)
        self.optimization = dataclasses.replace(
            learner.optimization, lr=self.algorithm.critic_lr, epsilon=self.algorithm.critic_epsilon
        )
        self.model = ValueModel(learner.policy.model, seed=learner.seed, precision=learner.scorer.precision)

    def begin(self) -> None:
        """Make ready to be trained, with the parameters as they are from now on."""
        if self.learner.config.gradient_checkpointing:
            recompute_activations(self.model.backbone)
        self.optimizer = adamw(self.model, self.optimization)

    def restore(self, saved: Saved) -> None:
        """Take up weights and moments from a checkpoint."""
        saved.load_module("critic", self.model)
        saved.load_optimizer(self.optimizer, name="critic_optimizer")

    def _valued(
        self, batch: Batch, mask_BT: torch.Tensor, rows: torch.Tensor
    ) -> Iterator[tuple[MicroBatch, torch.Tensor]]:
        """Yield each micro-batch of some rows with its values, on its device."""
        for micro in self.learner.deal(self.model, rows, batch):
            tokens_BT, kept_BT = micro.cut(batch.tokens_BT), micro.cut(mask_BT)
            lengths_B = micro.lengths(batch.lengths_B)
            yield micro, self.model(tokens_BT, kept_BT, lengths_B, micro.prompts)

    @torch.no_grad()
    def values(self, batch: Batch, mask_BT: torch.Tensor) -> torch.Tensor:
        """Return values_BT of every masked token, on the CPU."""
        self.model.eval()
        values_BT = torch.zeros(mask_BT.shape)
        rows = mask_BT.any(1).nonzero().flatten()
        for micro, own_BT in self._valued(batch, mask_BT, rows):
            if not micro.idle:
                values_BT[micro.rows, : micro.width] = own_BT.cpu()
        if self.learner.ranks:
            self.learner.ranks.sum_tensor(values_BT)
        return values_BT

    def updates(self, batch: Batch, rows: torch.Tensor, *targets: Any) -> list[dict[str, float]]:
        """Do the updates over the rows of one of the policy's, cut as the algorithm says; `targets` as in `update`."""
        parts = minibatches(batch.group_B[rows], self.algorithm.critic_prompts_per_update)
        return [self.update(batch, rows[part], *targets) for part in parts]

    def update(
        self,
        batch: Batch,
        rows: torch.Tensor,
        mask_BT: torch.Tensor,
        old_BT: torch.Tensor,
        returns_BT: torch.Tensor,
        done: float,
    ) -> dict[str, float]:
        """Do one optimizer update over some rows; return its metrics, none where no token is masked in.

        `old_BT` are the values at the start of the step, `done` the steps done so far (a fraction too).
        """
        self.model.train(self.learner.config.gradient_checkpointing)
        weights_BT = torch.zeros(mask_BT.shape)
        weights_BT[rows] = self.algorithm.weights(mask_BT[rows], batch.group_B[rows])
        rows = rows[mask_BT[rows].any(1)]
        if not len(rows):
            return {}
        loss = 0.0
        for micro, values_BT in self._valued(batch, mask_BT, rows):
            per_token_BT = self.algorithm.value_loss(values_BT, micro.cut(old_BT), micro.cut(returns_BT))
            share = (micro.cut(weights_BT) * per_token_BT).sum()
            share.backward()
            loss += float(share.detach())
        if self.learner.ranks:
            loss = self.learner.ranks.sum_numbers({"loss": loss})["loss"]
        rate = learning_rate(self.optimization, done, self.learner.steps)
        clip, knob = self.optimization.grad_clip, "algorithm.critic_lr"
        norm = apply_gradient(self.optimizer, self.model, lr=rate, grad_clip=clip, knob=knob)
        return {"critic/loss": loss, "critic/grad_norm": norm, "critic/lr": rate}


def value_metrics(values_BT: torch.Tensor, returns_BT: torch.Tensor, mask_BT: torch.Tensor) -> dict[str, float]:
    """Return how good the critic was before the step: the share of the returns' variance that its values explain."""
    values_N, returns_N = values_BT[mask_BT].double(), returns_BT[mask_BT].double()
    if not len(values_N):
        return {}
    spread = float(returns_N.var(correction=0))
    left = float((returns_N - values_N).var(correction=0))
    return {
        "critic/value": float(values_N.mean()),
        "critic/return": float(returns_N.mean()),
        "critic/explained_variance": 1 - left / spread if spread > 1e-12 else float("nan"),
    }
