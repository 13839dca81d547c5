"""Memory and time of scoring tokens, with gradient, under a large vocabulary: Qwen2.5-0.5B's, on one thin layer.

The layer below the head is as small as it can be, so that what is measured is the vocabulary projection.
"""

import time
from typing import Any

from measures.job import Job
from measures.machine import Neighbours, forget_peak, memory_gb, set_threads


def measure(job: Job) -> dict[str, Any]:
    """Return the peak memory beyond weights and their gradients, in GB, and seconds, forward and backward."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from simplerl.models.score import Scorer

    set_threads(job.threads)
    vocabulary, hidden, tokens = (2048, 64, 256) if job.tiny else (151_936, 896, 4096)
    rows, width = tokens // 64, 65
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=vocabulary,
            hidden_size=hidden,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=hidden // 64,
            num_key_value_heads=1,
            tie_word_embeddings=True,
        )
    )
    scorer = Scorer(model)
    tokens_BT = torch.randint(vocabulary, (rows, width))
    mask_BT = torch.ones(rows, width, dtype=torch.bool)
    mask_BT[:, 0] = False
    lengths_B = torch.full((rows,), width)
    before, _ = memory_gb()
    forget_peak()
    with Neighbours() as neighbours:
        began = time.perf_counter()
        logprobs_BT, *_ = scorer(tokens_BT, mask_BT, lengths_B)
        scored = time.perf_counter()
        (logprobs_BT.sum() / tokens).backward()
        ended = time.perf_counter()
    _, peak = memory_gb()
    size = sum(p.numel() * p.element_size() for p in model.parameters()) / 1e9
    gradients = sum(p.grad.numel() * p.grad.element_size() for p in model.parameters()) / 1e9
    # Forward, and in the backward pass logits again, gradient of the hidden states, gradient of the weights.
    flops = 4 * 2.0 * tokens * vocabulary * hidden
    return {
        "tokens": tokens,
        "vocabulary": vocabulary,
        "hidden": hidden,
        "weights_gb": size,
        "beyond_gb": peak - before - gradients,
        "full_logits_gb": tokens * vocabulary * 4 / 1e9,
        "forward_seconds": scored - began,
        "backward_seconds": ended - scored,
        "flops_per_second": flops / (ended - began),
        "neighbours": neighbours.share,
    }
