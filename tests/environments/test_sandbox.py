"""The sandbox: what programs get, that attacks are contained, and that processes killed from outside lose nothing."""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from attacks import ATTACKS, PRELUDE

from simplerl.core.errors import SimpleRLError
from simplerl.environments import sandbox
from simplerl.environments.sandbox import Limits, SandboxError, converse, run

try:
    run("pass")
except SandboxError as error:
    pytest.skip(str(error), allow_module_level=True)


def processes_of(limits: Limits) -> list[psutil.Process]:
    """Return what still runs under limits that nobody else has: its command line holds them."""
    mark = f"'NPROC': {limits.threads}"
    return [process for process in psutil.process_iter(["cmdline"]) if mark in " ".join(process.info["cmdline"] or ())]


def marked(**options: float) -> Limits:
    """Return limits that nobody else has."""
    return Limits(threads=random.Random().randrange(1000, 1_000_000), **options)


class Canaries:
    """What attacks are after: a secret, listeners, a process, an environment variable."""

    def __init__(self, home: Path):
        self.secret = home / f"secret-{home.name}.txt"
        self.secret.write_text("the secret")
        self.tcp, self.unix, self.abstract = (
            socket.socket(),
            socket.socket(socket.AF_UNIX),
            socket.socket(socket.AF_UNIX),
        )
        self.tcp.bind(("127.0.0.1", 0))
        os.chdir(home)
        self.unix.bind("s")
        self.abstract.bind(f"\0{self.secret.name}")
        for server in (self.tcp, self.unix, self.abstract):
            server.listen()
            server.setblocking(False)
        self.process = subprocess.Popen([shutil.which("sleep") or "sleep", "600"])
        self.places = {
            "@SECRET@": str(self.secret), "@NAME@": self.secret.name, "@PORT@": str(self.tcp.getsockname()[1]),
            "@SOCKET@": str(home / "s"), "@CANARY@": str(self.process.pid),
            "@SOURCE@": str(Path(sandbox.__file__).parents[2]),
        }  # fmt: skip

    def aim(self, program: str) -> str:
        """Return an attack on these."""
        for mark, value in self.places.items():
            program = program.replace(mark, value)
        return PRELUDE + program

    def check(self) -> None:
        """Raise AssertionError where something was touched."""
        assert self.secret.read_text() == "the secret"
        assert self.process.poll() is None
        for server in (self.tcp, self.unix, self.abstract):
            with pytest.raises(BlockingIOError):
                server.accept()

    def close(self) -> None:
        """End the process and the listeners."""
        self.process.kill()
        self.process.wait()
        for server in (self.tcp, self.unix, self.abstract):
            server.close()


@pytest.fixture
def canaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Canaries]:
    monkeypatch.setenv("SIMPLERL_SECRET", "SECRET")
    monkeypatch.chdir(tmp_path)
    canaries = Canaries(tmp_path)
    yield canaries
    canaries.close()


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_is_contained(name: str, canaries: Canaries):
    statuses, program = ATTACKS[name]
    # A loaded machine is slow; what would never end by itself needs a moment to begin, other limits more to be met.
    seconds = 0.7 if statuses == {"timeout"} else 1.5 if "timeout" in statuses else 30
    limits = marked(seconds=seconds, memory_mb=256)
    start = time.monotonic()
    result = run(program if program == "\0" else canaries.aim(program), limits=limits)
    assert time.monotonic() - start <= (limits.seconds + 1) * (sandbox.ATTEMPTS if result.returncode == -9 else 1)
    assert result.seconds <= limits.seconds + 1
    assert "ESCAPED" not in result.stdout
    assert result.status in statuses, result
    assert max(len(result.stdout), len(result.stderr)) <= limits.output_kb << 10
    canaries.check()
    for _ in range(50):  # The kernel takes a moment to end a PID namespace.
        if not (left := processes_of(limits)):
            break
        time.sleep(0.05)
    assert not left


@pytest.mark.parametrize(
    "name",
    ["reading a secret", "all that is there", "loopback", "a socket in the file system",
     "an abstract socket", "the environment", "processes", "subprocess", "packages", "memory by files in memory"],
)  # fmt: skip
def test_the_same_attacks_succeed_without_a_sandbox(name: str, canaries: Canaries):
    program = canaries.aim(ATTACKS[name][1]).replace('os.walk("/")', f"os.walk({str(canaries.secret.parent)!r})")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "ESCAPED" in done.stdout, done


def test_a_program_gets_its_input_and_the_standard_library():
    result = run("import json, math\nprint(json.loads(input()), math.pi)\nexit(3)", stdin='{"a": 1}\n')
    assert (result.status, result.returncode, result.stdout) == ("failed", 3, "{'a': 1} 3.141592653589793\n")


def test_large_input_and_output_within_the_limit_arrive():
    text = "ü" * 400_000
    assert run("import sys; sys.stdout.write(sys.stdin.read())", stdin=text).stdout == text


def test_two_programs_see_nothing_of_each_other():
    assert run("open('/tmp/x', 'w').write('x')").status == "ok"
    assert run("import os; print(os.listdir('/tmp'))").stdout == "[]\n"


def test_the_order_of_a_set_of_texts_is_always_the_same():
    assert run("print({*'abcdefgh'})").stdout == run("print({*'abcdefgh'})").stdout


def test_a_program_may_start_threads():
    assert run("import threading; t = threading.Thread(target=print, args=(1,)); t.start(); t.join()").stdout == "1\n"


def test_memory_of_the_caller_stays_flat():
    program, process = "import os\nwhile True: os.write(1, bytes(1 << 16))", psutil.Process()
    run(program)
    before = process.memory_info().rss
    for _ in range(5):
        assert run(program).status == "output"
    assert process.memory_info().rss - before < 8 << 20
    assert len(process.open_files()) + process.num_fds() < 200


def test_no_descriptor_is_left_open():
    run("pass")
    before = psutil.Process().num_fds()
    for program in ("pass", "while True: pass", "while True: print('x' * 999)"):
        run(program, limits=Limits(seconds=0.3))
    assert psutil.Process().num_fds() == before


def test_two_sides_talk_and_only_the_driver_reports():
    driver = "import sys\nprint('question', flush=True)\nsys.stderr.write('got ' + input())"
    program = "import sys, other\nprint(input()[::-1])\nsys.stderr.write(other.NOISE)"
    result = converse(
        {"program.py": driver},
        {"program.py": "import sys\nsys.path.insert(0, '/')\n" + program, "other.py": "NOISE = 'noise'"},
    )
    assert (result.status, result.stdout, result.stderr) == ("ok", "got noitseuq", "noise")


def kill_some(limits: Limits, number: int, done: threading.Event, killed: list[str]) -> None:
    """Kill processes of these runs, whichever they are, until `number` are killed."""
    generator = random.Random(0)
    while len(killed) < number and not done.is_set():
        time.sleep(generator.uniform(0.1, 0.4))
        if there := processes_of(limits):
            try:
                process = generator.choice(there)
                process.kill()
                killed.append(process.name())
            except psutil.NoSuchProcess:
                pass


def killed_runs(runs: int, kills: int) -> None:
    limits, done, killed = marked(seconds=60), threading.Event(), list[str]()
    killer = threading.Thread(target=kill_some, args=(limits, kills, done, killed))
    killer.start()
    with ThreadPoolExecutor(2) as pool:
        results: list[sandbox.Result] = []
        while len(results) < runs or killer.is_alive():
            numbers = range(len(results), len(results) + 20)
            results += pool.map(lambda i: run(f"print({i})", limits=limits), numbers)
    done.set()
    killer.join()
    assert len(killed) == kills
    assert [(result.status, result.stdout) for result in results] == [("ok", f"{i}\n") for i in range(len(results))]


def test_runs_that_are_killed_from_outside_run_again():
    killed_runs(40, 5)


@pytest.mark.slow
def test_sixty_trivial_programs_a_second_on_two_idle_cores():
    """Printed beside what a plain subprocess does (pytest -s)."""
    rates = {}
    for name, start in {
        "sandbox": lambda number: run("pass"),
        "plain": lambda number: subprocess.run([sys.executable, "-c", "pass"], capture_output=True),
    }.items():
        began = time.perf_counter()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(start, range(300)))
        rates[name] = 300 / (time.perf_counter() - began)
    print(", ".join(f"{name}: {rate:.0f} programs/s" for name, rate in rates.items()))
    assert rates["sandbox"] >= 60


@pytest.mark.slow
def test_ten_thousand_runs_of_which_twenty_are_killed():
    killed_runs(10_000, 20)


def test_a_program_that_kills_itself_is_not_lost():
    result = run("import os; os.kill(os.getpid(), 9)")
    assert (result.status, result.returncode) == ("failed", -signal.SIGKILL)


def test_without_bubblewrap_nothing_runs(monkeypatch: pytest.MonkeyPatch):
    for cached in (sandbox.require, sandbox._bwrap):
        cached.cache_clear()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(sandbox.importlib.util, "find_spec", lambda name: None)
    monkeypatch.delattr(os, "memfd_create")  # As on a Mac.
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **kwargs: pytest.fail("a process was started"))
    with pytest.raises(SandboxError, match=r"apt install bubblewrap, or pip install 'simplerl\[sandbox\]'"):
        run("pass")
    for cached in (sandbox.require, sandbox._bwrap):
        cached.cache_clear()


def test_without_user_namespaces_nothing_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    fake.chmod(0o755)
    for cached in (sandbox.require, sandbox._bwrap):
        cached.cache_clear()
    monkeypatch.setattr(shutil, "which", lambda name: str(fake))
    with pytest.raises(SandboxError, match="setting up uid map: Permission denied"):
        run("pass")
    for cached in (sandbox.require, sandbox._bwrap):
        cached.cache_clear()


def test_limits_are_checked():
    with pytest.raises(SimpleRLError, match="seconds must be a number > 0, not 0"):
        Limits(seconds=0)
