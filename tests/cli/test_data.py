"""`simplerl data`: files in, a file and a report out, that train; mistakes are messages.

`simplerl audit`: golds against themselves, rules, given responses, labels, refused rows, exit codes.

`simplerl verify`: one judgement explained, files, standard input, exit codes.
"""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import pytest
from support import SMALL, arguments, run_main

from simplerl.cli import COMMANDS, main
from simplerl.cli.data import rated
from simplerl.core.errors import DataError
from simplerl.core.types import Problem
from simplerl.data import load, read
from simplerl.environments import sandbox
from simplerl.runs.responses import Answer


def rows(path: Path, values: list[dict]) -> str:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return str(path)


@pytest.fixture
def file(tmp_path: Path) -> str:
    return rows(
        tmp_path / "d.jsonl", [{"question": f"What is {'1+' * (i % 7)}{i}?", "answer": str(i)} for i in range(30)]
    )


def report(path: Path) -> dict:
    return json.loads(path.with_name(f"{path.stem}.report.json").read_text())


@pytest.mark.parametrize("action", COMMANDS["data"]["actions"])
def test_every_action_has_examples_and_takes_debug(action: str, capsys) -> None:
    code, out, _ = run_main(capsys, "data", action, "--help")
    assert code == 0
    assert f"simplerl data {action}" in out.split("examples:")[1]
    code, _, error = run_main(capsys, "data", action, "--debug", "--nonesuch")
    assert code == 2
    assert "--debug" not in error.replace("[--debug]", "")


def test_filter_writes_a_file_that_trains(file: str, tmp_path: Path, capsys) -> None:
    out_path = tmp_path / "out" / "short.jsonl"
    given = ["data", "filter", file, "--tokenizer", "cub-qwen", "--template", "plain", "--output", str(out_path)]
    code, out, error = run_main(capsys, *given, "--max-prompt-tokens", "22")
    assert code == 0, error
    said = report(out_path)
    kept = load(str(out_path))
    assert 0 < len(kept) < 30
    assert (said["read"], said["kept"], len(said["removed"])) == (30, len(kept), 30 - len(kept))
    assert all(item["tokens"] > 22 for item in said["removed"])
    assert said["removed"][0]["place"].startswith(f"{file}:")
    assert f"kept           │ {len(kept):8}" in out
    assert said["removed"][0]["id"] in out
    over = {**SMALL, "steps": 1, "dataset": {}, "evaluation": {"holdout": 4, "samples": 1}, "data": str(out_path)}
    code, _, error = run_main(capsys, "train", *arguments({**over, "output_dir": str(tmp_path / "run")}))
    assert code == 0, error


def test_audit_drops_what_cannot_be_judged(tmp_path: Path, capsys) -> None:
    values = [{"question": "a", "answer": "\\frac{1}{2}"}, {"question": "b", "gold": "x", "answer": "7"}]
    truth = {"question": "c", "reward_model": {"ground_truth": ""}}
    path = rows(tmp_path / "d.jsonl", [*values, truth])
    code, out, _ = run_main(capsys, "data", "audit", path, "--output", str(tmp_path / "o.jsonl"))
    assert code == 0
    assert "1 of 3 rows are left out" in out
    assert len(load(str(tmp_path / "o.jsonl"))) == 2
    assert [item["place"] for item in report(tmp_path / "o.jsonl")["no_gold"]] == [f"{path}:3"]


def test_problems_that_bring_their_judge_are_not_written_without_it(tmp_path: Path, capsys) -> None:
    given = ["data", "filter", "knights", "--tokenizer", "cub-qwen", "--output", str(tmp_path / "o.jsonl")]
    code, _, error = run_main(capsys, *given)
    assert code == 2
    assert "the environment knights-and-knaves" in error
    assert not (tmp_path / "o.jsonl").exists()


def test_decontaminate_names_both_rows(file: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "bench").mkdir()
    rows(tmp_path / "bench" / "b.jsonl", [{"problem": "what is 0 ?"}, {"problem": "Other"}])
    out_path = tmp_path / "clean.jsonl"
    given = ["data", "decontaminate", file, "--against", str(tmp_path / "bench"), "--output", str(out_path)]
    code, out, error = run_main(capsys, *given)
    assert code == 0, error
    (removed,) = report(out_path)["removed"]
    assert (removed["id"], removed["place"], removed["how"]) == ("d-0", f"{file}:1", "exact")
    assert removed["benchmark_place"] == f"{tmp_path}/bench/b.jsonl:1"
    assert len(load(str(out_path))) == 29
    assert "removed d-0" in out
    before = out_path.read_bytes()
    code, _, error = run_main(capsys, *given)
    assert code == 2
    assert "--overwrite" in error
    assert run_main(capsys, *given, "--overwrite", "--n", "5")[0] == 0
    assert out_path.read_bytes() == before


def test_tiers_show_the_papers_counts_and_what_is_kept_out(tmp_path: Path, capsys) -> None:
    gsm8k = rows(tmp_path / "g.jsonl", [{"question": f"g{i}", "answer": f"#### {i}"} for i in range(6)])
    level = [{"problem": f"m{i}", "solution": f"\\boxed{{{i}}}", "level": f"Level {1 + i % 5}"} for i in range(20)]
    math = rows(tmp_path / "m.jsonl", [*level, {"problem": "odd", "solution": "\\boxed{1}", "level": "Level ?"}])
    exclude = rows(tmp_path / "e.jsonl", [{"problem": "M0"}, {"problem": "g1"}])
    given = ["data", "tiers", "--gsm8k", gsm8k, "--math", math, "--output-dir", str(tmp_path / "t")]
    code, out, error = run_main(capsys, *given, "--exclude", exclude)
    assert code == 0, error
    counts = {name: len(load(str(tmp_path / "t" / f"{name}.jsonl"))) for name in ("easy", "medium", "hard")}
    assert counts == {"easy": 5 + 3, "medium": 15, "hard": 12}
    assert "8,523" in out
    assert "2 problems kept out" in out
    assert f"{math}:21 (?)" in out
    said = report(tmp_path / "t" / "hard.jsonl")
    assert said["by_source_and_level"] == {"math level 3": 4, "math level 4": 4, "math level 5": 4}
    assert [item["place"] for item in said["excluded"]] == [f"{gsm8k}:2", f"{math}:1"]
    easy = load(str(tmp_path / "t" / "easy.jsonl"))
    assert [p.meta["original_id"] for p in easy][-1] == "m-15"
    assert {p.meta["origin"] for p in easy} == {"gsm8k", "math"}
    code, out, _ = run_main(capsys, *given, "--overwrite")
    assert "nothing was kept out" in out


def test_difficulty_of_a_cub(file: str, tmp_path: Path, capsys) -> None:
    rated = tmp_path / "rated.jsonl"
    given = ["data", "difficulty", file, "--model", "cub-qwen", "--template", "plain", "--output", str(rated)]
    code, _, error = run_main(capsys, *given, "--samples", "4", "--max-tokens", "24", "--limit", "10")
    assert code == 0, error
    found = load(str(rated))
    said = report(rated)
    assert len(found) == said["kept"] == 10
    assert all(p.meta["pass_rate"] in (0, 0.25, 0.5, 0.75, 1) for p in found)
    assert said["measurement"]["samples"] * said["figures"]["problems"] == 40
    assert said["figures"]["acc_strict"]["value"] == pytest.approx(sum(p.meta["pass_rate"] for p in found) / 10)
    assert not list(tmp_path.glob("*.partial"))
    least = sorted(p.meta["pass_rate"] for p in found)[5]
    again = ["data", "difficulty", str(rated), "--min-pass-rate", str(least), "--output", str(tmp_path / "x.jsonl")]
    code, _, error = run_main(capsys, *again)
    assert code == 0, error
    kept = load(str(tmp_path / "x.jsonl"))
    assert [p.question for p in kept] == [p.question for p in found if p.meta["pass_rate"] >= least]


def answer(status: str, rule: str = "") -> Answer:
    columns = {"problem_id": "d-0", "sample": 0, "level": "", "kind": "", "tokens": 3, "stop_reason": "eos"}
    return Answer(**columns, response="", status=status, extracted=None, rule=rule)


def test_rates_are_of_what_could_be_judged() -> None:
    old = Problem(id="d-0", question="?", answer="1", source="d", meta={"pass_rate": 1.0, "place": "p"})
    right, wrong, lost = answer("correct"), answer("wrong"), answer("timeout")
    for answers, meta in (
        ([right, wrong, wrong, wrong], {"pass_rate": 0.25, "pass_rate_samples": 4}),
        ([right, wrong, lost, lost], {"pass_rate": 0.5, "pass_rate_samples": 2}),
        ([right, answer("correct", "unfinished")], {"pass_rate": 0.5, "pass_rate_samples": 2}),
        ([lost], {"pass_rate_samples": 0}),
        (None, {}),
    ):
        assert rated(old, answers).meta == {"place": "p", **meta}


def test_prompts_that_the_context_cannot_hold_are_not_measured(tmp_path: Path, capsys) -> None:
    path = rows(
        tmp_path / "d.jsonl", [{"question": "What is 1+1?", "answer": "2"}, {"question": "1+" * 999, "answer": "1"}]
    )
    given = ["data", "difficulty", path, "--model", "cub-qwen", "--template", "plain", "--samples", "2"]
    code, out, error = run_main(capsys, *given, "--max-tokens", "9", "--output", str(tmp_path / "o.jsonl"))
    assert code == 0, error
    assert "1 prompts do not fit the model's context and are not measured: d-1" in out
    assert report(tmp_path / "o.jsonl")["not_measured_too_long"] == ["d-1"]
    assert [p.id for p in load(str(tmp_path / "o.jsonl"))] == ["o-0"]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ([], ["data wants an action; known: audit"]),
        (["filtre"], ["unknown action 'filtre' of data; did you mean 'filter'"]),
        (["filter", "FILE", "--output", "o.jsonl"], ["--tokenizer"]),
        (["filter", "FILE", "--tokenizer", "cub-qwn", "--output", "o.jsonl"], ["'cub-qwn'", "cub-qwen"]),
        (["filter", "FILE", "--tokenizer", "cub-qwen", "--output", "o.csv"], ["o.csv", ".jsonl"]),
        (["filter", "FILE", "--tokenizer", "cub-qwen", "--template", "simpel", "--output", "o.jsonl"], ["'simple'"]),
        (
            ["filter", "FILE", "--tokenizer", "cub-qwen", "--max-prompt-tokens", "1", "--output", "o.jsonl"],
            ["nothing is left"],
        ),
        (["filter", "none.jsonl", "--tokenizer", "cub-qwen", "--output", "o.jsonl"], ["none.jsonl", "does not exist"]),
        (["filter", "gsm8q", "--tokenizer", "cub-qwen", "--output", "o.jsonl"], ["'gsm8q'", "'gsm8k'"]),
        (["audit", "FILE"], ["--output"]),
        (["audit", "BAD", "--output", "o.jsonl"], ["bad.jsonl:1", "no final answer", "'solution'"]),
        (
            ["filter", "FILE", "--tokenizer", "cub-qwen", "--max-prompt-tokens", "0", "--output", "o.jsonl"],
            ["--max-prompt-tokens must be at least 1, got 0"],
        ),
        (["decontaminate", "FILE", "--output", "o.jsonl"], ["--against"]),
        (["decontaminate", "FILE", "--against", "FILE", "--n", "1", "--output", "o.jsonl"], ["--n must be at least 2"]),
        (["decontaminate", "FILE", "--against", "nowhere", "--output", "o.jsonl"], ["'nowhere'"]),
        (["decontaminate", "FILE", "--against", "FILE", "--n", "1", "--output", "o.jsonl"], ["at least 2"]),
        (["decontaminate", "FILE", "--against", "FILE", "--output", "o.jsonl"], ["nothing is left"]),
        (["difficulty", "FILE", "--output", "o.jsonl"], ["no pass rates", "--model"]),
        (["difficulty", "FILE", "--model", "cub-qwen", "--samples", "0", "--output", "o.jsonl"], ["--samples"]),
        (["difficulty", "FILE", "--model", "cub-qwen", "--policy", "boxd", "--output", "o.jsonl"], ["'boxed'"]),
        (["difficulty", "FILE", "--min-pass-rate", "2", "--output", "o.jsonl"], ["between 0 and 1"]),
        (["difficulty", "FILE", "--model", "cub-qwen", "--device", "gpu", "--output", "o.jsonl"], ["device = 'gpu'"]),
        (["tiers", "--gsm8k", "FILE", "--math", "FILE", "--output-dir", "t"], ["same name"]),
        (["tiers", "--gsm8k", "FILE", "--math", "OTHER", "--output-dir", "t"], ["tier easy", "levels 1"]),
    ],
    ids=lambda value: " ".join(value)[:50],
)
def test_mistakes(given: list[str], wanted: list[str], file: str, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    bad = rows(tmp_path / "bad.jsonl", [{"question": "a", "solution": "It is 7."}])
    other = rows(tmp_path / "other.jsonl", [{"question": "a", "answer": "7"}])
    places = {"FILE": file, "BAD": bad, "OTHER": other}
    code, _, error = run_main(capsys, "data", *(places.get(part, part) for part in given))
    assert code == 2, error
    assert "internal error" not in error
    for fragment in wanted:
        assert fragment in error, error
    assert not list(tmp_path.glob("o.*"))


def test_a_hub_that_cannot_be_reached_says_what_to_do(tmp_path: Path, capsys, monkeypatch) -> None:
    import sys
    from types import SimpleNamespace

    def refuse(*args: object, **options: object) -> None:
        raise ConnectionError("Couldn't reach the Hub")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=refuse))
    code, _, error = run_main(capsys, "data", "tiers", "--output-dir", str(tmp_path / "t"))
    assert code == 2
    assert "Couldn't reach the Hub" in error
    assert "Without a network, download it elsewhere" in error


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
    assert (report["labelled"], "findings" in report) == (5, False), "each kind of finding stands once"
    assert [finding["id"] for finding in report["false_negatives"]] == ["mislabelled"]
    assert [finding["id"] for finding in report["false_positives"]] == ["also"]
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
def test_a_bad_file_of_pairs_names_the_line(tmp_path, capsys, content, message):
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
