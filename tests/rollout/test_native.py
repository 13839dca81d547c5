"""The native backend: the same request gives the same answer, drawn from the distribution that it reports."""

import dataclasses
import gc
import itertools
import threading
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import scipy.stats
import torch
from support import ARCHITECTURES, copy_policy, full_scores

from simplerl.core.errors import ModelError
from simplerl.core.seeds import derive
from simplerl.core.types import Completion
from simplerl.models import decoder
from simplerl.models.load import Policy, cache_argument, load
from simplerl.models.score import Scorer, text_logprobs
from simplerl.models.text import decode
from simplerl.rollout import BACKENDS, native, open_backend
from simplerl.rollout.backend import Request, RolloutBackend, Sampling
from simplerl.rollout.native import draw, truncate

MODELS = [*ARCHITECTURES, "cub-qwen", "cub-llama", "cub-mistral"]


@pytest.fixture
def policy_of(tiny: Callable[[str], Policy], cub: Callable[[str], Policy]) -> Callable[[str], Policy]:
    return lambda name: cub(name) if name.startswith("cub") else tiny(name)


def prompts_of(policy: Policy, count: int = 4) -> list[np.ndarray]:
    """Return prompts of different lengths, the shortest of one token."""
    rng = np.random.default_rng(3)
    size = policy.model.get_input_embeddings().weight.shape[0]
    return [rng.integers(4, size, length).astype(np.int32) for length in (5, 1, 13, 9, 7, 3)[:count]]


def requests_of(prompts: Sequence[np.ndarray], samples: int = 3) -> list[Request]:
    return [
        Request(prompt_ids=prompt, noise_key=derive(0, "test", place, sample))
        for place, prompt in enumerate(prompts)
        for sample in range(samples)
    ]


def answers(backend: RolloutBackend, requests: Sequence[Request], sampling: Sampling) -> list[Completion]:
    found = dict(backend.generate(requests, sampling))
    assert sorted(found) == list(range(len(requests))), "each request is answered exactly once"
    return [found[index] for index in range(len(requests))]


def assert_same(found: Completion, wanted: Completion) -> None:
    assert found.token_ids.tolist() == wanted.token_ids.tolist()
    assert found.text == wanted.text
    assert found.stop_reason == wanted.stop_reason
    np.testing.assert_allclose(found.logprobs, wanted.logprobs, atol=2e-4)


# -- the same request, the same answer -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_alone_or_in_any_batch(name: str, policy_of: Callable[[str], Policy]) -> None:
    policy = policy_of(name)
    requests = requests_of(prompts_of(policy))
    (first,) = answers(open_backend("native", policy), requests[:1], Sampling(max_new_tokens=24))
    sampling = Sampling(max_new_tokens=24, stop_ids=(int(first.token_ids[5]),))  # Not every tiny model ends by itself.
    wanted = answers(open_backend("native", policy), requests, sampling)
    assert len({len(w.token_ids) for w in wanted}) > 1, "some rows have to leave before others"
    for index in range(0, len(requests), 3):
        (alone,) = answers(open_backend("native", policy), [requests[index]], sampling)
        assert_same(alone, wanted[index])
    order = np.random.default_rng(0).permutation(len(requests))
    shuffled = answers(open_backend("native", policy), [requests[i] for i in order], sampling)
    for place, index in enumerate(order):
        assert_same(shuffled[place], wanted[index])
    # Waves of five rows, and a prefill that takes one prompt at a time.
    for found, expected in zip(
        answers(open_backend("native", policy, max_rows=5, prefill_tokens=1), requests, sampling), wanted, strict=True
    ):
        assert_same(found, expected)


@pytest.mark.parametrize("sampling", [Sampling(max_new_tokens=20, top_p=0.7), Sampling(max_new_tokens=20, top_k=5)])
def test_truncated_distributions_too(sampling: Sampling, tiny: Callable[[str], Policy]) -> None:
    policy = tiny()
    requests = requests_of(prompts_of(policy))
    wanted = answers(open_backend("native", policy), requests, sampling)
    for index, request in enumerate(requests):
        assert_same(answers(open_backend("native", policy), [request], sampling)[0], wanted[index])


def test_longer_limit_extends_the_same_answer(tiny: Callable[[str], Policy]) -> None:
    """The noise of a token does not depend on how many may follow."""
    policy = tiny()
    requests = requests_of(prompts_of(policy))
    short = answers(open_backend("native", policy), requests, Sampling(max_new_tokens=4))
    long = answers(open_backend("native", policy), requests, Sampling(max_new_tokens=30))
    assert any(len(answer.token_ids) > 4 for answer in long)
    for one, other in zip(short, long, strict=True):
        assert other.token_ids[:4].tolist() == one.token_ids.tolist()


def test_other_noise_gives_other_answers(tiny: Callable[[str], Policy]) -> None:
    policy = tiny()
    prompt = prompts_of(policy)[0]
    requests = [Request(prompt_ids=prompt, noise_key=derive(0, "test", i)) for i in range(20)]
    found = answers(open_backend("native", policy), requests, Sampling(max_new_tokens=8))
    assert len({tuple(answer.token_ids.tolist()) for answer in found}) == 20


# -- greedy ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_greedy_equals_transformers(name: str, policy_of: Callable[[str], Policy]) -> None:
    policy = policy_of(name)
    prompts = prompts_of(policy, 6)
    found = answers(
        open_backend("native", policy), requests_of(prompts, 1), Sampling(temperature=0.0, max_new_tokens=20)
    )
    for prompt, answer in zip(prompts, found, strict=True):
        wanted = policy.model.generate(
            torch.from_numpy(prompt.astype(np.int64))[None],
            do_sample=False,
            max_new_tokens=20,
            eos_token_id=sorted(policy.stop_ids),
            pad_token_id=1,
        )[0, len(prompt) :]
        assert answer.token_ids.tolist() == wanted.tolist()


# -- the reported distribution is the sampled one --------------------------------------------------------------------


def scored(policy: Policy, request: Request, answer: Completion, temperature: float) -> np.ndarray:
    """Return the log-probabilities of an answer, computed the plain way."""
    tokens_BT = torch.from_numpy(np.concatenate([request.prompt_ids, answer.token_ids]).astype(np.int64))[None]
    with torch.no_grad():
        logprobs_BT, _ = full_scores(policy.model, tokens_BT, torch.ones_like(tokens_BT, dtype=torch.bool), temperature)
    return logprobs_BT[0, len(request.prompt_ids) :].numpy()


@pytest.mark.parametrize("temperature", [1.0, 0.6, 1.4])
@pytest.mark.parametrize("name", MODELS)
def test_logprobs_are_those_of_the_scored_text(name: str, temperature: float, policy_of) -> None:
    policy = policy_of(name)
    requests = requests_of(prompts_of(policy), 2)
    found = answers(open_backend("native", policy), requests, Sampling(temperature=temperature, max_new_tokens=20))
    for request, answer in zip(requests, found, strict=True):
        np.testing.assert_allclose(answer.logprobs, scored(policy, request, answer, temperature), atol=5e-4)


@pytest.mark.parametrize(("top_k", "top_p"), [(3, 1.0), (0, 0.5), (6, 0.8)])
def test_logprobs_are_renormalised_after_truncation(top_k: int, top_p: float, tiny: Callable[[str], Policy]) -> None:
    policy = tiny()
    request = requests_of(prompts_of(policy, 1), 1)[0]
    sampling = Sampling(top_k=top_k, top_p=top_p, max_new_tokens=30)
    (answer,) = answers(open_backend("native", policy), [request], sampling)
    tokens = [*request.prompt_ids.tolist(), *answer.token_ids.tolist()]
    with torch.no_grad():
        logits_TV = policy.model(torch.tensor([tokens])).logits[0].double()
    for place, (token, logprob) in enumerate(zip(answer.token_ids.tolist(), answer.logprobs.tolist(), strict=True)):
        probabilities = logits_TV[len(request.prompt_ids) + place - 1].softmax(-1).numpy()
        allowed = exact_nucleus(probabilities, top_k, top_p)
        assert token in allowed
        assert logprob == pytest.approx(np.log(probabilities[token] / probabilities[allowed].sum()), abs=5e-4)


def exact_nucleus(probabilities: np.ndarray, top_k: int, top_p: float) -> list[int]:
    """Return the tokens that may be drawn: the k likeliest, and of those, renormalised, the nucleus."""
    order = np.argsort(-probabilities)[: top_k or None]
    shares = probabilities[order] / probabilities[order].sum()
    return order[: int(np.searchsorted(np.cumsum(shares), top_p - 1e-9)) + 1].tolist()


LOGITS = torch.tensor([[2.0, -1.0, 0.5, 0.0, 1.0, -torch.inf]])


@pytest.mark.parametrize(
    "sampling",
    [Sampling(), Sampling(temperature=0.5), Sampling(top_k=3), Sampling(top_p=0.8), Sampling(top_k=4, top_p=0.9)],
)
def test_inversion_gives_each_token_its_share(sampling: Sampling) -> None:
    """Over a fine grid of quantiles every token comes up in exact proportion, and its log-probability says so."""
    count = 20_000
    uniform = (torch.arange(count) + 0.5) / count
    tokens, logprobs, entropies = draw(LOGITS.expand(count, -1), uniform, sampling)
    probabilities = (LOGITS[0].double() / sampling.temperature).softmax(-1).numpy()
    allowed = exact_nucleus(probabilities, sampling.top_k, sampling.top_p)
    exact = np.zeros(6)
    exact[allowed] = probabilities[allowed] / probabilities[allowed].sum()
    np.testing.assert_allclose(np.bincount(tokens.numpy(), minlength=6) / count, exact, atol=2 / count)
    np.testing.assert_allclose(logprobs.numpy(), np.log(exact[tokens.numpy()]), atol=1e-5)
    entropy = -sum(p * np.log(p) for p in exact if p > 0)
    np.testing.assert_allclose(entropies.numpy(), entropy, atol=1e-5)


def test_a_greedy_choice_has_no_entropy() -> None:
    token, logprob, entropy = draw(LOGITS, torch.zeros(1), Sampling(temperature=0.0))
    assert (token.item(), logprob.item(), entropy.item()) == (0, 0.0, 0.0)


def test_edges_of_the_unit_interval_never_give_a_forbidden_token() -> None:
    logits = torch.tensor([[-torch.inf, 1.0, 1.0, -torch.inf]]).expand(3, -1)
    tokens, _, _ = draw(logits, torch.tensor([0.0, 0.5, 1 - 2**-24]), Sampling())
    assert tokens.tolist() == [1, 2, 2]


def test_nucleus_keeps_the_likeliest_token_however_small_top_p() -> None:
    kept = truncate(torch.tensor([[0.5, 0.3, 0.2]]).log(), top_k=0, top_p=1e-9)
    assert kept.exp().tolist() == [[1.0, 0.0, 0.0]]


def test_the_nucleus_of_another_model_is_a_mask() -> None:
    """Its tokens stay, with the policy's own probabilities, renormalised, however unlikely they are for it."""
    own, other = torch.tensor([[0.5, 0.3, 0.2]]).log(), torch.tensor([[0.1, 0.2, 0.7]]).log()
    for top_p, wanted in ((0.6, [0.0, 0.0, 1.0]), (0.8, [0.0, 0.6, 0.4]), (0.95, [0.5, 0.3, 0.2])):
        torch.testing.assert_close(truncate(own, top_k=0, top_p=top_p, other_RV=other).exp(), torch.tensor([wanted]))
    token, logprob, _ = draw(own, torch.tensor([0.59]), Sampling(top_p=0.8, masked=True), other)
    assert token.item() == 1
    assert logprob.item() == pytest.approx(np.log(0.6))


def test_nucleus_stops_as_soon_as_it_is_reached() -> None:
    logprobs = torch.tensor([[0.5, 0.3, 0.2]]).log()
    assert truncate(logprobs, top_k=0, top_p=0.49).isfinite().sum() == 1
    assert truncate(logprobs, top_k=0, top_p=0.51).isfinite().sum() == 2
    assert truncate(logprobs, top_k=0, top_p=0.81).isfinite().sum() == 3


@pytest.mark.parametrize(
    "sampling",
    [Sampling(max_new_tokens=1), Sampling(max_new_tokens=1, top_k=8), Sampling(max_new_tokens=1, top_p=0.6)],
)
def test_frequencies_fit_the_distribution(sampling: Sampling, tiny: Callable[[str], Policy]) -> None:
    """Whole path, addressed noise included: a χ² test of 4,000 draws against exact probabilities."""
    policy = tiny()
    prompt = prompts_of(policy)[0]
    requests = [Request(prompt_ids=prompt, noise_key=derive(5, "chi-square", i)) for i in range(4000)]
    found = answers(open_backend("native", policy, max_rows=4000), requests, sampling)
    counts = np.bincount([int(answer.token_ids[0]) for answer in found], minlength=64)
    with torch.no_grad():
        last = policy.model(torch.from_numpy(prompt.astype(np.int64))[None]).logits[0, -1].double()
    probabilities = last.softmax(-1).numpy()
    allowed = exact_nucleus(probabilities, sampling.top_k, sampling.top_p)
    assert counts[[token for token in range(64) if token not in allowed]].sum() == 0
    expected = 4000 * probabilities[allowed] / probabilities[allowed].sum()
    common = expected >= 5
    observed = [*counts[allowed][common], counts[allowed][~common].sum()]
    wanted = [*expected[common], expected[~common].sum()]
    if wanted[-1] == 0:
        observed, wanted = observed[:-1], wanted[:-1]
    assert scipy.stats.chisquare(observed, wanted).pvalue > 1e-3


# -- how a response ends ---------------------------------------------------------------------------------------------


def test_end_token_closes_the_response_and_is_kept(tiny: Callable[[str], Policy]) -> None:
    policy = tiny()
    found = answers(open_backend("native", policy), requests_of(prompts_of(policy), 8), Sampling(max_new_tokens=40))
    ended = [answer for answer in found if answer.stop_reason == "eos"]
    cut = [answer for answer in found if answer.stop_reason == "length"]
    assert len(ended) + len(cut) == len(found)
    assert ended
    assert cut
    for answer in ended:
        assert answer.token_ids[-1] == 0
        assert 0 not in answer.token_ids[:-1]
        assert answer.text == decode(policy.tokenizer, answer.token_ids[:-1].tolist())
    for answer in cut:
        assert len(answer.token_ids) == 40
        assert 0 not in answer.token_ids


def test_every_end_token_of_the_generation_config_ends(tiny_models, tmp_path) -> None:
    from simplerl.models.load import load

    policy = load(str(tiny_models("llama")))
    likeliest = answers(open_backend("native", policy), requests_of(prompts_of(policy), 8), Sampling(max_new_tokens=40))
    tokens = np.concatenate([answer.token_ids for answer in likeliest])
    second = int(np.bincount(tokens[tokens > 1]).argmax())
    policy.model.generation_config.eos_token_id = [0, second]
    policy.model.save_pretrained(tmp_path)
    policy.tokenizer.save_pretrained(tmp_path)
    again = load(str(tmp_path))
    assert again.stop_ids == {0, second}
    found = answers(open_backend("native", again), requests_of(prompts_of(policy), 8), Sampling(max_new_tokens=40))
    assert any(answer.token_ids[-1] == second and answer.stop_reason == "eos" for answer in found)
    assert not any(second in answer.token_ids[:-1] for answer in found)


def test_stop_string_ends_the_response_where_it_is_complete(tiny: Callable[[str], Policy]) -> None:
    policy = tiny()
    requests = requests_of(prompts_of(policy, 1), 30)
    free = answers(open_backend("native", policy), requests, Sampling(max_new_tokens=40))
    # One in which every token is a character: then places in the text are places among the tokens.
    request, whole = next(
        (r, a) for r, a in zip(requests, free, strict=True) if len(a.text) >= 12 and min(a.token_ids[:-1]) > 1
    )
    stop = whole.text[6:9]
    (stopped,) = answers(open_backend("native", policy), [request], Sampling(max_new_tokens=40, stop=("never", stop)))
    end = whole.text.find(stop)
    assert stopped.stop_reason == "stop"
    assert stopped.text == whole.text[:end]
    assert stopped.token_ids.tolist() == whole.token_ids[: end + 3].tolist()
    assert len(stopped.logprobs) == end + 3


def test_stop_string_across_tokens_and_inside_one(cub: Callable[[str], Policy]) -> None:
    """Byte-level tokens hold several characters: the text is cut at the string, the tokens where it was complete."""
    policy = cub("cub-llama")
    prompt = np.array(policy.encode("Question: What is 3+4?\nAnswer:"), dtype=np.int32)
    requests = [Request(prompt_ids=prompt, noise_key=derive(1, "stop", i)) for i in range(16)]
    free = answers(open_backend("native", policy), requests, Sampling(max_new_tokens=40))
    found = answers(open_backend("native", policy), requests, Sampling(max_new_tokens=40, stop=("nswer i",)))
    assert sum("nswer i" in answer.text for answer in free) >= 4
    for one, other in zip(found, free, strict=True):
        assert one.text == other.text.split("nswer i")[0]
        assert (one.stop_reason == "stop") == ("nswer i" in other.text)
        if one.stop_reason == "stop":
            assert "nswer i" in decode(policy.tokenizer, one.token_ids.tolist())
            assert "nswer i" not in decode(policy.tokenizer, one.token_ids[:-1].tolist())


def test_stop_string_that_is_a_special_token(cub: Callable[[str], Policy]) -> None:
    """SimpleRL-Zoo stops Qwen models at `<|im_end|>`, which no decoded text shows."""
    policy = cub("cub-qwen")
    head = policy.model.get_output_embeddings()
    end = policy.encode("<|im_end|>")
    assert len(end) == 1
    with torch.no_grad():  # A model that says nothing else.
        head.weight[end[0]] = 100 * head.weight.abs().mean() * torch.sign(head.weight[5])
    prompt = np.array(policy.encode("Question: What is 3+4?\nAnswer:"), dtype=np.int32)
    requests = [Request(prompt_ids=prompt, noise_key=derive(2, "stop", i)) for i in range(40)]
    found = answers(
        open_backend("native", policy), requests, Sampling(temperature=3.0, max_new_tokens=30, stop=("<|im_end|>",))
    )
    said = [answer for answer in found if end[0] in answer.token_ids.tolist()]
    assert said
    for answer in said:
        assert answer.token_ids.tolist().index(end[0]) == len(answer.token_ids) - 1
        assert answer.stop_reason in ("stop", "eos")


def test_stop_id_ends_a_response_and_is_no_part_of_its_text(tiny: Callable[[str], Policy]) -> None:
    policy = tiny()
    requests = requests_of(prompts_of(policy), 100)
    free = answers(open_backend("native", policy), requests, Sampling(max_new_tokens=24))
    found = answers(open_backend("native", policy), requests, Sampling(max_new_tokens=24, stop_ids=(9, 11)))
    stopped = 0
    for one, other in zip(free, found, strict=True):
        tokens = one.token_ids.tolist()
        places = [i for i, token in enumerate(tokens) if token in (9, 11)]
        wanted = tokens[: places[0] + 1] if places else tokens
        assert other.token_ids.tolist() == wanted
        if places:
            stopped += 1
            assert other.stop_reason == "stop"
            assert other.text == decode(policy.tokenizer, tokens[: places[0]])
    assert stopped > 20


def test_one_token_is_enough_to_end(tiny: Callable[[str], Policy]) -> None:
    policy = tiny()
    found = answers(open_backend("native", policy), requests_of(prompts_of(policy), 200), Sampling(max_new_tokens=1))
    assert {answer.stop_reason for answer in found} == {"eos", "length"}
    for answer in found:
        assert len(answer.token_ids) == len(answer.logprobs) == 1
        assert (answer.token_ids[0] == 0) == (answer.stop_reason == "eos")


# -- economy ---------------------------------------------------------------------------------------------------------


def test_prompts_are_run_once_and_finished_rows_leave(tiny: Callable[[str], Policy]) -> None:
    policy = tiny()
    seen: list[tuple[int, int]] = []
    prompts, backend = prompts_of(policy), open_backend("native", policy)
    backend.decoder = None  # The model's own forward is what the hook sees.
    policy.model.base_model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    found = answers(backend, requests_of(prompts, 10), Sampling(max_new_tokens=60))
    assert seen[0] == (4, max(map(len, prompts))), "four prompts for forty responses"
    rows = [shape[0] for shape in seen[1:]]
    assert rows == sorted(rows, reverse=True)
    assert rows[0] <= 40
    # A row may stay while fewer than a tenth have finished: allow for that, and no more.
    decoded = sum(len(answer.token_ids) - 1 for answer in found)
    assert decoded <= sum(rows) <= 1.15 * decoded + 40


@pytest.mark.parametrize("leaves", [False, True])
def test_a_tiny_model_samples_by_one_thread(leaves: bool, tiny: Callable[[str], Policy]) -> None:
    """And those that there were are there again, also where nobody takes the rest."""
    policy, usual, seen = tiny(), torch.get_num_threads(), set[int]()
    backend = open_backend("native", policy)
    backend.between_tokens = lambda: seen.add(torch.get_num_threads())
    try:
        torch.set_num_threads(3)
        responses = backend.generate(requests_of(prompts_of(policy), 2), Sampling(max_new_tokens=8))
        next(responses)
        responses.close() if leaves else list(responses)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(usual)
    assert seen == {1}


def test_responses_come_as_they_finish(tiny: Callable[[str], Policy]) -> None:
    policy = tiny()
    lengths = [
        len(answer.token_ids)
        for _, answer in open_backend("native", policy).generate(
            requests_of(prompts_of(policy), 6), Sampling(max_new_tokens=40)
        )
    ]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]


# -- weights and limits ----------------------------------------------------------------------------------------------


def test_new_weights_and_version_are_taken(tiny: Callable[[str], Policy]) -> None:
    policy, other = tiny(), tiny()
    with torch.no_grad():
        for values in other.model.parameters():
            values.add_(0.2 * torch.randn_like(values))
    requests, sampling = requests_of(prompts_of(policy)), Sampling(max_new_tokens=12)
    wanted = answers(open_backend("native", other), requests, sampling)
    backend = open_backend("native", policy)
    before = answers(backend, requests, sampling)
    assert {answer.policy_version for answer in before} == {0}
    backend.sync(other.model.state_dict().items(), version=7)
    after = answers(backend, requests, sampling)
    assert {answer.policy_version for answer in after} == {7}
    assert [a.token_ids.tolist() for a in after] != [a.token_ids.tolist() for a in before]
    for found, expected in zip(after, wanted, strict=True):
        assert_same(found, expected)


@pytest.mark.parametrize("name", MODELS)
def test_new_weights_under_running_responses(name: str, policy_of: Callable[[str], Policy]) -> None:
    """Each token has the log-probability that the policy of its version gives it; rows wait, end and join meanwhile."""
    first, second = (copy_policy(policy_of(name)) for _ in range(2))
    torch.manual_seed(5)
    with torch.no_grad():
        for values in second.model.parameters():
            values.add_(0.05 * torch.randn_like(values))
    requests, sampling = requests_of(prompts_of(first)), Sampling(max_new_tokens=12)
    wanted = answers(open_backend("native", copy_policy(first), max_rows=8), requests, sampling)
    backend = open_backend("native", copy_policy(first), max_rows=8)
    calls = itertools.count(1)

    def take() -> None:
        if next(calls) == 5:
            backend.sync(second.model.state_dict().items(), version=1)

    backend.between_tokens = take
    completions = answers(backend, requests, sampling)
    assert {len(each.versions) for each in completions} == {1, 2}, "some came after the change"
    assert not any(len(each.versions) == 2 for each in wanted)
    for request, found, before in zip(requests, completions, wanted, strict=True):
        spans, tokens = found.versions, found.token_ids.tolist()
        assert [spans[0].start, *(span.end for span in spans)] == [*(span.start for span in spans), len(tokens)]
        for span in spans:
            text = [*request.prompt_ids.tolist(), *tokens]
            scored = text_logprobs((first, second)[span.version].model, text)[len(request.prompt_ids) - 1 :]
            own = slice(span.start, span.end)
            np.testing.assert_allclose(found.logprobs[own], scored[own], atol=2e-4)
        if spans[0].version == 0:
            assert tokens[: spans[0].end] == before.token_ids.tolist()[: spans[0].end]


def test_bf16_samples_from_a_copy_close_to_the_policy(tiny: Callable[[str], Policy]) -> None:
    policy = tiny()
    backend = open_backend("native", policy, precision="bf16")
    requests, sampling = requests_of(prompts_of(policy), 4), Sampling(max_new_tokens=12)
    found = answers(backend, requests, sampling)
    distance = np.concatenate(
        [answer.logprobs - scored(policy, r, answer, 1.0) for r, answer in zip(requests, found, strict=True)]
    )
    assert 0 < np.abs(distance).mean() < 0.1
    with torch.no_grad():
        for values in policy.model.parameters():
            values.mul_(0.5)
    backend.sync(policy.model.state_dict().items(), version=1)
    changed = answers(backend, requests, sampling)
    assert [a.token_ids.tolist() for a in changed] != [a.token_ids.tolist() for a in found]
    given = dict(policy.model.named_parameters())
    halved = 0
    for name, own in backend.model.named_parameters():
        if own.dtype == torch.bfloat16:
            halved += 1
            assert torch.equal(own, given[name].bfloat16())
        else:  # Norms, embeddings, the vocabulary: no second copy is held.
            assert own.data_ptr() == given[name].data_ptr()
    assert halved == 7 * 2, "the linear layers, not the vocabulary's"


def test_bf16_samples_as_a_learner_under_autocast_scores(cub: Callable[[str], Policy]) -> None:
    """The same weights, rounded at the same places: ten times nearer than a sampler in fp32."""
    policy = cub("cub-qwen")
    prompt = np.array(policy.encode("Question: What is 3+4?\nAnswer:"), dtype=np.int32)
    requests = [Request(prompt_ids=prompt, noise_key=derive(3, "precision", i)) for i in range(24)]
    gaps = {}
    for precision in ("fp32", "bf16"):
        backend = open_backend("native", policy, precision=precision)
        found = answers(backend, requests, Sampling(max_new_tokens=24))
        scorer = Scorer(policy.model, precision="bf16")
        squares = []
        for answer in found:
            tokens_BT = torch.from_numpy(np.concatenate([prompt, answer.token_ids]).astype(np.int64))[None]
            mask_BT = torch.ones_like(tokens_BT, dtype=torch.bool)
            mask_BT[:, : len(prompt)] = False
            with torch.no_grad():
                own_BT, *_ = scorer(tokens_BT, mask_BT, torch.tensor([tokens_BT.shape[1]]))
            squares += ((own_BT[0, len(prompt) :].numpy() - answer.logprobs) ** 2).tolist()
        gaps[precision] = 0.5 * float(np.mean(squares))
    assert gaps["bf16"] < 0.2 * gaps["fp32"], gaps


def test_unknown_weight_is_refused(tiny: Callable[[str], Policy]) -> None:
    with pytest.raises(ModelError, match="'strange'"):
        open_backend("native", tiny()).sync([("strange", torch.zeros(1))], version=1)


def test_responses_end_where_the_context_ends(tiny: Callable[[str], Policy]) -> None:
    """Each by its own prompt; up to there they are what a longer context would have given."""
    policy = dataclasses.replace(tiny(), stop_ids=frozenset({10_000}))
    requests = requests_of(prompts_of(policy, 3), 1)
    free = answers(open_backend("native", policy), requests, Sampling(max_new_tokens=20))
    cut = answers(
        open_backend("native", dataclasses.replace(policy, context_length=20)), requests, Sampling(max_new_tokens=20)
    )
    for request, whole, short in zip(requests, free, cut, strict=True):
        assert len(short.token_ids) == 20 - len(request.prompt_ids)
        assert short.stop_reason == "length"
        assert short.token_ids.tolist() == whole.token_ids[: len(short.token_ids)].tolist()


def test_prompt_that_fills_the_context_is_refused(tiny: Callable[[str], Policy]) -> None:
    policy = dataclasses.replace(tiny(), context_length=5)
    with pytest.raises(ModelError, match=r"prompt of 5 tokens.*5 tokens"):
        list(open_backend("native", policy).generate(requests_of(prompts_of(policy, 1), 1), Sampling(max_new_tokens=1)))


def test_no_request_no_answer(tiny: Callable[[str], Policy]) -> None:
    assert list(open_backend("native", tiny()).generate([], Sampling(max_new_tokens=8))) == []


def test_requests_do_not_touch_the_global_generator(tiny: Callable[[str], Policy]) -> None:
    policy = tiny()
    torch.manual_seed(1)
    wanted = torch.rand(1)
    torch.manual_seed(1)
    answers(open_backend("native", policy), requests_of(prompts_of(policy)), Sampling(max_new_tokens=8))
    assert torch.equal(torch.rand(1), wanted)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_diverged_model_is_reported(value: float, tiny: Callable[[str], Policy]) -> None:
    policy = tiny()
    with torch.no_grad():
        policy.model.get_output_embeddings().weight.mul_(value)
    with pytest.raises(ModelError, match="diverged"):
        answers(open_backend("native", policy), requests_of(prompts_of(policy)), Sampling(max_new_tokens=4))


@pytest.mark.parametrize("name", ["cub-qwen", "cub-llama", "cub-mistral"])
def test_no_library_warning_reaches_a_user(name: str, cub: Callable[[str], Policy]) -> None:
    """Nothing is called by a name that the next version of transformers does not know."""
    policy = cub(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert answers(
            open_backend("native", policy), requests_of(prompts_of(policy, 2), 2), Sampling(max_new_tokens=8)
        )


def test_the_cache_under_its_old_name() -> None:
    """In the first versions of transformers 5 there is no other."""

    class Old(torch.nn.Module):
        def forward(self, input_ids, past_key_values=None, use_cache=None):
            """The signature of 5.0."""

    class New(torch.nn.Module):
        def forward(self, input_ids, cache=None, use_cache=None):
            """The signature of 5.24."""

    assert cache_argument(Old()) == "past_key_values"
    assert cache_argument(New()) == "cache"


def test_a_backend_needs_no_model_in_memory(cub: Callable[[str], Policy]) -> None:
    """A directory and a tokenizer will do; then the backend loads the weights itself."""
    policy = cub("cub-qwen")
    limits = {"stop_ids": policy.stop_ids, "context_length": policy.context_length}
    requests, sampling = requests_of(prompts_of(policy, 2), 2), Sampling(max_new_tokens=8)
    own = BACKENDS["native"]("cub-qwen", policy.tokenizer, **limits)
    shared = open_backend("native", policy)
    assert own.model is not policy.model
    assert shared.model is policy.model, "nothing is copied"
    found, wanted = (answers(backend, requests, sampling) for backend in (own, shared))
    assert [each.text for each in found] == [each.text for each in wanted]


@pytest.fixture(scope="module")
def many() -> tuple[Request, ...]:
    """Requests of two for each of forty prompts of unlike length."""
    prompts = [np.arange(5, 6 + number % 9, dtype=np.int32) for number in range(40)]
    return tuple(Request(prompt_ids=prompt, noise_key=key) for key, prompt in enumerate(prompts * 2))


def test_two_threads_sample_what_one_does(many, monkeypatch) -> None:
    backend = open_backend("native", load("cub-qwen"))
    rows: list[int] = []
    forward = backend._forward

    def counted(tokens_RT, *rest):
        rows.append(len(tokens_RT))
        return forward(tokens_RT, *rest)

    monkeypatch.setattr(backend, "_forward", counted)
    alone = dict(backend.generate(list(many), Sampling(max_new_tokens=24)))
    assert max(rows) == 80, "a list may grow: it is one batch"
    rows.clear()
    halves = [dict(backend.generate(many, Sampling(max_new_tokens=24))) for _ in range(2)]
    assert max(rows) == 40
    for key, completion in alone.items():
        first, again = (half[key] for half in halves)
        assert first.token_ids.tolist() == completion.token_ids.tolist()
        np.testing.assert_allclose(first.logprobs, completion.logprobs, atol=1e-5)
        np.testing.assert_array_equal(first.logprobs, again.logprobs, err_msg="to the last bit, whichever is faster")
    rows.clear()
    backend.max_rows = 16
    few = dict(backend.generate(many, Sampling(max_new_tokens=24)))
    assert max(rows) == 8
    assert {key: each.token_ids.tolist() for key, each in few.items()} == {
        key: each.token_ids.tolist() for key, each in alone.items()
    }


def test_who_leaves_early_or_fails_leaves_no_thread(many, monkeypatch) -> None:
    backend = open_backend("native", load("cub-qwen"))
    threads = threading.active_count()
    for _ in zip(range(3), backend.generate(many, Sampling(max_new_tokens=24)), strict=False):
        pass
    drawn = backend._draw

    def fail(decoding, sampling):
        if threading.current_thread() is not threading.main_thread() and decoding.rows[0].index == 0:
            raise OSError("out of memory")
        return drawn(decoding, sampling)

    monkeypatch.setattr(backend, "_draw", fail)
    with pytest.raises(OSError, match="out of memory"):
        list(backend.generate(many, Sampling(max_new_tokens=24)))
    gc.collect()
    assert threading.active_count() == threads


def test_what_is_compiled_computes_the_same() -> None:
    logits_RV, uniform_R1 = torch.randn(7, 1300), torch.rand(7, 1, dtype=torch.float64)
    for size in (300, 1024, 1300):
        for own, wanted in zip(
            native._compiled_drawn(logits_RV[:, :size], uniform_R1),
            native._drawn(logits_RV[:, :size], uniform_R1),
            strict=True,
        ):
            assert torch.equal(own, wanted)
    warnings.simplefilter("ignore")  # It is deprecated.
    for function in (decoder._one_token, native._drawn):
        assert isinstance(torch.jit.script(function), torch.jit.ScriptFunction)


def test_where_nothing_is_compiled_the_function_itself_is_called(monkeypatch) -> None:
    def gone(function):
        raise RuntimeError("TorchScript is not there any more")

    monkeypatch.setattr(torch.jit, "script", gone)
    assert decoder.compiled(lambda a, b: a + b)(1, 2) == 3
