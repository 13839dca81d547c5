"""What can only be seen on a GPU (`python tools/gpu_check.py` runs these one by one and keeps the table)."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from support import deep, run_small, small_config

from simplerl.distributed.plan import Machine, make_plan
from simplerl.models.load import load
from simplerl.models.score import text_logprobs
from simplerl.rollout import open_backend
from simplerl.rollout.proof import TEXT
from simplerl.runs.directory import read_metrics

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
needs_vllm = pytest.mark.skipif(not find_spec("vllm"), reason="needs vLLM: pip install 'simplerl[vllm]'")
ENGINES = ["native", pytest.param("vllm", marks=needs_vllm)]
ON_GPU = {"learner": {"device": "cuda"}}


@pytest.mark.parametrize("backend", ENGINES)
def test_a_run_on_the_gpu(backend: str, tmp_path: Path) -> None:
    run_small(tmp_path / "run", deep(ON_GPU, {"rollout": {"backend": backend}}))
    for line in read_metrics(tmp_path / "run")[1:]:
        assert line["policy/sync_gap"] < 0.1
        assert line["policy/mismatch_kl"] < 1e-2


@pytest.mark.skipif(not find_spec("peft"), reason="needs peft: pip install 'simplerl[lora]'")
def test_adapters_on_the_gpu(tmp_path: Path) -> None:
    for backend in ["native", "vllm"] if find_spec("vllm") else ["native"]:
        run_small(tmp_path / backend, deep(ON_GPU, {"rollout": {"backend": backend}, "lora": {"rank": 4}}))
        assert all(line["policy/mismatch_kl"] < 1e-2 for line in read_metrics(tmp_path / backend)[1:])


@needs_vllm
def test_vllm_in_bf16_agrees_with_the_scorer() -> None:
    policy = load("cub-qwen", device="cuda")
    backend = open_backend("vllm", policy, precision="bf16", max_rows=64)
    ids = policy.encode(TEXT)
    gap = np.abs(backend.logprobs(ids) - text_logprobs(policy.model, ids))
    backend.close()
    assert gap.mean() < 0.05


def test_the_plan_is_near_the_peak(tmp_path: Path) -> None:
    over = {"sampling": {"prompts_per_step": 64, "samples_per_prompt": 8}, "dataset": {"levels": [], "size": 0}}
    run_small(tmp_path / "run", deep(ON_GPU, over))
    planned = make_plan(small_config(deep(ON_GPU, over)), Machine(gpus=1)).peak / 2**30
    measured = read_metrics(tmp_path / "run")[-1]["memory/peak_gib"]
    assert abs(planned / measured - 1) < 0.1
