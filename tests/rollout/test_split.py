"""A model split over worker processes of vLLM's: the same answers, whoever is killed, and nothing stays behind."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from support import SMALL, arguments, begin_run, copy_policy, deep, gone, run_command, small_config
from transformers import AutoConfig

from simplerl.config.resolve import resolve
from simplerl.core.errors import ConfigError, EngineLost, ModelError
from simplerl.core.seeds import derive
from simplerl.core.types import Completion
from simplerl.models import device as devices
from simplerl.models.load import Policy, load, weights_of
from simplerl.models.score import text_logprobs
from simplerl.rollout import engines as module
from simplerl.rollout import open_backend
from simplerl.rollout.backend import Request, RolloutBackend, Sampling
from simplerl.rollout.cluster import Cluster
from simplerl.rollout.engines import Engines
from simplerl.rollout.proof import ask_back
from simplerl.rollout.vllm import cache_shares, divisions
from simplerl.runs.directory import read_metrics
from simplerl.train.components import start_backend

needs_vllm = [
    pytest.mark.vllm,
    pytest.mark.engines,
    pytest.mark.skipif(not find_spec("vllm"), reason="needs vLLM: python tools/engines.py"),
]
SPLIT = {"model": "cub-llama", "rollout": {"backend": "vllm", "tensor_parallel": 2}}


def shape(heads: int, pairs: int, inner: int) -> AutoConfig:
    sizes = {"num_attention_heads": heads, "num_key_value_heads": pairs, "intermediate_size": inner}
    return AutoConfig.for_model("llama", hidden_size=16 * heads, **sizes)


def test_heads_are_divided_or_repeated() -> None:
    assert divisions(shape(28, 4, 18944)) == [1, 2, 4]
    assert divisions(shape(6, 3, 512)) == [1]
    assert divisions(shape(4, 1, 2048)) == [1, 2, 4], "one head of keys and values is repeated"
    assert [cache_shares(shape(4, 1, 2048), n) for n in (1, 2, 4)] == [1, 1, 1]
    assert [cache_shares(shape(8, 2, 64), n) for n in (1, 2, 4)] == [1, 2, 2]
    with pytest.raises(ConfigError, match=r"it has 6 attention heads, 3 of keys and values.* 512; give .* 1$"):
        cache_shares(shape(6, 3, 512), 2)


def test_what_cannot_be_split_is_refused(cub: Callable[[str], Policy], monkeypatch) -> None:
    with pytest.raises(ConfigError, match=r"'native' does not split a model; give --rollout\.backend vllm"):
        small_config({"rollout": {"tensor_parallel": 2}})
    said: list[str] = []
    follows = resolve("qwen2.5-32b", {"rollout": {"backend": "native"}}, said.append)
    assert follows.rollout.tensor_parallel == 1
    assert "rollout.tensor_parallel" in said[0]
    config, policy = small_config(SPLIT), cub("cub-qwen")
    with pytest.raises(ConfigError, match="does not divide the model"):
        start_backend(config, policy, said.append, device=torch.device("cpu"), cluster=None)
    monkeypatch.setattr(devices.torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match=r"tensor_parallel = 2, but PyTorch sees 1 CUDA device, and each worker"):
        start_backend(config, cub("cub-llama"), said.append, device=torch.device("cuda"), cluster=None)


@pytest.mark.parametrize(
    ("first", "size", "wanted"),
    [(0, 1, "4,5,6,7"), (0, 2, "4-5,6-7,8-9,10-11"), (2, 2, "6-7,8-9,10-11,4-5"), (8, 4, "4-5-6-7,8-9-10-11")],
)
def test_an_engine_takes_devices_that_follow_each_other(monkeypatch, first: int, size: int, wanted: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7,8,9,10,11")
    seen: list[str] = []

    class Started(Exception):
        pass

    def start(command, settings, said, environment):
        seen.append(environment["CUDA_VISIBLE_DEVICES"].replace(",", "-"))
        raise Started

    monkeypatch.setattr(module, "start_child", start)
    engines = object.__new__(Engines)
    vars(engines).update(_settings={"threads": 1}, _device="cuda", _cluster=None, _first_device=first, _size=size)
    engines.files = Path()
    for number in range(wanted.count(",") + 1):
        with pytest.raises(Started):
            engines._start(module._Engine(number))
    assert ",".join(seen) == wanted


def test_samplers_are_on_or_after_the_gpu_of_the_learner(cub: Callable[[str], Policy], monkeypatch) -> None:
    """Which need not be the first: vLLM in the learner's process is given it, engines begin behind it."""
    policy, gpu = copy_policy(cub("cub-qwen")), torch.device("cuda:1")
    monkeypatch.setattr(type(policy.model), "device", gpu)
    engine = MagicMock()
    engine.ModelRegistry.models = {"Qwen2ForCausalLM": SimpleNamespace(class_name="Qwen2ForCausalLM")}
    monkeypatch.setitem(sys.modules, "vllm", engine)
    open_backend("vllm", policy).close()
    assert engine.LLM.call_args.kwargs["device_ids"] == [1]
    monkeypatch.setattr(type(policy.model), "device", torch.device("cuda:0"))
    open_backend("vllm", policy).close()
    assert engine.LLM.call_args.kwargs["device_ids"] is None
    backend, asked = open_backend("vllm", policy), [Request(prompt_ids=np.array([5], dtype=np.int32), noise_key=1)]
    with pytest.raises(ConfigError, match=r"a temperature of 0\.005 is drawn at 0\.01 by vLLM"):
        list(backend.generate(asked, Sampling(temperature=0.005)))
    engine.LLM.return_value.llm_engine.step.side_effect = RuntimeError("no such kernel")
    with pytest.raises(EngineLost, match=r"vLLM has failed with .*cub-qwen: no such kernel"):
        answers_of(backend, asked)
    engine.LLM.return_value.collective_rpc.side_effect = TimeoutError
    with pytest.raises(ModelError, match="a worker of vLLM's has not done start_weight_update within 600 s: it hangs"):
        open_backend("vllm", policy)
    engine.LLM.return_value.collective_rpc.side_effect = None
    monkeypatch.setattr("simplerl.rollout.vllm.workers_environment", lambda count: {})
    engine.ModelRegistry.models = {}
    open_backend("vllm", policy).close()
    assert engine.LLM.call_args.kwargs["distributed_executor_backend"] == "mp", "it would change the learner's class"
    monkeypatch.setattr(module, "Engines", started := MagicMock())
    start_backend(small_config({"cluster": {"engines": 1}}), policy, print, device=gpu, cluster=None)
    assert started.call_args.kwargs["first_device"] == 2


@pytest.mark.vllm
@pytest.mark.skipif(not find_spec("vllm"), reason="needs vLLM: python tools/engines.py")
def test_vllm_takes_the_gpu_that_it_is_given(tmp_path: Path) -> None:
    from vllm.engine.arg_utils import EngineArgs

    assert EngineArgs(model=str(tmp_path), device_ids=[1])._resolve_device_ids() == [1]


@pytest.mark.parametrize("name", ["cub-qwen", "cub-llama"])
def test_weights_that_are_in_their_files_are_those_of_the_model(name: str) -> None:
    wanted = load(name).model.state_dict()
    model = load(name, bare=True).model
    assert next(model.parameters()).is_meta
    read = dict(weights_of(model))
    assert read.keys() == wanted.keys()
    assert all(torch.equal(read[key], wanted[key]) for key in wanted)


def started_by(pid: int) -> set[int]:
    """Return the processes of a process's group."""
    listed = subprocess.run(["ps", "-eo", "pid=,pgid="], capture_output=True, text=True, check=False).stdout
    return {int(line.split()[0]) for line in listed.splitlines() if int(line.split()[1]) == pid} - {pid}


def workers_of(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=False).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    return [int(own) for own, parent, name in rows if int(parent) == pid and "VLLM::Worker" in name]


def answers_of(backend: RolloutBackend, requests: list[Request]) -> list[Completion]:
    completions = dict(backend.generate(requests, Sampling(max_new_tokens=48)))
    return [completions[index] for index in range(len(requests))]


def left() -> set[str]:
    """Return what processes have put into shared memory and TMPDIR; beside other tests only what bears our name."""
    names = {*os.listdir("/dev/shm"), *os.listdir(tempfile.gettempdir())}
    if "PYTEST_XDIST_WORKER" in os.environ:
        return {name for name in names if name.startswith("simplerl-") and f"-{os.getpid()}-" in name}
    return {name for name in names if name.startswith(("simplerl-", "psm_", "sem.mp-", "vllm_dist_"))}


class TestVLLM:
    pytestmark = needs_vllm

    @pytest.mark.parametrize("address", ["", pytest.param("local", marks=pytest.mark.slow)])
    def test_an_engine_answers_as_one_that_is_not_split_whoever_is_killed(self, cub, address: str) -> None:
        if address:
            pytest.importorskip("ray", reason="needs Ray: pip install 'simplerl[ray]'")
        policy, said, before = cub("cub-llama"), [], left()
        prompts = [np.array(policy.encode(f"What is {n}+{n}?\n"), dtype=np.int32) for n in (3, 14, 15, 92)]
        requests = [Request(prompt_ids=prompts[i % 4], noise_key=derive(5, "split", i)) for i in range(16)]
        one = open_backend("vllm", policy)
        wanted = answers_of(one, requests)
        one.close()
        placed = Cluster(address, gpus=0) if address else None
        engines = Engines("vllm", policy, count=1, tensor_parallel=2, say=said.append, cluster=placed)
        try:
            assert ask_back(engines, policy, "fp32") < 2e-4, "what it begins with is read from the model's files"
            engines.sync(policy.model.state_dict().items(), version=4)
            assert ask_back(engines, policy, "fp32") < 2e-4
            for number in range(2):
                if number:
                    before |= {name for name in left() if name.startswith("vllm_dist_")}  # Who is killed cannot tidy.
                    os.kill(workers_of(engines.report()[0]["pid"])[1], signal.SIGKILL)
                answers = answers_of(engines, requests)
                same = [a.token_ids.tolist() == b.token_ids.tolist() for a, b in zip(answers, wanted, strict=True)]
                assert sum(same) >= len(same) - 1, "a near-tie apart"
                for request, answer in zip(requests, answers, strict=True):
                    ids = [*request.prompt_ids.tolist(), *answer.token_ids.tolist()]
                    own = text_logprobs(policy.model, ids)[len(request.prompt_ids) - 1 :]
                    np.testing.assert_allclose(answer.logprobs, own, atol=2e-4)
            assert engines.report()[0]["starts"] == 2, said
            pid = engines.report()[0]["pid"]
            children = {*started_by(pid), *workers_of(pid)}
            assert len(workers_of(pid)) == 2
        finally:
            engines.close()
        assert all(gone(each) for each in (pid, *children))
        assert address or left() <= before

    def test_an_engine_beside_a_learner_on_ranks_is_no_part_of_their_group(self, tmp_path: Path) -> None:
        """With adapters: their merged weights are sent to it."""
        over = {"learner": {"ranks": 2}, "rollout": {"backend": "vllm"}, "lora": {"rank": 4 * bool(find_spec("peft"))}}
        line = [*arguments(deep(SMALL, over)), "--output-dir", str(tmp_path / "run")]
        done = run_command("train", "cub", *line, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        assert all(0 <= line["policy/sync_gap"] < 2e-4 for line in read_metrics(tmp_path / "run")[1:])

    @pytest.mark.parametrize("engines", [pytest.param(0, marks=pytest.mark.slow), 1])
    def test_no_worker_outlives_its_controller(self, tmp_path: Path, engines: int) -> None:
        process = begin_run(tmp_path / "killed", {**SPLIT, "cluster": {"engines": engines}, "steps": 500})
        listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=False).stdout
        children = {process.pid}
        for _ in range(4):
            children |= {int(line.split()[0]) for line in listed.splitlines() if int(line.split()[1]) in children}
        assert sum(len(workers_of(each)) for each in children) == 2
        process.kill()
        process.communicate()
        assert all(gone(each) for each in children)
