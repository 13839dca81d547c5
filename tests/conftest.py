"""What all tests share: one thread, no network, and models loaded once."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # Tiny models gain nothing from more, and other processes may run.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
import torch
from support import copy_policy, make_tokenizer, tiny_directory

from simplerl.models.load import Policy, load

torch.set_num_threads(1)
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Fix what a test draws without an address of its own, so that tests do not depend on their order."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _plots(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs in this process end with an empty learning.png: drawing takes longer than the run. Mark: `draws`."""
    if request.node.get_closest_marker("draws") is None:
        monkeypatch.setattr("simplerl.analysis.plots.plot_learning", lambda path, output: output.write_bytes(b""))


@pytest.fixture(scope="session")
def loaded_cubs() -> dict[str, Policy]:
    """Cubs loaded so far, by name."""
    return {}


@pytest.fixture
def cub(loaded_cubs: dict[str, Policy]) -> Callable[[str], Policy]:
    """Give a fresh copy of a cub, free to be trained."""

    def get(name: str = "cub-qwen") -> Policy:
        if name not in loaded_cubs:
            loaded_cubs[name] = load(name)
        return copy_policy(loaded_cubs[name])

    return get


@pytest.fixture(scope="session")
def tokenizer_64():
    """A tokenizer of 64 tokens: token i ≥ 2 is one character, 0 is the end, 1 the padding."""
    return make_tokenizer(64)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory, tokenizer_64) -> Callable[[str], Path]:
    """Give the directory of a random tiny model of an architecture, by name (see `support.ARCHITECTURES`)."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            made[name] = tiny_directory(name, tmp_path_factory.mktemp(name), tokenizer_64)
        return made[name]

    return get


@pytest.fixture
def tiny(tiny_models: Callable[[str], Path]) -> Callable[[str], Policy]:
    """Load a random tiny model by the name of its architecture."""
    return lambda name="llama": load(str(tiny_models(name)))
