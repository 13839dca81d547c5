"""The glossary: every metric once, and a run records what it defines."""

import re
from typing import Any

from support import SMALL, Silent, deep, run_small, small_config

from simplerl.config.resolve import resolve
from simplerl.runs.directory import read_metrics
from simplerl.runs.glossary import METRICS, TIMINGS
from simplerl.selftraining.star import star
from simplerl.train.sft import sft


def test_names_and_lines() -> None:
    for name, line in METRICS.items():
        assert re.fullmatch(r"[a-z_]+/[a-z_]+", name), name
        assert len(line) >= 15, name
        assert line[0].islower() or line.startswith("KL"), f"{name}: {line}"
        assert not line.endswith("."), name
    assert all(any(name.startswith(prefix) for name in METRICS) for prefix in TIMINGS)


def test_a_run_records_every_metric(tmp_path) -> None:
    """What is in the glossary is written, with everything turned on; what is written is in the glossary."""

    def run(name: str, over: dict[str, Any]) -> None:
        run_small(tmp_path / name, deep({"evaluation": {"every": 0, "size": 1, "samples": 1}}, over))

    settings = {"kl_coef": 0.1, "entropy_coef": 0.01, "correction": "truncated"}
    run_small(
        tmp_path / "all-terms", {"algorithm": settings, "evaluation": {"every": 1, "further_temperatures": [0.0]}}
    )
    run("dynamic", {"algorithm": {"name": "dapo"}})
    run("critic", {"algorithm": {"name": "ppo"}})
    run("entropy", {"algorithm": {"name": "entropic"}})
    search = {"subset": 2, "s": 2, "temperatures": [0.8, 1.0]}
    run("controlled", {"sampling": {"controller": "query-effect"}, "star": search})
    run("episodes", {"environment": {"name": "calculator"}})
    run("gates", {"sampling": {"gate": ["signal", "std", "some-right"]}})
    run("stages", {"sampler": {"name": "drive", "stage_steps": [1], "sizes": [0, 4], "samples": [2, 4]}})
    run("families", {"data": "families", "dataset": {"levels": []}, "sampler": {"name": "we-math"}})
    kept = {"algorithm": {"correction": "truncated"}}
    run("ahead", {**kept, "cluster": {"engines": 1}, "rollout": {"lag": 1}})
    run("kept", {**kept, "buffer": {"name": "rorecomp", "alpha": 0.3, "capacity": 4}})
    run("taught", {"algorithm": {"name": "distill"}})
    unsolved = {"sampling": {"max_new_tokens": 2}}
    run("prefixed", {"transform": {"name": "snapshot", "separator": "."}})
    run("lifted", {**unsolved, "buffer": {"name": "relift", "rows": 1}})
    cold = small_config({"sft": {"data": "arithmetic-long", "steps": 1, "batch_size": 4, "size": 8}})
    sft(cold, tmp_path / "cold", resume=False, callbacks=[Silent()])
    taught = {"updates": 1, "batch_size": 2, "subset": 2, "s": 2, "temperatures": [1.0], "thresholds": [0.5]}
    over = {"steps": 1, "learner": {"prompts_per_update": 0}, "star": taught}
    star(resolve("cub-b-star", deep(SMALL, over)), tmp_path / "star", callbacks=[Silent()])
    recorded = {name for run in tmp_path.iterdir() for line in read_metrics(run) for name in line} - {"step"}
    assert recorded == set(METRICS)
