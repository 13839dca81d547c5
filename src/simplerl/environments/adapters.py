"""What others have written, as it is: agents, classes of TRL's form, packages of `verifiers`, servers of OpenEnv.

    def solve(base_url, api_key, problem):                # my_agent.py; --environment my_agent.py:solve
        client = openai.OpenAI(base_url=base_url, api_key=api_key)
        ...                                               # any number of chat completions, tools of its own
        return 1.0                                        # what it has earned, 0 to 1; None: the verifier judges

A function that talks to an OpenAI-compatible endpoint is an environment of the policy behind it. Every episode runs it
in a thread, with a key of its own. What the policy answers is kept as its tokens; of a further request only the
messages behind that answer are encoded and appended. So an agent must go on from its history: one that changes it has
made another conversation, which is an `error`. The server listens on loopback.

    --data verifiers:PACKAGE,size=500 --environment verifiers            pip install 'simplerl[verifiers]'
    --data FILE --environment openenv --environment.url http://…         pip install 'simplerl[openenv]'

Both are such agents. Their tools would need calls in the protocol, which the endpoint does not have: a task with tools
is refused by `verifiers` itself, and is an `error`.

    class Shop:                                           # my_tools.py; --environment my_tools.py:Shop
        def reset(self, **columns): ...                   # a new episode
        def price(self, item: str) -> str: ...            # a tool, which the model sees with its docstring
        def get_reward(self) -> float: ...                # optional: what the episode has earned, 0 to 1

A call is `<tool_call>{"name": "price", "arguments": {"item": "tea"}}</tool_call>`, the form that Qwen's and Hermes's
chat templates teach.
"""

import asyncio
import functools
import hashlib
import hmac
import http.server
import importlib
import inspect
import itertools
import json
import math
import queue
import re
import secrets
import sys
import threading
import types
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
from pydantic import PositiveInt

from simplerl.core.errors import ConfigError, DataError, nearest, raised_at
from simplerl.core.types import Call, Problem, Turn, Verdict, VerdictStatus
from simplerl.data.problems import ProblemSet, generated_size
from simplerl.environments.base import METHODS, Environment, answered

# --- agents, and the endpoint that they ask ---------------------------------------------------------------------------

HOST = "127.0.0.1"
#: Bytes of a request, beyond which it is refused.
LARGEST = 16 * 2**20
#: Chat markup for tokenizers without a template of their own.
CHATML = "<|im_start|>"

Messages = list[dict[str, str]]
T = TypeVar("T")


@dataclass(eq=False)
class Session:
    """One episode as its agent sees it."""

    running: "dict[str, Session]"
    """Key → episode, of its server."""
    key: str = field(default_factory=lambda: secrets.token_hex(16))
    inbox: "queue.SimpleQueue[Messages | Exception | float | None]" = field(default_factory=queue.SimpleQueue)
    """What the agent sends: messages; or, at its end, what it raised or what it has earned."""
    outbox: "queue.SimpleQueue[tuple[str, str] | None]" = field(default_factory=queue.SimpleQueue)
    """(text, finish reason) of each answer; None: the episode is over."""
    tokenizer: Any = None
    known: Messages = field(default_factory=list)
    """The conversation up to the policy's next answer."""
    given: list[str] = field(default_factory=list)
    """What the policy has answered."""
    reward: float | None = None

    @property
    def over(self) -> bool:
        """Whether nobody may ask any more."""
        return self.key not in self.running

    def ask(self, messages: Messages) -> tuple[str, str] | None:
        """Hand messages to the policy and wait for its answer; None where the episode is over."""
        if self.over:
            return None
        self.inbox.put(messages)
        if (answer := self.outbox.get()) is None:
            self.outbox.put(None)  # Whoever else waits is told too.
        return answer

    def end(self) -> None:
        """End the episode: whoever still asks is told that it is over."""
        if self.running.pop(self.key, None):
            self.outbox.put(None)


class Endpoint(http.server.ThreadingHTTPServer):
    """The server: it finds an episode by the key of a request and waits with it for the policy."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int = 0, *, key: str = "", begin: Callable[[Session], Callable[[], None]] | None = None):
        """With `begin` whoever has `key` may open episodes; what it returns is called in a thread of its own."""
        self.sessions: dict[str, Session] = {}
        self.key, self.begin = key, begin
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            raise ConfigError(f"port {port} cannot be used: {error}; choose another --port (0: any)") from error
        self.base_url = f"http://{HOST}:{self.server_address[1]}/v1"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of who hung up before the answer came."""

    def open(self) -> Session:
        """Begin an episode."""
        session = Session(self.sessions)
        self.sessions[session.key] = session
        return session

    def wait(self) -> None:
        """Wait until somebody interrupts; end every episode."""
        try:
            threading.Event().wait()
        finally:
            for session in list(self.sessions.values()):
                session.end()
            self.shutdown()


class _Refused(Exception):
    """A request that is not answered: status and message."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Endpoint
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        """Say nothing: a run has its own display, and keys are no lines of a log."""

    def do_POST(self) -> None:
        """Answer, or say why not."""
        try:
            status, value = 200, self._answer()
        except _Refused as refusal:
            status, message = refusal.args
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            status, message = 400, f"the request cannot be read: {type(error).__name__}: {error}"
        if status != 200:
            self.close_connection = True
            value = {"error": {"message": message, "type": "invalid_request_error"}}
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST

    def _answer(self) -> dict[str, Any]:
        """List the one model, open an episode, take its reward, or hand a chat completion to the policy."""
        server, key = self.server, self.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        if self.command == "GET":
            if self.path.rstrip("/") == "/v1/models":
                return {"object": "list", "data": [{"id": "policy", "object": "model"}]}
            raise _Refused(404, f"there is no {self.path}")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or int(length) > LARGEST:
            raise _Refused(413, f"a request has a length of at most {LARGEST} bytes")
        raw = self.rfile.read(int(length))
        if self.path == "/v1/episodes" and server.begin and hmac.compare_digest(key.encode(), server.key.encode()):
            threading.Thread(target=server.begin(opened := server.open()), daemon=True).start()
            return {"api_key": opened.key, "base_url": server.base_url}
        body = json.loads(raw)
        # Clients that share a connection among episodes have one key for all: they give an episode's as the model.
        session = server.sessions.get(key) or server.sessions.get(str(body.get("model")))
        if session is None:
            raise _Refused(401, "this key is not that of an episode that is running")
        if self.path == "/v1/reward":
            session.reward = checked_reward(body["reward"])
            if server.begin:  # There is no function whose end would be the episode's.
                session.inbox.put(None)
            return {"reward": session.reward}
        if self.path != "/v1/chat/completions":
            raise _Refused(404, f"there is no {self.path}; /v1/chat/completions and /v1/reward are")
        if body.get("stream") or body.get("n", 1) != 1 or body.get("tools"):
            raise _Refused(400, "stream, tools and n > 1 are not known here: tools stand in the prompt")
        messages = [as_message(message) for message in body["messages"]]
        if not messages:
            raise _Refused(400, "a request has at least one message")
        answer = session.ask(messages)
        if answer is None:
            raise _Refused(410, "the episode is over: at a limit of turns, tokens or seconds")
        choice = {"index": 0, "finish_reason": answer[1], "message": {"role": "assistant", "content": answer[0]}}
        about = {"id": f"chatcmpl-{len(session.given)}", "object": "chat.completion", "created": 0, "model": "policy"}
        return {**about, "choices": [choice]}


def as_message(message: Any) -> dict[str, str]:
    """Return role and text of a message; its content may be a list of texts. Raises ValueError for anything else."""
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(part["text"] for part in content)
    if not isinstance(content, str) or not isinstance(message.get("role"), str):
        raise ValueError("a message has a role and a text as its content")
    return {"role": message["role"], "content": content}


def checked_reward(value: Any, what: str = "a reward") -> float:
    """Return a reward. Raises ValueError for what is not a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and 0 <= value <= 1):
        raise ValueError(f"{what} is a number from 0 to 1, not {value!r}")
    return float(value)


def earned(reward: float) -> Verdict:
    """Return the verdict that an episode's reward stands for: only 1 is right."""
    status: VerdictStatus = "correct" if reward == 1 else "wrong"
    return Verdict(status=status, extracted=None, rule="environment", detail=f"reward {reward:g}", score=reward)


def render(messages: Sequence[dict[str, str]], tokenizer: Any) -> str:
    """Return a conversation up to where the policy answers, as text: by the tokenizer's own template, or ChatML."""
    if getattr(tokenizer, "chat_template", None):
        return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True))
    if CHATML in tokenizer.get_vocab():
        turns = "".join(f"{CHATML}{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
        return f"{turns}{CHATML}assistant\n"
    return "".join(f"{m['role'].capitalize()}: {m['content']}\n" for m in messages) + "Assistant:"


def continuation(known: Messages, answer: str, messages: Messages, tokenizer: Any) -> str:
    """Return the text between an answer of the policy and its next one.

    Raises ValueError where the messages do not go on from the conversation as it was.
    """
    kept = messages[: len(known)] == known and len(messages) > len(known) + 1
    own = messages[len(known)] if kept else {}
    if not kept or own["role"] != "assistant" or own["content"].strip() != answer.strip():
        raise ValueError("the agent has changed its history: a request must hold all messages before it, as they were")
    said = "".join(message["content"] for message in messages)
    # Stands for the answer, which is not encoded again.
    mark = next(sign for sign in map(chr, range(0xE000, 0xF900)) if sign not in said)
    turns = [*known, {**own, "content": mark}, *messages[len(known) + 1 :]]
    before, found, after = render(turns, tokenizer).partition(mark)
    if not found or not before.strip():
        raise ValueError("the chat template does not show an answer as it was given")
    return after.removeprefix(tokenizer.eos_token or "")  # The policy has ended its turn by this token.


def once(function: Callable[..., T]) -> Callable[..., T]:
    """Keep what a function returns; episodes begin in threads, and those that ask at the same moment get the same."""
    kept, lock = functools.cache(function), threading.Lock()

    def locked(*arguments: Any) -> T:
        with lock:
            return kept(*arguments)

    return locked


#: The server of this process, which starts at first use.
endpoint = once(Endpoint)


@dataclass(frozen=True, kw_only=True)
class Agent(Environment):
    """Runs a function that talks to the policy by HTTP; its requests are the policy's turns."""

    function: ClassVar[Callable[..., Any]]
    source: ClassVar[str]

    max_turns: PositiveInt = 16
    """Answers of the policy after which an episode is over."""
    observation_tokens: PositiveInt = 2048
    """Tokens of the messages between two answers; of more the middle is left out."""

    def start(self, problem: Problem, rng: np.random.Generator) -> Any:
        """Start the agent and wait for its first request."""
        session = self.begin(problem)
        try:
            session.known = self._next(session)
            if not session.known:
                raise ValueError("the agent has ended without a request")
        except Exception:
            session.end()
            raise
        return session

    def begin(self, problem: Problem) -> Session:
        """Start the agent in a thread; return its episode."""
        session = endpoint().open()

        def work() -> None:
            try:
                value = self.play(endpoint().base_url, session.key, problem)
                session.inbox.put(None if value is None else checked_reward(value))
            except Exception as error:  # Anybody's code.
                session.inbox.put(error)

        threading.Thread(target=work, daemon=True).start()
        return session

    def play(self, base_url: str, api_key: str, problem: Problem) -> Any:
        """Go through an episode; return what it has earned, or None."""
        return type(self).function(base_url, api_key, problem)

    def _next(self, session: Session) -> Messages:
        """Return the agent's next messages; none where it has ended."""
        try:
            item = session.inbox.get(timeout=self.max_seconds)
        except queue.Empty:
            raise TimeoutError("the agent neither asked nor ended") from None
        if isinstance(item, list):
            return item
        session.end()
        if isinstance(item, Exception):
            raise item
        session.reward = session.reward if item is None else item
        return []

    def opening(self, problem: Problem, state: Session, tokenizer: Any) -> str:
        """Return the text of the agent's first request: what the policy is shown first."""
        state.tokenizer = tokenizer
        return render(state.known, tokenizer)

    def step(self, problem: Problem, state: Session, text: str, rng: np.random.Generator) -> Turn:
        """Give the agent its answer and wait for what it does next."""
        state.given.append(text)
        state.outbox.put((text, "stop"))
        messages = self._next(state)
        if not messages:
            return Turn()
        said = continuation(state.known, text, messages, state.tokenizer)
        state.known = messages
        new = messages[-1]
        return Turn(observation=said, done=False, calls=(Call(tool=new["role"], arguments="", result=new["content"]),))

    def judge(self, problem: Problem, state: Session, text: str) -> Verdict | None:
        """Return what the episode has earned; an agent that still waits gets the answer that was cut, and must end."""
        if not state.over:
            state.outbox.put((text[len("\n".join(state.given)) :].lstrip("\n"), "length"))
            try:
                if self._next(state):
                    state.end()
                    self._next(state)
            except Exception:
                # What it makes of half an answer, or of a refusal, is no fault: by a limit the policy must not get out
                # of the loss. Where it only hangs, the episode is not over.
                if not state.over:
                    raise
        return None if state.reward is None else earned(state.reward)

    def end(self, problem: Problem, state: Session) -> None:
        """Refuse what the agent still asks."""
        state.end()


# --- classes of TRL's form --------------------------------------------------------------------------------------------

#: Methods of TRL's form that are no tools.
OWN = ("reset", "get_reward")
OPEN, CLOSE = "<tool_call>", "</tool_call>"
#: Python's types as JSON schema has them.
KINDS = {"int": "integer", "float": "number", "bool": "boolean", "list": "array", "tuple": "array", "dict": "object"}
_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True, kw_only=True)
class FactoryEnvironment(Environment):
    """Makes an object of a class for every episode and calls its methods as tools."""

    factory: ClassVar[Callable[[], Any]]
    source: ClassVar[str]
    stop: ClassVar[tuple[str, ...]] = (CLOSE,)

    def problem(self, problem: Problem, rng: np.random.Generator) -> Problem:
        """Return the problem with the tools, as JSON schemas, before the question."""
        tools = self._tools(type(self).factory)
        schemas = "\n".join(json.dumps(schema(name, method)) for name, method in tools.items())
        form = f'{OPEN}{{"name": …, "arguments": {{…}}}}{CLOSE}'
        return replace(problem, question=f"Tools:\n{schemas}\nCall one by {form}\n\n{problem.question}")

    @staticmethod
    def _tools(target: Any) -> dict[str, Callable[..., Any]]:
        methods = inspect.getmembers(target, inspect.isroutine)
        return {name: method for name, method in methods if not name.startswith("_") and name not in OWN}

    def start(self, problem: Problem, rng: np.random.Generator) -> Any:
        """Return an object that has been reset with the columns of the data that it takes."""
        state = type(self).factory()
        columns = {**problem.meta, "question": problem.question, "answer": problem.answer}
        parameters = inspect.signature(state.reset).parameters.values()
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            columns = {p.name: columns[p.name] for p in parameters if p.name in columns}
        state.reset(**columns)
        return state

    def step(self, problem: Problem, state: Any, text: str, rng: np.random.Generator) -> Turn:
        """Call the tool that a turn ends with; without a call the episode is over."""
        if not text.endswith(CLOSE):
            return Turn()
        asked = text.removesuffix(CLOSE).rpartition(OPEN)[2].strip()
        tools, answer = self._tools(state), functools.partial(answered, "tool_response")
        try:
            wanted = json.loads(asked)
            name, arguments = wanted["name"], wanted.get("arguments", {})
            if name not in tools:
                return answer(str(name), asked, f"unknown tool {name!r}; {nearest(str(name), tools)}", "invalid")
            inspect.signature(tools[name]).bind(**arguments)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            return answer("", asked, f"a call is JSON with a name and arguments ({error})", "invalid")
        try:
            return answer(name, asked, str(tools[name](**arguments)))
        except ValueError as error:  # TRL's convention: the model is told, and may try again.
            return answer(name, asked, f"error: {error}", "error")

    def judge(self, problem: Problem, state: Any, text: str) -> Verdict | None:
        """Return the verdict that the object's reward stands for; None where it has none."""
        if not hasattr(state, "get_reward"):
            return None
        return earned(checked_reward(float(state.get_reward()), "what get_reward returns"))


def schema(name: str, method: Callable[..., Any]) -> dict[str, Any]:
    """Return the JSON schema of a tool, from its signature and docstring."""
    own = [p for p in inspect.signature(method).parameters.values() if p.name != "self" and p.kind not in _VARIABLE]
    # As it is written: a file may have its annotations as texts, `int | None` and `list[str]` among them.
    annotations = {p.name: getattr(p.annotation, "__name__", str(p.annotation)) for p in own}
    return {
        "name": name,
        "description": (inspect.getdoc(method) or "").strip(),
        "parameters": {
            "type": "object",
            "properties": {n: {"type": KINDS.get(re.split(r"\W", a)[0], "string")} for n, a in annotations.items()},
            "required": [p.name for p in own if p.default is p.empty],
        },
    }


def adapted(value: Any, name: str) -> type[Environment]:
    """Return a function or class as an environment: one of ours as it is, an agent or a class of TRL's form adapted.

    Raises ConfigError for anything else, naming the method that is nearest to a missing one.
    """
    kind: type[Environment]
    own: dict[str, Any]
    if inspect.isroutine(value) and {"base_url", "api_key"} <= set(inspect.signature(value).parameters):
        kind, own = Agent, {"function": staticmethod(value)}
    elif not inspect.isclass(value):
        raise ConfigError(
            f"environment {name}: it is {value!r}, not a class, or a function (base_url, api_key, problem)"
        )
    elif issubclass(value, Environment):
        return value
    elif callable(getattr(value, "reset", None)):
        kind, own = FactoryEnvironment, {"factory": value}
    else:
        methods = [method for method in vars(value) if not method.startswith("_")]
        missing = f"{value.__name__} has no method 'reset'" + (f"; {nearest('reset', methods)}" if methods else "")
        raise ConfigError(
            f"environment {name}: {missing}. A class of TRL's form has it, "
            f"or is a subclass of simplerl.environments.base.Environment ({', '.join(METHODS)})"
        )
    own |= {"source": name, "__doc__": value.__doc__ or kind.__doc__}
    return dataclass(frozen=True, kw_only=True)(type(getattr(value, "__name__", "agent"), (kind,), own))


# --- other libraries --------------------------------------------------------------------------------------------------

#: Share of the tasks that are the test split's.
TEST_SHARE = 0.2


def library(module: str, extra: str) -> Any:
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


# --- verifiers --------------------------------------------------------------------------------------------------------


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
    for item in _loaded(task, theirs(address).env.taskset):
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


class _Theirs:
    """An environment of `verifiers` that is up, in an event loop of its own."""

    def __init__(self, address: str):
        vf = library("verifiers.v1", "verifiers")
        loaders = library("verifiers.v1.utils.loaders", "verifiers")
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
        self.lock, self.loop = threading.Lock(), asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.serving = self.env.serving()  # Kept: it is up as long as the process.
        try:
            self._wait(self.serving.__aenter__())
        except Exception as error:  # Anybody's code.
            raise ConfigError(f"verifiers:{taskset['id']} does not start: {error}") from error

    def _wait(self, coroutine: Any) -> Any:
        """Return what a coroutine of theirs comes to, in their loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def play(self, index: int, base_url: str, api_key: str) -> float:
        """Go through an episode; return its reward. Raises RuntimeError for what went wrong in it."""
        with self.lock:
            self.tasks += itertools.islice(self._more, max(0, index + 1 - len(self.tasks)))
        client = self.vf.EvalClientConfig(base_url=base_url, api_key_var="SIMPLERL_NONE")  # One for all episodes.
        context = self.vf.ModelContext(model=api_key, client=client)
        episode = self._wait(self.env.run_episode(self.tasks[index], context))
        if not episode.ok:
            errors = [*episode.errors, *(error for trace in episode.traces for error in trace.errors)]
            raise RuntimeError("; ".join(f"{each.type}: {each.message}" for each in errors) or "the episode failed")
        return float(sum(trace.reward for trace in episode.traces))


#: The environment of a taskset with its settings; it stays up as long as the process.
theirs = once(_Theirs)


@functools.cache
def _chat(vf: Any) -> str:
    """Return the name of a harness that asks the policy from this process; theirs start a program."""
    httpx, dialect = library("httpx", "verifiers"), library("verifiers.v1.dialects.chat", "verifiers")

    class Chat(vf.Harness[vf.HarnessConfig]):  # type: ignore[misc, name-defined]
        APPENDS_SYSTEM_PROMPT, SUPPORTS_RESUME, EXECUTES_CODE, NEEDS_CONTAINER = True, True, False, False

        async def launch(
            self, ctx: Any, trace: Any, runtime: Any, endpoint: str, secret: str, mcp_urls: Any, data: Any
        ) -> Any:
            """Ask once: what follows is another call with the conversation so far."""
            system, prompt = self.resolve_prompt(data)
            given = [{"role": "system", "content": system}] if system else []
            asked = (
                [{"role": "user", "content": prompt}]
                if isinstance(prompt, str)
                else map(dialect.message_to_wire, prompt)
            )
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

    def play(self, base_url: str, api_key: str, problem: Problem) -> float:
        """Go through an episode of the problem's task."""
        if "verifiers" not in problem.meta:
            raise ConfigError(f"{problem.id} is not a task of verifiers: --data verifiers:PACKAGE gives its tasks")
        played = theirs(problem.meta["verifiers"]).play(problem.meta["index"], base_url, api_key)
        return self.scaled(played)


# --- OpenEnv ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class OpenEnv(Adapter):
    """The episodes of a server of OpenEnv: an answer is an action, an observation the next message."""

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
        library("openenv.core", "openenv")
        if not self.url:
            raise ConfigError("openenv needs the address of a server: --environment.url http://127.0.0.1:8000")
        try:
            urllib.request.urlopen(f"{self.url.rstrip('/')}/health", timeout=10).close()
        except (OSError, ValueError, urllib.error.HTTPError) as error:
            raise ConfigError(f"openenv: no server answers at {self.url} ({error})") from error
        return super().start(problem, rng)

    def play(self, base_url: str, api_key: str, problem: Problem) -> float:
        """Go through an episode: reset with a seed of the problem's own, then a step for each answer."""
        openai = library("openai", "openenv")
        policy = openai.OpenAI(base_url=base_url, api_key=api_key, max_retries=0, timeout=None)
        digest = hashlib.blake2b(f"{problem.id}".encode(), digest_size=4).digest()
        rewards: list[float] = []
        with library("openenv.core", "openenv").GenericEnvClient(base_url=self.url).sync() as server:
            result = server.reset(seed=int.from_bytes(digest, "little") >> 1)
            messages = [{"role": "user", "content": f"{problem.question}\n\n{self._shown(result)}".strip()}]
            while not result.done and len(rewards) < self.max_turns:
                reply = policy.chat.completions.create(model="policy", messages=messages).choices[0].message.content
                try:
                    action = {self.action: reply} if self.action else dict(json.loads(reply))
                except (ValueError, TypeError, RecursionError):  # By no answer must the policy get out of the loss.
                    return 0.0
                result = server.step(action)
                rewards.append(float(result.reward or 0.0))
                messages += [{"role": "assistant", "content": reply}, {"role": "user", "content": self._shown(result)}]
        return self.scaled(sum(rewards) if self.returns == "sum" else rewards[-1])

    def _shown(self, result: Any) -> str:
        observation = result.observation
        return str(observation[self.observation]) if self.observation else json.dumps(observation, ensure_ascii=False)
