"""A worker process: judges one request at a time, and can do nothing else.

Requests and replies are lines of JSON on the socket that is its standard input and output: no pickle, so that text from
a response can never become code. The kernel limits its memory, CPU time and files; an audit hook forbids it to write,
to connect and to start programs. It ends with the process that started it, however that ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO

try:
    import resource
except ImportError:  # Windows has no limits; the deadline of the pool holds there too
    resource = None  # type: ignore[assignment]

#: Bytes that a judgement may take beyond what the worker has when it is ready.
MEMORY_BYTES = 256 << 20
_FORBIDDEN = (
    "socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.remove", "os.rename",
    "os.mkdir", "os.rmdir", "os.chmod", "os.link", "os.symlink", "os.truncate", "os.putenv", "shutil.", "urllib.",
    "ftplib.", "smtplib.", "webbrowser.", "pty.", "ctypes.dlopen",
)  # fmt: skip


def _deny(event: str, args: tuple[Any, ...]) -> None:
    """Audit hook: a worker reads modules and computes, nothing else. It cannot be removed once set."""
    if event == "open":
        mode, flags = args[1], args[2]
        if (isinstance(mode, str) and set(mode) & set("wax+")) or (isinstance(flags, int) and flags & 0o3):
            raise PermissionError(f"a verifier worker may not write {args[0]!r}")
    elif event.startswith(_FORBIDDEN):
        raise PermissionError(f"a verifier worker may not use {event}")


def _end_with(parent: int) -> None:
    """End this process when its parent has ended: while it computes it does not see its input closed."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _confine() -> None:
    """Limit this process: memory beyond what it has now, files, no core."""
    if resource is not None:
        with contextlib.suppress(OSError, ValueError):  # systems without /proc, or with a lower limit already
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + MEMORY_BYTES
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.addaudithook(_deny)


def _limit_cpu(seconds: float) -> None:
    """Let the kernel end this process when it computes that much longer: the guard behind the pool's own deadline."""
    if resource is not None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        soft = int(usage.ru_utime + usage.ru_stime + seconds) + 2
        resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def reply_to(request: dict[str, Any]) -> dict[str, Any]:
    """Judge one request; every failure is a reply too. `alone` asks whether the gold stays within the limits."""
    from simplerl.verify import judge

    try:
        if request["alone"]:
            return {"equal": judge.harmless(request["gold"]), "rule": "limits", "detail": "", "status": ""}
        outcome = judge.thorough(request["answer"], request["gold"], question=request["question"])
    except MemoryError:
        return {"equal": False, "rule": "limits", "detail": "stopped at the memory limit", "status": "memory"}
    except Exception as error:
        detail = f"{type(error).__name__}: {str(error)[:120]}"
        return {"equal": False, "rule": "crash", "detail": detail, "status": "error"}
    return {"equal": outcome.equal, "rule": outcome.rule, "detail": outcome.detail, "status": outcome.status}


def main() -> None:
    """Answer requests until the input closes. Arguments: the parent's process id, and the seconds for an answer."""
    import simplerl.verify.points  # noqa: F401  before the limits are set

    parent, seconds = int(sys.argv[1]), float(sys.argv[2])
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    lines: BinaryIO = sys.stdin.buffer
    sys.stdout = sys.stderr  # whatever a library prints must not come between replies
    _confine()
    _send({"ready": True})
    for line in lines:
        _limit_cpu(3 * seconds)
        request = json.loads(line)
        reply = reply_to(request)
        _send({**reply, "id": request["id"]})
        if reply.get("status") == "memory":
            return  # what is left of the memory is nobody's to use


def _send(message: dict[str, Any]) -> None:
    data = json.dumps(message).encode("ascii") + b"\n"
    while data:
        data = data[os.write(1, data) :]
