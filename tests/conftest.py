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
    "train/test_resume.py",
    "train/test_layout.py",
    "train/test_ranks.py",
    "train/test_learning.py",
    "verify/test_pool.py",
    "house/test_types.py",
    "train/test_plan.py",
    "feed/test_samplers.py",
    "train/test_asynchronous.py",
    "selftraining/test_star.py",
    "environments/test_sandbox.py",
    "report/test_outcomes.py",
    "api/test_api.py",
    "behaviours/test_judging.py",
    "train/test_sft.py",
    "train/test_run.py",
    "cli/test_train.py",
    "rollout/test_native.py",
    "report/test_page.py",
    "verify/test_additions.py",
    "verify/test_cases.py",
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
def _quick() -> Iterator[None]:
    """Take away what takes time and is not what is tested; fixtures of modules have it so, too."""
    import torch

    from simplerl.analysis import plots
    from simplerl.models import device

    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patched:
        # A run freezes and releases by itself; one in a module's fixture would release what is frozen here, and every
        # full collection from then on look at all of it, for a quarter of a second in each run.
        patched.setattr(gc, "freeze", lambda: None)
        patched.setattr(gc, "unfreeze", lambda: None)
        # Nothing in this process waits for the disk: no test takes its power away.
        patched.setattr(os, "fsync", lambda handle: None)
        # Commands in this process end with an empty plot: drawing takes longer than the rest. Mark: `draws`.
        empty = functools.wraps(plots.plot_learning)(lambda _, output: output.write_bytes(b""))
        patched.setattr(plots, "plot_learning", empty)
        patched.setattr(device, "_git_commit", functools.cache(device._git_commit))  # Not by every run.
        yield


@pytest.fixture(autouse=True)
def _each(request: pytest.FixtureRequest) -> None:
    """Fix what a test draws without an address of its own, so that tests do not depend on their order."""
    import torch

    torch.manual_seed(0)
    if request.node.get_closest_marker("draws"):
        from simplerl.analysis import plots

        request.getfixturevalue("monkeypatch").setattr(plots, "plot_learning", plots.plot_learning.__wrapped__)


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
