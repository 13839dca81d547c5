"""The pool's side of the worker processes: starting the helper, asking it for workers, and ending them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from simplerl.verify.frames import Closed, Inbox, pack

#: What Python runs as the helper; tests put a misbehaving one in its place.
COMMAND: tuple[str, ...] = ("-m", "simplerl.verify.worker")


class Worker:
    """One worker process, seen from the pool: a socket, and its process id once it has reported."""

    def __init__(self, sock: socket.socket, start_deadline: float) -> None:
        self.sock, self.start_deadline = sock, start_deadline
        self.pid = 0
        self._inbox = Inbox()

    def send(self, message: dict[str, Any]) -> None:
        """Send one request; raise `Closed` when the worker is gone."""
        try:
            self.sock.sendall(pack(message))
        except OSError as error:
            raise Closed from error

    def receive(self) -> list[dict[str, Any]]:
        """Return the replies that have arrived; raise `Closed` when the worker is gone."""
        self._inbox.feed(self.sock)
        return self._inbox.frames()

    def kill(self) -> None:
        """End the process; its id is not reused before the helper has reaped it."""
        if self.pid:
            with contextlib.suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)

    def cpu_seconds(self) -> float:
        """CPU time used so far; a stopped or starved worker stands still. Infinity where the system cannot tell."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except (OSError, IndexError, ValueError):
            return 0.0 if sys.platform == "linux" else float("inf")


class Helper:
    """The clean process that forks workers."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        source = str(Path(__file__).resolve().parents[2])
        path = os.environ.get("PYTHONPATH")
        environment = {
            **os.environ,
            "PYTHONPATH": source if not path else source + os.pathsep + path,
            "MPMATH_NOGMPY": "1",
            "SYMPY_GROUND_TYPES": "python",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
        }
        try:
            # -P: a file in the working directory must not be able to stand in for a module.
            self.process = subprocess.Popen(
                [sys.executable, "-P", *COMMAND, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=environment,
            )
        finally:
            theirs.close()

    def alive(self) -> bool:
        """Whether the helper runs."""
        return self.process.poll() is None

    def spawn(self, start_deadline: float) -> Worker:
        """Ask for one worker; it reports when it is ready."""
        mine, theirs = socket.socketpair()
        try:
            socket.send_fds(self._control, [b" "], [theirs.fileno()])
        except OSError:
            mine.close()
            raise
        finally:
            theirs.close()
        return Worker(mine, start_deadline)

    def reap(self, worker: Worker) -> None:
        """Let the helper collect a worker that has ended."""
        if worker.pid:
            with contextlib.suppress(OSError):
                self._control.sendall(f"{worker.pid} ".encode("ascii"))

    def close(self) -> None:
        """End the helper, and with it every worker."""
        self._control.close()
        try:
            self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
