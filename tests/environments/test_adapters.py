"""What others have written: agents behind an endpoint, a package as the scaffold of `verifiers` makes it, OpenEnv."""

import importlib.util
import json
import queue
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from support import SMALL

import simplerl
from simplerl import data
from simplerl.core.errors import ConfigError, DataError, ModelError
from simplerl.core.types import Problem
from simplerl.data.prompts import TEMPLATES
from simplerl.environments import ENVIRONMENTS, adapters
from simplerl.environments.adapters import adapted
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


def rolled(policy, environment, problems, respond, samples: int = 2, context: int = 1024, tokens: int = 400):
    with VerifierPool(workers=1) as verifier:
        rollout = Rollout(
            backend=fake(policy, respond, context), verifier=verifier, reward=REWARDS["correctness"](), samples=samples,
            seed=0, sampling=Sampling(max_new_tokens=tokens), environment=environment, tokenizer=policy.tokenizer,
        )  # fmt: skip
        prompted = prompt(problems, TEMPLATES["plain"], policy, environment)
        groups = rollout.sample_groups(prompted, purpose="train", step=1)
    return [t for group in groups for t in group.trajectories]


def played(policy, function, respond, *, samples: int = 1, tokens: int = 200, **settings):
    environment = adapted(function, "agent.py:solve")(**settings)
    return rolled(policy, environment, [PROBLEM], respond, samples=samples, tokens=tokens)


def fake(policy, respond, context: int = 1024):
    end = frozenset({policy.tokenizer.eos_token_id})
    return FakeBackend("", policy.tokenizer, stop_ids=end, context_length=context, respond=respond)


def test_a_conversation_is_one_row_of_tokens(cub) -> None:
    policy = cub("cub-qwen")
    (t,) = played(policy, ask_twice, lambda text, key: " 42!" if "Sure?" in text else " 41")
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

    class Slow(adapters.Endpoint):
        def __init__(self) -> None:
            started.append(1)
            time.sleep(0.2)
            super().__init__()

    monkeypatch.setattr(adapters, "endpoint", adapters.once(Slow))
    policy = cub("cub-qwen")
    several = played(policy, ask_twice, lambda text, key: " 42", samples=8)
    assert {t.verdict.status for t in several} == {"correct"}
    assert len(started) == 1


def test_partial_rewards_and_the_verifier(cub) -> None:
    policy = cub("cub-qwen")
    (t,) = played(policy, ask_twice, lambda text, key: " 41")
    assert (t.verdict.status, t.reward) == ("wrong", 0.25)

    def unjudged(base_url, api_key, problem):
        chat(base_url, api_key, [{"role": "user", "content": problem.question}])

    (t,) = played(policy, unjudged, lambda text, key: " \\boxed{42}")
    assert (t.verdict.status, t.verdict.extracted) == ("correct", "42")

    def by_call(base_url, api_key, problem):
        chat(base_url, api_key, [{"role": "user", "content": problem.question}])
        post(f"{base_url}/reward", api_key, {"reward": 0.5})

    (t,) = played(policy, by_call, lambda text, key: " 1")
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
    (t,) = played(policy, odd, lambda text, key: " 41")
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
    (t,) = played(policy, endless, lambda text, key: " 41", max_turns=3, tokens=500)
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
    (t,) = played(policy, endless, lambda text, key: " \\boxed{41}", max_turns=2, tokens=500)
    assert (t.completion.stop_reason, t.verdict.status, t.reward) == ("turns", "wrong", 0.0)
    assert waiting.wait(5)
    assert not adapters.endpoint().sessions


def test_half_an_answer_is_no_way_out_of_the_loss(cub) -> None:
    def fussy(base_url, api_key, problem):
        _, reason = chat(base_url, api_key, [{"role": "user", "content": problem.question}])
        if reason == "length":
            raise ValueError("half an answer")

    policy = cub("cub-qwen")
    (t,) = played(policy, fussy, lambda text, key: " \\boxed{41}" + " 1" * 100, tokens=40)
    assert (t.completion.stop_reason, t.verdict.status, t.reward) == ("length", "wrong", 0.0)


def test_an_agent_is_let_go_whatever_went_wrong(cub) -> None:
    ended: list[int] = []

    def forgets(base_url, api_key, problem):
        answer, _ = chat(base_url, api_key, [{"role": "user", "content": "a"}])
        try:
            chat(base_url, api_key, [{"role": "user", "content": "b"}, {"role": "assistant", "content": answer}])
        except urllib.error.HTTPError as error:
            ended.append(error.code)

    policy = cub("cub-qwen")
    (t,) = played(policy, forgets, lambda text, key: " 41")
    assert t.verdict.status == "error"
    for _ in range(50):
        if ended:
            break
        time.sleep(0.1)
    assert ended == [410], "it does not wait for ever"
    assert not adapters.endpoint().sessions


def test_no_sign_of_a_conversation_is_taken_for_the_answers_place(cub) -> None:
    known = [{"role": "user", "content": "\ue000 and \ue001"}]
    messages = [*known, {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "\ue002?"}]
    said = adapters.continuation(known, "Yes.", messages, cub("cub-qwen").tokenizer)
    assert said == "<|im_end|>\n<|im_start|>user\n\ue002?<|im_end|>\n<|im_start|>assistant\n"


def test_everybody_who_waits_is_told_that_the_episode_is_over() -> None:
    """An agent may ask several times at once; no thread of it is left behind."""
    session, answers = adapters.endpoint().open(), queue.SimpleQueue[object]()
    for _ in range(3):
        threading.Thread(target=lambda: answers.put(session.ask([])), daemon=True).start()
    while session.inbox.qsize() < 3:
        time.sleep(0.01)
    session.end()
    assert [answers.get(timeout=10) for _ in range(3)] == [None] * 3
    assert session.ask([]) is None


def test_the_endpoint_refuses_strangers_and_what_it_does_not_know(cub) -> None:
    server = adapters.endpoint()
    session = server.open()
    for path, key, value, code in (
        ("/chat/completions", "wrong", {"messages": []}, 401),
        ("/chat/completions", "", {"messages": []}, 401),
        ("/elsewhere", session.key, {}, 404),
        ("/chat/completions", session.key, {"messages": "x"}, 400),
        ("/chat/completions", session.key, {"messages": []}, 400),
        ("/chat/completions", session.key, {"messages": [], "stream": True}, 400),
        ("/reward", session.key, {"reward": "much"}, 400),
        ("/reward", session.key, {"reward": True}, 400),
        ("/reward", session.key, [1], 400),
    ):
        with pytest.raises(urllib.error.HTTPError) as caught:
            post(server.base_url + path, key, value)
        assert caught.value.code == code, path
    session.end()
    assert server.server_address[0] == "127.0.0.1"


def test_an_openai_client_works_as_it_is(cub) -> None:
    openai = pytest.importorskip("openai", reason="needs openai: pip install 'simplerl[judge]'")

    def solve(base_url, api_key, problem):
        client = openai.OpenAI(base_url=base_url, api_key=api_key, max_retries=0)
        messages = [{"role": "user", "content": problem.question}]
        answer = client.chat.completions.create(model="policy", messages=messages).choices[0].message.content
        return 1.0 if "42" in answer else 0.0

    policy = cub("cub-qwen")
    (t,) = played(policy, solve, lambda text, key: " 42")
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


# --- other libraries --------------------------------------------------------------------------------------------------


def installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


needs_verifiers = pytest.mark.skipif(not installed("verifiers"), reason="needs the extra `verifiers`")
needs_textarena = pytest.mark.skipif(
    not (installed("verifiers") and installed("textarena") and installed("nltk")), reason="needs `verifiers[ta]`"
)
needs_openenv = pytest.mark.skipif(not installed("openenv"), reason="needs the extra `openenv`")


@pytest.mark.parametrize("name", ["verifiers", "openenv"])
def test_a_library_that_is_missing_is_named(name: str, monkeypatch) -> None:
    for module in ("verifiers.v1", "openenv.core"):
        monkeypatch.setitem(sys.modules, module, None)
    uses = {
        "verifiers": lambda: data.read("verifiers:some-package"),
        "openenv": lambda: ENVIRONMENTS[name]().start(0, 0),
    }
    with pytest.raises(ConfigError, match=rf"{name} needs its library: pip install 'simplerl\[{name}\]'"):
        uses[name]()


@pytest.fixture
def package(tmp_path, monkeypatch) -> str:
    """A package as `vf-init` scaffolds it, its two gaps filled in, and beside it one whose user asks back."""
    from verifiers.v1.cli import init

    monkeypatch.setattr(sys, "argv", ["vf-init", "double-v1", "--path", str(tmp_path)])
    init.main()
    (file,) = tmp_path.rglob("taskset.py")
    text = file.read_text()
    head, _, rest = text.partition("        raise NotImplementedError")
    rest = rest[rest.index("\n\n") :]
    text = f"{head}        return float(self.data.answer in (trace.last_reply or '')){rest}"
    head = text[: text.rindex("        raise NotImplementedError")]
    made = "DoubleTask(DoubleData(prompt=f'What is {i}*2?', answer=str(2 * i)), self.config.task)"
    head = head.replace('such as a reference answer."""', 'such as a reference answer."""\n\n    answer: str', 1)
    file.write_text(f"{head}        return [{made} for i in range(self.config.num_tasks)]\n")
    asks = file.parent.parent / "asks_v1"
    asks.mkdir()
    (asks / "__init__.py").write_text(
        "import verifiers.v1 as vf\n"
        "from double_v1.taskset import DoubleTaskset\n\n\n"
        "class Config(vf.EnvConfig):\n    player: vf.AgentConfig = vf.AgentConfig()\n\n\n"
        "class Asks(vf.Env[Config]):\n"
        "    async def run(self, task, agents):\n"
        "        async with agents.player.interaction(task) as interaction:\n"
        "            await interaction.turn()\n"
        "            await interaction.turn('Sure?')\n\n\n"
        "class AsksTaskset(DoubleTaskset):\n    pass\n\n\n"
        '__all__ = ["AsksTaskset", "Asks"]\n'
    )
    monkeypatch.syspath_prepend(str(file.parent.parent))
    return "double-v1"


@needs_verifiers
def test_a_package_of_verifiers_is_trained_in(cub, package: str, monkeypatch) -> None:
    train, test = (data.read(f"verifiers:{package},num_tasks=30", split).problems for split in ("train", "test"))
    assert len(train) + len(test) == 30
    assert not {p.id for p in train} & {p.id for p in test}
    assert data.read(f"verifiers:{package},num_tasks=30", "train", size=3).problems == train[:3]
    policy, environment = cub("cub-qwen"), ENVIRONMENTS["verifiers"]()
    # A right answer to 2*2 alone.
    got = rolled(policy, environment, train[:4], lambda text, key: " 4." if "What is 2*2" in text else " 77.")
    for t in got:
        right = t.problem.question == "What is 2*2?"
        assert (t.verdict.status, t.reward) == (("correct", 1.0) if right else ("wrong", 0.0))
        shown = policy.tokenizer.decode(t.prompt_ids.tolist())
        assert shown == f"<|im_start|>user\n{t.problem.question}<|im_end|>\n<|im_start|>assistant\n"
        assert t.loss_mask.all()
    with pytest.raises(ConfigError, match="verifiers:no-such-package"):
        data.read("verifiers:no-such-package")
    monkeypatch.setattr("double_v1.taskset.DoubleTaskset.load", lambda self: [1 / 0])
    with pytest.raises(DataError, match="its tasks cannot be loaded: ZeroDivisionError"):
        data.read(f"verifiers:{package},num_tasks=31")
    with pytest.raises(ConfigError, match="PACKAGE"):
        data.read("verifiers")
    strange = [Problem(id="a", question="Q", answer="1", source="s")]
    with pytest.raises(ConfigError, match="is not a task of verifiers"):
        rolled(policy, environment, strange, lambda text, key: " 1")


@needs_verifiers
def test_a_user_of_verifiers_asks_back(cub, package: str) -> None:
    policy = cub("cub-qwen")
    problems = data.read("verifiers:asks-v1,num_tasks=30", "train", size=2).problems
    half = ENVIRONMENTS["verifiers"](highest=2.0)
    for t in rolled(policy, half, problems, lambda text, key: " 0 2 4 6." if "Sure?" in text else " ?"):
        assert [author for author, _ in t.texts] == ["policy", "environment", "policy"]
        assert t.texts[2][1] == " 0 2 4 6."
        assert "Sure?" in t.texts[1][1]
        assert t.loss_mask.sum() < len(t.loss_mask)
        assert (t.verdict.status, t.reward) == ("wrong", 0.5)


@needs_textarena
def test_the_games_that_come_with_verifiers(cub, tmp_path, monkeypatch) -> None:
    """Hangman of TextArena, their taskset as it is: the engine plays the user, and its end is the reward."""
    import nltk

    (tmp_path / "corpora/words").mkdir(parents=True)
    for name in ("en", "en-basic"):  # The word list, which is otherwise fetched from the network.
        (tmp_path / "corpora/words" / name).write_text("otto\n")
    monkeypatch.setattr(nltk, "download", lambda *names, **options: True)
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    problems = data.read("verifiers:textarena,game=Hangman-v0", "train", size=2).problems
    assert "You are playing Hangman" in problems[0].question
    policy, environment = cub("cub-qwen"), ENVIRONMENTS["verifiers"]()

    def play(text: str, key) -> str:
        return " [t]" if text.count("assistant") == 1 else " [otto]"

    for t in rolled(policy, environment, problems, play, context=4096):
        assert [text for author, text in t.texts if author == "policy"] == [" [t]", " [otto]"]
        assert "_   T   T   _" in t.texts[1][1]  # The board with what was guessed.
        assert (t.verdict.status, t.reward) == ("correct", 1.0)
    for t in rolled(policy, environment, problems, lambda text, key: " nothing in brackets", context=4096):
        assert (t.verdict.status, t.reward) == ("wrong", 0.0)


@pytest.fixture
def server(tmp_path) -> str:
    """The example that `openenv init` makes: it echoes, and pays 0.1 for a character."""
    import uvicorn
    from openenv.cli.commands import init

    init.init(env_name="echo_env", output_dir=str(tmp_path))
    app = next(Path(tmp_path).rglob("app.py"))
    app.write_text(app.read_text().replace("max_concurrent_envs=1", "max_concurrent_envs=32"))
    sys.path[:0] = [str(app.parent.parent)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = uvicorn.Server(uvicorn.Config("server.app:app", host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    running.should_exit = True
    thread.join(20)
    sys.path.remove(str(app.parent.parent))


@needs_openenv
def test_a_server_of_openenv_is_trained_in(cub, server: str) -> None:
    policy = cub("cub-qwen")
    problems = [Problem(id=f"p{i}", question="Say something.", answer="", source="s") for i in range(3)]
    environment = ENVIRONMENTS["openenv"](url=server, observation="echoed_message", highest=2.0, max_turns=3)
    for t in rolled(policy, environment, problems, lambda text, key: "0123456789"):
        assert [author for author, _ in t.texts] == ["policy", "environment"] * 2 + ["policy"]
        assert "0123456789" in t.texts[1][1]
        assert "environment ready!" in policy.tokenizer.decode(t.prompt_ids.tolist())
        assert (t.verdict.status, t.verdict.score, t.reward) == ("wrong", 0.5, 0.5)
    beyond = ENVIRONMENTS["openenv"](url=server, max_turns=1, returns="sum")
    (t,) = rolled(policy, beyond, problems[:1], lambda text, key: "0" * 50, samples=1)
    assert t.verdict.status == "error"
    assert "a reward is a number from 0 to 1" in t.verdict.detail
    as_json = ENVIRONMENTS["openenv"](url=server, action="", max_turns=1)
    (t,) = rolled(policy, as_json, problems[:1], lambda text, key: "no JSON", samples=1)
    assert (t.verdict.status, t.reward) == ("wrong", 0.0), "by no answer the policy gets out of the loss"
    missing = ENVIRONMENTS["openenv"](url="http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="no server answers"):
        rolled(policy, missing, problems[:1], lambda text, key: "1")
    with pytest.raises(ConfigError, match=r"environment\.url"):
        rolled(policy, ENVIRONMENTS["openenv"](), problems[:1], lambda text, key: "1")


def test_their_scales_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"environment\.lowest 1\.0 must be below"):
        adapters.OpenEnv(lowest=1.0)
