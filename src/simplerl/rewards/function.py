"""A function of yours as a reward: TRL's signature or ours, from a registration, a file, a module, or an object.

    def short(prompts, completions, **columns) -> list[float | None]      # TRL's: once for the samples of a problem
    def short(problem, completion, verdict) -> float | None               # ours: once for each response

`prompts` are the questions, `completions` the texts. As `columns` a function gets lists of what it names, or with
`**columns` all of: `answer`, `id`, `source`, `level`, `verdict` (the status), `completion_ids`, and what else the data
set says of the problem. None means that the reward does not apply to a response.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from simplerl.core.errors import ConfigError, SimpleRLError, raised_at
from simplerl.core.registry import place_of
from simplerl.core.types import Completion, Problem, Scored, Undecided, Verdict
from simplerl.rewards.base import Reward, checked_value

COLUMNS = ("answer", "id", "source", "level")


@dataclass(frozen=True, kw_only=True)
class FunctionReward(Reward):
    """A function with the name that the configuration has for it."""

    source: str
    """What `reward.name` says: a registered name, `file.py:function`, `module:function`, or `<object: …>`."""
    function: Callable[..., Any] = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        parameters = _parameters(self.function)
        if "completions" not in parameters and len(_required(parameters)) != 3:
            raise ConfigError(
                f"the reward {self.source!r} ({place_of(self.function)}) takes ({', '.join(parameters)}); a reward is "
                "a function of (prompts, completions, **columns) or of (problem, completion, verdict)"
            )

    @property
    def name(self) -> str:  # type: ignore[override]
        """What its part is called in the record: the name without its file or module."""
        return self.source.rpartition(":")[2] if not self.source.startswith("<") else self.function.__name__

    def __call__(self, problem: Problem, completion: Completion, verdict: Verdict) -> float:
        """Return the value of one response. Raises SimpleRLError where there is none."""
        (scored,) = self.score(problem, [completion], [verdict])
        if isinstance(scored, Undecided):
            raise SimpleRLError(scored.detail)
        return scored.value

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
        return [self._scored(value, where) for value in values]

    def _call_with_lists(self, problem: Problem, completions: Sequence[Completion], verdicts: Sequence[Verdict]) -> Any:
        count, parameters = len(completions), _parameters(self.function)
        columns: dict[str, list[Any]] = {name: [value] * count for name, value in problem.meta.items()}
        columns |= {name: [getattr(problem, name)] * count for name in COLUMNS}
        columns |= {
            "prompts": [problem.question] * count,
            "completions": [completion.text for completion in completions],
            "completion_ids": [completion.token_ids.tolist() for completion in completions],
            "verdict": [verdict.status for verdict in verdicts],
        }
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            columns = {name: column for name, column in columns.items() if name in parameters}
        return self.function(**columns)

    def _scored(self, value: Any, where: str) -> Scored | Undecided:
        if isinstance(value, Scored | Undecided):
            return value
        number = checked_value(value, where)
        return number if isinstance(number, Undecided) else Scored(number, {self.name: number})


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    if not callable(function):
        raise ConfigError(f"a reward is a function or a subclass of Reward, not {function!r}")
    return dict(inspect.signature(function).parameters)


def _required(parameters: dict[str, inspect.Parameter]) -> list[str]:
    return [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
