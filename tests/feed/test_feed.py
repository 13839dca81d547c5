"""The feed: which problems a step sees, and those replaced that teach nothing, by draws of seed, step and round."""

from collections import Counter
from pathlib import Path

import pyarrow.parquet
import pytest
from made_ledgers import ledger_of
from support import CORRECT, TIMED_OUT, WRONG, group, run_small, trajectory, untimed

from simplerl.core.errors import ConfigError
from simplerl.feed.feed import GATES, has_signal
from simplerl.feed.order import Sampler
from simplerl.feed.samplers import Refill, replacements

OVER = {"algorithm": {"name": "dapo"}, "sampling": {"samples_per_prompt": 2, "prompts_per_step": 6}, "steps": 2}


def rows_of(path: Path, step: int) -> list[dict]:
    return pyarrow.parquet.read_table(path / "trajectories" / f"step_{step:06d}.parquet").to_pylist()


def test_signal_is_a_difference_between_decided_rewards() -> None:
    right, wrong, lost = (trajectory(verdict=verdict) for verdict in (CORRECT, WRONG, TIMED_OUT))
    assert has_signal(group(right, wrong))
    assert not has_signal(group(right, right))
    assert not has_signal(group(wrong, wrong, lost))
    assert not has_signal(group(lost, lost))
    assert has_signal(group(trajectory(reward=0.5), trajectory(reward=0.25)))


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


def test_too_few_problems() -> None:
    with pytest.raises(ConfigError, match="only 3 training problems"):
        Sampler(range(3), per_step=4, seed=0)
