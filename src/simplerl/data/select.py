"""Choose problems of a set by level and number."""

import dataclasses
from collections.abc import Collection

from simplerl.core.errors import DataError
from simplerl.data.problems import ProblemSet


def select(found: ProblemSet, *, name: str, levels: Collection[int], size: int) -> ProblemSet:
    """Return the first `size` problems (0: all) of the wanted levels (none: all). Raises DataError for no problem."""
    kept = found.problems
    wanted = {str(level) for level in levels}
    if wanted:
        kept = [item for item in kept if item.level in wanted]
        if not kept:
            raise DataError(f"data set {name!r} has no problem of level {', '.join(sorted(wanted))}")
    return dataclasses.replace(found, problems=kept[:size] if size else kept)
