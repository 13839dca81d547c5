"""The Llama family's forward for sampling on a CPU, in fewer operations than the model's own code takes.

A tiny model's token costs what its operations cost to start, not what they compute. Here projections of the same
states are one product, rotary angles are looked up, and the mask is made once for all layers. `Decoder.of` compares it
with the model's own forward, and returns None for a model that it does not compute.
"""

from collections.abc import Sequence
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
#: Kinds of rotary angles that do not depend on how long a row is.
STATIC_ROTATIONS = ("default", "linear", "llama3", "yarn")


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

    def _read(self, layer: Any) -> tuple[Any, ...]:
        """Return norms and the (weight, bias) of products; a tiny model's are copies, joined where they read the
        same states."""

        def products(names: Sequence[str]) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
            modules = [layer.get_submodule(name) for name in names]
            weights = [module.weight.detach() for module in modules]
            biases = [None if module.bias is None else module.bias.detach().to(module.weight) for module in modules]
            if not self.small:
                return list(zip(weights, biases, strict=True))
            return [(torch.cat(weights), None if biases[0] is None else torch.cat(biases))]

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
        """Return hidden_RTH of texts without padding."""
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
        # At the beginning of a text: nothing tells that an optimizer has changed a parameter in place.
        if mask_RK.shape[1] == tokens:
            self._layers = [self._read(layer) for layer in self.backbone.layers]
        cosine_R1TD, sine_R1TD = self._rotation(position_RT, mask_RK.shape[1])
        width = cosine_R1TD.shape[-1]
        mask = None if bool(mask_RK.all()) else mask_RK[:, None, None]
        if tokens > 1 and mask is not None:
            mask = mask & torch.ones(tokens, mask_RK.shape[1], dtype=torch.bool).tril(mask_RK.shape[1] - tokens)
        hidden_RTH = functional.embedding(tokens_RT, self.backbone.embed_tokens.weight.detach())
        for index, layer in enumerate(self._layers):
            before, queries_keys_values, output, after, gate_up, down, activation, attention = layer
            heads = _product(_norm(hidden_RTH, before), queries_keys_values)
            heads = heads.view(rows, tokens, -1, width).transpose(1, 2)
            count = heads.shape[1] // (attention.num_key_value_groups + 2)  # Of keys, and of values.
            turned, values = heads[:, :-count], heads[:, -count:]
            turned = turned * cosine_R1TD + turned.roll(width // 2, -1) * sine_R1TD
            queries, keys = turned[:, :-count], turned[:, -count:]
            if cache:
                keys, values = cache[index].update(keys, values)
            attended, _ = grouped(attention, queries, keys, values, mask, attention.scaling)
            hidden_RTH = hidden_RTH + _product(attended.reshape(rows, tokens, -1), output)
            gate, up = _product(_norm(hidden_RTH, after), gate_up).chunk(2, -1)
            hidden_RTH = hidden_RTH + _product(activation(gate) * up, down)
        return _norm(hidden_RTH, self.backbone.norm)


def _norm(states: torch.Tensor, module: Any) -> torch.Tensor:
    return functional.rms_norm(states, states.shape[-1:], module.weight, module.variance_epsilon)


def _product(states: torch.Tensor, weights: Sequence[tuple[torch.Tensor, torch.Tensor | None]]) -> torch.Tensor:
    """Return what linear layers make of the same states, one behind the other."""
    states = states.to(weights[0][0])
    parts = [functional.linear(states, weight, bias) for weight, bias in weights]
    return torch.cat(parts, -1) if len(parts) > 1 else parts[0]
