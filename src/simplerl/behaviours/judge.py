"""Judging: which responses are looked at, what it will cost, asking, and what was answered as judgements.

An answer's address is a hash of everything that it depends on, so it is paid for once: for equal responses, over steps
and runs, and however often the process is killed.
"""

import hashlib
import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from simplerl.behaviours import keywords
from simplerl.behaviours.definitions import PROMPT_VERSION, flags, messages
from simplerl.behaviours.endpoint import Endpoint, EndpointError, NoAnswer, Reply, Unreachable
from simplerl.behaviours.reading import read_reply
from simplerl.runs.behaviours import Judgement
from simplerl.runs.stages import Stage, read_columns
from simplerl.seeds import derive

#: Characters of a token, for the estimate of cost: few, because mathematics has short tokens.
CHARACTERS_PER_TOKEN = 3

#: So many requests without an answer one after another, and nothing further is sent.
FAILURES_IN_A_ROW = 3


#: The first request is tried again only so often: what is wrong with all of them should be said soon.
PROBE_RETRIES = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """A response to be judged, and where it stands."""

    step: int | None
    home: Path
    """The run or result directory that it is of."""
    problem_id: str
    sample: int
    question: str
    response: str


def select(stage: Stage, number: int, *, seed: int = 0) -> list[Item]:
    """Return `number` of a stage's responses (0: all), split over its problems as evenly as can be.

    The draw is addressed by problem and sample, not by step: the same problems and samples are chosen at every step,
    so that steps differ by the model alone. Raises RunError where the file cannot be read.
    """
    rows = read_columns(stage.file, ["problem_id", "sample", "question", "response"])
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["problem_id"], []).append(row)
    order = sorted(groups, key=lambda problem: derive(seed, "behaviours", problem))
    ranked = [
        sorted(groups[problem], key=lambda row: derive(seed, "behaviours", problem, row["sample"])) for problem in order
    ]
    # Every problem's first, then every problem's second …
    turns = (row for turn in itertools.zip_longest(*ranked) for row in turn if row is not None)
    return [
        Item(
            step=stage.step,
            home=stage.home,
            problem_id=row["problem_id"],
            sample=row["sample"],
            question=row["question"] or "",
            response=row["response"] or "",
        )
        for row in itertools.islice(turns, number or None)
    ]


def by_keywords(item: Item) -> Judgement:
    """Return what the keyword detector says."""
    return Judgement(
        step=item.step,
        problem_id=item.problem_id,
        sample=item.sample,
        judge=keywords.JUDGE,
        settings=keywords.VERSION,
        status="judged",
        behaviours=keywords.detect(item.response),
        flags=flags(item.response),
        key=_hash([keywords.JUDGE, keywords.VERSION, item.question, item.response]),
    )


@dataclass(frozen=True, kw_only=True)
class Judge:
    """A model that judges, with everything that its answers depend on."""

    model: str
    parameters: Mapping[str, Any]

    @property
    def settings(self) -> str:
        """Prompt version and parameters as one line."""
        shown = ", ".join(
            f"{name} {json.dumps(value, ensure_ascii=False, sort_keys=True)}"
            for name, value in sorted(self.parameters.items())
        )
        return f"prompt {PROMPT_VERSION}" + (f", {shown}" if shown else "")

    def address(self, item: Item) -> str:
        """Return the content address of the answer about a response."""
        return _hash([self.model, dict(self.parameters), PROMPT_VERSION, item.question, item.response])

    def judgement(self, item: Item, answer: Mapping[str, Any]) -> Judgement:
        """Return what an answer says of a response; undecided, with the reason, where it cannot be read."""
        behaviours, unfounded, detail = {}, {}, ""
        text, reason = answer.get("reply"), answer.get("finish_reason")
        if text is None or not text.strip():
            detail = "the judge said nothing" + (f" ({reason})" if reason else "")
        else:
            try:
                behaviours, unfounded = read_reply(text, item.response)
            except ValueError as error:
                detail = f"truncated at the token limit: {error}" if reason == "length" else str(error)
        return Judgement(
            step=item.step,
            problem_id=item.problem_id,
            sample=item.sample,
            judge=self.model,
            settings=self.settings,
            status="undecided" if detail else "judged",
            behaviours=behaviours,
            unfounded=unfounded,
            flags=flags(item.response),
            detail=detail,
            key=self.address(item),
        )


def _hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What has to be asked."""

    items: int
    """Responses that are to have an answer."""
    there: int
    """Of them, those whose answer is there already."""
    todo: Mapping[str, Item]
    """Address → one of the responses that it is of: equal responses are asked about once."""
    homes: Mapping[str, frozenset[Path]]
    """Address → the directories that its answer belongs into."""
    tokens_in: int = field(init=False)
    """Estimated from the number of characters."""
    tokens_out: int = field(init=False)
    """Estimated: the names of the behaviours, and half of the response in quotations at most."""

    def __post_init__(self) -> None:
        requests = [
            (sum(len(m["content"]) for m in messages(item.question, item.response)), len(item.response))
            for item in self.todo.values()
        ]
        per = CHARACTERS_PER_TOKEN
        object.__setattr__(self, "tokens_in", sum(-(-characters // per) for characters, _ in requests))
        object.__setattr__(self, "tokens_out", sum(40 + min(length // (2 * per), 300) for _, length in requests))


def plan(judge: Judge, items: Sequence[Item], answers: Mapping[str, Any]) -> Plan:
    """Return what has to be asked, given the answers that are there."""
    todo: dict[str, Item] = {}
    homes: dict[str, set[Path]] = {}
    there = 0
    for item in items:
        key = judge.address(item)
        homes.setdefault(key, set()).add(item.home)
        there += key in answers
        if key not in answers:
            todo.setdefault(key, item)
    shared = {key: frozenset(places) for key, places in homes.items()}
    return Plan(items=len(items), there=there, todo=todo, homes=shared)


def cost(tokens_in: int, tokens_out: int, price_in: float, price_out: float) -> float:
    """Return what tokens cost at prices per million."""
    return (tokens_in * price_in + tokens_out * price_out) / 1_000_000


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
