"""What every rollout backend promises, over all that are registered: a test that a new one has to pass."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from support import copy_policy

from simplerl.core.errors import ModelError
from simplerl.core.seeds import derive
from simplerl.core.types import Completion
from simplerl.models.load import Policy
from simplerl.models.score import text_logprobs
from simplerl.models.text import decode
from simplerl.rollout import BACKENDS, open_backend
from simplerl.rollout.backend import Request, RolloutBackend, Sampling
from simplerl.rollout.engines import Engines
from simplerl.rollout.native import truncate
from simplerl.rollout.proof import ask_back

VLLM = pytest.param(
    "vllm",
    marks=[
        pytest.mark.vllm,
        pytest.mark.skipif(not find_spec("vllm"), reason="needs vLLM: python tools/engines.py"),
    ],
)


def two_engines(name: str) -> object:
    """Return the parameter of a backend in two processes of its own."""
    marks = [pytest.mark.engines, *(VLLM.marks if name == "vllm" else ())]
    return pytest.param(f"two {name}", marks=marks)


ALL = [VLLM if name == "vllm" else name for name in BACKENDS] + [two_engines(name) for name in BACKENDS]
ALL.append(pytest.param("split vllm", marks=VLLM.marks))
#: Those that sample from a model.
REAL = [name for name in ALL if "fake" not in str(name)]
#: Those that take new weights under running responses, in this process.
IN_FLIGHT = [each for name, each in zip(BACKENDS, ALL, strict=False) if hasattr(BACKENDS[name], "between_tokens")]
QUESTIONS = ("What is 12+34-5?\n", "What is 3*(4+5)?\n", "7-2?\n", "Say 1, and then say what 2+2*8 is.\n")


class Engine:
    """A backend with its policy, asked in one line."""

    def __init__(self, backend: RolloutBackend, policy: Policy):
        self.backend, self.policy = backend, policy
        self.prompts = [np.array(policy.encode(text), dtype=np.int32) for text in QUESTIONS]

    def requests(self, samples: int = 4) -> list[Request]:
        pairs = [(place, sample) for place in range(len(self.prompts)) for sample in range(samples)]
        return [Request(prompt_ids=self.prompts[p], noise_key=derive(3, "contract", p, s)) for p, s in pairs]

    def answer(self, requests: Sequence[Request] | None = None, **sampling: object) -> list[Completion]:
        requests = self.requests() if requests is None else requests
        completions = dict(self.backend.generate(requests, Sampling(**{"max_new_tokens": 24, **sampling})))
        assert sorted(completions) == list(range(len(requests))), "each request is answered exactly once"
        return [completions[index] for index in range(len(requests))]

    def scored(self, request: Request, completion: Completion, **sampling: object) -> np.ndarray:
        """Return the log-probabilities of a completion by the plain way."""
        asked = Sampling(**sampling)
        ids = torch.from_numpy(np.concatenate([request.prompt_ids, completion.token_ids]).astype(np.int64))[None]
        start = len(request.prompt_ids)
        with torch.no_grad():
            logits_TV = self.policy.model.eval()(input_ids=ids, use_cache=False).logits[0, start - 1 : -1].float()
        logprobs_TV = truncate((logits_TV / asked.temperature).log_softmax(-1), top_k=asked.top_k, top_p=asked.top_p)
        return logprobs_TV.gather(-1, ids[0, start:, None]).squeeze(-1).numpy()


@pytest.fixture(scope="module")
def engines() -> Iterator[dict[str, Engine]]:
    opened: dict[str, Engine] = {}
    yield opened
    for engine in opened.values():
        engine.backend.close()


@pytest.fixture
def engine(engines: dict[str, Engine], cub: Callable[[str], Policy]) -> Callable[[str], Engine]:
    """Give the engine of a backend, started once, with the cub's weights as they come."""

    def get(name: str) -> Engine:
        if name not in engines:
            kind, _, inner = name.rpartition(" ")
            policy = cub("cub-llama" if kind == "split" else "cub-qwen")  # Whose heads are an even number.
            split = {"tensor_parallel": 2} if kind == "split" else {}
            backend = Engines(inner, policy, count=2) if kind == "two" else open_backend(inner, policy, **split)
            engines[name] = Engine(backend, policy)
        one = engines[name]
        fresh = cub(one.policy.name)
        one.policy.model.load_state_dict(fresh.model.state_dict())
        one.backend.sync(one.policy.model.state_dict().items(), version=0)
        return one

    return get


@pytest.mark.parametrize("name", ALL)
def test_a_completion_is_what_its_type_says(name: str, engine) -> None:
    one = engine(name)
    for request, completion in zip(one.requests(), one.answer(), strict=True):
        length = len(completion.token_ids)
        assert completion.token_ids.dtype == np.int32
        assert completion.logprobs.dtype == np.float32
        assert completion.logprobs.shape == (length,)
        assert 0 < length <= 24
        assert [(s.version, s.start, s.end) for s in completion.versions] == [(0, 0, length)]
        ended = completion.token_ids[-1] in one.policy.stop_ids
        assert completion.stop_reason == ("eos" if ended else "length")
        spoken = completion.token_ids[: length - ended].tolist()
        assert completion.text == decode(one.policy.tokenizer, spoken)
        assert len(request.prompt_ids) > 0


@pytest.mark.parametrize("name", ALL)
def test_a_request_is_answered_the_same_alone_and_in_any_order(name: str, engine) -> None:
    one = engine(name)
    requests = one.requests()
    wanted = one.answer(requests)
    order = np.random.default_rng(0).permutation(len(requests))
    shuffled = one.answer([requests[i] for i in order])
    for place, index in enumerate(order):
        assert shuffled[place].token_ids.tolist() == wanted[index].token_ids.tolist()
    for index in (0, 5, 11):
        (alone,) = one.answer([requests[index]])
        assert alone.token_ids.tolist() == wanted[index].token_ids.tolist()
    if "fake" not in name:
        assert len({tuple(each.token_ids.tolist()) for each in wanted}) > len(wanted) // 2, "noise makes them differ"


@pytest.mark.parametrize(
    "sampling",
    [
        {"temperature": 1.0},
        {"temperature": 0.7},
        {"temperature": 1.3},
        {"temperature": 0.7, "top_p": 0.8},
        {"temperature": 1.3, "top_k": 3},
        {"temperature": 1.2, "top_p": 0.9, "top_k": 7},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", REAL)
def test_log_probabilities_are_those_of_the_sampled_distribution(name: str, sampling, engine) -> None:
    one = engine(name)
    requests = one.requests()
    for request, completion in zip(requests, one.answer(requests, **sampling), strict=True):
        np.testing.assert_allclose(completion.logprobs, one.scored(request, completion, **sampling), atol=2e-4)


@pytest.mark.parametrize("name", REAL)
def test_greedy_is_the_most_likely_token_and_certain(name: str, engine) -> None:
    one = engine(name)
    requests = one.requests(1)
    for request, completion in zip(requests, one.answer(requests, temperature=0.0), strict=True):
        ids = torch.from_numpy(np.concatenate([request.prompt_ids, completion.token_ids]).astype(np.int64))[None]
        with torch.no_grad():
            likely = one.policy.model.eval()(input_ids=ids).logits[0, len(request.prompt_ids) - 1 : -1].argmax(-1)
        assert likely.tolist() == completion.token_ids.tolist()
        assert completion.logprobs.tolist() == [0.0] * len(completion.token_ids)


@pytest.mark.parametrize("name", REAL)
def test_stop_strings_and_ids_end_a_response_and_are_not_in_its_text(name: str, engine) -> None:
    one = engine(name)
    plain = one.answer(max_new_tokens=40)
    text = max((each.text for each in plain), key=len)
    word = text[3:5]
    stopped = one.answer(max_new_tokens=40, stop=(word,))
    assert any(each.stop_reason == "stop" for each in stopped)
    for before, after in zip(plain, stopped, strict=True):
        assert word not in after.text
        assert before.token_ids[: len(after.token_ids)].tolist() == after.token_ids.tolist()
        assert after.text == before.text.split(word)[0]
        assert (after.stop_reason == "stop") == (word in before.text)
    token = int(max(plain, key=lambda each: len(each.token_ids)).token_ids[2])
    for before, after in zip(plain, one.answer(max_new_tokens=40, stop_ids=(token,)), strict=True):
        ids = before.token_ids.tolist()
        kept = ids[: ids.index(token) + 1] if token in ids else ids
        assert after.token_ids.tolist() == kept
        assert after.stop_reason == ("stop" if token in ids else before.stop_reason)


@pytest.mark.parametrize("name", REAL)
def test_the_context_truncates_and_a_prompt_that_fills_it_is_refused(name: str, engine) -> None:
    one = engine(name)
    length = one.policy.context_length
    fill = np.resize(one.prompts[0], length)
    (completion,) = one.answer([Request(prompt_ids=fill[: length - 2], noise_key=1)])
    assert len(completion.token_ids) <= 2
    assert completion.stop_reason in ("eos", "length")
    with pytest.raises(ModelError, match="leaves no room"):
        one.answer([Request(prompt_ids=fill, noise_key=1)])


def moved(policy: Policy) -> None:
    torch.manual_seed(1)
    with torch.no_grad():
        for values in policy.model.parameters():
            values.add_(0.1 * values.abs().mean() * torch.randn_like(values))


@pytest.mark.parametrize("name", REAL)
def test_new_weights_are_in_use_after_a_sync_whatever_was_cached(name: str, engine) -> None:
    """The head is tied, and prompts are asked again that the old weights have cached."""
    one = engine(name)
    long = Request(prompt_ids=np.resize(one.prompts[0], 400), noise_key=1)  # vLLM caches whole blocks.
    requests = [*one.requests(), long]
    one.answer(requests)
    moved(one.policy)
    one.backend.sync(one.policy.model.state_dict().items(), version=7)
    for request, completion in zip(requests, one.answer(requests), strict=True):
        assert completion.policy_version == 7
        np.testing.assert_allclose(completion.logprobs, one.scored(request, completion), atol=2e-4)


@pytest.mark.parametrize("name", REAL)
def test_an_engine_is_asked_back(name: str, engine) -> None:
    one = engine(name)
    assert ask_back(one.backend, one.policy, "fp32") < 2e-4
    ids = one.prompts[0].tolist()
    for told in np.atleast_2d(one.backend.logprobs(ids)):
        np.testing.assert_allclose(told, text_logprobs(one.policy.model, ids), atol=2e-4)
    if name == "native":
        return  # It samples from the very module of the policy.
    moved(one.policy)
    with pytest.raises(ModelError, match="does not use the weights"):
        ask_back(one.backend, one.policy, "fp32")


@pytest.mark.parametrize("name", REAL)
def test_nobody_waits_for_what_was_given_up(name: str, engine) -> None:
    one = engine(name)
    generation = one.backend.generate(one.requests(), Sampling(max_new_tokens=24))
    next(generation)
    generation.close()
    one.backend.sync(one.policy.model.state_dict().items(), version=1)
    assert {each.policy_version for each in one.answer()} == {1}


@pytest.mark.parametrize(
    "sampling", [{"max_new_tokens": 40}, {"stop": True}, {"max_new_tokens": 5, "temperature": 0.7}], ids=str
)
@pytest.mark.parametrize("name", IN_FLIGHT)
def test_the_same_weights_after_every_token_change_no_token(name: str, sampling, engine, monkeypatch) -> None:
    """Noise goes on where it was; a stop string is seen that is of several policies; each span is one token."""
    one = engine(name)
    if sampling.get("stop"):
        longest = max((each.token_ids for each in one.answer(max_new_tokens=40)), key=len)
        sampling = {"max_new_tokens": 40, "stop": (decode(one.policy.tokenizer, longest[3:5]),)}
    wanted, versions = one.answer(**sampling), itertools.count(1)
    weights = one.policy.model.state_dict()
    monkeypatch.setattr(one.backend, "between_tokens", lambda: one.backend.sync(weights.items(), next(versions)))
    changed = one.answer(**sampling)
    for before, after in zip(wanted, changed, strict=True):
        assert after.token_ids.tolist() == before.token_ids.tolist()
        assert (after.text, after.stop_reason) == (before.text, before.stop_reason)
        np.testing.assert_allclose(after.logprobs, before.logprobs, atol=2e-4)
        assert [(s.version, s.start, s.end) for s in after.versions] == [
            (i, i, i + 1) for i in range(len(before.logprobs))
        ]
    if "stop" in sampling:
        ends = [decode(one.policy.tokenizer, each.token_ids[-1:]) for each in changed if each.stop_reason == "stop"]
        assert any(len(end) < len(sampling["stop"][0]) for end in ends), "it takes several tokens"


# The last one: with an engine of its own vLLM ends what all its engines of a process share.
@pytest.mark.parametrize("name", IN_FLIGHT)
def test_new_weights_under_running_responses(name: str, engine, cub: Callable[[str], Policy], monkeypatch) -> None:
    """Between two tokens and between two completions of one token, few rows at once; proven at that moment."""
    policies = [cub("cub-qwen")]
    backend = open_backend(name, copy_policy(policies[0]), max_rows=6)
    requests = [request for request in engine(name).requests() for _ in range(2)]  # Pairs end together.
    calls, told = itertools.count(1), dict[int, Completion]()

    def renew() -> None:
        policies.append(copy_policy(policies[-1]))
        moved(policies[-1])
        backend.sync(policies[-1].model.state_dict().items(), version=len(policies) - 1)

    def between() -> None:
        if (call := next(calls)) == 3:
            assert ask_back(backend, policies[-1], "fp32") < 2e-4, "also without new weights"
            renew()
            assert ask_back(backend, policies[-1], "fp32") < 2e-4
            with pytest.raises(ModelError, match="does not use the weights"):
                ask_back(backend, policies[-2], "fp32")
            requests.extend(requests[:4])
        elif call % 9 == 0:
            renew()

    monkeypatch.setattr(backend, "between_tokens", between, raising=False)
    try:
        for index, completion in backend.generate(requests, Sampling(max_new_tokens=24)):
            assert index not in told
            if len(told) % 6 == 0:
                renew()
            told[index] = completion
    finally:
        backend.close()
    assert sorted(told) == list(range(36))
    assert max(len(each.versions) for each in told.values()) > 2
    first = [each.versions[0].end for each in told.values() if each.policy_version == 0]
    assert 0 < max(first) <= 4, "a question does not wait for a row"
    for index, each in told.items():
        prompt = requests[index].prompt_ids.tolist()
        assert [0, *(s.end for s in each.versions)] == [*(s.start for s in each.versions), len(each.token_ids)]
        for span in each.versions:
            scored = text_logprobs(policies[span.version].model, [*prompt, *each.token_ids.tolist()])[len(prompt) - 1 :]
            own = slice(span.start, span.end)
            np.testing.assert_allclose(each.logprobs[own], scored[own], atol=2e-4)
