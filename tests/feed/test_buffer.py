"""Buffers: what is trained on at once, what is kept, what is taken up again, and what becomes of it in a checkpoint."""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from support import CORRECT, TIMED_OUT, WRONG, deep, group, random_groups, run_main, run_small, small_config, trajectory

from simplerl.core.errors import RunError
from simplerl.core.types import TrajectoryGroup
from simplerl.feed.buffer import Buffer, ReLIFT, RoRecomp, Row, Store
from simplerl.feed.feed import StepGroups
from simplerl.runs.directory import read_metrics


def of_lengths(*members: tuple[int, Any]) -> TrajectoryGroup:
    return group(*[trajectory(response=range(2, 2 + length), verdict=verdict) for length, verdict in members])


def credit_of(groups: list[TrajectoryGroup]) -> list[np.ndarray]:
    return [np.full(len(t.completion.token_ids), 0.5, np.float32) for g in groups for t in g.trajectories]


def row(step: int, length: int = 4) -> Row:
    ones = np.ones(length, np.float32)
    tokens = np.arange(length, dtype=np.int32)
    return Row(problem="p", step=step, prompt_length=1, tokens=tokens, mask=tokens > 0, logprobs=-ones, credit=ones)


def store_of(settings: Buffer, limit: int = 100, **over: Any) -> Store:
    return Store(settings, small_config(over), lambda text: [*map(ord, text), 0], limit)


# -- RoRecomp --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.8, 1.0])
def test_priority_and_buffer_are_the_rollouts(alpha: float) -> None:
    groups = [*random_groups(problems=6, longest=20), of_lengths((3, TIMED_OUT), (4, CORRECT))]
    buffer = RoRecomp(alpha=alpha)
    codes = buffer.components(groups)
    kept = buffer.arriving(1, StepGroups(kept=groups), credit_of(groups), list)
    decided = [t for g in groups for t in g.trajectories if t.verdict.decided]
    assert codes.count(0) + len(kept) == len(decided)
    assert codes.count(0) == sum(
        int(np.ceil(alpha * sum(t.verdict.correct == right for t in decided))) for right in (True, False)
    )
    assert len(kept) == 0 or alpha < 1


def test_priority_is_the_shortest_right_and_the_longest_wrong() -> None:
    groups = [of_lengths((5, CORRECT), (3, CORRECT), (9, CORRECT)), of_lengths((4, WRONG), (7, WRONG), (1, TIMED_OUT))]
    assert RoRecomp(alpha=0.5).components(groups) == [0, 0, -1, -1, 0, -1]
    (long_right, short_wrong) = RoRecomp(alpha=0.5).arriving(3, StepGroups(kept=groups), credit_of(groups), list)
    assert (len(long_right.tokens), len(short_wrong.tokens)) == (3 + 9, 3 + 4)
    assert long_right.mask.tolist() == [False] * 3 + [True] * 9
    assert long_right.credit.tolist() == [0.0] * 3 + [0.5] * 9
    assert long_right.logprobs.tolist() == [0.0] * 3 + [-1.0] * 9
    closed = StepGroups(kept=groups, trained=False)
    assert not RoRecomp(alpha=0.5).arriving(3, closed, credit_of(groups), list), "no gate let a group through"


def test_a_full_buffer_is_taken_up_ever_more_seldom_and_loses_its_oldest() -> None:
    buffer, taken = RoRecomp(capacity=3), []
    for step in range(1, 41):
        config = dataclasses.replace(small_config({}), steps=40, seed=step)
        taken.append(bool(buffer.due(step, [row(0)] * 3, config)))
        assert not buffer.due(step, [row(0)] * 2, config)
    assert taken[0]
    assert not taken[-1]
    assert sum(taken[:20]) > 12 > sum(taken[20:])
    store = store_of(RoRecomp(capacity=2, fade_steps=1))
    store.rows = [row(1), row(2), row(3)]
    due, metrics = store.take(3)  # Step 3 of 1: the probability is 0.
    assert not due
    assert [each.step for each in store.rows] == [2, 3]
    assert (metrics["buffer/dropped"], metrics["buffer/rows"]) == (1, 2)


def test_with_all_at_once_it_is_the_run_without_a_buffer(tmp_path: Path) -> None:
    over = {"sampling": {"temperature": 1.2}}
    run_small(tmp_path / "plain", over)
    run_small(tmp_path / "all", {**over, "buffer": {"name": "rorecomp", "alpha": 1.0}})
    one, other = (next((tmp_path / n / "checkpoints" / "step_000003").glob("model*")) for n in ("plain", "all"))
    assert one.read_bytes() == other.read_bytes()


def test_kept_rows_do_not_move_the_kl_coefficient_again(tmp_path: Path) -> None:
    """One move a step, by its own 8 responses and its own KL: β · (1 + clip(KL/target − 1, ±0.2) · 8/20)."""
    algorithm = {"kl_coef": 0.1, "kl_target": 1e-9, "kl_horizon": 20}
    buffer = {"name": "rorecomp", "alpha": 0.5, "capacity": 2, "fade_steps": 90}
    run_small(tmp_path / "run", {"algorithm": algorithm, "buffer": buffer})
    lines = read_metrics(tmp_path / "run")[1:]
    assert sum(line["buffer/taken"] for line in lines[:2]) > 0
    for line, after in itertools.pairwise(lines):
        error = min(max(line["policy/kl"] / 1e-9 - 1, -0.2), 0.2)
        assert after["policy/kl_coef"] == pytest.approx(line["policy/kl_coef"] * (1 + error * 8 / 20))


def test_a_small_alpha_is_warned_of(tmp_path: Path) -> None:
    _, listener = run_small(tmp_path / "run", {"buffer": {"name": "rorecomp", "alpha": 0.5}, "steps": 1})
    assert any("buffer.alpha = 0.5" in line and "collapse" in line for line in listener.lines)
    assert not RoRecomp().check([])


# -- ReLIFT ----------------------------------------------------------------------------------------------------------


def with_solution(members: TrajectoryGroup, solution: str, **over: Any) -> TrajectoryGroup:
    problem = dataclasses.replace(members.problem, meta={"solution": solution})
    trajectories = tuple(dataclasses.replace(t, problem=problem, **over) for t in members.trajectories)
    return TrajectoryGroup(problem=problem, trajectories=trajectories)


def test_only_problems_that_no_sample_solves_enter_each_time_anew() -> None:
    failed = with_solution(of_lengths((3, WRONG), (4, TIMED_OUT)), "ab")
    groups = [
        failed,
        with_solution(of_lengths((3, WRONG), (4, CORRECT)), "solved"),
        with_solution(of_lengths((3, TIMED_OUT)), "undecided"),
        with_solution(of_lengths((3, WRONG)), "helped", prefix="4+4"),
        of_lengths((3, WRONG)),
    ]
    store = store_of(ReLIFT(rows=2))
    assert store.put(1, StepGroups(kept=groups[1:], dropped=groups[:1]), [])["buffer/arrived"] == 1
    assert store.rows[0].tokens.tolist() == [5, 6, 7, ord("a"), ord("b"), 0]
    assert store.rows[0].mask.tolist() == [False] * 3 + [True] * 3
    store.put(2, StepGroups(kept=groups), [])
    assert [each.step for each in store.rows] == [1, 2], "not once per problem"
    assert store_of(ReLIFT(), limit=5).put(1, StepGroups(kept=[failed]), []) == {
        "buffer/arrived": 0,
        "buffer/too_long": 1,
    }


def test_the_newest_are_imitated_as_soon_as_there_are_enough() -> None:
    store = store_of(ReLIFT(rows=2))
    store.rows = [row(1)]
    assert store.take(1)[0] == []
    store.rows += [row(2), row(2)]
    due, metrics = store.take(2)
    assert [each.step for each in due] == [2, 2]
    assert [each.step for each in store.rows] == [1]
    assert (metrics["buffer/taken"], metrics["buffer/age"]) == (2, 0)


def accuracy_at(path: Path, step: int) -> dict[str, float]:
    """Return problem → share right in a step."""
    rows = pyarrow.parquet.read_table(path / "trajectories" / f"step_{step:06d}.parquet").to_pylist()
    names = dict.fromkeys(row["problem_id"] for row in rows)
    right = {name: [row["verdict"] == "correct" for row in rows if row["problem_id"] == name] for name in names}
    return {name: float(np.mean(each)) for name, each in right.items()}


def test_what_was_never_solved_rises_and_what_is_easy_does_not_fall(tmp_path: Path) -> None:
    """A product of four digits, which the cub cannot know, beside sums that it mostly knows. Without, it stays at 0."""
    solution = " 4821*37=178377. \\boxed{178377}"
    easy = [{"question": f"What is {a}+{b}?", "answer": str(a + b)} for a, b in ((3, 4), (12, 5), (9, 9), (2, 16))]
    hard = {"question": "What is 4821*37?", "solution": solution}
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in [*easy, hard]))
    (tmp_path / "test.jsonl").write_text(json.dumps({"question": "What is 1+1?", "answer": "2"}) + "\n")
    over = {
        "data": str(data),
        "dataset": {"levels": [], "size": 0},
        "sampling": {"prompts_per_step": 5, "samples_per_prompt": 8, "max_new_tokens": 32},
        "steps": 14,
        "evaluation": {"data": str(tmp_path / "test.jsonl"), "every": 0, "size": 1},
        "checkpoint": {"every": 14},
    }
    run_small(tmp_path / "without", {**over, "steps": 4})
    run_small(tmp_path / "with", deep(over, {"buffer": {"name": "relift", "rows": 1, "lr": 3e-3}}))
    for step in range(1, 5):
        assert accuracy_at(tmp_path / "without", step)["data-4"] == 0
    assert np.mean([accuracy_at(tmp_path / "with", step)["data-4"] for step in range(11, 15)]) > 0.2
    easy_at = [
        np.mean([value for name, value in accuracy_at(tmp_path / "with", step).items() if name != "data-4"])
        for step in range(1, 15)
    ]
    # 32 responses a step: the mean of four steps is off by 0.04, and what is learned is more.
    assert np.mean(easy_at[-4:]) > np.mean(easy_at[:4])


def test_data_without_solutions_is_refused(tmp_path: Path, capsys) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps({"question": f"What is {n}+1?", "answer": str(n + 1)}) + "\n" for n in range(9)))
    for section in ("--buffer.name relift", "--transform.name sparkle", "--transform.name snapshot"):
        command = f"train cub --data {data} --output-dir {tmp_path / 'run'} {section}"
        code, _, error = run_main(capsys, *command.split(), "--sampling.prompts-per-step", "2")
        assert code == 2
        assert "none of the 8 training problems has one" in error
        assert section.split()[1] in error
        assert not (tmp_path / "run").exists()


# -- the checkpoint --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 3])
def test_rows_come_back_bit_for_bit(count: int, tmp_path: Path) -> None:
    store, again = store_of(RoRecomp()), store_of(RoRecomp())
    store.rows = [dataclasses.replace(row(n, length=n + 2), problem=f"ö{n}") for n in range(count)]
    store.save(tmp_path)
    again.restore(tmp_path)
    assert len(again.rows) == count
    for one, other in zip(again.rows, store.rows, strict=True):
        for field in dataclasses.fields(Row):
            assert np.array_equal(getattr(one, field.name), getattr(other, field.name)), field.name
            assert getattr(getattr(one, field.name), "dtype", 0) == getattr(getattr(other, field.name), "dtype", 0)


@pytest.mark.parametrize("damage", [b"", b"not tensors", None])
def test_a_damaged_or_missing_file_is_named(damage: bytes | None, tmp_path: Path) -> None:
    if damage is not None:
        (tmp_path / Store.FILE).write_bytes(damage)
    with pytest.raises(RunError, match=r"buffer\.safetensors: the rows of the buffer relift cannot be read"):
        store_of(ReLIFT()).restore(tmp_path)
