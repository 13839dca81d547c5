"""LoRA: only adapters are trained and saved, the sampler has the merged weights, the reference is the model itself."""

import json
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from support import ARCHITECTURES, assert_same_run, copy_policy, deep, fingerprint, run_main, run_small, small_config

from simplerl.core.errors import ConfigError, ModelError, RunError
from simplerl.models import lora
from simplerl.models.checkpoint import complete_on_cpu
from simplerl.models.load import Policy, load, locate_and_hash, weights_of
from simplerl.models.score import BaseScorer, Scorer
from simplerl.rollout import engines
from simplerl.rollout.wire import StoredWeights, write_weights
from simplerl.runs.directory import read_metrics
from simplerl.train.components import build_components

LORA = {"lora": {"rank": 4}, "optimizer": {"lr": 1e-2}}
KL = deep(LORA, {"algorithm": {"kl_coef": 0.3}, "learner": {"prompts_per_update": 1}})
PPO = deep(LORA, {"algorithm": {"name": "ppo", "critic_lr": 1e-3}, "learner": {"prompts_per_update": 1}})


def needs_peft(test: Any) -> Any:
    """Have a test run where the engines are: nobody else has peft."""
    absent = pytest.mark.skipif(not find_spec("peft"), reason="needs peft: pip install 'simplerl[lora]'")
    return pytest.mark.engines(absent(test))


def adapted(policy: Policy, **over: Any) -> Policy:
    """Return a policy with adapters that are not zero any more."""
    policy = copy_policy(policy)
    lora.add(policy.model, **{"rank": 4, "alpha": 0.0, "targets": (), "base": policy.name, "seed": 0, **over})
    with torch.no_grad():
        for name, values in policy.model.named_parameters():
            if ".lora_B." in name:
                values.copy_(0.1 * torch.randn(values.shape))
    return policy


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=torch.arange(4, 40)[None], use_cache=False).logits


@needs_peft
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_merged_weights_compute_what_the_adapters_do(name: str, tiny: Callable[[str], Policy], tmp_path: Path) -> None:
    base = tiny(name)
    policy = adapted(base)
    assert (logits(policy.model) - logits(base.model)).abs().max() > 1e-2, "the adapters do something"
    twin = copy_policy(base)
    twin.model.load_state_dict(dict(lora.merged(policy.model)))
    torch.testing.assert_close(logits(twin.model), logits(policy.model), atol=1e-4, rtol=1e-4)
    # What engines are sent gives the same weights, bit for bit, and is no model.
    sent = dict(lora.factors(policy.model))
    assert lora.are_factors(sent.items())
    assert not lora.are_factors(lora.merged(policy.model))
    added = dict(lora.add_factors(weights_of(base.model), sent.items()))
    assert added.keys() == (wanted := dict(lora.merged(policy.model))).keys()
    assert all(torch.equal(added[name], wanted[name]) for name in wanted)
    assert sum(values.numel() for values in sent.values()) * 4 < sum(values.numel() for values in wanted.values())
    with pytest.raises(ModelError, match="no weights for these adapters"):
        dict(lora.add_factors([], sent.items()))
    with lora.without_adapters(policy.model):
        assert torch.equal(logits(policy.model), logits(base.model))
    assert (logits(policy.model) - logits(base.model)).abs().max() > 1e-2, "and is back"
    # What is saved is read as the merged model, and hashed as neither of the two.
    lora.save(policy.model, tmp_path, complete_on_cpu(lora.parameters(policy.model)))
    policy.tokenizer.save_pretrained(tmp_path)
    read = load(str(tmp_path)).model
    assert torch.equal(logits(read), logits(twin.model))
    assert all(each.requires_grad for each in read.parameters()), "it can be trained on as a whole"
    assert locate_and_hash(str(tmp_path))["sha256"] != locate_and_hash(base.name)["sha256"]


@needs_peft
def test_only_linear_layers_inside_have_adapters_and_only_they_are_trained(tiny) -> None:
    policy = adapted(tiny("llama"))
    trained = [name for name, values in policy.model.named_parameters() if values.requires_grad]
    assert all(".lora_" in name for name in trained)
    assert len(trained) == 2 * 7 * 2, "seven linear layers in each of two blocks"
    some = adapted(tiny("llama"), targets=("q_proj", "v_proj"), alpha=4.0)
    assert {name.split(".")[4] for name, values in some.model.named_parameters() if values.requires_grad} == {
        "q_proj",
        "v_proj",
    }
    for targets, said in (
        (("qq",), "its own are down_proj"),
        (("lm_head",), "the head"),
        (("embed_tokens",), "embedd"),
    ):
        with pytest.raises(ConfigError, match=said):
            adapted(tiny("llama"), targets=targets)


@needs_peft
def test_the_reference_is_the_model_without_a_second_copy(cub) -> None:
    base = cub()
    policy = adapted(base)
    tokens_BT = torch.arange(4, 24).view(2, 10)
    mask_BT = torch.ones_like(tokens_BT, dtype=torch.bool)
    mask_BT[:, 0] = False
    lengths_B = torch.tensor([10, 10])
    wanted = Scorer(base.model)(tokens_BT, mask_BT, lengths_B)[0]
    assert torch.equal(BaseScorer(Scorer(policy.model))(tokens_BT, mask_BT, lengths_B)[0], wanted)
    assert not torch.equal(Scorer(policy.model)(tokens_BT, mask_BT, lengths_B)[0], wanted)
    parts = build_components(small_config(KL), lambda line: None)
    parts.close()
    assert isinstance(parts.learner.reference, BaseScorer)
    assert parts.learner.reference.model is parts.policy.model


@needs_peft
@pytest.mark.parametrize("over", [LORA, KL, PPO], ids=["plain", "kl", "ppo"])
def test_a_run_trains_and_saves_adapters_and_resumes_exactly(over: dict[str, Any], tmp_path: Path) -> None:
    run_small(tmp_path / "run", over)
    reference = fingerprint(tmp_path / "run")
    newest = tmp_path / "run" / "checkpoints" / "step_000003"
    assert (newest / lora.WEIGHTS).is_file()
    assert not list(newest.glob("model*.safetensors"))
    assert reference["metrics"][-1]["policy/mismatch_kl"] < 1e-4, "sampled from the merged weights"
    run_small(tmp_path / "again", deep(over, {"steps": 2}))
    run_small(tmp_path / "again", over, resume=True)
    assert_same_run(tmp_path / "again", reference)
    moved = [load(str(newest)).model, load("cub-qwen").model]
    assert not torch.equal(*map(logits, moved))


@needs_peft
def test_engines_are_sent_adapters_or_the_sum(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Bit for bit the same run, over two ranks to rounding; killed ahead of training, it goes on with the other."""
    sent: dict[str, list[int]] = {}

    def write(directory: Path, *weights: Any) -> StoredWeights:
        stored = write_weights(directory, *weights)
        sent.setdefault(name, []).append(sum(file.stat().st_size for file in directory.iterdir()))
        return stored

    monkeypatch.setattr(engines, "write_weights", write)
    ahead = {"rollout": {"lag": 1}, "algorithm": {"correction": "truncated"}}
    over = deep(LORA, deep(ahead, {"cluster": {"engines": 1}}))
    for name in ("adapters", "merged"):
        run_small(tmp_path / name, deep(over, {"lora": {"send": name}}))
    reference = fingerprint(tmp_path / "merged")
    assert_same_run(tmp_path / "adapters", reference)
    assert max(sent["adapters"]) * 4 < min(sent["merged"])
    name = "again"
    run_small(tmp_path / name, deep(over, {"lora": {"send": "merged"}, "steps": 2}))
    run_small(tmp_path / name, over, resume=True)
    assert_same_run(tmp_path / name, reference)
    name = "ranks"
    run_small(tmp_path / name, deep(over, {"learner": {"ranks": 2}}))
    assert max(sent["ranks"]) <= max(sent["adapters"])
    assert all(line["policy/mismatch_kl"] < 1e-3 for line in read_metrics(tmp_path / name)[1:])


@needs_peft
def test_another_kind_of_run_is_not_continued(tmp_path: Path) -> None:
    run_small(tmp_path / "lora", deep(LORA, {"steps": 1}))
    for over in ({"optimizer": {"lr": 1e-2}}, deep(LORA, {"lora": {"rank": 8}})):
        with pytest.raises(RunError, match=r"lora\.rank was 4, now"):
            run_small(tmp_path / "lora", over, resume=True)
    run_small(tmp_path / "full", {"steps": 1})
    shutil.rmtree(tmp_path / "full" / "checkpoints")
    shutil.copytree(tmp_path / "lora" / "checkpoints", tmp_path / "full" / "checkpoints")
    with pytest.raises(ModelError, match="holds adapters, and this run trains all weights"):
        run_small(tmp_path / "full", {"steps": 2}, resume=True)
    (tmp_path / "lora" / "checkpoints" / "step_000001" / lora.CONFIG).write_text("{}")
    with pytest.raises(ModelError, match="does not say what its adapters were trained on"):
        load(str(tmp_path / "lora"))


@needs_peft
@pytest.mark.parametrize("change", ["pickled", "half", "renamed", "more"])
def test_adapters_that_are_not_complete_are_refused(change: str, tiny, tmp_path: Path) -> None:
    """Peft would read a pickle, and merge what it finds: nothing at all where the names are others."""
    policy = adapted(tiny("llama"))
    weights = complete_on_cpu(lora.parameters(policy.model))
    spoilt = {
        "half": dict(list(weights.items())[::2]),
        "renamed": {f"x.{name}": values for name, values in weights.items()},
        "more": weights | {name.replace("layers.0", "layers.9"): values.clone() for name, values in weights.items()},
    }
    lora.save(policy.model, tmp_path, spoilt.get(change, weights))
    policy.tokenizer.save_pretrained(tmp_path)
    if change == "pickled":
        (tmp_path / lora.WEIGHTS).unlink()
        torch.save(weights, tmp_path / "adapter_model.bin")
    with pytest.raises(ModelError, match="safetensors alone" if change == "pickled" else "does not hold the adapters"):
        load(str(tmp_path))


@needs_peft
def test_export_as_a_model_and_as_peft_reads_it(tmp_path: Path, capsys) -> None:
    import peft

    run_small(tmp_path / "run", deep(LORA, {"steps": 1}))
    code, out, _ = run_main(capsys, "export", str(tmp_path / "run"), "--output", str(tmp_path / "merged"))
    assert code == 0
    assert "merged" in out
    merged = load(str(tmp_path / "merged"))
    assert not (tmp_path / "merged" / lora.CONFIG).exists()
    code, *_ = run_main(capsys, "export", str(tmp_path / "run"), "--output", str(tmp_path / "ad"), "--adapter")
    assert code == 0
    assert not (tmp_path / "ad" / "trainer").exists()
    theirs = peft.PeftModel.from_pretrained(load("cub-qwen").model, tmp_path / "ad")
    torch.testing.assert_close(logits(theirs), logits(merged.model), atol=1e-4, rtol=1e-4)
    for arguments, said in (
        ([str(tmp_path / "run"), "--output", str(tmp_path / "ad")], "exists already"),
        (["cub-qwen", "--output", str(tmp_path / "b"), "--adapter"], "no adapters"),
    ):
        code, _, error = run_main(capsys, "export", *arguments)
        assert code == 2
        assert said in error


def test_without_peft_the_message_is_the_line_to_type(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigError, match=r"pip install 'simplerl\[lora\]'"):
        run_small(tmp_path / "run", LORA)
    assert not (tmp_path / "run").exists()


def test_alpha_without_a_rank_is_said() -> None:
    with pytest.raises(ConfigError, match=r"give --lora\.rank 32"):
        small_config({"lora": {"alpha": 8}})


def test_adapters_whose_model_is_gone_say_so(tmp_path: Path, tiny) -> None:
    tiny("llama").tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (tmp_path / lora.CONFIG).write_text(json.dumps({"base_model_name_or_path": "/nowhere/gone"}))
    with pytest.raises(ModelError, match=r"holds adapters of '/nowhere/gone' \(base_model.*does not exist"):
        load(str(tmp_path))


@pytest.mark.parametrize("text", ["{", '{"base_model_name_or_path": 3}', '{"base_model_name_or_path": ""}', "[]"])
def test_adapters_of_nothing_are_refused(text: str, tmp_path: Path, tiny) -> None:
    tiny("llama").tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (tmp_path / lora.CONFIG).write_text(text)
    with pytest.raises(ModelError, match=lora.CONFIG):
        load(str(tmp_path))
