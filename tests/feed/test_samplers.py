"""Prompt samplers: what they choose by hand, what they may not ask for, and runs that resume exactly."""

import contextlib
import json
import math
import re
import urllib.parse
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_ledgers import ledger_of, made_problems, play
from support import ROOT, SMALL, deep, resumes_exactly, run_small
from transformers import AutoTokenizer

from simplerl.config.resolve import resolve
from simplerl.core.errors import ConfigError, DataError
from simplerl.core.types import Draw, Problem
from simplerl.data import load
from simplerl.feed import SAMPLERS
from simplerl.feed.adaptive import (
    E3,
    LIM,
    WE_MATH,
    AceReason,
    Difficulty,
    Domains,
    Drive,
    NoPositiveResampling,
    WeMath,
    adastar_keys,
    alignment,
    e3_allocation,
    e3_target,
    e3_temperature,
    expected_rates,
)
from simplerl.feed.samplers import Epoch, Ledger, PromptSampler, Uniform, chosen
from simplerl.report import outcomes
from simplerl.report.outcomes import ReportedRun
from simplerl.runs.directory import read_metrics
from simplerl.runs.responses import ResponseFile, Visit
from simplerl.runs.run import Run
from simplerl.selftraining.star import star
from simplerl.viewer.library import Library
from simplerl.viewer.page import page


def ids(draws: list[Draw]) -> list[str]:
    return [draw.problem.id for draw in draws]


# -- the ledger ----------------------------------------------------------------------------------------------------


def test_the_ledger_ends_before_the_step_and_earlier_by_the_lag() -> None:
    ledger = ledger_of(4, {"p0": 1.0}, {"p0": 0.5, "p1": 0.0}, {"p0": 0.0})
    assert ledger.before(1).totals() == {}
    assert ledger.before(3).totals() == {"p0": (12, 16), "p1": (0, 8)}
    assert ledger.before(4).totals(since=2) == {"p0": (4, 16), "p1": (0, 8)}
    assert ledger.before(4).rates() == {"p0": 0.5, "p1": 0.0}
    assert [visit.step for visit in ledger.before(4).history()["p0"]] == [1, 2, 3]
    with pytest.raises(IndexError, match="step 3 is not in it"):
        ledger.before(3).visits(3)
    ledger.lag = 2
    assert ledger.before(4).totals() == {"p0": (8, 8)}
    assert ledger.before(2).upto == 0


def test_undecided_responses_are_neither_right_nor_wrong() -> None:
    lost = {"p0": Visit(1, 8, 0, 0, 5.0), "p1": Visit(1, 8, 3, 4, 5.0)}
    ledger = ledger_of(2, read=lambda step: lost).at(1)
    assert ledger.rates() == {"p1": 0.75}
    assert lost["p1"].undecided == 4


def test_each_file_is_read_once() -> None:
    reads = Counter[int]()

    def read(step: int) -> dict[str, Visit]:
        reads[step] += 1
        return {}

    ledger = ledger_of(8, read=read)
    for step in (2, 3, 4):
        ledger.before(step).history(), ledger.before(step).rates()
    assert reads == {1: 1, 2: 1, 3: 1}


def test_the_ledger_is_shown_as_table_page_and_report(tmp_path: Path) -> None:
    """It adds up to what is recorded; a problem's page has its history, and the report what came of all."""
    path = tmp_path / "run"
    _, listener = run_small(path, {"dataset": {"size": 4}, "sampler": {"name": "uniform"}, "evaluation": {"size": 1}})
    run = Run(path)
    rows = run.ledger.to_pylist()
    assert run.ledger.num_rows == 6
    for step in (1, 2, 3):
        own = [row for row in rows if row["step"] == step]
        assert sum(row["samples"] for row in own) == 8
        mean = sum(row["right"] for row in own) / sum(row["decided"] for row in own)
        assert mean == pytest.approx(listener.metrics[step]["accuracy/mean"])
        assert np.mean([row["length"] for row in own]) == pytest.approx(listener.metrics[step]["length/mean"])
    name = Counter(row["problem_id"] for row in rows).most_common(1)[0][0]
    own = [row for row in rows if row["problem_id"] == name]
    assert len(own) > 1
    view = {"problem": name, "benchmark": "training", "a_step": own[0]["step"], "b_step": own[0]["step"]}
    shown = page(Library(path), urllib.parse.urlencode(view))
    assert f"sampled in {len(own)} steps, last {own[-1]['right']}/4 right (step {own[-1]['step']})" in shown
    found = outcomes.problems(ReportedRun(path, "run"))
    assert found.sampled == len({row["problem_id"] for row in rows})
    assert found.visits == pytest.approx(6 / found.sampled)
    assert sum(found.last) == pytest.approx(1.0)


def test_a_prefix_is_given_to_the_policy_and_never_trained_on(tmp_path: Path) -> None:
    """It ends the prompt, is recorded and shown, has samples of its own, and does not count in the ledger."""
    path = tmp_path / "run"
    with register_for_a_test("prefixed", Prefixed):
        run_small(path, {"sampler": {"name": "prefixed"}, "steps": 1})
        table = Run(path).responses(1).to_pylist()
        tokenizer = AutoTokenizer.from_pretrained(path / "checkpoints" / "step_000001")
        plain, prefixed = ([row for row in table if row["prefix"] == prefix] for prefix in (None, " 1+1=2"))
        added = tokenizer.encode(" 1+1=2", add_special_tokens=False)
        assert prefixed[0]["prompt_ids"] == plain[0]["prompt_ids"] + added
        assert [row["sample"] for row in plain + prefixed] == list(range(8))
        assert all(len(row["loss_mask"]) == len(row["token_ids"]) for row in prefixed)
        assert [row["samples"] for row in Run(path).ledger.to_pylist()] == [4]
        view = {"problem": plain[0]["problem_id"], "benchmark": "training", "a_step": 1, "b_step": 1}
        assert "a prefix that the policy was given" in page(Library(path), urllib.parse.urlencode(view))
        with pytest.raises(
            DataError, match=r"step 1: the prompt of 'arithmetic.*' and its prefix have \d+ and \d+ tokens"
        ):
            run_small(tmp_path / "long", {"sampler": {"name": "prefixed", "prefix": " 1+1=2" * 500}, "steps": 1})


# -- the samplers --------------------------------------------------------------------------------------------------


def test_a_uniform_draw_repeats_and_none_twice_in_a_step() -> None:
    choices = play(Uniform(), 50, ledger_of(8), lambda problem, step: 0.5)
    assert all(len(set(ids(draws))) == 4 for draws in choices)
    often = Counter(name for draws in choices for name in ids(draws))
    assert set(often) == {f"p{i}" for i in range(8)}
    assert len({tuple(ids(draws)) for draws in choices}) > 40


def test_difficulty_turns_to_problems_of_the_wanted_pass_rate() -> None:
    """Of problems solved never, half the time and always, the middle ones come most; all of them alike at first."""
    problems = made_problems(60)
    rates = {problem.id: (0.0, 0.5, 1.0)[i % 3] for i, problem in enumerate(problems)}
    choices = play(Difficulty(explore=0.1), 60, ledger_of(problems), lambda problem, step: rates[problem.id])

    def middle(steps: list[list[Draw]]) -> float:
        return float(np.mean([rates[name] == 0.5 for draws in steps for name in ids(draws)]))

    assert middle(choices[30:]) > 2 * middle(play(Uniform(), 60, ledger_of(problems), lambda problem, step: 0.5))
    assert {rates[name] for draws in choices[30:] for name in ids(draws)} == {0.0, 0.5, 1.0}, "some explore"


def test_a_problem_that_was_never_sampled_is_expected_to_be_as_its_like() -> None:
    problems = made_problems(6, level=lambda i: str(i % 2))
    ledger = ledger_of(problems, {"p0": 1.0, "p1": 0.0}, over={"sampling": {"samples_per_prompt": 8}}).at(1)
    rates = dict(zip((p.id for p in problems), expected_rates(ledger, window=1), strict=True))
    assert rates["p2"] == rates["p4"] == pytest.approx((8 + 2 * 0.5) / 10), "of level 0, held to the mean of all"
    assert rates["p3"] == pytest.approx(0.1)
    assert rates["p0"] == pytest.approx((8 + 2 * 0.9) / 10)
    assert rates["p1"] == pytest.approx(2 * 0.1 / 10)


def test_what_was_solved_never_returns() -> None:
    """ScaleRL: a pass rate of 0.9 or more over all its responses leaves a problem out of every later epoch."""
    problems = made_problems(12)
    rates = {problem.id: (0.25, 1.0, 0.75)[i % 3] for i, problem in enumerate(problems)}
    choices = play(NoPositiveResampling(), 12, ledger_of(problems), lambda problem, step: rates[problem.id])
    often = Counter(name for draws in choices for name in ids(draws))
    assert {often[name] for name, rate in rates.items() if rate == 1.0} == {1}
    assert min(often[name] for name, rate in rates.items() if rate < 1.0) >= 4
    solved = play(NoPositiveResampling(), 3, ledger_of(problems), lambda problem, step: 0.5)
    assert len(solved) == 3
    with pytest.raises(DataError, match=r"step 4: the sampler no-positive-resampling chooses no problem"):
        play(NoPositiveResampling(), 4, ledger_of(problems), lambda problem, step: 1.0)


def test_alignment_of_learning_curves() -> None:
    """LIMR: who follows the mean trajectory scores 1, who is always right 0, who never is right little."""
    means = np.linspace(0.25, 0.65, 21)
    epochs = [{"follows": mean, "always": 1.0, "never": 0.0, "balance": 4 * mean - mean - 1.0} for mean in means]
    scores = alignment(epochs)
    assert scores["follows"] == pytest.approx(1.0)
    assert scores["always"] == pytest.approx(0.0)
    assert scores["never"] == pytest.approx(1 - (means**2).sum() / ((1 - means) ** 2).sum())
    assert 0.3 < scores["never"] < 0.5
    noisy = np.random.default_rng(0).normal(0, 0.12, 21)
    many = [
        {"noisy": mean + noise} | {f"p{i}": mean for i in range(200)} for mean, noise in zip(means, noisy, strict=True)
    ]
    assert alignment(many)["noisy"] == pytest.approx(0.95, abs=0.03)
    assert alignment([{"a": 1.0, "b": 1.0}] * 3) == {"a": 0.0, "b": 0.0}, "nothing to follow"


def test_gaps_in_learning_curves() -> None:
    """An isolated gap takes the next epoch's value; missing twice in a row, or at the end, leaves a problem out."""
    full = [{"a": 0.2, "b": 0.4}, {"a": 0.4, "b": 0.6}, {"a": 0.6, "b": 0.8}, {"a": 0.5, "b": 0.9}]
    filled = [{**epoch, "c": value} for epoch, value in zip(full, (0.1, 0.3, 0.3, 0.7), strict=True)]
    gap = [{name: value for name, value in epoch.items() if (k, name) != (1, "c")} for k, epoch in enumerate(filled)]
    means = [float(np.mean(list(epoch.values()))) for epoch in gap]
    scale = sum((1 - mean) ** 2 for mean in means)
    wanted = 1 - sum((r - mean) ** 2 for r, mean in zip((0.1, 0.3, 0.3, 0.7), means, strict=True)) / scale
    assert alignment(gap)["c"] == pytest.approx(wanted)
    twice = [{n: v for n, v in e.items() if not (k in (1, 2) and n == "c")} for k, e in enumerate(filled)]
    ends = [{n: v for n, v in e.items() if not (k == 3 and n == "c")} for k, e in enumerate(filled)]
    assert "c" not in alignment(twice)
    assert "c" not in alignment(ends)


def test_lim_goes_on_with_what_follows_the_mean() -> None:
    problems = made_problems(8)
    rates = {p.id: (lambda step: step / 10, lambda step: 1.0)[i == 7] for i, p in enumerate(problems)}
    choices = play(LIM(epochs=3), 9, ledger_of(problems), lambda problem, step: rates[problem.id](step))
    assert sorted(name for draws in choices[4:6] for name in ids(draws)) == sorted(rates), "the third epoch has all"
    assert {name for draws in choices[6:] for name in ids(draws)} == set(rates) - {"p7"}


def test_acereason_lengthens_and_drops_what_is_solved() -> None:
    over = {"sampling": {"prompts_per_step": 4, "max_new_tokens": 16}}
    problems = made_problems(8, source=lambda i: "code" if i < 2 else "math")
    sources = ("math", "math", "math", "code")
    sampler = AceReason(stage_steps=(2, 2, 2), lengths=(4, 8, 12, 16), sources=sources)
    ledger = ledger_of(problems, over=over)
    choices = play(sampler, 8, ledger, lambda problem, step: 0.5 if problem.id in ("p2", "p3") else 0.25)
    assert [sampler.max_new_tokens(step, ledger) for step in range(1, 9)] == [4, 4, 8, 8, 12, 12, 16, 16]
    stages = [{name for draws in choices[i : i + 2] for name in ids(draws)} for i in (0, 2, 4, 6)]
    mathematics = {f"p{i}" for i in range(2, 8)}
    assert stages == [stages[0], stages[1], mathematics - {"p2", "p3"} & stages[1], {"p0", "p1"}]
    with pytest.raises(ConfigError, match=r"sampler.lengths goes up to 16, above sampling.max_new_tokens = 8"):
        sampler.check(ledger_of(problems, over={"sampling": {"max_new_tokens": 8}}).config, problems)


def test_the_sets_of_drive_nest() -> None:
    problems = made_problems(12)
    sampler = Drive(stage_steps=(3, 2, 2), sizes=(0, 6, 4, 2), samples=(8, 16, 16, 24))
    choices = play(sampler, 9, ledger_of(problems), lambda problem, step: int(problem.id[1:]) / 12)
    stages = [{n for draws in choices[a:b] for n in ids(draws)} for a, b in ((0, 3), (3, 5), (5, 7), (7, 9))]
    assert stages == [{f"p{i}" for i in range(n)} for n in (12, 6, 4, 2)]
    assert [draws[0].samples for draws in choices] == [8, 8, 8, 16, 16, 16, 16, 24, 24]
    with pytest.raises(ConfigError, match=r"sampler.samples has 2 entries for 4 stages"):
        Drive(samples=(8, 64))


def test_domains_come_one_after_the_other() -> None:
    problems = made_problems(8, source=lambda i: "abcd"[i // 2])
    sampler = Domains(stage_steps=(2, 1), sources=("a|b", "c", "all"))
    choices = play(sampler, 4, ledger_of(problems), lambda problem, step: 0.5)
    assert [set(ids(draws)) for draws in choices[:3]] == [{"p0", "p1", "p2", "p3"}] * 2 + [{"p4", "p5"}]
    assert [step for step in range(1, 9) if sampler.refreshes(step)] == [3, 4]
    assert not any(Domains(stage_steps=(2,), refresh=False).refreshes(step) for step in range(1, 9))
    with pytest.raises(DataError, match=r"no training problem is of 'e'; there are a, all, b, c, d"):
        Domains(stage_steps=(2,), sources=("a", "e")).check(ledger_of(problems).config, problems)


@pytest.mark.parametrize(
    ("failing", "way"),
    [
        (set(), "base x xy xz xyz"),
        ({"base"}, "base"),
        ({"x"}, "base x y xy xz xyz"),
        ({"x", "y"}, "base x y"),
        ({"xy"}, "base x xy z xz xyz"),
        ({"xz"}, "base x xy xz yz xyz"),
    ],
)
def test_we_math_goes_by_success_and_failure(failing: set[str], way: str) -> None:
    variants = ("base", "x", "y", "z", "xy", "xz", "yz", "xyz")
    problems = [Problem(id=v, question=v, answer="1", source="m", meta={"family": 1, "variant": v}) for v in variants]
    steps = len(way.split())
    ledger = ledger_of(problems)
    choices = play(WeMath(), steps, ledger, lambda problem, step: float(problem.id not in failing))
    assert [ids(draws) for draws in choices] == [[variant] for variant in way.split()]
    with pytest.raises(DataError, match="chooses no problem"):
        play(WeMath(), steps + 1, ledger, lambda problem, step: float(problem.id not in failing))


def test_we_math_wants_families() -> None:
    with pytest.raises(DataError, match="problem 'p0': the sampler we-math wants a column `family`"):
        WeMath().check(ledger_of(2).config, made_problems(2))


@dataclass(frozen=True, kw_only=True)
class Prefixed(PromptSampler):
    """The first problem, by itself and behind a prefix."""

    prefix: str = " 1+1=2"

    def choose(self, step, ledger):
        return [ledger.draw(ledger.problems[0], prefix=prefix) for prefix in ("", self.prefix)]


@contextlib.contextmanager
def register_for_a_test(name: str, cls: type):
    SAMPLERS.register(name, cls)
    try:
        yield
    finally:
        del SAMPLERS.data[name]


# -- what a sampler may not ask for --------------------------------------------------------------------------------

STRANGER = Problem(id="stranger", question="?", answer="1", source="made")


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda ledger: [], "chooses no problem: none of the 4 training problems"),
        (lambda ledger: [ledger.draw(STRANGER)], "'stranger', which is not a training problem of this run"),
        (lambda ledger: [ledger.draw(ledger.problems[1])] * 2, "the problem 'p1' twice"),
        (lambda ledger: [ledger.draw(ledger.problems[0], samples=0)], "0 samples of 'p0'"),
        (
            lambda ledger: [ledger.draw(p, temperature=1 + i) for i, p in enumerate(ledger.problems)],
            "temperatures of 1, 2, 3, 4: an update scores all its tokens at one",
        ),
    ],
)
def test_what_cannot_be_sampled_is_refused(ask: Any, message: str) -> None:
    class Odd(PromptSampler):
        def choose(self, step, ledger):
            return ask(ledger)

    with pytest.raises(DataError, match=message) as error:
        chosen(Odd(), 1, ledger_of(4))
    assert "step 1: the sampler Odd chooses" in str(error.value)


def test_a_problem_may_come_again_behind_a_prefix() -> None:
    assert len(chosen(Prefixed(), 1, ledger_of(4))) == 2
    with pytest.raises(DataError, match="the problem 'p0' twice"):
        chosen(Prefixed(prefix=""), 1, ledger_of(4))


def test_a_controller_and_a_sampler_contradict_each_other() -> None:
    assert type(resolve("cub", {"sampler": {"name": "e3"}}).sampler).__name__ == "E3"
    with pytest.raises(ConfigError, match=r"sampling.controller = 'e3' and sampler.name = 'uniform' both choose"):
        resolve("cub", {"sampler": {"name": "uniform"}, "sampling": {"controller": "e3"}})
    with pytest.raises(ConfigError, match="unknown sampler 'dificulty'; did you mean 'difficulty'"):
        resolve("cub", {"sampler": {"name": "dificulty"}})
    with pytest.raises(ConfigError, match=r"sampler.target = 2: Input should be less than or equal to 1"):
        resolve("cub", {"sampler": {"name": "difficulty", "target": 2}})
    with pytest.raises(ConfigError, match=r"sampler.sizes must not be negative, got -1"):
        resolve("cub", {"sampler": {"name": "drive", "sizes": "0,-1,2,3"}})
    with pytest.raises(ConfigError, match=r"sampling.gate must be one of signal, std, some-right"):
        resolve("cub", {"sampling": {"gate": "sygnal"}})


# -- in runs -------------------------------------------------------------------------------------------------------

#: Settings under which a sampler has something to choose in a run of five steps.
IN_RUNS: dict[str, dict[str, Any]] = {
    "lim": {"epochs": 1, "threshold": -1.0},
    "acereason": {"stage_steps": [2, 1], "lengths": [8, 12, 16], "solved": 0.9},
    "drive": {"stage_steps": [2, 1], "sizes": [0, 4, 2], "samples": [4, 4, 6]},
    "domains": {"stage_steps": [2], "sources": ["1", "2"]},
    "curriculum": {"stage_steps": [2], "lengths": [8, 16], "sizes": [0, 3], "samples": [4, 5]},
    "query-effect": {"every": 2},
    "no-positive-resampling": {"rate": 0.99},
    "we-math": {"solved": 0.25},
}


def over_of(name: str, tmp_path: Path) -> dict[str, Any]:
    over = {
        "steps": 5,
        "dataset": {"size": 6, "levels": [1, 2] if name == "domains" else [1]},
        "sampler": {"name": name, **IN_RUNS.get(name, {})},
        "evaluation": {"every": 0, "size": 1, "samples": 1},
        "algorithm": {"kl_coef": 0.5} if name == "domains" else {},
        "star": {"temperatures": [0.8, 1.3], "subset": 3},
    }
    if name == "we-math":  # From base on, wherever anything is right.
        over |= {"data": "families", "dataset": {"size": 80, "levels": []}, "sampling": {"max_new_tokens": 40}}
    return over


def choices_of(path: Path) -> list[list[tuple[str, int]]]:
    run = Run(path)
    return [sorted(set(run.records(s).visits(s).items())) for s in run.steps]  # type: ignore[misc]


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_run_by_every_sampler_resumes_exactly(name: str, tmp_path: Path) -> None:
    """Killed before the line of metrics of its last step but one, it chooses, and ends, as one that was not."""
    resumes_exactly(tmp_path / "run", over_of(name, tmp_path), r"open /metrics\.jsonl 5$")
    metrics = {line["step"]: line for line in read_metrics(tmp_path / "run")}
    if "stage_steps" in IN_RUNS.get(name, {}):
        assert metrics[5]["sampler/stage"] == len(IN_RUNS[name]["stage_steps"]) + 1
    if name == "acereason":
        lengths = [metrics[step]["length/max"] for step in range(1, 6)]
        assert all(length <= most for length, most in zip(lengths, (8, 8, 12, 16, 16), strict=True))


def test_families_go_from_variant_to_variant_by_what_was_solved(tmp_path: Path) -> None:
    """Each problem that a run samples follows, by WE_MATH, from what came of the one of its family before it."""
    _, listener = run_small(tmp_path / "run", deep(over_of("we-math", tmp_path), {"steps": 8}))
    visits = Run(tmp_path / "run").ledger.to_pylist()
    members = {problem.id: problem.meta for problem in load("families", size=80)}
    at = {meta["family"]: "base" for meta in members.values()}
    moves = set[tuple[str, str | None]]()
    for step in range(1, 9):
        left = {family: variant for family, variant in at.items() if variant}
        assert listener.metrics[step]["sampler/pool"] == len(left)
        letters = [len(variant.replace("base", "")) for variant in left.values()]
        assert listener.metrics[step]["sampler/variant"] == pytest.approx(np.mean(letters))
        for visit in (visit for visit in visits if visit["step"] == step):
            meta = members[visit["problem_id"]]
            assert at[meta["family"]] == meta["variant"]
            at[meta["family"]] = WE_MATH[meta["variant"]][visit["right"] < 0.25 * visit["decided"]]
            moves.add((meta["variant"], at[meta["family"]]))
    assert len(moves) > 2, "some were solved, and some not"


def test_a_refreshed_policy_is_the_reference_from_then_on(tmp_path: Path) -> None:
    """Just after the refresh the KL to the reference is 0, and the moments are new; without it neither holds."""
    over = over_of("domains", tmp_path)
    _, refreshed = run_small(tmp_path / "refreshed", over)
    _, not_refreshed = run_small(tmp_path / "not", deep(over, {"sampler": {"refresh": False}}))
    assert refreshed.metrics[2]["policy/kl"] == not_refreshed.metrics[2]["policy/kl"] > 0
    assert refreshed.metrics[3]["policy/kl"] == pytest.approx(0.0, abs=1e-9)
    assert not_refreshed.metrics[3]["policy/kl"] > 1e-6


def test_what_was_learned_is_kept_where_nothing_is_left_to_sample(tmp_path: Path) -> None:
    """Every problem that was right once counts as solved: the run ends soon, with a checkpoint of its last step."""
    over = {"sampler": {"name": "no-positive-resampling", "rate": 1e-9}, "dataset": {"size": 4}}
    with pytest.raises(DataError, match=r"step [3-9]: the sampler no-positive-resampling chooses no problem") as error:
        run_small(tmp_path / "run", {**over, "checkpoint": {"every": 10}, "steps": 9})
    (kept,) = Run(tmp_path / "run").checkpoints
    assert f"step {kept.step + 1}:" in str(error.value)


def test_settings_that_do_not_fit_the_data_leave_no_directory(tmp_path: Path) -> None:
    over = {"sampler": {"name": "domains", "stage_steps": [1], "sources": ["arithmetic", "code"]}}
    with pytest.raises(DataError, match="no training problem is of 'code'"):
        run_small(tmp_path / "run", over)
    assert not (tmp_path / "run").exists()


def test_the_sampler_of_the_page_runs(tmp_path: Path) -> None:
    """The example in docs/methods.md, as a plug-in: in step 2 it samples what was solved least in step 1."""
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "methods.md").read_text(encoding="utf-8"), re.DOTALL)
    assert code
    (tmp_path / "mine.py").write_text(code[1])
    over = {"plugins": [str(tmp_path / "mine.py")], "sampler": {"name": "hardest"}, "dataset": {"size": 5}, "steps": 2}
    try:
        run_small(tmp_path / "run", over)
        first, second = (Run(tmp_path / "run").records(step).visits(step) for step in (1, 2))
        rates = {problem: visit.right / visit.decided for problem, visit in first.items()}
        assert [rates.get(problem, 0.5) for problem in second] == sorted([*rates.values(), 0.5, 0.5, 0.5])[:2]
    finally:
        SAMPLERS.forget(str(tmp_path / "mine.py"))


def test_epoch_is_the_default() -> None:
    assert type(resolve("cub", {}).sampler) is Epoch


# -- controllers: the formulas by hand, and runs that end the same after a crash ---------------------------------------


def test_e3_heats_where_the_entropy_is_below_its_target() -> None:
    """T · (1 + T · ln(H*/H)/(ln V + ln ln V)) (arXiv 2505.18573), with ln V = e and so ln ln V = 1."""
    vocabulary: Any = math.exp(math.e)
    assert e3_temperature(1.0, 0.5, 0.5, vocabulary) == 1.0
    assert e3_temperature(1.0, 0.25, 0.5, vocabulary) == pytest.approx(1 + math.log(2) / (math.e + 1))
    assert e3_temperature(0.8, 1.0, 0.5, vocabulary) == pytest.approx(0.8 * (1 - 0.8 * math.log(2) / (math.e + 1)))
    assert e3_temperature(1.9, 0.0, 0.5, vocabulary) == 2.0, "no entropy is no reason for infinite heat"


def test_e3_lowers_its_target_at_the_end() -> None:
    assert e3_target(0.5, 60, 100) == 0.5
    assert e3_target(0.5, 80, 100) == pytest.approx(0.5 * 0.95)
    assert e3_target(0.5, 100, 100) == pytest.approx(0.45)


def test_e3_gives_hard_problems_more_samples() -> None:
    assert e3_allocation([1.0, 0.5, 0.0], 24, 4, 12) == [6, 8, 10]
    assert e3_allocation([1.0, 0.5, 0.0], 30, 4, 12) == [7, 11, 12], "what is over its most goes to the next hardest"
    for shares in ([0.0] * 5, [0.1, 0.9, 0.4]):
        assert sum(e3_allocation(shares, 8 * len(shares), 4, 12)) == 8 * len(shares)


def test_adastar_renews_as_many_keys_as_the_square_of_the_accuracy() -> None:
    """round(m · acc²) of the m problems visited, in their order (arXiv 2505.16322)."""
    first = {"a": (4, 4), "b": (4, 4), "c": (4, 4), "d": (0, 4)}  # 0.75² · 4 = 2.25
    assert adastar_keys([first]) == {"a": (1, 1.0), "b": (1, 1.0)}
    assert adastar_keys([first, {"c": (1, 2)}]) == {"a": (1, 1.0), "b": (1, 1.0)}, "0.25 · 1 renews nothing"
    assert adastar_keys([first, {"c": (2, 2)}])["c"] == (2, 1.0)
    assert adastar_keys([{"a": (0, 0)}]) == {}
    assert adastar_keys([{}, {"a": (2, 2)}]) == {"a": (2, 1.0)}, "in the first step every prompt had a prefix"


OVER = deep(
    SMALL,
    {"steps": 4, "star": {"temperatures": [0.8, 1.3], "subset": 3}, "sampling": {"controller_every": 2}},
)


@pytest.mark.parametrize("name", ["query-effect", "e3", "adastar"])
def test_a_run_under_a_controller_resumes_exactly(name: str, tmp_path: Path) -> None:
    """Killed before the line of metrics of step 3: what it decides next it reads from what is recorded."""
    over = deep(OVER, {"sampling": {"controller": name}, "dataset": {"size": 5}, "evaluation": {"every": 0}})
    resumes_exactly(tmp_path / "run", over, r"open /metrics\.jsonl 4$")
    lines = read_metrics(tmp_path / "run")
    used = {line["step"]: line.get("controller/temperature") for line in lines if line["step"]}
    assert all(abs(line["policy/mismatch_kl"]) < 1e-3 for line in lines if "policy/mismatch_kl" in line)
    if name == "query-effect":
        assert used[1] == used[2]
        assert used[3] == used[4]
        assert set(used.values()) <= {0.8, 1.3}
        assert [each["step"] for each in Run(tmp_path / "run").searches] == [1, 3]
    if name == "e3":
        assert used[1] == 1.0
        samples = ResponseFile(tmp_path / "run" / "trajectories" / "step_000004.parquet").read(["sample"])
        assert len(samples) == 8, "as many as without it, of two problems"


def test_e3_steers_from_the_first_step_that_has_an_entropy(tmp_path: Path) -> None:
    """No group of step 1 had a gradient, and none of step 4: it holds what step 2 had, and then stands still."""
    entropies: list[dict[str, float]] = [{}, {}, {"policy/entropy": 0.5}, {"policy/entropy": 0.25}, {}]
    lines = [{"step": step, "controller/temperature": 1.1, **own} for step, own in enumerate(entropies)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = resolve("cub", {"sampling": {"prompts_per_step": 2}, "steps": 100, "learner": {"prompts_per_update": 0}})
    ledger = Ledger(config, made_problems(4), tmp_path, vocabulary=1000, read=lambda step: {})
    heated = e3_temperature(1.1, 0.25, 0.5, 1000)
    assert heated > 1.1
    for upto, wanted in ((0, 1.0), (1, 1.1), (2, 1.1), (3, heated), (4, 1.1)):
        (temperature,) = {draw.temperature for draw in E3().choose(upto + 1, ledger.at(upto))}
        assert temperature == wanted


def test_adastar_takes_what_it_has_not_seen(tmp_path: Path) -> None:
    over = deep(OVER, {"sampling": {"controller": "adastar"}, "dataset": {"size": 8}, "evaluation": {"every": 0}})
    run_small(tmp_path / "run", over)
    folder = tmp_path / "run" / "trajectories"
    rows = [ResponseFile(file).read(["problem_id", "verdict"]).to_pylist() for file in sorted(folder.iterdir())]
    visits = []
    for step in rows:
        outcomes: dict[str, tuple[int, int]] = {}
        for row in step:
            right, n = outcomes.get(row["problem_id"], (0, 0))
            outcomes[row["problem_id"]] = (right + (row["verdict"] == "correct"), n + 1)
        keys = adastar_keys(visits)
        assert {keys.get(name, (0, 0.0)) for name in outcomes} == {(0, 0.0)}, "eight problems last for four steps"
        visits.append(outcomes)


def test_self_training_takes_the_problems_of_adastar_alone(tmp_path: Path) -> None:
    for name in ("e3", "query-effect"):
        config = resolve("cub-b-star", {"sampling": {"controller": name}})
        with pytest.raises(ConfigError, match=f"sampling.controller = '{name}' is for simplerl train"):
            star(config, tmp_path / "run")
