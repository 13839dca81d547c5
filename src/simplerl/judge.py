"""The client for OpenAI-compatible endpoints, where models judge: for behaviours and for rewards.

    Endpoint               one request → `Reply`; the only door of `openai`
    ask                    many requests at once: every answer kept the moment it arrives, bounded in time
    AnswerCache            answers by content address on disk: nothing is paid for twice, a killed call goes on
    content_address        the key of an answer: a hash of everything that it depends on
    estimate_tokens, cost  what requests will cost, before any is sent

No answer is never an opinion: what could not be asked or read is undecided. The key comes from an environment variable
and goes to the client and nowhere else: it is struck out of what the endpoint says before that is shown or kept.
"""

import dataclasses
import hashlib
import json
import math
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast
from urllib.parse import urlsplit

from simplerl.core.errors import ConfigError, SimpleRLError
from simplerl.runs.files import JsonLines

#: What a request holds besides model and messages, unless it is set otherwise; and what is ours to set.
PARAMETERS: dict[str, Any] = {"temperature": 0, "max_tokens": 2000}
RESERVED = frozenset({"model", "messages", "stream", "n"})

#: No request has more tokens: such a count is not one.
MOST_TOKENS = 10**9

#: The messages of one request, each {role, content}.
Messages = Sequence[Mapping[str, str]]


class EndpointError(SimpleRLError):
    """The endpoint cannot be used as it was asked: nothing further is sent."""


class NoAnswer(Exception):
    """This request got no answer; it may be sent again another time."""


class Unreachable(NoAnswer):
    """Nobody answers at the address."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What came back for one request."""

    text: str | None
    finish_reason: str | None = None
    tokens_in: int | None = None  # Tokens that were paid for, as the endpoint counts them; None where it does not say
    tokens_out: int | None = None
    first: Mapping[str, float] | None = None
    """Token → log-probability of what the answer could have begun with, where that was asked for and is told."""

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self:
        """Return what a line of the cache holds. Raises KeyError or TypeError where it is something else."""
        if not isinstance(record["reply"], str | None):
            raise TypeError(f"reply must be text, got {type(record['reply']).__name__}")
        rest = {name: record.get(name) for name in ("finish_reason", "tokens_in", "tokens_out", "first")}
        return cls(text=record["reply"], **rest)


class Endpoint:
    """A model behind an OpenAI-compatible API. May be used by several threads."""

    def __init__(
        self,
        *,
        model: str,
        base_url: str | None = None,
        key_variable: str | None = "OPENAI_API_KEY",
        parameters: Mapping[str, Any] = PARAMETERS,
        timeout_s: float = 120.0,
        retries: int = 5,
        say: Callable[[str], None] = lambda message: None,
    ):
        """Raises ConfigError where the package, the key or the address is missing or wrong. Sends nothing.

        `key_variable` names the environment variable with the key; None: the server needs none. `timeout_s` is the
        silence that ends a request. Answers 408, 409, 429 and 5xx, and broken connections, are tried again up to
        `retries` times, waiting longer each time or as long as the server says.
        """
        try:
            import openai
        except ImportError:
            raise ConfigError(
                "judging by a model needs the package openai: pip install 'simplerl[judge]'. Without --judge "
                "behaviours are found by keywords"
            ) from None
        self._openai, self._variable, self._timeout_s = openai, key_variable, timeout_s
        self._key = _read_key(key_variable) if key_variable else ""
        self.model, self._parameters = model, dict(parameters)
        _check_address(base_url)
        self._client = openai.OpenAI(
            api_key=self._key or "none", base_url=base_url, timeout=timeout_s, max_retries=retries, organization=None
        )
        self.address = _without_secrets(str(self._client.base_url))
        """The address, without user and password."""
        parts = urlsplit(self.address)
        if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1") and self._key:
            say(f"WARNING: the key goes unencrypted to {self.address}")

    def ask(self, messages: Messages, *, retries: int | None = None) -> Reply:
        """Return the answer to one request. Raises NoAnswer where there is none, EndpointError where asking is vain."""
        openai = self._openai
        client = self._client if retries is None else self._client.with_options(max_retries=retries)
        try:
            raw = client.chat.completions.with_raw_response.create(
                model=self.model, messages=cast(Any, list(messages)), extra_body=self._parameters
            )
            body = raw.http_response.text
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            what = f"the key in ${self._variable}" if self._variable else "a request without a key"
            raise EndpointError(
                f"{self.address} refused {what} ({error.status_code}). Check the key, --api-key-env and --base-url"
            ) from None
        except openai.NotFoundError as error:
            raise EndpointError(
                f"{self.address} does not know the model {self.model!r}, or is not the address of an OpenAI-compatible "
                f"API (it often ends with /v1): {self._message(error)}. Check --judge and --base-url"
            ) from None
        except openai.APITimeoutError:
            raise NoAnswer(f"no answer within {self._timeout_s:g} s (--timeout)") from None
        except openai.APIConnectionError as error:
            reason = self._clean(str(error.__cause__ or error))
            raise Unreachable(f"{self.address} cannot be reached: {reason}") from None
        except openai.APIStatusError as error:
            if getattr(error, "code", None) == "insufficient_quota":
                message = f"{self.address}: the account has no credit left: {self._message(error)}"
                raise EndpointError(message) from None
            raise NoAnswer(f"{error.status_code}: {self._message(error)}") from None
        except openai.OpenAIError as error:
            raise NoAnswer(self._clean(str(error))) from None
        try:
            value = json.loads(body)
            choice = value["choices"][0]
            text, reason = choice["message"].get("content"), choice.get("finish_reason")
            usage = value.get("usage") or {}
            counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
            if not isinstance(text, str | None) or not isinstance(reason, str | None):
                raise TypeError
            told = (choice.get("logprobs") or {}).get("content") or []
            first = {str(e["token"]): float(e["logprob"]) for e in told[0]["top_logprobs"]} if told else None
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
            raise NoAnswer(f"the answer is not a chat completion: {self._clean(body)}") from None
        tokens_in, tokens_out = (n if type(n) is int and 0 <= n < MOST_TOKENS else None for n in counts)
        return Reply(
            text=None if text is None else self._without_key(text),
            finish_reason=None if reason is None else self._clean(reason),
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            first=first,
        )

    def _message(self, error: Any) -> str:
        message = error.body.get("message") if isinstance(error.body, dict) else None
        return self._clean(message if isinstance(message, str) else str(error.message))

    def _clean(self, text: str) -> str:
        """Return a line of what the endpoint said that is safe to show: no key, no control characters, cut."""
        line = " ".join(self._without_key(text).split())
        return "".join(c if c.isprintable() else "·" for c in line)[:300]

    def _without_key(self, text: str) -> str:
        # What is shorter is not a secret, and would be struck out of ordinary words.
        return text.replace(self._key, "***") if len(self._key) >= 8 else text


def _read_key(variable: str) -> str:
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", variable):
        # What was given may be the key itself: it is not repeated.
        raise ConfigError(
            "--api-key-env takes the name of an environment variable, in capitals (such as OPENAI_API_KEY), never the "
            "key itself"
        )
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(
            f"the environment variable {variable} holds no key: export it, name another with --api-key-env, or give "
            "--no-api-key where the server needs none"
        )
    if not key.isascii() or not key.isprintable():
        raise ConfigError(f"the environment variable {variable} holds characters that no key has")
    return key


def _check_address(base_url: str | None) -> None:
    if base_url is None:
        return
    try:
        parts = urlsplit(base_url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ConfigError(f"--base-url must be such as http://127.0.0.1:8000/v1, got {_without_secrets(base_url)!r}")


def _without_secrets(address: str) -> str:
    """Return an address without what may be secret in it: user, password, query."""
    # As far as the last @ before the path: a password may hold one.
    return re.sub(r"//[^/?#]*@", "//", address).partition("?")[0].partition("#")[0]


#: So many requests without an answer one after another, and nothing further is sent.
FAILURES_IN_A_ROW = 3
#: The first request is tried again only so often: what is wrong with all of them should be said soon.
PROBE_RETRIES = 2
#: Bytes of a token, for the estimate of cost: few, because mathematics has short tokens. A Chinese character is three
#: bytes and about one token.
BYTES_PER_TOKEN = 3
#: An escape that JSON knows, or a backslash that is none, as in "\sqrt": LaTeX that was not escaped.
_BACKSLASH = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})|\\')


def content_address(*parts: Any) -> str:
    """Return the SHA-256 of JSON values: the key of an answer that depends on them and on nothing else."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def estimate_tokens(*texts: str) -> int:
    """Return about how many tokens texts have, from their bytes."""
    return -(-sum(len(text.encode("utf-8", "replace")) for text in texts) // BYTES_PER_TOKEN)


def cost(tokens_in: int, tokens_out: int, price_in: float, price_out: float) -> float:
    """Return what tokens cost at prices per million."""
    return (tokens_in * price_in + tokens_out * price_out) / 1_000_000


def read_object(text: str | None) -> dict[str, Any]:
    """Return the JSON object in an answer, which may stand in prose, behind a thought or in a code fence.

    LaTeX in it may have backslashes that were not doubled. Raises ValueError where there is no such object.
    """
    text = (text or "").rpartition("</think>")[2]
    inside = text[text.find("{") : text.rfind("}") + 1]
    for candidate in (inside, _BACKSLASH.sub(lambda m: m[0] if len(m[0]) > 1 else "\\\\", inside)):
        try:
            value = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            return value
    raise ValueError("no JSON object")


class AnswerCache:
    """Answers by content address in a file. One process writes to it: the caller holds the lock of its directory."""

    def __init__(self, path: Path):
        self._lines = JsonLines(path)

    def read(self, warn: Callable[[str], None]) -> dict[str, Reply]:
        """Return address → answer. `warn` hears of damaged lines, whose requests will be sent again."""
        answers = {}
        for number, line in self._lines.read():
            try:
                answers[str((line or {})["key"])] = Reply.of_record(line or {})
            except (KeyError, TypeError):
                warn(f"{self._lines.path}:{number} is damaged and left out: it will be asked again")
        return answers

    def keep(self, key: str, reply: Reply) -> None:
        """Append an answer and flush it to disk."""
        table = dataclasses.asdict(reply)
        self._lines.append([{"key": key, "reply": table.pop("text"), **table}])


def ask(
    endpoint: Endpoint,
    requests: Mapping[str, Messages],
    *,
    keep: Callable[[str, Reply], None],
    concurrency: int = 8,
    deadline_s: float = math.inf,
    say: Callable[[str], None] = lambda message: None,
    on_done: Callable[[], None] = lambda: None,
) -> dict[str, str]:
    """Send requests, several at a time; return key → why there is no answer, of those that have none.

    `keep` receives each answer at once, one call at a time. The first requests go one by one: where they all fail
    nothing more is sent. Raises EndpointError then, and where that happens later on; what was answered is kept. After
    `deadline_s` the others count as unanswered, and what still arrives is dropped. After Ctrl-C no new request is sent,
    and those on their way are waited for and kept; another gives them up.
    """
    ends_at, on_their_way, failures_in_a_row = time.monotonic() + deadline_s, 0, 0
    waiting, unanswered, failed = iter(requests), set(requests), dict[str, str]()
    lock, results = threading.Lock(), queue.SimpleQueue[tuple[str, Exception | None]]()

    def send(key: str, retries: int | None = None) -> None:
        try:
            reply = endpoint.ask(requests[key], retries=retries)
            with lock:
                if key in unanswered:  # Else the deadline has passed.
                    keep(key, reply)
            results.put((key, None))
        except Exception as error:
            results.put((key, error))

    def settle(*, probe: bool = False) -> None:
        nonlocal on_their_way, failures_in_a_row
        key, error = results.get(timeout=None if deadline_s == math.inf else max(0.0, ends_at - time.monotonic()))
        on_their_way -= 1
        if probe and isinstance(error, Unreachable):
            raise EndpointError(f"{error}. Is the server running? Check --base-url")
        if error and not isinstance(error, NoAnswer):
            raise error
        unanswered.remove(key)
        on_done()
        failures_in_a_row = failures_in_a_row + 1 if error else 0
        if error:
            failed[key] = str(error)
        if failures_in_a_row >= FAILURES_IN_A_ROW:
            raise EndpointError(
                f"{endpoint.address} gave no answer {failures_in_a_row} times in a row, the last time: {error}. "
                "Nothing more is sent; what was answered is kept, and the same command goes on from there"
            )

    try:
        probe = True
        while unanswered:
            while on_their_way < (1 if probe else concurrency) and (key := next(waiting, "")):
                on_their_way += 1
                # A daemon, so that a second Ctrl-C ends the process at once: what was answered is on disk.
                threading.Thread(target=send, args=(key, PROBE_RETRIES if probe else None), daemon=True).start()
            settle(probe=probe)
            probe = probe and failures_in_a_row > 0
    except queue.Empty:
        with lock:
            failed |= dict.fromkeys(unanswered, f"no answer within {deadline_s:g} s, the time for all of them")
            unanswered.clear()
        on_their_way = 0
    finally:
        if on_their_way:
            say(f"waiting for the requests that are on their way, at most {on_their_way}; Ctrl-C gives them up")
        for _ in range(on_their_way):
            results.get()
    return failed
