"""Curricula: samplers that go through stages, each with its own problems, samples or length of responses."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from simplerl.config.sections import Config, Ints, Strings
from simplerl.core.errors import ConfigError, DataError
from simplerl.core.types import Draw, Problem
from simplerl.feed.ledger import Ledger
from simplerl.feed.samplers import Pooled, PromptSampler, drawn
from simplerl.runs.responses import Visit

if TYPE_CHECKING:
    from simplerl.feed.feed import Feed

#: What stands for all problems where a stage names those that it has.
ALL = "all"


@dataclass(frozen=True, kw_only=True)
class Staged(Pooled):
    """Base of the curricula: a stage after the other, each of so many steps; the last one goes on."""

    stage_steps: Ints = ()
    """Steps of every stage but the last."""
    sources: Strings = ()
    """What each stage goes through: data sources or levels (several as a|b), or `all`; empty: all in every stage."""

    @property
    def stages(self) -> int:
        """Number of stages."""
        return len(self.stage_steps) + 1

    def __post_init__(self) -> None:
        self.within(1, math.inf, "stage_steps")
        for name in self.per_stage():
            if len(value := getattr(self, name)) not in (0, self.stages):
                raise ConfigError(
                    f"sampler.{name} has {len(value)} entries for {self.stages} stages: sampler.stage_steps gives the "
                    "steps of every stage but the last"
                )

    def per_stage(self) -> tuple[str, ...]:
        """Return the settings that have an entry for each stage, or none."""
        return ("sources",)

    def stage(self, step: int) -> tuple[int, int]:
        """Return (index of the stage of a step, the stage's first step)."""
        index, first = 0, 1
        while index < len(self.stage_steps) and step >= first + self.stage_steps[index]:
            first += self.stage_steps[index]
            index += 1
        return index, first

    def first(self, index: int) -> int:
        """Return the first step of a stage."""
        return 1 + sum(self.stage_steps[:index])

    def check(self, config: Config, problems: Sequence[Problem]) -> None:
        """Raise DataError for a source of which there is no problem."""
        names = {name for problem in problems for name in _domains(problem)}
        for name in (name for sources in self.sources for name in sources.split("|")):
            if name not in names:
                raise DataError(
                    f"sampler.sources: no training problem is of {name!r}; there are {', '.join(sorted(names))}"
                )

    def members(self, index: int, ledger: Ledger) -> list[Problem]:
        """Return the problems of a stage: those of its sources."""
        wanted = set(self.sources[index].split("|") if self.sources else [ALL])
        return [problem for problem in ledger.problems if _domains(problem) & wanted]

    def since(self, step: int, ledger: Ledger) -> tuple[int, Sequence[Problem]]:
        """Return the stage's first step and its problems, as they were settled then."""
        index, first = self.stage(step)
        return first, self.members(index, ledger)

    def prepare(self, step: int, ledger: Ledger, feed: "Feed") -> Mapping[str, float]:
        """Return the stage (the first is 1) and how many problems it has."""
        return {"sampler/stage": self.stage(step)[0] + 1, **super().prepare(step, ledger, feed)}


def _domains(problem: Problem) -> set[str]:
    return {ALL, problem.source, problem.level} - {""}


@dataclass(frozen=True, kw_only=True)
class AceReason(Staged):
    """AceReason's stages (arXiv 2505.16400): longer responses by and by, solved problems dropped, mathematics first.

    At the later stages a problem is dropped that was solved more often than `solved` in the stage before, and stays so.
    """

    stage_steps: Ints = (100, 100, 100)
    """Steps of every stage but the last."""
    lengths: Ints = (8192, 16384, 24576, 32768)
    """Length at which a stage's responses are truncated; none may be above sampling.max_new_tokens."""
    solved: float = 6 / 16
    """Pass rate above which a problem is dropped."""
    drop_from: int = 3
    """The first stage (they count from 1) that drops."""

    def per_stage(self) -> tuple[str, ...]:
        """Return the settings that have an entry for each stage, or none."""
        return ("sources", "lengths")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.within(1, math.inf, "lengths")
        self.within(0, 1, "solved")
        self.within(2, math.inf, "drop_from")

    def check(self, config: Config, problems: Sequence[Problem]) -> None:
        """Raise ConfigError where a stage's responses are longer than the run's may be."""
        super().check(config, problems)
        if self.lengths and max(self.lengths) > (most := config.sampling.max_new_tokens):
            raise ConfigError(
                f"sampler.lengths goes up to {max(self.lengths)}, above sampling.max_new_tokens = {most}, for which "
                "room is kept in the context; raise the latter, or give shorter --sampler.lengths"
            )

    def max_new_tokens(self, step: int, ledger: Ledger) -> int:
        """Return the length of the stage."""
        return self.lengths[self.stage(step)[0]] if self.lengths else super().max_new_tokens(step, ledger)

    def members(self, index: int, ledger: Ledger) -> list[Problem]:
        """Return the problems of the stage's sources, without those that were solved often enough before a stage."""
        problems = super().members(index, ledger)
        for stage in range(self.drop_from - 1, index + 1):
            rates = ledger.before(self.first(stage)).rates(since=self.first(stage - 1))
            problems = [problem for problem in problems if rates.get(problem.id, 0.0) <= self.solved]
        return problems


@dataclass(frozen=True, kw_only=True)
class Drive(Staged):
    """DRIVE's two stages (arXiv 2511.06307): all problems with few samples, then ever fewer of the hardest with many.

    The hardest are those of the lowest pass rate in the stage before. The sets nest.
    """

    stage_steps: Ints = (32, 32, 32)
    """Steps of every stage but the last."""
    sizes: Ints = (0, 72, 50, 25)
    """Problems of each stage, the hardest of the one before; 0: all of them."""
    samples: Ints = (8, 64, 64, 80)
    """Responses to each problem of a stage."""

    def per_stage(self) -> tuple[str, ...]:
        """Return the settings that have an entry for each stage, or none."""
        return ("sources", "sizes", "samples")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.within(0, math.inf, "sizes")
        self.within(1, math.inf, "samples")

    def members(self, index: int, ledger: Ledger) -> list[Problem]:
        """Return the problems of a stage: of those of the stage before the hardest, unseen ones last."""
        problems = super().members(index, ledger)
        for stage in range(1, index + 1):
            if self.sizes and (size := self.sizes[stage]):
                rates = ledger.before(self.first(stage)).rates(since=self.first(stage - 1))
                hardest = {p.id for p in sorted(problems, key=lambda p: rates.get(p.id, 2.0))[:size]}
                problems = [problem for problem in problems if problem.id in hardest]
        return problems

    def choose(self, step: int, ledger: Ledger) -> list[Draw]:
        """Return the next problems of the stage, with its number of samples."""
        draws = super().choose(step, ledger)
        return [replace(draw, samples=self.samples[self.stage(step)[0]]) for draw in draws] if self.samples else draws


@dataclass(frozen=True, kw_only=True)
class Domains(Staged):
    """A domain after the other, the policy refreshed between them: it becomes the reference of the KL, and the
    optimizer begins anew."""

    refresh: bool = True
    """Whether the policy is refreshed where a stage begins."""

    def check(self, config: Config, problems: Sequence[Problem]) -> None:
        """Raise ConfigError where the reference cannot become what the policy is."""
        super().check(config, problems)
        if self.refresh and config.lora.rank and config.algorithm.needs_reference:
            raise ConfigError(
                "sampler.refresh: a policy with adapters (lora.rank) has the model below them as its reference, which "
                "cannot become the policy; give --sampler.refresh false, or no KL"
            )

    def refreshes(self, step: int) -> bool:
        """Return whether a further stage begins."""
        index, first = self.stage(step)
        return self.refresh and index > 0 and step == first


#: Variant of a problem → the next one where it is solved, and where it is not; None: the family is done.
WE_MATH: dict[str, tuple[str | None, str | None]] = {
    "base": ("x", None),
    "x": ("xy", "y"),
    "y": ("xy", None),
    "xy": ("xz", "z"),
    "z": ("xz", None),
    "xz": ("xyz", "yz"),
    "yz": ("xyz", None),
    "xyz": (None, None),
}


@dataclass(frozen=True, kw_only=True)
class WeMath(PromptSampler):
    """We-Math 2.0's schedule (arXiv 2508.10433): base → x → xy → xz → xyz, and simpler variants after a failure.

    Problems have the columns `family` and `variant` (base, x, y, z, xy, xz, yz, xyz). After a failure base ends the
    family, x goes to y, xy to z, xz to yz. What follows y, z and yz the paper does not say (experimental): they go on
    to xy, xz and xyz where they are solved, and end the family where they are not. A variant that a family lacks counts
    as solved.
    """

    solved: float = 0.5
    """Share right from which on a problem counts as solved."""

    def __post_init__(self) -> None:
        self.within(0, 1, "solved")

    def check(self, config: Config, problems: Sequence[Problem]) -> None:
        """Raise DataError for a problem that is not of a family."""
        for problem in problems:
            family, variant = _family(problem)
            if not family or variant not in WE_MATH:
                raise DataError(
                    f"problem {problem.id!r}: the sampler we-math wants a column `family`, and `variant` as one of "
                    f"{', '.join(WE_MATH)}; got {family!r} and {variant!r}"
                )

    def pool(self, step: int, ledger: Ledger) -> list[Problem]:
        """Return the problem at which each family is; families that are done have none."""
        families: dict[str, dict[str, Problem]] = {}
        for problem in ledger.problems:
            family, variant = _family(problem)
            families.setdefault(family, {})[variant] = problem
        history = ledger.history()
        return [at for members in families.values() if (at := self._at(members, history)) is not None]

    def _at(self, members: Mapping[str, Problem], history: Mapping[str, Sequence[Visit]]) -> Problem | None:
        """Return the first problem on a family's way that has not been judged yet; None where the family is done."""
        variant: str | None = "base"
        while variant is not None:
            solved = True
            if problem := members.get(variant):
                visit = next((v for v in history.get(problem.id, ()) if v.decided), None)
                if visit is None:
                    return problem
                solved = visit.right / visit.decided >= self.solved
            variant = WE_MATH[variant][not solved]
        return None

    def choose(self, step: int, ledger: Ledger) -> list[Draw]:
        """Return the problems at which some families are."""
        return [ledger.draw(problem) for problem in drawn(self.pool(step, ledger), ledger, "we-math", step)]


def _family(problem: Problem) -> tuple[str, str]:
    return str(problem.meta.get("family", "")), str(problem.meta.get("variant", ""))
