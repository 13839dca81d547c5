"""The labelled open cases and the benchmark golds that lie beside a checkout, where they are present."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from pathlib import Path

import pytest

from simplerl.data import rows_to_audit
from simplerl.verify import VerifierPool

SHARED = Path(os.environ.get("SIMPLERL_SHARED", Path(__file__).resolve().parents[3] / "shared"))
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no labelled cases at {SHARED} (set SIMPLERL_SHARED)")


def open_cases() -> list[dict]:
    rows = []
    for path in sorted((SHARED / "verifier" / "open").glob("*.jsonl*")):
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
            rows += [{**json.loads(line), "set": path.name.split(".")[0]} for line in lines]
    return rows


@needs_shared
def test_figures_on_the_open_cases():
    rows = open_cases()
    with VerifierPool(workers=2) as pool:
        verdicts = pool.verify_many((row["prediction"], row["gold"]) for row in rows)
        assert not pool.ended["killed"]
    core, real = Counter(), Counter()
    for row, verdict in zip(rows, verdicts, strict=True):
        right = verdict.correct or verdict.rule == "unfinished"  # the labels are those of values
        cell = ("T" if right == row["expected"] else "F") + ("P" if right else "N")
        if row["set"] == "robust":
            assert verdict.correct == row["expected"], row["id"]
        elif row["tier"] == "core":
            core[cell] += 1
            if row["set"].startswith("real"):
                real[cell] += 1
    assert sum(core.values()) > 2_000
    assert (core["TP"] + core["TN"]) / sum(core.values()) >= 0.993
    assert core["TP"] / (core["TP"] + core["FN"]) >= 0.988
    assert core["FP"] / (core["FP"] + core["TN"]) <= 0.001
    assert real["FN"] / (real["TP"] + real["FN"]) <= 0.002
    assert real["FP"] == 0


@needs_shared
@pytest.mark.parametrize(
    "name",
    ["math500", "gsm8k", "aime24", "amc23", "minerva_math", "olympiadbench", "college_math", "gaokao2023en"],
)
def test_no_gold_is_rejected_against_itself(name):
    rows = list(rows_to_audit(str(SHARED / "data" / "benchmarks" / f"{name}.jsonl")))
    with VerifierPool(workers=1) as pool:
        verdicts = pool.verify_many((f"\\boxed{{{row.gold}}}", row.gold) for row in rows)
    failed = [row for row, verdict in zip(rows, verdicts, strict=True) if not verdict.correct and row.gold]
    assert rows
    assert not failed
