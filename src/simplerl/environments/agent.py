"""Agents as they are: a function that talks to an OpenAI-compatible endpoint is an environment of the policy behind it.

    def solve(base_url, api_key, problem):                # my_agent.py; --environment my_agent.py:solve
        client = openai.OpenAI(base_url=base_url, api_key=api_key)
        ...                                               # any number of chat completions, tools of its own
        return 1.0                                        # what it has earned, 0 to 1; None: the verifier judges

Every episode runs the function in a thread, with a key of its own. What the policy answers is kept as its tokens; of a
further request only the messages behind that answer are encoded and appended. So an agent must go on from its history:
one that changes it has made another conversation, which is an `error`. The server listens on loopback.
"""

import contextlib
import functools
import hmac
import http.server
import json
import math
import queue
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from pydantic import PositiveInt

from simplerl.core.errors import ConfigError
from simplerl.core.types import Call, Problem, Turn, Verdict, VerdictStatus
from simplerl.environments.base import Environment

HOST = "127.0.0.1"
#: Bytes of a request, beyond which it is refused.
LARGEST = 16 * 2**20
#: Chat markup for tokenizers without a template of their own.
CHATML = "<|im_start|>"

Messages = list[dict[str, str]]


@dataclass(eq=False)
class Session:
    """One episode as its agent sees it."""

    key: str
    inbox: "queue.SimpleQueue[Any]" = field(default_factory=queue.SimpleQueue)
    """What the agent sends: messages, or `Ended`."""
    outbox: "queue.SimpleQueue[tuple[str, str] | None]" = field(default_factory=queue.SimpleQueue)
    """(text, finish reason) of each answer; None: the episode is over."""
    tokenizer: Any = None
    known: Messages = field(default_factory=list)
    """The conversation up to the policy's next answer."""
    given: list[str] = field(default_factory=list)
    """What the policy has answered."""
    reward: float | None = None
    over: bool = False
    end: Callable[[], None] = lambda: None
    """Ends the episode: whoever still asks is told that it is over."""

    def ask(self, messages: Messages) -> tuple[str, str] | None:
        """Hand messages to the policy and wait for its answer; None where the episode is over."""
        if self.over:
            return None
        self.inbox.put(messages)
        return self.outbox.get()


@dataclass(frozen=True)
class Ended:
    """How an agent's function ended."""

    value: Any = None
    error: Exception | None = None


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
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of who hung up before the answer came."""

    @property
    def base_url(self) -> str:
        """What an OpenAI client is given."""
        return f"http://{HOST}:{self.server_address[1]}/v1"

    def open(self) -> Session:
        """Begin an episode."""
        session = Session(secrets.token_hex(16))
        session.end = functools.partial(self.close, session)
        self.sessions[session.key] = session
        return session

    def wait(self) -> None:
        """Wait until somebody interrupts; end every episode."""
        try:
            threading.Event().wait()
        finally:
            for session in list(self.sessions.values()):
                self.close(session)
            self.shutdown()

    def close(self, session: Session) -> None:
        """End an episode: whoever still waits for an answer is told so."""
        session.over = True
        session.outbox.put(None)
        self.sessions.pop(session.key, None)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Endpoint
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        """Say nothing: a run has its own display, and keys are no lines of a log."""

    def _send(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, status: int, message: str) -> None:
        self.close_connection = True
        self._send(status, {"error": {"message": message, "type": "invalid_request_error"}})

    def do_GET(self) -> None:
        """List the one model."""
        if self.path.rstrip("/") != "/v1/models":
            return self._refuse(404, f"there is no {self.path}")
        return self._send(200, {"object": "list", "data": [{"id": "policy", "object": "model"}]})

    def do_POST(self) -> None:
        """Answer a chat completion, or take an episode's reward."""
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or int(length) > LARGEST:
            return self._refuse(413, f"a request has a length of at most {LARGEST} bytes")
        raw = self.rfile.read(int(length))
        key, server = self.headers.get("Authorization", "").removeprefix("Bearer ").strip(), self.server
        if self.path == "/v1/episodes" and server.begin and hmac.compare_digest(key.encode(), server.key.encode()):
            threading.Thread(target=server.begin(opened := server.open()), daemon=True).start()
            return self._send(200, {"api_key": opened.key, "base_url": server.base_url})
        try:
            body = json.loads(raw)
            # Clients that share a connection among episodes have one key for all: they give an episode's as the model.
            session = server.sessions.get(key) or server.sessions.get(str(body.get("model")))
            if session is None:
                return self._refuse(401, "this key is not that of an episode that is running")
            if self.path == "/v1/reward":
                session.reward = checked_reward(body["reward"])
                if server.begin:  # There is no function whose end would be the episode's.
                    session.inbox.put(Ended())
                return self._send(200, {"reward": session.reward})
            if self.path != "/v1/chat/completions":
                return self._refuse(404, f"there is no {self.path}; /v1/chat/completions and /v1/reward are")
            if body.get("stream") or body.get("n", 1) != 1 or body.get("tools"):
                return self._refuse(400, "stream, tools and n > 1 are not known here: tools stand in the prompt")
            messages = [as_message(message) for message in body["messages"]]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            return self._refuse(400, f"the request cannot be read: {type(error).__name__}: {error}")
        answer = session.ask(messages)
        if answer is None:
            return self._refuse(410, "the episode is over: at a limit of turns, tokens or seconds")
        message, choice = {"role": "assistant", "content": answer[0]}, {"index": 0, "finish_reason": answer[1]}
        return self._send(
            200,
            {
                "id": f"chatcmpl-{len(session.given)}",
                "object": "chat.completion",
                "created": 0,
                "model": "policy",
                "choices": [{**choice, "message": message}],
            },
        )


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
    mark = "\ue000"  # Stands for the answer, which is not encoded again.
    before, found, after = render([*known, {**own, "content": mark}, *messages[len(known) + 1 :]], tokenizer).partition(
        mark
    )
    if not found or not before.strip():
        raise ValueError("the chat template does not show an answer as it was given")
    return after.removeprefix(tokenizer.eos_token or "")  # The policy has ended its turn by this token.


def endpoint() -> Endpoint:
    """Return the server of this process; it starts at first use. Episodes begin in threads: there is one for all."""
    with _starting:
        return _endpoint()


_starting = threading.Lock()
_endpoint = functools.cache(Endpoint)


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
                session.inbox.put(Ended(self.play(endpoint().base_url, session.key, problem)))
            except Exception as error:  # Anybody's code.
                session.inbox.put(Ended(error=error))

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
        if not isinstance(item, Ended):
            return item
        session.end()
        if item.error is not None:
            raise item.error
        if item.value is not None:
            session.reward = checked_reward(item.value)
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
            if self._next(state):
                state.end()
                # What it makes of the refusal is no fault: by a limit the policy must not get out of the loss.
                with contextlib.suppress(Exception):
                    self._next(state)
        return None if state.reward is None else earned(state.reward)

    def end(self, problem: Problem, state: Session) -> None:
        """Refuse what the agent still asks."""
        if not state.over:
            state.end()


def agent_environment(function: Callable[..., Any], name: str) -> type[Environment]:
    """Return the environment of a function (base_url, api_key, problem)."""
    values = {"function": staticmethod(function), "source": name, "__doc__": function.__doc__ or Agent.__doc__}
    return dataclass(frozen=True, kw_only=True)(type(getattr(function, "__name__", "agent"), (Agent,), values))
