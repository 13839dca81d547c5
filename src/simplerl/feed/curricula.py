"""Curricula: samplers that go through stages, each with its own problems, samples or length of responses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from simplerl.config.sections import Config, NonNegativeInts, PositiveInts, Rate, Strings
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
class Curriculum(Pooled):
    """A stage after the other, each with its own problems, samples and length of responses; the last one goes on.

    A list has an entry for each stage, or none. What is dropped at a stage does not come back.
    """

    stage_steps: PositiveInts = ()
    """Steps of every stage but the last."""
    sources: Strings = ()
    """What each stage goes through: data sources or levels (several as a|b), or `all`."""
    lengths: PositiveInts = ()
    """Length at which a stage's responses are truncated; none may be above sampling.max_new_tokens."""
    samples: PositiveInts = ()
    """Responses to each problem of a stage."""
    sizes: NonNegativeInts = ()
    """Problems of each stage, those of the lowest pass rate in the stage before; 0: all of it."""
    solved: Rate = 1.0
    """Pass rate in the stage before above which a problem is dropped."""
    drop_from: Annotated[int, Field(ge=2)] = 2
    """The first stage (they count from 1) that drops what is solved."""
    refresh: bool = False
    """Whether, where a stage begins, the policy becomes the reference of the KL and the optimizer begins anew."""

    def __post_init__(self) -> None:
        stages = len(self.stage_steps) + 1
        for name in ("sources", "lengths", "samples", "sizes"):
            if len(value := getattr(self, name)) not in (0, stages):
                raise ConfigError(
                    f"sampler.{name} has {len(value)} entries for {stages} stages: sampler.stage_steps gives the "
                    "steps of every stage but the last"
                )

    def check(self, config: Config, problems: Sequence[Problem]) -> None:
        """Raise DataError for a source of which there is no problem, ConfigError for what the run cannot do."""
        names = {name for problem in problems for name in _domains(problem)}
        for name in (name for sources in self.sources for name in sources.split("|")):
            if name not in names:
                raise DataError(
                    f"sampler.sources: no training problem is of {name!r}; there are {', '.join(sorted(names))}"
                )
        if max(self.lengths, default=0) > (most := config.sampling.max_new_tokens):
            raise ConfigError(
                f"sampler.lengths goes up to {max(self.lengths)}, above sampling.max_new_tokens = {most}, for which "
                "room is kept in the context; raise the latter, or give shorter --sampler.lengths"
            )
        if self.refresh and config.lora.rank and config.algorithm.needs_reference:
            raise ConfigError(
                "sampler.refresh: a policy with adapters (lora.rank) has the model below them as its reference, which "
                "cannot become the policy; give --sampler.refresh false, or no KL"
            )

    def first(self, index: int) -> int:
        """Return the first step of a stage."""
        return 1 + sum(self.stage_steps[:index])

    def stage(self, step: int) -> int:
        """Return the index of the stage of a step."""
        return sum(step >= self.first(index) for index in range(1, len(self.stage_steps) + 1))

    def since(self, step: int, ledger: Ledger) -> tuple[int, Sequence[Problem]]:
        """Return the stage's first step and its problems, as they were settled then.

        One that was not sampled in the stage before is not solved, and not among the hardest.
        """
        stage = self.stage(step)
        wanted = set(self.sources[stage].split("|") if self.sources else [ALL])
        problems = [problem for problem in ledger.problems if _domains(problem) & wanted]
        for index in range(1, stage + 1):
            rates = ledger.before(self.first(index)).rates(since=self.first(index - 1))
            if index + 1 >= self.drop_from:
                problems = [p for p in problems if rates.get(p.id, 0.0) <= self.solved]
            if self.sizes and self.sizes[index]:
                hardest = {p.id for p in sorted(problems, key=lambda p: rates.get(p.id, 2.0))[: self.sizes[index]]}
                problems = [p for p in problems if p.id in hardest]
        return self.first(stage), problems

    def draw(self, problem: Problem, step: int, ledger: Ledger) -> Draw:
        """Return a draw with the stage's number of samples."""
        return ledger.draw(problem, **({"samples": self.samples[self.stage(step)]} if self.samples else {}))

    def max_new_tokens(self, step: int, ledger: Ledger) -> int:
        return self.lengths[self.stage(step)] if self.lengths else super().max_new_tokens(step, ledger)

    def refreshes(self, step: int) -> bool:
        return self.refresh and step > 1 and step == self.first(self.stage(step))

    def prepare(self, step: int, ledger: Ledger, feed: "Feed") -> Mapping[str, float]:
        """Return the stage (the first is 1) and how many problems it has."""
        return {"sampler/stage": self.stage(step) + 1, **super().prepare(step, ledger, feed)}


def _domains(problem: Problem) -> set[str]:
    return {ALL, problem.source, problem.level} - {""}


@dataclass(frozen=True, kw_only=True)
class AceReason(Curriculum):
    """AceReason's stages (arXiv 2505.16400): longer responses by and by, solved problems dropped, mathematics first."""

    stage_steps: PositiveInts = (100, 100, 100)
    lengths: PositiveInts = (8192, 16384, 24576, 32768)
    solved: Rate = 6 / 16
    drop_from: Annotated[int, Field(ge=2)] = 3


@dataclass(frozen=True, kw_only=True)
class Drive(Curriculum):
    """DRIVE's stages (arXiv 2511.06307): all problems with few samples, then ever fewer of the hardest with many."""

    stage_steps: PositiveInts = (32, 32, 32)
    samples: PositiveInts = (8, 64, 64, 80)
    sizes: NonNegativeInts = (0, 72, 50, 25)


@dataclass(frozen=True, kw_only=True)
class Domains(Curriculum):
    """A domain after the other, the policy refreshed between them."""

    refresh: bool = True


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

    solved: Rate = 0.5
    """Share right from which on a problem counts as solved."""

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

    def prepare(self, step: int, ledger: Ledger, feed: "Feed") -> Mapping[str, float]:
        """Return how many families are not done, and the mean number of letters of the variants at which they are."""
        pool = self.pool(step, ledger)
        letters = [len(variant) * (variant != "base") for _, variant in map(_family, pool)]
        return {"sampler/pool": len(pool), "sampler/variant": sum(letters) / max(1, len(pool))}

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
        return [ledger.draw(problem) for problem in drawn(self.pool(step, ledger), ledger, "we-math", step)]


def _family(problem: Problem) -> tuple[str, str]:
    return str(problem.meta.get("family", "")), str(problem.meta.get("variant", ""))
