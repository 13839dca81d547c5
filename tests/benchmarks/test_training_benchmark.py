"""The training benchmark runs from end to end at toy size, and its arithmetic is right."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from measures import gemm, gpu, machine, report, score
from measures.job import Job, Step, summary
from measures.theirs import exact_match

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "training.py"
TINY = Job(steps=2, warmup=1, threads=0, tiny=True, trl={})


def run_script(folder: Path, *flags: str) -> tuple[dict, str]:
    """Run the script and return its figures and what it printed."""
    path = folder / "figures.json"
    command = [sys.executable, str(SCRIPT), "--tiny", *flags, "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(path.read_text()), done.stdout


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """Our step, measured at toy size by the script itself, in processes of its own."""
    found, printed = run_script(tmp_path_factory.mktemp("benchmark"), "--steps", "2", "--warmup", "1", "--only", "ours")
    assert "toy sizes" in printed
    return found


@pytest.mark.slow
def test_figures_of_our_step_agree_with_each_other(figures):
    ours, sampling = figures["ours"], TINY.config.sampling
    assert ours["steps"] == 2
    assert ours["responses_per_step"] == sampling.prompts_per_step * sampling.samples_per_prompt
    assert 1 <= ours["response_length"] <= sampling.max_new_tokens
    tokens = ours["responses_per_step"] * ours["response_length"]
    most = ours["responses_per_step"] * sampling.max_new_tokens
    assert tokens / 2 / ours["slowest_step"] <= ours["tokens_per_second"] <= most / ours["fastest_step"]
    assert sum(ours["phases"].values()) == pytest.approx(ours["seconds_per_step"], rel=0.2)
    assert ours["memory_gb"] >= ours["memory_ready_gb"] > 0.1
    assert ours["recorded"]["seconds_per_step"] > 0
    # Every response token and every prompt goes forward once; an update needs a response that has an advantage.
    least = 2 * ours["setting"]["parameters"] * tokens
    assert least < ours["flops_per_step"]["rollout"] < 3 * least
    assert 0 <= ours["flops_per_step"]["update"] <= 3 * ours["flops_per_step"]["rollout"]


@pytest.mark.slow
def test_our_step_reaches_a_share_of_the_gemm_rate(figures):
    rates = gemm.measure(TINY)["flops_per_second"]
    assert set(rates) == {"fp32", "bf16"}
    assert all(rate > 1e8 for by_shape in rates.values() for rate in by_shape.values())
    assert 0 < report.shares(figures["ours"], rates)["step"] < 1


def test_scoring_stays_below_its_bound():
    found = score.measure(TINY)
    assert found["full_logits_gb"] == pytest.approx(256 * 2048 * 4 / 1e9)
    assert -0.05 < found["beyond_gb"] < 0.3
    assert found["forward_seconds"] > 0
    assert found["backward_seconds"] > 0


def test_the_gpu_path_runs_at_toy_size_anywhere():
    found = gpu.measure(TINY)
    rollout, update = found["rollout"], found["update"]
    assert rollout["tokens"] == 4 * 8, "no token may end a response"
    assert update["tokens"] == 4 * (8 + 8)
    assert update["tokens_per_second"] == pytest.approx(update["tokens"] / update["seconds"])


@pytest.mark.skipif(importlib.util.find_spec("trl") is not None, reason="TRL is installed")
def test_without_trl_it_says_what_to_install(tmp_path):
    found, printed = run_script(tmp_path, "--only", "trl")
    assert "pip install 'simplerl[benchmark]'" in printed
    assert "simplerl[benchmark]" in found["trl"]["missing"]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="needs the extra `benchmark`")
def test_trl_does_the_same_job(tmp_path):
    found, _ = run_script(tmp_path, "--steps", "6", "--only", "trl", "ours")
    assert found["trl"]["responses_per_step"] == found["ours"]["responses_per_step"]
    # 96 responses each, of lengths that scatter about as much as they are long.
    assert 0.6 < found["ratios"]["response_length"] < 1.6


def test_summary_takes_medians_after_the_warmup():
    steps = [
        Step(seconds=seconds, phases={"rollout": seconds / 2}, responses=2, tokens=tokens)
        for seconds, tokens in ((100.0, 1), (1.0, 30), (2.0, 20), (6.0, 10))
    ]
    found = summary(steps, 1)
    assert (found["seconds_per_step"], found["fastest_step"], found["slowest_step"]) == (2.0, 1.0, 6.0)
    assert found["phases"] == {"rollout": 1.0}
    assert found["tokens_per_second"] == 10.0
    assert found["response_length"] == 60 / 6


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
