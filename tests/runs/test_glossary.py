"""The glossary: every metric once, and a run records what it defines."""

import re

from support import run_small

from simplerl.runs.directory import read_metrics
from simplerl.runs.glossary import METRICS, TIMINGS


def test_names_and_lines() -> None:
    for name, line in METRICS.items():
        assert re.fullmatch(r"[a-z]+/[a-z_]+", name), name
        assert len(line) >= 15, name
        assert line[0].islower() or line.startswith("KL"), f"{name}: {line}"
        assert not line.endswith("."), name
    assert all(any(name.startswith(prefix) for name in METRICS) for prefix in TIMINGS)


def test_a_run_records_every_metric(tmp_path) -> None:
    """What is in the glossary is written, with everything turned on; what is written is in the glossary."""
    over = {"algorithm": {"kl_coef": 0.1, "entropy_coef": 0.01}, "evaluation": {"every": 1}}
    run_small(tmp_path / "run", over)
    found = {name for line in read_metrics(tmp_path / "run") for name in line} - {"step"}
    assert found == set(METRICS)
