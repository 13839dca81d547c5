"""Rollouts: sample responses, have them judged and rewarded, and keep the record. Backends by name."""

from typing import Any

from simplerl.models.load import Policy
from simplerl.rollout.backend import RolloutBackend
from simplerl.rollout.fake import FakeBackend
from simplerl.rollout.native import NativeBackend

#: Name → class; see `simplerl.rollout.backend` for how it is called.
BACKENDS: dict[str, type] = {
    "native": NativeBackend,
    "fake": FakeBackend,
}


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
