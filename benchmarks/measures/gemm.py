"""The machine's matrix-product rate: what every other figure is held against."""

import json
import time
from typing import Any

from measures.job import Job
from measures.machine import Neighbours, set_threads

BLOCKS = 5


def measure(job: Job) -> dict[str, Any]:
    """Return FLOP/s by number format and shape (rows × inner × columns).

    One shape is the cub's own largest product, the other large enough to show what the machine can do. The best of
    a few blocks counts, because noise only ever slows down.
    """
    import torch

    from simplerl.models import cub

    set_threads(job.threads)
    model = json.loads((cub.path(job.config.model) / "config.json").read_text(encoding="utf-8"))
    shapes = [(8192, model["hidden_size"], model["intermediate_size"]), (2048, 2048, 2048)]
    rates: dict[str, dict[str, float]] = {}
    with Neighbours() as neighbours:
        for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            rates[precision] = {}
            for rows, inner, columns in shapes:
                left, right = torch.randn(rows, inner).to(dtype), torch.randn(inner, columns).to(dtype)
                product = torch.empty(rows, columns, dtype=dtype)
                flops = 2.0 * rows * inner * columns
                blocks = [_rate(torch, left, right, product, 0.02 if job.tiny else 0.3) for _ in range(BLOCKS)]
                rates[precision][f"{rows}x{inner}x{columns}"] = flops * max(blocks)
    return {"flops_per_second": rates, "neighbours": neighbours.share}


def _rate(torch: Any, left: Any, right: Any, product: Any, seconds: float) -> float:
    """Return products per second."""
    torch.mm(left, right, out=product)
    began, count = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < seconds or not count:
        torch.mm(left, right, out=product)
        count += 1
    return count / spent
