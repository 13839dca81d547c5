"""Attention for a CPU: heads that share keys and values read them where they are, where `eager` repeats them.

Registered with transformers as `grouped`, for learner and sampler alike. It computes what `eager` computes, rounding
aside; `adopt` compares the two on the model itself and keeps `eager` where they differ.
"""

from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

NAME = "grouped"


def grouped(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **unused: Any,
) -> tuple[torch.Tensor, None]:
    """Return (output [batch, tokens, heads, width], None): attention whose G query heads share each key-value head.

    `attention_mask` is boolean (True: attend) or None for plain causal attention; `s_aux` are attention sinks. Under
    autocast too everything here is fp32: kernels that round at other places would make sampler and learner differ.
    """
    if unused.get("position_bias") is not None:
        raise NotImplementedError("grouped attention knows no position bias")
    with torch.autocast(query.device.type, enabled=False):
        output = _attend(query.float(), key.float(), value.float(), attention_mask, scaling, softcap, s_aux)
    return output.to(value.dtype), None


def _attend(query, key, value, attention_mask, scaling, softcap, s_aux) -> torch.Tensor:
    batch, heads, tokens, width = query.shape
    sharing = heads // key.shape[1]
    scaling = width**-0.5 if scaling is None else scaling
    if tokens == 1 and softcap is None and s_aux is None and not torch.is_grad_enabled():
        # Decoding. The heads of a group become the tokens of one head: its keys are read once. Longer texts are scored
        # by what the update uses, bit for bit: a policy that has not moved has no KL to its reference.
        query = query.reshape(batch, heads // sharing, sharing, width)
        output = functional.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask, scale=scaling)
        return output.reshape(batch, heads, tokens, -1).transpose(1, 2)
    query = (query * scaling).reshape(batch, heads // sharing, sharing * tokens, width)
    scores = (query @ key.transpose(2, 3)).view(batch, heads // sharing, sharing, tokens, -1)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if attention_mask is None:
        hidden = torch.ones(tokens, scores.shape[-1], dtype=torch.bool, device=query.device)
        hidden = hidden.triu(scores.shape[-1] - tokens + 1)
    else:
        hidden = ~attention_mask.unsqueeze(2)
    scores = scores.masked_fill(hidden, torch.finfo(scores.dtype).min)
    if s_aux is not None:
        sinks = s_aux.reshape(1, heads // sharing, sharing, 1, 1).expand(batch, -1, -1, tokens, 1)
        scores = torch.cat([scores, sinks.to(scores.dtype)], dim=-1)
    shares = scores.softmax(-1)
    shares = shares[..., : key.shape[2]].reshape(batch, heads // sharing, sharing * tokens, -1)
    return (shares @ value).reshape(batch, heads, tokens, -1).transpose(1, 2)


AttentionInterface.register(NAME, grouped)
AttentionMaskInterface.register(NAME, sdpa_mask)


@torch.no_grad()
def adopt(model: PreTrainedModel) -> None:
    """Have a model that was loaded with `eager` attention use `grouped`, if its logits stay what they are."""
    if not model._can_set_attn_implementation():
        return
    training = model.training
    model.eval()
    device, size = model.device, model.get_input_embeddings().weight.shape[0]
    tokens_BT = torch.arange(24, device=device).view(2, 12) % size
    wanted = model(input_ids=tokens_BT, use_cache=False).logits
    try:
        model.set_attn_implementation(NAME)
        plain = model(input_ids=tokens_BT, use_cache=False).logits
        with torch.enable_grad():  # The path of the update.
            taught = model(input_ids=tokens_BT, use_cache=False).logits
        same = all(torch.allclose(each, wanted, rtol=1e-3, atol=1e-3 * wanted.abs().max()) for each in (plain, taught))
    except (NotImplementedError, RuntimeError, TypeError, ValueError):  # An attention with a signature of its own.
        same = False
    if not same:
        model.set_attn_implementation("eager")
    model.train(training)
