"""Environments of other libraries as they are: packages of `verifiers`, and servers of OpenEnv.

    --data verifiers:PACKAGE,size=500 --environment verifiers            pip install 'simplerl[verifiers]'
    --data FILE --environment openenv --environment.url http://…         pip install 'simplerl[openenv]'

Both are agents of ours (`agent.py`): an episode of theirs talks to the policy through its endpoint, so that what the
policy writes is kept as its tokens, and their messages are appended. Their tools would need calls in the protocol,
which the endpoint does not have: a task with tools is refused by `verifiers` itself, and is an `error`.
"""

import asyncio
import functools
import hashlib
import importlib
import importlib.util
import itertools
import json
import sys
import threading
import types
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from simplerl.core.errors import ConfigError, DataError, raised_at
from simplerl.core.types import Problem
from simplerl.data.problems import ProblemSet, generated_size
from simplerl.environments.agent import Agent

TEST_SHARE = 0.2


def door(module: str, extra: str) -> Any:
    """Return a library of others. Raises ConfigError where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"{extra} needs its library: pip install 'simplerl[{extra}]' ({error})") from error


@dataclass(frozen=True, kw_only=True)
class Adapter(Agent):
    """An environment of others, whose rewards have a scale of their own."""

    lowest: float = 0.0
    """What their reward is for nothing; it counts as 0."""
    highest: float = 1.0
    """What their reward is for a full mark; it counts as 1. Beyond both is an error."""

    def __post_init__(self) -> None:
        if not self.lowest < self.highest:
            raise ConfigError(f"environment.lowest {self.lowest} must be below environment.highest {self.highest}")

    def scaled(self, reward: float) -> float:
        """Return a reward of theirs as a share of a full mark."""
        return (reward - self.lowest) / (self.highest - self.lowest)


# -- verifiers ---------------------------------------------------------------------------------------------------------


def tasks(
    split: str = "train",
    *,
    size: int = 0,
    seed: int = 0,
    levels: tuple[int, ...] = (),
    task: str = "",
    options: Mapping[str, Any] | None = None,
) -> ProblemSet:
    """Return `size` tasks of a package of `verifiers` as problems (0: 2,000 train, 250 test, or all that there are).

    `options` are the settings of its taskset, which has no levels, and seeds of its own. A hash of a task decides its
    split.
    """
    if not task:
        raise ConfigError("data set 'verifiers' is a package's tasks: write verifiers:PACKAGE")
    address = json.dumps({"id": task, **(options or {})}, sort_keys=True)
    size, problems = generated_size("verifiers", split, size), list[Problem]()
    for item in _loaded(task, _Theirs.of(address).env.taskset):
        if ("test" if int(item.hash[:12], 16) / 16**12 < TEST_SHARE else "train") != split:
            continue
        prompt = item.data.prompt
        shown = prompt if isinstance(prompt, str) else json.dumps([str(each) for each in prompt or ()])
        own: dict[str, Any] = {"question": shown, "answer": str(getattr(item.data, "answer", "") or "")}
        own["meta"] = {"verifiers": address, "index": item.data.idx}
        problems.append(Problem(id=f"{task}-{item.data.idx}", source=task, **own))
        if len(problems) == size:
            break
    if not problems:
        raise DataError(f"verifiers:{task} has no task for the split {split!r}")
    return ProblemSet(problems=problems, origin={"generated": f"verifiers:{task}", "options": dict(options or {})})


def _loaded(name: str, taskset: Iterable[Any]) -> Iterator[Any]:
    """Yield the tasks of a taskset. Raises DataError for what it raises."""
    try:
        yield from taskset
    except Exception as error:  # Anybody's code.
        raise DataError(f"verifiers:{name}: its tasks cannot be loaded: {raised_at(error)}") from error


_STARTING, _UP = threading.Lock(), dict[str, "_Theirs"]()


class _Theirs:
    """An environment of `verifiers` that is up, in an event loop of its own."""

    error: Exception | None = None

    def __init__(self, address: str):
        vf = door("verifiers.v1", "verifiers")
        loaders = door("verifiers.v1.utils.loaders", "verifiers")
        taskset = json.loads(address)
        try:
            kind = loaders.env_config_type(taskset["id"])
            harness = loaders.default_harness_id(taskset["id"])
            seat = {"runtime": {"type": "subprocess"}}
            if harness == "bash":  # Theirs for a package that has none of its own; it needs `uv` and a shell.
                seat["harness"] = {"id": _chat(vf)}
            seats = [name for name, field in kind.model_fields.items() if isinstance(field.default, vf.AgentConfig)]
            self.env = loaders.load_environment(kind(taskset=taskset, **dict.fromkeys(seats, seat)))
        except (ImportError, ValueError, TypeError, AttributeError) as error:
            raise ConfigError(f"verifiers:{taskset['id']}: {error}") from error
        self.vf, self.tasks, self._more = vf, list[Any](), _loaded(taskset["id"], self.env.taskset)
        self.lock, self.loop, up = threading.Lock(), asyncio.new_event_loop(), threading.Event()
        threading.Thread(target=self.loop.run_until_complete, args=(self._serve(up),), daemon=True).start()
        up.wait()
        if self.error:
            raise ConfigError(f"verifiers:{taskset['id']} does not start: {self.error}") from self.error

    @staticmethod
    def of(address: str) -> "_Theirs":
        """Return the environment of a taskset with its settings; it stays up as long as the process."""
        with _STARTING:
            if address not in _UP:
                _UP[address] = _Theirs(address)
            return _UP[address]

    async def _serve(self, up: threading.Event) -> None:
        try:
            async with self.env.serving():
                up.set()
                await asyncio.Event().wait()
        except Exception as error:  # Anybody's code; whoever waits is told.
            self.error = error
        finally:
            up.set()

    def play(self, index: int, base_url: str, api_key: str) -> float:
        """Go through an episode; return its reward. Raises RuntimeError for what went wrong in it."""
        with self.lock:
            self.tasks += itertools.islice(self._more, max(0, index + 1 - len(self.tasks)))
        client = self.vf.EvalClientConfig(base_url=base_url, api_key_var="SIMPLERL_NONE")  # One for all episodes.
        context = self.vf.ModelContext(model=api_key, client=client)
        running = asyncio.run_coroutine_threadsafe(self.env.run_episode(self.tasks[index], context), self.loop)
        episode = running.result()
        if not episode.ok:
            errors = [*episode.errors, *(error for trace in episode.traces for error in trace.errors)]
            raise RuntimeError("; ".join(f"{each.type}: {each.message}" for each in errors) or "the episode failed")
        return float(sum(trace.reward for trace in episode.traces))


@functools.cache
def _chat(vf: Any) -> str:
    """Return the name of a harness that asks the policy from this process; theirs start a program."""
    httpx, message_to_wire = door("httpx", "verifiers"), door("verifiers.v1.dialects.chat", "verifiers").message_to_wire

    class Chat(vf.Harness[vf.HarnessConfig]):  # type: ignore[misc, name-defined]
        APPENDS_SYSTEM_PROMPT, SUPPORTS_RESUME, EXECUTES_CODE, NEEDS_CONTAINER = True, True, False, False

        async def launch(
            self, ctx: Any, trace: Any, runtime: Any, endpoint: str, secret: str, mcp_urls: Any, data: Any
        ) -> Any:
            """Ask once: what follows is another call with the conversation so far."""
            system, prompt = self.resolve_prompt(data)
            given = [{"role": "system", "content": system}] if system else []
            asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else map(message_to_wire, prompt)
            body = {"model": ctx.model, "messages": [*given, *asked]}
            async with httpx.AsyncClient(timeout=None) as client:
                url, headers = f"{endpoint}/chat/completions", {"Authorization": f"Bearer {secret}"}
                (await client.post(url, json=body, headers=headers)).raise_for_status()
            return vf.ProgramResult(exit_code=0, stdout="", stderr="")

    name = "simplerl_verifiers_chat"  # They find a harness as a module.
    module = sys.modules[name] = types.ModuleType(name)
    vars(module).update({"Chat": Chat, "__all__": ["Chat"]})
    return name


@dataclass(frozen=True, kw_only=True)
class Verifiers(Adapter):
    """The episodes of a package of `verifiers`, whose tasks the problems are."""

    source: ClassVar[str] = "verifiers"

    def play(self, base_url: str, api_key: str, problem: Problem) -> float:
        """Go through an episode of the problem's task."""
        if "verifiers" not in problem.meta:
            raise ConfigError(f"{problem.id} is not a task of verifiers: --data verifiers:PACKAGE gives its tasks")
        theirs = _Theirs.of(problem.meta["verifiers"])
        return self.scaled(theirs.play(problem.meta["index"], base_url, api_key))


# -- OpenEnv -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class OpenEnv(Adapter):
    """The episodes of a server of OpenEnv: an answer is an action, an observation the next message."""

    source: ClassVar[str] = "openenv"

    url: str = ""
    """Where the server is, such as http://127.0.0.1:8000. It must take as many sessions as there are threads (16)."""
    action: str = "message"
    """Field of the action that an answer becomes; empty: an answer is the action, as JSON."""
    observation: str = ""
    """Field of an observation that the policy is shown; empty: all of them, as JSON."""
    returns: Literal["last", "sum"] = "last"
    """Which of the rewards of an episode's steps count."""

    def start(self, problem: Problem, rng: np.random.Generator) -> Any:
        """Begin an episode. Raises ConfigError where there is no server."""
        door("openenv.core", "openenv")
        if not self.url:
            raise ConfigError("openenv needs the address of a server: --environment.url http://127.0.0.1:8000")
        try:
            urllib.request.urlopen(f"{self.url.rstrip('/')}/health", timeout=10).close()
        except (OSError, ValueError, urllib.error.HTTPError) as error:
            raise ConfigError(f"openenv: no server answers at {self.url} ({error})") from error
        return super().start(problem, rng)

    def play(self, base_url: str, api_key: str, problem: Problem) -> float:
        """Go through an episode: reset with the problem's columns of the same name, then a step for each answer."""
        openai = door("openai", "openenv")
        policy = openai.OpenAI(base_url=base_url, api_key=api_key, max_retries=0, timeout=None)
        digest = hashlib.blake2b(f"{problem.id}".encode(), digest_size=4).digest()
        rewards: list[float] = []
        with door("openenv.core", "openenv").GenericEnvClient(base_url=self.url).sync() as server:
            result = server.reset(seed=int.from_bytes(digest, "little") >> 1)
            messages = [{"role": "user", "content": f"{problem.question}\n\n{self._shown(result)}".strip()}]
            while not result.done and len(rewards) < self.max_turns:
                reply = policy.chat.completions.create(model="policy", messages=messages).choices[0].message.content
                result = server.step(json.loads(reply) if not self.action else {self.action: reply})
                rewards.append(float(result.reward or 0.0))
                messages += [{"role": "assistant", "content": reply}, {"role": "user", "content": self._shown(result)}]
        return self.scaled(sum(rewards) if self.returns == "sum" else rewards[-1])

    def _shown(self, result: Any) -> str:
        observation = result.observation
        return str(observation[self.observation]) if self.observation else json.dumps(observation, ensure_ascii=False)
