"""The forward for sampling: what the model's own computes, or none at all."""

import platform
from collections.abc import Callable

import numpy as np
import pytest
import torch
from support import ARCHITECTURES

from simplerl.models import decoder as decoder_module
from simplerl.models.decoder import Decoder, product
from simplerl.models.load import Policy, load
from simplerl.models.score import text_logprobs
from simplerl.rollout import open_backend
from simplerl.rollout.backend import Request, Sampling

CUBS = ["cub-hasty", "cub-qwen", "cub-llama", "cub-calculator", "cub-stack"]


def sampled(backend) -> list[tuple[list[int], np.ndarray]]:
    """Return tokens and log-probabilities of twelve responses to prompts of unlike length, the first of one token."""
    prompts = [np.arange(5, 6 + 4 * number, dtype=np.int32) for number in range(4)]
    requests = [Request(prompt_ids=prompt, noise_key=number) for number, prompt in enumerate(prompts * 3)]
    answers = dict(backend.generate(requests, Sampling(max_new_tokens=24)))
    return [(answers[number].token_ids.tolist(), answers[number].logprobs) for number in range(len(requests))]


@pytest.fixture
def larger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the cubs treated as larger models are: their weights are copied in another order."""
    for module in ("models.decoder", "rollout.native"):
        monkeypatch.setattr(f"simplerl.{module}.SMALL_MODEL", 0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", CUBS)
def test_samples_what_the_model_itself_does(name: str, precision: str) -> None:
    check_samples(name, precision)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["cub-hasty", "cub-llama"])
def test_a_larger_model_samples_what_it_itself_does(name: str, precision: str, larger: None) -> None:
    check_samples(name, precision)


def check_samples(name: str, precision: str) -> None:
    """Compare with the model's own forward, then again after its weights have changed in place."""
    policy = load(name)
    backend = open_backend("native", policy, precision=precision)
    assert backend.decoder is not None
    found, decoder = sampled(backend), backend.decoder
    backend.decoder = None
    wanted = sampled(backend)
    with torch.no_grad():
        for module in (backend.model.model.layers[1].mlp.up_proj, backend.model.get_output_embeddings()):
            module.weight.mul_(1.5)
    backend.decoder = decoder
    found += sampled(backend)
    backend.decoder = None
    wanted += sampled(backend)
    assert wanted[:12] != wanted[12:]
    if precision == "fp32":
        assert [tokens for tokens, _ in found] == [tokens for tokens, _ in wanted]
        for (_, own), (_, theirs) in zip(found, wanted, strict=True):
            np.testing.assert_allclose(own, theirs, atol=2e-5)
    same = sum(own == theirs for (own, _), (theirs, _) in zip(found, wanted, strict=True))
    assert same >= 20, "bf16 rounds at the same places"


def test_every_architecture_has_one_that_agrees_or_none(tiny: Callable[[str], Policy]) -> None:
    kinds = {name: Decoder.of(tiny(name).model) for name in ARCHITECTURES}
    assert {"gpt2", "gemma2", "phi", "mistral-sliding"} <= {name for name, decoder in kinds.items() if decoder is None}
    tokens_RT = torch.arange(4, 24).view(2, 10)
    for name, decoder in kinds.items():
        if decoder is not None:
            model = tiny(name).model.eval()
            with torch.no_grad():
                own_RTH = model.base_model(input_ids=tokens_RT, use_cache=False).last_hidden_state
            torch.testing.assert_close(Decoder(model).states(tokens_RT), own_RTH, rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.parametrize("change", ["optimizer", "copy", "replaced"])
def test_changed_weights_are_read_again(change: str) -> None:
    """In place, as an optimizer does it; by a sync; and where a parameter is another tensor."""
    model = load("cub-qwen").model
    decoder, ids = Decoder.of(model), list(range(5, 25))
    assert decoder is not None
    before = text_logprobs(model, ids, decoder.states)
    weight = model.model.layers[1].mlp.up_proj.weight
    with torch.no_grad():
        if change == "optimizer":
            weight.grad = torch.ones_like(weight)
            torch.optim.AdamW([weight], lr=0.05, fused=True).step()
        elif change == "copy":
            weight.copy_(weight * 1.5)
        else:
            model.model.layers[1].mlp.up_proj.weight = torch.nn.Parameter(weight * 1.5)
    after = text_logprobs(model, ids, decoder.states)
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(after, text_logprobs(model, ids), atol=2e-5)


def test_a_model_that_does_something_else_keeps_its_own_forward() -> None:
    """Parts of the same names and shapes whose forward is another's."""
    model = load("cub-qwen").model
    assert Decoder.of(model) is not None
    norm = model.model.layers[0].input_layernorm
    norm.forward = lambda states, forward=norm.forward: forward(states) * 1.1
    assert Decoder.of(model) is None
    model = load("cub-qwen").model
    model.config.rope_parameters = {**model.config.rope_parameters, "rope_type": "dynamic"}
    assert Decoder.of(model) is None


def test_a_response_may_be_longer_than_the_angles_made_before(tiny: Callable[[str], Policy]) -> None:
    """Angles are made for twice the columns that are there, and again."""
    policy = load("cub-qwen")
    decoder = Decoder.of(policy.model)
    assert decoder is not None
    for length in (3, 40, 200):
        tokens_1T = torch.arange(length)[None] % 300
        with torch.no_grad():
            own = policy.model.eval().base_model(input_ids=tokens_1T, use_cache=False).last_hidden_state
        torch.testing.assert_close(decoder.states(tokens_1T), own, rtol=1e-4, atol=1e-4)


def test_two_threads_that_make_angles_each_have_enough(monkeypatch) -> None:
    decoder = Decoder.of(load("cub-qwen").model)
    assert decoder is not None
    shorter_2ND, forward = decoder._rotation(12), decoder.backbone.rotary_emb.forward

    def between(*arguments):
        theirs = property(lambda _: shorter_2ND, lambda *_: None)
        monkeypatch.setattr(Decoder, "_angles_2ND", theirs, raising=False)
        return forward(*arguments)

    monkeypatch.setattr(decoder.backbone.rotary_emb, "forward", between)
    assert decoder._rotation(100).shape[1] >= 100


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_in_another_order_give_the_same_products_or_are_left_as_they_are(dtype, monkeypatch) -> None:
    """The operators are PyTorch's own: a version or processor may not have them, or err."""
    weight, bias, states = torch.randn(48, 32).to(dtype), torch.randn(48, 2)[:, 0], torch.randn(5, 1, 32)
    if dtype == torch.float32 and platform.machine() == "x86_64":
        assert decoder_module._can_pack(dtype)
    wanted = torch.nn.functional.linear(states.to(dtype), weight, bias.to(dtype))
    torch.testing.assert_close(product(weight, bias, packs=True)(states), wanted, rtol=2e-2, atol=2e-2)
    for made in (lambda *_: 1 / torch.tensor("no such operator"), lambda states, *_: torch.zeros(len(states), 48)):
        monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", made)
        decoder_module._can_pack.cache_clear()
        assert torch.equal(product(weight, bias, packs=True)(states), wanted)
    decoder_module._can_pack.cache_clear()
