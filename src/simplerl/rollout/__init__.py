"""Rollouts: sample responses, have them judged and rewarded, and keep the record. Backends by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simplerl.core.registry import Registry

if TYPE_CHECKING:
    from simplerl.models.load import Policy
    from simplerl.rollout.backend import RolloutBackend

#: Name → class; see `simplerl.rollout.backend` for how it is called.
BACKENDS: Registry[type] = Registry(
    "backend",
    {
        "native": "simplerl.rollout.native:NativeBackend",
        "fake": "simplerl.rollout.fake:FakeBackend",
        "vllm": "simplerl.rollout.vllm:VLLMBackend",
    },
)


def open_backend(name: str, policy: Policy, **options: Any) -> RolloutBackend:
    """Return a backend that samples from a policy loaded in this process; for `options` see there."""
    return BACKENDS[name](
        policy.name,
        policy.tokenizer,
        stop_ids=policy.stop_ids,
        context_length=policy.context_length,
        model=policy.model,
        **options,
    )
