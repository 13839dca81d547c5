"""The machine: devices by name, and what is recorded of it."""

import pytest
import torch

from simplerl.core.errors import ConfigError
from simplerl.models.device import describe_machine, peak_memory_gib, pick_device


def test_devices() -> None:
    assert pick_device("cpu").type == "cpu"
    with pytest.raises(ConfigError, match="'gpu'"):
        pick_device("gpu")
    with pytest.raises(ConfigError, match=r"^device = 'abacus'"):
        pick_device("abacus", "device")


def test_the_machine_is_described_without_its_secrets(monkeypatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    found = describe_machine(torch.device("cpu"))
    assert found["device"] == "cpu"
    assert found["packages"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert "hush" not in str(found)


def test_peak_memory_holds_what_was_allocated() -> None:
    block = torch.ones(64 * 2**20 // 4)
    assert peak_memory_gib(torch.device("cpu")) >= block.numel() * 4 / 2**30
