"""What surrounds a step: how many threads compute."""

import multiprocessing
import os

import pytest
import torch

from simplerl.models import guards


@pytest.fixture(autouse=True)
def threads(monkeypatch):
    """Let the choice be made, and undo it."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("free", "before", "wanted", "said"),
    [
        (4, None, 4, ""),
        (9, None, 4, ""),
        (1, None, 1, "of 4 processors, 1 free"),
        (4, 2, 2, "as before"),
        (1, 4, 4, ""),
    ],
)
def test_as_many_as_are_free_or_as_before(free, before, wanted, said, monkeypatch) -> None:
    monkeypatch.setattr(guards, "free_processors", lambda: free)
    line = guards.choose_threads(before)
    assert torch.get_num_threads() == wanted
    assert said in line
    assert bool(line) == bool(said)


def test_the_users_own_number_stays(monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    monkeypatch.setattr(guards, "free_processors", lambda: 1)
    assert guards.choose_threads(None) == guards.choose_threads(2) == ""
    assert torch.get_num_threads() == 4


def _spin(event) -> None:
    while not event.is_set():
        pass


def test_a_busy_processor_is_not_free() -> None:
    if not hasattr(os, "sched_getaffinity") or not os.path.exists("/proc/stat"):
        pytest.skip("only Linux tells")
    assert 1 <= guards.free_processors(0.05) <= len(os.sched_getaffinity(0))
    event = multiprocessing.Event()
    others = [multiprocessing.Process(target=_spin, args=(event,)) for _ in os.sched_getaffinity(0)]
    for other in others:
        other.start()
    try:
        assert guards.free_processors() == 1
    finally:
        event.set()
        for other in others:
            other.join()
