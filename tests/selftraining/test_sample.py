"""`simplerl sample` where a training run would refuse, and where it must: before it has sampled for an hour."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support import run_main

FEW = ["cub", "--dataset.size", "6", "--sampling.max-new-tokens", "20"]


def test_one_sample_of_fewer_problems_than_a_step_of_training_has(tmp_path: Path, capsys) -> None:
    """It compares no samples and makes no updates: the recipe's algorithm and batch put up no conditions."""
    output = tmp_path / "all.jsonl"
    code, shown, error = run_main(
        capsys, "sample", *FEW, "--all", "--sampling.samples-per-prompt", "1", "--output", str(output)
    )
    assert code == 0, error
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert len({row["problem_id"] for row in rows}) == len(rows) == 6
    assert "6 responses" in shown


CASES: dict[str, tuple[Callable[[Path], list[str]], list[str]]] = {
    "there already": (lambda p: ["--output", str(p)], ["exists already"]),
    "below a file": (lambda p: ["--output", str(file(p) / "out.jsonl")], ["cannot write", "--output"]),
    "where none can be": (lambda p: ["--output", "/proc/nowhere/out.jsonl"], ["cannot write", "--output"]),
    "an algorithm": (
        lambda p: ["--output", str(p / "o"), "--algorithm.name", "ppo"],
        ["learns nothing", "--algorithm"],
    ),
    "a reference": (lambda p: ["--output", str(p / "o"), "--reference", "cub-qwen"], ["learns nothing", "--reference"]),
    "no such model": (lambda p: ["--output", str(p / "o"), "--model", "nosuch"], ["unknown model 'nosuch'"]),
    "nothing right": (
        lambda p: ["--output", str(p / "o"), "--sampling.max-new-tokens", "1"],
        ["none of the 48 responses", "--all"],
    ),
}


def file(directory: Path) -> Path:
    (directory / "file").write_text("")
    return directory / "file"


@pytest.mark.parametrize("case", CASES)
def test_bad_input(case: str, tmp_path: Path, capsys) -> None:
    arguments, wanted = CASES[case]
    code, shown, error = run_main(capsys, "sample", *FEW, *arguments(tmp_path))
    assert code == 2
    assert error.startswith("error: ")
    for fragment in wanted:
        assert fragment in error, error
    assert "problems," not in shown or case == "nothing right", "it has sampled first"
    assert not (tmp_path / "o").exists()
