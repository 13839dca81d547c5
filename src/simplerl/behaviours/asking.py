"""Asking an endpoint about many responses: several at a time, every answer kept at once, an end where it is vain."""

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from queue import SimpleQueue
from typing import Any

from simplerl.behaviours.definitions import messages
from simplerl.behaviours.endpoint import Endpoint, EndpointError, NoAnswer, Reply, Unreachable
from simplerl.behaviours.judge import Item

#: So many requests without an answer one after another, and nothing further is sent.
FAILURES_IN_A_ROW = 3


#: The first request is tried again only so often: what is wrong with all of them should be said soon.
PROBE_RETRIES = 2


def ask(
    endpoint: Endpoint,
    todo: Mapping[str, Item],
    *,
    keep: Callable[[str, dict[str, Any]], None],
    concurrency: int,
    say: Callable[[str], None],
    on_done: Callable[[], None] = lambda: None,
) -> dict[str, str]:
    """Ask about responses, several at a time; return address → why there is no answer, of those that have none.

    `keep` is called with each answer at once, in the thread that received it. The first requests go one by one: where
    they all fail nothing more is sent. Raises EndpointError then, and where that happens later on; what was answered is
    kept. After Ctrl-C no new request is sent, and those on their way are waited for and kept; another gives them up.
    """
    failed: dict[str, str] = {}
    row = 0

    def one(key: str, item: Item, retries: int | None = None) -> None:
        keep(key, as_answer(endpoint.ask(messages(item.question, item.response), retries=retries)))

    def done(key: str, error: NoAnswer | None) -> None:
        nonlocal row
        on_done()
        row = 0 if error is None else row + 1
        if error is not None:
            failed[key] = str(error)
            if row >= FAILURES_IN_A_ROW:
                raise EndpointError(
                    f"{endpoint.address} gave no answer {row} times in a row, the last time: {error}. Nothing more is "
                    "sent; what was answered is kept, and the same command goes on from there"
                )

    waiting = iter(todo.items())
    for key, item in waiting:
        try:
            one(key, item, PROBE_RETRIES)
        except Unreachable as error:
            raise EndpointError(f"{error}. Is the server running? Check --base-url") from None
        except NoAnswer as error:
            done(key, error)
            continue
        done(key, None)
        break
    with closing(_several(one, waiting, concurrency, say)) as outcomes:
        for key, error in outcomes:
            done(key, error)
    return failed


def _several(
    one: Callable[[str, Item], None], waiting: Iterator[tuple[str, Item]], threads: int, say: Callable[[str], None]
) -> Iterator[tuple[str, NoAnswer | None]]:
    """Do things in several threads; yield what came of each. What is on its way when the caller stops is waited for.

    The threads are daemons, so that a second Ctrl-C ends the process at once: what was answered is on disk.
    """
    jobs: SimpleQueue[tuple[str, Item] | None] = SimpleQueue()
    results: SimpleQueue[tuple[str, Exception | None]] = SimpleQueue()
    stop = threading.Event()

    def work() -> None:
        while (job := jobs.get()) is not None and not stop.is_set():
            error = None
            try:
                one(*job)
            except Exception as caught:
                error = caught
            results.put((job[0], error))

    running = 0
    for job in itertools.islice(waiting, threads):
        jobs.put(job)
        running += 1
    workers = [threading.Thread(target=work, name=f"judge-{number}", daemon=True) for number in range(running)]
    try:
        for worker in workers:
            worker.start()
        while running:
            key, error = results.get()
            running -= 1
            if error is not None and not isinstance(error, NoAnswer):
                raise error
            if (job := next(waiting, None)) is not None:
                jobs.put(job)
                running += 1
            yield key, error
    finally:
        if running:
            say(f"waiting for the requests that are on their way, at most {running}; Ctrl-C gives them up")
        stop.set()
        for _ in workers:
            jobs.put(None)
        for worker in workers:
            if worker.is_alive():
                worker.join()


def as_answer(reply: Reply) -> dict[str, Any]:
    """Return a reply as it is kept."""
    return {
        "reply": reply.text,
        "finish_reason": reply.finish_reason,
        "tokens_in": reply.tokens_in,
        "tokens_out": reply.tokens_out,
    }
