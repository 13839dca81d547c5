"""The native backend: batched decoding with a KV cache, in this process, on a CPU or one GPU.

The prompt is prefilled once for all its samples; rows that have finished leave the batch. Sampling is by inversion:
one uniform number per token, addressed by the request, so a request gets the same answer whatever else is in the batch
(up to floating-point ties). Left out: paging and continuous refill. For long responses on big models use vLLM.
"""

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicLayer

from simplerl.core.errors import ModelError
from simplerl.core.types import Completion, StopReason, VersionSpan
from simplerl.models.device import pick_device
from simplerl.models.load import cache_argument, load
from simplerl.models.score import Head
from simplerl.rollout.backend import Request, Sampling
from simplerl.rollout.text import cut, special_stops, tail_holds_stop

#: Rows leave the batch when at least this share of them has finished: each departure copies the cache of the rest.
LEAVE_SHARE = 0.1


class _GrowingLayer(DynamicLayer):
    """A cache layer that writes into spare room and doubles it when full, where DynamicLayer copies at every token."""

    def update(self, key_states, value_states, *args, **kwargs):
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._room = (self.keys, self.values)
        length, added = self.get_seq_length(), key_states.shape[-2]
        # `keys` was replaced from outside (rows repeated or selected) if it is no longer a view of the room.
        owned = self.keys.numel() and self.keys.data_ptr() == self._room[0].data_ptr()
        if not owned or length + added > self._room[0].shape[-2]:
            shape = (*key_states.shape[:-2], max(2 * length, length + added + 64), key_states.shape[-1])
            room = tuple(states.new_empty(shape) for states in (key_states, value_states))
            if length:
                room[0][..., :length, :], room[1][..., :length, :] = self.keys, self.values
            self._room = room
        for room, states in zip(self._room, (key_states, value_states), strict=True):
            room[..., length : length + added, :] = states
        self.keys, self.values = (room[..., : length + added, :] for room in self._room)
        return self.keys, self.values

    def batch_select_indices(self, indices):
        super().batch_select_indices(indices)
        self._room = (self.keys, self.values)  # Let go of the old room: the next token makes a new one.


def _new_cache(config) -> DynamicCache:
    """Return the model's own kind of cache, with growing room where a layer keeps everything."""
    cache = DynamicCache(config=config)
    cache.layers = [_GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def truncate(logprobs_RV: torch.Tensor, *, top_k: int, top_p: float) -> torch.Tensor:
    """Return renormalised log-probabilities of the top-k tokens and, of those, the nucleus; −inf elsewhere."""
    if top_k and top_k < logprobs_RV.shape[-1]:
        least_R1 = logprobs_RV.topk(top_k, dim=-1).values[:, -1:]
        logprobs_RV = logprobs_RV.masked_fill(logprobs_RV < least_R1, -torch.inf).log_softmax(-1)
    if top_p < 1:
        sorted_RV, order_RV = logprobs_RV.sort(-1, descending=True)
        probabilities_RV = sorted_RV.double().exp()
        # A token is dropped if those before it already reach top_p: the most likely one always stays.
        drop_RV = probabilities_RV.cumsum(-1) - probabilities_RV >= top_p
        drop_RV = torch.zeros_like(drop_RV).scatter(-1, order_RV, drop_RV)
        logprobs_RV = logprobs_RV.masked_fill(drop_RV, -torch.inf).log_softmax(-1)
    return logprobs_RV


def draw(
    logits_RV: torch.Tensor, uniform_R: torch.Tensor, sampling: Sampling
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return (token_R, logprob_R, entropy_R): the token at quantile `uniform_R` (in [0, 1)) of the sampled
    distribution, and that distribution's entropy (nats)."""
    if sampling.temperature == 0:
        sure_R = torch.zeros_like(uniform_R, dtype=torch.float32)
        return logits_RV.argmax(-1), sure_R, sure_R
    logprobs_RV = (logits_RV / sampling.temperature).log_softmax(-1)
    logprobs_RV = truncate(logprobs_RV, top_k=sampling.top_k, top_p=sampling.top_p)
    probabilities_RV = logprobs_RV.double().exp()
    # Where the probability is 0 its logarithm is −inf; their product counts as 0.
    entropy_R = -torch.linalg.vecdot(probabilities_RV.to(logprobs_RV.dtype), logprobs_RV.clamp(min=-1e4))
    cumulative_RV = probabilities_RV.cumsum_(-1)
    target_R1 = uniform_R.double()[:, None] * cumulative_RV[:, -1:]
    # Logits that are not numbers lead past the end; their log-probability tells.
    token_R = torch.searchsorted(cumulative_RV, target_R1, right=True).squeeze(-1).clamp_(max=logits_RV.shape[-1] - 1)
    return token_R, logprobs_RV.gather(-1, token_R[:, None]).squeeze(-1), entropy_R


@dataclass(slots=True)
class _Row:
    """A response under way."""

    index: int
    limit: int
    """Tokens at which it is truncated."""
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)
    done: bool = False


class NativeBackend:
    """Samples from a model held in this process."""

    exact = True

    def __init__(
        self,
        directory: str,
        tokenizer: PreTrainedTokenizerBase,
        *,
        stop_ids: frozenset[int],
        context_length: int,
        model: PreTrainedModel | None = None,
        precision: str = "fp32",
        max_rows: int = 512,
        prefill_tokens: int = 16_384,
    ):
        """With weights in memory and precision fp32 that very module is used: `sync` has nothing to copy then."""
        self.name, self.tokenizer, self.stop_ids, self.context_length = directory, tokenizer, stop_ids, context_length
        self.model = model or load(directory, device=pick_device("auto")).model
        if precision == "bf16":
            self.model = (copy.deepcopy(self.model) if model else self.model).requires_grad_(False)
            for parameter in self.model.parameters():  # Not the buffers: rotary frequencies must stay fp32.
                parameter.data = parameter.data.to(torch.bfloat16)
        self.head = Head(self.model)
        self._cache_argument = cache_argument(self.model.base_model)
        if not all(isinstance(layer, DynamicLayer) for layer in DynamicCache(config=self.model.config).layers):
            raise ModelError(
                f"{type(self.model).__name__} keeps more than keys and values between tokens, which the native backend "
                "does not know"
            )
        self.max_rows, self.prefill_tokens = max_rows, prefill_tokens
        self.version = 0
        self._special_stops: frozenset[int] = frozenset()

    def sync(self, weights: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        """Copy weights by name (those that are shared already are left alone)."""
        own = dict(self.model.state_dict(keep_vars=True))
        with torch.no_grad():
            for name, tensor in weights:
                if name not in own:
                    raise ModelError(f"cannot sync weight {name!r}: the rollout model has no such parameter")
                if own[name].data_ptr() != tensor.data_ptr():
                    own[name].copy_(tensor)
        self.version = version

    def close(self) -> None:
        """Drop the model."""
        for name in ("model", "head"):
            vars(self).pop(name, None)

    @torch.no_grad()
    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[int, Completion]]:
        """Yield (index, completion) as responses finish. Requests run in waves of `max_rows`, like lengths together.

        A response that reaches the end of the model's context is truncated there (`length`).
        """
        longest = max((len(request.prompt_ids) for request in requests), default=0)
        if longest >= self.context_length:
            raise ModelError(
                f"a prompt of {longest} tokens leaves no room for a response in the context of {self.name} "
                f"({self.context_length} tokens)"
            )
        self.model.eval()
        self._special_stops = special_stops(self.tokenizer, sampling.stop) | frozenset(sampling.stop_ids)
        order = sorted(
            range(len(requests)), key=lambda i: (len(requests[i].prompt_ids), requests[i].prompt_ids.tobytes(), i)
        )
        for start in range(0, len(order), self.max_rows):
            yield from self._wave(requests, order[start : start + self.max_rows], sampling)

    def _prefill(self, prompts: list[np.ndarray]) -> tuple[DynamicCache, torch.Tensor, torch.Tensor]:
        """Run the prompts, padded on the left. Return (cache, hidden_PH at the last token, mask_PT)."""
        width = max(map(len, prompts))
        device = self.head.weight.device
        tokens_PT = torch.zeros(len(prompts), width, dtype=torch.long)
        mask_PT = torch.zeros(len(prompts), width, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            tokens_PT[row, width - len(prompt) :] = torch.from_numpy(prompt.astype(np.int64))
            mask_PT[row, width - len(prompt) :] = 1
        tokens_PT, mask_PT = tokens_PT.to(device), mask_PT.to(device)
        rows = max(1, self.prefill_tokens // width)
        parts = []
        for start in range(0, len(prompts), rows):
            part = slice(start, start + rows)
            cache = _new_cache(self.model.config)
            positions_PT = (mask_PT[part].cumsum(1) - 1).clamp(min=0)
            parts.append((cache, self._forward(tokens_PT[part], mask_PT[part], positions_PT, cache)[:, -1]))
        cache = parts[0][0]
        if len(parts) > 1:
            layers: list[Any] = [part.layers for part, _ in parts]
            for index, layer in enumerate(layers[0]):
                layer.keys = torch.cat([part[index].keys for part in layers])
                layer.values = torch.cat([part[index].values for part in layers])
        return cache, torch.cat([hidden_PH for _, hidden_PH in parts]), mask_PT

    def _forward(self, tokens_RT, mask_RT, position_RT, cache):
        return self.model.base_model(
            input_ids=tokens_RT,
            attention_mask=None if mask_RT is None or bool(mask_RT.all()) else mask_RT,
            position_ids=position_RT,
            use_cache=True,
            **{self._cache_argument: cache},
        ).last_hidden_state

    def _wave(
        self, requests: Sequence[Request], members: list[int], sampling: Sampling
    ) -> Iterator[tuple[int, Completion]]:
        """Yield the completions of one batch: prefill, then a token for every living row per forward pass."""
        # The samples of a problem share their prompt: it goes through the model once, and its cache is repeated.
        prompts: dict[bytes, int] = {}
        prompt_of = [prompts.setdefault(requests[i].prompt_ids.tobytes(), len(prompts)) for i in members]
        unique = [np.frombuffer(prompt, dtype=requests[members[0]].prompt_ids.dtype) for prompt in prompts]
        cache, hidden_PH, mask_PT = self._prefill(unique)
        device = hidden_PH.device
        select_R = torch.tensor(prompt_of, device=device)
        cache.batch_select_indices(select_R)
        hidden_RH, mask_RT = hidden_PH[select_R], mask_PT[select_R]
        position_R = mask_RT.sum(1)
        # Without padding no mask is needed at all, which lets attention take its fast way.
        padded = not bool(mask_RT.all())
        # A response is truncated at what was asked for, or at what the context leaves.
        room_of = {i: self.context_length - len(requests[i].prompt_ids) for i in members}
        rows = [_Row(index=i, limit=min(sampling.max_new_tokens, room_of[i])) for i in members]
        width = max(row.limit for row in rows)
        # All noise is drawn ahead, each row from its own address: what a row gets does not depend on its neighbours.
        streams = [np.random.Generator(np.random.Philox(key=requests[i].noise_key)) for i in members]
        uniform_RT = torch.from_numpy(np.stack([stream.random(width) for stream in streams])).to(device)
        for t in range(width):
            token_R, logprob_R, entropy_R = draw(self.head.logits(hidden_RH), uniform_RT[:, t], sampling)
            # One transfer from the device per token; the rest of the loop is Python on the host.
            drawn = zip(rows, token_R.tolist(), logprob_R.tolist(), entropy_R.tolist(), strict=True)
            alive = []
            for position, (row, token, logprob, entropy) in enumerate(drawn):
                if row.done:
                    continue
                if logprob != logprob:
                    raise ModelError(
                        f"{self.name} gives probabilities that are not numbers: training has diverged, or the "
                        "weights are damaged. Lower --optimizer.lr and start from an earlier checkpoint"
                    )
                row.tokens.append(token)
                row.logprobs.append(logprob)
                row.entropies.append(entropy)
                reason = self._ending(row, sampling)
                if reason is None and t + 1 < row.limit:
                    alive.append(position)
                    continue
                row.done = True
                yield row.index, self._complete(row, reason or "length", sampling)
            if not alive:
                return
            # Finished rows go on being computed until enough of them can leave together: leaving copies the cache of
            # all that stay, which for a single row costs more than its forward pass.
            if len(rows) - len(alive) >= max(1, LEAVE_SHARE * len(rows)):
                keep_R = torch.tensor(alive, device=device)
                cache.batch_select_indices(keep_R)
                rows = [rows[position] for position in alive]
                token_R, position_R, mask_RT, uniform_RT = (
                    values[keep_R] for values in (token_R, position_R, mask_RT, uniform_RT)
                )
            if padded:
                mask_RT = torch.cat([mask_RT, mask_RT.new_ones(len(mask_RT), 1)], dim=1)
            hidden_RH = self._forward(token_R[:, None], mask_RT if padded else None, position_R[:, None], cache)[:, -1]
            position_R = position_R + 1

    def _ending(self, row: _Row, sampling: Sampling) -> StopReason | None:
        """Return why a response has just ended, if it has."""
        if row.tokens[-1] in self.stop_ids:
            return "eos"
        if row.tokens[-1] in self._special_stops or tail_holds_stop(self.tokenizer, row.tokens, sampling.stop):
            return "stop"
        return None

    def _complete(self, row: _Row, reason: StopReason, sampling: Sampling) -> Completion:
        spoken = row.tokens[:-1] if reason == "eos" or row.tokens[-1] in self._special_stops else row.tokens
        return Completion(
            token_ids=np.array(row.tokens, dtype=np.int32),
            logprobs=np.array(row.logprobs, dtype=np.float32),
            entropies=np.array(row.entropies, dtype=np.float32),
            text=cut(self.tokenizer, spoken, sampling.stop),
            stop_reason=reason,
            versions=(VersionSpan(self.version, 0, len(row.tokens)),),
        )
