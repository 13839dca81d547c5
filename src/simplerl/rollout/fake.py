"""A backend without a model: answers from a function. For tests, and for trying a data set or a reward on its own."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from simplerl.core.types import Completion
from simplerl.models.load import Policy
from simplerl.rollout.backend import Request, Sampling
from simplerl.rollout.text import cut, decode

if TYPE_CHECKING:
    import torch


def box_zero(prompt: str, noise_key: int) -> str:
    """Answer 0, whatever the question."""
    return " \\boxed{0}"


class FakeBackend:
    """Answers every request with `respond(prompt text, noise key)`; each token is given probability 1/e."""

    def __init__(
        self,
        policy: Policy,
        *,
        respond: Callable[[str, int], str] = box_zero,
        precision: str = "fp32",
        max_rows: int = 0,
    ):
        """`precision` and `max_rows` are those of every backend; here they change nothing."""
        self.policy, self.respond = policy, respond
        self.version = 0

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[int, Completion]]:
        """Yield one completion per request, in order; longer ones are truncated as a model's would be."""
        end = min(self.policy.stop_ids)
        for index, request in enumerate(requests):
            text = self.respond(decode(self.policy.tokenizer, request.prompt_ids.tolist()), request.noise_key)
            room = self.policy.context_length - len(request.prompt_ids)
            tokens = [*self.policy.encode(text), end][: min(sampling.max_new_tokens, room)]
            place = next((i for i, token in enumerate(tokens) if token in sampling.stop_ids), None)
            tokens = tokens if place is None else tokens[: place + 1]
            ended = tokens[-1] == end
            spoken = tokens[:-1] if ended or place is not None else tokens
            shown = cut(self.policy.tokenizer, spoken, sampling.stop)
            stopped = place is not None or shown != decode(self.policy.tokenizer, spoken)
            yield (
                index,
                Completion(
                    token_ids=np.array(tokens, dtype=np.int32),
                    logprobs=np.full(len(tokens), -1.0, dtype=np.float32),
                    text=shown,
                    stop_reason="stop" if stopped else "eos" if ended else "length",
                    policy_version=self.version,
                ),
            )

    def sync(self, weights: "Iterable[tuple[str, torch.Tensor]]", version: int) -> None:
        """Note the version; there is nothing to copy."""
        self.version = version

    def close(self) -> None:
        """Nothing to release."""
