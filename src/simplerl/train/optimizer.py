"""AdamW as every learner here uses it: made from the configuration, and applied with a clip."""

import torch

from simplerl.core.errors import ModelError
from simplerl.train.config import OptimizerConfig


def adamw(model: torch.nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """Return the optimizer of a model's parameters."""
    return torch.optim.AdamW(
        model.parameters(),
        lr=config.lr,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        weight_decay=config.weight_decay,
    )


def apply_gradient(
    optimizer: torch.optim.Optimizer, model: torch.nn.Module, *, lr: float, grad_clip: float, knob: str = "optimizer.lr"
) -> float:
    """Clip the gradient, do one update at a learning rate and forget the gradient; return its norm before the clip.

    `knob` is the setting of that rate, for the message where training has diverged.
    """
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), grad_clip)
    if not torch.isfinite(norm):
        raise ModelError(
            "the gradient is not a number: training has diverged. The last checkpoint is whole; lower "
            f"--{knob.replace('_', '-')} and start from it as a new run (--model DIR)"
        )
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(norm)
