"""Where a run asks a model for judgements: every answer is kept in the run directory, counted, and paid for once.

A run that was killed finds the answers of the steps that it does again, and so is the same run. What an answer costs is
known from the answers themselves, so that a budget holds over resumptions too.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from simplerl.core.errors import ConfigError, SimpleRLError
from simplerl.judge.asking import AnswerCache, ask, cost, estimate_tokens
from simplerl.judge.endpoint import Endpoint, Messages, Reply


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
        words = (
            f"{self.settings.model} judges up to {responses:,} responses: at most about {tokens_in:,} tokens in and "
        )
        words += f"{tokens_out:,} out"
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
