"""What a rollout backend is: something that answers requests with completions and takes new weights.

A backend is built from what every engine can be started with, a model directory and a tokenizer:

    BACKENDS[name](directory, tokenizer, *, stop_ids, context_length, model=None, precision, max_rows)

`model` are the weights in memory where the caller has them already; an engine in this process may use them as they
are, so that nothing is loaded or copied twice, and an engine in another process reads the directory. `tensor_parallel`
is given besides where it is above 1. `open_backend` makes one from a policy.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from simplerl.core.errors import ConfigError, ModelError
from simplerl.core.types import Completion


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Request:
    """One response wanted. Requests with the same prompt share its prefill."""

    prompt_ids: np.ndarray
    """int32 [T_prompt], not empty."""
    noise_key: int
    """128-bit address of all sampling noise of this response (see `simplerl.core.seeds.derive`)."""
    max_new_tokens: int = 0
    """Tokens at which this response is truncated, where they are fewer than the sampling's; 0: the sampling's."""

    def limit(self, sampling: "Sampling", context_length: int) -> int:
        """Return the tokens at which the response is truncated: what was asked for, or what the context leaves."""
        asked = min(sampling.max_new_tokens, self.max_new_tokens or sampling.max_new_tokens)
        return min(asked, context_length - len(self.prompt_ids))


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How responses are drawn; the same object serves training and evaluation."""

    temperature: float = 1.0
    """0 is greedy decoding."""
    top_p: float = 1.0
    """Nucleus: the smallest set of tokens with at least this probability; 1 is off."""
    masked: bool = False
    """Whether the nucleus is that of the backend's `mask`, where it has one."""
    top_k: int = 0
    """Only the k most likely tokens; 0 is off."""
    max_new_tokens: int = 1024
    stop: tuple[str, ...] = ()
    """Strings that end a response; they are not part of its text."""
    stop_ids: tuple[int, ...] = ()
    """Tokens that end a response, besides the model's own end; they are not part of its text."""

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ConfigError(f"sampling.temperature must be 0 (greedy) or positive, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"sampling.top_p must be in (0, 1], got {self.top_p}")
        if self.top_k < 0:
            raise ConfigError(f"sampling.top_k must be 0 (off) or positive, got {self.top_k}")
        if self.max_new_tokens < 1:
            raise ConfigError(f"sampling.max_new_tokens must be at least 1, got {self.max_new_tokens}")
        if any(not text for text in self.stop):
            raise ConfigError("sampling.stop must not hold an empty string")
        if any(token < 0 for token in self.stop_ids):
            raise ConfigError(f"sampling.stop_ids must be token ids, got {min(self.stop_ids)}")


class RolloutBackend(Protocol):
    """Anything that samples responses from the current policy.

    Tokens are only ever appended: what was sampled is returned as it was, never decoded and encoded again.
    """

    version: int
    """Of the weights in use."""
    exact: bool
    """Whether `noise_key` alone decides what is drawn for a request, whatever else is in the batch: then a resumed run
    is the same run. An engine with its own random numbers says False, and a run on it says so."""

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[int, Completion]]:
        """Yield (index of the request, completion) for every request, in any order, as they finish.

        A list of requests may grow while completions are taken from it (a further turn of an episode): it is looked at
        again after each, and before the end.
        Log-probabilities are those of the distribution that was sampled: after temperature, top-k and top-p.
        """

    def sync(self, weights: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        """Take new weights (Hugging Face parameter names); completions carry `version` from now on.

        Returns when they are in use. Weights that the backend shares with the caller need no copy.
        A backend that has the attribute `between_tokens` calls it, where it is set, after every token, and takes new
        weights within that call: what is drawn from then on is the new policy's, and says so (`VersionSpan`).
        """

    def close(self) -> None:
        """Release memory and processes."""

    def logprobs(self, token_ids: Sequence[int]) -> np.ndarray | None:
        """Return float32 [T − 1]: log-probabilities of a text's tokens after the first, at temperature 1.

        Asked after every sync (`rollout/proof.py`), so it must go through the weights that sample. None: there are
        none. A backend without this method is not asked.
        """


def check_prompts(requests: Sequence[Request], context_length: int, name: str) -> None:
    """Raise ModelError where a prompt leaves no room for a response."""
    longest = max((len(request.prompt_ids) for request in requests), default=0)
    if longest >= context_length:
        raise ModelError(
            f"a prompt of {longest} tokens leaves no room for a response in the context of {name} "
            f"({context_length} tokens)"
        )


def diverged(name: str) -> ModelError:
    """Return the error for weights whose probabilities are not numbers."""
    return ModelError(
        f"{name} gives probabilities that are not numbers: training has diverged, or the weights are damaged. Lower "
        "--optimizer.lr and start from an earlier checkpoint"
    )
