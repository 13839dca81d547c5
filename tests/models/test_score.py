"""Scores against the model's own logits, computed whole: values, gradients, chunks, layouts, odd heads."""

import copy
from collections.abc import Callable

import pytest
import torch
from support import ARCHITECTURES, copy_policy, full_scores, random_groups

from simplerl.core.errors import ModelError
from simplerl.core.types import Batch
from simplerl.models import score
from simplerl.models.load import Policy
from simplerl.models.score import Scorer
from simplerl.train.batch import build_batch

MODELS = [*ARCHITECTURES, "cub-qwen", "cub-llama", "cub-mistral"]


@pytest.fixture
def policy_of(tiny: Callable[[str], Policy], cub: Callable[[str], Policy]) -> Callable[[str], Policy]:
    return lambda name: cub(name) if name.startswith("cub") else tiny(name)


@pytest.fixture
def batch() -> Batch:
    return build_batch(random_groups(problems=3, samples=3, longest=20))


def scores(scorer: Scorer, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    return scorer(batch.tokens_BT, batch.mask_BT, batch.lengths_B)[:2]


def gradients(model: torch.nn.Module, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: values.grad.clone() for name, values in model.named_parameters() if values.grad is not None}


def assert_same_gradients(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    largest = max(float(values.abs().max()) for values in wanted.values())
    assert largest > 1e-3
    for name, values in wanted.items():
        torch.testing.assert_close(
            found[name], values, rtol=1e-4, atol=1e-5 * largest, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("name", MODELS)
def test_values_and_gradients_against_whole_logits(name: str, temperature: float, policy_of, batch: Batch) -> None:
    """With another weight on every token, so that no error can hide in a sum."""
    model = policy_of(name).model
    weights_BT, shares_BT = torch.randn(batch.tokens_BT.shape), torch.randn(batch.tokens_BT.shape)
    wanted = full_scores(model, batch.tokens_BT, batch.mask_BT, temperature)
    found = scores(Scorer(model, temperature=temperature), batch)
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[1], wanted[1], rtol=1e-4, atol=1e-4)
    assert_same_gradients(
        gradients(model, (weights_BT * found[0] + shares_BT * found[1]).sum()),
        gradients(model, (weights_BT * wanted[0] + shares_BT * wanted[1]).sum()),
    )


@pytest.mark.parametrize("name", ["llama", "gemma2"])
@pytest.mark.parametrize("masked", [False, True])
def test_a_nucleus_against_whole_logits(masked: bool, name: str, tiny, batch: Batch) -> None:
    """The set is fixed by the values, so that a plain log-softmax over it is the second implementation.

    It is the model's own, or that of a mask, which here is another model.
    """
    model, top_p = tiny(name).model, 0.6
    scorer = Scorer(model, temperature=0.7)
    scorer.top_p = top_p
    logits_BTV = model(input_ids=batch.tokens_BT, use_cache=False).logits.float() / 0.7
    logits_BTV = torch.cat([torch.zeros_like(logits_BTV[:, :1]), logits_BTV[:, :-1]], 1)
    whose_BTV = logits_BTV
    if masked:
        other = copy.deepcopy(model)
        with torch.no_grad():
            for values in other.parameters():
                values += 0.1 * torch.randn(values.shape)
        scorer.mask = Scorer(other)
        whose_BTV = other(input_ids=batch.tokens_BT, use_cache=False).logits.detach().float() / 0.7
        whose_BTV = torch.cat([torch.zeros_like(whose_BTV[:, :1]), whose_BTV[:, :-1]], 1)
    order_BTV = whose_BTV.argsort(-1, descending=True)
    shares_BTV = whose_BTV.softmax(-1).gather(-1, order_BTV)
    inside_BTV = torch.zeros_like(logits_BTV).scatter(
        -1, order_BTV, (shares_BTV.cumsum(-1) - shares_BTV < top_p).float()
    )
    inside_BTV.scatter_(-1, batch.tokens_BT[..., None], 1.0)
    assert inside_BTV[batch.mask_BT].mean() < 0.7
    whole_BTV = logits_BTV.masked_fill(inside_BTV == 0, -torch.inf).log_softmax(-1)
    wanted_BT = whole_BTV.gather(-1, batch.tokens_BT[..., None]).squeeze(-1) * batch.mask_BT
    finite_BTV = whole_BTV.clamp(min=-1e4)
    entropy_BT = -(finite_BTV.exp() * finite_BTV).sum(-1) * batch.mask_BT
    weights_BT, shares_BT = torch.randn(batch.tokens_BT.shape), torch.randn(batch.tokens_BT.shape)
    found = scores(scorer, batch)
    torch.testing.assert_close(found[0], wanted_BT, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[1], entropy_BT, rtol=1e-4, atol=1e-4)
    assert_same_gradients(
        gradients(model, (weights_BT * found[0] + shares_BT * found[1]).sum()),
        gradients(model, (weights_BT * wanted_BT + shares_BT * entropy_BT).sum()),
    )


def test_a_nucleus_of_all_is_the_complete_distribution_bit_for_bit(tiny, batch: Batch) -> None:
    """NLPO with p = 1 is PPO."""
    model = tiny("llama").model
    scorer = Scorer(model)
    wanted = scores(scorer, batch)
    scorer.top_p = 1.0
    assert all(map(torch.equal, scores(scorer, batch), wanted))
    scorer.top_p = 0.9
    assert not torch.equal(scores(scorer, batch)[0], wanted[0])


@pytest.mark.parametrize("name", ["llama", "gemma2", "phi", "cohere", "granite", "qwen2-tied"])
@pytest.mark.parametrize("elements", [1, 64, 64 * 7, 64 * 1000])
def test_chunks_change_nothing(elements: int, name: str, tiny, batch: Batch, monkeypatch) -> None:
    """One token at a time, seven at a time (which does not divide their number), all at once."""
    model = tiny(name).model
    assert int(batch.mask_BT.sum()) % 7
    wanted = scores(Scorer(model), batch)
    whole = gradients(model, (wanted[0] * 0.3 + wanted[1]).sum())
    monkeypatch.setattr(score, "CHUNK_ELEMENTS", elements)
    found = scores(Scorer(model), batch)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert_same_gradients(gradients(model, (found[0] * 0.3 + found[1]).sum()), whole)


def test_no_more_than_a_chunk_of_logits_is_held(tiny, batch: Batch, monkeypatch) -> None:
    model = tiny("llama").model
    monkeypatch.setattr(score, "CHUNK_ELEMENTS", 64 * 5)
    scorer = Scorer(model)
    rows: list[int] = []
    real = scorer.head.logits
    monkeypatch.setattr(scorer.head, "logits", lambda hidden: rows.append(len(hidden)) or real(hidden))
    found = scores(scorer, batch)[0]
    forward = len(rows)
    found.sum().backward()
    assert max(rows) == 5
    assert sum(rows[:forward]) == sum(rows[forward:]) == int(batch.mask_BT.sum()), "only the tokens asked for"


@pytest.mark.parametrize("name", ["llama", "qwen2-tied", "gpt2", "phi", "gemma2", "cub-qwen"])
def test_packed_rows_score_as_padded_ones(name: str, policy_of, batch: Batch) -> None:
    """What flash attention gets: one row, in which positions start again. The eager mask keeps the rows apart, too."""
    model = policy_of(name).model
    scorer = Scorer(model)
    wanted = scores(scorer, batch)
    whole = gradients(model, wanted[0].sum() + wanted[1].sum())
    seen: list[tuple[int, ...]] = []
    model.base_model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    scorer.packs = True
    found = scores(scorer, batch)
    assert seen == [(1, int(batch.lengths_B.sum()))], "one row without padding"
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert_same_gradients(gradients(model, found[0].sum() + found[1].sum()), whole)


def test_loss_mask_may_have_holes(tiny, batch: Batch) -> None:
    model = tiny("llama").model
    mask_BT = batch.mask_BT & (torch.rand(batch.mask_BT.shape) < 0.5)
    wanted = full_scores(model, batch.tokens_BT, mask_BT)
    found = Scorer(model)(batch.tokens_BT, mask_BT, batch.lengths_B)
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-4, atol=1e-4)
    assert (found[0][~mask_BT] == 0).all()
    assert (found[1][~mask_BT] == 0).all()


def test_entropy_by_hand(tiny, batch: Batch) -> None:
    """A head of zeros is uniform: log 64 nats, and −log 64 for every token."""
    model = tiny("llama").model
    with torch.no_grad():
        model.get_output_embeddings().weight.zero_()
    logprobs_BT, entropy_BT = scores(Scorer(model), batch)
    uniform = torch.log(torch.tensor(64.0)).item()
    assert entropy_BT[batch.mask_BT].tolist() == pytest.approx([uniform] * int(batch.mask_BT.sum()), rel=1e-5)
    assert logprobs_BT[batch.mask_BT].tolist() == pytest.approx([-uniform] * int(batch.mask_BT.sum()), rel=1e-5)


def test_forbidden_tokens_do_not_make_nan(tiny, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bias of −∞ forbids a token: probability 0, nothing to the entropy, no NaN in any gradient."""
    model = tiny("phi").model
    with torch.no_grad():
        model.lm_head.bias[1] = -torch.inf
    # The comparison with the model's own logits would subtract infinities.
    monkeypatch.setattr(Scorer, "_compare_with_model", lambda self: None)
    scorer = Scorer(model)
    found = scores(scorer, batch)
    assert torch.isfinite(found[1]).all()
    found_gradients = gradients(model, found[0].sum() + found[1].sum())
    assert all(torch.isfinite(values).all() for values in found_gradients.values())


def test_model_with_logits_of_its_own_is_refused(tiny) -> None:
    """A wrapper that changes the logits in a way we do not know would be scored wrongly: it is not scored at all."""
    model = copy_policy(tiny("llama")).model
    real = model.forward

    def forward(*args, **kwargs):
        output = real(*args, **kwargs)
        output.logits = output.logits * 1.5
        return output

    model.forward = forward
    with pytest.raises(ModelError, match="does something to its logits"):
        Scorer(model)


def test_half_the_precision_is_half_the_precision_only_in_the_backbone(cub, batch: Batch) -> None:
    model = cub("cub-qwen").model
    exact, rough = scores(Scorer(model), batch)[0], scores(Scorer(model, precision="bf16"), batch)[0]
    assert rough.dtype == torch.float32
    distance = (exact - rough)[batch.mask_BT].abs()
    assert 0 < float(distance.detach().mean()) < 0.15
