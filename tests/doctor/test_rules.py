"""Every rule: a run in which it fires, with the right figures, and one beside it in which it does not."""

import dataclasses
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from made_metrics import GOOD, mixed, texts_of, write_run

from simplerl.doctor import RULES, diagnose

CHINESE = "首先我们计算三加四等于七，然后乘以二等于十四。所以答案是 \\boxed{14}。"
LOOP = GOOD + " and so on" * 60
CODE = "```python\ndef solve():\n    return 14\n```\n\\boxed{14}"
BARE = "The answer is \\boxed{14}."
BETS = "3 + 4 = 7, 7 * 2 = 14. \\boxed{14} or maybe \\boxed{15}."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """What `write_run` is given, and what must come of it."""

    sick: Mapping[str, Any]
    well: Mapping[str, Any]
    """Something that looks like it and is none."""
    figures: Mapping[str, float]
    severity: str
    steps: tuple[int, int]
    words: tuple[str, ...] = ()


def after(step: int, before: float, then: float):
    """Return a value that changes after a step."""
    return lambda s: then if s > step else before


def every(number: int, value: float, else_: float):
    return lambda s: value if s % number == 0 else else_


def share(bad: str, sick: int, *, question: str = "What is three plus four, times two?") -> dict[str, Any]:
    """Return texts of which so many of 20 are bad from step 20 on."""
    return {"texts": lambda step: texts_of(mixed(bad, sick if step >= 20 else 0), question=question)}


def by_length(factor: float, noise: float = 0.0) -> dict[str, Any]:
    """Return responses of 4 lengths whose reward is `factor` × length, plus what hangs on nothing but the problem."""
    lengths = [4, 8, 12, 16] * 5
    wobble = [noise, -noise, -noise, noise] * 5
    rewards = [factor * n + w for n, w in zip(lengths, wobble, strict=True)]
    return {"texts": lambda step: texts_of([GOOD] * 20, lengths=lengths, rewards=rewards)}


def restating(rule: str, sick: int) -> dict[str, Any]:
    """Return texts of which so many of the 10 right values are copied from the question from step 20 on."""

    def texts(step: int):
        groups = texts_of([GOOD] * 20)
        copied = sick if step >= 20 else 0
        for group in groups:
            for t in group.trajectories:
                if t.verdict.correct and copied:
                    copied -= 1
                    text = "The answer is \\boxed{(3+4)*2}."
                    object.__setattr__(t, "verdict", dataclasses.replace(t.verdict, status="wrong", rule=rule))
                    object.__setattr__(t, "completion", dataclasses.replace(t.completion, text=text))
        return groups

    return {"texts": texts}


CASES: dict[str, Case] = {
    "exploration-collapsing": Case(
        sick={"figures": {"star/pass_at_k_s": after(15, 0.6, 0.2)}},
        well={"figures": {"star/pass_at_k_s": after(15, 0.6, 0.52)}},
        figures={"best_accuracy": 0.6, "accuracy": 0.2},
        severity="serious",
        steps=(17, 30),
        words=("60.0%", "20.0%", "steps 21–30"),
    ),
    "selection-starving": Case(
        sick={"figures": {"star/problems_without": 0.5}},
        well={"figures": {"star/problems_without": 0.3}},
        figures={"problems_without": 0.5},
        severity="warning",
        steps=(2, 30),
        words=("50.0%",),
    ),
    "wrong-selected": Case(
        sick={"figures": {"star/wrong_share": 0.4}},
        well={"figures": {"star/wrong_share": 0.05}},
        figures={"wrong_share": 0.4},
        severity="serious",
        steps=(2, 30),
        words=("40.0%",),
    ),
    "environment-failing": Case(
        sick={"figures": {"environment/failed": 0.8}},
        well={"figures": {"environment/failed": 0.01}},
        figures={"failed": 0.8},
        severity="serious",
        steps=(6, 30),
        words=("80.0%",),
    ),
    "calls-invalid": Case(
        sick={"figures": {"environment/invalid": 0.8}},
        well={"figures": {"environment/invalid": 0.01}},
        figures={"invalid": 0.8},
        severity="serious",
        steps=(6, 30),
        words=("80.0%",),
    ),
    "turn-limit": Case(
        sick={"figures": {"environment/turn_limit": 0.8}},
        well={"figures": {"environment/turn_limit": 0.01}},
        figures={"turn_limit": 0.8},
        severity="serious",
        steps=(6, 30),
        words=("80.0%",),
    ),
    "accuracy-fell": Case(
        sick={"figures": {"accuracy/mean": after(15, 0.6, 0.2)}},
        well={"figures": {"accuracy/mean": after(15, 0.6, 0.52)}},
        figures={"best_accuracy": 0.6, "accuracy": 0.2},
        severity="serious",
        # Windows are a third of the steps: of 17 steps the last 5 hold two at 0.2, mean 0.44.
        steps=(17, 30),
        words=("60.0%", "20.0%", "steps 21–30"),
    ),
    "below-base": Case(
        sick={"evaluated": {0: 0.5, 10: 0.46, 20: 0.4, 30: 0.3}},
        well={"evaluated": {0: 0.5, 10: 0.45, 20: 0.45, 30: 0.45}},  # The intervals touch.
        figures={"accuracy": 0.3, "base_accuracy": 0.5},
        severity="serious",
        steps=(20, 30),
        words=("30.0% [27.0%, 33.0%]", "50.0% [47.0%, 53.0%]"),
    ),
    "train-eval-gap": Case(
        # Trained from 31% (step 1) to 55.5% (mean of steps 21–30): 24.5 points, held out 2.
        sick={"evaluated": {0: 0.3, 30: 0.32}},
        well={"evaluated": {0: 0.2, 30: 0.4}},
        figures={"gap": 0.225, "train_gain": 0.245, "held_out_gain": 0.02},
        severity="serious",
        steps=(30, 30),
        words=("24.5 points", "2.0 to 32.0%"),
    ),
    "not-learning": Case(
        sick={"figures": {"accuracy/mean": 0.3}, "steps": 60, "evaluated": {0: 0.3, 60: 0.3}},
        well={"figures": {"accuracy/mean": 0.3}, "steps": 45, "evaluated": {0: 0.3}},  # Too early to say.
        figures={"early_accuracy": 0.3, "accuracy": 0.3, "best_gain": 0.0},
        severity="warning",
        steps=(50, 60),
    ),
    "entropy-collapse": Case(
        sick={"figures": {"policy/entropy": after(10, 0.3, 0.003), "accuracy/mean": 0.4}},
        # The same in a run that has learned nearly everything.
        well={"figures": {"policy/entropy": after(10, 0.3, 0.003), "accuracy/mean": after(10, 0.4, 0.95)}},
        figures={"entropy": 0.003, "first_entropy": 0.3, "accuracy": 0.4},
        severity="serious",
        # Of 14 steps the window is the last 4, all after step 10.
        steps=(14, 30),
        words=("0.3000", "0.0030", "1.0% of it"),
    ),
    "entropy-blow-up": Case(
        sick={"figures": {"policy/entropy": after(15, 0.3, 0.9), "accuracy/mean": after(15, 0.5, 0.2)}},
        well={"figures": {"policy/entropy": after(15, 0.3, 0.9)}},  # Entropy that costs nothing.
        figures={"entropy": 0.9, "least_entropy": 0.3, "accuracy": 0.2},
        severity="serious",
        steps=(18, 30),
    ),
    "ratio-blow-up": Case(
        sick={"figures": {"policy/ratio": after(28, 1.0, 1.2)}},
        well={"figures": {"policy/ratio": after(28, 1.0, 1.2), "optimizer/updates": 1}},
        figures={"ratio": 1.2, "clip_fraction": 0.01},
        severity="warning",
        steps=(29, 30),
        words=("1.200 in step 29",),
    ),
    "kl-blow-up": Case(
        sick={"figures": {"policy/kl": after(15, 0.01, 3.0)}},
        well={"figures": {"policy/kl": after(15, 0.01, 0.1)}},
        figures={"kl": 3.0, "early_kl": 0.01},
        severity="serious",
        steps=(16, 30),
    ),
    "sampler-mismatch": Case(
        sick={"figures": {"policy/mismatch_kl": 0.01}},
        well={"figures": {"policy/mismatch_kl": 0.001}},
        figures={"mismatch_kl": 0.01},
        severity="warning",
        steps=(3, 30),
    ),
    "samples-too-old": Case(
        sick={"figures": {"policy/correction_share": 0.2, "rollout/staleness_mean": 2.0}},
        well={"figures": {"policy/correction_share": 0.2}},  # Another sampler, but not an old one.
        figures={"correction_share": 0.2, "early_correction_share": 0.2},
        severity="warning",
        steps=(3, 30),
    ),
    "engines-wait": Case(
        sick={"figures": {"time/ahead_waiting": 3.0, "time/ahead_sampling": 1.0}},
        well={"figures": {"time/ahead_waiting": 1.0, "time/ahead_sampling": 3.0}},
        figures={"share": 0.75, "early_share": 0.75},
        severity="warning",
        steps=(6, 30),
        words=("75.0%",),
    ),
    "gradient-spikes": Case(
        sick={"figures": {"optimizer/grad_norm": lambda s: 4.0 if s in (24, 27, 29) else 0.2}},
        well={"figures": {"optimizer/grad_norm": lambda s: 1.9 if s in (24, 27, 29) else 0.2}},
        figures={"grad_norm": 4.0, "times_usual": 20.0, "spikes": 3},
        severity="serious",
        steps=(24, 30),
        words=("20.0 times", "3 such steps"),
    ),
    "not-finite": Case(
        sick={"figures": {"policy/loss": lambda s: None if s == 7 else 0.1}},
        well={},
        figures={"steps": 1},
        severity="serious",
        steps=(7, 30),
        words=("1 step: 7",),
    ),
    "critic-useless": Case(
        sick={"figures": {"critic/explained_variance": -0.2}},
        well={"figures": {"critic/explained_variance": after(15, -0.2, 0.1)}},
        figures={"explained_variance": -0.2},
        severity="warning",
        steps=(20, 30),
    ),
    "data-too-easy": Case(
        sick={"figures": {"groups/all_right": 0.9}},
        well={"figures": {"groups/all_right": 0.7}},
        figures={"all_right": 0.9, "early_all_right": 0.9},
        severity="warning",
        steps=(6, 30),
    ),
    "data-too-hard": Case(
        sick={"figures": {"groups/all_wrong": 0.95, "accuracy/mean": 0.01}},
        # A policy that broke down fails at everything: that does not make the problems hard.
        well={"figures": {"groups/all_wrong": after(10, 0.1, 0.95), "accuracy/mean": after(10, 0.5, 0.01)}},
        figures={"all_wrong": 0.95, "early_all_wrong": 0.95},
        severity="serious",
        steps=(6, 30),
    ),
    "no-gradient": Case(
        sick={"figures": {"optimizer/updates": every(2, 0, 1)}},
        well={"figures": {"optimizer/updates": every(8, 0, 1)}},
        figures={"steps_without_update": 0.5},
        severity="warning",
        # Steps 4 and 6 of the last 3 of 6.
        steps=(6, 30),
        words=("5 of 10 steps",),
    ),
    "verifier-timeouts": Case(
        sick={"figures": {"verdict/timeout": after(20, 0, 25)}},
        well={"figures": {"verdict/timeout": every(10, 1, 0)}},
        figures={"share": 0.2, "early_share": 0.0},
        severity="serious",
        steps=(21, 30),
        words=("20.0%",),
    ),
    "verifier-errors": Case(
        sick={"figures": {"verdict/error": 1}},
        well={},
        figures={"share": 1 / 101, "early_share": 1 / 101},
        severity="warning",
        steps=(6, 30),
    ),
    "unjudgeable": Case(
        sick={"figures": {"verdict/unjudgeable": 5}},
        well={"figures": {"verdict/unjudgeable": 1}},
        figures={"share": 5 / 105, "early_share": 5 / 105},
        severity="warning",
        steps=(6, 30),
    ),
    "no-answer": Case(
        sick={"figures": {"verdict/no_answer": 102}},
        well={"figures": {"verdict/no_answer": after(15, 102, 2)}},  # The form was learned.
        figures={"share": 0.51, "early_share": 0.51},
        severity="warning",
        steps=(20, 30),
    ),
    "runaway-length": Case(
        sick={"figures": {"length/mean": after(15, 100.0, 300.0), "accuracy/mean": 0.3}},
        well={"figures": {"length/mean": after(15, 100.0, 300.0), "accuracy/mean": after(15, 0.3, 0.5)}},
        figures={"length": 300.0, "earlier_length": 100.0, "accuracy": 0.3, "earlier_accuracy": 0.3},
        severity="warning",
        # At step 17 two of the last 5 steps: 180, at 18 three of 6: 200.
        steps=(17, 30),
        words=("100.0 tokens", "300.0", "3.0 times"),
    ),
    "reward-alone": Case(
        sick={"figures": {"reward/mean": after(15, 0.2, 0.6), "accuracy/mean": 0.3}},
        well={"figures": {"reward/mean": after(15, 0.2, 0.6), "accuracy/mean": after(15, 0.2, 0.6)}},
        figures={"reward": 0.6, "earlier_reward": 0.2, "accuracy": 0.3, "earlier_accuracy": 0.3},
        severity="warning",
        steps=(17, 30),
        words=("0.200", "0.600"),
    ),
    "collapsing-length": Case(
        sick={"figures": {"length/mean": after(15, 100.0, 10.0), "accuracy/mean": after(15, 0.5, 0.3)}},
        well={"figures": {"length/mean": after(15, 100.0, 10.0), "accuracy/mean": after(15, 0.3, 0.5)}},
        figures={"length": 10.0, "earlier_length": 100.0, "accuracy": 0.3, "earlier_accuracy": 0.5},
        severity="serious",
        steps=(18, 30),
    ),
    "clip-ratio": Case(
        sick={"figures": {"length/clip_ratio": 0.6}},
        well={"figures": {"length/clip_ratio": lambda s: 0.9 * 0.7**s}},  # The model learns to end.
        figures={"clip_ratio": 0.6, "early_clip_ratio": 0.6},
        severity="serious",
        steps=(6, 30),
        words=("sampling.max_new_tokens = 256",),
    ),
    "unhealthy-growth": Case(
        sick={"figures": {"length/mean": after(15, 100.0, 141.0), "length/clip_ratio": after(15, 0.0, 0.15)}},
        well={
            "figures": {
                "length/mean": after(15, 100.0, 141.0),
                "length/mean_stopped": after(15, 100.0, 135.0),
                "length/clip_ratio": after(15, 0.0, 0.15),
            }
        },
        figures={"growth": 0.41, "stopped_growth": 0.0, "clip_ratio": 0.15},
        severity="warning",
        # 141 in three of the last 6 steps of 18: growth 0.205, clip ratio 0.075.
        steps=(18, 30),
        words=("41.0%", "100.0 to 100.0"),
    ),
    "repetition": Case(
        sick=share(LOOP, 10),
        well=share(LOOP, 1),
        figures={"share": 0.5, "early_share": 0.0},
        severity="serious",
        # Looks at 1, 10, 20, 30: the window is one look, then two.
        steps=(20, 30),
        words=("50.0%",),
    ),
    "language-switch": Case(
        sick=share(CHINESE, 4),
        well=share(CHINESE, 4, question="三加四乘以二等于多少？(three plus four, times two)"),
        figures={"share": 0.2, "early_share": 0.0},
        severity="warning",
        steps=(20, 30),
    ),
    "bare-box": Case(
        sick=share(BARE, 10),
        # A base model that guesses and is taught to work.
        well={"texts": lambda step: texts_of(mixed(BARE, {1: 12, 10: 6, 20: 3, 30: 0}[step]))},
        figures={"share": 0.5, "early_share": 0.0},
        severity="warning",
        steps=(20, 30),
    ),
    "several-boxes": Case(
        sick=share(BETS, 10),
        well=share(BETS.replace("15", "14"), 10),
        figures={"share": 0.5, "early_share": 0.0},
        severity="serious",
        steps=(20, 30),
    ),
    "code": Case(
        sick=share(CODE, 6),
        well={"texts": lambda step: texts_of(mixed(CODE, {1: 16, 10: 6, 20: 5, 30: 5}[step]))},
        figures={"share": 0.3, "early_share": 0.0},
        severity="warning",
        steps=(20, 30),
    ),
    "restating": Case(
        sick=restating("restates", 6),
        well=restating("number", 6),
        figures={"share": 0.6, "early_share": 0.0},
        severity="serious",
        steps=(20, 30),
        words=("60.0%", "restate the question"),
    ),
    "reward-length": Case(
        sick=by_length(0.01),
        well=by_length(0.0, noise=0.1),
        figures={"correlation": 1.0, "half_width": 0.0},
        severity="warning",
        steps=(10, 30),
        words=("+1.00", "longer ones are paid better"),
    ),
}


def test_every_rule_has_a_case() -> None:
    assert set(CASES) == set(RULES)


@pytest.mark.parametrize("name", RULES)
def test_rule_fires_where_it_should(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    diagnosis = diagnose(write_run(tmp_path / "run", **case.sick))
    found = {finding.rule: finding for finding in diagnosis.findings}
    assert name in found, diagnosis
    finding = found[name]
    assert {key: finding.figures[key] for key in case.figures} == pytest.approx(case.figures, abs=1e-9)
    assert finding.severity == case.severity
    assert finding.steps == case.steps
    assert finding.lasting
    for word in case.words:
        assert word in finding.seen


@pytest.mark.parametrize("name", RULES)
def test_rule_is_silent_where_it_should_be(name: str, tmp_path: Path) -> None:
    diagnosis = diagnose(write_run(tmp_path / "run", **CASES[name].well))
    assert name not in {finding.rule for finding in diagnosis.findings}
    assert name in (*diagnosis.clean, *diagnosis.unfit)


def test_healthy_run_is_said_to_be_so(tmp_path: Path) -> None:
    diagnosis = diagnose(write_run(tmp_path / "run"))
    assert diagnosis.findings == ()
    assert diagnosis.healthy
    # The reward of the made-up responses is the verdict, and their lengths do not vary; nothing is self-training.
    unfit = {"reward-length", "exploration-collapsing", "selection-starving", "wrong-selected"}
    unfit |= {"environment-failing", "calls-invalid", "turn-limit", "samples-too-old", "engines-wait"}
    assert set(diagnosis.unfit) == unfit
    assert set(diagnosis.clean) == set(RULES) - unfit


@pytest.mark.parametrize("name", RULES)
def test_every_rule_explains_itself(name: str) -> None:
    rule = RULES[name]
    assert rule.title
    assert rule.why.endswith(".")
    assert rule.advice.endswith(".")
    assert rule.needs
    for threshold in rule.thresholds.values():
        assert threshold.meaning
        assert threshold.unit


def test_advice_names_keys_and_commands_that_exist() -> None:
    import re

    from simplerl.algorithms import ALGORITHMS
    from simplerl.cli import COMMANDS
    from simplerl.config.resolve import as_table, flatten
    from simplerl.config.sections import Config
    from simplerl.rewards import REWARDS
    from simplerl.runs.metrics import METRICS
    from simplerl.runs.responses import SCHEMA

    keys = set(flatten(as_table(Config())))
    for section, registry in (("algorithm", ALGORITHMS), ("reward", REWARDS)):
        keys |= {f"{section}.name"} | {
            f"{section}.{field.name}" for cls in registry.values() for field in dataclasses.fields(cls)
        }
    others = set(METRICS) | set(SCHEMA.names) | {"timeout", "error"}
    for name, rule in RULES.items():
        for word in re.findall(r"`([^`]+)`", rule.advice + rule.why):
            if word.startswith("simplerl "):
                assert word.split()[1] in COMMANDS, f"{name}: {word}"
            else:
                assert word in keys | others, f"{name}: {word}"


def test_needs_are_metrics_that_runs_record() -> None:
    from simplerl.doctor.features import TRAITS
    from simplerl.doctor.rule import NOT_FINITE
    from simplerl.runs.metrics import METRICS

    known = {*METRICS, *TRAITS, NOT_FINITE, "text/restating", "text/reward_length", "text/reward_length_error"}
    for name, rule in RULES.items():
        assert set(rule.needs) <= known, name


def test_what_has_passed_is_a_warning(tmp_path: Path) -> None:
    """With `serious` at 0 whatever the rule sees is serious, so that only its having passed makes it a warning."""
    figures = {"length/clip_ratio": lambda s: 0.9 if 10 < s <= 15 else 0.0}
    run = write_run(tmp_path / "run", figures)
    (finding,) = diagnose(run, {"clip-ratio.serious": 0.0}).findings
    assert (finding.rule, finding.severity, finding.lasting) == ("clip-ratio", "warning", False)
    assert finding.steps[1] < 30


def test_little_entropy_is_no_collapse_while_accuracy_rises(tmp_path: Path) -> None:
    gone = {"policy/entropy": lambda s: 0.3 if s <= 5 else 0.005}
    assert diagnose(write_run(tmp_path / "rises", gone)).findings == ()
    stuck = {**gone, "accuracy/mean": 0.4}
    assert [f.rule for f in diagnose(write_run(tmp_path / "stuck", stuck)).findings] == ["entropy-collapse"]


def test_a_critic_that_learns_first_is_not_a_step_thrown_away(tmp_path: Path) -> None:
    idle = {"optimizer/updates": lambda s: 0 if s <= 12 else 4}
    warm = write_run(tmp_path / "warm", idle, config={"algorithm": {"critic_warmup_steps": 12}})
    assert diagnose(warm).findings == ()
    assert [f.rule for f in diagnose(write_run(tmp_path / "idle", idle)).findings] == ["no-gradient"]


@pytest.mark.parametrize(
    "config", [{"sampler": {"name": "domains"}}, {"sampling": {"controller": "adastar"}}, {"transform": {"name": "x"}}]
)
def test_accuracies_of_other_problems_are_not_compared(config: Mapping[str, Any], tmp_path: Path) -> None:
    """A curriculum goes on to a harder domain, whose entropy is higher: no policy has fallen."""
    harder = {"accuracy/mean": after(15, 0.8, 0.2), "policy/entropy": after(15, 0.07, 0.6)}
    names = {"accuracy-fell", "entropy-blow-up"}
    assert names <= {f.rule for f in diagnose(write_run(tmp_path / "epoch", harder)).findings}
    diagnosis = diagnose(write_run(tmp_path / "run", harder, config=config))
    assert not names & {f.rule for f in diagnosis.findings}
    assert all("cannot be compared" in diagnosis.unfit[name] for name in (*names, "not-learning"))


def test_the_teacher_is_far_at_first(tmp_path: Path) -> None:
    falls = {"policy/kl": lambda s: 0.9 / s**0.5}
    assert "kl-blow-up" in {f.rule for f in diagnose(write_run(tmp_path / "run", falls)).findings}
    distilled = write_run(tmp_path / "distilled", falls, config={"algorithm": {"name": "distill"}})
    assert "the teacher" in diagnose(distilled).unfit["kl-blow-up"]


@pytest.mark.parametrize("rule", [rule for rule in RULES if "serious" in RULES[rule].thresholds])
def test_what_is_serious_is_a_threshold(rule: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", **CASES[rule].sick)
    for least, severity in ((0.0, "serious"), (1e9, "warning")):
        (found,) = [f for f in diagnose(run, {f"{rule}.serious": least}).findings if f.rule == rule]
        assert found.severity == severity


def test_same_verdict_paid_by_length_is_found_below_the_general_threshold(tmp_path: Path) -> None:
    """A cost of length that is small beside the verdict: +0.3 within verdicts, less over all."""
    lengths = [4, 8, 12, 16] * 5
    right = [i % 2 for i in range(20)]
    rewards = [r - 0.01 * n for r, n in zip(right, lengths, strict=True)]
    run = write_run(tmp_path / "run", texts=lambda step: texts_of([GOOD] * 20, lengths=lengths, rewards=rewards))
    (finding,) = diagnose(run).findings
    assert finding.rule == "reward-length"
    assert finding.figures["correlation"] == pytest.approx(-1.0)
    assert "with the same verdict" in finding.seen
    assert "shorter ones are paid better" in finding.seen


def test_noise_between_length_and_reward_is_no_finding(tmp_path: Path) -> None:
    import numpy as np

    def texts(step: int):
        rng = np.random.default_rng(step)
        return texts_of(
            [GOOD] * 24,
            lengths=rng.integers(4, 40, 24).tolist(),
            rewards=rng.integers(0, 2, 24).astype(float).tolist(),
        )

    diagnosis = diagnose(write_run(tmp_path / "run", texts=texts))
    assert "reward-length" in diagnosis.clean


def test_steps_from_one_window_to_the_next_are_noise_where_they_always_jump(tmp_path: Path) -> None:
    """Accuracy over few responses jumps by tens of points from step to step: its best window is luck."""
    import numpy as np

    noise = np.random.default_rng(3).uniform(0, 1, 40)
    run = write_run(
        tmp_path / "run",
        {"accuracy/mean": lambda s: float(noise[s]), "length/mean": lambda s: 100 + 10 * float(noise[-s])},
        evaluated={0: 0.5, 30: 0.5},
    )
    assert {finding.rule for finding in diagnose(run).findings} == set()


# -- rules of plug-ins -------------------------------------------------------------------------------------------------

PLUGIN = """
import simplerl.core.registry as registry
from simplerl.doctor import Rule, Symptom, Threshold, rule


@rule(
    "mine-short",
    title="Short",
    why="Why.",
    advice="Try.",
    needs=["length/mean"],
    thresholds={"tokens": Threshold(20, "mean length, at most", "tokens")},
)
def short(observed, t):
    length = observed.series("length/mean")
    return Symptom(f"{length.recent:.0f} tokens", {"length": length.recent}) if length.recent <= t["tokens"] else None


def fails(observed, t):
    return 1 / 0


registry.register("rule", "mine-broken")(
    Rule(title="B", why="W.", advice="A.", needs=("length/clip_ratio",), check=fails)
)
"""


@pytest.fixture
def plugin(tmp_path: Path):
    from simplerl.core import registry

    file = tmp_path / "my_rules.py"
    file.write_text(PLUGIN)
    registry.load_plugin(str(file))
    yield file
    registry.forget(str(file))
    registry._LOADED.pop(str(file))


def test_a_plugin_rule_is_a_rule_like_any_other(plugin: Path, tmp_path: Path) -> None:
    figures = {"length/mean": 15.0, "length/clip_ratio": None}
    run = write_run(tmp_path / "run", figures)
    (found,) = [f for f in diagnose(run).findings if f.rule == "mine-short"]
    assert (found.seen, found.severity, found.steps) == ("15 tokens", "warning", (6, 30))
    assert "mine-short" in diagnose(run, {"mine-short.tokens": 10}).clean


def test_a_plugin_rule_that_raises_is_named_with_its_line(plugin: Path, tmp_path: Path) -> None:
    from simplerl.core.errors import PluginError

    run = write_run(tmp_path / "run", {"length/mean": 100.0})
    with pytest.raises(PluginError, match=r"mine-broken.*ZeroDivisionError.*my_rules\.py:20"):
        diagnose(run)


def test_what_is_not_a_rule_is_said(tmp_path: Path, monkeypatch) -> None:
    from simplerl.core.errors import SimpleRLError

    monkeypatch.setitem(RULES.data, "odd", lambda observed, t: None)
    with pytest.raises(SimpleRLError, match=r"'odd'.*is not a Rule"):
        diagnose(write_run(tmp_path / "run", steps=2))


def test_every_text_belongs_to_a_check_and_the_other_way_round() -> None:
    from simplerl.doctor import rules

    assert list(rules._TABLE) == list(RULES), "the order in which they are shown"
    texts = {"title", "why", "advice", "needs", "least", "absent", "thresholds", "seen", "check", "arguments", "unless"}
    for name, table in rules._TABLE.items():
        assert set(table) <= texts, name
    used = {table.get("check", name) for name, table in rules._TABLE.items()}
    own = {name: value for name, value in inspect.getmembers(rules, inspect.isfunction) if not name.startswith("_")}
    # The clip-ratio and data-too-hard rules call `high` themselves.
    assert used == {name.replace("_", "-") for name, value in own.items() if value.__module__ == rules.__name__}
