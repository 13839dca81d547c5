"""The process and the machine: resident memory, threads, names."""

import os
import platform
import sys
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")
STAT = Path("/proc/stat")


def memory_gb() -> tuple[float, float]:
    """Return this process's (resident, largest resident so far) memory in GB (10⁹ bytes).

    Linux: VmRSS and VmHWM, which start afresh with the program; elsewhere `ru_maxrss` stands for both.
    """
    if STATUS.exists():
        fields = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
        return tuple(int(fields[name].split()[0]) * 1024 / 1e9 for name in ("VmRSS", "VmHWM"))
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
    return peak, peak


def forget_peak() -> None:
    """Let the largest resident memory start again from now (Linux only)."""
    if STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5")


def set_threads(threads: int) -> None:
    """Give PyTorch a number of threads; 0 leaves its own choice."""
    import torch

    if threads:
        torch.set_num_threads(threads)


class Neighbours:
    """What other programs take of the machine's cores between `__enter__` and `__exit__`, as `share` (Linux only)."""

    def __enter__(self) -> "Neighbours":
        self.share: float | None = None
        self._began = _ticks()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._began is not None and (ended := _ticks()) is not None:
            total, busy, own = (after - before for after, before in zip(ended, self._began, strict=True))
            self.share = max(0.0, busy - own) / total if total else 0.0


def _ticks() -> tuple[float, float, float] | None:
    """Return seconds so far of (all cores, all cores not idle, this process and the children it has waited for)."""
    if not STAT.exists():
        return None
    # user, nice, system, idle, waiting for disks, interrupts (hard, soft), stolen by the host
    spent = [int(field) / os.sysconf("SC_CLK_TCK") for field in STAT.read_text().split(maxsplit=9)[1:9]]
    return sum(spent), sum(spent) - spent[3] - spent[4], sum(os.times()[:4])


def describe() -> dict[str, Any]:
    """Return what the figures depend on: processor, threads, versions."""
    import torch
    import transformers

    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
