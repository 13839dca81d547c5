"""What travels between a controller and its engines: messages, completions, weights. Safetensors throughout, no pickle.

A message is a JSON header and named arrays. Weights are files in a directory that both see (shared memory where there
is some), so that they are written once for any number of engines, and are there for one that starts late.
"""

import json
import os
import shutil
import socket
import tempfile
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import safetensors
import safetensors.numpy
import safetensors.torch
import torch

from simplerl.core.errors import ModelError, SimpleRLError
from simplerl.core.types import Completion, VersionSpan

#: Numbers in a file of weights, where a single tensor is not larger: so much is held at once.
FILE_NUMBERS = 2**28
#: Bytes before a message that say how long it is.
PREFIX = 8

#: Memory that processes share, where there is any.
SHARED_MEMORY = Path("/dev/shm")
#: How the names of folders begin that processes of this machine share; the number of who made it follows.
OWN = f"simplerl-{socket.gethostname()}-"

#: A header and named arrays.
Message = tuple[dict[str, Any], dict[str, np.ndarray]]


def pack(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> bytes:
    """Return a message as bytes, with their number before them."""
    named = {name: np.ascontiguousarray(values) for name, values in (arrays or {}).items()}
    data = safetensors.numpy.save(named, metadata={"header": json.dumps(header)})
    return len(data).to_bytes(PREFIX, "little") + data


def send(connection: socket.socket, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> None:
    """Send a message. Raises OSError where nobody is there."""
    connection.sendall(pack(header, arrays))


def receive(file: BinaryIO) -> Iterator[Message]:
    """Yield the messages of a file, or of a connection until its other end is closed; one that was cut short is none.

    Raises OSError where the connection breaks.
    """
    while len(prefix := file.read(PREFIX)) == PREFIX:
        length = int.from_bytes(prefix, "little")
        if len(data := file.read(length)) < length:
            return
        length = int.from_bytes(data[:PREFIX], "little")
        header = json.loads(json.loads(data[PREFIX : PREFIX + length])["__metadata__"]["header"])
        yield header, safetensors.numpy.load(data)


def pack_completion(completion: Completion) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return what a message says of a completion: part of its header, and its arrays."""
    header = {
        "text": completion.text,
        "stop_reason": completion.stop_reason,
        "versions": [[span.version, span.start, span.end] for span in completion.versions],
    }
    arrays = {name: getattr(completion, name) for name in ("token_ids", "logprobs", "entropies")}
    return header, {name: values for name, values in arrays.items() if values is not None}


def unpack_completion(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Completion:
    """Return the completion that a message holds."""
    return Completion(
        token_ids=arrays["token_ids"],
        logprobs=arrays["logprobs"],
        entropies=arrays.get("entropies"),
        text=header["text"],
        stop_reason=header["stop_reason"],
        versions=tuple(VersionSpan(*span) for span in header["versions"]),
    )


def shared_folder(base: Path | None = None) -> "tempfile.TemporaryDirectory[str]":
    """Return a folder in `base`, or in memory that processes share, where there is any."""
    tidy()
    base = base or (SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else Path(tempfile.gettempdir()))
    return tempfile.TemporaryDirectory(prefix=f"{OWN}{os.getpid()}-", dir=base, ignore_cleanup_errors=True)


def tidy() -> None:
    """Remove the folders of processes that are gone: one cleans up by itself, but where it is killed."""
    for folder in (*SHARED_MEMORY.glob(f"{OWN}*"), *Path(tempfile.gettempdir()).glob(f"{OWN}*")):
        try:
            os.kill(int(folder.name.removeprefix(OWN).split("-")[0]), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (OSError, ValueError):
            pass  # It is somebody else's.


class StoredWeights:
    """The weights that `write_weights` has written to a directory: yields (name, weights on the CPU).

    Raises ModelError where they are gone.
    """

    def __init__(self, directory: Path):
        self.directory = directory

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        files = sorted(self.directory.glob("*.safetensors"))
        if not files:
            raise ModelError(f"the weights in {self.directory} are gone")
        for file in files:
            with safetensors.safe_open(file, "pt") as opened:
                for name in opened.keys():  # noqa: SIM118 - it is no mapping
                    yield name, opened.get_tensor(name)


def write_weights(
    directory: Path, weights: Iterable[tuple[str, torch.Tensor]], halved: Container[str] = ()
) -> StoredWeights:
    """Write named weights to a directory that is there when they are complete, those that are `halved` in bf16.

    Raises SimpleRLError on a full disk.
    """
    temporary = directory.with_name(f"{directory.name}.partial")
    try:
        temporary.mkdir(parents=True)
        held: dict[str, torch.Tensor] = {}
        number = 0
        for name, values in weights:
            values = values.to(torch.bfloat16) if name in halved else values
            held[name] = values.detach().to("cpu", copy=True).contiguous()
            if sum(each.numel() for each in held.values()) >= FILE_NUMBERS:
                safetensors.torch.save_file(held, temporary / f"{number:04d}.safetensors")
                number, held = number + 1, {}
        safetensors.torch.save_file(held, temporary / f"{number:04d}.safetensors")
        temporary.rename(directory)
        return StoredWeights(directory)
    except (OSError, safetensors.SafetensorError) as error:
        raise SimpleRLError(
            f"weights cannot be handed to the engines: {directory.parent} cannot be written ({error}). It holds a copy "
            "of the model for each policy that is in use: make room there, set TMPDIR to a directory that has some "
            "where it is not in /dev/shm, or use --cluster.engines 0"
        ) from error
