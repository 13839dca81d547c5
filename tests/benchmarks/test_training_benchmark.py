"""The training benchmark runs from end to end at toy size, and its arithmetic is right."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from measures import machine, report
from measures.job import Job, Step, summary
from measures.theirs import exact_match

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "training.py"
TINY = Job(steps=2, warmup=1, threads=0, tiny=True, trl={})


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """Everything but TRL, measured at toy size by the script itself."""
    path = tmp_path_factory.mktemp("benchmark") / "figures.json"
    flags = ["--tiny", "--steps", "2", "--warmup", "1", "--only", "gemm", "ours", "score", "gpu", "--json", str(path)]
    done = subprocess.run([sys.executable, str(SCRIPT), *flags], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "toy sizes" in done.stdout
    return json.loads(path.read_text())


def test_figures_of_our_step_agree_with_each_other(figures):
    ours, sampling = figures["ours"], TINY.config.sampling
    assert ours["steps"] == 2
    assert ours["responses_per_step"] == sampling.prompts_per_step * sampling.samples_per_prompt
    assert 1 <= ours["response_length"] <= sampling.max_new_tokens
    tokens = ours["responses_per_step"] * ours["response_length"]
    assert tokens / ours["slowest_step"] <= ours["tokens_per_second"] * 1.001
    assert ours["tokens_per_second"] <= tokens / ours["fastest_step"] * 1.001
    assert sum(ours["phases"].values()) == pytest.approx(ours["seconds_per_step"], rel=0.2)
    assert ours["memory_gb"] >= ours["memory_ready_gb"] > 0.1
    assert ours["recorded"]["seconds_per_step"] > 0
    # Every response token and every prompt goes forward once; an update needs a response that has an advantage.
    least = 2 * ours["setting"]["parameters"] * tokens
    assert least < ours["flops_per_step"]["rollout"] < 3 * least
    assert 0 <= ours["flops_per_step"]["update"] <= 3 * ours["flops_per_step"]["rollout"]


def test_share_of_the_gemm_rate_is_a_share(figures):
    assert {name: sorted(rates) for name, rates in figures["gemm"]["flops_per_second"].items()}.keys() == {
        "fp32",
        "bf16",
    }
    assert 0 < figures["share_of_gemm"]["step"] < 1


def test_scoring_stays_below_its_bound(figures):
    score = figures["score"]
    assert score["full_logits_gb"] == pytest.approx(256 * 2048 * 4 / 1e9)
    assert -0.05 < score["beyond_gb"] < 0.3
    assert score["forward_seconds"] > 0
    assert score["backward_seconds"] > 0


def test_the_gpu_path_runs_at_toy_size_anywhere(figures):
    rollout, update = figures["gpu"]["rollout"], figures["gpu"]["update"]
    assert rollout["tokens"] == 4 * 8, "no token may end a response"
    assert update["tokens"] == 4 * (8 + 8)
    assert update["tokens_per_second"] == pytest.approx(update["tokens"] / update["seconds"])


@pytest.mark.skipif(importlib.util.find_spec("trl") is not None, reason="TRL is installed")
def test_without_trl_it_says_what_to_install(tmp_path):
    path = tmp_path / "figures.json"
    flags = ["--tiny", "--steps", "1", "--only", "trl", "--json", str(path)]
    done = subprocess.run([sys.executable, str(SCRIPT), *flags], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pip install 'simplerl[benchmark]'" in done.stdout
    assert "simplerl[benchmark]" in json.loads(path.read_text())["trl"]["missing"]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="needs the extra `benchmark`")
def test_trl_does_the_same_job(tmp_path):
    path = tmp_path / "figures.json"
    flags = ["--tiny", "--steps", "6", "--only", "trl", "ours", "--json", str(path)]
    done = subprocess.run([sys.executable, str(SCRIPT), *flags], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(path.read_text())
    assert figures["trl"]["responses_per_step"] == figures["ours"]["responses_per_step"]
    # 96 responses each, of lengths that scatter about as much as they are long.
    assert 0.6 < figures["ratios"]["response_length"] < 1.6


def test_summary_takes_medians_after_the_warmup():
    steps = [
        Step(seconds=seconds, phases={"rollout": seconds / 2}, responses=2, tokens=tokens)
        for seconds, tokens in ((100.0, 1), (1.0, 10), (2.0, 20), (6.0, 60))
    ]
    found = summary(steps, 1)
    assert (found["seconds_per_step"], found["fastest_step"], found["slowest_step"]) == (2.0, 1.0, 6.0)
    assert found["phases"] == {"rollout": 1.0}
    assert found["tokens_per_second"] == 90 / 9
    assert found["response_length"] == 90 / 6


def test_share_uses_the_rate_of_each_phase_s_number_format():
    ours = {
        "setting": {"rollout_precision": "fp32", "learner_precision": "bf16"},
        "flops_per_step": {"rollout": 100.0, "update": 400.0},
        "phases": {"rollout": 2.0, "update": 4.0},
        "seconds_per_step": 8.0,
    }
    rates = {"fp32": {"small": 50.0, "large": 100.0}, "bf16": {"small": 400.0, "large": 200.0}}
    # 100 FLOP at 100 a second and 400 at 400 a second are a second each.
    assert report.shares(ours, rates) == {"rollout": 0.5, "update": 0.25, "step": 0.25}


def test_ratios_say_how_much_better_ours_is():
    def side(tokens, seconds, memory):
        return {"tokens_per_second": tokens, "seconds_per_step": seconds, "memory_gb": memory, "response_length": 10.0}

    found = report.complete({"ours": side(600.0, 1.0, 0.5), "trl": side(200.0, 3.0, 2.0)}, TINY)["ratios"]
    assert found == {"tokens_per_second": 3.0, "seconds_per_step": 3.0, "memory": 0.25, "response_length": 1.0}


@pytest.mark.parametrize(
    ("text", "answer", "reward"),
    [
        ("so \\boxed{12}", "12", 1.0),
        ("so \\boxed{ 12 }", "12", 1.0),
        ("\\boxed{3} no, \\boxed{12}", "12", 1.0),
        ("\\boxed{12} no, \\boxed{3}", "12", 0.0),
        ("the answer is 12", "12", 0.0),
        ("", "12", 0.0),
    ],
)
def test_the_reward_that_trl_gets(text, answer, reward):
    assert exact_match([text], [answer]) == [reward]


@pytest.mark.skipif(not machine.STATUS.exists(), reason="reads /proc")
def test_peak_memory_sees_what_was_freed_and_can_be_forgotten():
    before, _ = machine.memory_gb()
    held = np.ones(25_000_000)
    del held
    resident, peak = machine.memory_gb()
    assert peak - before > 0.19
    assert resident - before < 0.1
    machine.forget_peak()
    assert machine.memory_gb()[1] - before < 0.1
