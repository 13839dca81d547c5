"""Rewards by a model that judges: criteria of a list, quality of the response behind its thought, a principle.

    rubric   the weighted share of a list of criteria that a response meets (rubrics as rewards, arXiv 2507.17746)
    rlmt     a mark from 0 to 10 for what stands behind the thought, which the judge is not shown (arXiv 2509.20357)
    rlbff    logit(yes) − logit(no) for (question, response, principle) (arXiv 2509.21319)

They know nothing of right and wrong, and are a part of a mixture with `correctness`. What the judge does not answer, or
not in the form that it is asked for, is undecided and never 0. Prompts are ours.

A run asks at its `Desk`: every answer is kept in the run directory, counted, and paid for once. A run that was killed
finds the answers of the steps that it does again, and so is the same run. What an answer costs is known from the
answers themselves, so that a budget holds over resumptions too.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from simplerl.core.errors import ConfigError, SimpleRLError
from simplerl.core.types import Completion, Problem, Scored, Undecided, Verdict
from simplerl.judge import (
    AnswerCache,
    Endpoint,
    Messages,
    Reply,
    ask,
    content_address,
    cost,
    estimate_tokens,
    read_object,
)
from simplerl.rewards import Reward


class BudgetSpent(SimpleRLError):
    """Further answers would cost more than the run may spend. Everything up to here is kept."""


class Desk:
    """One model behind one endpoint, for all rewards of a run."""

    def __init__(self, path: Path, settings: Any, say: Callable[[str], None] = lambda message: None):
        """`path` is the file of answers, `settings` the section `judge` of a configuration. Sends nothing.

        Raises ConfigError where no model is named.
        """
        self.path, self.settings, self._say = path, settings, say
        if not settings.model:
            raise ConfigError(
                "the reward asks a model that judges, and none is named: give --judge.model (and --judge.base-url, "
                "--judge.api-key-env where the endpoint is not on this machine)"
            )
        self._cache = AnswerCache(path)
        self._replies = self._cache.read(say) if path.exists() else {}
        self._endpoints: dict[str, Endpoint] = {}
        self.spent = sum(map(self._cost, self._replies.values()))
        """What the answers of the run have cost, at the prices of the settings."""

    def _cost(self, reply: Reply) -> float:
        tokens_out = reply.tokens_out if reply.tokens_out is not None else estimate_tokens(reply.text or "")
        return cost(reply.tokens_in or 0, tokens_out, self.settings.price_in, self.settings.price_out)

    def estimate(self, responses: int, tokens: int, answer_tokens: int) -> str:
        """Return what judging so many responses of up to so many tokens may cost, for a reader, before it is asked."""
        tokens_in, tokens_out = responses * (tokens + 300), responses * answer_tokens
        words = f"{self.settings.model} judges up to {responses:,} responses: at most about {tokens_in:,} tokens in "
        words += f"and {tokens_out:,} out"
        if self.settings.price_in or self.settings.price_out:
            most = cost(tokens_in, tokens_out, self.settings.price_in, self.settings.price_out)
            limit = f"judge.budget = {self.settings.budget:g}" if self.settings.budget else "no judge.budget"
            words += f", {most:,.2f} at your prices ({limit}; spent so far: {self.spent:,.2f})"
        return words

    def replies(
        self, requests: Mapping[str, Messages], parameters: Mapping[str, Any]
    ) -> tuple[Mapping[str, Reply], dict[str, str]]:
        """Return (address → reply, address → why there is none) of requests; equal ones are asked once, ever.

        Raises BudgetSpent before anything is sent, EndpointError where asking is vain: both end the run as it is.
        """
        missing = {key: messages for key, messages in requests.items() if key not in self._replies}
        if missing:
            self._within_budget(missing, int(parameters["max_tokens"]))
            s = self.settings
            options: dict[str, Any] = {"concurrency": s.concurrency, "deadline_s": s.deadline_s, "say": self._say}

            def keep(key: str, reply: Reply) -> None:
                if reply.tokens_in is None:  # An endpoint that does not count must not cost nothing.
                    reply = replace(reply, tokens_in=estimate_tokens(*(m["content"] for m in missing[key])))
                self._cache.keep(key, reply)
                self._replies[key] = reply
                self.spent += self._cost(reply)

            failed = ask(self._endpoint(parameters), missing, keep=keep, **options)
        return self._replies, failed if missing else {}

    def _within_budget(self, missing: Mapping[str, Messages], answer_tokens: int) -> None:
        s = self.settings
        tokens_in = sum(estimate_tokens(*(m["content"] for m in messages)) for messages in missing.values())
        coming = cost(tokens_in, answer_tokens * len(missing), s.price_in, s.price_out)
        if 0 < s.budget < self.spent + coming:
            raise BudgetSpent(
                f"judge.budget = {s.budget:g}: {self.spent:.4g} is spent, and the next {len(missing)} judgements may "
                f"cost {coming:.4g}. The run ends here; its checkpoints and every answer ({self.path}) are kept. Go on "
                "with --resume and a larger --judge.budget"
            )

    def _endpoint(self, parameters: Mapping[str, Any]) -> Endpoint:
        s, name = self.settings, repr(sorted(parameters.items()))
        if name not in self._endpoints:
            self._endpoints[name] = Endpoint(
                model=s.model,
                base_url=s.base_url,
                key_variable=s.api_key_env or None,
                parameters=parameters,
                timeout_s=s.timeout_s,
                say=self._say,
            )
        return self._endpoints[name]


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
        own = problem.meta.get("rubric")  # None, as a weight's, also where a table has the column and nothing in it.
        entries = self.criteria if own is None else own
        if own is None and not entries:
            raise ConfigError(
                "rubric needs criteria: sentences in the reward's params, or a column `rubric` of the data (an empty "
                "list there: the reward does not apply)"
            )
        entries = [entries] if isinstance(entries, str) else entries
        try:
            tables = [each if isinstance(each, Mapping) else {"criterion": each} for each in entries]
            pairs = [(e["criterion"], 1.0 if e.get("weight") is None else float(e["weight"])) for e in tables]
        except (KeyError, TypeError, ValueError):
            pairs = [("", 0.0)]
        if any(not isinstance(text, str) or not text or not 0 < weight < math.inf for text, weight in pairs):
            raise ConfigError(
                f"the rubric of {problem.id} must be sentences, or tables {{criterion, weight}} with weights above 0 "
                f"and finite, got {entries!r:.200}"
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
        least = math.exp(min(0.0, *reply.first.values()))  # What is not listed has at most this.
        return math.log(max(shares["yes"], least, 1e-9)) - math.log(max(shares["no"], least, 1e-9))
