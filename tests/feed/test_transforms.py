"""Transforms: prefixes of whole lines, that give no answer away, of what they are said to be of; none at p = 0."""

import dataclasses
import json
from pathlib import Path

import pyarrow.parquet
import pytest
from made_ledgers import ledger_of
from support import assert_same_run, deep, fingerprint, run_main, run_small

from simplerl.core.types import Draw, Problem
from simplerl.feed.transforms import ReSTRL, Snapshot, Sparkle, leaks, pieces

SOLUTION = "2+3=5.\n5*4=20.\n20-6=14.\n14/2=7.\nThe answer is \\boxed{7}"


def problem(name: str = "p", solution: str = SOLUTION) -> Problem:
    return Problem(id=name, question="?", answer="7", source="test", meta={"solution": solution})


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a\nb", ["a\n", "b"]),
        ("a\n\n\nb\n", ["a\n\n\n", "b\n"]),
        ("\n\na", ["\n\na"]),
        ("  ", []),
        ("", []),
        ("one", ["one"]),
    ],
)
def test_pieces_are_lines_with_their_ends(text: str, wanted: list[str]) -> None:
    assert pieces(text, "\n") == wanted


def test_pieces_of_the_cub_end_with_a_point() -> None:
    assert pieces(" 8+19=27. 27-4=23. \\boxed{23}", ".") == [" 8+19=27.", " 27-4=23.", " \\boxed{23}"]


def test_an_answer_in_a_box_or_where_the_verifier_looks_is_a_leak() -> None:
    assert leaks(SOLUTION, problem(), "boxed")
    assert not leaks("14/2=7.", problem(), "boxed")
    assert leaks("14/2=7.", problem(), "boxed-then-phrases-then-last-number")
    assert not leaks("20-6=14.", problem(), "boxed-then-phrases-then-last-number")


# -- SPARKLE ---------------------------------------------------------------------------------------------------------


def test_sparkle_adds_cumulative_parts_of_what_was_tried_and_never_solved() -> None:
    problems = [problem(name) for name in ("failed", "solved", "new")]
    ledger = ledger_of(problems, {"failed": 0.0, "solved": 0.125}).before(2)
    draws = Sparkle().apply(2, [ledger.draw(p) for p in problems], ledger)
    assert [(d.problem.id, d.prefix.count("\n")) for d in draws] == [
        ("failed", 0),
        ("failed", 2),
        ("failed", 3),
        ("failed", 4),
        ("solved", 0),
        ("new", 0),
    ]
    assert all(SOLUTION.startswith(d.prefix) for d in draws)
    kept = Sparkle(leaks="keep").apply(2, [ledger.draw(problems[0])], ledger)
    assert kept[-1].prefix == SOLUTION, "the complete solution is among them, where it may leak"
    short = dataclasses.replace(problems[0], meta={"solution": "one line without a box"})
    assert [d.prefix for d in Sparkle().apply(2, [ledger.draw(short)], ledger)] == ["", "one line without a box"]


# -- ReST-RL ---------------------------------------------------------------------------------------------------------


def test_rest_rl_draws_beginnings_of_the_best_responses(monkeypatch: pytest.MonkeyPatch) -> None:
    problems = [problem(name) for name in ("a", "b", "c")]
    ledger = ledger_of(problems, {"a": 0.5}).before(2)
    best = {"a": "\n".join(f"line {i}" for i in range(9)), "b": "one line", "gone": "x\ny"}
    monkeypatch.setattr(ReSTRL, "best_responses", lambda self, ledger: best)
    draws = [ledger.draw(p) for p in problems]
    found = ReSTRL().apply(2, draws, ledger)
    assert found[:3] == draws, "the prompts themselves are kept"
    assert all(d.problem.id == "a" and best["a"].startswith(d.prefix) and d.prefix.endswith("\n") for d in found[3:])
    assert 1 <= len(found) - 3 <= 5, "half as many draws as lines, rounded up, equal ones once"
    assert ReSTRL().apply(2, draws, ledger) == found
    assert len(ReSTRL(most=1).apply(2, draws, ledger)) == 4
    # With a decay near 0 it is the first line alone.
    assert [d.prefix for d in ReSTRL(decay=1e-9).apply(2, draws, ledger)[3:]] == ["line 0\n"]


def test_rest_rl_reads_what_the_step_before_has_recorded(tmp_path: Path) -> None:
    """A prefix in step 2 begins a right response of step 1, of a problem with right and wrong ones; it is recorded."""
    over = {
        "dataset": {"levels": [3, 4], "size": 40},
        "sampling": {"prompts_per_step": 6, "max_new_tokens": 40},
        "transform": {"name": "rest-rl", "separator": "."},
        "steps": 2,
    }
    run_small(tmp_path / "run", over)
    first, second = (
        pyarrow.parquet.read_table(tmp_path / "run" / "trajectories" / f"step_00000{n}.parquet").to_pylist()
        for n in (1, 2)
    )
    prefixed = [row for row in second if row["prefix"]]
    assert prefixed
    for row in prefixed:
        own = [each for each in first if each["problem_id"] == row["problem_id"]]
        assert any(each["verdict"] == "correct" and each["response"].startswith(row["prefix"]) for each in own)
        assert {each["reward"] for each in own} == {0.0, 1.0}
        assert len(row["loss_mask"]) == len(row["token_ids"]), "the prefix is in the prompt, that nobody is trained on"


# -- Snapshot --------------------------------------------------------------------------------------------------------


def test_snapshot_fades_and_gives_no_answer() -> None:
    problems = [problem(f"p{i}") for i in range(200)]
    ledger = ledger_of(problems, over={"steps": 100})
    draws = [Draw(p, 8, 1.0) for p in problems]
    shares = []
    for step in (1, 11, 20, 21, 100):
        found = Snapshot().apply(step, draws, ledger)
        assert [d.problem for d in found] == problems
        assert all(d.prefix in ("", *("".join(pieces(SOLUTION, "\n")[:n]) for n in range(1, 5))) for d in found)
        shares.append(sum(bool(d.prefix) for d in found) / 200)
    assert shares[0] == 1
    assert 0.35 < shares[1] < 0.65
    assert 0 < shares[2] < 0.15
    assert shares[3:] == [0, 0]


def test_snapshot_at_zero_is_the_run_without_bit_for_bit(tmp_path: Path) -> None:
    over = {"sampling": {"temperature": 1.2}}
    run_small(tmp_path / "plain", over)
    run_small(tmp_path / "zero", {**over, "transform": {"name": "snapshot", "separator": ".", "p": 0.0}})
    assert_same_run(tmp_path / "zero", fingerprint(tmp_path / "plain"))


# -- bad input -------------------------------------------------------------------------------------------------------


def test_a_prefix_longer_than_the_context_is_refused(tmp_path: Path, capsys) -> None:
    solution = "\n".join(f"{n}+1={n + 1}." for n in range(400))
    rows = [{"question": f"What is {n}+1?", "solution": f"{solution}\n\\boxed{{{n + 1}}}"} for n in range(9)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = f"train cub --data {tmp_path / 'data.jsonl'} --output-dir {tmp_path / 'run'} --transform.name snapshot"
    small = "--sampling.prompts-per-step 4 --sampling.samples-per-prompt 2 --steps 4 --transform.fade 1"
    code, _, error = run_main(capsys, *command.split(), *small.split(), "--evaluation.size", "1")
    assert code == 2
    assert "tokens, more than the 944 that sampling.max_new_tokens leaves of the context" in error


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("--transform.name nothing", "unknown transform 'nothing'"),
        ("--transform.name snapshot --transform.p 1.5", "transform.p"),
        ("--transform.name sparkle --transform.parts 0", "transform.parts must be positive"),
        ("--transform.name sparkle --transform.separator=", "transform.separator"),
        ("--transform.parts 4", "unknown key 'transform.parts'"),
        ("--buffer.name rorecomp --buffer.alpha 0", "buffer.alpha"),
        ("--buffer.name relift --buffer.rows 0", "buffer.rows must be positive"),
        ("--buffer.name nothing", "unknown buffer 'nothing'"),
    ],
)
def test_bad_settings_are_named(setting: str, message: str, tmp_path: Path, capsys) -> None:
    code, _, error = run_main(
        capsys, "train", "cub", "--steps", "1", "--output-dir", str(tmp_path / "run"), *setting.split()
    )
    assert code == 2
    assert message in error
    assert not (tmp_path / "run").exists()


def test_another_number_of_steps_is_refused_where_it_would_change_the_past(tmp_path: Path, capsys) -> None:
    path, over = tmp_path / "run", {"transform": {"name": "snapshot", "separator": "."}}
    run_small(path, deep(over, {"steps": 1}))
    code, _, error = run_main(capsys, "train", "--output-dir", str(path), "--resume", "--steps", "5")
    assert code == 2
    assert "the transform Snapshot follows their number" in error
