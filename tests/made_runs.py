"""Run directories written by hand, without a trainer: every number in them is known, and any part can be hostile."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simplerl.runs.responses import write_rows

CONFIG: dict[str, Any] = {
    "model": "cub-qwen",
    "data": "arithmetic",
    "steps": 4,
    "token_budget": 0,
    "seed": 0,
    "output_dir": "runs/x",
    "algorithm": {"name": "grpo", "clip_low": 0.2},
    "optimizer": {"lr": 0.001},
    "tracking": {"trackers": []},
}
SESSION: dict[str, Any] = {
    "start_step": 0,
    "python": "3.11.7",
    "packages": {"simplerl": "0.1.0", "torch": "2.13.0"},
    "git_commit": "c0ffee",
    "platform": "Linux",
    "data": {"train": {"problems": 4, "sha256": "d1"}},
}

#: Letter → verdict.
VERDICTS = {"r": "correct", "w": "wrong", "n": "no_answer", "t": "timeout"}


def row(problem: str, sample: int, letter: str, **columns: Any) -> dict[str, Any]:
    """Return a row of a record: a response of 3 tokens, 5 where it is right."""
    return {
        "step": 0,
        "problem_id": problem,
        "sample": sample,
        "source": "test",
        "level": "1",
        "kind": "",
        "question": f"What is {problem}?",
        "answer": "7",
        "response": f"It is \\boxed{{{7 if letter == 'r' else 8}}}.",
        "stop_reason": "eos",
        "verdict": VERDICTS[letter],
        "extracted": "7" if letter == "r" else "8",
        "rule": "string",
        "detail": "the texts are compared",
        "reward": float(letter == "r"),
        "reward_parts": [],
        "policy_version": 0,
        "prompt_ids": [1],
        "token_ids": [1] * (5 if letter == "r" else 3),
        "logprobs": [-0.5] * (5 if letter == "r" else 3),
        "loss_mask": [True] * (5 if letter == "r" else 3),
        **columns,
    }


def rows(outcomes: Mapping[str, str], **columns: Any) -> list[dict[str, Any]]:
    """Return rows of problem → one letter a sample: r(ight), w(rong), n(o answer), t(imeout)."""
    return [row(problem, i, letter, **columns) for problem, word in outcomes.items() for i, letter in enumerate(word)]


def estimate(value: float) -> dict[str, Any]:
    return {"value": value, "low": max(0.0, value - 0.1), "high": min(1.0, value + 0.1), "problems": 4}


def write_evaluation(path: Path, step: int, records: Sequence[Mapping[str, Any]], **figures: Any) -> None:
    """Write an evaluation; its figures follow from the responses, except where they are given."""
    folder = path / "evaluations"
    folder.mkdir(parents=True, exist_ok=True)
    decided = [r for r in records if r["verdict"] not in ("timeout", "error", "unjudgeable")]
    accuracy = sum(r["verdict"] == "correct" for r in decided) / max(1, len(decided))
    levels = sorted({r["level"] for r in records})
    table = {
        "temperature": 1.0,
        "accuracy": estimate(accuracy),
        "pass_at": {"1": estimate(accuracy), "2": estimate(min(1.0, 1.5 * accuracy))},
        "by_level": {level: estimate(accuracy) for level in levels},
        "problems": len({r["problem_id"] for r in records}),
        "samples": 2,
        "boxed": 1.0,
        "clip_ratio": 0.0,
        "length": 4.0,
        "mean_stopped": 4.0,
        **figures,
    }
    write_rows(folder / f"step_{step:06d}.parquet", records)
    (folder / f"step_{step:06d}.json").write_text(json.dumps(table))


BEFORE = {"1+1": "rw", "2+2": "ww", "3+3": "rr", "4+4": "ww"}
AFTER = {"1+1": "rr", "2+2": "rr", "3+3": "ww", "4+4": "wn"}


def made_run(
    path: Path,
    *,
    config: Mapping[str, Any] | None = None,
    session: Mapping[str, Any] | None = None,
    before: Mapping[str, str] | None = None,
    after: Mapping[str, str] | None = None,
    steps: int = 4,
    finished: bool = True,
    columns: Mapping[str, Any] | None = None,
) -> Path:
    """Write a run that was evaluated before its first step and after its last."""
    path.mkdir(parents=True)
    columns = columns or {}
    before, after = before or BEFORE, after or AFTER
    (path / "config.json").write_text(json.dumps({**CONFIG, "steps": steps, **(config or {})}))
    (path / "environment.json").write_text(json.dumps({"sessions": [{**SESSION, **(session or {})}]}))
    lines = [json.dumps({"step": 0, "eval/accuracy": 0.375})]
    (path / "trajectories").mkdir()
    for step in range(1, steps + 1):
        metrics = {
            "accuracy/mean": step / (steps + 1),
            "reward/mean": step / (steps + 1),
            "length/mean": 10.0 + step,
            "length/mean_stopped": 9.0 + step,
            "length/clip_ratio": 0.25,
            "policy/entropy": 1 / step,
            "groups/mixed": 0.5,
            "tokens/sampled": 100,
            "tokens/useful": 50,
            "verdict/no_answer": 1,
            "verdict/correct": 3,
            "time/step": 1.5,
        }
        lines.append(json.dumps({"step": step, **metrics}))
        write_rows(path / "trajectories" / f"step_{step:06d}.parquet", rows(after, **columns))
    (path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    write_evaluation(path, 0, rows(before, **columns))
    write_evaluation(path, steps, rows(after, **columns))
    if finished:
        (path / "summary.json").write_text(json.dumps({"seconds": 12.0, "ended_by": "steps", "steps": steps}))
    return path
