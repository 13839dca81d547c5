"""What can only be seen on a GPU (`python tools/gpu_check.py` runs these one by one and keeps the table)."""

import os
import signal
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from support import SMALL, arguments, begin_run, deep, full_scores, ranks_of, run_command, run_small, small_config
from transformers import Qwen2Config, Qwen2ForCausalLM

from simplerl.core.seeds import derive
from simplerl.models.load import load, load_tokenizer
from simplerl.rollout import open_backend
from simplerl.rollout.backend import Request, Sampling
from simplerl.runs.directory import checkpoint_steps, read_metrics
from simplerl.train.plan import Machine, make_plan

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
needs_vllm = pytest.mark.skipif(not find_spec("vllm"), reason="needs vLLM: pip install 'simplerl[vllm]'")
ENGINES = ["native", pytest.param("vllm", marks=needs_vllm)]
ON_GPU = {"learner": {"device": "cuda"}}
EXACT = {
    "steps": 1,
    "learner": {"precision": "fp32", "attention": "sdpa", "device": "cuda"},
    "rollout": {"precision": "fp32"},
}
IN_FLIGHT = {"rollout": {"lag": 1, "refresh": "in_flight", "max_rows": 2}, "algorithm": {"correction": "truncated"}}
SPLIT = {"model": "cub-llama", "rollout": {"tensor_parallel": 2}}
#: How vLLM samples beside the learner → GPUs that it takes, settings.
BESIDE: dict[str, tuple[int, dict[str, Any]]] = {
    "an engine": (1, {"cluster": {"engines": 1}}),
    "an engine, in flight": (1, deep(IN_FLIGHT, {"cluster": {"engines": 1}})),
    "an engine, adapters": (1, {"cluster": {"engines": 1}, "lora": {"rank": 4}}),
    "ranks": (2, {"learner": {"ranks": 2, "gradient_checkpointing": "true"}, "checkpoint": {"asynchronous": "true"}}),
    "split": (2, SPLIT),
    "an engine that Ray places": (2, {"cluster": {"engines": 1, "address": "local"}}),
    "ranks, split engines": (4, deep(SPLIT, {"learner": {"ranks": 2}, "cluster": {"engines": 2}})),
}


@pytest.mark.parametrize("backend", ENGINES)
def test_a_run_on_the_gpu(backend: str, tmp_path: Path) -> None:
    over = deep(ON_GPU, {"rollout": {"backend": backend}})
    run_small(tmp_path / "run", over)
    run_small(tmp_path / "run", deep(over, {"steps": 4}), resume=True)
    lines = read_metrics(tmp_path / "run")[1:]
    assert len(lines) == 4
    for line in lines:
        assert line["policy/sync_gap"] < 0.1
        assert line["policy/mismatch_kl"] < 1e-2


@pytest.mark.skipif(not find_spec("peft"), reason="needs peft: pip install 'simplerl[lora]'")
def test_adapters_on_the_gpu(tmp_path: Path) -> None:
    for backend in ["native", "vllm"] if find_spec("vllm") else ["native"]:
        run_small(tmp_path / backend, deep(ON_GPU, {"rollout": {"backend": backend}, "lora": {"rank": 4}}))
        assert all(line["policy/mismatch_kl"] < 1e-2 for line in read_metrics(tmp_path / backend)[1:])


@needs_vllm
@pytest.mark.parametrize("how", BESIDE)
def test_vllm_beside_the_learner(how: str, tmp_path: Path) -> None:
    """Each run asks its engines back, and ends where they do not have the weights."""
    gpus, over = BESIDE[how]
    extra = "peft" if "lora" in over else "ray" if "Ray" in how else "vllm"
    if torch.cuda.device_count() < gpus or not find_spec(extra):
        pytest.skip(f"needs {gpus} CUDA devices and {extra}")
    line = arguments(deep(deep(SMALL, ON_GPU), deep({"rollout": {"backend": "vllm"}}, over)))
    done = run_command("train", "cub", *line, "--output-dir", str(tmp_path / "run"), timeout=560)
    assert done.returncode == 0, done.stdout + done.stderr
    for line in read_metrics(tmp_path / "run")[1:]:
        assert line["policy/sync_gap"] >= 0
        assert line["policy/mismatch_kl"] < 1e-2


@needs_vllm
def test_vllm_in_bf16_agrees_with_the_scorer() -> None:
    policy, gaps = load("cub-qwen", device="cuda"), []
    backend = open_backend("vllm", policy, precision="bf16", max_rows=64)
    prompt = np.array(policy.encode("What is 12+34-5?\n"), dtype=np.int32)
    requests = [Request(prompt_ids=prompt, noise_key=derive(0, "gpu", sample)) for sample in range(32)]
    for temperature in (0.7, 1.0, 1.3):
        for _, told in backend.generate(requests, Sampling(temperature=temperature, max_new_tokens=24)):
            tokens_1T = torch.from_numpy(np.concatenate([prompt, told.token_ids])).long().to(policy.model.device)[None]
            with torch.no_grad():
                own_1T, _ = full_scores(policy.model, tokens_1T, torch.ones_like(tokens_1T), temperature)
            gaps.append(np.abs(told.logprobs - own_1T[0, len(prompt) :].cpu().numpy()).mean())
    backend.close()
    assert len(gaps) == 96
    assert np.mean(gaps) < 0.02


def test_the_plan_is_near_the_peak(tmp_path: Path) -> None:
    # Random weights over a large vocabulary seldom end a response: the plan is for responses of the full length.
    shape = {"vocab_size": 32_000, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}
    torch.manual_seed(0)
    Qwen2ForCausalLM(Qwen2Config(**shape, num_attention_heads=12, num_key_value_heads=4)).save_pretrained(tmp_path)
    load_tokenizer("cub-qwen").save_pretrained(tmp_path)
    sampling = {"prompts_per_step": 32, "samples_per_prompt": 8, "max_new_tokens": 256}
    over = deep(ON_GPU, {"model": str(tmp_path), "sampling": sampling, "dataset": {"levels": [], "size": 0}})
    over = deep(over, {"algorithm": {"kl_coef": 0.01}})  # Nothing is right: without it no response would be learned of.
    run_small(tmp_path / "run", over)
    planned = make_plan(small_config(over), Machine(gpus=1)).peak / 2**30
    assert read_metrics(tmp_path / "run")[-1]["memory/peak_gib"] == pytest.approx(planned, rel=0.1)


def learned(path: Path, over: dict[str, Any]) -> tuple[float, dict[str, torch.Tensor]]:
    """Return the gradient's norm in the first step of a run in fp32, and what its checkpoint holds then."""
    run_small(path, deep(EXACT, over))
    return read_learned(path)


def read_learned(path: Path) -> tuple[float, dict[str, torch.Tensor]]:
    newest = path / "checkpoints" / "step_000001"
    return read_metrics(path)[-1]["optimizer/grad_norm"], safetensors.torch.load_file(newest / "model.safetensors")


@pytest.fixture(params=["", "network"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How NCCL's messages go: as on one machine, and as between two, where it sees by itself that a rank has ended."""
    for name in ("NCCL_P2P_DISABLE", "NCCL_SHM_DISABLE", "NCCL_IB_DISABLE") if request.param else ():
        monkeypatch.setenv(name, "1")


def assert_same_learning(first: tuple[float, dict[str, torch.Tensor]], other: tuple[float, dict[str, torch.Tensor]]):
    assert other[0] == pytest.approx(first[0], rel=1e-3)
    assert other[1].keys() == first[1].keys()
    for name, values in first[1].items():
        assert (other[1][name] - values).abs().mean() < 1e-4, name


def test_offloading_on_the_gpu(tmp_path: Path) -> None:
    plain = learned(tmp_path / "plain", {})
    assert_same_learning(plain, learned(tmp_path / "offloaded", {"learner": {"cpu_offload": True}}))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
def test_a_rank_on_each_gpu(algorithm: str, tmp_path: Path) -> None:
    over = {"algorithm": {"name": algorithm}}
    plain = learned(tmp_path / "one", over)
    count = torch.cuda.device_count()
    assert_same_learning(plain, learned(tmp_path / "many", deep(over, {"learner": {"ranks": count}})))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@pytest.mark.skipif(not find_spec("ray"), reason="needs Ray: pip install 'simplerl[ray]'")
def test_a_rank_that_ray_places_on_another_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run sees the first GPU alone, Ray both: its second rank is on the other, as on another machine."""
    from ray.cluster_utils import Cluster as Nodes

    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 4, "num_gpus": 2, "include_dashboard": False})
    try:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
        over = deep(EXACT, {"learner": {"ranks": 2}, "cluster": {"address": nodes.address}})
        line = [*arguments(deep(SMALL, over)), "--output-dir", str(tmp_path / "two")]
        done = run_command("train", "cub", *line, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        nodes.shutdown()
    assert_same_learning(learned(tmp_path / "one", {}), read_learned(tmp_path / "two"))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_a_rank_that_dies_on_a_gpu(way: None, tmp_path: Path) -> None:
    process = begin_run(tmp_path / "run", {"steps": 500, "learner": {"ranks": 2, "device": "cuda", "restarts": 0}})
    (rank,) = ranks_of(process.pid)
    os.kill(rank, signal.SIGKILL)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "rank 1 of 2 of the learner was ended by signal 9" in said


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_a_run_goes_on_when_a_rank_on_a_gpu_has_ended(way: None, tmp_path: Path) -> None:
    """Twice, the second time in a step, so that what was aborted and begun anew is aborted again."""
    process = begin_run(tmp_path / "run", {"steps": 60, "learner": {"ranks": 2, "device": "cuda"}})
    for _ in range(2):
        (rank,), newest = ranks_of(process.pid), max(checkpoint_steps(tmp_path / "run"))
        os.kill(rank, signal.SIGKILL)
        begun = time.monotonic()
        while process.poll() is None and time.monotonic() < begun + 200:
            if rank not in ranks_of(process.pid) and max(checkpoint_steps(tmp_path / "run")) > newest + 1:
                break
            time.sleep(0.1)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert said.count("The run goes on from its newest checkpoint") == 2
    assert [line["step"] for line in read_metrics(tmp_path / "run")] == list(range(61))
