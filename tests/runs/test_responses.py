"""Trajectories in Parquet: every value of every response, back as it was."""

import dataclasses

import numpy as np
import pyarrow.parquet
from support import TIMED_OUT, WRONG, group, trajectory

from simplerl.core.types import Call, Problem
from simplerl.runs.responses import SCHEMA, ResponseFile, write_trajectories


def test_everything_comes_back(tmp_path) -> None:
    right = trajectory(response=[8, 9, 0], logprobs=[-0.25, -1e-7, -30.0], mask=[True, False, True], reward=0.75)
    right = dataclasses.replace(right, reward_parts={"correctness": 1.0, "length": -0.25})
    entropies = np.array([0.5, 0.25, 2.0], np.float32)
    right = dataclasses.replace(right, completion=dataclasses.replace(right.completion, entropies=entropies))
    lost = trajectory(response=[5], logprobs=[-1.0], verdict=TIMED_OUT, stop_reason="length")
    groups = [group(right, lost, id="a", level="3"), group(trajectory(verdict=WRONG), id="b", level="")]
    advantages = [np.array([0.5, 0.0, 0.5], dtype=np.float32), np.zeros(1, np.float32), np.zeros(3, np.float32)]
    write_trajectories(tmp_path / "t.parquet", 7, groups, advantages)
    table = pyarrow.parquet.read_table(tmp_path / "t.parquet")
    assert table.schema.equals(SCHEMA)
    first, second, third = table.to_pylist()
    assert first == {
        "step": 7,
        "problem_id": "a",
        "sample": 0,
        "source": "test",
        "level": "3",
        "kind": "",
        "question": "?",
        "answer": "1",
        "response": "text",
        "stop_reason": "eos",
        "verdict": "correct",
        "extracted": "1",
        "rule": "string",
        "detail": "",
        "reward": 0.75,
        "reward_parts": [("correctness", 1.0), ("length", -0.25)],
        "advantages": [0.5, 0.0, 0.5],
        "policy_version": 0,
        "prompt_ids": [5, 6, 7],
        "token_ids": [8, 9, 0],
        "logprobs": np.array([-0.25, -1e-7, -30.0], np.float32).tolist(),
        "entropies": [0.5, 0.25, 2.0],
        "loss_mask": [True, False, True],
        **dict.fromkeys(("versions", "score", "turns", "calls", "prefix")),
    }
    assert second["entropies"] is None, "where the backend does not tell"
    assert second["reward"] is None, "undecided has no reward, and no zero either"
    assert (second["verdict"], second["detail"], second["stop_reason"]) == ("timeout", "too slow", "length")
    assert (third["problem_id"], third["sample"], third["reward"]) == ("b", 0, 0.0)


def test_turns_and_calls_come_back(tmp_path) -> None:
    call = Call(tool="calculator", arguments="6*7", result="42", seconds=0.5, turn=1)
    texts = (("policy", " <<6*7>>"), ("environment", "=42"))
    used = dataclasses.replace(trajectory(), texts=texts, calls=(call,))
    idle = dataclasses.replace(trajectory(), calls=())
    write_trajectories(tmp_path / "t.parquet", 1, [group(used, idle, trajectory())])
    file = ResponseFile(tmp_path / "t.parquet")
    rows = file.read(["problem_id", "turns", "calls"]).to_pylist()
    assert rows[0]["calls"] == [dataclasses.asdict(call)]
    assert [(each["author"], each["text"]) for each in rows[0]["turns"]] == list(texts)
    assert [row["calls"] for row in rows[1:]] == [[], None]
    assert [answer.calls for answer in file.answers()] == [1, 0, None]


def test_evaluations_have_no_advantages(tmp_path) -> None:
    write_trajectories(tmp_path / "e.parquet", 0, [group(trajectory())])
    assert pyarrow.parquet.read_table(tmp_path / "e.parquet").column("advantages").to_pylist() == [None]


def test_text_that_is_no_text_is_written_all_the_same(tmp_path) -> None:
    """Byte-level models say anything: half a character must not stop a run."""
    odd = trajectory()
    odd = dataclasses.replace(odd, completion=dataclasses.replace(odd.completion, text="a\ud800b\x00c"))
    problem = Problem(id="\ud800", question="q\udfff", answer="1", source="s")
    write_trajectories(
        tmp_path / "t.parquet",
        1,
        [dataclasses.replace(group(odd), trajectories=(dataclasses.replace(odd, problem=problem),))],
    )
    (row,) = pyarrow.parquet.read_table(tmp_path / "t.parquet").to_pylist()
    assert row["response"] == "a?b\x00c"
    assert row["question"] == "q?"
