"""The record of judgements: what is written comes back, half a line does no harm, a run goes on beside it."""

import json
import threading
from pathlib import Path

import pytest
from support import assert_same_run, fingerprint, run_small

from simplerl.core.errors import RunError
from simplerl.runs.behaviours import (
    BEHAVIOURS,
    FOLDER,
    BehaviourDirectory,
    Judgement,
    read_answers_kept,
    read_behaviours,
)
from simplerl.runs.directory import RunDirectory

NONE = dict.fromkeys(BEHAVIOURS, ())


def judgement(**given) -> Judgement:
    return Judgement(
        **{
            "step": 5,
            "problem_id": "p",
            "sample": 0,
            "judge": "m",
            "settings": "prompt 1",
            "status": "judged",
            "behaviours": {**NONE, "verification": ("Check: 4",)},
            "key": "k",
            **given,
        }
    )


def test_judgements_come_back(tmp_path: Path) -> None:
    written = [
        judgement(),
        judgement(
            step=None, sample=1, behaviours=NONE, unfounded={"enumeration": ("case 1",)}, flags=("addresses_judge",)
        ),
        judgement(sample=2, status="undecided", behaviours={}, detail="no JSON"),
        judgement(judge="keywords", settings="patterns 1"),
    ]
    with BehaviourDirectory(tmp_path / FOLDER) as directory:
        directory.record(written)
    assert read_behaviours(tmp_path) == read_behaviours(tmp_path / FOLDER) == written
    assert read_behaviours(tmp_path / "nothing") == []


def test_shows() -> None:
    one = judgement(unfounded={"enumeration": ("case 1",), "verification": ("sure",)})
    assert [one.shows(name) for name in BEHAVIOURS] == [False, True, False, None]
    assert judgement(status="undecided", behaviours={}).shows("verification") is None


def test_the_last_line_holds(tmp_path: Path) -> None:
    with BehaviourDirectory(tmp_path) as directory:
        directory.record([judgement(status="undecided", behaviours={}), judgement(sample=1)])
        directory.record([judgement()])
    assert read_behaviours(tmp_path) == [judgement(sample=1), judgement()]


@pytest.mark.parametrize("rest", ["{", '{"step": 5, "problem_id": "p"', '{"key": "k"}'])
def test_half_a_line_is_left_out_and_cut_off(rest: str, tmp_path: Path) -> None:
    with BehaviourDirectory(tmp_path) as directory:
        directory.record([judgement()])
        directory.keep_answer("a", {"reply": "{}"})
    for name in ("judgements.jsonl", "answers.jsonl"):
        with (tmp_path / name).open("a") as file:
            file.write(rest)
    assert read_behaviours(tmp_path) == [judgement()]
    assert list(read_answers_kept(tmp_path, pytest.fail)) == ["a"]
    with BehaviourDirectory(tmp_path) as directory:
        directory.record([judgement(sample=1)])
        directory.keep_answer("b", {"reply": None})
    assert read_behaviours(tmp_path) == [judgement(), judgement(sample=1)]
    assert list(read_answers_kept(tmp_path, pytest.fail)) == ["a", "b"]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "{}",
        '{"step": 1}',
        "[" * 99_999,
        json.dumps({"step": "x", "problem_id": "p"}),
    ],
)
def test_damage_is_named(line: str, tmp_path: Path) -> None:
    with BehaviourDirectory(tmp_path) as directory:
        directory.record([judgement()])
        directory.keep_answer("a", {"reply": "{}"})
    for name in ("judgements.jsonl", "answers.jsonl"):
        with (tmp_path / name).open("a") as file:
            file.write(line + "\n")
    with pytest.raises(RunError, match=r"judgements\.jsonl:2"):
        read_behaviours(tmp_path)
    told: list[str] = []
    assert list(read_answers_kept(tmp_path, told.append)) == ["a"]
    assert "answers.jsonl:2" in told[0]


@pytest.mark.parametrize(
    "change",
    [
        {"status": "perhaps"},
        {"sample": "0"},
        {"problem_id": 3},
        {"behaviours": {"verification": ["x"]}},
        {"behaviours": {**{name: [] for name in BEHAVIOURS}, "verification": [3]}},
        {"flags": [1]},
        {"more": 1},
    ],
)
def test_foreign_lines_are_refused(change: dict, tmp_path: Path) -> None:
    with BehaviourDirectory(tmp_path) as directory:
        directory.record([judgement()])
    file = tmp_path / "judgements.jsonl"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}) + "\n")
    with pytest.raises(RunError, match="no judgement of this version"):
        read_behaviours(tmp_path)


def test_text_that_is_no_unicode_is_kept_as_far_as_it_goes(tmp_path: Path) -> None:
    with BehaviourDirectory(tmp_path) as directory:
        directory.record([judgement(detail="a\ud800b")])
        directory.keep_answer("k", {"reply": "\udfff"})
    assert read_behaviours(tmp_path)[0].detail == "a?b"
    assert read_answers_kept(tmp_path, pytest.fail)["k"]["reply"] == "?"


def test_threads_do_not_mix_their_lines(tmp_path: Path) -> None:
    with BehaviourDirectory(tmp_path) as directory:
        threads = [
            threading.Thread(target=lambda i=i: directory.keep_answer(str(i), {"reply": str(i) * 5000}))
            for i in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    kept = read_answers_kept(tmp_path, pytest.fail)
    assert {key: answer["reply"] for key, answer in kept.items()} == {str(i): str(i) * 5000 for i in range(20)}


def test_one_process_writes(tmp_path: Path) -> None:
    with (
        BehaviourDirectory(tmp_path),
        pytest.raises(RunError, match="another process is writing"),
        BehaviourDirectory(tmp_path),
    ):
        pass


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / FOLDER).touch()
    with pytest.raises(RunError, match="--output-dir"), BehaviourDirectory(tmp_path / FOLDER):
        pass


def test_a_run_is_judged_while_it_trains_and_resumes_as_ever(tmp_path: Path) -> None:
    run_small(tmp_path / "reference")
    run_small(tmp_path / "run", {"steps": 2})
    with RunDirectory(tmp_path / "run"), BehaviourDirectory(tmp_path / "run" / FOLDER) as directory:
        directory.record([judgement(step=1), judgement(step=3)])
    with RunDirectory(tmp_path / "run") as run:
        run.rewind(1)
    run_small(tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", fingerprint(tmp_path / "reference"))
    assert len(read_behaviours(tmp_path / "run")) == 2
    with pytest.raises(RunError, match="already holds a run"):
        RunDirectory(tmp_path / "run").check(resume=False)


def test_a_folder_of_judgements_alone_is_not_an_empty_run(tmp_path: Path) -> None:
    with BehaviourDirectory(tmp_path / FOLDER) as directory:
        directory.record([judgement()])
    with pytest.raises(RunError, match="not empty"):
        RunDirectory(tmp_path).check(resume=False)
