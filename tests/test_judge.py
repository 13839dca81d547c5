"""Answers on disk, and many requests at once, without a server: the client's failures are in tests/behaviours."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from simplerl.judge import AnswerCache, EndpointError, NoAnswer, Reply, ask, content_address, cost


class Fake:
    """An endpoint that answers by a function of the message."""

    address = "fake"

    def __init__(self, answer: Callable[[str], str]):
        self._answer = answer
        self.asked: list[str] = []

    def ask(self, messages, *, retries=None) -> Reply:
        self.asked.append(messages[0]["content"])
        return Reply(text=self._answer(messages[0]["content"]), tokens_in=1, tokens_out=2)


def requests(count: int) -> dict[str, list[dict[str, str]]]:
    return {f"k{i}": [{"role": "user", "content": str(i)}] for i in range(count)}


def test_every_request_is_answered_and_kept_once() -> None:
    kept: list[tuple[str, Reply]] = []
    done: list[None] = []
    endpoint = Fake(lambda text: f"<{text}>")
    assert ask(endpoint, requests(20), keep=lambda *pair: kept.append(pair), on_done=lambda: done.append(None)) == {}
    assert {key: reply.text for key, reply in kept} == {f"k{i}": f"<{i}>" for i in range(20)}
    assert (len(kept), len(done), len(endpoint.asked)) == (20, 20, 20)


def test_nothing_to_ask() -> None:
    assert ask(Fake(str), {}, keep=lambda key, reply: None) == {}


def test_what_has_no_answer_is_named_and_not_kept() -> None:
    def answer(text: str) -> str:
        if text in ("3", "7"):
            raise NoAnswer(f"no {text}")
        return text

    kept: dict[str, Reply] = {}
    assert ask(Fake(answer), requests(9), keep=kept.__setitem__, concurrency=1) == {"k3": "no 3", "k7": "no 7"}
    assert set(kept) == {f"k{i}" for i in range(9)} - {"k3", "k7"}


def test_failures_in_a_row_end_it() -> None:
    def answer(text: str) -> str:
        if int(text) >= 4:
            raise NoAnswer("down")
        return text

    kept: dict[str, Reply] = {}
    endpoint = Fake(answer)
    with pytest.raises(EndpointError, match="3 times in a row, the last time: down"):
        ask(endpoint, requests(50), keep=kept.__setitem__, concurrency=2)
    assert set(kept) == {"k0", "k1", "k2", "k3"}
    assert len(endpoint.asked) <= 4 + 3 + 1, "at most what was on its way"


@pytest.mark.parametrize("answered", [2, 0])
def test_the_deadline_bounds_the_time_and_drops_what_comes_later(answered: int) -> None:
    release = threading.Event()

    def answer(text: str) -> str:
        if int(text) >= answered:
            release.wait(30)
        return text

    kept: dict[str, Reply] = {}
    began = time.monotonic()
    failed = ask(Fake(answer), requests(6), keep=kept.__setitem__, concurrency=3, deadline_s=0.5)
    assert time.monotonic() - began < 10
    release.set()
    time.sleep(0.1)
    assert set(kept) == {f"k{i}" for i in range(answered)}
    assert set(failed) == {f"k{i}" for i in range(answered, 6)}
    assert "within 0.5 s" in failed["k5"]


def test_an_error_of_ours_is_raised_and_stops_the_others() -> None:
    def keep(key: str, reply: Reply) -> None:
        if key == "k4":
            raise OSError("disk full")

    endpoint = Fake(str)
    with pytest.raises(OSError, match="disk full"):
        ask(endpoint, requests(100), keep=keep, concurrency=1)
    assert len(endpoint.asked) == 5


def test_answers_come_back_and_half_a_line_is_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    reply = Reply(text="{}", finish_reason="stop", tokens_in=3, tokens_out=None)
    AnswerCache(file).keep("a", reply)
    with file.open("a") as handle:
        handle.write('{"key": "b", "repl')
    assert AnswerCache(file).read(pytest.fail) == {"a": reply}
    AnswerCache(file).keep("c", Reply(text=None))
    AnswerCache(file).keep("d", Reply(text="\udfff"))
    assert {key: answer.text for key, answer in AnswerCache(file).read(pytest.fail).items()} == {
        "a": "{}",
        "c": None,
        "d": "?",
    }


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"key": "x"}', '{"key": "x", "reply": 3}', "[" * 99_999])
def test_damaged_answers_are_named_and_left_out(line: str, tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    AnswerCache(file).keep("a", Reply(text="{}"))
    with file.open("a") as handle:
        handle.write(line + "\n")
    warnings: list[str] = []
    assert list(AnswerCache(file).read(warnings.append)) == ["a"]
    assert "answers.jsonl:2" in warnings[0]


def test_threads_do_not_mix_their_lines(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path / "answers.jsonl")
    threads = [threading.Thread(target=lambda i=i: cache.keep(str(i), Reply(text=str(i) * 5000))) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {key: reply.text for key, reply in cache.read(pytest.fail).items()} == {
        str(i): str(i) * 5000 for i in range(20)
    }


def test_an_address_depends_on_every_part_and_on_no_order_of_names() -> None:
    assert content_address("m", {"a": 1, "b": 2}) == content_address("m", {"b": 2, "a": 1})
    assert len({content_address(*parts) for parts in (("m",), ("m", 1), ("m", "1"), ("m1",), (["m"],))}) == 5
    assert content_address("\ud800"), "text that is not Unicode has an address too"


def test_cost() -> None:
    assert cost(2_000_000, 500_000, 3.0, 10.0) == pytest.approx(11.0)
