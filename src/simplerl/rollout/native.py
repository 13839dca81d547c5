"""The native backend: batched decoding with a KV cache, in this process, on a CPU or one GPU.

A prompt is prefilled once for all its samples; rows that have finished make room for waiting ones. Sampling is by
inversion: one uniform number per token, addressed by the request, so a request gets the same answer whatever else is in
the batch (up to floating-point ties). Left out: paging. For long responses on big models use vLLM.
"""

import copy
import itertools
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.nn import functional
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicLayer

from simplerl.core.errors import ModelError
from simplerl.core.types import Completion, StopReason, VersionSpan
from simplerl.models.decoder import PACKED_BYTES, Decoder, Layer, Product, compiled, product
from simplerl.models.device import SMALL_MODEL, pick_device
from simplerl.models.load import cache_argument, load
from simplerl.models.score import CHUNK_ELEMENTS, Head, autocast, outside_nucleus, text_logprobs
from simplerl.models.text import cut, special_stops, tail_holds_stop
from simplerl.rollout.backend import Request, Sampling, check_prompts, diverged

#: Rows leave the batch, and others come, when at least this share of them has finished: it copies the others' cache.
LEAVE_SHARE = 0.1
#: Logits of which tokens are drawn at once on a CPU: what is made of them on the way stays in its cache.
DRAWN_ELEMENTS = 2**19
#: Requests from which two threads sample from a tiny model.
SPLIT_REQUESTS = 64
#: Tokens of the vocabulary that are summed up together before the one to draw is looked for among them.
BLOCK = 512


def _alike(requests: Sequence[Request], chosen: Iterable[int]) -> list[int]:
    """Return these requests' numbers, like lengths and the same prompts together."""
    return sorted(chosen, key=lambda i: (len(requests[i].prompt_ids), requests[i].prompt_ids.tobytes(), i))


def truncate(
    logprobs_RV: torch.Tensor, *, top_k: int, top_p: float, other_RV: torch.Tensor | None = None
) -> torch.Tensor:
    """Return renormalised log-probabilities of the top-k and, of those, the nucleus (`other_RV`'s); −inf elsewhere."""
    if top_k and top_k < logprobs_RV.shape[-1]:
        least_R1 = logprobs_RV.topk(top_k, dim=-1).values[:, -1:]
        logprobs_RV = logprobs_RV.masked_fill(logprobs_RV < least_R1, -torch.inf).log_softmax(-1)
    if top_p < 1:
        outside_RV = outside_nucleus(logprobs_RV if other_RV is None else other_RV, top_p)
        logprobs_RV = logprobs_RV.masked_fill(outside_RV, -torch.inf).log_softmax(-1)
    return logprobs_RV


def draw(
    logits_RV: torch.Tensor, uniform_R: torch.Tensor, sampling: Sampling, mask_RV: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return (token_R, logprob_R, entropy_R): the token at quantile `uniform_R` (in [0, 1)) of the sampled
    distribution, and that distribution's entropy (nats). May overwrite the logits; `mask_RV` are those whose nucleus
    it is, where these are not their own."""
    if sampling.temperature == 0:
        sure_R = torch.where(logits_RV.isnan().any(-1), torch.nan, 0.0)
        return logits_RV.argmax(-1), sure_R, torch.zeros_like(sure_R)
    if sampling.temperature != 1:
        logits_RV = logits_RV / sampling.temperature
    if sampling.top_k or sampling.top_p < 1:
        other_RV = None if mask_RV is None else (mask_RV / sampling.temperature).log_softmax(-1)
        logits_RV = truncate(logits_RV.log_softmax(-1), top_k=sampling.top_k, top_p=sampling.top_p, other_RV=other_RV)
    draws = _compiled_drawn if logits_RV.device.type == "cpu" else _drawn
    return draws(logits_RV, uniform_R.double()[:, None])


def _drawn(logits_RV: torch.Tensor, uniform_R1: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    logits_RV = logits_RV - logits_RV.amax(-1, keepdim=True)
    odds_RV = logits_RV.exp()
    token_R1, total_R1 = _quantile(odds_RV, uniform_R1)
    log_total_R = total_R1.squeeze(-1).log()
    # Where the probability is 0 its logarithm is −inf; their product counts as 0.
    mean_R = torch.linalg.vecdot(odds_RV, logits_RV.clamp(min=-1e4)) / total_R1.squeeze(-1)
    logprob_R = logits_RV.gather(-1, token_R1).squeeze(-1) - log_total_R
    return token_R1.squeeze(-1), logprob_R.float(), (log_total_R - mean_R).float()


def _quantile(odds_RV: torch.Tensor, uniform_R1: torch.Tensor, block: int = BLOCK) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (token_R1, total_R1): the token at a quantile, and the sum of all odds.

    Sums are in fp64: a quantile must not fall between two tokens. In a large vocabulary the token is looked for in two
    stages, sums of blocks and then one block, so that only two passes of additions go over it.
    """
    size = odds_RV.shape[-1]
    if size <= block:
        cumulative_RV = odds_RV.cumsum(-1, dtype=torch.float64)
        total_R1 = cumulative_RV[:, -1:]
        return _invert(cumulative_RV, uniform_R1 * total_R1)[0], total_R1
    even = size // block * block
    blocks_RK = odds_RV[:, :even].unflatten(-1, [-1, block]).sum(-1, dtype=torch.float64)
    if size > even:
        rest_R1 = odds_RV[:, even:].sum(-1, keepdim=True, dtype=torch.float64)
        blocks_RK = torch.cat([blocks_RK, rest_R1], dim=-1)
    cumulative_RK = blocks_RK.cumsum(-1)
    total_R1 = cumulative_RK[:, -1:]
    block_R1, target_R1 = _invert(cumulative_RK, uniform_R1 * total_R1)
    target_R1 = target_R1 - (cumulative_RK - blocks_RK).gather(-1, block_R1)
    places_RK = block_R1 * block + torch.arange(block, device=odds_RV.device)
    within_RK = odds_RV.gather(-1, places_RK.clamp(max=size - 1)).double().masked_fill_(places_RK >= size, 0.0)
    place_R1, _ = _invert(within_RK.cumsum(-1), target_R1)
    # Odds that are not numbers lead past the end; the log-probability tells.
    return (block_R1 * block + place_R1).clamp_(max=size - 1), total_R1


def _invert(cumulative_RK: torch.Tensor, target_R1: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (place, target) of the first entry above each target, which is held below the last: rounding aside, it is.

    The entry found has a share of its own: the one before it is not above the target.
    """
    last_R1 = cumulative_RK[:, -1:]
    target_R1 = torch.minimum(target_R1, torch.nextafter(last_R1, torch.zeros_like(last_R1)))
    return torch.searchsorted(cumulative_RK, target_R1, right=True).clamp_(max=cumulative_RK.shape[-1] - 1), target_R1


_compiled_drawn = compiled(_drawn)


@dataclass(slots=True)
class _Row:
    """A response under way."""

    index: int
    noise: np.ndarray
    """float64: the uniform number of each token up to where it is truncated, drawn ahead from the request's address."""
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    """Of the weights that each token was drawn by."""
    done: bool = False


def _half_linear(model: PreTrainedModel) -> PreTrainedModel:
    """Return a copy whose linear layers hold bf16 weights, all else shared: under autocast it computes as the learner.

    A learner's autocast rounds these very weights to bf16 at every use; norms, residuals and the vocabulary stay fp32.
    """
    head = model.get_output_embeddings()
    linear = {
        id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Linear) and module is not head
    }
    memo = {
        id(values): torch.nn.Parameter(values.detach().bfloat16(), requires_grad=False)
        if id(values) in linear
        else values
        for values in model.parameters()
    }
    return copy.deepcopy(model, memo)


@dataclass(eq=False)
class _Decoding:
    """The rows under way. Column t of the cache and of the mask are of the same time in every row; rows that are
    shorter, or came later, are padded on the left."""

    rows: list[_Row]
    cache: DynamicCache
    hidden_RH: torch.Tensor
    """The state that the next token is drawn from."""
    mask_RT: torch.Tensor
    """bool [R, T]: False at padding."""
    position_R: torch.Tensor
    """Tokens of each row so far."""

    def only(self, chosen: Sequence[int], rows: Sequence[int] | None = None) -> "_Decoding":
        """Return some of the rows, repeated where they come twice (`rows`: which of `self.rows` they then are)."""
        self.rows = [self.rows[i] for i in (chosen if rows is None else rows)]
        return self._gathered([(self, torch.tensor(chosen, device=self.hidden_RH.device))])

    def joined(self, other: "_Decoding") -> "_Decoding":
        """Return these rows and then the other's."""
        self.rows = self.rows + other.rows
        device = self.hidden_RH.device
        return self._gathered([(each, torch.arange(len(each.hidden_RH), device=device)) for each in (self, other)])

    def _gathered(self, states: Sequence[tuple["_Decoding", torch.Tensor]]) -> "_Decoding":
        """Take these rows of these as all there are."""
        position_R = torch.cat([each.position_R[rows] for each, rows in states])
        width = int(position_R.max())  # Columns that no row needs any more are dropped.
        for index, layer in enumerate(self.cache.layers):
            layer.rearrange([(each.cache.layers[index], rows) for each, rows in states], width)
        masks = [each.mask_RT[rows, -width:] for each, rows in states]
        self.mask_RT = torch.cat([functional.pad(mask_RT, (width - mask_RT.shape[1], 0)) for mask_RT in masks])
        self.hidden_RH = torch.cat([each.hidden_RH[rows] for each, rows in states])
        self.position_R = position_R
        return self


class NativeBackend:
    """Samples from a model held in this process."""

    exact = True
    between_tokens: Callable[[], None] | None = None
    """Called after every token; may `sync`."""
    mask: "NativeBackend | None" = None
    """Whose nucleus is sampled where the sampling is `masked`: its layers and states stand behind the policy's."""

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
        self.device = next(self.model.parameters()).device
        self.precision = "fp32"
        if precision == "bf16" and self.device.type == "cpu":
            self.model, self.precision = _half_linear(self.model), "bf16"
        elif precision == "bf16":
            self.model = (copy.deepcopy(self.model) if model else self.model).requires_grad_(False)
            for parameter in self.model.parameters():  # Not the buffers: rotary frequencies must stay fp32.
                parameter.data = parameter.data.to(torch.bfloat16)
        self.head, self.decoder = Head(self.model), Decoder.of(self.model)
        self._cache_argument = cache_argument(self.model.base_model)
        self._layers = len(DynamicCache(config=self.model.config).layers)
        if not all(isinstance(layer, DynamicLayer) for layer in DynamicCache(config=self.model.config).layers):
            raise ModelError(
                f"{type(self.model).__name__} keeps more than keys and values between tokens, which the native backend "
                "does not know"
            )
        self.max_rows, self.prefill_tokens = max_rows, prefill_tokens
        self._tiny = sum(values.numel() for values in self.model.parameters()) < SMALL_MODEL
        self.version = 0
        self._special_stops: frozenset[int] = frozenset()
        self._masked = False
        self._project: Product | None = None

    @property
    def _models(self) -> "list[NativeBackend]":
        return [self, self.mask] if self._masked and self.mask else [self]

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
        self._forget()

    def logprobs(self, token_ids: Sequence[int]) -> np.ndarray:
        """Return float32 [T − 1]: log-probabilities of a text's tokens after the first, at temperature 1."""
        with autocast(self.device, self.precision):
            return text_logprobs(self.model, token_ids, self.decoder and self.decoder.states)

    def close(self) -> None:
        """Drop the model."""
        for name in ("model", "head", "decoder"):
            vars(self).pop(name, None)

    @torch.no_grad()
    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[int, Completion]]:
        """Yield (index, completion) as responses finish. At most `max_rows` run at once, like lengths together.

        A response that reaches the end of the model's context is truncated there (`length`). A tiny model on a CPU
        samples by one thread, or half of many requests by each of two: its operations are too small to be shared.
        """
        usual = torch.get_num_threads()
        self._forget()
        try:
            if alone := self._tiny and self.device.type == "cpu":
                torch.set_num_threads(1)
            # A conversation's next request must find the batch as it always does: who grows is not split.
            fixed = isinstance(requests, tuple) and not self.between_tokens
            if alone and fixed and len(requests) >= SPLIT_REQUESTS:
                yield from self._in_halves(requests, sampling)
            else:
                yield from self._decode(requests, sampling, self.max_rows)
        finally:
            self._forget()  # What was copied of the weights is memory of the update.
            torch.set_num_threads(usual)

    def _in_halves(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[int, Completion]]:
        """Decode half of the requests in a thread of its own: the same batches whichever is faster.

        By eights, so that those of one prompt, which is prefilled once, are mostly together.
        """
        halves: list[list[int]] = [[], []]
        for position, index in enumerate(_alike(requests, range(len(requests)))):
            halves[position // 8 % 2].append(index)
        most = max(1, self.max_rows // 2)
        finished: queue.SimpleQueue[tuple[int, Completion] | Exception | None] = queue.SimpleQueue()
        stopped = threading.Event()

        def decode(half: list[int]) -> None:
            try:
                torch.set_num_threads(1)  # It is each thread's own.
                with torch.no_grad():
                    for index, completion in self._decode([requests[index] for index in half], sampling, most):
                        finished.put((half[index], completion))
                        if stopped.is_set():
                            return
                finished.put(None)
            except Exception as error:
                finished.put(error)

        threads = [threading.Thread(target=decode, args=(half,)) for half in halves]
        for thread in threads:
            thread.start()
        try:
            running = len(threads)
            while running:
                item = finished.get()
                if isinstance(item, Exception):
                    raise item
                running -= item is None
                if item is not None:
                    yield item
        finally:
            stopped.set()
            for thread in threads:
                thread.join()

    def _forget(self) -> None:
        """Read all weights again when they are used next."""
        self._project = None
        if self.decoder:
            self.decoder.forget()
        if self.mask:
            self.mask._forget()

    def _decode(
        self, requests: Sequence[Request], sampling: Sampling, max_rows: int
    ) -> Iterator[tuple[int, Completion]]:
        self.model.eval()
        self._special_stops = special_stops(self.tokenizer, sampling.stop) | frozenset(sampling.stop_ids)
        self._masked = sampling.masked
        waiting: deque[int] = deque()
        decoding: _Decoding | None = None
        known, first, version = 0, len(requests), self.version
        while waiting or decoding or known < len(requests):
            if known < len(requests):  # Like lengths together, behind those that wait.
                check_prompts(requests[known:], self.context_length, self.name)
                waiting += _alike(requests, range(known, known := len(requests)))
            running = len(decoding.rows) if decoding else 0
            free = max_rows - running
            # To join copies the cache of all: requests that came later wait until they are worth it.
            few = known > first and len(waiting) < LEAVE_SHARE * running
            if waiting and not few and free >= max(1, LEAVE_SHARE * max_rows):
                members = [waiting.popleft() for _ in range(min(free, len(waiting)))]
                fresh = self._prefill(requests, members, sampling)
                decoding = decoding.joined(fresh) if decoding else fresh
            assert decoding is not None
            token_R, ended = self._draw(decoding, sampling)
            for row, reason in ended:
                yield row.index, self._complete(row, reason, sampling)
            # Finished rows go on being computed until enough of them can leave together: leaving copies the cache of
            # all that stay, which for a single row costs more than its forward pass.
            alive = [position for position, row in enumerate(decoding.rows) if not row.done]
            if not alive:
                decoding, version = None, self.version
                continue
            if self.between_tokens:
                self.between_tokens()
            if version != self.version:  # Keys and values are of weights that are gone: they are computed anew.
                version, rows = self.version, [decoding.rows[position] for position in alive]
                decoding = None  # Its cache leaves before theirs comes.
                decoding = self._filled([[*requests[row.index].prompt_ids.tolist(), *row.tokens] for row in rows], rows)
                continue
            if len(decoding.rows) - len(alive) >= max(1, LEAVE_SHARE * len(decoding.rows)):
                kept_R = torch.tensor(alive, device=self.device)
                decoding, token_R = decoding.only(alive), token_R[kept_R]
            decoding.mask_RT = torch.cat([decoding.mask_RT, decoding.mask_RT.new_ones(len(token_R), 1)], dim=1)
            decoding.hidden_RH = self._forward(
                token_R[:, None], decoding.mask_RT, decoding.position_R[:, None], decoding.cache
            )
            decoding.position_R = decoding.position_R + 1

    def _draw(self, decoding: "_Decoding", sampling: Sampling) -> tuple[torch.Tensor, list[tuple[_Row, StopReason]]]:
        """Draw a token for every row. Return (token_R, the rows that have just ended, and why)."""
        noise = [0.0 if row.done else row.noise[len(row.tokens)] for row in decoding.rows]
        uniform_R = torch.tensor(noise, dtype=torch.float64, device=self.device)
        rows = max(1, CHUNK_ELEMENTS // self.head.weight.shape[0])  # Not all logits of a large vocabulary at once.
        parts = [
            part
            for hidden_RH, part_R in zip(decoding.hidden_RH.split(rows), uniform_R.split(rows), strict=True)
            for part in self._drawn(hidden_RH, part_R, sampling)
        ]
        token_R, logprob_R, entropy_R = (torch.cat(values) for values in zip(*parts, strict=True))
        ended: list[tuple[_Row, StopReason]] = []
        # One transfer from the device per token; the rest is Python on the host.
        drawn = zip(decoding.rows, token_R.tolist(), logprob_R.tolist(), entropy_R.tolist(), strict=True)
        for row, token, logprob, entropy in drawn:
            if row.done:
                continue
            if logprob != logprob:
                raise diverged(self.name)
            row.tokens.append(token)
            row.logprobs.append(logprob)
            row.entropies.append(entropy)
            row.versions.append(self.version)
            reason = self._ending(row, sampling) or ("length" if len(row.tokens) == len(row.noise) else None)
            if reason:
                row.done = True
                ended.append((row, reason))
        return token_R, ended

    def _drawn(
        self, hidden_RH: torch.Tensor, uniform_R: torch.Tensor, sampling: Sampling
    ) -> Iterator[tuple[torch.Tensor, ...]]:
        """Yield what `draw` does, of the states of each model in turn: on a CPU of as many rows as its cache holds."""
        states = hidden_RH.chunk(len(self._models), -1)
        logits = [each._logits(part) for each, part in zip(self._models, states, strict=True)]
        rows = max(1, DRAWN_ELEMENTS // logits[0].shape[1]) if self.device.type == "cpu" else len(uniform_R)
        for own_RV, *mask, part_R in zip(*(each.split(rows) for each in (*logits, uniform_R)), strict=True):
            yield draw(own_RV, part_R, sampling, *mask)

    def _logits(self, hidden_RH: torch.Tensor) -> torch.Tensor:
        """Return fp32 logits_RV; a larger model's weight is copied once in the order in which it is multiplied."""
        weight = self.head.weight
        if self._project is None and self.device.type == "cpu" and not self._tiny and 4 * weight.numel() < PACKED_BYTES:
            self._project = product(weight.detach().float(), packs=True)
        return self.head.logits(hidden_RH, self._project)

    def _prefill(self, requests: Sequence[Request], members: Sequence[int], sampling: Sampling) -> "_Decoding":
        """Begin responses to some requests."""
        rows = []
        for index in members:
            limit = requests[index].limit(sampling, self.context_length)
            noise = np.random.Generator(np.random.Philox(key=requests[index].noise_key)).random(limit)
            rows.append(_Row(index=index, noise=noise))
        return self._filled([requests[i].prompt_ids.tolist() for i in members], rows)

    def _filled(self, texts: Sequence[Sequence[int]], members: list[_Row]) -> "_Decoding":
        """Run the text of each row, padded on the left: each text once; repeat its cache for the rows that have it."""
        numbers: dict[tuple[int, ...], int] = {}
        text_of = [numbers.setdefault(tuple(text), len(numbers)) for text in texts]
        width = max(map(len, numbers))
        tokens_PT = torch.zeros(len(numbers), width, dtype=torch.long)
        mask_PT = torch.zeros(len(numbers), width, dtype=torch.bool)
        for text, row in numbers.items():
            tokens_PT[row, width - len(text) :] = torch.tensor(text)
            mask_PT[row, width - len(text) :] = True
        tokens_PT, mask_PT = tokens_PT.to(self.device), mask_PT.to(self.device)
        filled: _Decoding | None = None
        rows = max(1, self.prefill_tokens // width)
        for tokens_RT, mask_RT in zip(tokens_PT.split(rows), mask_PT.split(rows), strict=True):
            cache = DynamicCache(config=self.model.config)
            cache.layers = [Layer() for _ in range(self._layers * len(self._models))]
            positions_RT = (mask_RT.cumsum(1) - 1).clamp(min=0)
            hidden_RH = self._forward(tokens_RT, mask_RT, positions_RT, cache)
            part = _Decoding(
                rows=[], cache=cache, hidden_RH=hidden_RH, mask_RT=mask_RT, position_R=positions_RT[:, -1] + 1
            )
            filled = filled.joined(part) if filled else part
        assert filled is not None
        filled.rows = members
        return filled.only(text_of, rows=range(len(members)))

    def _forward(self, tokens_RT, mask_RT, position_RT, cache):
        """Return hidden_RH at the last column, of each model in turn."""
        states = []
        for first, each in zip(itertools.count(0, self._layers), self._models, strict=False):
            own = copy.copy(cache)
            own.layers = cache.layers[first : first + self._layers]
            if each.decoder:
                states.append(each.decoder(tokens_RT, mask_RT, position_RT, own.layers)[:, -1])
                continue
            with autocast(self.device, self.precision):
                hidden_RTH = each.model.base_model(
                    input_ids=tokens_RT,
                    # Without padding no mask is needed at all, which lets attention take its fast way.
                    attention_mask=None if bool(mask_RT.all()) else mask_RT,
                    position_ids=position_RT,
                    use_cache=True,
                    **{self._cache_argument: own},
                ).last_hidden_state
            states.append(hidden_RTH[:, -1])
        return torch.cat(states, -1)

    def _ending(self, row: _Row, sampling: Sampling) -> StopReason | None:
        """Return why a response has just ended, if it has."""
        if row.tokens[-1] in self.stop_ids:
            return "eos"
        if row.tokens[-1] in self._special_stops or tail_holds_stop(self.tokenizer, row.tokens, sampling.stop):
            return "stop"
        return None

    def _complete(self, row: _Row, reason: StopReason, sampling: Sampling) -> Completion:
        spoken = row.tokens[:-1] if reason == "eos" or row.tokens[-1] in self._special_stops else row.tokens
        starts = [i for i, (a, b) in enumerate(itertools.pairwise([None, *row.versions])) if a != b]
        return Completion(
            token_ids=np.array(row.tokens, dtype=np.int32),
            logprobs=np.array(row.logprobs, dtype=np.float32),
            entropies=np.array(row.entropies, dtype=np.float32),
            text=cut(self.tokenizer, spoken, sampling.stop),
            stop_reason=reason,
            versions=tuple(
                VersionSpan(row.versions[start], start, end)
                for start, end in itertools.pairwise([*starts, len(row.tokens)])
            ),
        )
