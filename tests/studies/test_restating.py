"""A real base model finds the cheapest answer: under a verifier that computes, it copies the question.

Set SIMPLERL_REAL_MODELS to a folder that holds `gemma3-270m` and run `pytest -m real_models`; it takes minutes.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support import run_command

from simplerl.doctor import diagnose
from simplerl.evaluate.benchmarks import LADDER

SHOTS = "".join(
    f"Q: What is {question}?\nA: {question}={answer}. The answer is {answer}.\n\n"
    for question, answer in (("6+7", 13), ("9-4", 5), ("3*5", 15))
)
TEMPLATE = SHOTS + "Q: {input}\nA:"


@pytest.fixture
def gemma() -> Path:
    path = Path(os.environ.get("SIMPLERL_REAL_MODELS", "")) / "gemma3-270m"
    if not (path / "config.json").is_file():
        pytest.skip("SIMPLERL_REAL_MODELS names no folder that holds gemma3-270m")
    return path


def train(model: Path, output: Path, *settings: str) -> list[dict]:
    """Train on arithmetic of one step, 24 problems × 8 responses of up to 24 tokens; return the lines of metrics."""
    template = output.with_suffix(".txt")
    template.write_text(TEMPLATE)
    done = run_command(
        "train", "cub", "--model", str(model), "--output-dir", str(output), "--steps", "8", "--seed", "0",
        "--template", str(template), "--prompt.special-tokens", "bos", "--dataset.levels", "1",
        "--sampling.prompts-per-step", "24", "--sampling.samples-per-prompt", "8", "--sampling.max-new-tokens", "24",
        "--optimizer.lr", "1e-5", "--verifier.policy", LADDER, "--evaluation.every", "8", "--evaluation.size", "48",
        "--evaluation.samples", "1", *settings, timeout=3_000,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["step"]]


@pytest.mark.real_models
@pytest.mark.timeout(7_200)
def test_a_real_model_copies_the_question_where_that_is_paid(gemma: Path, tmp_path: Path) -> None:
    lenient = train(gemma, tmp_path / "lenient", "--verifier.unfinished", "right", "--verifier.restates", "right")
    strict = train(gemma, tmp_path / "strict")
    assert lenient[-1]["accuracy/mean"] > 0.9
    assert lenient[-1]["accuracy/restates"] > 0.8
    assert lenient[-1]["eval/accuracy_strict"] < 0.5 * lenient[-1]["eval/accuracy"]
    assert "restating" in {finding.rule for finding in diagnose(tmp_path / "lenient").findings}
    assert strict[-1]["accuracy/restates"] < 0.5
