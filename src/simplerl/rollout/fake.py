"""A backend without a model: answers from a function. For tests, and for trying a data set or a reward on its own."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from simplerl.core.types import Completion, VersionSpan
from simplerl.models.text import cut, decode
from simplerl.rollout.backend import Request, Sampling, check_prompts


class FakeBackend:
    """Answers every request with `respond(prompt text, noise key)`; each token is given probability 1/e."""

    exact = True

    def __init__(
        self,
        directory: str,
        tokenizer: PreTrainedTokenizerBase,
        *,
        stop_ids: frozenset[int],
        context_length: int,
        model: object = None,
        precision: str = "fp32",
        max_rows: int = 0,
        respond: Callable[[str, int], str] = lambda prompt, noise_key: " \\boxed{0}",
    ):
        """Directory, weights, precision and rows are those of every backend; here they change nothing."""
        self.tokenizer, self.end, self.context_length = tokenizer, min(stop_ids), context_length
        self.respond, self.version = respond, 0

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[int, Completion]]:
        """Yield one completion per request, in order; longer ones are truncated as a model's would be."""
        check_prompts(requests, self.context_length, "the fake backend")
        for index, request in enumerate(requests):
            text = self.respond(decode(self.tokenizer, request.prompt_ids.tolist()), request.noise_key)
            tokens = [*self.tokenizer.encode(text, add_special_tokens=False), self.end]
            tokens = tokens[: request.limit(sampling, self.context_length)]
            stop_at = next((i for i, token in enumerate(tokens) if token in sampling.stop_ids), None)
            tokens = tokens if stop_at is None else tokens[: stop_at + 1]
            ended = tokens[-1] == self.end
            spoken = tokens[:-1] if ended or stop_at is not None else tokens
            shown = cut(self.tokenizer, spoken, sampling.stop)
            stopped = stop_at is not None or shown != decode(self.tokenizer, spoken)
            yield (
                index,
                Completion(
                    token_ids=np.array(tokens, dtype=np.int32),
                    logprobs=np.full(len(tokens), -1.0, dtype=np.float32),
                    text=shown,
                    stop_reason="stop" if stopped else "eos" if ended else "length",
                    versions=(VersionSpan(self.version, 0, len(tokens)),),
                ),
            )

    def sync(self, weights: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        """Note the version; there is nothing to copy."""
        self.version = version

    def logprobs(self, token_ids: Sequence[int]) -> None:
        """There are no weights to ask."""

    def close(self) -> None:
        """Nothing to release."""
