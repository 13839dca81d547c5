"""The Llama family's forward for sampling on a CPU, in fewer operations than the model's own code takes.

A tiny model's token costs what its operations cost to start, not what they compute; that of a larger one what its
products cost, in which a weight as it lies is put in another order every time. Here projections of the same states are
one product, weights are put in order once (`product`), rotary angles are looked up, and the mask is made once for all
layers. `Decoder.of` compares it with the model's own forward, and returns None for a model that it does not compute.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional
from transformers import DynamicCache, PreTrainedModel

from simplerl.models.attention import NAME, grouped
from simplerl.models.device import SMALL_MODEL
from simplerl.models.load import cache_argument

#: The parts of a layer that have parameters.
QUERIES_KEYS_VALUES = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
GATE_UP = ("mlp.gate_proj", "mlp.up_proj")
PARTS = {*QUERIES_KEYS_VALUES, *GATE_UP, "self_attn.o_proj", "mlp.down_proj"} | {
    "input_layernorm",
    "post_attention_layernorm",
}
#: Most bytes of weights that a sampler has a second time, in another order.
PACKED_BYTES = 2**31
#: Rows that oneDNN puts weights in order for; any other number may come.
PACKED_ROWS = 32
#: Kinds of rotary angles that do not depend on how long a row is.
STATIC_ROTATIONS = ("default", "linear", "llama3", "yarn")


#: What a linear layer does.
Product = Callable[[torch.Tensor], torch.Tensor]


class Decoder:
    """Computes a model's last hidden states, without gradient, in the precision of its linear layers."""

    def __init__(self, model: PreTrainedModel):
        self.backbone: Any = model.base_model
        self.small = sum(values.numel() for values in model.parameters()) < SMALL_MODEL
        self._layers: list[Any] = []
        self._angles_2ND = torch.empty(2, 0, 0)

    @classmethod
    def of(cls, model: PreTrainedModel) -> "Decoder | None":
        """Return a model's decoder, or None where its forward is of another kind or it is not on a CPU."""
        config = model.config.get_text_config()
        kinds = getattr(config, "layer_types", None)
        windows = set(kinds) != {"full_attention"} if kinds else getattr(config, "sliding_window", None)
        rotation = (getattr(config, "rope_parameters", None) or {}).get("rope_type")
        layers = getattr(model.base_model, "layers", ())
        parts = [{name.rpartition(".")[0] for name, _ in layer.named_parameters()} for layer in layers]
        if model.device.type != "cpu" or config._attn_implementation != NAME or rotation not in STATIC_ROTATIONS:
            return None
        if sum(values.nbytes for values in model.base_model.parameters()) > PACKED_BYTES:
            return None
        if windows or not parts or any(each != PARTS for each in parts):
            return None
        try:
            decoder = cls(model)
            return decoder if decoder._agrees(model) else None
        except (AttributeError, RuntimeError, TypeError, ValueError):  # Parts of these names, but of another kind.
            return None

    @torch.no_grad()
    def _agrees(self, model: PreTrainedModel) -> bool:
        """Compare with the model's own forward: rows of unlike length, then one more token of each."""
        half = self.backbone.layers[0].mlp.up_proj.weight.dtype == torch.bfloat16
        tokens_RT = torch.arange(24).view(2, 12) % model.get_input_embeddings().weight.shape[0]
        mask_RT = torch.arange(12) >= torch.tensor([[0], [5]])
        position_RT = (mask_RT.cumsum(1) - 1).clamp(min=0)
        caches = [DynamicCache(config=model.config) for _ in range(2)]
        for columns in (slice(0, 11), slice(11, 12)):
            rows = tokens_RT[:, columns], mask_RT[:, : columns.stop], position_RT[:, columns]
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                own = dict(zip(("input_ids", "attention_mask", "position_ids"), rows, strict=True))
                own |= {"use_cache": True, cache_argument(self.backbone): caches[0]}
                own_RTH = self.backbone(**own).last_hidden_state
            gap_RTH = (self(*rows, caches[1].layers) - own_RTH)[mask_RT[:, columns]]
            if not gap_RTH.abs().max() <= (3e-2 if half else 1e-4) * own_RTH.abs().max():
                return False
        return True

    def _rotation(self, position_RT: torch.Tensor, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what turns queries and keys at some positions below `columns`: cosines and sines, [R, 1, T, D]."""
        if self._angles_2ND.shape[1] < columns:
            cosine, sine = self.backbone.rotary_emb(torch.zeros(1), torch.arange(2 * columns)[None])
            half = sine.shape[-1] // 2
            # The half that comes to the other's place changes its sign: here the sine has it.
            self._angles_2ND = torch.cat([cosine, torch.cat([-sine[..., :half], sine[..., half:]], -1)])
        cosine_R1TD, sine_R1TD = self._angles_2ND[:, position_RT].unsqueeze(2)
        return cosine_R1TD, sine_R1TD

    def forget(self) -> None:
        """Read the weights again at the next call: nothing tells that an optimizer has changed them in place."""
        self._layers = []

    def _read(self, layer: Any) -> tuple[Any, ...]:
        """Return norms and products of a layer, those of the same states as one."""

        def products(names: Sequence[str]) -> Product:
            modules = [layer.get_submodule(name) for name in names]
            biases = [module.bias for module in modules]
            bias = None if biases[0] is None else torch.cat([each.detach() for each in biases])
            return product(torch.cat([module.weight.detach() for module in modules]), bias, packs=not self.small)

        return (
            layer.input_layernorm,
            products(QUERIES_KEYS_VALUES),
            products(["self_attn.o_proj"]),
            layer.post_attention_layernorm,
            products(GATE_UP),
            products(["mlp.down_proj"]),
            layer.mlp.act_fn,
            layer.self_attn,
        )

    def states(self, tokens_RT: torch.Tensor) -> torch.Tensor:
        """Return hidden_RTH of texts without padding, under the weights as they are now."""
        self.forget()
        positions_RT = torch.arange(tokens_RT.shape[1]).expand_as(tokens_RT)
        return self(tokens_RT, torch.ones_like(tokens_RT, dtype=torch.bool), positions_RT)

    @torch.no_grad()
    def __call__(
        self, tokens_RT: torch.Tensor, mask_RK: torch.Tensor, position_RT: torch.Tensor, cache: Sequence[Any] = ()
    ) -> torch.Tensor:
        """Return hidden_RTH of the newest T tokens. `mask_RK` is False at padding.

        `cache` has a layer for each of ours, whose `update` appends keys and values, [R, heads, T, D], and returns all
        K of them; without one K = T.
        """
        rows, tokens = tokens_RT.shape
        cosine_R1TD, sine_R1TD = self._rotation(position_RT, mask_RK.shape[1])
        width = cosine_R1TD.shape[-1]
        mask = None if bool(mask_RK.all()) else mask_RK[:, None, None]
        attend = _attend_tiny if self.small and tokens == 1 else grouped
        if mask is not None and tokens == 1:
            mask = torch.zeros(mask.shape).masked_fill_(~mask, -torch.inf)  # Once, where attention would in each layer.
        elif mask is not None:
            mask = mask & torch.ones(tokens, mask_RK.shape[1], dtype=torch.bool).tril(mask_RK.shape[1] - tokens)
        if not self._layers:
            self._layers = [self._read(layer) for layer in self.backbone.layers]
        hidden_RTH = functional.embedding(tokens_RT, self.backbone.embed_tokens.weight.detach())
        for index, layer in enumerate(self._layers):
            before, queries_keys_values, output, after, gate_up, down, activation, attention = layer
            heads = queries_keys_values(_norm(hidden_RTH, before))
            heads = heads.view(rows, tokens, -1, width).transpose(1, 2)
            count = heads.shape[1] // (attention.num_key_value_groups + 2)  # Of keys, and of values.
            turned, values = heads[:, :-count], heads[:, -count:]
            turned = turned * cosine_R1TD + turned.roll(width // 2, -1) * sine_R1TD
            queries, keys = turned[:, :-count], turned[:, -count:]
            if cache:
                keys, values = cache[index].update(keys, values)
            attended, _ = attend(attention, queries, keys, values, mask, attention.scaling)
            hidden_RTH = hidden_RTH + output(attended.reshape(rows, tokens, -1))
            gate, up = gate_up(_norm(hidden_RTH, after)).chunk(2, -1)
            hidden_RTH = hidden_RTH + down(activation(gate) * up)
        return _norm(hidden_RTH, self.backbone.norm)


def _norm(states: torch.Tensor, module: Any) -> torch.Tensor:
    length = torch.linalg.vector_norm(states, dim=-1, keepdim=True) * states.shape[-1] ** -0.5
    return (states / torch.hypot(length, length.new_tensor(module.variance_epsilon**0.5))).mul_(module.weight.detach())


def product(weight: torch.Tensor, bias: torch.Tensor | None = None, *, packs: bool) -> Product:
    """Return states ↦ states · Wᵀ + b, in the precision of the weight, which must not change meanwhile.

    `packs`: the weight is copied in the order in which oneDNN multiplies, where PyTorch can do that here.
    """
    dtype = weight.dtype
    bias = None if bias is None else bias.to(dtype)
    if packs and _can_pack(dtype):
        return _packed(weight, bias)
    return lambda states: functional.linear(states.to(dtype), weight, bias)


def _packed(weight: torch.Tensor, bias: torch.Tensor | None) -> Product:
    """Return the product by operators that PyTorch has for its own compiler and promises nobody (`_can_pack`)."""
    dtype, packed = weight.dtype, torch.ops.mkldnn._reorder_linear_weight(weight, PACKED_ROWS)
    bias = None if bias is None else bias.contiguous()  # Another is read as if it were.
    return lambda states: torch.ops.mkldnn._linear_pointwise(states.to(dtype), packed, bias, "none", [], "")


@functools.cache
def _can_pack(dtype: torch.dtype) -> bool:
    """Return whether weights in oneDNN's order give the same products on this processor."""
    weight, states = torch.linspace(-1, 1, 48 * 32).view(48, 32).to(dtype), torch.linspace(1, -1, 3 * 32).view(3, 32)
    try:
        gap = _packed(weight, weight[:, 0])(states) - functional.linear(states.to(dtype), weight, weight[:, 0])
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):  # A version or processor without them.
        return False
    return bool(gap.abs().max() <= (0.1 if dtype == torch.bfloat16 else 1e-4))


def _attend_tiny(module, query, key, value, mask, scaling) -> tuple[torch.Tensor, None]:
    """What `grouped` does for one token of each row, by two products: for a tiny model they are faster."""
    rows, heads, _, width = query.shape
    count, columns = key.shape[1], key.shape[2]
    query, key, value = (each.float().reshape(rows * count, -1, width) for each in (query, key, value))
    bias = query.new_zeros(1, 1, 1) if mask is None else mask.expand(-1, count, 1, -1).reshape(rows * count, 1, columns)
    shares = torch.baddbmm(bias, query, key.transpose(1, 2), alpha=scaling).softmax(-1)
    return torch.bmm(shares, value).view(rows, 1, heads, width), None
