"""Engines: processes that sample, each with any backend in it, together one backend to whoever asks.

The controller deals requests to them, and they send completions back as they finish. An engine that ends or hangs is
replaced; what it owed is asked again of the others, or of itself once it is back, under the policy that it was asked
under, so that nothing is lost and, a request's noise being addressed, nothing changes. An engine whose controller is
gone leaves at once.
"""

import dataclasses
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from transformers import PreTrainedModel

from simplerl.core import errors
from simplerl.core.children import last_words, start_child
from simplerl.core.errors import ModelError, SimpleRLError, raised_at
from simplerl.core.registry import load_plugins
from simplerl.core.types import Completion
from simplerl.models import lora
from simplerl.models.load import Policy, files_of, load, weights_of
from simplerl.rollout import BACKENDS, open_backend
from simplerl.rollout.backend import Request, RolloutBackend, Sampling
from simplerl.rollout.proof import BOUNDS
from simplerl.rollout.vllm import halved
from simplerl.rollout.wire import (
    Message,
    StoredWeights,
    pack_completion,
    receive,
    send,
    shared_folder,
    tidy,
    unpack_completion,
    write_weights,
)

if TYPE_CHECKING:
    from simplerl.rollout.cluster import Cluster

#: Seconds that an engine may take to load its model.
START_S = 600.0
#: Seconds in which one leaves by itself.
LEAVE_S = 5.0
#: Ends of an engine in a row, with no answer to what was asked in between, after which there is no further try.
MOST_ENDS = 5
#: What Python runs as an engine.
COMMAND = ("-c", "from simplerl.rollout.engines import main; main()")


@dataclasses.dataclass(eq=False)
class _Call:
    """A `generate` or a question under way: where its answers are put."""

    number: int
    version: int
    sampling: Sampling | None = None
    """None: the question for log-probabilities, which every engine answers itself."""
    answers: "SimpleQueue[tuple[Any, Any] | SimpleRLError]" = dataclasses.field(default_factory=SimpleQueue)


@dataclasses.dataclass(eq=False)
class _Task:
    """One answer that an engine owes."""

    call: _Call
    index: int
    """Of the request in its call; of the engine, for a question."""
    asked: Any
    """The request, or the text of a question (int32)."""


class _Engine:
    """One process, and what it owes."""

    def __init__(self, number: int):
        self.number = number
        self.process: Any = None
        self.connection: Any = None
        """None while it is being started: what it is to do then it owes, and is asked when it can be."""
        self.ready = False
        self.owed: dict[int, _Task] = {}
        """Ticket → task. A ticket is one asking of one request: what comes for another is of the past."""
        self.since = time.monotonic()
        """When it last gave a sign, or began to owe."""
        self.outbox: SimpleQueue[Any] = SimpleQueue()
        """What it is to be sent, which may take minutes: a header and arrays, the name of a folder, at last None."""
        self.starts = self.ends = self.pid = 0
        """How often it was started, and has ended since it last answered what somebody had asked."""
        self.has: set[str] = set()
        """Names of the weights that an engine on another machine has been sent."""

    def send(self, header: dict[str, Any], arrays: dict[str, np.ndarray] | None = None) -> None:
        """Have a message sent; where nobody is there, whoever listens finds out and asks again."""
        if self.connection:
            self.outbox.put((header, arrays))

    def hang_up(self) -> None:
        """End the connection: who listens to it or sends finds out, here and there."""
        _hang_up(self.connection, self.outbox)

    def kill(self) -> None:
        """End the process, and the connection, which that of a machine that is gone does not do."""
        connection, outbox = self.connection, self.outbox  # It may have been started anew when the process has ended.
        if self.process:
            _kill(self.process)
        _hang_up(connection, outbox)


class Engines:
    """Several processes as one backend; several threads may ask it, each under a policy of its own (`at`)."""

    def __init__(
        self,
        name: str,
        policy: Policy,
        *,
        count: int,
        timeout_s: float = 600.0,
        keep: int = 1,
        in_flight: bool = False,
        plugins: Sequence[str] = (),
        say: Callable[[str], None] = lambda message: None,
        first_device: int = 0,
        device: torch.device | None = None,
        cluster: "Cluster | None" = None,
        precision: str = "fp32",
        max_rows: int = 512,
        tensor_parallel: int = 1,
    ):
        """Start `count` engines of a backend and wait until all have loaded the policy. Raises SimpleRLError.

        An engine that gives no sign for `timeout_s` seconds while it owes something is replaced. `keep` is how many
        policies, the newest, can be asked. `in_flight`: only the newest can, and an engine that is asked for
        log-probabilities under it takes its weights between two tokens of the responses that are running. On GPUs the
        engines take those from `first_device` on, in turn, `tensor_parallel` each. `cluster` chooses where they run;
        without one it is this machine.
        """
        self._cluster = cluster
        self._places = cluster.reserve(count, "engines", tensor_parallel) if cluster else []
        self.name, self.context_length, self._in_flight = name, policy.context_length, in_flight
        self.exact = cast(Any, BACKENDS[name]).exact and not in_flight
        self.version, self.keep, self.timeout_s, self._say = 0, keep, timeout_s, say
        self._bound = BOUNDS[precision]
        self._halved = halved(policy.model, precision) if name == "vllm" else frozenset()
        self._files = shared_folder()
        self.files = Path(self._files.name)
        self._write_model(policy)
        self._device, self._first_device = (device or policy.model.device).type, first_device
        self._size = tensor_parallel
        options: dict[str, Any] = {"precision": precision, "max_rows": max_rows}
        self._settings = {
            "backend": name,
            "files": str(self.files),
            "plugins": list(plugins),
            "device": self._device,
            "attention": policy.model.config._attn_implementation,
            "threads": max(1, torch.get_num_threads() // (count * tensor_parallel)),
            "in_flight": in_flight,
            "options": options | ({"tensor_parallel": tensor_parallel} if tensor_parallel > 1 else {}),
        }
        self._numbers, self._lock = itertools.count(1), threading.RLock()
        self._calls: dict[int, _Call] = {}
        self._published: dict[int, str] = {}
        """Version → name of its weights: that of one published twice is another the second time."""
        self._proofs: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        """Version → a text, and what the engines have told of it: what one that is started anew must tell too."""
        self._error: SimpleRLError | None = None
        self._closed = threading.Event()
        self._engines = [_Engine(number) for number in range(count)]
        self._threads = [threading.Thread(target=self._listen, args=(each,), daemon=True) for each in self._engines]
        for thread in (*self._threads, threading.Thread(target=self._watch, daemon=True)):
            thread.start()
        try:
            while not all(engine.ready for engine in self._engines):
                if self._error:
                    raise self._error
                time.sleep(0.05)
        except BaseException:
            self.close()
            raise

    def _write_model(self, policy: Policy) -> None:
        try:
            (self.files / "model").mkdir()
            if weights := files_of(policy.model):
                for file in {*weights, *next(iter(weights)).parent.glob("*.json")}:
                    shutil.copy(file, self.files / "model")
            else:
                policy.model.save_pretrained(self.files / "model")
            policy.tokenizer.save_pretrained(self.files / "model")
        except Exception as error:  # safetensors and transformers have errors of their own for a full disk.
            raise SimpleRLError(f"the model cannot be handed to the engines by {self.files}: {error}") from error

    # -- the protocol of a backend -------------------------------------------------------------------------------

    def sync(self, weights: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        """Take new weights. An engine loads them when it is first asked under them."""
        self.publish(weights, version)
        with self._lock:  # Others send to the engines too.
            self.version = version
            for old in [each for each in self._published if not version - self.keep < each <= version]:
                shutil.rmtree(self.files / (name := self._published.pop(old)))
                self._proofs.pop(old, None)
                for engine in self._engines:
                    engine.send({"kind": "drop", "name": name})

    def publish(self, weights: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        """Make a policy known that is not the newest: one of the past, at resume."""
        name = f"weights_{next(self._numbers)}"
        write_weights(self.files / name, weights, self._halved)
        with self._lock:
            if before := self._published.pop(version, None):
                shutil.rmtree(self.files / before)
            self._published[version] = name
            self._proofs.pop(version, None)

    def path_of(self, version: int) -> Path:
        """Return where the weights of a policy are (`StoredWeights`)."""
        return self.files / self._published[version]

    def at(self, version: int) -> RolloutBackend:
        """Return the engines under a policy that is not the newest."""
        return cast(RolloutBackend, EnginesAt(self, version))

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, *, version: int | None = None
    ) -> Iterator[tuple[int, Completion]]:
        """Yield (index, completion) as they come, under the newest policy or the one of `version`."""
        call = self._call(self.version if version is None else version, sampling)
        known = done = 0
        try:
            while known < len(requests) or done < known:
                self._deal(call, [_Task(call, i, requests[i]) for i in range(known, len(requests))])
                known = len(requests)
                yield self._next(call)
                done += 1
        finally:
            self._forget(call)

    def logprobs(self, token_ids: Sequence[int], *, version: int | None = None) -> np.ndarray | None:
        """Return float32 [engines, T − 1]: what each engine says of a text; None where they cannot tell."""
        call = self._call(self.version if version is None else version)
        ids = np.array(token_ids, dtype=np.int32)
        try:
            with self._lock:
                for engine in self._engines:
                    self._give(engine, [_Task(call, engine.number, ids)])
            told = dict(self._next(call) for _ in self._engines)
        finally:
            self._forget(call)
        if any(each is None for each in told.values()):
            return None
        self._proofs[call.version] = ids, told[0]
        return np.stack([told[engine.number] for engine in self._engines])

    def close(self) -> None:
        """End the engines."""
        self._closed.set()
        with self._lock:
            self._fail(SimpleRLError("the engines have been closed"))
            for engine in self._engines:
                engine.hang_up()  # By which they leave.
        deadline = time.monotonic() + LEAVE_S
        for engine in self._engines:
            while engine.ready and engine.process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            engine.kill()
        for thread in self._threads:  # One that is starting an engine at this moment ends it.
            thread.join(LEAVE_S)
        self._files.cleanup()
        tidy()

    # -- asking --------------------------------------------------------------------------------------------------

    def _call(self, version: int, sampling: Sampling | None = None) -> _Call:
        with self._lock:
            if self._error:
                raise self._error
            call = _Call(next(self._numbers), version, sampling)
            self._calls[call.number] = call
        return call

    def _next(self, call: _Call) -> tuple[Any, Any]:
        answer = call.answers.get()  # Its timeout is the watch's, over each engine.
        if isinstance(answer, SimpleRLError):
            raise answer
        return answer

    def _forget(self, call: _Call) -> None:
        """Have the engines drop what they still owe to a call."""
        with self._lock:
            self._calls.pop(call.number, None)
            for engine in self._engines:
                left = {ticket: task for ticket, task in engine.owed.items() if task.call is not call}
                if len(left) < len(engine.owed):
                    engine.owed = left
                    engine.send({"kind": "cancel", "call": call.number})

    def _deal(self, call: _Call, tasks: Sequence[_Task]) -> None:
        """Give requests to the engines: those of one prompt together, where that leaves no engine without any."""
        with self._lock:
            engines = [engine for engine in self._engines if engine.ready] or self._engines
            shares: list[list[_Task]] = [[] for _ in engines]
            most = -(-len(tasks) // len(engines))
            for _, same in itertools.groupby(tasks, key=lambda task: task.asked.prompt_ids.tobytes()):
                rest = list(same)
                while rest:
                    part, rest = rest[:most], rest[most:]
                    min(shares, key=len).extend(part)
            for engine, share in zip(engines, shares, strict=True):
                self._give(engine, share)

    def _give(self, engine: _Engine, tasks: Sequence[_Task]) -> None:
        """Have an engine owe tasks of one call, and ask it, or where it is being started leave that for then."""
        if not tasks:
            return
        if engine.ready and not engine.owed:
            engine.since = time.monotonic()
        tickets = [next(self._numbers) for _ in tasks]
        engine.owed |= dict(zip(tickets, tasks, strict=True))
        if not engine.connection:
            return
        call = tasks[0].call
        version = self._under(call)
        weights = self._published.get(version, "")  # Without a name: those that an engine begins with.
        header: dict[str, Any] = {"call": call.number, "version": version, "weights": weights, "tickets": tickets}
        if self._cluster and weights and weights not in engine.has:
            engine.has.add(weights)
            engine.outbox.put(weights)
        if call.sampling is None:
            engine.send({**header, "kind": "logprobs"}, {"ids": tasks[0].asked})
            return
        requests = [task.asked for task in tasks]
        header |= {
            "kind": "generate",
            "sampling": dataclasses.asdict(call.sampling),
            "keys": [request.noise_key for request in requests],
            "limits": [request.max_new_tokens for request in requests],
            "lengths": [len(request.prompt_ids) for request in requests],
        }
        engine.send(header, {"prompts": np.concatenate([r.prompt_ids for r in requests]).astype(np.int32)})

    def _under(self, call: _Call) -> int:
        """Return the version that a call is asked under: in flight responses are the newest's."""
        return self.version if self._in_flight and call.sampling else call.version

    # -- listening -----------------------------------------------------------------------------------------------

    def _listen(self, engine: _Engine) -> None:
        """Start an engine, take what it says, and start it anew when it has ended. Runs in a thread of its own."""
        try:
            while not self._closed.is_set():
                self._start(engine)
                with suppress(OSError), engine.connection.makefile("rb") as file:
                    for header, arrays in receive(file):
                        self._hear(engine, header, arrays)
                if not self._closed.is_set():
                    self._see_off(engine)
        except Exception as error:  # Else nobody would listen, and the run would wait for ever.
            self._fail(SimpleRLError(f"engine {engine.number} cannot be started or heard: {raised_at(error)}"))

    def _hear(self, engine: _Engine, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        with self._lock:
            engine.since = time.monotonic()
            if header["kind"] == "ready":
                engine.ready, engine.pid = True, header["pid"]
                return
            if header["kind"] == "error":
                engine.ends = 0
                kind = getattr(errors, header["type"], SimpleRLError)
                tasks = [engine.owed.pop(ticket) for ticket in header["tickets"] if ticket in engine.owed]
                for task in tasks[:1]:
                    task.call.answers.put(kind(header["text"]))
                return
            if header["ticket"] not in engine.owed:
                return  # It was given up.
            task = engine.owed.pop(header["ticket"])
            if task.call.number in self._calls:  # Not what it must tell because it was started anew.
                engine.ends = 0
            if task.call.sampling is not None:
                task.call.answers.put((task.index, unpack_completion(header, arrays)))
            elif task.call.number in self._calls:
                task.call.answers.put((task.index, arrays.get("logprobs")))
            else:
                self._compare(engine, task, arrays["logprobs"])

    def _compare(self, engine: _Engine, task: _Task, told: np.ndarray) -> None:
        """Check that an engine that was started anew tells of a policy what was told, and proven, before."""
        _, before = self._proofs.get(task.call.version, (None, told))
        gap = float(np.abs(told - before).mean())
        if not gap <= self._bound * max(1.0, float(np.abs(before).mean())):
            self._fail(
                ModelError(
                    f"engine {engine.number}, which was started anew, does not use the weights of version "
                    f"{task.call.version}: its log-probabilities of a fixed text are {gap:.2g} nats a token off"
                )
            )

    def _see_off(self, engine: _Engine) -> None:
        """End an engine with which there is no connection any more; others that are ready are asked what it owes."""
        with suppress(subprocess.TimeoutExpired):  # Ray tells why it has ended only where it was not ended by us.
            engine.process.wait(timeout=LEAVE_S)
        engine.kill()
        code = engine.process.poll()
        how = last_words(engine.process, self._said(engine), "is cut off, and is not seen to end")
        with self._lock:
            never = engine.starts == 1 and not engine.ready and (code is not None and code >= 0)  # It was not killed.
            engine.ends += 1
            name = f"engine {engine.number} of {len(self._engines)} ({self.name})"
            if never or engine.ends >= MOST_ENDS:
                again = "" if never else f"\n{engine.ends} ends of this engine in a row, with no answer in between"
                self._fail(SimpleRLError(f"{name} {how}{again}"))
                self._closed.set()
            if self._closed.is_set():
                return
            engine.connection.close()
            engine.connection, engine.ready, engine.since = None, False, time.monotonic()
            owed = sum(task.call.number in self._calls for task in engine.owed.values())
            self._say(f"{name} {how.splitlines()[0].split(';')[0]}; it is started anew, {owed} requests with it")
            self._ask_again(engine)

    def _ask_again(self, engine: _Engine) -> None:
        """Have what an engine owes asked again, of those that are ready, and questions of itself."""
        owed, engine.owed = engine.owed, {}
        if engine.starts > 1 and engine.connection:  # What was proven before, of each policy that it may be asked.
            versions = {self.version} if self._in_flight else {*self._published, self.version}
            for version in sorted(versions & self._proofs.keys()):
                self._give(engine, [_Task(_Call(0, version), engine.number, self._proofs[version][0])])
        left = (task for task in owed.values() if task.call.number in self._calls)
        for _, group in itertools.groupby(left, key=lambda task: task.call.number):
            tasks = list(group)
            call = tasks[0].call
            if call.sampling is None:
                self._give(engine, tasks)
            else:
                self._deal(call, tasks)

    def _start(self, engine: _Engine) -> None:
        """Start an engine and ask it what it owes. Ray may look for a place, and a model be sent, for minutes: others
        do not wait for that."""
        environment = {"OMP_NUM_THREADS": str(self._settings["threads"])}
        if self._device == "cuda" and not self._cluster:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
            devices, first = visible.split(","), self._first_device + engine.number * self._size
            own = (devices[(first + worker) % len(devices)] for worker in range(self._size))
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(own)
        engine.starts += 1
        how = self._settings, self._said(engine), environment
        process: Any
        connection: Any
        if self._cluster:
            process = self._cluster.begin(be_engine_elsewhere, *how, self._places[engine.number])
        else:
            process, connection = start_child(COMMAND, *how)
        with self._lock:
            engine.process, engine.pid, engine.has = process, process.pid, set()
        if self._closed.is_set():  # By somebody who may not have seen this one.
            _kill(process)
        if self._cluster:
            connection = self._cluster.called(process)
        with self._lock:
            engine.connection, engine.outbox = connection, SimpleQueue()
            threading.Thread(target=self._deliver, args=(connection, engine.outbox), daemon=True).start()
            if self._cluster:
                engine.outbox.put("model")
                engine.send({"kind": "begin"})
            self._ask_again(engine)

    def _deliver(self, connection: socket.socket, outbox: "SimpleQueue[Any]") -> None:
        """Send an engine what it is to be sent, one on another machine folders too. Runs in a thread of its own."""
        for each in iter(outbox.get, None):
            with suppress(OSError):
                if not isinstance(each, str):
                    send(connection, *each)
                    continue
                for file in sorted((self.files / each).iterdir()):
                    header = {"kind": "file", "name": f"{each}/{file.name}"}
                    send(connection, header, {"bytes": np.fromfile(file, np.uint8)})

    def _said(self, engine: _Engine) -> Path:
        return self.files / f"engine_{engine.number}.txt"

    def _fail(self, error: SimpleRLError) -> None:
        """End every call, and those to come, with an error."""
        with self._lock:
            self._error = self._error or error
            for call in self._calls.values():
                call.answers.put(self._error)

    # -- watching ------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """End engines that hang: who listens to one starts it anew. Runs in a thread of its own."""
        while not self._closed.wait(0.5):
            for engine in self._engines:
                now, limit = time.monotonic(), self.timeout_s if engine.ready else START_S
                if engine.ready and not engine.owed:
                    engine.since = now
                elif now - engine.since > limit:
                    what = "owes answers (cluster.timeout_s)" if engine.ready else "has been loading its model"
                    self._say(f"engine {engine.number} has given no sign for {limit:g} s and {what}: it is ended")
                    engine.since = now
                    engine.kill()

    def report(self) -> list[dict[str, Any]]:
        """Return what each engine does, for who looks on: state, answers owed, time of its last sign."""
        now, clock = time.time(), time.monotonic()
        with self._lock:
            return [
                {
                    "engine": engine.number,
                    "pid": engine.pid,
                    "state": "starts" if not engine.ready else "answers" if engine.owed else "waits",
                    "owes": len(engine.owed),
                    "version": next((self._under(task.call) for task in engine.owed.values()), self.version),
                    "starts": engine.starts,
                    "heard": round(now - clock + engine.since),
                }
                for engine in self._engines
            ]


class EnginesAt:
    """The engines under one policy."""

    def __init__(self, engines: Engines, version: int):
        self.engines, self.version = engines, version

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engines, name)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[int, Completion]]:
        """Yield (index, completion) as they come."""
        return self.engines.generate(requests, sampling, version=self.version)

    def logprobs(self, token_ids: Sequence[int]) -> np.ndarray | None:
        """Return what each engine says of a text."""
        return self.engines.logprobs(token_ids, version=self.version)


def _hang_up(connection: socket.socket | None, outbox: "SimpleQueue[Any]") -> None:
    outbox.put(None)
    if connection:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def _kill(process: Any) -> None:
    """End a process, and on this machine those that it has started: they leave by themselves, and tidy up."""
    process.kill()
    with suppress(subprocess.TimeoutExpired):  # In the kernel, or Ray does not answer: that must not hold up others.
        process.wait(timeout=LEAVE_S)
    if isinstance(process, subprocess.Popen):
        with suppress(ProcessLookupError):
            for signum in (*itertools.repeat(0, int(LEAVE_S / 0.05)), signal.SIGKILL):
                os.killpg(process.pid, signum)
                time.sleep(0.05)


# -- the engine's own process --------------------------------------------------------------------------------------


def main() -> None:
    """Be an engine: answer what the controller asks on the socket, until it is closed."""
    for number in (signal.SIGINT, signal.SIGTERM):  # The controller decides when to stop.
        signal.signal(number, signal.SIG_IGN)
    settings = json.loads(sys.argv[1])
    with socket.socket(fileno=os.dup(0)) as controller:
        try:
            be_engine(controller, settings, Path(settings["files"]))
        except errors.EngineLost as error:
            sys.exit(f"error: {error}")  # Not at once: vLLM takes its processes and folders with it.
        except SimpleRLError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            os._exit(2)


def be_engine_elsewhere(controller: socket.socket, settings: dict[str, Any]) -> None:
    """Be an engine on another machine than the controller."""
    with shared_folder() as files:
        be_engine(controller, settings, Path(files), remote=True)


def be_engine(controller: socket.socket, settings: dict[str, Any], files: Path, *, remote: bool = False) -> None:
    """Load the model and answer for ever. `remote`: the model and its weights are sent, into the folder `files`."""
    engine = _Serving(controller, files, in_flight=settings["in_flight"], remote=remote)
    threading.Thread(target=engine.listen, daemon=True).start()
    while remote and engine.inbox.get()[0]["kind"] != "begin":
        pass
    engine.check_written()
    torch.set_num_threads(settings["threads"])
    load_plugins(settings["plugins"])
    device, attention = settings["device"], settings["attention"]
    if bare := settings["backend"] == "vllm":  # Weights of its own alone, on devices of its own.
        device, attention = "cpu", "eager"
    policy = load(str(files / "model"), device=device, attention=attention, bare=bare)
    backend = open_backend(settings["backend"], policy, **settings["options"])
    del policy  # An engine with weights of its own needs these no more.
    send(controller, {"kind": "ready", "pid": os.getpid()})
    engine.serve(backend)


class _Serving:
    """What an engine has been asked, in order, and what it answers."""

    def __init__(self, controller: socket.socket, files: Path, *, in_flight: bool, remote: bool):
        self.controller, self.files, self.in_flight, self.remote = controller, files, in_flight, remote
        self.inbox: SimpleQueue[Message] = SimpleQueue()
        self.later: deque[Message] = deque()
        self.given_up: set[int] = set()
        self.weights = self.unwritten = ""
        self.base: PreTrainedModel | None = None

    def listen(self) -> None:
        """Take what is asked; leave when the controller is gone, whatever is being done, with what it has left."""
        try:
            for header, arrays in receive(self.controller.makefile("rb")):
                if header["kind"] == "cancel":
                    self.given_up.add(header["call"])
                elif header["kind"] == "file":
                    self.store(self.files / header["name"], arrays["bytes"])
                elif header["kind"] == "drop":
                    shutil.rmtree(self.files / header["name"], ignore_errors=True)
                else:
                    self.inbox.put((header, arrays))
        except OSError:
            pass
        except BaseException:  # The controller is there, but cannot be understood.
            traceback.print_exc()
            os._exit(1)
        shutil.rmtree(self.files, ignore_errors=True)
        if self.remote:  # Ray calls it a fault where a process of its own leaves by itself, and ends one that is done.
            self.inbox.put(({"kind": "end"}, {}))
            time.sleep(LEAVE_S)
        os._exit(0)

    def store(self, file: Path, content: np.ndarray) -> None:
        """Write a file that was sent; where that cannot be, what needs it says why."""
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.data)
        except OSError as error:
            self.unwritten = f"{socket.gethostname()} cannot write what it is sent to {self.files}: {error}"

    def check_written(self) -> None:
        """Raise SimpleRLError where a file that was sent could not be written."""
        if self.unwritten:
            raise SimpleRLError(
                f"{self.unwritten}. It takes a copy of the model for each policy in use: make room there"
            )

    def serve(self, backend: RolloutBackend) -> None:
        """Answer until the controller is gone."""
        while (message := self.later.popleft() if self.later else self.inbox.get())[0]["kind"] != "end":
            header, arrays = message
            if header["call"] not in self.given_up:
                self.answer(backend, header, arrays)

    def answer(self, backend: RolloutBackend, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Answer a message, by the weights that it names; in flight there is no way back to older ones."""
        try:
            self.check_written()
            if header["weights"] != self.weights and not (self.in_flight and header["version"] < backend.version):
                backend.sync(self.complete(StoredWeights(self.files / header["weights"])), header["version"])
                self.weights = header["weights"]
            if header["kind"] == "logprobs":
                told = backend.logprobs(arrays["ids"].tolist()) if hasattr(backend, "logprobs") else None
                answer = {} if told is None else {"logprobs": told}
                send(self.controller, {"kind": "logprobs", "ticket": header["tickets"][0]}, answer)
            else:
                self.generate(backend, header, arrays)
        except errors.EngineLost:  # By which this process ends, and is started anew.
            raise
        except SimpleRLError as error:
            kind = type(error).__name__
            send(self.controller, {"kind": "error", "type": kind, "text": str(error), "tickets": header["tickets"]})

    def complete(self, weights: StoredWeights) -> Iterable[tuple[str, torch.Tensor]]:
        """Return all weights, where adapters alone were sent: the model's own files hold what they are added to."""
        if not lora.are_factors(weights):
            return weights
        self.base = self.base or load(str(self.files / "model"), bare=True).model
        return lora.add_factors(weights_of(self.base), weights)

    def generate(self, backend: RolloutBackend, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Answer requests, and those of the same call that come meanwhile."""
        asked = header["sampling"]
        sampling = Sampling(**{**asked, "stop": tuple(asked["stop"]), "stop_ids": tuple(asked["stop_ids"])})
        requests: list[Request] = []
        tickets: list[int] = header["tickets"]

        def add(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
            prompts = np.split(arrays["prompts"], np.cumsum(header["lengths"])[:-1])
            for prompt, key, limit in zip(prompts, header["keys"], header["limits"], strict=True):
                requests.append(Request(prompt_ids=prompt, noise_key=key, max_new_tokens=limit))

        def look() -> None:
            """Take what has come meanwhile."""
            for _ in range(self.inbox.qsize()):
                message = self.inbox.get()
                if message[0]["kind"] == "generate" and message[0]["call"] == header["call"]:
                    tickets.extend(message[0]["tickets"])
                    add(*message)
                elif message[0]["kind"] == "logprobs" and self.in_flight:
                    self.answer(backend, *message)
                else:
                    self.later.append(message)

        add(header, arrays)
        if self.in_flight:
            cast(Any, backend).between_tokens = look
        with closing(cast(Any, backend.generate(requests, sampling))) as completions:
            for index, completion in completions:
                answer, values = pack_completion(completion)
                send(self.controller, {"kind": "completion", "ticket": tickets[index], **answer}, values)
                look()
                if header["call"] in self.given_up:
                    return
