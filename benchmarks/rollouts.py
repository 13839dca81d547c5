"""Measure rollouts of a real model on a CPU beside `transformers.generate`: 4 prompts × 8 samples × 64 tokens.

    python benchmarks/rollouts.py MODEL_DIRECTORY [--threads 2]

Both draw from the complete distribution at temperature 1, no response ends early. Each way runs twice, and the faster
run counts. The load of the machine stands beside every figure: with other programs running, compare processor seconds.
"""

import argparse
import dataclasses
import os
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from simplerl.core.seeds import derive
from simplerl.models.load import Policy, load
from simplerl.rollout import open_backend
from simplerl.rollout.backend import Request, Sampling

PROMPTS, SAMPLES, TOKENS = 4, 8, 64
TEXT = (
    "Problem {}. Tom has 3 boxes with 4 apples each. He eats 2 apples and gives half of the rest to Ann. How many "
    "apples does he have left?\nLet's think step by step and put the final answer in a box.\nAnswer:"
)


def main() -> int:
    """Measure and print; return 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="directory of a Hugging Face model")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.filterwarnings("ignore")
    policy = dataclasses.replace(load(args.model), stop_ids=frozenset())
    begin = [policy.tokenizer.bos_token_id] * (policy.tokenizer.encode("a")[:1] == [policy.tokenizer.bos_token_id])
    prompts = [begin + policy.encode(TEXT.format(number)) for number in range(PROMPTS)]
    for precision in ("fp32", "bf16"):
        report(f"simplerl, {precision}", ours(policy, prompts, precision))
    for dtype in (torch.float32, torch.bfloat16):
        report(f"transformers.generate, {dtype}", theirs(args.model, policy, prompts, dtype))
    return 0


def report(name: str, work: Callable[[], int]) -> None:
    """Run a way of sampling twice and print the faster run."""
    runs = []
    for _ in range(2):
        wall, processor = time.perf_counter(), time.process_time()
        tokens = work()
        runs.append((time.perf_counter() - wall, time.process_time() - processor, tokens))
    wall, processor, tokens = min(runs)
    print(
        f"{name}: {tokens / wall:.1f} tokens/s ({wall:.1f} s, {min(run[1] for run in runs):.1f} s of processor time), "
        f"load {os.getloadavg()[0]:.1f}",
        flush=True,
    )


def ours(policy: Policy, prompts: list[list[int]], precision: str) -> Callable[[], int]:
    """Return what samples with the native backend and returns the number of tokens."""
    backend = open_backend("native", policy, precision=precision)
    requests = [
        Request(prompt_ids=np.array(ids, dtype=np.int32), noise_key=derive(0, "benchmark", number, sample))
        for number, ids in enumerate(prompts)
        for sample in range(SAMPLES)
    ]
    sampling = Sampling(max_new_tokens=TOKENS)
    return lambda: sum(len(completion.token_ids) for _, completion in backend.generate(requests, sampling))


def theirs(name: str, policy: Policy, prompts: list[list[int]], dtype: torch.dtype) -> Callable[[], int]:
    """Return what samples with `generate` and returns the number of tokens."""
    model = AutoModelForCausalLM.from_pretrained(name, dtype=dtype).eval()
    width, padding = max(map(len, prompts)), policy.tokenizer.pad_token_id or 0
    tokens_PT = torch.tensor([[padding] * (width - len(ids)) + ids for ids in prompts])
    mask_PT = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts])

    @torch.no_grad()
    def generate() -> int:
        length = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "num_return_sequences": SAMPLES}
        draw = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "pad_token_id": padding}
        output = model.generate(input_ids=tokens_PT, attention_mask=mask_PT, **length, **draw)
        return output.shape[0] * (output.shape[1] - width)

    return generate


if __name__ == "__main__":
    sys.exit(main())
