"""Rollouts: sample responses, have them judged, and keep the record. Backends by name."""

from simplerl.rollout.fake import FakeBackend
from simplerl.rollout.native import NativeBackend

#: Name → class, called with (policy, *, precision, max_rows).
BACKENDS: dict[str, type] = {
    "native": NativeBackend,
    "fake": FakeBackend,
}
