"""Processes placed by Ray (extra `ray`): engines and ranks on any machine of a cluster, served as those on this one.

Ray chooses the machine and starts a process there, which calls back over TCP. What it would read here from shared
memory or from files (a model, weights, moments), it is sent.
"""

import atexit
import os
import secrets
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import torch
import transformers

from simplerl import __version__
from simplerl.core.errors import ConfigError, SimpleRLError

MISSING = "cluster.address = {!r} needs Ray: pip install 'simplerl[ray]'"
#: Seconds in which there must be room for a process, Ray must have started it, and it must have called.
CALL_S = 120.0
#: Seconds in which there must be room where no other machine can join.
HERE_S = 10.0
#: Seconds in which a cluster must answer at all.
REACH_S = 5.0
#: How who speaks HTTP/2 begins, as Ray does: a preface, and settings, none here, of whose frame the fourth byte is 4.
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
#: Seconds in which one that runs must answer a question.
ANSWER_S = 120.0
#: Bytes by which a process that calls shows that it was started from here.
SECRET = 32
#: What must be the same on every machine.
VERSIONS = {"simplerl": __version__, "torch": torch.__version__, "transformers": transformers.__version__}
#: The request for a network interface's IPv4 address (Linux), and where in the answer it stands.
SIOCGIFADDR, ADDRESS = 0x8915, slice(20, 24)


class Cluster:
    """A Ray cluster, as the controller sees it."""

    def __init__(
        self,
        address: str,
        gpus: int,
        *,
        own_gpus: Sequence[int] = (),
        say: Callable[[str], None] = lambda message: None,
    ):
        """Join the cluster at an address (`auto`: the one of this machine), or start one here (`local`).

        `gpus` is how many a process takes; `own_gpus` are those that the learner takes on this machine, of which Ray
        does not know. Raises ConfigError without Ray, where no cluster answers, or where Ray has given those to others.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        if address != "local":  # Tries of 41 s, of which it makes 20: a head that was found (`auto`) may hang.
            os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "3")
        try:
            import ray
        except ImportError as error:
            raise ConfigError(MISSING.format(address)) from error
        self._ray, self._own, self._address, self._say = ray, not ray.is_initialized(), address, say
        self._needs = {"CPU": 1.0, **({"GPU": float(gpus)} if gpus else {})}
        settings: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
        stops = signal.getsignal(signal.SIGTERM)
        try:
            host, _, port = address.removeprefix("ray://").rpartition(":")
            if host:  # Ray itself tries for minutes, and ends the process then.
                _greet(host, int(port))
            ray.init(address=address, ignore_reinit_error=True, log_to_driver=False, logging_level="error", **settings)
        except Exception as error:  # Ray raises what it likes where nobody answers.
            lines = str(error).strip().splitlines() or [type(error).__name__]
            advice = (
                "Where this machine is busy, try again"
                if address == "local"
                else "Start Ray there (ray start --head), or give --cluster.address local, which starts it here"
            )
            raise ConfigError(f"cluster.address = {address!r} does not answer: {lines[0]}. {advice}") from error
        finally:  # Ray has it end the process at once; a run stops with a checkpoint.
            if stops is not None and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, stops)
        self.host: str = "127.0.0.1" if address == "local" else ray.util.get_node_ip_address()
        self._server = socket.create_server((self.host, 0))  # Where it is here, nobody else can call.
        self._expected: dict[bytes, socket.socket | None] = {}
        """Secret of who is to call → the connection of who has."""
        self._groups: list[Any] = []
        self._holder: Any = None
        if own_gpus:
            self._hold(own_gpus)

    def _hold(self, gpus: Sequence[int]) -> None:
        """Have Ray give GPUs of this machine to nobody else."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        ray = self._ray
        here = ray.get_runtime_context().get_node_id()
        if not any(node["NodeID"] == here and node["Resources"].get("GPU") for node in _answer(ray.nodes)):
            return  # Ray gives them to nobody.
        only_here = NodeAffinitySchedulingStrategy(here, soft=False)
        actor: Any = ray.remote(_Actor).options(num_cpus=0, num_gpus=len(gpus), scheduling_strategy=only_here)
        self._holder = _answer(actor.remote)
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        wanted = [visible.split(",")[each] for each in gpus] if visible else list(map(str, gpus))
        given = ["none: others have them"]
        with suppress(ray.exceptions.GetTimeoutError, ray.exceptions.RayActorError):
            given = ray.get(self._holder.gpus.remote(), timeout=CALL_S)
        if sorted(given) != sorted(wanted):
            self.close()
            raise ConfigError(
                f"cluster.address = {self._address!r}: the learner computes on the GPUs {', '.join(wanted)} of this "
                f"machine, and Ray can give it {', '.join(given)}. Set CUDA_VISIBLE_DEVICES to GPUs that are free, the "
                "same where Ray is started on this machine (ray start)"
            )

    def reserve(self, count: int, what: str, size: int = 1) -> list[Any]:
        """Return places for so many processes, all or none, on as few machines as there can be. Raises ConfigError.

        On GPUs each has `size` of one machine.
        """
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        ray, needs = self._ray, {name: number * (size if name == "GPU" else 1) for name, number in self._needs.items()}
        group = _answer(lambda: ray.util.placement_group([needs] * count, strategy="PACK"))
        self._groups.append(group)
        local = self._address == "local"
        limit = min(HERE_S, CALL_S) if local else CALL_S
        silent = min(REACH_S, limit)
        if not (there := group.wait(silent)):
            self._say(f"waits up to {limit:g} s for room for {count} {what}, each {_words(needs)}")
        if not (there or group.wait(limit - silent)):
            free = {name: _answer(ray.available_resources).get(name, 0) for name in needs}
            advice = "Add machines (ray start --address)"
            if local:
                advice = "It is this machine alone: give the address of a larger cluster"
            raise ConfigError(
                f"cluster.address = {self._address!r} has no room for {count} {what}, each {_words(needs)}: "
                f"{_words(free)} free after {limit:g} s. {advice}, or ask for fewer; a run that has begun continues "
                "with --resume"
            )
        return [
            {
                "num_cpus": needs["CPU"],
                "num_gpus": needs.get("GPU", 0),
                "scheduling_strategy": PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index),
            }
            for index in range(count)
        ]

    def begin(
        self,
        serve: Callable[..., None],
        settings: Mapping[str, Any],
        said: Path,
        environment: Mapping[str, str],
        place: Any,
    ) -> "Placed":
        """Have Ray start a process in a reserved place, that serves who started it: `serve(connection, settings)`.

        What becomes of it is written to `said`.
        """
        ray, secret = self._ray, secrets.token_bytes(SECRET)
        path = os.pathsep.join(os.path.abspath(each) for each in sys.path)
        actor: Any = ray.remote(_Actor).options(
            **place,
            runtime_env={"env_vars": {**environment, "PYTHONPATH": path}},
        )
        said.touch()
        self._expected[secret] = None
        handle = _answer(actor.remote)
        call = (self.host, self._server.getsockname()[1], secret, VERSIONS, serve, dict(settings))
        return Placed(ray, handle, handle.serve.remote(*call), said, secret)

    def called(self, placed: "Placed") -> socket.socket:
        """Return the connection of a process when it calls; strangers are sent away, and do not keep it waiting."""
        deadline, secret = time.monotonic() + CALL_S, placed.secret
        while (left := deadline - time.monotonic()) > 0 and not self._expected[secret] and placed.poll() is None:
            self._server.settimeout(min(left, 1.0))  # It may have called while another thread listened.
            try:
                connection, _ = self._server.accept()
            except TimeoutError:
                continue
            except OSError:
                break
            connection.settimeout(REACH_S)
            with suppress(OSError), connection.makefile("rb") as file:
                theirs = file.read(SECRET)
                if known := [each for each in list(self._expected) if secrets.compare_digest(each, theirs)]:
                    self._expected[known[0]] = _watched(connection)
                    continue
            connection.close()  # One that was given up, or somebody else.
        if who := self._expected.pop(secret):
            return who
        ours, other = socket.socketpair()  # Nobody called: at its end at once, so replaced.
        other.close()
        return ours

    def close(self) -> None:
        """Leave the cluster, with nothing of this run left there; one that was started here ends."""
        self._server.close()
        with suppress(Exception):  # A cluster that is gone holds nothing.
            _answer(lambda: [self._ray.util.remove_placement_group(group) for group in self._groups])
        self._holder = None
        if self._own:
            try:
                _answer(self._ray.shutdown)
            except SimpleRLError:
                atexit.unregister(self._ray.shutdown)  # Which would wait for ever.


def _greet(host: str, port: int) -> None:
    """Raise OSError where nobody, or somebody else than Ray, is at an address: an HTTP/2 server greets at once."""
    with socket.create_connection((host, port), timeout=REACH_S) as there, there.makefile("rb") as file:
        if os.environ.get("RAY_USE_TLS", "0") in ("0", "false"):
            there.sendall(GREETING)
            if file.read(4)[3:] != GREETING[-6:-5]:
                raise OSError("something else than Ray is there")


def _answer(ask: Callable[[], Any]) -> Any:
    """Return what Ray answers: where the cluster's head hangs, most of what it is asked waits for ever. Raises
    SimpleRLError."""
    told: SimpleQueue[tuple[Any, Exception | None]] = SimpleQueue()

    def run() -> None:
        try:
            told.put((ask(), None))
        except Exception as error:
            told.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        answer, error = told.get(timeout=ANSWER_S)
    except Empty:
        raise SimpleRLError(f"Ray has not answered within {ANSWER_S:g} s: its head (ray start --head) hangs") from None
    if error:
        raise error
    return answer


def _watched(connection: socket.socket) -> socket.socket:
    """Return a connection that breaks where the other machine is gone without a word, or takes nothing, for CALL_S."""
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, int(CALL_S / 4)))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, int(CALL_S / 12)))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * CALL_S))
    return connection


def _words(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{count:g} {name}" for name, count in resources.items())


class Placed:
    """What Ray has started, with what a process has."""

    def __init__(self, ray: Any, actor: Any, over: Any, said: Path, secret: bytes):
        self._ray, self._actor, self._over, self._said, self.secret = ray, actor, over, said, secret
        self.pid = 0

    def poll(self) -> int | None:
        """Return a code where it has ended."""
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float) -> int:
        """Return a code when it has ended, negative where that was not its own doing, and write down why.

        Raises TimeoutExpired where it does not end.
        """
        if not self._ray.is_initialized():
            return -signal.SIGKILL
        try:
            self._ray.get(self._over, timeout=timeout)
        except self._ray.exceptions.GetTimeoutError as error:
            raise subprocess.TimeoutExpired("ray", timeout) from error
        except Exception as error:  # What Ray says of an actor that has ended, or what was raised there.
            said = getattr(error, "cause", None) if isinstance(error, SimpleRLError) else error
            with suppress(OSError):
                self._said.write_text(str(said), encoding="utf-8")
            ended = isinstance(error, self._ray.exceptions.RayActorError) and not error.actor_init_failed
            return -signal.SIGKILL if ended else 1  # What cannot be started there, cannot be the next time.
        return 1

    def kill(self) -> None:
        """End it."""
        if self._ray.is_initialized():
            self._ray.kill(self._actor, no_restart=True)


class _Actor:
    """What Ray runs on the machine that it has chosen."""

    def serve(
        self,
        host: str,
        port: int,
        secret: bytes,
        versions: Mapping[str, str],
        serve: Callable[..., None],
        settings: dict[str, Any],
    ) -> None:
        """Call the controller and serve it."""
        if versions != VERSIONS:
            here, there = (", ".join(map(" ".join, each.items())) for each in (VERSIONS, versions))
            raise SimpleRLError(f"{socket.gethostname()} has {here}; the controller has {there}: install the same")
        connection = socket.create_connection((host, port), timeout=CALL_S)
        _watched(connection).sendall(secret)
        try:
            serve(connection, settings)
        finally:  # The process goes on, and with it who listens: the controller must see that nobody answers.
            with suppress(OSError):
                connection.shutdown(socket.SHUT_WR)

    def gpus(self) -> Sequence[str]:
        """Return the GPUs that it holds, as Ray names them."""
        import ray

        return ray.get_runtime_context().get_accelerator_ids()["GPU"]


def interface_of(address: str) -> str:
    """Return the name of the network interface of this machine that has an IPv4 address, empty for an unknown one."""
    if sys.platform != "linux":
        return ""
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # It has none.
                answer = fcntl.ioctl(any_socket, SIOCGIFADDR, struct.pack("256s", name.encode()))
                if socket.inet_ntoa(answer[ADDRESS]) == address:
                    return name
    return ""
