"""An engine that does not use the weights it was given ends the run at that step; runs on vLLM are runs like others."""

import copy
import json
import math
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from support import (
    ARCHITECTURES,
    SHAPE,
    assert_same_run,
    deep,
    fingerprint,
    make_tokenizer,
    run_main,
    run_small,
    tiny_directory,
)

from simplerl.core.errors import ConfigError, ModelError
from simplerl.models.load import load
from simplerl.rollout import BACKENDS, open_backend
from simplerl.rollout.native import NativeBackend
from simplerl.rollout.proof import ask_back
from simplerl.runs.directory import read_metrics

needs_vllm = [
    pytest.mark.vllm,
    pytest.mark.skipif(not find_spec("vllm"), reason="needs vLLM: python tools/engines.py"),
]
STEPS = {"steps": 3, "optimizer": {"lr": 1e-3}}
VLLM = deep(STEPS, {"rollout": {"backend": "vllm"}})
SPLIT = {"model": "cub-llama", "rollout": {"tensor_parallel": 2}}


class OwnCopy(NativeBackend):
    """A backend with weights of its own, as an engine in another process has."""

    def __init__(self, *arguments: Any, model: Any, **options: Any):
        super().__init__(*arguments, model=copy.deepcopy(model), **options)


def swallowing(cls: type, at: int) -> type:
    """Return a backend that swallows one update: it says that it has taken it."""

    class Swallowing(cls):
        def sync(self, weights: Any, version: int) -> None:
            if version == at:
                self.version = version
            else:
                super().sync(weights, version)

    return Swallowing


def run_with(monkeypatch, backend: type, path: Path, over: Mapping[str, Any] = STEPS) -> None:
    monkeypatch.setitem(BACKENDS.data, "other", backend)
    run_small(path, deep(deep(STEPS, over), {"rollout": {"backend": "other"}}))


def test_a_copy_that_takes_every_update_is_believed(monkeypatch, tmp_path: Path) -> None:
    run_with(monkeypatch, OwnCopy, tmp_path / "run")
    assert all(line["policy/sync_gap"] < 1e-5 for line in read_metrics(tmp_path / "run")[1:])


def test_a_swallowed_update_ends_the_run_at_its_step(monkeypatch, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"does not use the weights that it was given \(version 2\)"):
        run_with(monkeypatch, swallowing(OwnCopy, 2), tmp_path / "run")
    assert [line["step"] for line in read_metrics(tmp_path / "run")] == [0, 1]


@pytest.mark.parametrize("lr", [1e-3, 1e-4])
def test_in_bf16_too_where_an_update_is_smaller_than_rounding(lr: float, monkeypatch, tmp_path: Path) -> None:
    """One that takes every update is believed, though it is rounded; what moves no policy moves no engine."""
    over = {"rollout": {"precision": "bf16"}, "optimizer": {"lr": lr}}
    run_with(monkeypatch, OwnCopy, tmp_path / "run", over)
    run_with(monkeypatch, OwnCopy, tmp_path / "still", deep(over, {"optimizer": {"lr": 1e-12}}))
    with pytest.raises(ModelError, match=r"\(version 2\).*the same to the last bit while the learner's have moved"):
        run_with(monkeypatch, swallowing(OwnCopy, 2), tmp_path / "swallowed", over)
    assert [line["step"] for line in read_metrics(tmp_path / "swallowed")] == [0, 1]


def test_what_has_no_weights_is_not_asked(tmp_path: Path) -> None:
    run_small(tmp_path / "run", {"rollout": {"backend": "fake"}, "steps": 1})
    gap = read_metrics(tmp_path / "run")[-1]["policy/sync_gap"]
    assert gap is None or math.isnan(gap)


def test_without_vllm_the_message_is_the_line_to_type(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ConfigError, match=r"pip install 'simplerl\[vllm\]', whose wheels are for CUDA"):
        run_small(tmp_path / "run", VLLM)
    assert not (tmp_path / "run").exists()


class TestVLLM:
    pytestmark = needs_vllm

    def test_a_run_repeats_resumes_and_agrees_with_the_learner(self, tmp_path: Path) -> None:
        run_small(tmp_path / "run", VLLM)
        lines = read_metrics(tmp_path / "run")
        assert all(line["policy/sync_gap"] < 2e-4 for line in lines[1:])
        assert all(line["policy/mismatch_kl"] < 1e-4 for line in lines[1:])
        reference = fingerprint(tmp_path / "run")
        run_small(tmp_path / "again", deep(VLLM, {"steps": 2}))
        run_small(tmp_path / "again", VLLM, resume=True)
        assert_same_run(tmp_path / "again", reference)

    @pytest.mark.parametrize("over", [{}, pytest.param(SPLIT, marks=pytest.mark.slow)], ids=str)
    def test_a_swallowed_update_ends_the_run_at_its_step(self, monkeypatch, tmp_path: Path, over) -> None:
        with pytest.raises(ModelError, match=r"\(version 2\)"):
            run_with(monkeypatch, swallowing(BACKENDS["vllm"], 2), tmp_path / "run", over)
        assert [line["step"] for line in read_metrics(tmp_path / "run")] == [0, 1]

    def test_weights_that_are_missing_are_said(self, cub) -> None:
        backend = open_backend("vllm", cub("cub-llama"))
        weights = {**cub("cub-llama").model.state_dict()}
        del weights["model.layers.1.mlp.down_proj.weight"]
        with pytest.raises(ModelError, match=r"not taken 1 weights, of which one is model\.layers\.1\.mlp\.down_proj"):
            backend.sync(weights.items(), version=1)
        backend.close()

    @pytest.mark.skipif(not find_spec("peft"), reason="needs peft")
    def test_adapters_that_are_sent_reach_it(self, tmp_path: Path) -> None:
        over = {"lora": {"rank": 4}, "optimizer": {"lr": 1e-2}, "cluster": {"engines": 1}}
        run_small(tmp_path / "run", deep(VLLM, over))
        assert all(line["policy/mismatch_kl"] < 1e-4 for line in read_metrics(tmp_path / "run")[1:])

    def test_evaluation_and_sampling_take_it(self, tmp_path: Path, capsys, monkeypatch) -> None:
        few = ["--sampling.samples-per-prompt", "2", "--sampling.max-new-tokens", "24", "--dataset.size", "4"]
        for name in ("native", "vllm"):
            backend = ["--rollout.backend", name]
            code, *_ = run_main(capsys, "sample", "cub", "--all", *backend, *few, "--output", str(tmp_path / name))
            assert code == 0
        assert len((tmp_path / "vllm").read_text().splitlines()) == 8
        monkeypatch.chdir(tmp_path)
        rows = [json.dumps({"question": f"What is {i}+1?", "answer": str(i + 1)}) for i in range(4)]
        (tmp_path / "sums.jsonl").write_text("\n".join(rows))
        asked = ["--benchmarks", "sums.jsonl", "--samples", "2", "--max-tokens", "24", "--backend", "vllm"]
        code, out, error = run_main(capsys, "eval", "cub-qwen", *asked)
        assert code == 0, error
        assert "sums" in out

    @pytest.mark.parametrize("kind", ["Gemma2Config", pytest.param("Olmo2Config", marks=pytest.mark.slow)])
    def test_models_that_it_has_in_a_way_of_its_own(self, kind: str, monkeypatch, tmp_path: Path) -> None:
        """Without a head, and by Transformers' code, which in this process is the learner's."""
        shape = {"hidden_size": 128, "head_dim": 32, "initializer_range": 0.1, "tie_word_embeddings": True}
        monkeypatch.setitem(ARCHITECTURES, kind, (kind, {**SHAPE, **shape}))
        policy = load(str(tiny_directory(kind, tmp_path, make_tokenizer(64))))
        backend = open_backend("vllm", policy, max_rows=2)
        with torch.no_grad():
            policy.model.get_input_embeddings().weight.mul_(1.1)
        with pytest.raises(ModelError, match="does not use the weights"):
            ask_back(backend, policy, "fp32")
        backend.sync(policy.model.state_dict().items(), version=1)
        assert ask_back(backend, policy, "fp32") < 2e-4
        backend.close()

    def test_an_engine_that_does_not_start_is_a_message(self, tiny, tmp_path: Path) -> None:
        policy = tiny("llama")
        with pytest.raises(ModelError, match="vLLM does not start with"):
            BACKENDS["vllm"](
                policy.name,
                policy.tokenizer,
                stop_ids=policy.stop_ids,
                context_length=policy.context_length,
                model=policy.model,
                max_rows=-1,
            )
