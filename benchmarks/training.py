"""Measure training: our step against TRL's on the same job, and what this machine could do at best.

    python benchmarks/training.py                    everything; about three minutes on two cores
    python benchmarks/training.py --only ours        some of it: gemm, trl, ours, score, gpu
    python benchmarks/training.py --trials           TRL in every setting that we have tried
    python benchmarks/training.py --json figures.json

The job: `cub-qwen` on generated arithmetic, GRPO, 32 problems × 8 samples, at most 80 new tokens, one on-policy update
per step. Each measurement runs in a process of its own, one after the other, so that memory and threads are its own.
TRL needs the extra `benchmark` (pip install 'simplerl[benchmark]'); without it ours is measured alone. Run it on an
otherwise idle machine: what other programs took of it is measured too, and said.
"""

import argparse
import dataclasses
import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from measures.job import Job

#: Name → module in `measures`, in the order in which they run.
MEASUREMENTS = {"gemm": "gemm", "trl": "theirs", "ours": "ours", "score": "score", "gpu": "gpu"}


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for, print it, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8, metavar="N", help="steps measured (default: %(default)s)")
    parser.add_argument("--warmup", type=int, default=2, metavar="N", help="steps before them (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="threads (default: PyTorch's choice)")
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS, metavar="NAME", help="gemm, trl, ours, score, gpu")
    parser.add_argument("--trials", action="store_true", help="TRL in every setting that we have tried")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("--tiny", action="store_true", help="toy sizes: prove that it runs, measure nothing")
    parser.add_argument("--worker", nargs=2, metavar=("NAME", "FILE"), help=argparse.SUPPRESS)
    parser.add_argument("--setting", type=json.loads, default={}, metavar="JSON", help="settings of TRL on top of ours")
    args = parser.parse_args(arguments)
    if args.steps < 1 or args.warmup < 0 or args.threads < 0:
        parser.error("--steps must be at least 1, --warmup and --threads at least 0")
    job = Job(steps=args.steps, warmup=args.warmup, threads=args.threads, tiny=args.tiny, trl=args.setting)
    if args.worker:
        return _work(args.worker[0], Path(args.worker[1]), job)

    from measures import report, theirs

    if args.trials:
        trials = {name: dataclasses.replace(job, trl=setting) for name, setting in theirs.TRIALS.items()}
        figures = {"trials": {name: run("trl", trial) for name, trial in trials.items()}}
    else:
        figures = {name: run(name, job) for name in MEASUREMENTS if name in (args.only or MEASUREMENTS)}
    figures = report.complete(figures, job)
    report.show(figures)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 1 if report.failures(figures) else 0


def run(name: str, job: Job) -> dict[str, Any]:
    """Return the figures of one measurement, made in a fresh process; under `failed` why there are none."""
    print(f"measuring {name} …", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "figures.json"
        sizes = [
            "--steps",
            job.steps,
            "--warmup",
            job.warmup,
            "--threads",
            job.threads,
            *(["--tiny"] if job.tiny else []),
        ]
        command = [sys.executable, __file__, "--worker", name, result, *sizes, "--setting", json.dumps(job.trl)]
        threads = {"OMP_NUM_THREADS": str(job.threads)} if job.threads else {}
        if name == "ours":  # As the command does.
            threads |= {"OMP_WAIT_POLICY": "PASSIVE"}
        done = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **threads, "TOKENIZERS_PARALLELISM": "false"},
        )
        if done.returncode or not result.exists():
            last = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-15:]
            return {"failed": "\n".join(last)}
        return json.loads(result.read_text(encoding="utf-8"))


def _work(name: str, result: Path, job: Job) -> int:
    """Make one measurement in this process and leave its figures in a file."""
    from measures.machine import describe

    figures = importlib.import_module(f"measures.{MEASUREMENTS[name]}").measure(job)
    result.write_text(json.dumps({**figures, "machine": describe()}), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
