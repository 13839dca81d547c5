"""What all tests share: one thread, no network, and models loaded once."""

import functools
import gc
import os
import signal

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # Tiny models gain nothing from more, and other processes may run.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:  # The process that only hands out tests to others imports no PyTorch: they wait for it.
    from simplerl.models.load import Policy

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # As in a shell's background job, whose children inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("repeatable")


#: Files that take longest, in this order. They begin first: one of them at the end would leave a worker idle.
LONGEST = (
    "house/test_types.py",
    "train/test_resume.py",
    "train/test_layout.py",
    "train/test_learning.py",
    "train/test_ranks.py",
    "rollout/test_split.py",
    "behaviours/test_judging.py",
    "cli/test_train.py",
    "verify/test_pool.py",
    "feed/test_samplers.py",
    "environments/test_sandbox.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first."""
    ranks = {Path(__file__).parent / name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


def pytest_collection_finish() -> None:
    """Let no collection of garbage look at what the libraries hold: each run of a test begins with a complete one."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _once() -> Iterator[None]:
    """One thread; and git is asked for the commit once, not by every run."""
    import torch

    from simplerl.models import device

    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(device, "_git_commit", functools.cache(device._git_commit))
        yield


@pytest.fixture(autouse=True)
def _frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep it so for all tests: a run freezes and releases by itself."""
    monkeypatch.setattr(gc, "freeze", lambda: None)
    monkeypatch.setattr(gc, "unfreeze", lambda: None)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Fix what a test draws without an address of its own, so that tests do not depend on their order."""
    import torch

    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing in this process wait for the disk: no test takes its power away."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture(autouse=True)
def _plots(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands in this process end with an empty plot: drawing takes longer than the rest. Mark: `draws`."""
    if request.node.get_closest_marker("draws") is None:
        monkeypatch.setattr("simplerl.analysis.plots.plot_learning", lambda _, output: output.write_bytes(b""))


@pytest.fixture(scope="session")
def fresh() -> Callable[[str], "Policy"]:
    """Give a copy of a model that is loaded once: free to be trained."""
    from support import copy_policy

    from simplerl.models.load import load

    loaded = functools.cache(load)
    return lambda model: copy_policy(loaded(model))


@pytest.fixture
def cub(fresh: Callable[[str], "Policy"]) -> Callable[[str], "Policy"]:
    """Give a fresh copy of a cub."""
    return lambda name="cub-qwen": fresh(name)


@pytest.fixture(scope="session")
def tokenizer_64():
    """A tokenizer of 64 tokens: token i ≥ 2 is one character, 0 is the end, 1 the padding."""
    from support import make_tokenizer

    return make_tokenizer(64)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory, tokenizer_64) -> Callable[[str], Path]:
    """Give the directory of a random tiny model of an architecture, by name (see `support.ARCHITECTURES`)."""
    from support import tiny_directory

    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            made[name] = tiny_directory(name, tmp_path_factory.mktemp(name), tokenizer_64)
        return made[name]

    return get


@pytest.fixture
def tiny(fresh: Callable[[str], "Policy"], tiny_models: Callable[[str], Path]) -> Callable[[str], "Policy"]:
    """Give a fresh copy of a random tiny model by the name of its architecture."""
    return lambda name="llama": fresh(str(tiny_models(name)))
