"""A learner on several ranks: processes that each hold a share of its weights, gradients and moments (FSDP2).

This process is rank 0 and starts the others. What a learner is asked, every rank is asked: the controller names the
method over a socket, sends the arguments to all, and all run the same code on the same batch, each with micro-batches
of its own. A rank whose socket is closed leaves at once, so none outlives the controller, however that ends. With a
cluster those for which this machine has no GPU (on CPUs all but rank 0) are where Ray places them.
"""

import collections
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh

from simplerl.core.children import last_words, start_child
from simplerl.core.errors import ConfigError, RankLost, SimpleRLError
from simplerl.core.registry import load_plugins
from simplerl.core.types import Batch
from simplerl.models.device import ranks_here
from simplerl.models.sharding import passes, skeleton, tensors
from simplerl.rollout.cluster import interface_of
from simplerl.rollout.wire import shared_folder
from simplerl.runs.directory import RunDirectory, read_metrics
from simplerl.train.batch import MicroBatch, cut_update
from simplerl.train.learner import Learner

#: Seconds that a rank may take to start and then to meet the others, and after which one that does not come to a
#: collective counts as lost.
START_S, JOIN_S, WAIT_S = 300, 120, 1800
#: Seconds in which a rank that has broken a connection must be seen to have ended, in which Ray must say why, and in
#: which an aborted collective must have been left.
DEATH_S, PLACED_DEATH_S, LEAVE_S = 5, 60, 60
#: Parameters below which a model is gathered once for an update: 1 GiB of weights and as much of gradients.
KEEP_BELOW = 2**28
INTACT = "What is recorded is intact: continue from the last checkpoint with --resume"
#: What Python runs as a rank.
COMMAND = ("-c", "from simplerl.train.ranks import main; main()")

if TYPE_CHECKING:
    from simplerl.rollout.cluster import Cluster, Placed


class Ranks:
    """The processes of a learner, as one of them sees them."""

    _aborted = 0  # The rank for whose end what all ranks do together was aborted

    def __init__(
        self,
        size: int,
        device: torch.device,
        *,
        plugins: Sequence[str] = (),
        keep_below: int = KEEP_BELOW,
        cluster: "Cluster | None" = None,
    ):
        """Start `size` − 1 further processes and wait until all are there. Raises ConfigError, SimpleRLError.

        Models of fewer parameters than `keep_below` are gathered once for an update. `cluster` has those for which
        there is no room here.
        """
        self.here = ranks_here(size, device, placed=cluster is not None)
        self.threads = max(1, torch.get_num_threads() // size)  # Wherever they are: the last bits depend on it.
        self._files = shared_folder()
        self._processes: list[subprocess.Popen[bytes] | Placed] = []
        self._sockets: list[socket.socket] = []
        self.hosts = [socket.gethostname()]  # Rank → its machine
        self._calls = self._call = 0  # Calls so far, and the one under way, in which ranks wait for each other; 0: none
        self._end = weakref.finalize(self, _end, self._processes, self._sockets, self._files)
        settings: dict[str, Any] = {"size": size, "device": device.type, "threads": self.threads}
        settings |= {"keep_below": keep_below, "placed": self.here < size, "address": ""}
        store: dist.Store | None = None
        if cluster and settings["placed"]:
            server = socket.create_server((cluster.host, 0))  # Where the cluster is here, nobody else can come.
            settings |= {"address": cluster.host, "meeting": [cluster.host, server.getsockname()[1]]}
            store = _meet(settings["meeting"], size, server.detach())
        else:
            settings["meeting"] = f"{self._files.name}/store"
        self._start({**settings, "plugins": list(plugins)}, cluster)
        for rank, each in enumerate(self._sockets, start=1):
            each.settimeout(START_S)
            if not (said := _hear(each)):
                raise self._lost(rank)
            each.settimeout(None)
            self.hosts.append(said)
        with self._blamed():
            self._join(rank=0, store=store, **settings)
        self._called = threading.RLock()  # A method may call another.
        if device.type == "cuda" or self.placed:
            threading.Thread(target=self._watch, daemon=True).start()

    @classmethod
    def follow(cls, *, threads: int, **settings: Any) -> "Ranks":
        """Return the ranks as a further process sees them."""
        self = cls.__new__(cls)
        torch.set_num_threads(threads)
        self._join(threads=threads, **settings)
        return self

    def _join(
        self,
        *,
        rank: int,
        size: int,
        device: str,
        meeting: Any,
        address: str,
        placed: bool,
        threads: int,
        keep_below: int,
        store: dist.Store | None = None,
    ) -> None:
        """Meet the others. `address` is this machine's on the way to them, empty where all are here."""
        self.keep_below, self.placed = keep_below, placed
        """Whether some are on other machines, so that only rank 0 has files."""
        self.rank, self.size = rank, size
        self.device = torch.device(device)
        if device == "cuda":  # To one that is placed Ray shows its own alone.
            self.device = torch.device(device, rank % torch.cuda.device_count())
            torch.cuda.set_device(self.device)
        # One machine: a file to meet at, and the loop-back device, so that no port is asked for or left open.
        if sys.platform == "linux":
            name = interface_of(address) if address else "lo"
            if name and os.environ.get("GLOO_SOCKET_IFNAME", "lo") == "lo":  # By which no other machine is reached.
                os.environ["GLOO_SOCKET_IFNAME"] = name
            if name and address:
                os.environ.setdefault("NCCL_SOCKET_IFNAME", f"={name}")
        backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
        patience = timedelta(seconds=WAIT_S if rank else JOIN_S)  # Rank 0 comes when all have started.
        store = store or _meet(meeting, size)
        if not dist.is_initialized():  # A meeting that failed has been counted here, and ranks look by that number.
            dist.distributed_c10d._world.group_count = 0
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=patience)
        self.mesh = init_device_mesh(device, (size,))
        dist.distributed_c10d._set_pg_timeout(timedelta(seconds=WAIT_S))

    def _start(self, settings: Mapping[str, Any], cluster: "Cluster | None") -> None:
        """Start the other processes: those on this machine, then all that are placed at once."""
        environment = {"OMP_NUM_THREADS": str(self.threads)}
        for rank in range(1, self.here):
            own = {**settings, "rank": rank, "files": self._files.name}
            process, ours = start_child(COMMAND, own, self._said(rank), environment)
            self._processes.append(process)
            self._sockets.append(ours)
        if cluster and (count := settings["size"] - self.here):
            for rank, place in enumerate(cluster.reserve(count, "ranks of the learner"), start=self.here):
                own = {**settings, "rank": rank}
                self._processes.append(cluster.begin(be_rank, own, self._said(rank), environment, place))
            for placed in cast("list[Placed]", self._processes[self.here - 1 :]):
                self._sockets.append(cluster.called(placed))

    def _said(self, rank: int) -> Path:
        return Path(self._files.name) / f"rank_{rank}.txt"

    @contextmanager
    def together(self, name: str, *arguments: Any, **settings: Any) -> Iterator[None]:
        """Have the other ranks call a method of their learner, with attributes set to these, while this one does."""
        threads = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        self._calls += 1
        self._call = self._calls
        try:
            with self._called, self._blamed():
                for each in self._sockets:
                    each.sendall(f"{name}\n".encode())
                dist.broadcast_object_list([arguments, settings], 0)
                yield
                if self._aborted:  # What was waited for is there, with values of no use and without an error.
                    raise RuntimeError("a collective was aborted")
        finally:
            self._call = 0
            torch.set_num_threads(threads)

    @contextmanager
    def _blamed(self) -> Iterator[None]:
        """Raise RankLost where what fails inside fails because of another rank."""
        try:
            yield
        except RankLost:
            raise
        except Exception as error:
            if not self._aborted and not isinstance(error, RuntimeError | OSError):
                raise  # Else it may be of the values that an abort leaves: no number, and training has "diverged".
            lost, late = self._find_lost(), any(words in str(error).lower() for words in ("timed out", "timeout"))
            if lost or (self._processes and late):
                raise self._lost(lost) from error
            raise

    def _find_lost(self) -> int:
        """Return the rank that has ended, 0 if none has. A broken connection may be seen before that end is."""
        if self._aborted:
            return self._aborted
        began, ended = time.monotonic(), dict[int, int | None]()
        while self._processes and time.monotonic() < began + (PLACED_DEATH_S if ended else DEATH_S):
            codes = {rank: process.poll() for rank, process in enumerate(self._processes, start=1)}
            ended = {rank: code for rank, code in codes.items() if code is not None or _ends(self._sockets[rank - 1])}
            if ended and None not in ended.values():
                # One that was killed; others end because of it.
                return min(ended, key=lambda rank: cast(int, ended[rank]))
            time.sleep(0.05)
        for rank in ended:  # Its connection has, and that is all that is known.
            self._processes[rank - 1].kill()
        return min(ended, default=0)

    def _lost(self, rank: int) -> RankLost:
        """Return what there is to say of a rank, 0: of one that hangs; the others are ended."""
        message, code = self._message(rank), self._processes[rank - 1].poll() if rank else None
        self.close()
        return RankLost(message, code)

    def _message(self, rank: int) -> str:
        size = len(self._processes) + 1
        if not rank:
            return f"one of the {size} ranks of the learner has not come to the others within {WAIT_S} s"
        how = last_words(self._processes[rank - 1], self._said(rank), f"did not start within {START_S} s")
        where = f" (on {self.hosts[rank]})" if self.here <= rank < len(self.hosts) else ""
        return f"rank {rank} of {size} of the learner{where} {how}"

    def _watch(self) -> None:
        """Have this process leave a collective when a rank has ended, where others wait for it for ever, without an
        error: NCCL does, on the GPU, and so does who talked with a machine that is gone without a word.

        Where it does not leave, and by gloo it cannot, the process ends.
        """
        while self._processes and self._end.alive:
            call = self._call
            if lost := self._find_lost():
                time.sleep(PLACED_DEATH_S + 2 * DEATH_S if self.placed else 2 * DEATH_S)  # Another wait ends by itself.
                if not self._end.alive or (self.placed and not call == self._call != 0):
                    continue
                leaves = self.device.type == "cuda"
                if leaves:
                    self._aborted = lost
                    for process in self._processes:  # These wait too, and by gloo this one may be waiting for them.
                        process.kill()
                    threading.Thread(target=self.mesh.get_group().abort, daemon=True).start()
                    if leaves := self._called.acquire(timeout=LEAVE_S):
                        self._called.release()
                if not leaves and self._end.alive:
                    print(f"error: {self._message(lost)}\n{INTACT}", file=sys.stderr, flush=True)
                    os._exit(2)
                return

    def deal(self, module: torch.nn.Module, rows: torch.Tensor, batch: Batch, **cuts: Any) -> Iterator[MicroBatch]:
        """Yield this rank's micro-batches of some rows (`cut_update`), which pass through a sharded module."""
        yield from passes(module, cut_update(rows, batch, **cuts, rank=self.rank, ranks=self.size))

    def sum_tensor(self, values: torch.Tensor) -> None:
        """Add up a tensor on the CPU over all ranks, in place."""
        dist.all_reduce(values)

    def sum_numbers(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return the sums of named numbers over all ranks, the same on each."""
        everyone: list[Any] = [None] * self.size
        dist.all_gather_object(everyone, dict(values))
        total: collections.Counter[str] = collections.Counter()
        for each in everyone:
            total.update(each)
        return cast(dict[str, float], dict(total))

    def report(self) -> list[dict[str, Any]]:
        """Return where each rank is, for who looks on."""
        return [{"rank": rank, "host": host} for rank, host in enumerate(self.hosts)]

    def close(self) -> None:
        """End the other processes."""
        self._end()


def _meet(meeting: Any, size: int, listens: int | None = None) -> dist.Store:
    """Return where ranks meet: at a file of this machine, or at (host, port), where rank 0 `listens` on a socket."""
    if isinstance(meeting, str):
        return dist.FileStore(meeting, size)
    leads, patience = listens is not None, timedelta(seconds=START_S)
    more: dict[str, Any] = {"wait_for_workers": False, "master_listen_fd": listens}
    return dist.TCPStore(*meeting, size, leads, timeout=patience, **more)


def _ends(connection: socket.socket) -> bool:
    """Return whether nobody is at the other end of a connection any more."""
    try:
        return not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _end(processes: Sequence[Any], sockets: Sequence[socket.socket], files: Any) -> None:
    for process in processes:
        if not isinstance(process, subprocess.Popen):
            process.kill()  # Ray would report one that leaves by itself.
    for each in sockets:
        each.close()  # By which they leave.
    for process in processes:
        try:
            process.wait(timeout=DEATH_S)
        except subprocess.TimeoutExpired:
            process.kill()
            with suppress(subprocess.TimeoutExpired):  # In the kernel, or Ray does not answer.
                process.wait(timeout=DEATH_S)
    if dist.is_initialized():
        dist.destroy_process_group()
    files.cleanup()


def _hear(theirs: socket.socket) -> str:
    """Return where a rank is when it says that it is there, nothing where it does not."""
    try:
        with theirs.makefile(encoding="utf-8") as said:
            return said.readline().strip()
    except OSError:
        return ""


class Restarts:
    """How often a run goes on by itself after a rank has ended."""

    def __init__(self, path: Path, most: int):
        """At most `most` times from a checkpoint of the run in `path`."""
        self._path, self._most = path, most
        self._count, self._newest, self._ends = 0, -1, set[tuple[int, int | None]]()

    def next(self, lost: RankLost) -> str:
        """Return what to say before the run goes on. Raises SimpleRLError where it does not: nothing is recorded, the
        user has stopped it, it has gone on often enough, or the rank ends by itself where one did before."""
        if not (self._path / "config.json").is_file():
            raise lost
        newest = max(RunDirectory(self._path).checkpoint_steps(), default=0)
        if newest > self._newest:
            self._newest, self._count = newest, 0
        end = max((line["step"] for line in read_metrics(self._path)), default=0), lost.code
        why = ""
        if self._count >= self._most > 0:
            why = f"\nIt has gone on {self._count} times from the checkpoint of step {newest} (learner.restarts)"
        elif end in self._ends and (lost.code is None or lost.code >= 0):
            why = "\nIt ended in the same way at this step before"
        if why or lost.stopping or not self._most:
            raise SimpleRLError(f"{lost}{why}\n{INTACT}")
        self._ends.add(end)
        self._count += 1
        return f"WARNING: {lost}\nThe run goes on from its newest checkpoint ({self._count} of {self._most} times)"


# -- the learner ---------------------------------------------------------------------------------------------------


class LeadingLearner(Learner):
    """The learner of rank 0: what it is asked, the others are asked."""

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield complete weights by name. All ranks walk along, to the end even where nobody reads on."""
        with self.together("weights"):
            named = super().weights()
            try:
                yield from named
            finally:
                collections.deque(named, maxlen=0)

    def together(self, name: str, *arguments: Any) -> Any:
        """Have all ranks call a method, as this learner is set."""
        return cast(Ranks, self.ranks).together(name, *arguments, temperature=self.temperature, steps=self.steps)


def _asked_of_all(name: str) -> Any:
    own = getattr(Learner, name)

    @functools.wraps(own)
    def method(self: LeadingLearner, *arguments: Any) -> Any:
        with self.together(name, *arguments):
            return own(self, *arguments)

    return method


for _name in ("step", "restart", "refresh", "imitate", "start_anew", "snapshot", "restore", "text_logprobs"):
    setattr(LeadingLearner, _name, _asked_of_all(_name))


def spread(learner: Learner, ranks: Ranks) -> Learner:
    """Return the learner over ranks, each with a shard of what this one holds."""
    kind = type(learner.algorithm)
    if kind.__module__ == "__main__" or "<locals>" in kind.__qualname__:
        raise ConfigError(
            f"the algorithm {kind.__name__} is defined in a script, notebook or function, where other ranks do not "
            "find it: put it in a file and load that as a plug-in (docs/extending.md), or use learner.ranks = 1"
        )
    values = [tensors(module) for module in learner.modules()]
    bare = skeleton(learner, learner.modules())
    with ranks.together("take_part", bare):
        bare.take_part(ranks, values)
    bare.__class__ = LeadingLearner
    return bare


def main() -> None:
    """Be a further rank: do what the controller names on the socket, until it is closed."""
    for number in (signal.SIGINT, signal.SIGTERM):  # The controller decides when to stop.
        signal.signal(number, signal.SIG_IGN)
    settings = json.loads(sys.argv[1])
    files = Path(settings.pop("files"))
    with socket.socket(fileno=os.dup(0)) as controller:
        be_rank(controller, settings, files)


def be_rank(controller: socket.socket, settings: dict[str, Any], files: Path | None = None) -> None:
    """Do what the controller names, for ever. Its `files` go when it is gone, where it is on this machine."""
    load_plugins(settings.pop("plugins"))
    if controller.family == socket.AF_INET:
        settings["address"] = controller.getsockname()[0]
    controller.sendall(f"{socket.gethostname()}\n".encode())
    names: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_listen, args=(controller, names, files), daemon=True).start()
    ranks, learner = Ranks.follow(**settings), cast(Learner, None)
    while True:
        name, message = names.get(), [None, None]
        dist.broadcast_object_list(message, 0)
        arguments, attributes = cast(Any, message)
        if name == "take_part":
            (learner,) = arguments
            arguments = (ranks, None)
        for attribute, value in attributes.items():
            setattr(learner, attribute, value)
        if name == "weights":
            collections.deque(learner.weights(), maxlen=0)
        else:
            getattr(learner, name)(*arguments)


def _listen(controller: socket.socket, names: SimpleQueue[str], files: Path | None) -> None:
    """Hand on what the controller names; leave when it is gone, whatever this rank is waiting for, with its files."""
    with suppress(OSError):
        for line in controller.makefile("r", encoding="ascii"):
            names.put(line.strip())
    if files:
        shutil.rmtree(files, ignore_errors=True)
    os._exit(0)
