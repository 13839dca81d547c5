"""Run and result directories made up for tests of what reads them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from simplerl.runs.responses import SCHEMA, write_rows


def response(problem: str, sample: int, verdict: str = "correct", text: str = "", **more: Any) -> dict[str, Any]:
    """Return a row of the schema. Three tokens unless told otherwise."""
    text = text or f"so it is \\boxed{{{sample}}}"
    row = {
        "step": 0,
        "problem_id": problem,
        "sample": sample,
        "source": "made",
        "level": "1",
        "kind": "",
        "question": f"What about {problem}?",
        "answer": "42",
        "response": text,
        "stop_reason": "eos",
        "verdict": verdict,
        "extracted": None if verdict == "no_answer" else str(sample),
        "rule": "string",
        "detail": "why so",
        "reward": {"correct": 1.0, "wrong": 0.0, "no_answer": 0.0}.get(verdict),
        "reward_parts": [],
        "advantages": None,
        "policy_version": 0,
        "prompt_ids": [1],
        "token_ids": [5, 6, 0],
        "logprobs": [-0.1, -3.0, -5.0],
        "loss_mask": [True] * 3,
    }
    return row | more


def group(problem: str, verdicts: str, **more: Any) -> list[dict[str, Any]]:
    """Return the responses of a problem: `c` correct, `w` wrong, `n` no answer, `t` timeout, `u` unjudgeable."""
    words = {"c": "correct", "w": "wrong", "n": "no_answer", "t": "timeout", "u": "unjudgeable"}
    return [response(problem, sample, words[letter], **more) for sample, letter in enumerate(verdicts)]


def run(
    path: Path,
    evaluations: dict[int, Sequence[dict[str, Any]]],
    *,
    trajectories: dict[int, Sequence[dict[str, Any]]] | None = None,
    metrics: Sequence[dict[str, Any]] | None = None,
    ended: bool = True,
) -> Path:
    """Write a run directory with these responses."""
    for folder, steps in (("evaluations", evaluations), ("trajectories", trajectories or {})):
        (path / folder).mkdir(parents=True)
        for step, rows in steps.items():
            write_rows(path / folder / f"step_{step:06d}.parquet", rows)
    (path / "config.json").write_text("{}")
    lines = [{"step": step, "eval/accuracy": 0.1 * step} for step in evaluations] if metrics is None else metrics
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if ended:
        (path / "summary.json").write_text("{}")
    return path


def result(path: Path, rows: Sequence[dict[str, Any]], *, label: str, benchmark: str, step: int | None) -> Path:
    """Write a result directory OUT/MODEL/BENCHMARK/KEY."""
    path.mkdir(parents=True)
    write_rows(path / "responses.parquet", rows)
    protocol = {"samples": 1, "problems": 1, "template": {"name": "simple"}, "sampling": {}, "seed": None}
    figure = {"value": 0.5, "low": 0.4, "high": 0.6}
    figures = {"problems": 1, "samples": 1, "verdicts": {}, "pass@k": {}, "boxed_acc": figure, "tokens": figure}
    (path / "protocol.json").write_text(json.dumps({**protocol, "label": label, "benchmark": benchmark, "step": step}))
    (path / "figures.json").write_text(json.dumps({**figures, "acc": figure}))
    return path


def large(path: Path, *, rows: int = 100_000, samples: int = 8, words: int = 150, step: int = 0) -> None:
    """Write `rows` responses of about `words` words (some 850 characters) and as many tokens each."""
    rng = np.random.default_rng(0)
    problems = rows // samples
    words_known = (
        "the we so then 12 7 x + = therefore adding gives result is of and number 3 45 equation solve let which means "
        "answer step check again \\frac{1}{2} $x^2$ wait"
    )
    vocabulary = np.array(words_known.split(), dtype=object)
    length_R = np.clip(rng.lognormal(np.log(words), 0.5, rows).astype(int), 5, 4 * words)
    offsets = pyarrow.array(np.concatenate([[0], np.cumsum(length_R)]).astype(np.int32))
    total = int(length_R.sum())
    pool = vocabulary[rng.integers(0, len(vocabulary), 1_000_000)]
    rng = np.random.default_rng(1 + step)
    start_R = rng.integers(0, len(pool) - 4 * words, rows)
    right_R = rng.random(rows) < np.repeat(rng.beta(1, 1, problems), samples) + 0.1 * step
    verdict_R = np.where(right_R, "correct", "wrong")
    verdict_R[rng.random(rows) < 0.01] = "timeout"

    def tokens(values: np.ndarray, kind: pyarrow.DataType) -> pyarrow.Array:
        return pyarrow.ListArray.from_arrays(offsets, pyarrow.array(values, kind))

    def each(values: Sequence[str]) -> np.ndarray:
        return np.repeat(np.array(values, dtype=object), samples)

    known = {
        "step": np.full(rows, step),
        "problem_id": each([f"large-test-{i}" for i in range(problems)]),
        "sample": np.tile(np.arange(samples), problems),
        "source": ["large"] * rows,
        "level": each([str(i % 5 + 1) for i in range(problems)]),
        "kind": each([("algebra", "geometry")[i % 2] for i in range(problems)]),
        "question": each([f"Problem {i}: " + " ".join(pool[7 * i : 7 * i + 40]) + "?" for i in range(problems)]),
        "answer": each([str(i) for i in range(problems)]),
        "response": [" ".join(pool[a : a + n]) for a, n in zip(start_R, length_R, strict=True)],
        "stop_reason": ["eos"] * rows,
        "verdict": verdict_R.astype(object),
        "extracted": rng.integers(0, 999, rows).astype(str).astype(object),
        "token_ids": tokens(rng.integers(0, 300, total), pyarrow.int32()),
        "logprobs": tokens(-rng.exponential(size=total), pyarrow.float32()),
    }
    columns = [
        pyarrow.nulls(rows, field.type)
        if field.name not in known
        else (found if isinstance(found := known[field.name], pyarrow.Array) else pyarrow.array(found, field.type))
        for field in SCHEMA
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns, schema=SCHEMA), path, compression="zstd")
