"""What travels to engines: weights as they were, from files that are complete or not there; folders of the dead go."""

import io
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from simplerl.core.errors import ModelError, SimpleRLError
from simplerl.rollout import wire
from simplerl.rollout.wire import StoredWeights, pack, receive, shared_folder, write_weights


def test_weights_are_read_as_they_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "FILE_NUMBERS", 10)
    table = torch.randn(4, 3)
    weights = {"embed": table, "head": table, "half": torch.ones(5).bfloat16(), "slice": torch.arange(8.0)[2:4]}
    write_weights(tmp_path / "one", weights.items())
    assert len(list((tmp_path / "one").iterdir())) > 1
    read = dict(StoredWeights(tmp_path / "one"))
    assert read.keys() == weights.keys()
    assert all(torch.equal(read[name], values) and read[name].dtype == values.dtype for name, values in weights.items())


def test_a_full_disk_is_said_and_leaves_nothing_that_looks_complete(tmp_path: Path, monkeypatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(SimpleRLError, match=r"(?s)cannot be handed to the engines: .*No space left.*TMPDIR"):
        write_weights(tmp_path / "one", [("a", torch.ones(2))])
    assert not (tmp_path / "one").exists()


def test_weights_that_are_gone_are_not_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="are gone"):
        list(StoredWeights(tmp_path / "one"))


@pytest.mark.parametrize("cut", [1, 5, 9, 40])
def test_a_message_that_was_cut_short_is_none(cut: int) -> None:
    frames = [pack({"kind": "x", "n": n}, {"ids": np.arange(n)}) for n in range(3)]
    data = b"".join(frames)
    assert [(header["n"], len(arrays["ids"])) for header, arrays in receive(io.BytesIO(data))] == [
        (0, 0),
        (1, 1),
        (2, 2),
    ]
    assert [header["n"] for header, _ in receive(io.BytesIO(data[:-cut]))] == [0, 1]


def test_folders_of_processes_that_are_gone_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "SHARED_MEMORY", tmp_path)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = [f"simplerl-{socket.gethostname()}-{pid}-x" for pid in (dead.pid, os.getpid(), "me")]
    for name in [*names, "simplerl-elsewhere-1-x"]:
        (tmp_path / name).mkdir()
    with shared_folder() as own:
        left = {each.name for each in tmp_path.iterdir()}
        assert left == {*names[1:], "simplerl-elsewhere-1-x", Path(own).name}
    assert not Path(own).exists()
