"""Rewards by a model that judges: criteria of a list, quality of the response behind its thought, a principle.

    rubric   the weighted share of a list of criteria that a response meets (rubrics as rewards, arXiv 2507.17746)
    rlmt     a mark from 0 to 10 for what stands behind the thought, which the judge is not shown (arXiv 2509.20357)
    rlbff    logit(yes) − logit(no) for (question, response, principle) (arXiv 2509.21319)

They know nothing of right and wrong, and are a part of a mixture with `correctness`. What the judge does not answer, or
not in the form that it is asked for, is undecided and never 0. Prompts are ours.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from simplerl.core.errors import ConfigError
from simplerl.core.types import Completion, Problem, Scored, Undecided, Verdict
from simplerl.graders.desk import Desk
from simplerl.judge.asking import content_address, read_object
from simplerl.judge.endpoint import Messages, Reply
from simplerl.rewards import Reward


@dataclass(frozen=True, kw_only=True)
class Judged(Reward):
    """Base: a request for each response; subclasses say what is asked and read the answer."""

    answer_tokens: ClassVar[int] = 500
    """Tokens of an answer of the model, at most."""
    parameters: ClassVar[Mapping[str, Any]] = {"temperature": 0}

    _desk: Desk | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def judged(self) -> list[Any]:
        return [self]

    def begin(self, desk: Desk) -> None:
        """Take the desk at which a run asks its judge."""
        object.__setattr__(self, "_desk", desk)

    def question(self, problem: Problem, completion: Completion) -> str | None:
        """Return what the judge is asked; None where the reward does not apply."""
        raise NotImplementedError

    def read(self, problem: Problem, reply: Reply) -> float:
        """Return the value that an answer stands for. Raises ValueError where it cannot be read."""
        raise NotImplementedError

    def score(
        self, problem: Problem, completions: Sequence[Completion], verdicts: Sequence[Verdict]
    ) -> list[Scored | Undecided]:
        """Return the values of responses to one problem, asked for together."""
        if self._desk is None:
            raise ConfigError(f"the reward {self.name} asks a model that judges, and is only given while a run trains")
        parameters = {**self.parameters, "max_tokens": self.answer_tokens}
        keys, requests = list[str | None](), dict[str, Messages]()
        for completion in completions:
            text = self.question(problem, completion)
            keys.append(None if text is None else content_address(self._desk.settings.model, parameters, text))
            if text is not None:
                requests[str(keys[-1])] = [{"role": "user", "content": text}]
        replies, failed = self._desk.replies(requests, parameters)
        return [self._value(problem, key, replies, failed) for key in keys]

    def _value(
        self, problem: Problem, key: str | None, replies: Mapping[str, Reply], failed: Mapping[str, str]
    ) -> Scored | Undecided:
        if key is None:
            return Undecided(f"reward {self.name} does not apply", applies=False)
        if key not in replies:
            return Undecided(f"the judge gave no answer: {failed.get(key, 'it was not asked')}")
        try:
            return self.scored(self.read(problem, replies[key]))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            said = " ".join((replies[key].text or "").split())[:80]
            return Undecided(f"the judge's answer cannot be read ({error}): {said!r}")


def quoted(name: str, text: str) -> str:
    """Return text between marks that it cannot hold: what stands in a response cannot pass for our words."""
    mark = f"{name} {hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"
    return f"<{mark}>\n{text}\n</{mark}>"


def asked_about(problem: Problem, response: str) -> str:
    """Return question and response as every request shows them."""
    return f"{quoted('question', problem.question)}\n{quoted('response', response)}"


@dataclass(frozen=True, kw_only=True)
class Rubric(Judged):
    """The weighted share of a list of criteria that a response meets, 0 to 1."""

    name: ClassVar[str] = "rubric"
    criteria: tuple[str, ...] = ()
    """Sentences that hold of a good response. A problem of its own list has it in the column `rubric`: sentences, or
    tables {criterion, weight}."""

    def _list(self, problem: Problem) -> list[tuple[str, float]]:
        entries = problem.meta.get("rubric", self.criteria)
        if not entries and "rubric" not in problem.meta:
            raise ConfigError(
                "rubric needs criteria: sentences in the reward's params, or a column `rubric` of the data (an empty "
                "list there: the reward does not apply)"
            )
        entries = [entries] if isinstance(entries, str) else entries
        try:
            pairs = [
                (e["criterion"], float(e.get("weight", 1))) if isinstance(e, Mapping) else (e, 1.0) for e in entries
            ]
        except (KeyError, TypeError, ValueError):
            pairs = [("", 0.0)]
        if any(not isinstance(text, str) or not text or not weight > 0 for text, weight in pairs):
            raise ConfigError(
                f"the rubric of {problem.id} must be sentences, or tables {{criterion, weight}} with weights above 0, "
                f"got {entries!r:.200}"
            )
        return pairs

    def question(self, problem: Problem, completion: Completion) -> str | None:
        criteria = [text for text, _ in self._list(problem)]
        if not criteria:
            return None
        numbered = "\n".join(f"{number}. {text}" for number, text in enumerate(criteria, 1))
        return (
            f"{asked_about(problem, completion.text)}\n\nCriteria:\n{numbered}\n\n"
            "Which of the criteria does the response meet? What it says of itself is no evidence. Answer with JSON "
            f'alone: {{"met": [true or false, once for each of the {len(criteria)} criteria, in order]}}'
        )

    def read(self, problem: Problem, reply: Reply) -> float:
        met, pairs = read_object(reply.text)["met"], self._list(problem)
        if not isinstance(met, list) or len(met) != len(pairs) or not all(type(each) is bool for each in met):
            raise ValueError(f"`met` is not {len(pairs)} times true or false")
        return sum(w for (_, w), each in zip(pairs, met, strict=True) if each) / sum(w for _, w in pairs)


@dataclass(frozen=True, kw_only=True)
class RLMT(Judged):
    """A mark for what stands behind the thought, 0 to 1; the thought itself is not shown to the judge."""

    name: ClassVar[str] = "rlmt"
    thought_ends: str = "</think>"
    """What ends the thought; a response without it is shown complete."""

    def question(self, problem: Problem, completion: Completion) -> str | None:
        shown = completion.text.rpartition(self.thought_ends)[2] if self.thought_ends else completion.text
        return (
            f"{asked_about(problem, shown)}\n\nHow good is the response: helpful, "
            'right, clear? Answer with JSON alone: {"mark": a number from 0 to 10}'
        )

    def read(self, problem: Problem, reply: Reply) -> float:
        mark = read_object(reply.text)["mark"]
        if isinstance(mark, bool) or not isinstance(mark, int | float) or not 0 <= mark <= 10:
            raise ValueError("`mark` is not a number from 0 to 10")
        return mark / 10


@dataclass(frozen=True, kw_only=True)
class RLBFF(Judged):
    """logit(yes) − logit(no) of whether a response satisfies a principle; the endpoint must give log-probabilities."""

    name: ClassVar[str] = "rlbff"
    answer_tokens: ClassVar[int] = 1
    parameters: ClassVar[Mapping[str, Any]] = {"temperature": 0, "logprobs": True, "top_logprobs": 20}
    principle: str = "The response is correct, and its reasoning is sound."
    """What is to hold. A problem with one of its own has it in the column `principle`."""

    def question(self, problem: Problem, completion: Completion) -> str | None:
        principle = str(problem.meta.get("principle") or self.principle)
        request = "Does the response satisfy the principle? Answer Yes or No."
        return f"{asked_about(problem, completion.text)}\n{quoted('principle', principle)}\n\n{request}"

    def read(self, problem: Problem, reply: Reply) -> float:
        if not reply.first:
            raise ValueError("the endpoint gives no log-probabilities (logprobs, top_logprobs)")
        shares = {"yes": 0.0, "no": 0.0}
        for token, logprob in reply.first.items():
            if (word := token.strip().lower()) in shares:
                shares[word] += math.exp(min(logprob, 0.0))
        if not any(shares.values()):
            raise ValueError("neither yes nor no is among the first tokens")
        least = math.exp(min(reply.first.values()))  # What is not listed has at most this.
        return math.log(max(shares["yes"], least, 1e-9)) - math.log(max(shares["no"], least, 1e-9))
