"""The learner: one step's batch in, updated weights and metrics out. On a CPU or one GPU.

Nothing in how the batch is laid out (micro-batches, padding, order) changes the gradient, rounding aside: the weights
of the loss are computed over the whole update before it is cut.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from simplerl.algorithms import Algorithm
from simplerl.errors import ModelError
from simplerl.models.load import Policy
from simplerl.models.score import Scorer
from simplerl.ops.kl import kl
from simplerl.train.batch import microbatches
from simplerl.train.config import LearnerConfig, OptimizerConfig
from simplerl.train.schedule import learning_rate
from simplerl.types import Batch, LossInputs


@dataclass(frozen=True, kw_only=True, eq=False)
class Learned:
    """What a step's update leaves behind."""

    metrics: dict[str, float]
    advantages_BT: torch.Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class _Piece:
    """A micro-batch: which rows of the batch, and how wide."""

    rows: torch.Tensor
    width: int
    device: torch.device

    def cut(self, values_BT: torch.Tensor) -> torch.Tensor:
        """Return these rows of a tensor, on the device."""
        return values_BT[self.rows, : self.width].to(self.device)


class Learner:
    """Holds policy, reference and optimizer."""

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
    ):
        """`reference` is the starting model where `policy` is no longer that (a resumed run); None: it still is."""
        self.policy, self.algorithm, self.config, self.optimization = policy, algorithm, learner, optimizer
        self.device = next(policy.model.parameters()).device
        self.tokens = learner.tokens_per_microbatch or (4096 if self.device.type == "cpu" else 16384)
        self.steps = steps
        self.scorer = Scorer(policy.model, temperature=temperature, precision=precision)
        self.reference = None
        if algorithm.needs_reference:
            frozen = (reference or copy.deepcopy(policy.model)).requires_grad_(False).eval()
            self.reference = Scorer(frozen, temperature=temperature, precision=precision)
        if learner.gradient_checkpointing:
            policy.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        self.optimizer = torch.optim.AdamW(
            policy.model.parameters(),
            lr=optimizer.lr,
            betas=(optimizer.beta1, optimizer.beta2),
            eps=optimizer.epsilon,
            weight_decay=optimizer.weight_decay,
        )

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the policy's parameters and buffers by name."""
        yield from self.policy.model.state_dict(keep_vars=True).items()

    def step(self, batch: Batch, step: int) -> Learned:
        """Do the updates of a step (the first is 0)."""
        advantages_BT = self.algorithm.advantages(batch, None)
        mask_BT = self.algorithm.mask(batch)
        useful_B = self.algorithm.carries_gradient(advantages_BT * mask_BT) & mask_BT.any(1)
        updates = self._updates(batch)
        old_BT = None
        if len(updates) > 1:
            old_BT = self._score_all(self.scorer, batch, mask_BT, useful_B.nonzero().flatten())
        ref_BT = None
        if self.reference is not None:
            ref_BT = self._score_all(self.reference, batch, mask_BT, useful_B.nonzero().flatten())
        # Dropout is set to 0 when the model is loaded; training mode only lets gradient checkpointing act.
        self.policy.model.train(self.config.gradient_checkpointing)
        per_update = [
            self._update(batch, rows, mask_BT, useful_B, advantages_BT, old_BT, ref_BT, step, place / len(updates))
            for place, rows in enumerate(updates)
        ]
        done = [metrics for metrics in per_update if metrics]
        scored = int((mask_BT & useful_B[:, None]).sum())
        metrics: dict[str, float] = {name: sum(m[name] for m in done) / len(done) for name in (done[0] if done else {})}
        metrics |= {
            "optimizer/lr": learning_rate(self.optimization, step + (len(updates) - 1) / len(updates), self.steps),
            "optimizer/updates": len(done),
            "tokens/useful": int(((advantages_BT != 0) & mask_BT).sum()),
            "tokens/scored": scored,
        }
        return Learned(metrics=metrics, advantages_BT=advantages_BT)

    def _updates(self, batch: Batch) -> list[torch.Tensor]:
        """Cut the step into mini-batches of `prompts_per_update` problems; return the rows of each."""
        groups = int(batch.group_B.max()) + 1
        size = self.config.prompts_per_update or groups
        return [
            ((batch.group_B >= start) & (batch.group_B < start + size)).nonzero().flatten()
            for start in range(0, groups, size)
        ]

    def _pieces(self, batch: Batch, rows: torch.Tensor) -> Iterator[_Piece]:
        """Cut rows into micro-batches."""
        for piece in microbatches(rows, batch.lengths_B, tokens=self.tokens):
            yield _Piece(rows=piece, width=int(batch.lengths_B[piece].max()), device=self.device)

    def _score(
        self, scorer: Scorer, batch: Batch, mask_BT: torch.Tensor, piece: _Piece
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (logprobs_BT, entropy_BT) of a micro-batch."""
        return scorer(piece.cut(batch.tokens_BT), piece.cut(mask_BT), batch.lengths_B[piece.rows])

    @torch.no_grad()
    def _score_all(self, scorer: Scorer, batch: Batch, mask_BT: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return logprobs_BT of the given rows, 0 elsewhere."""
        scorer.model.eval()
        logprobs_BT = torch.zeros(mask_BT.shape)
        for piece in self._pieces(batch, rows):
            logprobs_BT[piece.rows, : piece.width] = self._score(scorer, batch, mask_BT, piece)[0].cpu()
        return logprobs_BT

    def _update(
        self,
        batch: Batch,
        rows: torch.Tensor,
        mask_BT: torch.Tensor,
        useful_B: torch.Tensor,
        advantages_BT: torch.Tensor,
        old_BT: torch.Tensor | None,
        ref_BT: torch.Tensor | None,
        step: int,
        progress: float,
    ) -> dict[str, float]:
        """Do one optimizer update over some rows; return its metrics, none if nothing carried gradient."""
        weights_BT = torch.zeros(mask_BT.shape)
        weights_BT[rows] = self.algorithm.weights(mask_BT[rows], batch.group_B[rows])
        rows = rows[useful_B[rows]]
        scored = int(mask_BT[rows].sum())
        if not scored:
            return {}
        sums: dict[str, torch.Tensor] = {}
        for piece in self._pieces(batch, rows):
            kept_BT = piece.cut(mask_BT)
            logprobs_BT, entropy_BT = self._score(self.scorer, batch, mask_BT, piece)
            inputs = LossInputs(
                mask_BT=kept_BT,
                logprobs_BT=logprobs_BT,
                old_logprobs_BT=logprobs_BT.detach() if old_BT is None else piece.cut(old_BT),
                ref_logprobs_BT=None if ref_BT is None else piece.cut(ref_BT),
                entropy_BT=entropy_BT if self.algorithm.needs_entropy_gradient else entropy_BT.detach(),
                advantages_BT=piece.cut(advantages_BT),
                weights_BT=piece.cut(weights_BT),
                mean_BT=kept_BT.float() / scored,
            )
            output = self.algorithm.loss(inputs)
            output.loss.backward()
            mismatch_BT = kl(piece.cut(batch.sampler_logprobs_BT) * kept_BT, inputs.old_logprobs_BT, estimator="k3")
            for name, value in {
                **output.metrics,
                "policy/loss": output.loss.detach(),
                "policy/entropy": (inputs.mean_BT * entropy_BT.detach()).sum(),
                "policy/mismatch_kl": (inputs.mean_BT * mismatch_BT).sum(),
            }.items():
                sums[name] = sums.get(name, 0.0) + value.double()
        norm = torch.nn.utils.clip_grad_norm_(self.policy.model.parameters(), self.optimization.grad_clip)
        if not torch.isfinite(norm):
            raise ModelError(
                f"the gradient of step {step + 1} is not a number: training has diverged. The last checkpoint is "
                "whole; lower --optimizer.lr and start from it as a new run (--model DIR)"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.optimization, step + progress, self.steps)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {**{name: float(value) for name, value in sums.items()}, "optimizer/grad_norm": float(norm)}
