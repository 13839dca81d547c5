"""Benchmarks: exact counts and contents on the real files, and messages for everything that can be wrong."""

import json
from pathlib import Path

import pytest
from support import SHARED

from simplerl.core.errors import ConfigError, DataError
from simplerl.evaluate.benchmarks import BENCHMARKS, DEFAULTS, find, load
from simplerl.verify import POLICIES

FILES = SHARED / "benchmarks" if (SHARED / "benchmarks").is_dir() else SHARED / "data" / "benchmarks"


def write(path: Path, *rows: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("name", BENCHMARKS)
def test_real_files_load_as_they_are(name: str) -> None:
    if not (FILES / f"{name}.jsonl").is_file():
        pytest.skip(f"{FILES}/{name}.jsonl is not here")
    said: list[str] = []
    loaded = load(name, data_dir=FILES, say=said.append)
    assert len(loaded.problems) == BENCHMARKS[name].problems
    assert len({problem.id for problem in loaded.problems}) == len(loaded.problems)
    assert loaded.sha256 == BENCHMARKS[name].sha256
    assert all(problem.question for problem in loaded.problems)
    empty = [problem for problem in loaded.problems if not problem.answer]
    assert len(empty) == (2 if name == "gaokao2023en" else 0), "two rows of that file have no gold"
    assert any("no gold answer" in line and ":168" in line for line in said) == bool(empty)


def test_a_data_set_is_a_benchmark_by_its_test_split() -> None:
    loaded = load("arithmetic,size=12,levels=1|2")
    assert (loaded.benchmark.name, len(loaded.problems)) == ("arithmetic-size-12-levels-1-2", 12)
    assert {problem.id.split("-")[1] for problem in loaded.problems} == {"test"}
    assert {problem.level for problem in loaded.problems} == {"1", "2"}
    mixture = load("arithmetic:0.5,size=6+knights:0.5,size=6")
    assert [problem.source for problem in mixture.problems].count("knights") == 6
    assert len(load("arithmetic").problems) == 250, "as in training"
    with pytest.raises(DataError, match="unknown benchmark 'arithmetics'; did you mean 'arithmetic'"):
        load("arithmetics")
    with pytest.raises(ConfigError, match="no option 'size_of'"):
        load("knights,size_of=3")


def test_every_benchmark_is_whole() -> None:
    for name, benchmark in BENCHMARKS.items():
        assert benchmark.name == name
        assert benchmark.policy in POLICIES
        assert benchmark.citation
        assert len(benchmark.sha256) == 64
    assert set(DEFAULTS) <= set(BENCHMARKS)
    assert [BENCHMARKS[name].problems for name in DEFAULTS] == [1319, 500, 272, 675, 30, 40, 2818, 385]


@pytest.mark.parametrize(
    ("name", "row", "question", "answer"),
    [
        ("gsm8k", {"question": "q?", "answer": "so\n#### 1,234"}, "q?", "1,234"),
        ("minerva_math", {"problem": "q?", "solution": r"so \boxed{1.6} cm"}, "q?", "1.6"),
        ("olympiadbench", {"question": "q?", "final_answer": ["$2$"]}, "q?", "$2$"),
        ("amc23", {"question": "q?", "answer": 27.0}, "q?", "27"),
        ("svamp", {"Body": "Five birds", "Question": "How many?", "Answer": 5.0}, "Five birds. How many?", "5"),
        ("asdiv", {"body": "Two.", "question": "How many?", "answer": "9 (apples)"}, "Two. How many?", "9"),
        ("mawps", {"input": "How many?", "target": 2.5}, "How many?", "2.5"),
        (
            "sat_math",
            {"question": "Which?", "options": "A) $f(-6)=0$ B) 6 C) x D) y", "Answer": "A"},
            "Which?\nAnswer Choices: (A) $f(-6)=0$ (B) 6 (C) x (D) y",
            "A",
        ),
        (
            "mmlu_stem",
            {"question": "Which?", "choices": ["p", "q", 3, "s"], "answer": 2, "type": "t"},
            "Which?\nAnswer Choices: (A) p (B) q (C) 3 (D) s",
            "C",
        ),
        (
            "aqua",
            {"question": "Which?", "options": ["A)5(√3 + 1)", "B)6"], "correct": "B"},
            "Which?\nAnswer Choices: (A) 5(√3 + 1) (B) 6",
            "B",
        ),
        ("college_math", {"question": "Inverse?", "answer": "Yes"}, "Inverse? (Yes or No)", "Yes"),
        ("college_math", {"question": "Holds?", "answer": "false"}, "Holds? (True or False)", "false"),
    ],
)
def test_rows_are_read_by_their_own_fields(name, row, question, answer, tmp_path: Path, monkeypatch) -> None:
    benchmark = BENCHMARKS[name]
    monkeypatch.setitem(BENCHMARKS, name, _one(benchmark))
    write(tmp_path / f"{name}.jsonl", row)
    (problem,) = load(name, data_dir=tmp_path).problems
    assert (problem.question, problem.answer) == (question, answer)


def _one(benchmark):
    import dataclasses

    return dataclasses.replace(benchmark, problems=1, sha256="")


def test_the_layout_of_the_originals_repository_works(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(BENCHMARKS, "gsm8k", _one(BENCHMARKS["gsm8k"]))
    write(tmp_path / "gsm8k" / "test.jsonl", {"question": "q?", "answer": "#### 1"})
    assert load("gsm8k", data_dir=tmp_path).problems[0].answer == "1"


def test_wrong_number_of_problems_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "gsm8k.jsonl", {"question": "q?", "answer": "#### 1"})
    with pytest.raises(DataError, match=r"gsm8k has 1319 problems, but 1 were found"):
        load("gsm8k", data_dir=tmp_path)


def test_other_content_is_named(tmp_path: Path, monkeypatch) -> None:
    import dataclasses

    monkeypatch.setitem(BENCHMARKS, "amc23", dataclasses.replace(BENCHMARKS["amc23"], problems=1))
    write(tmp_path / "amc23.jsonl", {"question": "q?", "answer": 1.0})
    said: list[str] = []
    load("amc23", data_dir=tmp_path, say=said.append)
    assert "differ from the files" in said[0]


def test_missing_field_names_place_and_fields(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(BENCHMARKS, "svamp", _one(BENCHMARKS["svamp"]))
    path = write(tmp_path / "svamp.jsonl", {"Question": "q", "Answer": 1})
    with pytest.raises(DataError, match=rf"{path}:1: no 'Body'.*Fields there: 'Question', 'Answer'"):
        load("svamp", data_dir=tmp_path)


def test_unknown_benchmark_names_the_nearest() -> None:
    with pytest.raises(DataError, match=r"unknown benchmark 'maths500'; did you mean 'math500'"):
        find("maths500")


def test_missing_file_names_what_is_there(tmp_path: Path) -> None:
    write(tmp_path / "amc23.jsonl", {"question": "q?", "answer": 1.0})
    with pytest.raises(DataError, match=r"Benchmarks in .*: amc23"):
        load("gsm8k", data_dir=tmp_path)


def test_hub_that_cannot_be_reached_says_what_to_do(monkeypatch) -> None:
    def away(*args: object, **kwargs: object) -> None:
        raise DataError("cannot load data set: no network")

    monkeypatch.setattr("simplerl.evaluate.benchmarks.open_hub", away)
    with pytest.raises(DataError, match="--data-dir"):
        load("gsm8k")
    with pytest.raises(DataError, match="not on the hub in the form"):
        load("olympiadbench")


def test_own_file(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", {"question": "q", "answer": "1"}, {"question": "r", "answer": "2"})
    loaded = load(str(path), limit=1)
    assert [p.id for p in loaded.problems] == ["mine-0"]


@pytest.mark.parametrize("options", [7, {"A": "1"}, [str(i) for i in range(11)]])
def test_options_that_cannot_be_shown(options, tmp_path: Path) -> None:
    row = {"question": "Which?", "options": options, "Answer": "A"}
    (tmp_path / "sat_math.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=r"sat_math.jsonl:1: field 'options' must be a text or a list of up to 10"):
        load("sat_math", data_dir=tmp_path)


def test_file_named_as_a_benchmark_is_not_taken_for_it(tmp_path: Path) -> None:
    assert find(str(tmp_path / "gsm8k.jsonl")).name == "gsm8k.jsonl"
    assert find("mine.jsonl").name == "mine"
