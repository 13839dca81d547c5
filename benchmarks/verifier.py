#!/usr/bin/env python3
"""Speed of the verifier, beside math-verify in the same run.

    python benchmarks/verifier.py [--cases FOLDER] [--no-math-verify]

FOLDER holds labelled cases as JSON lines with `gold` and `prediction`; files named `real*` are model responses. Without
such a folder (by default `../shared/verifier/open`) responses are made up: 90% of them end in a plain number.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

from simplerl.verify import VerifierPool
from simplerl.verify.extract import boxed, final_part
from simplerl.verify.judge import quick, reading, thorough

ROOT = Path(__file__).resolve().parents[1]
STEP = 8_192


def made_up(count: int) -> list[tuple[str, str]]:
    """Return (response, gold) pairs of 1,500 characters, 90% of them with plain numbers."""
    rng = random.Random(0)
    prose = "We compute $a + b = c$ and then multiply by two to obtain the next term. " * 20
    pairs = []
    for _ in range(count):
        n = rng.randrange(2, 500)
        kind = rng.random()
        if kind < 0.9:
            answer, gold = str(n + (rng.random() < 0.5)), str(n)
        elif kind < 0.95:
            answer, gold = rf"\dfrac{{{n}}}{{{n + 1}}}", rf"\frac{{{n}}}{{{n + 1}}}"
        else:
            answer, gold = rf"\sqrt{{{n}}}+1", rf"1+\sqrt{{{n}}}"
        pairs.append((f"{prose}So the answer is $\\boxed{{{answer}}}$.", gold))
    return pairs


def real(folder: Path) -> list[tuple[str, str]]:
    """Return (response, gold) of the model responses that state an answer in a box."""
    pairs = []
    for path in sorted(folder.glob("real*.jsonl*")):
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        pairs += [(row["prediction"], row["gold"]) for row in rows if row.get("tier") == "core"]
    return pairs


def start_up() -> float:
    """Seconds from making a pool to its first worker being ready."""
    start = time.perf_counter()
    with VerifierPool(workers=1) as pool:
        assert all(worker.ensure_process() for worker in pool._workers)
        return time.perf_counter() - start


def forget() -> None:
    """Empty the caches, so that every figure is that of a fresh process."""
    reading.cache_clear()


def throughput(pairs: list[tuple[str, str]], workers: int) -> float:
    """Verdicts per second through a warm pool, each distinct pair judged from scratch."""
    with VerifierPool(workers=workers) as pool:
        assert all(worker.ensure_process() for worker in pool._workers)
        forget()
        start = time.perf_counter()
        pool.verify_many(pairs)
        return len(pairs) / (time.perf_counter() - start)


def latencies(pairs: list[tuple[str, str]]) -> list[float]:
    """Seconds per judgement as a worker makes it: extraction, comparison and, where needed, algebra."""
    found = []
    for response, gold in pairs:
        forget()
        start = time.perf_counter()
        answer = boxed(final_part(response))
        if answer is not None and quick(answer, gold) is None:
            thorough(answer, gold)
        found.append(time.perf_counter() - start)
    return sorted(found)


def math_verify_latencies(pairs: list[tuple[str, str]]) -> list[float]:
    """Seconds per judgement of math-verify with its default settings."""
    from math_verify import parse, verify

    found = []
    for response, gold in pairs:
        start = time.perf_counter()
        verify(parse("$" + gold + "$"), parse(response))
        found.append(time.perf_counter() - start)
    return sorted(found)


def row(name: str, value: str, goal: str = "") -> None:
    """Print one line of the table."""
    print(f"  {name:46} {value:>16}   {goal}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, default=ROOT.parent / "shared" / "verifier" / "open")
    parser.add_argument("--no-math-verify", action="store_true")
    args = parser.parse_args()
    pairs = real(args.cases)
    print(f"responses: {len(pairs)} real ones from {args.cases}" if pairs else "responses: made up")
    pairs = pairs or made_up(1_000)
    rng = random.Random(0)
    batch = pairs * (20_000 // len(pairs) + 1)
    code = "import time; t = time.perf_counter(); import simplerl.verify; print(time.perf_counter() - t)"
    imported = min(float(subprocess.check_output([sys.executable, "-c", code], text=True)) for _ in range(3))
    row("import simplerl.verify", f"{1e3 * imported:.0f} ms")
    row("start-up of the pool", f"{1e3 * min(start_up() for _ in range(3)):.0f} ms", "goal ≤ 500 ms")
    row("verdicts/s, batches of all responses, one worker", f"{throughput(pairs, 1):,.0f}", "each pair seen once")
    row("verdicts/s, 20,000 responses, one worker", f"{throughput(batch, 1):,.0f}", "goal ≥ 10,000")
    step = rng.sample(batch, STEP)
    row(f"a step of {STEP:,} responses, two workers", f"{STEP / throughput(step, 2):.2f} s", "goal ≤ 2 s")
    ours = latencies(pairs)
    row("median per judgement, caches empty", f"{1e3 * statistics.median(ours):.3f} ms", "goal ≤ 0.1 ms")
    row("p99 per judgement", f"{1e3 * ours[int(0.99 * len(ours))]:.2f} ms", "goal ≤ 5 ms")
    if not args.no_math_verify and importlib.util.find_spec("math_verify") is None:
        row("math-verify", "not installed", "pip install 'simplerl[benchmark]'")
    elif not args.no_math_verify:
        theirs = math_verify_latencies(pairs)
        row("math-verify: verdicts/s", f"{len(theirs) / sum(theirs):,.0f}")
        row("math-verify: median per judgement", f"{1e3 * statistics.median(theirs):.3f} ms")
        row("math-verify: p99 per judgement", f"{1e3 * theirs[int(0.99 * len(theirs))]:.2f} ms")


if __name__ == "__main__":
    main()
