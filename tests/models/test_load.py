"""Loading: every model by the same path, and odd ones refused with a reason."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
import transformers
from support import ARCHITECTURES, SHAPE
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from simplerl.core.errors import ModelError
from simplerl.models import cub
from simplerl.models.load import load, load_tokenizer, locate, pick_attention

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", cub.NAMES)
def test_cubs_are_ordinary_model_directories(name: str, tmp_path: Path) -> None:
    """A cub by name, the same directory by path, and transformers alone give the same logits."""
    copy = shutil.copytree(cub.path(name), tmp_path / "copy")
    tokens = torch.arange(4, 60)[None]
    with torch.no_grad():
        by_name = load(name).model(tokens).logits
        by_path = load(str(copy)).model(tokens).logits
        plain = AutoModelForCausalLM.from_pretrained(copy, dtype=torch.float32, attn_implementation="eager")
        assert torch.equal(by_name, by_path)
        torch.testing.assert_close(by_name, plain(tokens).logits, rtol=1e-4, atol=1e-4)


def test_cubs_are_a_family_of_different_architectures_small_enough_to_ship() -> None:
    kinds, total = set(), 0
    for name in cub.NAMES:
        policy = load(name)
        kinds.add(type(policy.model).__name__)
        assert 0.5e6 <= sum(values.numel() for values in policy.model.parameters()) <= 2e6
        total += sum(file.stat().st_size for file in cub.path(name).rglob("*") if file.is_file())
    assert kinds == {"Qwen2ForCausalLM", "LlamaForCausalLM", "MistralForCausalLM"}
    assert total <= 12 * 2**20


@pytest.mark.parametrize("name", cub.NAMES)
def test_cub_tokenizers_encode_any_text_as_they_were_built(name: str) -> None:
    """AutoTokenizer may put a class of its own in place (Qwen2's does): it must not cut text in another way."""
    policy = load(name)
    built = Tokenizer.from_file(str(cub.path(name) / "tokenizer.json"))
    for text in ("What is 12+34?", " 8+19=27. \\boxed{27}", "naïve 数学 🎲\n\n\tx", "\x00\x7f", "<|im_start|>user\n"):
        ids = policy.encode(text)
        assert ids == built.encode(text, add_special_tokens=False).ids
        assert policy.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False) == text


@pytest.mark.parametrize("name", [*ARCHITECTURES])
def test_loaded_models_are_deterministic_fp32(name: str, tiny_models: Callable[[str], Path]) -> None:
    policy = load(str(tiny_models(name)))
    assert all(values.dtype == torch.float32 for values in policy.model.parameters())
    assert policy.stop_ids == {0}
    assert policy.context_length == 128
    policy.model.train()  # Dropout is off even so: what is scored is what was sampled.
    tokens = torch.arange(4, 40)[None]
    with torch.no_grad():
        assert torch.equal(policy.model(tokens).logits, policy.model(tokens).logits)


def test_no_token_is_added_to_a_prompt(tiny) -> None:
    policy = tiny()
    assert policy.encode("") == []
    assert policy.encode("abc") == [2, 3, 4]


def test_run_directory_stands_for_its_newest_checkpoint(tmp_path: Path, tiny_models) -> None:
    for step in (5, 20, 100):
        shutil.copytree(tiny_models("llama"), tmp_path / "run" / "checkpoints" / f"step_{step:06d}")
    assert locate(str(tmp_path / "run")).endswith("step_000100")
    assert locate("owner/name") == "owner/name"
    with pytest.raises(ModelError, match="neither"):
        locate(str(tmp_path))


def test_pickled_weights_are_never_read(tmp_path: Path, tiny_models) -> None:
    """Unpickling runs code: a file that would leave a trace must leave none."""
    import pickle

    directory = shutil.copytree(tiny_models("llama"), tmp_path / "model")
    (directory / "model.safetensors").unlink()
    trace = tmp_path / "executed"

    class Trap:
        def __reduce__(self):
            return (Path.touch, (trace,))

    (directory / "pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ModelError, match="safetensors"):
        load(str(directory))
    assert not trace.exists()


def test_code_beside_a_model_is_never_executed(tmp_path: Path, tiny_models) -> None:
    directory = shutil.copytree(tiny_models("llama"), tmp_path / "model")
    trace = tmp_path / "executed"
    (directory / "evil.py").write_text(f"from pathlib import Path\nPath({str(trace)!r}).touch()\nclass Evil: pass\n")
    config = json.loads((directory / "config.json").read_text())
    config["model_type"] = "evil"
    config["auto_map"] = dict.fromkeys(("AutoConfig", "AutoModelForCausalLM", "AutoTokenizer"), "evil.Evil")
    (directory / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="cannot load model"):
        load(str(directory))
    assert not trace.exists()


def test_attention() -> None:
    assert pick_attention("auto", CPU, half=False) == "grouped"
    assert pick_attention("sdpa", CPU, half=False) == "sdpa"
    with pytest.raises(ModelError, match="needs bf16"):
        pick_attention("flash_attention_2", CPU, half=False)
    assert pick_attention("auto", torch.device("cuda"), half=False) == "sdpa"


def changed(source: Path, target: Path, **settings: object) -> Path:
    """Return a copy of a model directory whose configuration says something else."""
    directory = shutil.copytree(source, target)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, **settings}))
    return directory


def test_weights_that_the_files_lack_are_named(tiny_models, tmp_path: Path) -> None:
    """They would be trained and evaluated at random values."""
    untied = changed(tiny_models("qwen2-tied"), tmp_path / "untied", tie_word_embeddings=False)
    with pytest.raises(ModelError, match=r"no values for 1 of its weights \(lm_head\.weight\).*tie_word_embeddings"):
        load(str(untied))
    deeper = changed(tiny_models("llama"), tmp_path / "deeper", num_hidden_layers=3)
    with pytest.raises(ModelError, match=r"no values for 9 of its weights \(model\.layers\.2\.input_layernorm"):
        load(str(deeper))
    shallower = changed(tiny_models("llama"), tmp_path / "shallower", num_hidden_layers=1)
    for bare in (False, True):
        with pytest.raises(
            ModelError, match=r"hold 9 weights of layers that config\.json leaves out \(model\.layers\.1"
        ):
            load(str(shallower), bare=bare)
    wider = changed(tiny_models("llama"), tmp_path / "wider", intermediate_size=40)
    with pytest.raises(
        ModelError, match=r"6 weights of another shape .*mlp\.down_proj\.weight \[\d+, \d+\] for \[\d+, 40\]"
    ):
        load(str(wider))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_numbers_are_named(value: float, tiny_models, tmp_path: Path) -> None:
    directory = shutil.copytree(tiny_models("llama"), tmp_path / "model")
    tensors = safetensors.torch.load_file(directory / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][3, 4] = value
    safetensors.torch.save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"not numbers \(NaN or infinite\) in 1 tensors \(model\.layers\.1\.mlp\.up"):
        load(str(directory))


def test_a_model_is_used_as_far_as_its_rotary_frequencies_hold(tmp_path: Path, tokenizer_64) -> None:
    """Beyond, longrope changes them for every row of a batch at once: scores would depend on the neighbours."""
    short, long = [1.0] * 4, [float(2 + i) for i in range(4)]
    rope = {"rope_type": "longrope", "rope_theta": 10_000.0, "short_factor": short, "long_factor": long}
    config = transformers.Phi3Config(
        **{**SHAPE, "max_position_embeddings": 128, "original_max_position_embeddings": 32},
        rope_parameters={**rope, "original_max_position_embeddings": 32},
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tokenizer_64.save_pretrained(tmp_path)
    policy = load(str(tmp_path))
    assert policy.context_length == 32
    assert "longrope" in policy.context_note


@pytest.mark.parametrize("name", [*ARCHITECTURES])
def test_grouped_attention_is_eager_attention(name: str, tiny_models) -> None:
    """Padding, windows, soft caps: the same logits with and without gradient."""
    directory = str(tiny_models(name))
    wanted, policy = load(directory, attention="eager"), load(directory, attention="grouped")
    assert policy.model.config._attn_implementation == "grouped"
    tokens_BT = torch.randint(64, (3, 30))
    for mask_BT in (None, (torch.arange(30) >= torch.tensor([[0], [4], [9]])).long()):
        shown = torch.ones(3, 30, dtype=torch.bool) if mask_BT is None else mask_BT.bool()
        expected = wanted.model(tokens_BT, attention_mask=mask_BT).logits[shown]
        torch.testing.assert_close(
            policy.model(tokens_BT, attention_mask=mask_BT).logits[shown], expected, rtol=1e-4, atol=1e-4
        )
        with torch.no_grad():
            torch.testing.assert_close(
                policy.model(tokens_BT, attention_mask=mask_BT).logits[shown], expected, rtol=1e-4, atol=1e-4
            )


def test_a_tokenizer_may_know_tokens_that_no_prompt_uses(tmp_path: Path, tiny_models) -> None:
    """Gemma's tokenizer is one token longer than its embeddings: refuse the token, not the model."""
    from support import make_tokenizer

    directory = shutil.copytree(tiny_models("llama"), tmp_path / "model")
    make_tokenizer(65).save_pretrained(directory)
    policy = load(str(directory))
    assert len(policy.tokenizer) == policy.embeddings + 1
    assert policy.encode("abc9") == [2, 3, 4, 63]
    with pytest.raises(ModelError, match=r"token 64 \('!'\) in the text has no embedding \(65 tokens for 64"):
        policy.encode("abc!")


def test_an_end_that_the_model_has_not_is_refused(tmp_path: Path, tiny_models) -> None:
    directory = shutil.copytree(tiny_models("llama"), tmp_path / "model")
    settings = json.loads((directory / "generation_config.json").read_text())
    (directory / "generation_config.json").write_text(json.dumps({**settings, "eos_token_id": [0, 64]}))
    with pytest.raises(ModelError, match=r"end-of-text tokens are \[0, 64\]"):
        load(str(directory))


def test_directory_without_tokenizer(tiny_models, tmp_path) -> None:
    """Transformers makes an empty tokenizer of nothing: every prompt would be empty, and every answer wrong."""
    source = tiny_models("qwen2-tied")
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    for load_it in (load, load_tokenizer):
        with pytest.raises(ModelError, match=r"there is no tokenizer \(tokenizer\.json\)"):
            load_it(str(tmp_path))
