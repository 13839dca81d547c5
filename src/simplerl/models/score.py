"""Log-probabilities and entropies of given tokens, without ever holding [tokens × vocabulary] in memory.

The vocabulary projection is done in chunks of tokens, forward and backward, and only at the positions that are asked
for: memory is bounded by `CHUNK_ELEMENTS` logits, whatever the vocabulary. The backbone is called by the model's own
code; the projection is ours, so it is compared with the model's own logits once, when a `Scorer` is made.
"""

import contextlib
import copy
import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from simplerl.core.errors import ModelError
from simplerl.models import lora
from simplerl.models.load import cache_argument, few_layers

#: Logits held at once: 2**24 fp32 logits are 64 MiB; a few buffers of that size live at a time.
CHUNK_ELEMENTS = 2**24


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager:
    """Return the context for `precision`: `bf16` is autocast over fp32 weights, `fp32` is plain."""
    if precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


class Head:
    """A model's vocabulary projection: logits = softcap((hidden · Wᵀ + b) · scale), added up in fp32."""

    def __init__(self, model: PreTrainedModel):
        config = model.config.get_text_config()
        layer = model.get_output_embeddings()
        if layer is None or not isinstance(getattr(layer, "weight", None), torch.Tensor):
            raise ModelError(f"{type(model).__name__} has no output embedding matrix to score tokens with")
        self._layer = layer
        self.softcap = float(getattr(config, "final_logit_softcapping", None) or 0.0)
        self.scale = float(getattr(config, "logit_scale", None) or 1.0)
        if getattr(config, "logits_scaling", None):
            self.scale /= float(config.logits_scaling)

    @property
    def weight(self) -> torch.Tensor:
        """The model's own, as it is now: where it is in shards it is gathered while the model runs."""
        return self._layer.weight

    @property
    def bias(self) -> torch.Tensor | None:
        """Of the projection, where it has one."""
        return getattr(self._layer, "bias", None)

    def logits(
        self, hidden_NH: torch.Tensor, product: Callable[[torch.Tensor], torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Return fp32 logits_NV. `product` multiplies by the weight in place of `@`."""
        with torch.autocast(hidden_NH.device.type, enabled=False):
            if hidden_NH.is_cuda and hidden_NH.dtype != torch.float32:
                weight_VH = self.weight.to(hidden_NH.dtype)
                logits_NV = torch.mm(hidden_NH, weight_VH.t(), out_dtype=torch.float32)
            elif product:
                logits_NV = product(hidden_NH)
            else:
                logits_NV = hidden_NH.float() @ self.weight.float().t()
            if self.bias is not None:
                logits_NV += self.bias.float()
            if self.scale != 1.0:
                logits_NV *= self.scale
            if self.softcap:
                logits_NV = self.softcap * torch.tanh(logits_NV / self.softcap)
        return logits_NV


def outside_nucleus(logprobs_NV: torch.Tensor, top_p: float) -> torch.Tensor:
    """Return bool [N, V]: the tokens that are dropped, because those before them already reach `top_p`.

    The most likely one always stays.
    """
    sorted_NV, order_NV = logprobs_NV.sort(-1, descending=True)
    probabilities_NV = sorted_NV.double().exp()
    drop_NV = probabilities_NV.cumsum(-1) - probabilities_NV >= top_p
    return torch.zeros_like(drop_NV).scatter(-1, order_NV, drop_NV)


def _in_nucleus(
    logits_NV: torch.Tensor, targets_N: torch.Tensor, top_p: float, other_NV: torch.Tensor | None
) -> torch.Tensor:
    """Return logits without what is outside the nucleus (−inf), their own or that of other logits.

    The token that was sampled was in the sampler's.
    """
    if top_p == 1:
        return logits_NV
    whose_NV = logits_NV if other_NV is None else other_NV
    outside_NV = outside_nucleus(whose_NV.log_softmax(-1), top_p).scatter(-1, targets_N[:, None], False)
    return logits_NV.masked_fill_(outside_NV, -torch.inf)


class TokenScores(torch.autograd.Function):
    """(hidden, W, b) → (log-probability, entropy, vocabulary mean) of each token, recomputing logits in backward.

    Chunk by chunk. The vocabulary mean, mean_v log π(v), carries no gradient and is zeros unless `want_mean`. With
    `top_p` below 1 the distribution is the renormalised nucleus, whose set carries no gradient: its own, or that of the
    logits that `other` returns for a slice of the tokens.
    """

    @staticmethod
    def forward(ctx, hidden_NH, weight_VH, bias_V, head, targets_N, temperature, want_mean, top_p, other):
        chunk = max(1, CHUNK_ELEMENTS // weight_VH.shape[0])
        logprobs_N = torch.empty(len(hidden_NH), dtype=torch.float32, device=hidden_NH.device)
        entropy_N, normaliser_N = torch.empty_like(logprobs_N), torch.empty_like(logprobs_N)
        mean_N = torch.zeros_like(logprobs_N)
        for start in range(0, len(hidden_NH), chunk):
            part = slice(start, start + chunk)
            logits_NV = head.logits(hidden_NH[part])
            logits_NV = _in_nucleus(logits_NV.div_(temperature), targets_N[part], top_p, other and other(part))
            normaliser_N[part] = logits_NV.logsumexp(-1)
            logprobs_N[part] = logits_NV.gather(-1, targets_N[part, None]).squeeze(-1) - normaliser_N[part]
            logits_NV -= normaliser_N[part, None]
            if want_mean:
                mean_N[part] = logits_NV.mean(-1)
            probabilities_NV = logits_NV.exp()
            # A logit of -inf (a forbidden token) has probability 0 and adds nothing: 0 · -inf must not be NaN.
            entropy_N[part] = -(probabilities_NV * logits_NV.clamp_(min=-1e30)).sum(-1)
        ctx.save_for_backward(hidden_NH, weight_VH, targets_N, normaliser_N, entropy_N)
        ctx.head, ctx.temperature, ctx.chunk, ctx.top_p, ctx.other = head, temperature, chunk, top_p, other
        ctx.mark_non_differentiable(mean_N)
        return logprobs_N, entropy_N, mean_N

    @staticmethod
    def backward(ctx, grad_logprobs_N, grad_entropy_N, _):
        hidden_NH, weight_VH, targets_N, normaliser_N, entropy_N = ctx.saved_tensors
        head, temperature = ctx.head, ctx.temperature
        grad_hidden_NH = torch.empty_like(hidden_NH)
        grad_weight_VH = torch.zeros_like(weight_VH, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        grad_bias_V = torch.zeros_like(head.bias, dtype=torch.float32) if ctx.needs_input_grad[2] else None
        with torch.autocast(hidden_NH.device.type, enabled=False):
            for start in range(0, len(hidden_NH), ctx.chunk):
                part = slice(start, start + ctx.chunk)
                logits_NV = head.logits(hidden_NH[part])
                slope_NV = 1 - (logits_NV / head.softcap).square() if head.softcap else None
                other_NV = ctx.other and ctx.other(part)
                logits_NV = _in_nucleus(logits_NV.div_(temperature), targets_N[part], ctx.top_p, other_NV)
                logits_NV -= normaliser_N[part, None]
                # d logp/dz = 1[target] − p;  dH/dz = −p (log p + H).
                grad_NV = logits_NV.exp()
                logits_NV.clamp_(min=-1e30).add_(entropy_N[part, None]).mul_(grad_entropy_N[part, None])
                logits_NV.add_(grad_logprobs_N[part, None])
                grad_NV.mul_(logits_NV).neg_()
                del logits_NV
                grad_NV.scatter_add_(-1, targets_N[part, None], grad_logprobs_N[part, None])
                grad_NV /= temperature
                if slope_NV is not None:
                    grad_NV *= slope_NV
                grad_NV *= head.scale
                if grad_bias_V is not None:
                    grad_bias_V += grad_NV.sum(0)
                compute = hidden_NH.dtype if hidden_NH.is_cuda else torch.float32
                grad_NV = grad_NV.to(compute)
                grad_hidden_NH[part] = (grad_NV @ weight_VH.to(compute)).to(hidden_NH.dtype)
                if grad_weight_VH is not None:
                    grad_weight_VH.addmm_(grad_NV.t().float(), hidden_NH[part].float())
        weight_gradient = None if grad_weight_VH is None else grad_weight_VH.to(weight_VH.dtype)
        bias_gradient = None if grad_bias_V is None else grad_bias_V.to(head.bias.dtype)
        return grad_hidden_NH, weight_gradient, bias_gradient, None, None, None, None, None, None


class Scorer(torch.nn.Module):
    """Scores tokens under one model at one sampling temperature. A module, so that it can be split over ranks."""

    top_p = 1.0
    """Below 1 tokens are scored under the nucleus, renormalised, as they are sampled then (NLPO)."""

    def __init__(self, model: PreTrainedModel, *, temperature: float = 1.0, precision: str = "fp32"):
        super().__init__()
        self.model, self.head = model, Head(model)
        self.temperature, self.precision = temperature, precision
        self.mask: Scorer | None = None
        """Whose nucleus it is: another model (NLPO's mask policy), or None, the model's own."""
        self.packs = "flash" in str(model.config._attn_implementation)
        self._compare_with_model()

    @property
    def backbone(self) -> torch.nn.Module:
        """The model without its projection."""
        return self.model.base_model

    @torch.no_grad()
    def _compare_with_model(self) -> None:
        """Refuse a model whose own logits differ from backbone and projection: its scores would be wrong."""
        device = self.head.weight.device
        if device.type == "meta":
            Scorer(few_layers(self.model))
            return
        tokens_BT = torch.arange(8, device=device)[None] % self.head.weight.shape[0]
        training = self.model.training
        self.model.eval()
        with autocast(device, "bf16" if self.packs else "fp32"):  # Flash attention knows no fp32.
            own_TV = self.model(input_ids=tokens_BT, use_cache=False).logits[0].float()
            hidden_TH = self.backbone(input_ids=tokens_BT, use_cache=False).last_hidden_state[0]
        ours_TV = self.head.logits(hidden_TH)
        self.model.train(training)
        difference = (own_TV - ours_TV).abs().max().item()
        if not difference <= (0.05 if self.packs else 1e-3) * own_TV.abs().max().item() + 1e-4:
            raise ModelError(
                f"{type(self.model).__name__} does something to its logits that simplerl does not know (largest "
                f"difference {difference:.3g}); please report the model, so that `models/score.py` can learn it"
            )

    def forward(
        self,
        tokens_BT: torch.Tensor,
        mask_BT: torch.Tensor,
        lengths_B: torch.Tensor,
        *,
        prompts: "Prompts | None" = None,
        vocabulary_mean: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Return fp32 (logprobs_BT, entropy_BT, vocabulary_mean_BT or None) where the mask is True, 0 elsewhere.

        The vocabulary mean is mean_v log π(v) at the token, without gradient; only computed where asked for.
        """
        masked = mask_BT.nonzero(as_tuple=True)
        hidden_NH = self._hidden(tokens_BT, mask_BT, lengths_B, prompts)
        other = None
        if self.mask and self.top_p < 1:
            with torch.no_grad():
                states_NH = self.mask._hidden(tokens_BT, mask_BT, lengths_B, prompts)
            other = functools.partial(self.mask._logits, states_NH, self.temperature)
        head, settings = self.head, (self.temperature, vocabulary_mean, self.top_p, other)
        logprobs_N, entropy_N, mean_N = TokenScores.apply(
            hidden_NH, head.weight, head.bias, head, tokens_BT[masked], *settings
        )
        zeros_BT = torch.zeros(tokens_BT.shape, dtype=torch.float32, device=tokens_BT.device)
        mean_BT = zeros_BT.index_put(masked, mean_N) if vocabulary_mean else None
        return zeros_BT.index_put(masked, logprobs_N), zeros_BT.index_put(masked, entropy_N), mean_BT

    def prompt_states(self, tokens_BT: torch.Tensor, prompts: "Prompts") -> "PromptStates":
        """Compute distinct prompts once for several calls."""
        with autocast(tokens_BT.device, self.precision):
            return prompt_states(self.backbone, tokens_BT, prompts)

    def _hidden(
        self, tokens_BT: torch.Tensor, mask_BT: torch.Tensor, lengths_B: torch.Tensor, prompts: "Prompts | None"
    ) -> torch.Tensor:
        """Return hidden_NH, which the head takes, before each masked token."""
        with autocast(tokens_BT.device, self.precision):
            hidden_NH = predicting_hidden(self.backbone, tokens_BT, mask_BT, lengths_B, prompts, packs=self.packs)
        # Products of bf16 that add up in fp32.
        return hidden_NH.bfloat16() if self.precision == "bf16" and hidden_NH.is_cuda else hidden_NH

    def _logits(self, hidden_NH: torch.Tensor, temperature: float, part: slice) -> torch.Tensor:
        return self.head.logits(hidden_NH[part]).div_(temperature)


@dataclass(frozen=True, kw_only=True, eq=False)
class Prompts:
    """The prompts of some rows, of which each is to be computed once."""

    index_B: torch.Tensor
    """Which of the distinct prompts (numbered from 0, none left out) a row begins with."""
    lengths_B: torch.Tensor
    """Tokens of each row's prompt."""
    states: "PromptStates | None" = None
    """What they left, where they have been computed already."""

    def of(self, rows: torch.Tensor) -> "Prompts":
        """Return those of some of the rows."""
        return dataclasses.replace(self, index_B=self.index_B[rows], lengths_B=self.lengths_B[rows])


@dataclass(frozen=True, eq=False)
class PromptStates:
    """What distinct prompts leave for their responses: rows padded on the left."""

    mask_PT: torch.Tensor
    cache: DynamicCache
    values: Sequence[torch.Tensor]
    """The states of the last tokens [P, H], then keys and values of each layer."""

    def apart(self) -> "PromptStates":
        """Return the same as the beginning of a graph, in which gradients are collected for `backward`."""
        gradient = torch.is_grad_enabled()
        values = [each.detach().requires_grad_(gradient) for each in self.values]
        return PromptStates(self.mask_PT, self.cache, values)

    def backward(self, gradients: Sequence[torch.Tensor | None]) -> None:
        """Have the gradients of the values flow back into the parameters."""
        pairs = [pair for pair in zip(self.values, gradients, strict=True) if pair[1] is not None]
        if pairs:
            values, given = zip(*pairs, strict=True)
            torch.autograd.backward(values, given)

    def cache_of(self, index_B: torch.Tensor) -> DynamicCache:
        """Return a cache of rows that each begin with a prompt."""
        cache = copy.copy(self.cache)
        cache.layers = [copy.copy(layer) for layer in self.cache.layers]
        for layer, keys, values in zip(cache.layers, self.values[1::2], self.values[2::2], strict=True):
            layer.keys, layer.values = keys.index_select(0, index_B), values.index_select(0, index_B)
        return cache


@torch.no_grad()
def text_logprobs(
    model: PreTrainedModel,
    token_ids: Sequence[int],
    states: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> np.ndarray:
    """Return float32 [T − 1]: log-probabilities of a text's tokens after the first, at temperature 1.

    `states` computes hidden_1TH in place of the model's own forward.
    """
    tokens_1T = torch.tensor([list(token_ids)], device=model.device)
    if states:
        hidden_1TH = states(tokens_1T)
    else:
        training = model.training
        flash = "flash" in str(model.config._attn_implementation)  # Which knows no fp32.
        with autocast(tokens_1T.device, "bf16" if flash else "fp32"):
            hidden_1TH = model.eval().base_model(input_ids=tokens_1T, use_cache=False).last_hidden_state
        model.train(training)
    logprobs_TV = Head(model).logits(hidden_1TH[0, :-1]).log_softmax(-1)
    return logprobs_TV.gather(-1, tokens_1T[0, 1:, None]).squeeze(-1).cpu().numpy()


class BaseScorer:
    """Scores tokens under a scorer's model without its adapters: the reference of LoRA, which is no second copy."""

    def __init__(self, scorer: Scorer):
        self.scorer, self.model = scorer, scorer.model

    def __call__(self, *rows: Any, **options: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Return what `Scorer` does, under the complete distribution."""
        usual, self.scorer.top_p = self.scorer.top_p, 1.0
        with lora.without_adapters(self.model):
            scores = self.scorer(*rows, **options)
        self.scorer.top_p = usual
        return scores


def predicting_hidden(
    backbone: torch.nn.Module,
    tokens_BT: torch.Tensor,
    mask_BT: torch.Tensor,
    lengths_B: torch.Tensor,
    prompts: Prompts | None = None,
    *,
    packs: bool,
) -> torch.Tensor:
    """Return hidden_NH, the state before each masked token, in the order of `mask_BT.nonzero()`.

    Rows are padded on the right: with causal attention the padding cannot touch what stands before it, so no attention
    mask is needed. With flash attention (`packs`) the rows are packed into one sequence without padding, in which
    positions start again at each row. `mask_BT[:, 0]` must be False: nothing predicts the first token. With `prompts`
    each distinct prompt is computed once, for all its rows, and no token of a prompt may be masked in.
    """
    rows_N, columns_N = mask_BT.nonzero(as_tuple=True)
    if prompts is not None:
        hidden_BTH = _behind_prompts(backbone, tokens_BT, lengths_B.to(tokens_BT.device), prompts)
        return hidden_BTH[rows_N, columns_N - prompts.lengths_B[rows_N]]
    if not packs:
        hidden_BTH = backbone(input_ids=tokens_BT, use_cache=False).last_hidden_state
        return hidden_BTH[rows_N, columns_N - 1]
    lengths_B = lengths_B.to(tokens_BT.device)
    columns_BT = torch.arange(tokens_BT.shape[1], device=tokens_BT.device).expand_as(tokens_BT)
    real_BT = columns_BT < lengths_B[:, None]
    hidden_1TH = backbone(
        input_ids=tokens_BT[real_BT][None], position_ids=columns_BT[real_BT][None], use_cache=False
    ).last_hidden_state
    starts_B = lengths_B.cumsum(0) - lengths_B
    return hidden_1TH[0, starts_B[rows_N] + columns_N - 1]


def prompt_states(backbone: torch.nn.Module, tokens_BT: torch.Tensor, prompts: Prompts) -> PromptStates:
    """Compute the distinct prompts that rows begin with."""
    device, starts_B, index_B = tokens_BT.device, prompts.lengths_B, prompts.index_B
    first_P = torch.zeros(int(index_B.max()) + 1, dtype=torch.long, device=device)
    first_P[index_B] = torch.arange(len(index_B), device=device)
    width = int(starts_B.max())
    columns_PT = torch.arange(width, device=device) + (starts_B[first_P, None] - width)
    mask_PT, columns_PT = columns_PT >= 0, columns_PT.clamp(min=0)
    cache = DynamicCache(config=backbone.config)
    hidden_PTH = backbone(
        input_ids=tokens_BT[first_P].gather(1, columns_PT),
        attention_mask=None if bool(mask_PT.all()) else mask_PT,
        position_ids=columns_PT,
        **{"use_cache": True, cache_argument(backbone): cache},
    ).last_hidden_state
    kept = [values for layer in cache.layers for values in (layer.keys, layer.values)]
    return PromptStates(mask_PT, cache, [hidden_PTH[:, -1], *kept])


def _behind_prompts(
    backbone: torch.nn.Module, tokens_BT: torch.Tensor, lengths_B: torch.Tensor, prompts: Prompts
) -> torch.Tensor:
    """Return hidden_BTH: in column t the state before token t of a row's response.

    As the sampler does it: the prompts first, then the responses on copies of their keys and values, through which the
    gradient flows back.
    """
    starts_B, index_B = prompts.lengths_B, prompts.index_B
    states = prompts.states or prompt_states(backbone, tokens_BT, prompts)
    # The last token of a response predicts nothing. One column at least: ranks pass through a model equally often.
    further = max(1, int((lengths_B - starts_B).max()) - 1)
    columns_BT = starts_B[:, None] + torch.arange(further, device=tokens_BT.device)
    columns_BT.clamp_(max=tokens_BT.shape[1] - 1)
    mask_BT = torch.cat([states.mask_PT[index_B], states.mask_PT.new_ones(columns_BT.shape)], 1)
    further_BTH = backbone(
        input_ids=tokens_BT.gather(1, columns_BT),
        attention_mask=None if bool(states.mask_PT.all()) else mask_BT,
        position_ids=columns_BT,
        **{"use_cache": True, cache_argument(backbone): states.cache_of(index_B)},
    ).last_hidden_state
    return torch.cat([states.values[0][index_B, None], further_BTH], 1)


def shares_prompts(model: PreTrainedModel) -> bool:
    """Return whether states and gradient of a model are the same, rounding aside, where prompts are computed once."""
    backbone, weight = model.base_model, model.get_input_embeddings().weight
    taught = [values for values in backbone.parameters() if values.requires_grad][:2]
    if not all(isinstance(layer, DynamicLayer) for layer in DynamicCache(config=backbone.config).layers):
        return False
    device = weight.device
    tokens_BT = torch.arange(40, device=device).view(4, 10) % weight.shape[0]
    tokens_BT[1, :3], tokens_BT[3, :5] = tokens_BT[0, :3], tokens_BT[2, :5]
    index_B, starts_B, lengths_B = torch.tensor([[0, 0, 1, 1], [3, 3, 5, 5], [10, 8, 9, 10]], device=device)
    columns_T = torch.arange(10, device=device)
    mask_BT = (columns_T >= starts_B[:, None]) & (columns_T < lengths_B[:, None])
    training = model.training
    model.eval()
    outcomes = []
    try:
        for prompts in (None, Prompts(index_B=index_B, lengths_B=starts_B)):
            with torch.enable_grad():
                hidden_NH = predicting_hidden(backbone, tokens_BT, mask_BT, lengths_B, prompts, packs=False).float()
                gradients = torch.autograd.grad(hidden_NH.sigmoid().sum(), taught, materialize_grads=True)
            outcomes.append((hidden_NH.detach(), *gradients))
    except (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError):  # A forward of its own kind.
        return False
    finally:
        model.train(training)
    plain, shared = outcomes
    pairs = zip(plain, shared, strict=True)
    return all(torch.allclose(theirs, own, rtol=1e-3, atol=1e-3 * float(own.abs().max())) for own, theirs in pairs)
