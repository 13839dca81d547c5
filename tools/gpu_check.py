"""Check on a machine with a CUDA GPU what can only be seen there, and write the table into docs/performance.md.

    pip install '.[test,lora,vllm,ray]' && python tools/gpu_check.py
    python tools/gpu_check.py --dry-run       print what would be run

Everything marked `gpu` is a test of its own line below, so that a failure names what fails; then short runs are
measured. The project was made without a GPU but for half an hour, in which some of it ran (docs/performance.md).
"""

import argparse
import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "performance.md"
START, END = "<!-- gpu_check: begin -->", "<!-- gpu_check: end -->"
#: Seconds after which what hangs is ended: a wait for a GPU is not left by itself.
LIMIT_S = 1800
#: What is checked → the test of tests/train/test_gpu.py, or what pytest is given in its place.
TESTS = {
    "a run on the GPU: learner in bf16, sampler a bf16 copy, asked back": "test_a_run_on_the_gpu[native]",
    "the same by vLLM in this process": "test_a_run_on_the_gpu[vllm]",
    "vLLM keeps the contract of backends in fp32": "-m vllm -k 'not split' tests/rollout/test_contract.py",
    "vLLM as an engine, split, in flight, with ranks, placed by Ray": "test_vllm_beside_the_learner",
    "LoRA: merged weights reach both engines": "test_adapters_on_the_gpu",
    "vLLM's log-probabilities in bf16 beside the scorer's": "test_vllm_in_bf16_agrees_with_the_scorer",
    "weights and moments on the CPU: the gradient of a plain learner": "test_offloading_on_the_gpu",
    "a rank on each GPU by NCCL: gradient, checkpoint and sync of one": "test_a_rank_on_each_gpu",
    "a rank that Ray places on another GPU: the same": "test_a_rank_that_ray_places_on_another_gpu",
    "a rank that is killed within NCCL ends the run": "test_a_rank_that_dies_on_a_gpu",
    "a run goes on after that": "test_a_run_goes_on_when_a_rank_on_a_gpu_has_ended",
    "the plan is within 10% of the measured peak": "test_the_plan_is_near_the_peak",
}
ENGINE = ["--cluster.engines", "1", "--rollout.backend", "vllm"]
#: What is measured → settings of a run of the cub; a real model is given with --model.
RUNS = {
    "native": ["--rollout.backend", "native"],
    "vLLM": ["--rollout.backend", "vllm"],
    "native, offloaded": ["--rollout.backend", "native", "--learner.cpu-offload", "true"],
    "vLLM engine": ENGINE,
    "vLLM engine, one step ahead": [*ENGINE, "--rollout.lag", "1", "--algorithm.correction", "truncated"],
    "vLLM, LoRA of rank 32": ["--rollout.backend", "vllm", "--lora.rank", "32"],
}
COLUMNS = ("throughput/tokens_per_second", "time/rollout", "time/learn", "time/sync", "memory/peak_gib")


def test_command(name: str) -> list[str]:
    """Return the command of one test."""
    chosen = shlex.split(name) if " " in name else ["-m", "gpu", f"tests/train/test_gpu.py::{name}"]
    return [sys.executable, "-m", "pytest", "-n", "0", *chosen]


def run_command(model: str, settings: list[str], output: str) -> list[str]:
    """Return the command of one measured run."""
    few = [
        "--learner.device",
        "cuda",
        "--steps",
        "8",
        "--evaluation.size",
        "20",
        "--evaluation.samples",
        "1",
        "--output-dir",
        output,
    ]
    return [sys.executable, "-m", "simplerl", "train", "--model", model, *settings, *few]


def finish(command: list[str], **output: int) -> tuple[int, str]:
    """Run a command; return its exit code and output. All that it has started ends with it, also after LIMIT_S."""
    with subprocess.Popen(command, cwd=ROOT, text=True, start_new_session=True, **output) as process:
        said = ""
        try:
            said, _ = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            said = f"it hangs: ended after {LIMIT_S} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        return process.wait(), said or ""


def median(path: Path, name: str) -> str:
    """Return the median of a metric over a run's steps but the first."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()][2:]
    values = sorted(line[name] for line in lines if line.get(name) is not None)
    return f"{values[len(values) // 2]:,.3g}" if values else "–"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return rows as Markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ("---",) * len(head), *rows])


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--model", default="cub-qwen", help="a model to measure (default: the cub)")
    args = parser.parse_args()
    if args.dry_run:
        commands = [*map(test_command, TESTS.values()), *(run_command(args.model, s, "DIR") for s in RUNS.values())]
        print("\n".join(" ".join(command[1:]) for command in commands))
        return 0
    import torch

    if not torch.cuda.is_available():
        print("there is no CUDA device here: nothing was checked, and docs/performance.md is as it was")
        return 2
    device = f"{torch.cuda.get_device_name(0)} × {(gpus := torch.cuda.device_count())}, torch {torch.__version__}"
    device = f"{device}, {time.strftime('%Y-%m-%d')}, {args.model}"
    checks: list[tuple[str, ...]] = []
    measured: list[tuple[str, ...]] = []
    failed = 0

    def write() -> str:
        """Write the page as far as it is known, so that whatever comes next loses nothing."""
        tables = table(("check", "result", "seconds"), checks), table(("run", *COLUMNS), measured)
        text = "\n\n".join([START, device, *tables, END])
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(re.sub(f"{START}.*{END}", lambda _: text, page, flags=re.DOTALL), encoding="utf-8")
        return text

    for what, name in TESTS.items():
        began = time.perf_counter()
        code, said = finish(test_command(name), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        passed = code == 0 and " passed" in said
        failed += not passed
        result = "passed" if passed else "skipped" if code == 0 and " skipped" in said else "FAILED"
        some = re.search(r"\d+ skipped", said) if passed else None
        result += f", {some[0]}" if some else ""
        print(what, result, "" if passed else said[-3000:], flush=True)
        checks.append((what, result, f"{time.perf_counter() - began:.0f}"))
        write()
    runs = RUNS
    if gpus > 1:
        half = ["--learner.ranks", str(gpus - gpus // 2), "--cluster.engines", str(gpus // 2)]
        runs = RUNS | {"ranks on half of the GPUs, vLLM engines on the others": [*ENGINE[2:], *half]}
    with tempfile.TemporaryDirectory() as directory:
        for number, (what, settings) in enumerate(runs.items()):
            path = Path(directory) / str(number)
            code, _ = finish(run_command(args.model, settings, str(path)))
            failed += code != 0
            measured.append((what, *("–" if code else median(path / "metrics.jsonl", name) for name in COLUMNS)))
            write()
    print(write())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
