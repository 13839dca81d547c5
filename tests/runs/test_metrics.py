"""metrics.jsonl is read while it grows: complete lines only, damage by its number."""

import math
import os
import re
from pathlib import Path
from typing import Any

import pytest
from support import SMALL, Silent, deep, run_small, small_config

from simplerl.config.resolve import resolve
from simplerl.core.errors import RunError
from simplerl.runs import files
from simplerl.runs.directory import read_metrics
from simplerl.runs.files import JsonLines
from simplerl.runs.metrics import METRICS, TIMINGS, as_number, scan_metrics
from simplerl.selftraining.star import star
from simplerl.train.sft import sft


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


# --- the glossary -----------------------------------------------------------------------------------------------------


def test_names_and_lines() -> None:
    for name, line in METRICS.items():
        assert re.fullmatch(r"[a-z_]+/[a-z_]+", name), name
        assert len(line) >= 15, name
        assert line[0].islower() or line.startswith("KL"), f"{name}: {line}"
        assert not line.endswith("."), name
    assert all(any(name.startswith(prefix) for name in METRICS) for prefix in TIMINGS)


def test_a_run_records_every_metric(tmp_path) -> None:
    """What is in the glossary is written, with everything turned on; what is written is in the glossary."""

    least = {"steps": 1, "evaluation": {"every": 0, "size": 1, "samples": 1}}

    def run(name: str, over: dict[str, Any]) -> None:
        run_small(tmp_path / name, deep(least, over))

    settings = {"kl_coef": 0.1, "entropy_coef": 0.01, "correction": "truncated"}
    run("all-terms", {"algorithm": settings, "evaluation": {"every": 1, "further_temperatures": [0.0]}})
    run("dynamic", {"algorithm": {"name": "dapo"}})
    run("critic", {"algorithm": {"name": "ppo"}})
    run("entropy", {"algorithm": {"name": "entropic"}})
    search = {"subset": 2, "s": 2, "temperatures": [0.8, 1.0]}
    run("controlled", {"sampling": {"controller": "query-effect"}, "star": search})
    run("episodes", {"environment": {"name": "calculator"}})
    run("gates", {"sampling": {"gate": ["signal", "std", "some-right"]}})
    run("stages", {"sampler": {"name": "drive", "stage_steps": [1], "sizes": [0, 4], "samples": [2, 4]}})
    run("families", {"data": "families", "dataset": {"levels": []}, "sampler": {"name": "we-math"}})
    kept = {"steps": 3, "algorithm": {"correction": "truncated"}}
    run("ahead", {**kept, "cluster": {"engines": 1}, "rollout": {"lag": 1}})
    run("kept", {**kept, "buffer": {"name": "rorecomp", "alpha": 0.3, "capacity": 4}})
    run("taught", {"algorithm": {"name": "distill"}})
    unsolved = {"steps": 3, "sampling": {"max_new_tokens": 2}}
    run("prefixed", {"transform": {"name": "snapshot", "separator": "."}})
    run("lifted", {**unsolved, "buffer": {"name": "relift", "rows": 1}})
    cold = small_config({**least, "sft": {"data": "arithmetic-long", "steps": 1, "batch_size": 4, "size": 8}})
    sft(cold, tmp_path / "cold", resume=False, callbacks=[Silent()])
    taught = {"updates": 1, "batch_size": 2, "subset": 2, "s": 2, "temperatures": [1.0], "thresholds": [0.5]}
    over = {**least, "learner": {"prompts_per_update": 0}, "star": taught}
    star(resolve("cub-b-star", deep(SMALL, over)), tmp_path / "star", callbacks=[Silent()])
    recorded = {name for run in tmp_path.iterdir() for line in read_metrics(run) for name in line} - {"step"}
    assert recorded == set(METRICS)
