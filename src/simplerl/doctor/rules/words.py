"""How figures are written in findings."""


def percent(share: float) -> str:
    """Return a share as a percentage with one decimal."""
    return f"{100 * share:.1f}%"


def ratio(above: float, below: float) -> float:
    """Return above / below, for figures of which neither should be 0 but both can be read from a file."""
    return above / below if below > 1e-12 else 0.0


def times(ratio: float) -> str:
    """Return a ratio as `2.3 times`."""
    return f"{ratio:.1f} times"
