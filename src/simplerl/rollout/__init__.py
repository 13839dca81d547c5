"""Rollouts: sample responses, have them judged, and keep the record. Backends by name."""

from simplerl.core.registry import Registry

#: Name → class, called with (policy, *, precision, max_rows).
BACKENDS: Registry[type] = Registry(
    "backend",
    {
        "native": "simplerl.rollout.native:NativeBackend",
        "fake": "simplerl.rollout.fake:FakeBackend",
    },
)
