"""The machine: which device to compute on, what it can do, and what a run records of it."""

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from simplerl import __version__
from simplerl.core.errors import ConfigError

#: Parameters below which a pass through a model is bound by the number of its operations, not by tokens.
SMALL_MODEL = 2**24


def pick_device(wanted: str, setting: str = "learner.device") -> torch.device:
    """Return the device asked for, or a GPU if there is one. `setting` is what the user set, for the message."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise ConfigError(f"{setting} = {wanted!r} is not a device: use auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"{setting} = {wanted!r}, but PyTorch sees no CUDA device; use --{setting} cpu")
    return device


def ranks_here(size: int, device: torch.device, *, placed: bool = False) -> int:
    """Return how many of a learner's ranks this machine has: all, or where others are `placed` elsewhere as many as it
    has GPUs, on CPUs one. Raises ConfigError where it cannot have them."""
    there = torch.cuda.device_count() if device.type == "cuda" else 1 if placed else size
    check_devices(min(size, there) if placed else size, device, more="--cluster.address for more machines, ")
    return min(size, there)


def check_devices(
    size: int, device: torch.device, setting: str = "learner.ranks", part: str = "rank", more: str = ""
) -> None:
    """Raise ConfigError where there are not so many devices for the ranks of a learner, or other parts."""
    if device.type == "cuda" and size > (there := torch.cuda.device_count()):
        raise ConfigError(
            f"{setting} = {size}, but PyTorch sees {there} CUDA device{'s' if there > 1 else ''}, and each {part} "
            f"needs one: give --{setting.replace('_', '-')} {there}, {more}or check CUDA_VISIBLE_DEVICES"
        )
    if device.index:
        raise ConfigError(f"learner.device = {device} with {setting} = {size}: {part} N takes cuda:N; give cuda")
    if part == "rank" and torch.distributed.is_initialized():
        raise ConfigError("learner.ranks: this process is in a process group already; start it without torchrun")


def has_fast_bf16(device: torch.device) -> bool:
    """Return whether bf16 matrix products are fast: on a GPU, or on a CPU with AVX-512 BF16 or AMX."""
    if device.type != "cpu":
        return True
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Return versions, git commit and machine. Environment variables are not recorded: they may hold secrets."""
    packages = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "pyarrow", "mpmath")
    return {
        "python": platform.python_version(),
        "packages": {"simplerl": __version__, **{name: version(name) for name in packages}},
        "git_commit": _git_commit(),
        "platform": platform.platform(),
        "cpu_threads": torch.get_num_threads(),
        "cpu_count": os.cpu_count(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
    }


def _git_commit() -> str | None:
    """Return the commit of the source tree that simplerl runs from; None for an installed package."""
    root = Path(__file__).resolve().parents[3]
    if not (root / "pyproject.toml").is_file():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def peak_memory_gib(device: torch.device) -> float:
    """Return the largest memory so far: allocated on the GPU, else resident in this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
