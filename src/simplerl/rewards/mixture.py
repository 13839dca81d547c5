"""A weighted sum of rewards, written as plain mappings so that a recipe can hold it.

mixture(rewards=[{"name": "correctness"}, {"name": "overlong", "weight": 0.5, "params": {"limit": 8192}}])
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from simplerl.core.errors import ConfigError, nearest
from simplerl.core.types import Completion, Problem, Scored, Undecided, Verdict
from simplerl.rewards.base import Reward

_KEYS = ("name", "weight", "params")

#: Largest weight: what is trained on is fp32, in which the square of a reward must have room.
LARGEST = 1e6


@dataclass(frozen=True, kw_only=True, slots=True)
class Mixture(Reward):
    """The sum of weight × value; the parts are the unweighted values by name."""

    name: ClassVar[str] = "mixture"
    rewards: Sequence[Mapping[str, Any]]
    """Each {name, weight (default 1), params (default none)}; every name at most once."""
    _built: tuple[tuple[float, Reward], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        from simplerl.rewards import make_reward  # the registry imports this module

        if not self.rewards:
            raise ConfigError("a mixture needs at least one reward: rewards = [{name = 'correctness'}]")
        built: dict[str, tuple[float, Reward]] = {}
        for entry in self.rewards:
            if not isinstance(entry, Mapping):
                raise ConfigError(f"each reward of a mixture is a table like {{name = 'correctness'}}, not {entry!r}")
            for key in entry:
                if key not in _KEYS:
                    raise ConfigError(f"unknown key {key!r} in a mixture's reward; {nearest(key, _KEYS)}")
            name = entry.get("name", "")
            if not isinstance(name, str):
                raise ConfigError(f"the name of a mixture's reward must be text, not {name!r}")
            if name in built:
                raise ConfigError(f"the mixture names the reward {name!r} twice: add up the weights instead")
            weight = entry.get("weight", 1.0)
            if isinstance(weight, bool) or not (isinstance(weight, int | float) and abs(weight) <= LARGEST):
                raise ConfigError(f"the weight of {name!r} must be a finite number at most {LARGEST:g}, not {weight!r}")
            if not isinstance(entry.get("params") or {}, Mapping):
                raise ConfigError(f"params of {name!r} must be a table, not {entry['params']!r}")
            reward = make_reward(name, entry.get("params") or {})
            if any(reward.name == other.name for _, other in built.values()):
                raise ConfigError(f"two rewards of the mixture are called {reward.name!r} in the record; rename one")
            built[name] = (float(weight), reward)
        object.__setattr__(self, "_built", tuple(built.values()))

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
