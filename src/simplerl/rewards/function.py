"""A function of yours as a reward: TRL's signature or ours, from a registration, a file, a module, or an object.

    def short(prompts, completions, **columns) -> list[float | None]      # TRL's: once for the samples of a problem
    def short(problem, completion, verdict) -> float | None               # ours: once for each response

`prompts` are the questions, `completions` the texts. As `columns` a function gets lists of what it names, or with
`**columns` all of: `answer`, `id`, `source`, `level`, `verdict` (the status), `completion_ids`, and what else the data
set says of the problem. None means that the reward does not apply to a response.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from simplerl.core.errors import ConfigError, raised_at
from simplerl.core.registry import place_of, short_name
from simplerl.core.types import Completion, Problem, Scored, Undecided, Verdict
from simplerl.rewards.base import Reward

COLUMNS = ("answer", "id", "source", "level")
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, kw_only=True)
class FunctionReward(Reward):
    """A function with the name that the configuration has for it."""

    source: str
    """What `reward.name` says: a registered name, `file.py:function`, `module:function`, or `<object: …>`."""
    function: Callable[..., Any] = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        parameters = _parameters(self.function)
        required = [each for each in parameters.values() if each.default is each.empty and each.kind in _POSITIONAL]
        if "completions" not in parameters and len(required) != 3:
            raise ConfigError(
                f"the reward {self.source!r} ({place_of(self.function)}) takes ({', '.join(parameters)}); a reward is "
                "a function of (prompts, completions, **columns) or of (problem, completion, verdict)"
            )

    @property
    def name(self) -> str:  # type: ignore[override]
        """What its part is called in the record: the name without its file or module."""
        return short_name(self.source).rpartition(":")[2]

    def score(
        self, problem: Problem, completions: Sequence[Completion], verdicts: Sequence[Verdict]
    ) -> list[Scored | Undecided]:
        """Call the function and check what it returns. Where it raises, or the length is wrong, all are undecided."""
        where, count = f"{self.name} ({place_of(self.function)})", len(completions)
        try:
            if "completions" in _parameters(self.function):
                values = self._call_with_lists(problem, completions, verdicts)
            else:
                values = [self.function(problem, *pair) for pair in zip(completions, verdicts, strict=True)]
        except Exception as error:  # Anybody's code: the responses are undecided, and counted.
            file = inspect.getsourcefile(self.function) if inspect.isroutine(self.function) else ""
            return [Undecided(f"reward {self.name} raised {raised_at(error, within=file or '')}")] * count
        if isinstance(values, str | bytes | dict) or not hasattr(values, "__len__"):
            return [Undecided(f"reward {where} returned {type(values).__name__}, not a list of numbers")] * count
        if len(values) != count:
            return [Undecided(f"reward {where} returned {len(values)} values for {count} responses")] * count
        return [value if isinstance(value, Scored | Undecided) else self.scored(value, where) for value in values]

    def _call_with_lists(self, problem: Problem, completions: Sequence[Completion], verdicts: Sequence[Verdict]) -> Any:
        parameters = _parameters(self.function)
        same = {**problem.meta, **{name: getattr(problem, name) for name in COLUMNS}, "prompts": problem.question}
        columns: dict[str, list[Any]] = {name: [value] * len(completions) for name, value in same.items()}
        columns |= {
            "completions": [completion.text for completion in completions],
            "completion_ids": [completion.token_ids.tolist() for completion in completions],
            "verdict": [verdict.status for verdict in verdicts],
        }
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            columns = {name: column for name, column in columns.items() if name in parameters}
        return self.function(**columns)


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    if not callable(function):
        raise ConfigError(f"a reward is a function or a subclass of Reward, not {function!r}")
    return dict(inspect.signature(function).parameters)
