"""`simplerl verify`: one judgement explained, files, standard input, exit codes."""

from __future__ import annotations

import io
import json

import pytest

from simplerl.cli import main


def test_one_judgement_is_explained_step_by_step(capsys):
    assert main(["verify", "--gold", r"\frac{1}{2}", "--response", r"So \boxed{0.5}."]) == 0
    shown = capsys.readouterr().out
    for word in ("answer", "0.5", "gold", "the number 1/2", "number: both are plain numbers", "correct"):
        assert word in shown


def test_a_wrong_answer_has_exit_code_1(capsys):
    assert main(["verify", "--gold", "(1,2)", "--response", r"\boxed{(2,1)}", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["status"] == "wrong"


def test_a_response_without_an_answer(capsys):
    assert main(["verify", "--gold", "1", "--response", "no box"]) == 1
    assert "none found" in capsys.readouterr().out


def test_policy(capsys):
    args = ["verify", "--gold", "5", "--response", "The answer is 5."]
    assert main([*args, "--policy", "boxed-then-phrases-then-last-number"]) == 0
    assert main([*args, "--policy", "boxd"]) == 2
    assert "did you mean 'boxed'" in capsys.readouterr().err


def test_a_file_of_pairs(tmp_path, capsys):
    rows = [{"gold": "1", "response": r"\boxed{1}"}, {"answer": "2", "prediction": r"\boxed{3}"}]
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    assert main(["verify", "--file", str(file), "--json"]) == 1
    statuses = [json.loads(line)["status"] for line in capsys.readouterr().out.splitlines()]
    assert statuses == ["correct", "wrong"]
    assert main(["verify", "--file", str(file)]) == 1
    assert "correct 1, wrong 1" in capsys.readouterr().out


def test_standard_input(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps({"gold": "1", "response": r"\boxed{1}"})))
    assert main(["verify", "--file", "-"]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO(r"so \boxed{1}"))
    assert main(["verify", "--gold", "1", "--response", "-"]) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [("not json", ":1: not valid JSON"), ('{"gold": "1"}', ":1: needs gold"), ("[1]", "[0]: a row must be an object")],
)
def test_a_bad_file_names_the_line(tmp_path, capsys, content, message):
    file = tmp_path / "bad.jsonl"
    file.write_text(content)
    assert main(["verify", "--file", str(file)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("args", [[], ["--gold", "1"], ["--file", "x", "--gold", "1"], ["--file", "/does/not/exist"]])
def test_a_mistake_in_the_call_is_a_message(args, capsys):
    assert main(["verify", *args]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("command", [["audit"], ["verify", "--file"]])
@pytest.mark.parametrize("content", ["[" * 100_000, '{"gold": ' + "9" * 6_000 + "}", "", "\n\n"])
def test_rows_that_cannot_be_read_are_one_message(tmp_path, capsys, command, content):
    file = tmp_path / "bad.jsonl"
    file.write_text(content)
    assert main([*command, str(file)]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_gz_that_is_not_gzip_is_one_message(tmp_path, capsys):
    file = tmp_path / "bad.jsonl.gz"
    file.write_text('{"gold": "1"}')
    assert main(["audit", str(file)]) == 2
    assert "gzip" in capsys.readouterr().err


def test_the_workers_say_nothing_of_their_own() -> None:
    """math-verify warns of time limits that we switched off on purpose; that is nobody's business but ours."""
    from support import run_command

    done = run_command("verify", "--gold", "x+1", "--response", r"\boxed{|||}")
    assert done.stderr == ""


def test_a_question_makes_a_copy_of_it_wrong(capsys, tmp_path):
    call = ["verify", "--gold", "20", "--response", r"\boxed{7+13}", "--question", "What is 7+13?"]
    assert main(call) == 1
    assert "restates" in capsys.readouterr().out
    assert main([*call, "--lenient", "restates"]) == 0
    assert "restates" in capsys.readouterr().out  # it counts as right, and is named
    file = tmp_path / "rows.jsonl"
    rows = [
        {"gold": "20", "response": r"\boxed{7+13}", "question": "What is 7+13?"},
        {"gold": "5", "response": r"\boxed{10/2}"},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["verify", "--file", str(file), "--json"]) == 1
    assert [json.loads(line)["rule"] for line in capsys.readouterr().out.splitlines()] == ["restates", "unfinished"]
    assert main(["verify", "--file", str(file), "--lenient", "restates", "unfinished"]) == 0


def test_a_refusal_names_the_part_that_is_not_understood(capsys):
    assert main(["verify", "--gold", "5", "--response", r"\boxed{5 (rejected)}"]) == 1
    assert "rejected" in next(line for line in capsys.readouterr().out.splitlines() if line.startswith("why"))
