"""`simplerl audit`: golds against themselves, rules, given responses, labels, refused rows, exit codes."""

from __future__ import annotations

import gzip
import json

import pytest

from simplerl.cli import main
from simplerl.core.errors import DataError
from simplerl.data import read
from simplerl.environments import sandbox


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


SHAPES = {
    "gsm8k": {"question": "2+3?", "answer": "2+3 = <<2+3=5>>5\n#### 5"},
    "math": {"problem": "2+3?", "solution": r"It is $\boxed{5}$.", "answer": "5"},
    "solution only": {"problem": "2+3?", "solution": r"It is $\boxed{\frac{1}{2}}$."},
    "list": {"question": "?", "final_answer": ["$1$", "$2$"], "id": 7},
    "float": {"problem": "?", "answer": 27.0},
    "capital": {"Question": "?", "Answer": 145.0},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_known_shapes_of_rows(shape, tmp_path, capsys):
    assert main(["audit", write(tmp_path / "data.jsonl", [SHAPES[shape]]), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["golds"] == 1
    assert report["ok"]
    assert not report["literal"]


def test_an_empty_gold_fails_with_its_id(tmp_path, capsys):
    rows = [{"id": "good", "gold": "1"}, {"id": "bad-row", "gold": " "}]
    assert main(["audit", write(tmp_path / "data.jsonl", rows)]) == 1
    shown = capsys.readouterr().out
    assert "bad-row" in shown
    assert "no final answer: 'gold' is empty" in shown
    assert "failed" in shown


def test_a_gold_that_cannot_be_boxed_is_rejected(tmp_path, capsys):
    assert main(["audit", write(tmp_path / "data.jsonl", [{"id": "x", "gold": r"\frac{1}{2"}]), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert [finding["id"] for finding in report["rejected"]] == ["x"]


def test_golds_that_are_not_read_are_listed_but_pass(tmp_path, capsys):
    assert main(["audit", write(tmp_path / "data.jsonl", [{"gold": r"\foo{1} + \baz"}]), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert "only the same text" in report["literal"][0]["why"]


def test_labels_are_compared_with_the_verdicts(tmp_path, capsys):
    rows = [
        {"id": "agree", "gold": "5", "prediction": r"\boxed{5}", "expected": True},
        {"id": "mixed", "gold": "1 1/2", "prediction": r"\boxed{\frac32}", "expected": True},
        {"id": "mislabelled", "gold": "5", "response": r"\boxed{6}", "expected": True},
        {"id": "also", "gold": "5", "response": r"\boxed{5}", "expected": False},
        {"id": "algebra", "gold": r"\sqrt8", "response": r"\boxed{2\sqrt2}", "expected": True},
    ]
    path = tmp_path / "labelled.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    assert main(["audit", str(path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["labelled"] == 5
    assert [finding["id"] for finding in report["false_negatives"]] == ["mislabelled"]
    assert [finding["id"] for finding in report["false_positives"]] == ["also"]
    assert report["timeout_rate"] == 0
    assert sum(rule["count"] for rule in report["rules"].values()) == 5
    assert sum(rule["share"] for rule in report["rules"].values()) == pytest.approx(1)
    assert main(["audit", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "false negatives 1, false positives 1" in shown


def test_given_responses_are_judged_by_the_policy(tmp_path, capsys):
    path = write(tmp_path / "data.jsonl", [{"gold": "5", "response": "So.\n#### 5"}, {"gold": "6", "response": ""}])
    for policy, statuses in (("boxed", {"no_answer": 2}), ("gsm8k-hashes", {"correct": 1, "no_answer": 1})):
        assert main(["audit", path, "--policy", policy, "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert (report["statuses"], report["responses"], report["labelled"]) == (statuses, 2, 0)
        assert report["verdicts_per_second"] > 0
    with pytest.raises(DataError, match=r"data\.jsonl:1: .*question"):
        read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nonsense\n", "bad.jsonl:1: not valid JSON"),
        ("3\n", "bad.jsonl:1: a row must be an object"),
    ],
)
def test_a_bad_file_names_the_line(tmp_path, capsys, content, message):
    file = tmp_path / "bad.jsonl"
    file.write_text(content)
    assert main(["audit", str(file)]) == 2
    assert message in capsys.readouterr().err


def test_an_unknown_name_is_a_message(capsys):
    assert main(["audit", "gsm9k"]) == 2
    assert "unknown data set 'gsm9k'; did you mean 'gsm8k'?" in capsys.readouterr().err


def test_golds_that_their_question_states_are_counted(tmp_path, capsys):
    rows = [
        {"id": "copied", "question": "What is 7+13?", "gold": "20"},
        {"id": "own form", "question": "Simplify $(x-1)(x+1)$ or say that it is $x^2-1$.", "gold": "x^2-1"},
        {"id": "honest", "question": "How many legs have 3 dogs?", "gold": "12"},
    ]
    assert main(["audit", write(tmp_path / "data.jsonl", rows), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {finding["id"]: finding["answer"] for finding in report["restated"]} == {
        "copied": "7+13", "own form": "(x-1)(x+1)",
    }  # fmt: skip
    assert report["restated_rewarded"] == 0
    assert main(["audit", str(tmp_path / "data.jsonl")]) == 0
    assert "restated by their question    2, rewarded when copied 0" in capsys.readouterr().out


def test_rows_that_training_refuses_or_leaves_out_are_listed(tmp_path, capsys):
    rows = [
        {"question": "a", "answer": "proof"},
        {"question": "b", "answer": True, "solution": r"\boxed{3}"},
        {"id": "none", "question": "c"},
        {"question": "d", "answer": "1"},
        {"question": "d", "answer": "2"},
        {"question": "e", "answer": "5"},
    ]
    path = write(tmp_path / "data.jsonl", rows)
    assert main(["audit", path, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert [finding["id"] for finding in report["left_out"]] == ["data-0", "data-3", "data-4"]
    assert [finding["id"] for finding in report["refused"]] == ["data-1", "none"]
    assert sum(rule["count"] for rule in report["rules"].values()) == 1
    assert main(["audit", path]) == 1
    shown = capsys.readouterr().out
    assert "refused in training           2" in shown
    assert "left out of training          3" in shown
    assert "'answer' is a boolean" in shown


def test_an_audit_of_left_out_rows_alone_is_a_report(tmp_path, capsys):
    assert main(["audit", write(tmp_path / "data.jsonl", [{"question": "a", "answer": "proof"}])]) == 0
    assert "the placeholder 'proof'" in capsys.readouterr().out


def test_unit_tests_that_fail_on_the_reference_solution_are_listed(tmp_path, capsys):
    try:
        sandbox.require()
    except sandbox.SandboxError as error:
        pytest.skip(str(error))
    rows = [
        {"question": "Double.", "tests": ["assert f(2) == 4"], "reference": "def f(x): return 2 * x", "id": "good"},
        {"question": "Treble.", "tests": ["assert f(2) == 7"], "reference": "def f(x): return 3 * x", "id": "bad"},
        {"question": "Quadruple.", "tests": ["assert f(2) == 8"], "id": "without"},
        {"question": "1+1?", "answer": "2"},
    ]
    assert main(["audit", write(tmp_path / "data.jsonl", rows), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    ((failed,), tested, references) = report["reference"], report["tested"], report["references"]
    assert (failed["id"], tested, references) == ("bad", 3, 2)
    assert failed["why"] == "0 of 1 pass: assert f(2) == 7 f returned 6"
    assert main(["audit", str(tmp_path / "data.jsonl")]) == 1
    assert "failed by their reference (1 of 1)" in capsys.readouterr().out
