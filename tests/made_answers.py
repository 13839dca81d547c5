"""Runs and results with responses that a test has written."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simplerl.evaluate.figures import figures
from simplerl.runs.directory import ResultDirectory
from simplerl.runs.responses import ResponseFile, write_rows
from simplerl.runs.run import RESPONSES

#: A response, or (response, verdict), or a row's own columns.
Said = str | tuple[str, str] | Mapping[str, Any]


def rows(problems: Mapping[str, Sequence[Said]], step: int = 0) -> list[dict[str, Any]]:
    """Return rows of a record: problem id → its responses, right unless they say otherwise."""
    made = []
    for problem, responses in problems.items():
        for sample, said in enumerate(responses):
            if isinstance(said, str):
                said = {"response": said}
            elif isinstance(said, tuple):
                said = {"response": said[0], "verdict": said[1]}
            verdict = said.get("verdict", "correct")
            made.append(
                {
                    "step": step,
                    "problem_id": problem,
                    "sample": sample,
                    "level": "1",
                    "question": f"What of {problem}?",
                    "answer": "4",
                    "stop_reason": "eos",
                    "verdict": verdict,
                    "extracted": said["response"][-8:],
                    "reward": {"correct": 1.0, "wrong": 0.0}.get(verdict),
                    "token_ids": [1, 2],
                    "logprobs": [-1.0, -1.0],
                    **said,
                }
            )
    return made


def run_of(
    path: Path, steps: Mapping[int, Mapping[str, Sequence[Said]]], metrics: Sequence[dict[str, Any]] = ()
) -> Path:
    """Write a run's configuration, evaluations and metrics."""
    (path / "evaluations").mkdir(parents=True)
    (path / "config.json").write_text("{}")
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics))
    for step, problems in steps.items():
        write_rows(path / "evaluations" / f"step_{step:06d}.parquet", rows(problems, step))
    return path


def result_of(path: Path, problems: Mapping[str, Sequence[Said]], **protocol: Any) -> Path:
    """Write a finished result of `simplerl eval`."""
    with ResultDirectory(path) as directory:
        directory.begin(
            {
                "label": "model",
                "benchmark": "b",
                "problems": len(problems),
                "samples": 1,
                "template": {"name": "simple"},
                "sampling": {"temperature": 1.0},
                "seed": 0,
                "step": None,
                **protocol,
            },
            overwrite=False,
        )
        write_rows(path / RESPONSES, rows(problems))
        directory.finish(figures(ResponseFile(path / RESPONSES).answers()), {})
    return path
