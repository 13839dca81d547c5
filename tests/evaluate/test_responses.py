"""Responses made elsewhere: read in the forms that people have, refused where they would not be the benchmark's."""

import json
from pathlib import Path

import pytest
from support import run_main

from simplerl.core.errors import DataError
from simplerl.environments import sandbox
from simplerl.evaluate.benchmarks import load
from simplerl.evaluate.responses import read_responses
from simplerl.runs.responses import ResponseFile
from simplerl.runs.run import results


@pytest.fixture
def loaded(tmp_path: Path):
    path = tmp_path / "own.jsonl"
    rows = [{"id": "x1", "question": "one?", "answer": "1"}, {"id": "x2", "question": "two?", "answer": "2"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load(str(path))


def given(tmp_path: Path, *rows: dict) -> Path:
    path = tmp_path / "responses.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"id": "own-0", "response": "a"}, {"id": "own-1", "response": "b"}),
        ({"id": "x2", "response": "b"}, {"id": "x1", "response": "a"}),
        ({"idx": 0, "code": ["a"]}, {"idx": 1, "code": ["b"]}),
        ({"question": "one?", "completion": "a"}, {"question": " two?\n", "output": "b"}),
    ],
)
def test_forms(first, second, loaded, tmp_path: Path) -> None:
    found = read_responses(given(tmp_path, first, second), loaded)
    assert [(g.problem.id, g.sample, g.response) for g in found] == [("own-0", 0, "a"), ("own-1", 0, "b")]


def test_samples_in_a_list_or_in_rows(loaded, tmp_path: Path) -> None:
    rows = [
        {"id": "own-0", "responses": ["a", "b"], "finish_reason": ["stop", "length"]},
        {"id": "own-1", "response": "c", "sample": 1},
        {"id": "own-1", "response": "c", "sample": 0},
    ]
    found = read_responses(given(tmp_path, *rows), loaded)
    assert [(g.problem.id, g.sample, g.stop_reason) for g in found] == [
        ("own-0", 0, "stop"),
        ("own-0", 1, "length"),
        ("own-1", 0, None),
        ("own-1", 1, None),
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": "own-7", "response": "a"}], r":1: own has no problem 'own-7'; did you mean"),
        ([{"id": "own-0"}], r":1: no response; wanted one of response, .* Fields there: 'id'"),
        ([{"response": "a"}], r":1: no problem is named"),
        ([{"id": "own-0", "response": "a"}] * 2, r":2: the same row stands at .*:1; remove one"),
        ([{"id": "own-0", "response": x, "sample": 0} for x in "ab"], r":2: sample 0 of own-0 is there twice"),
        ([{"id": "own-0", "response": "a"}], r"no response to 1 of 2 problems of own: own-1"),
        ([{"id": "own-0", "responses": []}], r":1: field 'responses' must be a text or a list of texts"),
        ([{"id": "own-0", "responses": ["a"], "finish_reason": ["stop", "stop"]}], r"1 responses but 2 finish"),
        ([{"id": "own-0", "response": "a", "sample": -1}], r"sample must be a number from 0"),
        ([], r"holds no responses"),
    ],
)
def test_bad_files(rows, message: str, loaded, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_responses(given(tmp_path, *rows), loaded)


def test_scored_like_any_other(loaded, tmp_path: Path, capsys) -> None:
    rows = [
        {"id": "own-0", "responses": [r"\boxed{1}", r"\boxed{3}"], "finish_reason": ["stop", "length"]},
        {"id": "own-1", "responses": [r"the answer is 2.", "no"], "finish_reason": ["stop", "stop"]},
    ]
    path = given(tmp_path, *rows)
    own = str(tmp_path / "own.jsonl")
    arguments = ["--benchmarks", own, "--output-dir", str(tmp_path / "out"), "--tokenizer", "cub-qwen"]
    code, shown, _ = run_main(capsys, "eval", "--responses", str(path), *arguments)
    assert code == 0
    assert "50.0" in shown
    (result,) = results(tmp_path / "out")
    assert result.figures["acc"]["value"] == 0.5
    assert result.figures["boxed_acc"]["value"] == 0.25
    assert result.figures["pass@k"]["2"]["value"] == 1.0
    assert result.figures["clip_ratio"]["value"] == 0.25
    assert next(a.tokens for a in ResponseFile(result.path).answers()) > 3
    header = (tmp_path / "out" / "eval_results.csv").read_text().splitlines()[0].split(",")
    assert header[:4] == ["model", "own_acc", "own_pass_acc", "own_tokens"]


def test_command_line_explains_itself(tmp_path: Path, capsys) -> None:
    path = given(tmp_path, {"id": 1, "response": "a"})
    code, _, message = run_main(capsys, "eval", "--responses", str(path))
    assert (code, "--responses needs the one benchmark" in message) == (2, True)
    code, _, message = run_main(capsys, "eval")
    assert (code, "give models to evaluate" in message) == (2, True)


def test_odd_characters_many_samples_and_k(loaded, tmp_path: Path, capsys) -> None:
    """Lone surrogates and NUL are counted and kept; --k is checked against the samples that are there."""
    rows = [
        {"id": "own-0", "responses": ["\ud800 \\boxed{1}", "\0"], "sample": 1},
        {"id": "own-1", "responses": ["2", "x" * 1_000_000], "sample": 1},
    ]
    path = given(tmp_path, *rows)
    base = ["eval", "--responses", str(path), "--benchmarks", str(tmp_path / "own.jsonl")]
    out = ["--output-dir", str(tmp_path / "out"), "--tokenizer", "cub-qwen"]
    code, _, message = run_main(capsys, *base, *out, "--k", "1,4")
    assert (code, "--k 4 needs at least 4 samples per problem, but own has 2" in message) == (2, True)
    assert not list(results(tmp_path / "out"))
    code, _, message = run_main(capsys, *base, *out, "--k", "1,2")
    assert (code, message) == (0, "")
    (found,) = results(tmp_path / "out")
    assert found.protocol["samples"] == found.figures["samples"] == 2
    assert list(found.figures["pass@k"]) == ["1", "2"]
    assert next(a.status for a in ResponseFile(found.path).answers()) == "correct"


def test_a_sample_number_must_fit(loaded, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"responses.jsonl:1: sample must be a number from 0 to 999,999,999"):
        read_responses(given(tmp_path, {"id": "own-0", "response": "a", "sample": 10**12}), loaded)


def test_programs_are_scored_by_their_unit_tests(tmp_path: Path, capsys) -> None:
    try:
        sandbox.require()
    except sandbox.SandboxError as error:
        pytest.skip(str(error))
    test = "def check(candidate):\n    assert candidate() == 1\n"
    row = {"task_id": "HumanEval/0", "prompt": "def one():\n", "test": test, "entry_point": "one"}
    (tmp_path / "HumanEval.jsonl").write_text(json.dumps(row))
    texts = ("    return 1", "    return 2", "```python\ndef one():\n    return 1\n```", "no program")
    rows = [{"task_id": "HumanEval/0", "completion": text, "sample": i} for i, text in enumerate(texts)]
    benchmark, out = str(tmp_path / "HumanEval.jsonl"), str(tmp_path / "out")
    path = str(given(tmp_path, *rows))
    code, shown, message = run_main(capsys, "eval", "--responses", path, "--benchmarks", benchmark, "--output-dir", out)
    assert code == 0, (shown, message)
    (result,) = results(tmp_path / "out")
    assert [result.figures["pass@k"][k]["value"] for k in "12"] == pytest.approx([1 / 2, 5 / 6])
    table = ResponseFile(result.home / "responses.parquet").read(["verdict", "rule"])
    assert table["verdict"].to_pylist() == ["correct", "wrong", "correct", "wrong"]
    assert table["rule"].to_pylist() == ["tests"] * 4
