"""Engines placed by Ray (extra `ray`): on any machine of a cluster, with the messages that they get on this one.

Ray chooses the machine and starts a process there, which calls back over TCP. What an engine on this machine would read
from shared memory, the model and its weights, it is sent.
"""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from simplerl import __version__
from simplerl.core.errors import ConfigError, SimpleRLError
from simplerl.rollout.engines import be_engine
from simplerl.rollout.wire import shared_folder

MISSING = "cluster.address = {!r} needs Ray: pip install 'simplerl[ray]'"
#: Seconds in which Ray must have started a process, and this must have called.
CALL_S = 120.0
#: Seconds in which a cluster must answer at all.
REACH_S = 5.0
#: Bytes by which a process that calls shows that it was started from here.
SECRET = 32


class Cluster:
    """A Ray cluster, as the controller sees it."""

    def __init__(self, address: str, gpus: int):
        """Join the cluster at an address (`auto`: the one of this machine), or start one here (`local`).

        `gpus` is how many an engine takes. Raises ConfigError without Ray, or where no cluster answers.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
        except ImportError as error:
            raise ConfigError(MISSING.format(address)) from error
        self._ray, self._gpus, self._own = ray, gpus, not ray.is_initialized()
        settings: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
        try:
            host, _, port = address.removeprefix("ray://").rpartition(":")
            if host:  # Ray itself tries for minutes, and ends the process then.
                socket.create_connection((host, int(port)), timeout=REACH_S).close()
            ray.init(address=address, ignore_reinit_error=True, log_to_driver=False, logging_level="error", **settings)
        except Exception as error:  # Ray raises what it likes where nobody answers.
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise ConfigError(
                f"cluster.address = {address!r} does not answer: {lines[0]}. Start Ray there (ray start --head), or "
                "give --cluster.address local, which starts it on this machine"
            ) from error
        self._host = "127.0.0.1" if address == "local" else ray.util.get_node_ip_address()
        self._server = socket.create_server((self._host, 0))  # Where it is here, nobody else can call.

    def launch(self, settings: Mapping[str, Any], said: Path, environment: Mapping[str, str]) -> "tuple[Placed, Any]":
        """Have Ray start an engine; return it and the connection to it. What becomes of it is written to `said`."""
        ray, secret = self._ray, secrets.token_bytes(SECRET)
        path = os.pathsep.join(os.path.abspath(each) for each in sys.path)
        actor: Any = ray.remote(_Actor).options(
            num_cpus=1,
            num_gpus=self._gpus,
            runtime_env={"env_vars": {**environment, "PYTHONPATH": path}},
        )
        handle = actor.remote()
        call = (self._host, self._server.getsockname()[1], secret, {**settings, "version": __version__})
        placed = Placed(ray, handle, handle.serve.remote(*call), said)
        return placed, self._called(secret)

    def _called(self, secret: bytes) -> socket.socket:
        """Return the connection of who calls with a secret; others are sent away, and do not keep it waiting."""
        deadline = time.monotonic() + CALL_S
        while (left := deadline - time.monotonic()) > 0:
            self._server.settimeout(left)
            try:
                connection, _ = self._server.accept()
            except OSError:
                break
            connection.settimeout(REACH_S)
            with suppress(OSError), connection.makefile("rb") as file:
                if secrets.compare_digest(file.read(SECRET), secret):
                    connection.settimeout(None)
                    return connection
            connection.close()  # One that was given up, or somebody else.
        connection, theirs = socket.socketpair()  # Nobody called: at its end at once, so replaced.
        theirs.close()
        return connection

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        self._server.close()
        if self._own:
            self._ray.shutdown()


class Placed:
    """An engine that Ray has started, with what a process has."""

    def __init__(self, ray: Any, actor: Any, over: Any, said: Path):
        self._ray, self._actor, self._over, self._said = ray, actor, over, said
        self.pid = 0

    def poll(self) -> int | None:
        """Return a code where it has ended."""
        over, _ = self._ray.wait([self._over], timeout=0)
        return self.wait() if over else None

    def wait(self, timeout: float | None = None) -> int:
        """Return a code when it has ended, and write down why. Raises TimeoutExpired where it does not."""
        over, _ = self._ray.wait([self._over], timeout=timeout)
        if not over:
            raise subprocess.TimeoutExpired("ray", timeout or 0.0)
        try:
            self._ray.get(over[0])
        except Exception as error:  # What Ray says of an actor that has ended.
            self._said.write_text(str(error), encoding="utf-8")
        return 1

    def kill(self) -> None:
        """End it."""
        self._ray.kill(self._actor, no_restart=True)


class _Actor:
    """What Ray runs on the machine that it has chosen."""

    def serve(self, host: str, port: int, secret: bytes, settings: dict[str, Any]) -> None:
        """Call the controller and be an engine."""
        if settings.pop("version") != __version__:
            raise SimpleRLError(f"{socket.gethostname()} has simplerl {__version__}, the controller another version")
        connection = socket.create_connection((host, port), timeout=CALL_S)
        connection.settimeout(None)
        connection.sendall(secret)
        with shared_folder() as files:
            try:
                be_engine(connection, settings, Path(files), remote=True)
            finally:  # The process goes on, and with it who listens: the controller must see that nobody answers.
                connection.shutdown(socket.SHUT_WR)
