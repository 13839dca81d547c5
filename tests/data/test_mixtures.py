"""What `--data` says: tasks, options, mixtures in exact shares; everything that cannot be meant is one message."""

import json
from collections import Counter
from pathlib import Path

import pytest

from simplerl import data
from simplerl.core.errors import ConfigError, DataError, SimpleRLError
from simplerl.data.mixtures import parse


def rows(path: Path, count: int) -> str:
    path.write_text("".join(json.dumps({"question": f"Q{i}?", "answer": str(i)}) + "\n" for i in range(count)))
    return str(path)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("gsm8k", [("gsm8k", "", None, {})]),
        ("openai/gsm8k@abc", [("openai/gsm8k@abc", "", None, {})]),
        ("gym:sum,size=5", [("gym", "sum", None, {"size": 5})]),
        ("gym:sum:0.5,low=-1,neg=true,ops=a|b", [("gym", "sum", 0.5, {"low": -1, "neg": True, "ops": ["a", "b"]})]),
        (
            "gym:sum,ops=+|-|++arithmetic",
            [("gym", "sum", None, {"ops": ["+", "-", "+"]}), ("arithmetic", "", None, {})],
        ),
        ("a:.5 + d/b.jsonl:2", [("a", "", 0.5, {}), ("d/b.jsonl", "", 2.0, {})]),
        ("a:0.5+b", [("a", "", 0.5, {}), ("b", "", None, {})]),
        ("<object: rows at x.py:3, sha256 1f>", [("<object: rows at x.py:3, sha256 1f>", "", None, {})]),
    ],
)
def test_parts(text: str, parts: list[tuple]) -> None:
    assert [(p.name, p.task, p.weight, p.options) for p in parse(text)] == parts


def test_a_file_of_that_name_is_a_file(tmp_path: Path) -> None:
    odd = rows(tmp_path / "a+b,c=1.jsonl", 3)
    assert [part.name for part in parse(odd)] == [odd]
    assert len(data.load(odd)) == 3


def shares(problems: list) -> dict[str, int]:
    return dict(Counter(problem.source for problem in problems))


def test_shares_are_exact_and_the_first_problems_have_them_too(tmp_path: Path) -> None:
    name = f"arithmetic:0.25+{rows(tmp_path / 'own.jsonl', 300)}:0.75"
    mixed = data.read(name)
    assert shares(mixed.problems) == {"arithmetic": 100, "own": 300}, "the file has no more than 300"
    assert shares(mixed.problems[:40]) == {"arithmetic": 10, "own": 30}
    assert shares(data.read(name, size=100).problems) == {"arithmetic": 25, "own": 75}
    assert "1900 of 2" in "".join(
        f"{len(p)} of 2" for what, p in mixed.decisions.items() if "more than its share" in what
    )
    assert [part["problems"] for part in mixed.origin["mixture"]] == [100, 300]
    assert mixed.problems == data.read(name).problems


def test_without_weights_everything_is_there(tmp_path: Path) -> None:
    name = f"{rows(tmp_path / 'a.jsonl', 3)}+{rows(tmp_path / 'b.jsonl', 5)}"
    assert shares(data.load(name)) == {"a": 3, "b": 5}
    assert not data.has_test_split(name)
    assert data.has_test_split("arithmetic:0.5+knights:0.5")


def test_what_is_decided_in_one_part_is_said_beside_the_other(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"question": f"{name}?", "answer": ["1", "2"]}))
    (note,) = data.read(f"{tmp_path}/a.jsonl+{tmp_path}/b.jsonl").notes
    assert "2 of 2 rows" in note
    assert "a.jsonl:1" in note
    assert "b.jsonl:1" in note


def test_a_mixture_may_end_with_a_source_from_a_directory(tmp_path: Path) -> None:
    parts = parse(f"arithmetic:0.5+gsm8k@{tmp_path}")
    assert [(part.name, part.weight) for part in parts] == [("arithmetic", 0.5), (f"gsm8k@{tmp_path}", None)]
    (strange := tmp_path / "a+b,c").mkdir()
    assert [part.name for part in parse(f"gsm8k@{strange}")] == [f"gsm8k@{strange}"]


def test_ids_stay_apart() -> None:
    problems = data.load("arithmetic,levels=1,size=50+arithmetic,levels=1|2,size=50")
    assert len({problem.id for problem in problems}) == len(problems) == 100


def test_two_files_of_one_name_are_two_domains(tmp_path: Path) -> None:
    """The accuracy of one would else be that of both; one source with two settings is one domain."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    name = f"{rows(tmp_path / 'a' / 'x.jsonl', 2)}:0.5+{rows(tmp_path / 'b' / 'x.jsonl', 2)}:0.5"
    problems = data.load(name)
    assert shares(problems) == {"0-x": 2, "1-x": 2}
    assert [problem.id for problem in problems] == ["0-x-0", "1-x-0", "0-x-1", "1-x-1"]
    assert shares(data.load("arithmetic,levels=1,size=5+arithmetic,levels=2,size=5")) == {"arithmetic": 10}


def test_a_size_of_its_own_is_that_of_training() -> None:
    assert len(data.load("arithmetic,size=7")) == 7
    assert len(data.load("arithmetic,size=7", size=5)) == 5
    assert len(data.load("arithmetic,size=7", "test", size=9)) == 9
    assert len(data.load("arithmetic,size=0", size=5)) == 5
    assert data.load("arithmetic,size=3,seed=4") == data.load("arithmetic", size=3, seed=4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("arithmetic:0.5+", "empty part"),
        ("arithmetic:0+knights:1", "weight of 'arithmetic' must be positive"),
        ("arithmetic,size", "'size' is not key=value"),
        ("arithmetic,size=1,size=2", "given twice"),
        ("arithmetic,sise=1", "no option 'sise'; did you mean 'size'"),
        ("arithmetic,size=-1", "size must be a whole number"),
        ("arithmetic:sums", "'arithmetic' has no tasks"),
        ("arithmetik:0.5+knights:0.5", "unknown data set 'arithmetik'; did you mean 'arithmetic'"),
        ("nowhere.jsonl:0.5+knights:0.5", "nowhere.jsonl does not exist"),
        ("knights,levels=9", "levels 2 to 8"),
        ("arithmetic@here", "made here"),
    ],
)
def test_bad_input(name: str, message: str) -> None:
    with pytest.raises(SimpleRLError, match=message):
        data.read(name, size=4)


def test_a_share_without_a_problem_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no room for a problem of 'knights'"):
        data.read("arithmetic:0.99+knights:0.01", size=10)


def test_every_part_is_audited(tmp_path: Path) -> None:
    names = f"{rows(tmp_path / 'a.jsonl', 2)}+{rows(tmp_path / 'b.jsonl', 3)}"
    assert [row.id for row in data.rows_to_audit(names)] == ["a-0", "a-1", "b-0", "b-1", "b-2"]


@pytest.mark.parametrize(
    ("row", "choice"),
    [
        ({"question": "Q", "choices": ["3", "4"], "answer": 1}, 1),  # MMLU
        ({"question": "Q", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2"}, 1),  # ARC
        ({"question": {"stem": "Q", "choices": [{"label": "A", "text": "x"}, {"label": "B", "text": "y"}]},
          "answerKey": "A"}, 0),  # CommonsenseQA
        ({"question_stem": "Q", "choices": {"text": ["x", "y"], "label": ["A", "B"]}, "answerKey": "B"}, 1),
        ({"question": "Q", "options": ["A)21", "B)22"], "correct": "B"}, 1),  # AQuA
        ({"question": "Q", "options": {"A": "x", "B": "y"}, "answer": "(b)"}, 1),
        ({"question": "Q\nA) x\nB) y", "choices": ["x", "y"], "answer": "Y"}, 1),
        ({"question": "Q", "choices": ["x", "y"], "answer": "z"}, None),
    ],
)  # fmt: skip
def test_rows_with_choices(row: dict, choice: int | None, tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text(json.dumps(row) + "\n")
    (problem,) = data.load(str(tmp_path / "d.jsonl"))
    assert problem.meta["stem"] == "Q"
    assert problem.meta["choice"] == choice
    assert len(problem.meta["options"]) == 2


def test_options_that_cannot_be_told_apart_are_not_shuffled(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text(json.dumps({"question": "Q", "options": "A) 1 B) 2", "answer": "B"}) + "\n")
    assert "options" not in data.load(str(tmp_path / "d.jsonl"))[0].meta
    (tmp_path / "d.jsonl").write_text(
        json.dumps({"question": "Q", "choices": {"label": ["A"], "text": []}, "answer": 1})
    )
    with pytest.raises(DataError, match="as many labels"):
        data.load(str(tmp_path / "d.jsonl"))
