"""Many requests to one endpoint: their keys and cost, several at a time, every answer kept, an end where it is vain."""

import dataclasses
import hashlib
import json
import math
import queue
import re
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from simplerl.judge.endpoint import Endpoint, EndpointError, Messages, NoAnswer, Reply, Unreachable
from simplerl.runs.files import JsonLines

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
