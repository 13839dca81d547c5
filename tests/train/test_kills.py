"""A run whose engines, ranks, node or controller are killed ends as one that nobody disturbed, and leaves nothing."""

import contextlib
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import SMALL, arguments, assert_same_run, command, deep, environment, fingerprint, gone

from simplerl.core.seeds import derive
from simplerl.rollout.wire import SHARED_MEMORY
from simplerl.runs.directory import read_metrics

pytestmark = pytest.mark.slow

STEPS = 14
OVER: dict[str, Any] = {
    "steps": STEPS,
    "algorithm": {"kl_coef": 0.1},
    "cluster": {"engines": 1},
    "learner": {"ranks": 2, "restarts": 20},
    "checkpoint": {"every": 3, "keep": 0},
    "evaluation": {"every": 0},
}

#: Who is killed → how often, and which processes at once, none yet where some have not been started.
VICTIMS: dict[str, tuple[int, Callable[[int, list[int], list[int]], list[int]]]] = {
    "engine": (5, lambda controller, engines, ranks: engines),
    "rank": (5, lambda controller, engines, ranks: ranks),
    "node": (4, lambda controller, engines, ranks: engines + ranks if engines and ranks else []),
    "controller": (4, lambda controller, engines, ranks: [controller]),
    "machine": (3, lambda controller, engines, ranks: [controller, *engines, *ranks]),
}


def begin(path: Path, *more: str) -> subprocess.Popen[str]:
    """Start the command, or start it again; what it leaves outside of its run is in a folder of its own."""
    files = path.with_name("files")
    files.mkdir(exist_ok=True)
    line = command("train", "cub", *arguments(deep(SMALL, OVER)), "--output-dir", str(path), *more)
    output = path.with_name("said.txt").open("a")
    with output:
        return subprocess.Popen(
            line, env=environment() | {"TMPDIR": str(files)}, stdout=output, stderr=subprocess.STDOUT, text=True
        )


def children(pid: int, module: str) -> list[int]:
    """Return a process's children that run a module."""
    listed = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line.split()[0]) for line in listed.stdout.splitlines() if module in line]


def moments(victim: str, kills: int) -> list[tuple[int, float]]:
    """Return (step to wait for, seconds after it) of each kill; step 0: while what was killed before starts again."""
    draw = random.Random(derive(14, "kills", victim))
    steps = sorted(draw.randrange(1, STEPS - 2) for _ in range(kills))
    return [(0, draw.uniform(0, 6)) if n % 3 == 2 else (steps[n], draw.uniform(0, 0.5)) for n in range(kills)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("undisturbed") / "run"
    assert begin(path).wait(timeout=300) == 0, path.with_name("said.txt").read_text()
    return fingerprint(path)


def with_rounding_of(path: Path, reference: dict[str, Any]) -> dict[str, Any]:
    """Return a fingerprint with a run's own last digits of what an engine computes: they follow from its batch."""
    found = fingerprint(path)
    for mine, theirs in zip(found["metrics"], reference["metrics"], strict=True):
        assert mine == pytest.approx(theirs, abs=1e-6, nan_ok=True)
    records = {}
    for name, rows in reference["records"].items():
        records[name] = [dict(row) for row in rows]
        for mine, theirs in zip(found["records"][name], records[name], strict=True):
            for column in ("logprobs", "entropies"):
                assert mine[column] == pytest.approx(theirs[column], abs=1e-5)
                theirs[column] = mine[column]
    return reference | {"metrics": found["metrics"], "records": records}


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_run_that_is_killed_at_random_moments_is_the_same_run(
    victim: str, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    path, said = tmp_path / "run", tmp_path / "said.txt"
    kills, choose = VICTIMS[victim]
    process, seen = begin(path), set[int]()
    for step, seconds in moments(victim, kills):
        deadline, targets = time.monotonic() + 300, list[int]()
        while not targets and time.monotonic() < deadline:
            assert process.poll() is None, said.read_text()
            time.sleep(0.005)
            if step and not any(line["step"] >= step for line in read_metrics(path)):
                continue
            time.sleep(seconds)
            seconds = 0.0
            parts = children(process.pid, "rollout.engines"), children(process.pid, "train.ranks")
            targets = choose(process.pid, *parts)
            seen |= {process.pid, *parts[0], *parts[1]}
        assert targets, "there was nothing to kill"
        for pid in targets:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if process.pid in targets:
            process.wait()
            process = begin(path, *(["--resume"] if (path / "config.json").exists() else []))
    assert process.wait(timeout=300) == 0, said.read_text()
    words = said.read_text()
    assert "Traceback" not in words
    restarts = words.count("The run goes on from its newest checkpoint")
    anew = len(re.findall("engine 0 of 1 .* is started anew", words))
    assert {"engine": (0, kills), "rank": (kills, 0)}.get(victim, (restarts, anew)) == (restarts, anew)
    assert_same_run(path, with_rounding_of(path, undisturbed) if victim == "engine" else undisturbed)
    assert all(gone(pid) for pid in seen - {process.pid}), "a process outlives its run"
    left = [*(tmp_path / "files").iterdir(), *SHARED_MEMORY.glob("simplerl-*")]
    assert not [each for each in left if any(f"-{pid}-" in each.name for pid in seen)], "files outlive their run"
