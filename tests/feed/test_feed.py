"""The feed: gates, rounds and shuffled rewards; rollouts ahead of training."""

import dataclasses
import itertools
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from made_ledgers import ledger_of
from support import (
    CORRECT,
    SMALL,
    TIMED_OUT,
    WRONG,
    Silent,
    arguments,
    assert_same_run,
    command,
    deep,
    environment,
    fingerprint,
    group,
    run_main,
    run_small,
    small_config,
    trajectory,
    untimed,
)

from simplerl.core.registry import forget, load_plugin
from simplerl.core.types import Completion, VersionSpan
from simplerl.feed.feed import GATES, Ahead, Recorded, StepGroups
from simplerl.feed.samplers import Refill, Sampler, replacements
from simplerl.rollout.backend import Request, Sampling
from simplerl.runs.directory import read_metrics
from simplerl.train.components import Components
from simplerl.train.loop import train

OVER = {"algorithm": {"name": "dapo"}, "sampling": {"samples_per_prompt": 2, "prompts_per_step": 6}, "steps": 2}


def rows_of(path: Path, step: int) -> list[dict]:
    return pyarrow.parquet.read_table(path / "trajectories" / f"step_{step:06d}.parquet").to_pylist()


def test_signal_is_a_difference_between_decided_rewards() -> None:
    right, wrong, lost = (trajectory(verdict=verdict) for verdict in (CORRECT, WRONG, TIMED_OUT))
    assert GATES["signal"](group(right, wrong), 0.0)
    assert not GATES["signal"](group(right, right), 0.0)
    assert not GATES["signal"](group(wrong, wrong, lost), 0.0)
    assert not GATES["signal"](group(lost, lost), 0.0)
    assert GATES["signal"](group(trajectory(reward=0.5), trajectory(reward=0.25)), 0.0)


def test_dropped_problems_are_replaced_and_recorded(tmp_path: Path) -> None:
    _, listener = run_small(tmp_path / "run", OVER)
    replaced = 0
    for step in (1, 2):
        rows, metrics = rows_of(tmp_path / "run", step), listener.metrics[step]
        by_problem: dict[str, list[dict]] = {}
        for row in rows:
            by_problem.setdefault(row["problem_id"], []).append(row)
        assert all(len(members) == 2 for members in by_problem.values()), "a problem comes once in a step"
        kept = [m for m in by_problem.values() if m[0]["advantages"] is not None]
        dropped = [m for m in by_problem.values() if m[0]["advantages"] is None]
        assert all(len({row["reward"] for row in members}) == 2 for members in kept)
        assert all(len({row["reward"] for row in members}) == 1 for members in dropped)
        assert len(dropped) == metrics["groups/dropped"]
        assert 0 < len(kept) <= 6
        assert len(kept) == 6 or metrics["groups/rounds"] == 3
        assert metrics["tokens/sampled"] == sum(len(row["token_ids"]) for row in rows), "every token is counted"
        replaced += len(by_problem) - 6
    assert replaced > 0


def test_rounds_bound_the_work(tmp_path: Path) -> None:
    over = {**OVER, "algorithm": {"name": "dapo", "refill_rounds": 1}, "steps": 1}
    _, listener = run_small(tmp_path / "run", over)
    first = {row["problem_id"] for row in rows_of(tmp_path / "run", 1)}
    assert listener.metrics[1]["groups/rounds"] == 1
    assert 6 < len(first) <= 12


def test_a_round_without_a_problem_is_none(tmp_path: Path) -> None:
    """Every problem is in the first draw, and none has signal: nothing is left to replace it."""
    reward = {"name": "overlong", "limit": 4000, "buffer": 10}
    _, listener = run_small(tmp_path / "run", {**OVER, "steps": 1, "reward": reward, "dataset": {"size": 6}})
    assert listener.metrics[1]["groups/dropped"] == len({row["problem_id"] for row in rows_of(tmp_path / "run", 1)})
    assert listener.metrics[1]["groups/rounds"] == 0


def test_without_rounds_nothing_is_dropped(tmp_path: Path) -> None:
    over = {**OVER, "algorithm": {"name": "dapo", "refill_rounds": 0}, "steps": 1}
    _, listener = run_small(tmp_path / "run", over)
    assert len({row["problem_id"] for row in rows_of(tmp_path / "run", 1)}) == 6
    assert "groups/dropped" not in listener.metrics[1]


def test_a_step_without_any_signal_is_recorded_and_changes_nothing(tmp_path: Path) -> None:
    """With rewards that never differ everything is dropped; the step still has its line, and no update."""
    over = {**OVER, "steps": 1, "reward": {"name": "overlong", "limit": 4000, "buffer": 10}}
    _, listener = run_small(tmp_path / "run", over)
    metrics = listener.metrics[1]
    assert metrics["optimizer/updates"] == 0
    assert metrics["groups/dropped"] >= 6
    rows = rows_of(tmp_path / "run", 1)
    assert len(rows) == 2 * metrics["groups/dropped"]
    assert len({row["problem_id"] for row in rows if row["advantages"] is not None}) == 6, "a step is no larger for it"


def test_the_same_command_draws_the_same_replacements(tmp_path: Path) -> None:
    for name in ("one", "two"):
        run_small(tmp_path / name, OVER)
    assert untimed(tmp_path / "one") == untimed(tmp_path / "two")
    assert repr(rows_of(tmp_path / "one", 2)) == repr(rows_of(tmp_path / "two", 2))


def test_further_problems_are_addressed_by_step_and_round() -> None:
    ledger = ledger_of(20)

    def more(step: int, round: int, count: int) -> list[str]:
        draws = replacements(Refill(), step, round, count, seen, ledger.before(step))
        return [draw.problem.id for draw in draws]

    seen = {draw.problem.id for draw in Refill().choose(3, ledger.before(3))}
    drawn = more(3, 1, 5)
    assert len(set(drawn)) == 5
    assert not set(drawn) & seen
    assert more(3, 1, 5) == drawn
    assert drawn not in [more(3, 2, 5), more(4, 1, 5)]
    everything = {problem.id for problem in ledger.problems}
    assert set(more(3, 1, 99)) == everything - seen, "what is left, where there is less"


@pytest.mark.parametrize("rounds", [0, 2])
def test_groups_are_counted_over_everything_sampled(rounds: int, tmp_path: Path) -> None:
    over = {**OVER, "algorithm": {"name": "dapo", "refill_rounds": rounds}, "steps": 1}
    _, listener = run_small(tmp_path / "run", over)
    rows = rows_of(tmp_path / "run", 1)
    assert listener.metrics[1]["accuracy/mean"] == pytest.approx(
        sum(row["verdict"] == "correct" for row in rows) / len(rows)
    )


# -- gates ---------------------------------------------------------------------------------------------------------


def test_what_gates_let_through() -> None:
    right, wrong, lost = (trajectory(verdict=verdict) for verdict in (CORRECT, WRONG, TIMED_OUT))
    near = group(trajectory(reward=0.5), trajectory(reward=0.55))
    cases = {
        "mixed": (group(right, wrong), {"signal", "std", "some-right"}),
        "all right": (group(right, right), {"some-right"}),
        "all wrong": (group(wrong, wrong, lost), set[str]()),
        "near": (near, {"signal", "some-right"} if near.trajectories[0].verdict.correct else {"signal"}),
    }
    for name, (each, wanted) in cases.items():
        assert {gate for gate, passes in GATES.items() if passes(each, 0.05)} == wanted, name
    assert GATES["std"](near, 0.025), "ReST-RL drops what lies below"


def test_groups_that_a_gate_stops_are_recorded_and_not_trained_on(tmp_path: Path) -> None:
    sampling = {"samples_per_prompt": 4, "prompts_per_step": 6, "gate": ["signal", "some-right"]}
    _, listener = run_small(tmp_path / "run", {"sampling": sampling, "steps": 2})
    seen = set()
    for step in (1, 2):
        rows, metrics = rows_of(tmp_path / "run", step), listener.metrics[step]
        stopped = 6 - round(6 * metrics["groups/mixed"])
        assert metrics["groups/dropped"] == metrics["gate/signal"] == stopped
        assert metrics["gate/some_right"] == round(6 * metrics["groups/all_wrong"])
        assert "groups/rounds" not in metrics
        dropped = {row["problem_id"] for row in rows if row["advantages"] is None}
        assert len(dropped) == (stopped if stopped < 6 else 0), "a step always has something to record"
        seen.add(stopped)
    assert seen & set(range(1, 6)), "the case that is tested"


def test_nothing_is_learned_where_no_group_passes(tmp_path: Path) -> None:
    over = {"sampling": {"gate": ["std"], "gate_std": 2.0}, "steps": 1, "algorithm": {"entropy_coef": 0.1}}
    _, listener = run_small(tmp_path / "run", over)
    metrics = listener.metrics[1]
    assert metrics["optimizer/updates"] == 0
    assert metrics["gate/std"] == 2
    assert len(rows_of(tmp_path / "run", 1)) == 8


# -- the order of problems -----------------------------------------------------------------------------------------


def test_an_epoch_goes_through_all_problems_once() -> None:
    sampler = Sampler(range(12), per_step=4, seed=0)
    assert sorted(p for step in range(1, 4) for p in sampler.at(step)) == list(range(12))
    assert sorted(p for step in range(4, 7) for p in sampler.at(step)) == list(range(12))
    assert [sampler.at(step) for step in range(1, 4)] != [sampler.at(step) for step in range(4, 7)]


def test_no_problem_twice_in_a_step_and_none_forgotten() -> None:
    sampler = Sampler(range(10), per_step=4, seed=1)
    seen = Counter()
    for step in range(1, 201):
        problems = sampler.at(step)
        assert len(set(problems)) == 4
        seen.update(problems)
    assert set(seen) == set(range(10))
    assert max(seen.values()) < 1.3 * min(seen.values())


def test_a_step_needs_no_memory_of_those_before() -> None:
    wanted = [Sampler(range(50), per_step=8, seed=3).at(step) for step in range(1, 21)]
    fresh = Sampler(range(50), per_step=8, seed=3)
    assert [fresh.at(step) for step in reversed(range(1, 21))] == wanted[::-1]
    assert [Sampler(range(50), per_step=8, seed=4).at(step) for step in range(1, 21)] != wanted


def test_epochs_as_fractions() -> None:
    sampler = Sampler(range(12), per_step=4, seed=0)
    assert [sampler.epoch(step) for step in (0, 1, 3, 6)] == pytest.approx([0, 1 / 3, 1, 2])


def test_fewer_than_a_step_are_all_in_each() -> None:
    sampler = Sampler(range(3), per_step=4, seed=0)
    assert [sorted(sampler.at(step)) for step in (1, 2)] == [[0, 1, 2]] * 2
    assert sampler.at(1) != sampler.at(2)
    assert sampler.epoch(2) == 2


# -- rollouts ahead of training: which policy samples what, what is kept for a resume, and what is refused -------------

AHEAD = {"cluster": {"engines": 1}, "rollout": {"lag": 2}, "algorithm": {"correction": "truncated"}, "steps": 6}


@dataclasses.dataclass
class FakeRollout:
    backend: Any = None
    samples: int = 1


#: A plug-in with a backend that takes its time over each token, so that new weights come under its responses.
SLOWLY = '''
import time
import simplerl
from simplerl.rollout.native import NativeBackend
from simplerl.rollout.vllm import VLLMBackend

@simplerl.register("backend", "slowly")
class Slowly(BASE):
    """Slowly."""
    def generate(self, requests, sampling):
        look = self.between_tokens
        self.between_tokens = lambda: (time.sleep(0.1), look())
        return super().generate(requests, sampling)
'''


class FakeFeed:
    """A feed that notes under which version each step is begun, and raises at one."""

    def __init__(self, fails_at: int = 0):
        self.rollout, self.responses, self.on_response = FakeRollout(), 1, lambda completion: None
        self.begun: dict[int, int] = {}
        self.fails_at = fails_at

    def take(self, step: int) -> StepGroups:
        if step == self.fails_at:
            raise RuntimeError("the judge is asleep")
        version = self.begun[step] = self.rollout.backend.version
        one = trajectory()
        spans = (VersionSpan(version, 0, len(one.completion.token_ids)),)
        one = dataclasses.replace(one, completion=dataclasses.replace(one.completion, versions=spans))
        self.on_response(one.completion)
        return StepGroups(kept=[group(one)])


def ahead_of(feed: Any, lag: int, path: Path, steps: int = 6) -> Ahead:
    return Ahead(feed, lag, start=0, steps=steps, at=lambda version: (SimpleNamespace(version=version), 0.0), path=path)


def test_staleness_is_that_of_tokens(tmp_path: Path) -> None:
    class InFlight(FakeFeed):
        def take(self, step: int) -> StepGroups:
            one = trajectory(response=[8, 9, 8, 0])
            spans = (VersionSpan(max(step - 2, 0), 0, 3), VersionSpan(step - 1, 3, 4))
            return StepGroups(
                kept=[group(dataclasses.replace(one, completion=dataclasses.replace(one.completion, versions=spans)))]
            )

    with ahead_of(InFlight(), 1, tmp_path) as ahead:
        metrics = [ahead.take(step).metrics for step in (1, 2)]
    assert [each["rollout/staleness_mean"] for each in metrics] == [0, 0.75]
    assert [each["rollout/staleness_max"] for each in metrics] == [0, 1]


@pytest.mark.parametrize("lag", [1, 2, 3])
def test_a_step_begins_when_its_policy_is_there_and_with_that_one(lag: int, tmp_path: Path) -> None:
    feed, seen = FakeFeed(), []
    feed.on_response = seen.append
    with ahead_of(feed, lag, tmp_path) as ahead:
        for step in range(1, 7):
            groups = ahead.take(step)
            deadline = time.monotonic() + 5
            while len(feed.begun) < min(step + lag, 6) and time.monotonic() < deadline:
                time.sleep(0.01)
            assert max(feed.begun) == min(step + lag, 6), "no step before its policy, and none later than it could"
            staleness = step - 1 - max(step - 1 - lag, 0)
            assert groups.metrics["rollout/staleness_mean"] == groups.metrics["rollout/staleness_max"] == staleness
    assert feed.begun == {step: max(step - 1 - lag, 0) for step in range(1, 7)}
    assert len(seen) == 6


def test_an_error_is_raised_where_the_step_is_taken(tmp_path: Path) -> None:
    with ahead_of(FakeFeed(fails_at=2), 1, tmp_path) as ahead:
        ahead.take(1)
        with pytest.raises(RuntimeError, match="the judge is asleep"):
            ahead.take(2)
    assert threading.active_count() < 50


class Counting:
    """Answers by the noise key, and counts; requests may grow meanwhile."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[int, Completion]]:
        for index, request in enumerate(requests):
            self.asked.append(request.noise_key)
            ids = np.array([request.noise_key, 0], dtype=np.int32)
            logprobs = np.full(2, -0.5, dtype=np.float32)
            spans = (VersionSpan(3, 0, 2),)
            yield index, Completion(token_ids=ids, logprobs=logprobs, text="x", stop_reason="eos", versions=spans)


def episodes(backend: Recorded, keys: Sequence[int]) -> dict[int, list[int]]:
    """Ask for two turns with each key, the second as soon as the first is there."""
    requests = [Request(prompt_ids=np.array([7], dtype=np.int32), noise_key=key) for key in keys]
    told = {}
    for index, completion in backend.generate(requests, Sampling()):
        told[requests[index].noise_key] = completion.token_ids.tolist()
        if requests[index].noise_key < 100:
            requests.append(dataclasses.replace(requests[index], noise_key=requests[index].noise_key + 100))
    return told


def test_what_was_sampled_is_not_sampled_again(tmp_path: Path) -> None:
    first, wanted = Counting(), {key: [key, 0] for key in (1, 2, 101, 102)}
    recorded = Recorded(first, tmp_path / "frames")
    assert episodes(recorded, [1, 2]) == wanted
    second = Counting()
    again = Recorded(second, tmp_path / "frames")
    assert episodes(again, [1, 2]) == wanted
    assert second.asked == []
    assert episodes(again, [2, 3]) == {key: [key, 0] for key in (2, 3, 102, 103)}
    assert second.asked == [3, 103]
    other = Request(prompt_ids=np.array([8], dtype=np.int32), noise_key=1)
    assert len(list(again.generate([other], Sampling()))) == 1
    assert second.asked == [3, 103, 1], "another prompt is another request"


@pytest.mark.parametrize("damage", [b"", b"\xff" * 40, b"{}"])
def test_what_is_damaged_is_said_and_sampled_again(damage: bytes, tmp_path: Path) -> None:
    """Cut short, in other bytes (a length of 2^64 among them), and no journal at all."""
    file, said = tmp_path / "frames", []
    wanted = episodes(Recorded(Counting(), file), [1, 2])
    content = file.read_bytes()
    left = 0 if len(damage) == 2 else 2
    file.write_bytes(damage if not left else content[: len(content) * 5 // 8] + damage)
    again = Counting()
    assert episodes(Recorded(again, file, said.append), [1, 2]) == wanted
    assert len(again.asked) == 4 - left
    assert said == [f"WARNING: {file} is damaged: of this step {left} responses are known, others are not"]
    assert len(Recorded(again, file, said.append).known) == 4
    assert len(said) == 1


def test_what_a_run_has_sampled_of_a_step_when_it_is_killed_is_not_sampled_again(tmp_path: Path) -> None:
    class Killed(Counting):
        def generate(self, *arguments: Any) -> Iterator[tuple[int, Completion]]:
            yield from itertools.islice(super().generate(*arguments), 3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        episodes(Recorded(Killed(), tmp_path / "frames"), [1, 2, 3, 4])
    again = Counting()
    assert sorted(episodes(Recorded(again, tmp_path / "frames"), [1, 2, 3, 4])) == [1, 2, 3, 4, 101, 102, 103, 104]
    assert sorted(again.asked) == [4, 101, 102, 103, 104]


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"cluster": {"engines": 0}}, "rollout.lag = 2: to sample while the learner computes takes engines"),
        ({"algorithm": {"correction": "none"}}, "with algorithm.correction = 'none'"),
        ({"rollout": {"lag": -1}}, "rollout.lag"),
        ({"rollout": {"refresh": "in_flight", "lag": 0}}, "'in_flight' with rollout.lag = 0: no response is running"),
        ({"rollout": {"refresh": "in_flight", "backend": "fake"}}, "'in_flight' with rollout.backend = 'fake'"),
        ({"rollout": {"refresh": "in_flight"}, "algorithm": {"correction": "none"}}, "algorithm.correction = 'none'"),
    ],
)
def test_what_cannot_be_ahead_is_refused(over: dict[str, Any], said: str, tmp_path: Path, capsys) -> None:
    line = [*arguments(deep(deep(SMALL, AHEAD), over)), "--output-dir", str(tmp_path / "run")]
    code, _, error = run_main(capsys, "train", "cub", *line)
    assert code == 2
    assert said in error
    assert not (tmp_path / "run").exists()


def test_only_training_is_ahead(tmp_path: Path, capsys) -> None:
    line = [*arguments(deep(SMALL, AHEAD)), "--sft.data", "arithmetic-long", "--output-dir", str(tmp_path / "run")]
    code, _, error = run_main(capsys, "sft", "cub", *line)
    assert code == 2
    assert "rollout.lag = 2 is for simplerl train" in error


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("ahead") / "run"
    run_small(path, AHEAD)
    return {**fingerprint(path), "path": path}


@pytest.mark.engines
def test_a_run_ahead_records_which_policy_sampled_what(straight: dict[str, Any]) -> None:
    path = straight["path"]
    for step in range(1, 7):
        rows = pyarrow.parquet.read_table(path / f"trajectories/step_{step:06d}.parquet").to_pylist()
        assert {row["policy_version"] for row in rows} == {max(step - 3, 0)}
    lines = read_metrics(path)[1:]
    assert [line["rollout/staleness_max"] for line in lines] == [0, 1, 2, 2, 2, 2]
    assert all(line["policy/sync_gap"] < 1e-5 for line in lines)
    assert lines[-1]["policy/mismatch_kl"] > 10 * lines[0]["policy/mismatch_kl"], "older samples are further away"
    assert not list((path / "ahead").iterdir())


@pytest.mark.engines
@pytest.mark.parametrize("base", ["NativeBackend", pytest.param("VLLMBackend", marks=pytest.mark.vllm)])
def test_a_run_in_flight_records_which_policy_sampled_which_token(base: str, tmp_path: Path) -> None:
    """Also one that is stopped and goes on."""
    (tmp_path / "slowly.py").write_text(SLOWLY.replace("BASE", base))
    plugin = load_plugin(str(tmp_path / "slowly.py"))
    over = deep(AHEAD, {"rollout": {"refresh": "in_flight", "lag": 1, "backend": "slowly"}, "plugins": [plugin.name]})
    _, listener = run_small(tmp_path / "run", deep(over, {"steps": 4}))
    assert "rollout.refresh = in_flight: time decides" in str(listener.lines)
    assert not (tmp_path / "run/checkpoints/step_000004/policies").exists()
    run_small(tmp_path / "run", over, resume=True)
    forget(str(tmp_path / "slowly.py"))
    lines, spans_of = read_metrics(tmp_path / "run")[1:], set[int]()
    assert all(line["policy/sync_gap"] < 1e-5 for line in lines)
    for step, line in enumerate(lines, 1):
        rows = pyarrow.parquet.read_table(tmp_path / f"run/trajectories/step_{step:06d}.parquet").to_pylist()
        ages = []
        for row in rows:
            spans = row["versions"] or [{"version": row["policy_version"], "start": 0, "end": len(row["token_ids"])}]
            spans_of.add(len(spans))
            ages += [step - 1 - span["version"] for span in spans for _ in range(span["start"], span["end"])]
        assert set(ages) <= {0, 1}
        assert line["rollout/staleness_mean"] == pytest.approx(np.mean(ages))
        assert line["rollout/staleness_max"] == max(ages)
    assert spans_of == {1, 2}


@pytest.mark.engines
def test_a_run_that_was_stopped_goes_on_bit_for_bit(straight: dict[str, Any], tmp_path: Path) -> None:
    run_small(tmp_path / "run", deep(AHEAD, {"steps": 4, "checkpoint": {"asynchronous": True}}))
    assert sorted(each.name for each in (tmp_path / "run/checkpoints/step_000004/policies").iterdir()) == [
        "2",
        "3",
        "proofs.json",
    ]
    run_small(tmp_path / "run", AHEAD, resume=True)
    assert_same_run(tmp_path / "run", straight)


@pytest.mark.engines
@pytest.mark.parametrize("refresh", ["step", "in_flight"])
def test_complete_steps_within_the_bound_are_not_sampled_again(
    refresh: str, straight: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By a run that ends without a checkpoint and goes on from the start."""

    class Ends(Silent):
        def on_step(self, step: int, metrics: Any, groups: Any) -> None:
            if step == 4 and not begun:
                raise KeyboardInterrupt

    class Noting:
        def __init__(self, engines: Any):
            self.engines, self.version = engines, engines.version

        def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[int, Completion]]:
            asked.append({request.noise_key for request in requests})
            return self.engines.generate(requests, sampling)

    begun, asked, at = list[Any](), list[set[int]](), Components.engines_at

    def noted(parts: Components, version: int) -> tuple[Any, float]:
        engines, gap = at(parts, version)
        return Noting(engines), gap

    monkeypatch.setattr(Components, "engines_at", noted)
    config = small_config(deep(AHEAD, {"rollout": {"refresh": refresh}, "checkpoint": {"every": 50}}))
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", callbacks=[Ends()])
    rows = [repr(rows_of(tmp_path / "run", step)) for step in (1, 2, 3)]
    begun, asked[:] = [set(each) for each in asked], []
    train(config, tmp_path / "run", resume=True, callbacks=[Silent()])
    assert asked[0] == begun[3], "the first that is sampled is beyond the bound: it is not of this policy"
    assert len(asked) == 3
    assert not any(each & earlier for each in asked for earlier in begun[:3])
    assert [repr(rows_of(tmp_path / "run", step)) for step in (1, 2, 3)] == rows
    if refresh == "step":
        assert fingerprint(tmp_path / "run")["weights"] == straight["weights"]


@pytest.mark.engines
@pytest.mark.slow
def test_a_run_that_is_killed_at_random_moments_ends_the_same(straight: dict[str, Any], tmp_path: Path) -> None:
    line = command("train", "cub", *arguments(deep(SMALL, AHEAD)), "--output-dir", str(tmp_path / "run"))
    draw, kills = random.Random(1), 0
    while True:
        resume = ["--resume"] if (tmp_path / "run" / "config.json").exists() else []
        process = subprocess.Popen(
            [*line, *resume], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            said, _ = process.communicate(timeout=draw.uniform(3, 12 if kills else 5) if kills < 6 else 300)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
            continue
        assert process.returncode == 0, said.decode()
        break
    assert kills >= 1
    assert_same_run(tmp_path / "run", straight)
