"""The Llama family's forward for sampling on a CPU, in fewer operations than the model's own code takes.

A tiny model's token costs what its operations cost to start, not what they compute; that of a larger one what its
products cost, in which a weight as it lies is put in another order every time. Here projections of the same states are
one product, weights are put in order once (`product`), rotary angles are looked up, and the mask is made once for all
layers. A token of a tiny model is one call of compiled code.
`Decoder.of` compares it with the model's own forward, and returns None for a model that it does not compute.
"""

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch
from torch.nn import functional
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from simplerl.models.attention import NAME, grouped
from simplerl.models.device import SMALL_MODEL
from simplerl.models.load import cache_argument

#: The parts of a layer that have parameters.
PROJECTIONS = (
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    ("self_attn.o_proj",),
    ("mlp.gate_proj", "mlp.up_proj"),
    ("mlp.down_proj",),
)
PARTS = {"input_layernorm", "post_attention_layernorm", *(name for names in PROJECTIONS for name in names)}
#: Most bytes of weights that a sampler has a second time, in another order.
PACKED_BYTES = 2**31
#: Rows that oneDNN puts weights in order for; any other number may come.
PACKED_ROWS = 32
#: Kinds of rotary angles that do not depend on how long a row is.
STATIC_ROTATIONS = ("default", "linear", "llama3", "yarn")


class Layer(DynamicLayer):
    """A cache layer that writes into spare room, where DynamicLayer copies everything at every token.

    Every layer keeps all columns, those with a sliding window too: the model's mask hides what is out of the window.
    """

    def update(self, key_states, value_states, *args, **kwargs):
        """Append the states of new tokens; return keys and values so far, as views of the room."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = self._room = key_states[..., :0, :], value_states[..., :0, :]
        keys, values = self.extended(tokens := key_states.shape[-2])
        keys[..., -tokens:, :], values[..., -tokens:, :] = key_states, value_states
        return keys, values

    def extended(self, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return keys and values so far and columns for more tokens, which the caller fills."""
        length, total = self.keys.shape[-2], self.keys.shape[-2] + tokens
        if total > self._room[0].shape[-2]:
            all_R = torch.arange(len(self.keys), device=self.keys.device)
            self.rearrange([(self, all_R)], length, spare=tokens + max(64, total // 2))
        self.keys, self.values = (room[..., :total, :] for room in self._room)
        return self.keys, self.values

    def rearrange(self, parts: Sequence[tuple["Layer", torch.Tensor]], width: int, spare: int = 64) -> None:
        """Take these rows of these layers as all there are, `width` columns of each, missing ones on the left, and
        leave room for more. On a CPU they are kept as attention reads them, in fp32."""
        if self.is_initialized:
            self._room = tuple(  # First the keys, then the values: what is copied on the way is held once.
                _room([(getattr(layer, name)[..., -width:, :], rows) for layer, rows in parts], width, spare)
                for name in ("keys", "values")
            )
            self.keys, self.values = (room[..., :width, :] for room in self._room)


def _room(parts: Sequence[tuple[torch.Tensor, torch.Tensor]], width: int, spare: int) -> torch.Tensor:
    """Return the rows chosen of each part, each of `width` columns, zeros on the left where it has fewer, and `spare`
    more."""
    first, counts = parts[0][0], [len(rows) for _, rows in parts]
    dtype = torch.float32 if first.device.type == "cpu" else first.dtype
    room = first.new_empty(sum(counts), first.shape[1], width + spare, first.shape[3], dtype=dtype)
    for (part, rows), own in zip(parts, room[..., :width, :].split(counts), strict=True):
        own[..., : width - part.shape[2], :] = 0
        torch.index_select(part.to(dtype), 0, rows, out=own[..., width - part.shape[2] :, :])
    return room


#: What a linear layer does.
Product = Callable[[torch.Tensor], torch.Tensor]


class Decoder:
    """Computes a model's last hidden states, without gradient, in the precision of its linear layers."""

    def __init__(self, model: PreTrainedModel):
        self.backbone: Any = model.base_model
        self.small = sum(values.numel() for values in model.parameters()) < SMALL_MODEL
        mlps = [layer.mlp for layer in self.backbone.layers]
        #: Whether one token is computed by compiled code.
        self.compiled = self.small and all(
            mlp.up_proj.weight.dtype == torch.float32 and type(mlp.act_fn).__name__ in ("SiLU", "SiLUActivation")
            for mlp in mlps
        )
        self._layers: list[Any] = []
        self._tensors: list[list[torch.Tensor]] = []
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

    def _rotation(self, columns: int) -> torch.Tensor:
        """Return what turns queries and keys at positions below `columns`: cosines and sines, [2, positions, D]."""
        angles_2ND = self._angles_2ND  # Another thread may put a shorter table there meanwhile.
        if angles_2ND.shape[1] < columns:
            cosine, sine = self.backbone.rotary_emb(torch.zeros(1), torch.arange(2 * columns)[None])
            half = sine.shape[-1] // 2
            # The half that comes to the other's place changes its sign: here the sine has it.
            angles_2ND = torch.cat([cosine, torch.cat([-sine[..., :half], sine[..., half:]], -1)])
            self._angles_2ND = angles_2ND
        return angles_2ND

    def forget(self) -> None:
        """Read the weights again at the next call: nothing tells that an optimizer has changed them in place."""
        self._layers = []

    def _read(self) -> None:
        """Read of each layer its norms' weights and its projections, those of the same states as one: as products, and
        for compiled code as tensors (empty: no bias)."""

        def joined(layer: Any, names: Sequence[str], kind: str) -> torch.Tensor | None:
            values = [getattr(layer.get_submodule(name), kind) for name in names]
            return None if values[0] is None else torch.cat([each.detach() for each in values])

        layers, tensors = [], []
        for layer in self.backbone.layers:
            pairs = [(joined(layer, names, "weight"), joined(layer, names, "bias")) for names in PROJECTIONS]
            norms = [layer.input_layernorm.weight.detach(), layer.post_attention_layernorm.weight.detach()]
            layers.append((*norms, *(product(*pair, packs=not self.small) for pair in pairs), layer))
            if self.compiled:
                values = [torch.empty(0) if each is None else each for pair in pairs for each in pair]
                tensors.append([*norms, *values])
        self._tensors, self._layers = tensors, layers  # At once: two threads may read them.

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
        angles_2ND = self._rotation(mask_RK.shape[1])
        if not self._layers:
            self._read()
        embedding, norm = self.backbone.embed_tokens.weight.detach(), self.backbone.norm
        weight, epsilon = norm.weight.detach(), norm.variance_epsilon
        scaling = self.backbone.layers[0].self_attn.scaling
        one_token = self.compiled and tokens == 1 and cache
        if one_token and all(isinstance(each, Layer) and each.is_initialized for each in cache):
            keys, values = map(list, zip(*(layer.extended(1) for layer in cache), strict=True))
            weights = embedding, self._tensors, weight, angles_2ND
            return _compiled_token(tokens_RT, mask_RK, position_RT, keys, values, *weights, epsilon, scaling)
        cosine_R1TD, sine_R1TD = angles_2ND[:, position_RT].unsqueeze(2)
        width = cosine_R1TD.shape[-1]
        mask = None if bool(mask_RK.all()) else mask_RK[:, None, None]
        if mask is not None and tokens == 1:
            mask = torch.zeros(mask.shape).masked_fill_(~mask, -torch.inf)  # Once, where attention would in each layer.
        elif mask is not None:
            mask = mask & torch.ones(tokens, mask_RK.shape[1], dtype=torch.bool).tril(mask_RK.shape[1] - tokens)
        hidden_RTH = functional.embedding(tokens_RT, embedding)
        for index, (before, after, queries_keys_values, output, gate_up, down, layer) in enumerate(self._layers):
            heads = queries_keys_values(_norm(hidden_RTH, before, epsilon))
            heads = heads.view(rows, tokens, -1, width).transpose(1, 2)
            count = heads.shape[1] // (layer.self_attn.num_key_value_groups + 2)  # Of keys, and of values.
            turned, values = heads[:, :-count], heads[:, -count:]
            turned = turned * cosine_R1TD + turned.roll(width // 2, -1) * sine_R1TD
            queries, keys = turned[:, :-count], turned[:, -count:]
            if cache:
                keys, values = cache[index].update(keys, values)
            attended, _ = grouped(layer.self_attn, queries, keys, values, mask, scaling)
            hidden_RTH = hidden_RTH + output(attended.reshape(rows, tokens, -1))
            gate, up = gate_up(_norm(hidden_RTH, after, epsilon)).chunk(2, -1)
            hidden_RTH = hidden_RTH + down(layer.mlp.act_fn(gate) * up)
        return _norm(hidden_RTH, weight, epsilon)


def _norm(states: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    length = torch.linalg.vector_norm(states, dim=[-1], keepdim=True) * states.shape[-1] ** -0.5
    return (states / torch.hypot(length, torch.full([1], epsilon**0.5, dtype=length.dtype))).mul_(weight)


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


# --- one token of each row of a tiny model: what TorchScript compiles, so that it needs Python's lock once


def _linear(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return functional.linear(states, weight, bias if len(bias) else None)


def _one_token(
    tokens_R1: torch.Tensor,
    mask_RK: torch.Tensor,
    position_R1: torch.Tensor,
    all_keys: list[torch.Tensor],
    all_values: list[torch.Tensor],
    embedding: torch.Tensor,
    layers: list[list[torch.Tensor]],
    weight: torch.Tensor,
    angles_2ND: torch.Tensor,
    epsilon: float,
    scaling: float,
) -> torch.Tensor:
    """Return the states of one token of each row; its keys and values are written into the last column."""
    rows, count, columns, width = all_keys[0].shape
    cosine_R11D, sine_R11D = angles_2ND[0][position_R1].unsqueeze(1), angles_2ND[1][position_R1].unsqueeze(1)
    bias = torch.zeros([1, 1, 1])
    if not bool(mask_RK.all()):
        bias = torch.zeros([rows, columns]).masked_fill_(~mask_RK, -torch.inf)
        bias = bias.unsqueeze(1).expand(-1, count, -1).reshape(rows * count, 1, columns)
    hidden = functional.embedding(tokens_R1, embedding)
    for index, layer in enumerate(layers):
        keys, values = all_keys[index], all_values[index]
        heads = _linear(_norm(hidden, layer[0], epsilon), layer[2], layer[3]).view(rows, 1, -1, width).transpose(1, 2)
        turned = heads[:, :-count]
        turned = turned * cosine_R11D + turned.roll([width // 2], [-1]) * sine_R11D
        keys[:, :, -1:].copy_(turned[:, -count:])
        values[:, :, -1:].copy_(heads[:, -count:])
        query = turned[:, :-count].reshape(rows * count, -1, width)
        shares = torch.baddbmm(bias, query, keys.reshape(rows * count, columns, width).transpose(1, 2), alpha=scaling)
        attended = torch.bmm(shares.softmax(-1), values.reshape(rows * count, columns, width))
        hidden = hidden + _linear(attended.view(rows, 1, -1), layer[4], layer[5])
        gate, up = _linear(_norm(hidden, layer[1], epsilon), layer[6], layer[7]).chunk(2, -1)
        hidden = hidden + _linear(functional.silu(gate) * up, layer[8], layer[9])
    return _norm(hidden, weight, epsilon)


Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Return a function compiled by TorchScript, at its first call, or as it is where Python or PyTorch no longer can:
    the same operations."""

    @functools.cache
    def script() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # It is deprecated; what follows it needs a C++ compiler on every machine.
            try:
                return torch.jit.script(function)
            except (AttributeError, OSError, RuntimeError):
                return function

    def call(*arguments: Any) -> Any:
        with torch.jit.optimized_execution(False):  # Else the first calls are watched, and rewritten.
            return script()(*arguments)

    return cast(Function, call)


_compiled_token = compiled(_one_token)
