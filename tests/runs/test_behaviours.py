"""The record of judgements: what is written comes back, half a line does no harm, a run goes on beside it."""

import json
from pathlib import Path

import pytest
from support import assert_same_run, fingerprint, run_small

from simplerl.core.errors import RunError
from simplerl.runs.behaviours import BEHAVIOURS, FOLDER, BehaviourDirectory, Judgement, read_behaviours
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
    with (tmp_path / "judgements.jsonl").open("a") as file:
        file.write(rest)
    assert read_behaviours(tmp_path) == [judgement()]
    with BehaviourDirectory(tmp_path) as directory:
        directory.record([judgement(sample=1)])
    assert read_behaviours(tmp_path) == [judgement(), judgement(sample=1)]


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
    with (tmp_path / "judgements.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(RunError, match=r"judgements\.jsonl:2"):
        read_behaviours(tmp_path)


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
    with pytest.raises(RunError, match="not a judgement of this version"):
        read_behaviours(tmp_path)


def test_text_that_is_no_unicode_is_kept_as_far_as_it_goes(tmp_path: Path) -> None:
    with BehaviourDirectory(tmp_path) as directory:
        directory.record([judgement(detail="a\ud800b")])
    assert read_behaviours(tmp_path)[0].detail == "a?b"


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
