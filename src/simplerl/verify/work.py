"""The work budget: how much one judgement may compute, counted in operations and not in seconds.

Every operation on numbers is charged before it is taken, by its kind and by the size of its numbers; one unit is about
a microsecond of a current core. A count does not depend on the machine, so the same answer meets the same end on every
one. An answer that spends the budget is wrong where the gold alone stays within it: how long a response computes must
not be a way to be left out of the loss.
"""

from __future__ import annotations

import threading

#: Units for one judgement in a worker.
BUDGET = 400_000
#: Units for one judgement in the calling process, which must never be kept; beyond it a worker decides.
QUICK_BUDGET = 5_000


class TooBig(Exception):
    """A number that would outgrow the limits: it is never computed."""


class Spent(TooBig):
    """The work budget is used up."""


class _Account(threading.local):
    left: float = BUDGET


_account = _Account()


def grant(units: float) -> None:
    """Begin a judgement that may spend this much."""
    _account.left = units


def spend(units: float) -> None:
    """Charge an operation before it is taken; raise `Spent` when the budget does not hold it, now and ever after."""
    if units > _account.left:
        _account.left = -1.0
        raise Spent("more work than one answer may cause")
    _account.left -= units
