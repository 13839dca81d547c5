"""`simplerl data`: files in, a file and a report out, that train; mistakes are messages."""

import json
from pathlib import Path

import pytest
from support import SMALL, arguments, run_main

from simplerl.cli import COMMANDS
from simplerl.cli.data import rated
from simplerl.core.types import Problem
from simplerl.data import load
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
        ([], ["ACTION"]),
        (["filtre"], ["invalid choice", "filtre"]),
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
