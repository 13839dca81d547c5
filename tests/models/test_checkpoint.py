"""Checkpoints: everything comes back, bit for bit, and transformers can load them."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from simplerl.models import checkpoint
from simplerl.models.load import load


def test_weights_and_moments_come_back(tmp_path: Path, tiny) -> None:
    policy = tiny("qwen2-tied")
    optimizer = torch.optim.AdamW(policy.model.parameters(), lr=0.1)
    tokens = torch.arange(4, 30)[None]

    def step(model, optimizer) -> None:
        model(tokens, labels=tokens).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    step(policy.model, optimizer)
    directory = tmp_path / "checkpoint"
    state = {"step": 3, "epoch": 0.25}
    checkpoint.snapshot(model=policy.model, tokenizer=policy.tokenizer, optimizer=optimizer, state=state)(directory)
    again = load(str(directory))
    fresh = torch.optim.AdamW(again.model.parameters(), lr=0.1)
    saved = checkpoint.Saved(directory)
    saved.load_optimizer(fresh)
    for (name, values), other in zip(policy.model.named_parameters(), again.model.parameters(), strict=True):
        assert torch.equal(values, other), name
    assert {key: saved.state()[key] for key in state} == state
    # Another step from here is the step that the original would have done.
    step(policy.model, optimizer)
    step(again.model, fresh)
    for (name, values), other in zip(policy.model.named_parameters(), again.model.parameters(), strict=True):
        assert torch.equal(values, other), name


def test_it_is_a_model_directory_like_any_other(tmp_path: Path, tiny) -> None:
    policy = tiny("gemma2")
    optimizer = torch.optim.AdamW(policy.model.parameters())
    checkpoint.snapshot(model=policy.model, tokenizer=policy.tokenizer, optimizer=optimizer, state={})(tmp_path / "c")
    assert (tmp_path / "c" / "model.safetensors").is_file()
    attention = policy.model.config._attn_implementation
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "c", attn_implementation=attention)
    tokens = torch.arange(4, 30)[None]
    with torch.no_grad():
        assert torch.equal(model.eval()(tokens).logits, policy.model.eval()(tokens).logits)
    assert AutoTokenizer.from_pretrained(tmp_path / "c").encode("abc") == policy.encode("abc")
