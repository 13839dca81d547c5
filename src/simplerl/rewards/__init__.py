"""Rewards: the number trained on, from a problem, a completion and its verdict; how one is made, also of a function.

A reward is a frozen dataclass whose fields are its parameters; the built-in ones are in `builtin.py`. A new one is a
class and a line in `REWARDS`; from outside, `@simplerl.register("reward", "name")` or `--reward file.py:function`. A
verdict that says nothing about the answer (`timeout`, `error`, `unjudgeable`) has no reward: the trainer leaves the
trajectory out of the loss and counts it, and so it does where the reward itself fails (`Undecided`).
"""

import asyncio
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, ClassVar

from simplerl.core.errors import ConfigError, SimpleRLError, raised_at
from simplerl.core.registry import Registry, canonical, is_object, place_of, short_name
from simplerl.core.types import Completion, Problem, Scored, Undecided, Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Reward:
    """Base of all rewards; subclasses define `__call__`, and set `name` where it is built in."""

    name: ClassVar[str] = ""

    @property
    def judged(self) -> "list[Any]":
        """The rewards in this one for which a model is asked (`graders.py`), which costs: only what is trained on is
        scored then."""
        return []

    def __call__(self, problem: Problem, completion: Completion, verdict: Verdict) -> float:
        """Return the number trained on, of a reward that looks at one response at a time."""
        raise NotImplementedError

    def score(
        self, problem: Problem, completions: Sequence[Completion], verdicts: Sequence[Verdict]
    ) -> list[Scored | Undecided]:
        """Return what the reward says of responses to one problem, whose verdicts are decided.

        Whatever goes wrong for a response makes it undecided, and nothing else. A reward that compares the samples of a
        problem, or asks somebody about them, defines this.
        """
        return [self._score(problem, *pair) for pair in zip(completions, verdicts, strict=True)]

    def _score(self, problem: Problem, completion: Completion, verdict: Verdict) -> Scored | Undecided:
        if not verdict.decided:  # It says nothing about the answer: a number for it would be an invention.
            return Undecided(f"no reward for a verdict of status {verdict.status!r}: {verdict.detail}")
        try:
            return self.scored(self(problem, completion, verdict))
        except SimpleRLError:
            raise
        except Exception as error:  # A reward may be anybody's code: the response is undecided, and counted.
            return Undecided(f"reward {self.label} raised {raised_at(error)}")

    @property
    def label(self) -> str:
        """What its part is called in the record."""
        return self.name or type(self).__name__

    def scored(self, value: Any, who: str = "") -> Scored | Undecided:
        """Return a value as what the reward says; one that is not a finite number is undecided, and `who` gave it."""
        who = who or self.label
        if value is None:
            return Undecided(f"reward {who} does not apply (None)", applies=False)
        if isinstance(value, Undecided):
            return value
        complete = isinstance(value, Scored)
        numbers = [value.value, *value.parts.values(), *(each for _, each in value.steps)] if complete else [value]
        for each in numbers:
            if math.isnan(_number(each)):
                return Undecided(
                    f"reward {who} gave {str(each)[:60]!r} ({type(each).__name__}), not a finite number up to "
                    f"{LARGEST**2:g}"
                )
        return value if complete else Scored(_number(value), {self.label: _number(value)})


def _number(value: Any) -> float:
    """Return a value as a number; NaN for what is none, or is too large to train on."""
    try:
        number = math.nan if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return number if abs(number) <= LARGEST**2 else math.nan


#: Name → class, or a function.
REWARDS: Registry[Any] = Registry(
    "reward",
    {
        "correctness": "simplerl.rewards.builtin:Correctness",
        "simplerl-v0": "simplerl.rewards.builtin:SimplerlV0",
        "independent": "simplerl.rewards.builtin:Independent",
        "r1-tags": "simplerl.rewards.builtin:R1Tags",
        "format": "simplerl.rewards.builtin:Format",
        "length": "simplerl.rewards.builtin:Length",
        "overlong": "simplerl.rewards.builtin:Overlong",
        "rlsp": "simplerl.rewards.builtin:RLSP",
        "tool-star": "simplerl.rewards.builtin:ToolStar",
        "curiosity": "simplerl.rewards.builtin:Curiosity",
        "rlsqm": "simplerl.rewards.builtin:StaticTests",
        "rubric": "simplerl.graders:Rubric",
        "rlmt": "simplerl.graders:RLMT",
        "rlbff": "simplerl.graders:RLBFF",
        "process": "simplerl.prm:Process",
        "knights-and-knaves": "simplerl.environments.knights:LogicPuzzle",
        "mixture": "simplerl.rewards:Mixture",
    },
)


def make_reward(name: str, params: Mapping[str, Any] | None = None) -> Reward:
    """Return the reward of a name, or of `file.py:function`; a wrong name or parameter is a `ConfigError`."""
    kind = REWARDS.lookup(name)
    if not (inspect.isclass(kind) and issubclass(kind, Reward)):
        if params:
            raise ConfigError(f"the reward {name!r} is a function and has no parameters; leave out {', '.join(params)}")
        return FunctionReward(source=name, function=kind)
    from simplerl.core.settings import filled

    return filled(kind, params or {}, name)


COLUMNS = ("answer", "id", "source", "level")
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, kw_only=True)
class FunctionReward(Reward):
    """A function of yours as a reward: TRL's signature or ours, from a registration, a file, a module, or an object.

        def short(prompts, completions, **columns) -> list[float | None]      # TRL's: once for the samples of a problem
        def short(problem, completion, verdict) -> float | None               # ours: once for each response

    `prompts` are the questions, `completions` the texts. As `columns` a function gets lists of what it names, or with
    `**columns` all of: `answer`, `id`, `source`, `level`, `verdict` (the status), `completion_ids`, and what else the
    data set says of the problem. None means that the reward does not apply to a response. It may be `async`.
    """

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
                values = _awaited(self._call_with_lists(problem, completions, verdicts))
            else:
                values = [_awaited(self.function(problem, *pair)) for pair in zip(completions, verdicts, strict=True)]
        except Exception as error:  # Anybody's code: the responses are undecided, and counted.
            file = inspect.getsourcefile(self.function) if inspect.isroutine(self.function) else ""
            return [Undecided(f"reward {where} raised {raised_at(error, within=file or '')}")] * count
        sized = hasattr(values, "__len__") and getattr(values, "ndim", True)  # An array may have no dimension.
        if isinstance(values, str | bytes | dict) or not sized:
            return [Undecided(f"reward {where} returned {type(values).__name__}, not a list of numbers")] * count
        if len(values) != count:
            return [Undecided(f"reward {where} returned {len(values)} values for {count} responses")] * count
        return [self.scored(value, where) for value in values]

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


def _awaited(value: Any) -> Any:
    """Return what a function has returned, or what the coroutine of an `async` one returns, as TRL's may be."""
    if not inspect.iscoroutine(value):
        return value
    with ThreadPoolExecutor(1) as thread:  # In this one a loop may run already, as in a notebook.
        return thread.submit(asyncio.run, value).result()


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    if not callable(function):
        raise ConfigError(f"a reward is a function or a subclass of Reward, not {function!r}")
    try:
        return dict(inspect.signature(function).parameters)
    except ValueError as error:  # Of some built-in ones nothing is known.
        raise ConfigError(f"the reward {function!r} does not say what it takes: write a function of yours") from error


#: Largest weight; its square is the largest value: the square of their product must have room in fp32.
LARGEST = 1e6


@dataclass(frozen=True, kw_only=True)
class Part:
    """A reward of a mixture."""

    name: str
    weight: float = 1.0
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Mixture(Reward):
    """The sum of weight × value; the parts are the unweighted values by name.

    Plain mappings, so that a recipe can hold it:
    mixture(rewards=[{"name": "correctness"}, {"name": "overlong", "weight": 0.5, "params": {"limit": 8192}}])
    """

    name: ClassVar[str] = "mixture"
    rewards: Sequence[Mapping[str, Any]]
    """Each {name, weight (default 1), params (default none)}; every name at most once."""
    _built: tuple[tuple[float, Reward], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        from simplerl.core.settings import filled

        if not self.rewards:
            raise ConfigError("a mixture needs at least one reward: rewards = [{name = 'correctness'}]")
        built: dict[str, tuple[float, Reward]] = {}
        for entry in self.rewards:
            part = filled(Part, entry, "reward.rewards")
            if part.name in built:
                own = is_object(part.name)
                advice = "give each function a __name__ of its own" if own else "add up the weights instead"
                raise ConfigError(f"the mixture names the reward {part.name!r} twice: {advice}")
            if abs(part.weight) > LARGEST:
                raise ConfigError(f"the weight of {part.name!r} must be at most {LARGEST:g}, not {part.weight!r}")
            reward = make_reward(part.name, part.params)
            if any(reward.label == other.label for _, other in built.values()):
                raise ConfigError(f"two rewards of the mixture are called {reward.label!r} in the record; rename one")
            built[part.name] = (part.weight, reward)
        object.__setattr__(self, "_built", tuple(built.values()))
        # A run that is resumed elsewhere finds a file of the user's too.
        object.__setattr__(self, "rewards", [{**entry, "name": canonical(entry["name"])} for entry in self.rewards])

    @property
    def judged(self) -> list[Any]:
        return [each for _, reward in self._built for each in reward.judged]

    def score(
        self, problem: Problem, completions: Sequence[Completion], verdicts: Sequence[Verdict]
    ) -> list[Scored | Undecided]:
        """Return the weighted sums with each reward's own value; a part that does not apply adds nothing."""
        by_reward = [reward.score(problem, completions, verdicts) for _, reward in self._built]
        return [self._sum(parts) for parts in zip(*by_reward, strict=True)]

    def _sum(self, results: Sequence[Scored | Undecided]) -> Scored | Undecided:
        failed = next((each for each in results if isinstance(each, Undecided) and each.applies), None)
        if failed:
            return failed
        total, parts, steps = 0.0, dict[str, float](), list[tuple[int, float]]()
        for (weight, _), each in zip(self._built, results, strict=True):
            if isinstance(each, Scored):
                total += weight * each.value
                parts |= each.parts
                steps += [(end, weight * value) for end, value in each.steps]
        if not parts:
            return Undecided("no reward of the mixture applies", applies=False)
        return Scored(total, parts, tuple(steps))
