"""AdamW as every learner here uses it: made from the configuration, on a schedule, applied with a clip."""

import math

import torch

from simplerl.config.sections import OptimizerConfig
from simplerl.core.errors import ModelError
from simplerl.models.sharding import clip_gradient, is_sharded


def adamw(model: torch.nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """Return the optimizer of those of a model's parameters that are trained."""
    trained, betas = [p for p in model.parameters() if p.requires_grad], (config.beta1, config.beta2)
    options = {"eps": config.epsilon, "weight_decay": config.weight_decay}
    # Fused: one pass over each tensor, and no temporary ones of its size. Of shards it loses memory at every step
    # (pytorch #188174).
    kind = {"foreach": True} if is_sharded(model) else {"fused": True}
    return torch.optim.AdamW(trained, lr=config.lr, betas=betas, **kind, **options)


def learning_rate(config: OptimizerConfig, done: float, steps: int) -> float:
    """Return the learning rate where `done` (a fraction too) of `steps` steps are done: linear warm-up, then schedule.

    `linear` reaches 0 at the last step's end, `cosine` `min_lr_ratio`; the first update of a warm-up of w steps has
    1/w of the peak.
    """
    warmup = config.warmup_steps
    if done < warmup:
        return config.lr * min(1.0, (done + 1) / warmup)
    share = (done - warmup) / max(1, steps - warmup)
    if config.schedule == "linear":
        return config.lr * max(0.0, 1 - share)
    if config.schedule == "cosine":
        floor = config.min_lr_ratio
        return config.lr * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))
    return config.lr


def apply_gradient(
    optimizer: torch.optim.Optimizer, model: torch.nn.Module, *, lr: float, grad_clip: float, knob: str = "optimizer.lr"
) -> float:
    """Clip the gradient, do one update at a learning rate and forget the gradient; return its norm before the clip.

    `knob` is the setting of that rate, for the message where training has diverged.
    """
    clip = clip_gradient if is_sharded(model) else torch.nn.utils.clip_grad_norm_
    norm = clip(model.parameters(), grad_clip)
    if not torch.isfinite(norm):
        raise ModelError(
            "the gradient is not a number: training has diverged. The last checkpoint is intact; lower "
            f"--{knob.replace('_', '-')} and start from it as a new run (--model DIR)"
        )
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(norm)
