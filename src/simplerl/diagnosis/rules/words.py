"""How figures are written in findings."""


def percent(share: float) -> str:
    """Return a share as a percentage with one decimal."""
    return f"{100 * share:.1f}%"


def times(ratio: float) -> str:
    """Return a ratio as `2.3 times`."""
    return f"{ratio:.1f} times"
