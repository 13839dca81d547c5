"""The worker processes: `python -m simplerl.verify.worker FD`, started and driven by `pool.py`.

A clean helper process (no torch, no threads) imports algebra once and forks the workers, so that a worker costs a few
milliseconds and never inherits the trainer's threads, locks or GPU. A worker has limits on memory, CPU time and file
size, may not open files for writing, sockets or programs, and holds one socket. The helper ends when the pool's end of
its socket closes or its parent changes; the kernel ends the workers with it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

from simplerl.verify.frames import Closed, Inbox, pack, receive

#: Address space of one worker in bytes; math-verify with SymPy needs about 0.2 GB of it.
MEMORY_BYTES = 1 << 30
#: Seconds that a worker may take to import what it needs.
_PREPARATION_S = 60.0
_PR_SET_PDEATHSIG = 1
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
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


def confine() -> None:
    """Limit this process: memory, files, no core, no network where the kernel allows it, death with the parent."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)  # best effort: not every kernel allows it without privileges
    sys.addaudithook(_deny)


def limit_cpu(seconds: float) -> None:
    """Let the kernel end this process when it computes that much longer: the guard behind the pool's own deadline."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(usage.ru_utime + usage.ru_stime + seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def judge(request: dict[str, Any], patience: Callable[[bool], None] = lambda more: None) -> dict[str, Any]:
    """Judge one pair and return the reply; every failure is a reply too. `patience(True)` asks for time that is not the
    answer's, `patience(False)` begins the answer's own anew."""
    from simplerl.verify.judge import harmless, thorough

    try:
        if request.get("only") == "gold":
            return {"equal": harmless(request["gold"])}
        outcome = thorough(request["answer"], request["gold"])
    except MemoryError:
        return {"equal": False, "rule": "limits", "detail": "stopped at the memory limit", "status": "memory", "end": 1}
    except Exception as error:
        detail = f"{type(error).__name__}: {str(error)[:120]}"
        return {"equal": False, "rule": "crash", "detail": detail, "status": "error"}
    return {"equal": outcome.equal, "rule": outcome.rule, "detail": outcome.detail, "status": outcome.status}


def serve(sock: socket.socket) -> None:
    """Answer requests, one at a time, until the other end closes."""
    confine()
    inbox = Inbox()
    sock.sendall(pack({"ready": os.getpid()}))
    while True:
        request = receive(sock, inbox)
        limit_cpu(3 * request["seconds"])

        def patience(more: bool, request: dict[str, Any] = request) -> None:
            limit_cpu(_PREPARATION_S if more else 3 * request["seconds"])
            sock.sendall(pack({"id": request["id"], "patience": more}))

        reply = judge(request, patience)
        sock.sendall(pack({**reply, "id": request["id"]}))
        if reply.get("end"):
            return


def _fork(control: socket.socket, worker_fd: int) -> int:
    """Fork one worker on its end of a socket pair; return its process id."""
    pid = os.fork()
    if pid:
        os.close(worker_fd)
        return pid
    code = 0
    try:
        control.close()
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        with socket.socket(fileno=worker_fd) as sock:
            serve(sock)
    except Closed:
        pass
    except BaseException:
        code = 1
    finally:
        os._exit(code)


def main(control: socket.socket) -> None:
    """Fork workers on request until the pool is gone."""
    from simplerl.verify import judge, points  # noqa: F401  imported here, once, for all workers

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the trainer's to handle
    parent = os.getppid()
    children: set[int] = set()
    warm = False
    try:
        while True:
            readable, _, _ = select.select([control], [], [], 1.0 if warm else 0.02)
            if not readable:
                if os.getppid() != parent:
                    return  # some other process may hold a copy of the socket open
                if not warm:
                    warm = True
                continue
            data, fds, _, _ = socket.recv_fds(control, 64, 4)
            if not data:
                return
            for fd in fds:
                pid = _fork(control, fd)
                children.add(pid)
            for line in data.decode("ascii").split():
                # A worker stays a zombie until the pool says that it has seen its end: its id cannot be reused.
                pid = int(line)
                if pid in children:
                    children.discard(pid)
                    os.waitpid(pid, 0)
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as _control:
        main(_control)
