"""Transforms: draws in, draws out, some with a prefix behind the prompt. The policy goes on from there.

A prefix is part of what the policy is given: nobody is trained on it. Every transform is a pure function of (seed,
step, what is recorded), so that resume is exact.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from simplerl.config.sections import NonNegativeFloat, NonNegativeInt, PositiveInt, Rate, Share
from simplerl.core.errors import ConfigError
from simplerl.core.seeds import generator
from simplerl.core.types import Draw, Problem
from simplerl.feed.samplers import Ledger
from simplerl.runs.run import Run
from simplerl.verify import extract

Separator = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class Transform:
    """Leaves every draw as it is."""

    follows_steps: ClassVar[bool] = False
    """Whether it depends on `config.steps`, so that a run cannot be resumed with another number."""

    def check(self, problems: Sequence[Problem]) -> str:
        """Return a warning of the settings, if there is one. Raises ConfigError where the problems do not allow it."""
        return ""

    def apply(self, step: int, draws: Sequence[Draw], ledger: Ledger) -> list[Draw]:
        """Return what a step samples in place of what its sampler has chosen."""
        return list(draws)


@dataclass(frozen=True, kw_only=True)
class ReSTRL(Transform):
    """Beginnings of the best responses of the step before are prompts besides the sampler's (arXiv 2508.19576)."""

    separator: Separator = "\n"
    """Ends a line of a response: prefixes are whole lines."""
    best: float = 0.9
    """Reward that a problem's best response has at least."""
    spread: NonNegativeFloat = 0.05
    """Standard deviation that its rewards have at least."""
    share: Share = 0.5
    """Draws of a prefix, with replacement, for each line of the response; rounded up, equal ones once."""
    decay: Share = 0.95
    """A prefix of i lines is drawn with a weight of its i-th power."""
    most: NonNegativeInt = 0
    """Prefixes in a step at most; 0: all."""

    def apply(self, step: int, draws: Sequence[Draw], ledger: Ledger) -> list[Draw]:
        """Return the draws, and those of the prefixes behind them."""
        problems = {problem.id: problem for problem in ledger.problems}
        further = []
        for name, text in self.best_responses(ledger).items():
            lines = pieces(text, self.separator)
            rng = generator(ledger.config.seed, "rest-rl", step, name)
            weights = self.decay ** np.arange(1, len(lines))
            if len(weights) and name in problems:
                count = math.ceil(self.share * len(lines))
                ends = {int(i) + 1 for i in rng.choice(len(weights), count, p=weights / weights.sum())}
                further += [ledger.draw(problems[name], prefix="".join(lines[:end])) for end in sorted(ends)]
        order = generator(ledger.config.seed, "rest-rl-most", step).permutation(len(further))
        further = [further[i] for i in sorted(order[: self.most or len(further)])]
        temperature = draws[0].temperature
        return [*draws, *(dataclasses.replace(draw, temperature=temperature) for draw in further)]

    def best_responses(self, ledger: Ledger) -> dict[str, str]:
        """Return problem → its best response in the last step that is seen, where the rewards say enough."""
        if not ledger.upto:
            return {}
        table = Run(ledger.path).responses(ledger.upto, ["problem_id", "prefix", "reward", "response"])
        scored: dict[str, list[tuple[float, str]]] = {}
        for row in table.to_pylist():
            if row["reward"] is not None and not row["prefix"]:
                scored.setdefault(row["problem_id"], []).append((row["reward"], row["response"]))
        return {
            name: max(own, key=lambda pair: pair[0])[1]
            for name, own in scored.items()
            if np.std([reward for reward, _ in own]) >= self.spread and max(own)[0] >= self.best
        }


@dataclass(frozen=True, kw_only=True)
class Sparkle(Transform):
    """Beginnings of the solutions of problems that were never solved are further prompts (arXiv 2506.04723)."""

    separator: Separator = "\n"
    """Ends a line of a solution: prefixes are whole lines."""
    parts: PositiveInt = 4
    """Parts of like size into which a solution is cut: prefixes are the first, the first two, and so on."""
    leaks: Literal["drop", "keep"] = "drop"
    """What becomes of a prefix in which the answer is already given, as the last one often is."""

    def check(self, problems: Sequence[Problem]) -> str:
        return solved_share(problems, "transform.name = 'sparkle'")

    def apply(self, step: int, draws: Sequence[Draw], ledger: Ledger) -> list[Draw]:
        """Return each draw, and behind it those of the prefixes where the problem was tried and never solved."""
        rates = ledger.rates()
        done = []
        for draw in draws:
            lines = pieces(str(draw.problem.meta.get("solution", "")), self.separator)
            tried = rates.get(draw.problem.id) == 0 and lines
            ends = {math.ceil(len(lines) * part / self.parts) for part in range(1, self.parts + 1)} if tried else set()
            prefixes = ["".join(lines[:end]) for end in sorted(ends)]
            policy = ledger.config.verifier.policy
            kept = [text for text in prefixes if self.leaks == "keep" or not leaks(text, draw.problem, policy)]
            done += [draw, *(dataclasses.replace(draw, prefix=draw.prefix + text) for text in kept)]
        return done


@dataclass(frozen=True, kw_only=True)
class Snapshot(Transform):
    """A prompt begins in the middle of its solution, with a probability that fades away. Experimental."""

    separator: Separator = "\n"
    """Ends a line of a solution: prefixes are whole lines."""
    p: Rate = 1.0
    """Probability in the first step; 0 is the run without a transform, bit for bit."""
    fade: Share = 0.2
    """Share of the run's steps after which the probability is 0."""

    follows_steps: ClassVar[bool] = True

    def check(self, problems: Sequence[Problem]) -> str:
        return solved_share(problems, "transform.name = 'snapshot'") if self.p else ""

    def apply(self, step: int, draws: Sequence[Draw], ledger: Ledger) -> list[Draw]:
        """Return the draws, some with a beginning of their solution that does not give the answer."""
        config, done = ledger.config, []
        p = self.p * max(0.0, 1 - (step - 1) / (self.fade * config.steps))
        for draw in draws:
            lines = pieces(str(draw.problem.meta.get("solution", "")), self.separator)
            rng = generator(config.seed, "snapshot", step, draw.problem.id)
            if rng.random() < p and len(lines) > 1:
                prefix = "".join(lines[: int(rng.integers(1, len(lines)))])
                if not leaks(prefix, draw.problem, config.verifier.policy):
                    draw = dataclasses.replace(draw, prefix=draw.prefix + prefix)
            done.append(draw)
        return done


def pieces(text: str, separator: str) -> list[str]:
    """Return the lines of a text, each with what ends it; together they are the text. Empty ones join others."""
    lines, waiting = list[str](), ""
    *ended, last = text.split(separator)
    for line in [*(line + separator for line in ended), last]:
        if line.replace(separator, "").strip():
            lines.append(waiting + line)
            waiting = ""
        elif lines:
            lines[-1] += line
        else:
            waiting += line
    return lines


def leaks(prefix: str, problem: Problem, policy: str) -> bool:
    """Return whether the answer is already given in a prefix: in a box, or where the verifier would look for it."""
    found = extract(prefix, policy=policy)
    return extract(prefix, policy="boxed") is not None or (found is not None and found.strip() == problem.answer)


def solved_share(problems: Sequence[Problem], who: str) -> str:
    """Return what to say where not all problems have a solution. Raises ConfigError where none has."""
    count = sum(bool(problem.meta.get("solution")) for problem in problems)
    if not count:
        raise ConfigError(
            f"{who} needs solutions, and none of the {len(problems)} training problems has one: give data with a "
            "column `solution` in which the answer is worked out (GSM8K's answers are), or leave it out"
        )
    return f"{who}: {count} of {len(problems)} training problems have a solution" if count < len(problems) else ""
