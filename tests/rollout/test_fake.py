"""The fake backend answers as it is told, under the rules of a real one."""

from collections.abc import Callable

import numpy as np
import pytest

from simplerl.core.errors import ModelError
from simplerl.core.types import Completion
from simplerl.models.load import Policy
from simplerl.rollout import open_backend
from simplerl.rollout.backend import Request, Sampling


@pytest.fixture
def answer(cub: Callable[[str], Policy]) -> Callable[..., Completion]:
    policy = cub("cub-qwen")

    def get(text: str, **sampling: object) -> Completion:
        backend = open_backend("fake", policy, respond=lambda prompt, key: text)
        request = Request(prompt_ids=np.array(policy.encode("What is 1+1?"), dtype=np.int32), noise_key=3)
        ((index, completion),) = backend.generate([request], Sampling(**sampling))
        assert index == 0
        assert completion.logprobs.tolist() == [-1.0] * len(completion.token_ids)
        return completion

    return get


def test_answers_and_ends(answer, cub) -> None:
    completion = answer(" It is \\boxed{2}.")
    assert completion.text == " It is \\boxed{2}."
    assert completion.stop_reason == "eos"
    assert completion.token_ids[-1] in cub("cub-qwen").stop_ids


def test_is_truncated_like_a_model(answer) -> None:
    completion = answer(" one two three", max_new_tokens=4)
    assert completion.stop_reason == "length"
    assert len(completion.token_ids) == 4
    assert " one two three".startswith(completion.text)
    assert completion.text != " one two three"


def test_stops_like_a_model(answer) -> None:
    completion = answer(" 2\nQuestion: what else?", stop=("Question:",))
    assert completion.text == " 2\n"
    assert completion.stop_reason == "stop"


def test_stops_at_a_token_like_a_model(answer, cub) -> None:
    (token,) = cub("cub-qwen").encode("}")
    completion = answer(" {2}{3}", stop_ids=(token,))
    assert completion.text == " {2"
    assert completion.token_ids[-1] == token
    assert completion.stop_reason == "stop"


def test_a_prompt_that_leaves_no_room_is_refused(cub) -> None:
    backend = open_backend("fake", cub("cub-qwen"))
    request = Request(prompt_ids=np.ones(backend.context_length, dtype=np.int32), noise_key=1)
    with pytest.raises(ModelError, match="leaves no room"):
        list(backend.generate([request], Sampling()))


def test_sees_prompt_and_noise_and_reports_the_version(cub) -> None:
    policy = cub("cub-qwen")
    backend = open_backend("fake", policy, respond=lambda prompt, key: f"{prompt}/{key}")
    backend.sync([], version=4)
    prompts = [np.array(policy.encode(text), dtype=np.int32) for text in ("a?", "b?")]
    requests = [Request(prompt_ids=prompt, noise_key=key) for key, prompt in enumerate(prompts)]
    found = dict(backend.generate(requests, Sampling()))
    assert [found[i].text for i in range(2)] == ["a?/0", "b?/1"]
    assert found[0].policy_version == 4


def test_a_run_with_it_reports_what_it_answers(tmp_path) -> None:
    """The default answers 0 to everything: the whole loop runs, and the share of zeros among the golds is its score."""
    from support import run_small

    _, listener = run_small(tmp_path / "run", {"rollout": {"backend": "fake"}, "steps": 1})
    assert listener.metrics[1]["verdict/no_answer"] == 0
    assert listener.metrics[1]["groups/mixed"] == 0.0
    assert listener.metrics[1]["optimizer/updates"] == 0
