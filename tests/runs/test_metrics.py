"""metrics.jsonl is read while it grows: complete lines only, damage by its number."""

import math
import os
from pathlib import Path

import pytest

from simplerl.core.errors import RunError
from simplerl.runs import files
from simplerl.runs.files import JsonLines
from simplerl.runs.metrics import as_number, read_metrics, scan_metrics


def test_lines_are_read_as_they_grow(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(b'{"step": 0, "a": 1, "t": "text"}\n{"step": 1, "a"')
    lines = JsonLines(file)
    assert scan_metrics(lines) == ({0: {"step": 0, "a": 1, "t": "text"}}, [])
    assert lines.unfinished
    with file.open("ab") as grown:
        grown.write(b': 2}\nnonsense\n\n{"step": "x", "a": 1}\n[1]\n{"step": true}\n{"step": 3, "a": null}\n')
    by_step, damaged = scan_metrics(lines)
    assert list(by_step) == [0, 1, 3]
    assert damaged == [3, 5, 6, 7]
    assert not lines.unfinished


def test_of_a_step_done_again_the_last_line_counts(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(b'{"step": 1, "a": 1}\n{"step": 2, "a": 2}\n{"step": 1, "a": 3}\n')
    assert scan_metrics(JsonLines(file))[0] == {2: {"step": 2, "a": 2}, 1: {"step": 1, "a": 3}}


@pytest.mark.parametrize("line", [b"[" * 100_000, b'{"step": 1' + b"0" * 400 + b"}", b"\xff\xfe", b'{"step": -1}'])
def test_absurd_lines_are_damage(tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(line + b'\n{"step": 7}\n')
    assert scan_metrics(JsonLines(file)) == ({7: {"step": 7}}, [1])


def test_an_endless_line_is_one_damaged_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LONGEST_LINE", 16)
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(b" " + b"x" * 15 + b'{"step": 5}    ' + b" \n" + b'{"step": 7}\n')
    assert scan_metrics(JsonLines(file)) == ({7: {"step": 7}}, [1]), "what stands in it is not a line, wherever cut"


def test_what_is_not_a_file_is_named(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []
    os.mkfifo(tmp_path / "metrics.jsonl")
    with pytest.raises(RunError, match="not a file"):
        scan_metrics(JsonLines(tmp_path / "metrics.jsonl"))


def test_numbers() -> None:
    assert [as_number(value) for value in (1, 2.5)] == [1.0, 2.5]
    assert all(math.isnan(as_number(value)) for value in (None, "1", True, math.inf, 10**400, [1]))
