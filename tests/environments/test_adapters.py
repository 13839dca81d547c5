"""Agents behind an OpenAI-compatible endpoint: their conversations are trained on as they were sampled."""

import functools
import json
import queue
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from support import SMALL

import simplerl
from simplerl.core.errors import ConfigError, ModelError
from simplerl.core.types import Problem
from simplerl.data.templates import TEMPLATES
from simplerl.environments import agent
from simplerl.environments.factory import adapted
from simplerl.models.score import text_logprobs
from simplerl.rewards import REWARDS
from simplerl.rollout import open_backend
from simplerl.rollout.backend import Request, Sampling
from simplerl.rollout.fake import FakeBackend
from simplerl.rollout.groups import Rollout, prompt
from simplerl.rollout.serving import Shared, open_endpoint
from simplerl.runs.responses import ResponseFile
from simplerl.verify import VerifierPool

PROBLEM = Problem(id="a", question="What is 6*7?", answer="42", source="test")


def post(url: str, key: str, value: object) -> dict:
    request = urllib.request.Request(
        url, json.dumps(value).encode(), {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def chat(base_url: str, key: str, messages: list[dict]) -> tuple[str, str]:
    choice = post(f"{base_url}/chat/completions", key, {"model": "x", "messages": messages})["choices"][0]
    return choice["message"]["content"], choice["finish_reason"]


def ask_twice(base_url: str, api_key: str, problem: Problem) -> float | None:
    messages = [{"role": "system", "content": "Be exact."}, {"role": "user", "content": problem.question}]
    first, _ = chat(base_url, api_key, messages)
    messages += [{"role": "assistant", "content": first}, {"role": "user", "content": "Sure?"}]
    second, _ = chat(base_url, api_key, messages)
    return 1.0 if "42" in second else 0.25


def rolled(policy, function, *, backend=None, samples=1, tokens=200, **settings):
    with VerifierPool(workers=1) as verifier:
        environment = adapted(function, "agent.py:solve")(**settings)
        rollout = Rollout(
            backend=backend or open_backend("native", policy),
            verifier=verifier,
            reward=REWARDS["correctness"](),
            sampling=Sampling(max_new_tokens=tokens),
            samples=samples,
            seed=0,
            environment=environment,
            tokenizer=policy.tokenizer,
        )
        prompted = prompt([PROBLEM], TEMPLATES["plain"], policy, environment)
        return rollout.sample_groups(prompted, purpose="train", step=1)[0].trajectories


def fake(policy, respond):
    return FakeBackend(
        "", policy.tokenizer, stop_ids=frozenset({policy.tokenizer.eos_token_id}), context_length=1024, respond=respond
    )


def test_a_conversation_is_one_row_of_tokens(cub) -> None:
    policy = cub("cub-qwen")
    backend = fake(policy, lambda text, key: " 42!" if "Sure?" in text else " 41")
    (t,) = rolled(policy, ask_twice, backend=backend)
    shown = policy.tokenizer.decode(t.prompt_ids.tolist())
    assert shown == (
        "<|im_start|>system\nBe exact.<|im_end|>\n<|im_start|>user\nWhat is 6*7?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert [author for author, _ in t.texts] == ["policy", "environment", "policy"]
    complete = policy.tokenizer.decode(t.completion.token_ids.tolist())
    assert complete == (
        " 41<|endoftext|><|im_end|>\n<|im_start|>user\nSure?<|im_end|>\n<|im_start|>assistant\n 42!<|endoftext|>"
    )
    assert (t.verdict.status, t.verdict.score, t.reward) == ("correct", 1.0, 1.0)
    assert t.loss_mask.sum() == 2 + len(policy.tokenizer.encode(" 41")) + len(policy.tokenizer.encode(" 42!"))


def test_episodes_that_begin_at_once_have_one_endpoint(cub, monkeypatch) -> None:
    started: list[int] = []

    class Slow(agent.Endpoint):
        def __init__(self) -> None:
            started.append(1)
            time.sleep(0.2)
            super().__init__()

    monkeypatch.setattr(agent, "_endpoint", functools.cache(Slow))
    policy = cub("cub-qwen")
    several = rolled(policy, ask_twice, backend=fake(policy, lambda text, key: " 42"), samples=8)
    assert {t.verdict.status for t in several} == {"correct"}
    assert len(started) == 1


def test_partial_rewards_and_the_verifier(cub) -> None:
    policy = cub("cub-qwen")
    (t,) = rolled(policy, ask_twice, backend=fake(policy, lambda text, key: " 41"))
    assert (t.verdict.status, t.reward) == ("wrong", 0.25)

    def unjudged(base_url, api_key, problem):
        chat(base_url, api_key, [{"role": "user", "content": problem.question}])

    (t,) = rolled(policy, unjudged, backend=fake(policy, lambda text, key: " \\boxed{42}"))
    assert (t.verdict.status, t.verdict.extracted) == ("correct", "42")

    def by_call(base_url, api_key, problem):
        chat(base_url, api_key, [{"role": "user", "content": problem.question}])
        post(f"{base_url}/reward", api_key, {"reward": 0.5})

    (t,) = rolled(policy, by_call, backend=fake(policy, lambda text, key: " 1"))
    assert t.reward == 0.5


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("forgets", "changed its history"),
        ("rewrites", "changed its history"),
        ("raises", "no network"),
        ("says nothing", "ended without a request"),
        ("bad reward", "a reward is a number from 0 to 1"),
    ],
)
def test_what_an_agent_does_wrong_is_undecided(cub, what: str, words: str) -> None:
    def odd(base_url, api_key, problem):
        if what == "says nothing":
            return 1.0
        messages = [{"role": "user", "content": problem.question}]
        answer, _ = chat(base_url, api_key, messages)
        if what == "raises":
            raise OSError("no network")
        if what == "bad reward":
            return 7
        answer = answer if what == "forgets" else "something else"
        rest = [{"role": "assistant", "content": answer}, {"role": "user", "content": "?"}]
        return chat(base_url, api_key, rest if what == "forgets" else messages + rest)

    policy = cub("cub-qwen")
    (t,) = rolled(policy, odd, backend=fake(policy, lambda text, key: " 41"))
    assert t.verdict.status == "error"
    assert words in t.verdict.detail


def test_an_agent_that_goes_on_for_ever_is_told_that_it_is_over(cub) -> None:
    seen: list[object] = []
    done = threading.Event()

    def endless(base_url, api_key, problem):
        messages = [{"role": "user", "content": problem.question}]
        try:
            while True:
                answer, reason = chat(base_url, api_key, messages)
                seen.append(reason)
                messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": "?"}]
        except urllib.error.HTTPError as error:
            seen.append(error.code)
            return 0.0
        finally:
            done.set()

    policy = cub("cub-qwen")
    (t,) = rolled(policy, endless, backend=fake(policy, lambda text, key: " 41"), max_turns=3, tokens=500)
    assert t.completion.stop_reason == "turns"
    assert done.wait(10)
    assert seen[-1] in (401, 410)
    assert t.verdict.status == "wrong"


def test_a_limit_is_no_way_out_of_the_loss(cub) -> None:
    """An agent that does not expect the refusal raises; the episode is judged by what the policy wrote all the same."""
    waiting = threading.Event()

    def endless(base_url, api_key, problem):
        messages = [{"role": "user", "content": problem.question}]
        try:
            while True:
                answer, _ = chat(base_url, api_key, messages)
                messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": "?"}]
        finally:
            waiting.set()

    policy = cub("cub-qwen")
    (t,) = rolled(policy, endless, backend=fake(policy, lambda text, key: " \\boxed{41}"), max_turns=2, tokens=500)
    assert (t.completion.stop_reason, t.verdict.status, t.reward) == ("turns", "wrong", 0.0)
    assert waiting.wait(5)
    assert not agent.endpoint().sessions


def test_an_agent_is_let_go_whatever_went_wrong(cub) -> None:
    ended: list[int] = []

    def forgets(base_url, api_key, problem):
        answer, _ = chat(base_url, api_key, [{"role": "user", "content": "a"}])
        try:
            chat(base_url, api_key, [{"role": "user", "content": "b"}, {"role": "assistant", "content": answer}])
        except urllib.error.HTTPError as error:
            ended.append(error.code)

    policy = cub("cub-qwen")
    (t,) = rolled(policy, forgets, backend=fake(policy, lambda text, key: " 41"))
    assert t.verdict.status == "error"
    for _ in range(50):
        if ended:
            break
        time.sleep(0.1)
    assert ended == [410], "it does not wait for ever"
    assert not agent.endpoint().sessions


def test_the_endpoint_refuses_strangers_and_what_it_does_not_know(cub) -> None:
    server = agent.endpoint()
    session = server.open()
    for path, key, value, code in (
        ("/chat/completions", "wrong", {"messages": []}, 401),
        ("/chat/completions", "", {"messages": []}, 401),
        ("/elsewhere", session.key, {}, 404),
        ("/chat/completions", session.key, {"messages": "x"}, 400),
        ("/chat/completions", session.key, {"messages": [], "stream": True}, 400),
        ("/reward", session.key, {"reward": "much"}, 400),
        ("/reward", session.key, {"reward": True}, 400),
        ("/reward", session.key, [1], 400),
    ):
        with pytest.raises(urllib.error.HTTPError) as caught:
            post(server.base_url + path, key, value)
        assert caught.value.code == code, path
    server.close(session)
    assert server.server_address[0] == "127.0.0.1"


def test_an_openai_client_works_as_it_is(cub) -> None:
    openai = pytest.importorskip("openai", reason="needs openai: pip install 'simplerl[judge]'")

    def solve(base_url, api_key, problem):
        client = openai.OpenAI(base_url=base_url, api_key=api_key, max_retries=0)
        messages = [{"role": "user", "content": problem.question}]
        answer = client.chat.completions.create(model="policy", messages=messages).choices[0].message.content
        return 1.0 if "42" in answer else 0.0

    policy = cub("cub-qwen")
    (t,) = rolled(policy, solve, backend=fake(policy, lambda text, key: " 42"))
    assert t.reward == 1.0


def test_agents_are_trained(tmp_path) -> None:
    settings = {key: value for key, value in SMALL.items() if key not in ("model", "steps")}
    run = simplerl.train(
        "cub", model="cub-qwen", environment=ask_twice, steps=1, output_dir=tmp_path / "run", quiet=True,
        settings=settings | {"sampling": {**settings["sampling"], "max_new_tokens": 100}},
    )  # fmt: skip
    assert run.finished
    assert run.metrics.to_pylist()[-1]["environment/turns"] > 1


def test_episodes_of_agents_elsewhere_are_recorded(cub, tmp_path) -> None:
    policy = cub("cub-qwen")
    rollout = Rollout(
        backend=fake(policy, lambda text, key: " 42"), verifier=VerifierPool(workers=1),
        reward=REWARDS["correctness"](), samples=1, seed=0,
        sampling=Sampling(max_new_tokens=100), tokenizer=policy.tokenizer,
    )  # fmt: skip
    said: list[str] = []
    options = {"port": 0, "key": "the-key", "seconds": 20.0, "say": said.append}
    (tmp_path / "episodes").mkdir()
    (tmp_path / "episodes" / "step_mine.parquet").touch()  # Somebody else's file.
    server = open_endpoint(rollout, tmp_path / "episodes", **options)
    with pytest.raises(ConfigError, match="cannot be used"):
        open_endpoint(rollout, tmp_path / "episodes", **{**options, "port": server.server_address[1]})
    with pytest.raises(urllib.error.HTTPError, match="401"):
        post(f"{server.base_url}/episodes", "another", {})
    for number, reward in enumerate((0.5, 1.0), 1):
        key = post(f"{server.base_url}/episodes", "the-key", {})["api_key"]
        assert chat(server.base_url, key, [{"role": "user", "content": "What is 6*7?"}]) == (" 42", "stop")
        post(f"{server.base_url}/reward", key, {"reward": reward})
        file = tmp_path / "episodes" / f"step_{number:06d}.parquet"
        for _ in range(100):
            if file.exists() and len(said) == number:
                break
            time.sleep(0.1)
        (row,) = ResponseFile(file).read().to_pylist()
        assert (row["response"], row["score"], row["reward"]) == (" 42", reward, reward)
        assert policy.tokenizer.decode(row["prompt_ids"]).startswith("<|im_start|>user\nWhat is 6*7?")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            chat(server.base_url, key, [])
    server.shutdown()
    assert said[0].startswith("episode 1: ")


def test_agents_are_answered_at_once_and_recorded_exactly(cub, tmp_path) -> None:
    """Eight clients ask at the same moment: one batch answers them, and each gets what it gets alone."""
    policy = cub("cub-qwen")
    batches: list[int] = []

    class Counting(type(open_backend("native", policy))):
        def _forward(self, tokens, *arguments):
            batches.append(len(tokens))
            return super()._forward(tokens, *arguments)

    def served(directory, together: bool) -> list[dict]:
        rollout = Rollout(
            backend=open_backend("native", policy), verifier=VerifierPool(workers=1),
            reward=REWARDS["correctness"](), samples=1, seed=0,
            sampling=Sampling(max_new_tokens=60), tokenizer=policy.tokenizer,
        )  # fmt: skip
        rollout.backend.__class__ = Counting
        ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        server = open_endpoint(rollout, directory, port=0, key="k", seconds=60.0, say=ended.put)
        keys = [post(f"{server.base_url}/episodes", "k", {})["api_key"] for _ in range(8)]
        texts, gate = {}, threading.Barrier(8 if together else 1)

        def client(number: int) -> None:
            messages = [{"role": "user", "content": f"What is {number}+1?"}]
            gate.wait()
            first, _ = chat(server.base_url, keys[number], messages)
            messages += [{"role": "assistant", "content": first}, {"role": "user", "content": "Sure?"}]
            texts[number] = (first, chat(server.base_url, keys[number], messages)[0])
            post(f"{server.base_url}/reward", keys[number], {"reward": 1.0})

        threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
            if not together:
                thread.join()
        for thread in threads:
            thread.join(60)
        assert not [said for said in (ended.get(timeout=30) for _ in range(8)) if "lost" in said]
        server.shutdown()
        rows = [ResponseFile(file).read().to_pylist()[0] for file in sorted(directory.glob("step_*.parquet"))]
        for row in rows:
            number = int(policy.tokenizer.decode(row["prompt_ids"]).split("What is ")[1][0])
            assert [turn["text"] for turn in row["turns"] if turn["author"] == "policy"] == list(texts[number])
            ids = [*row["prompt_ids"], *row["token_ids"]]
            scored = text_logprobs(policy.model, ids)[len(row["prompt_ids"]) - 1 :]
            gaps = [a - b for a, b in zip(scored, row["logprobs"], strict=True) if b]
            assert max(map(abs, gaps)) < 1e-4
        return rows

    (tmp_path / "alone").mkdir()
    (tmp_path / "together").mkdir()
    alone = served(tmp_path / "alone", together=False)
    assert max(batches) == 1
    together = served(tmp_path / "together", together=True)
    assert max(batches) > 1, "one batch has several of them"
    by_prompt = {tuple(row["prompt_ids"]): row for row in together}
    assert len(by_prompt) == 8
    same = [row["token_ids"] == by_prompt[tuple(row["prompt_ids"])]["token_ids"] for row in alone]
    assert sum(same) == 8


def test_an_engine_that_fails_fails_those_who_asked(cub) -> None:
    policy = cub("cub-qwen")
    sampling = Sampling(max_new_tokens=20)

    def respond(text: str, key: int) -> str:
        if key == 1:
            raise OSError("out of memory")
        return " 42"

    shared = Shared(fake(policy, respond), sampling)
    ask = [Request(prompt_ids=np.array([5], np.int32), noise_key=key) for key in range(2)]
    with pytest.raises(OSError, match="out of memory"):
        list(shared.generate(ask[1:], sampling))
    assert [completion.text for _, completion in shared.generate(ask[:1], sampling)] == [" 42"], "it goes on"
    growing = ask[:1]  # A conversation's next turn may be there before the generator is asked for more.
    for index, completion in shared.generate(growing, sampling):
        assert (index, completion.text) == (len(growing) - 1, " 42")
        growing += ask[:1] * (len(growing) < 3)
    assert len(growing) == 3
    with pytest.raises(ModelError, match="a prompt of 2000 tokens leaves no room"):
        list(shared.generate([Request(prompt_ids=np.zeros(2000, np.int32), noise_key=0)], sampling))
    with pytest.raises(ValueError, match="in the same way"):
        list(shared.generate(ask, Sampling(max_new_tokens=21)))
