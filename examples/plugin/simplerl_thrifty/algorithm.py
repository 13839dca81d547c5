"""Thrifty: REINFORCE with the group's mean as baseline, and a little less credit for long responses."""

from dataclasses import dataclass

import torch
from pydantic import NonNegativeFloat

from simplerl.algorithms import Algorithm
from simplerl.algorithms.base import broadcast_to_tokens, policy_ratio
from simplerl.core.types import CreditInputs, LossInputs, LossOutput
from simplerl.ops.policy_gradient import group_moments, group_relative


@dataclass(frozen=True, kw_only=True)
class Thrifty(Algorithm):
    """A = r − mean of the group − thrift · (length − mean length of the group) / mean length of the group."""

    thrift: NonNegativeFloat = 0.1
    """Credit that a response of twice its group's mean length loses."""

    def advantages(self, inputs: CreditInputs) -> torch.Tensor:
        """Return advantages_BT: one value per response, on each of its tokens that take part."""
        batch = inputs.batch
        group_B, included_B = batch.group_B, batch.included_B
        length_B = (batch.lengths_B - batch.prompt_lengths_B).float()
        _, mean_length_B, _ = group_moments(length_B, group_B, included_B)
        longer_B = (length_B - mean_length_B) / mean_length_B.clamp(min=1.0)
        credit_B = group_relative(batch.rewards_B, group_B, included_B, scale="none") - self.thrift * longer_B
        return broadcast_to_tokens(credit_B, inputs)

    def loss(self, inputs: LossInputs) -> LossOutput:
        """Return −ρ · A, summed with the weights; the metrics are its own, and are recorded like any others."""
        ratio_BT = policy_ratio(inputs)
        output = self.total(inputs, -ratio_BT * inputs.advantages_BT)
        thrift = (inputs.mean_BT * inputs.advantages_BT.abs()).sum().detach()
        return LossOutput(loss=output.loss, metrics={**output.metrics, "thrifty/mean_credit": thrift})
