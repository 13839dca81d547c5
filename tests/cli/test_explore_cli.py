"""simplerl explore: tables, files, and mistakes."""

import json
from pathlib import Path

import pytest
from made_answers import run_of
from support import run_main, run_small

RIGHT, WRONG = "2+2=4", ("it is 5", "wrong")


def test_a_real_run(tmp_path: Path, capsys) -> None:
    run_small(tmp_path / "run")
    code, shown, error = run_main(capsys, "explore", str(tmp_path / "run"))
    assert (code, error) == (0, "")
    assert "run: exploration, 4 problems × 2 samples" in shown
    (found,) = json.loads((tmp_path / "run" / "exploration.json").read_text())
    assert [point["step"] for point in found["points"]] == [0, 2, 3]
    assert [line["step"] for line in found["useful_tokens"]] == [1, 2, 3]
    figures = json.loads((tmp_path / "run" / "evaluations" / "step_000003.json").read_text())["pass@k"]["2"]
    assert found["points"][-1]["figures"]["pass@2"] == pytest.approx(figures), "the same as the run's own"


def test_what_fell_is_said(tmp_path: Path, capsys) -> None:
    alone = [RIGHT, WRONG, WRONG, WRONG]
    both = [RIGHT, "1+3=4", WRONG, WRONG]
    steps = {step: {f"p{i}": said for i in range(9)} for step, said in ((0, alone), (5, both), (10, [RIGHT] * 4))}
    run = run_of(tmp_path / "run", steps)
    code, shown, _ = run_main(capsys, "explore", str(run))
    assert code == 0
    # All nine problems differ alike: the width is Clopper and Pearson's of 9 of 9, 1 - 0.025 ** (1 / 9) = 0.336.
    assert "pass@4-2: first to last +0.0 [-33.6, +33.6] points; since its highest, at run@5, -100.0" in shown
    assert "pass@1: first to last +75.0 [+41.4, +100.0] points.\n" in shown


def test_two_runs_of_one_name_into_another_directory(tmp_path: Path, capsys) -> None:
    runs = [run_of(tmp_path / name / "run", {0: {"p": [RIGHT, WRONG]}}) for name in "ab"]
    before = sorted(tmp_path.rglob("*"))
    code, _, error = run_main(capsys, "explore", *map(str, runs), "--output-dir", str(tmp_path / "out"))
    assert (code, error) == (0, "")
    made = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert made == ["run-2_exploration.json", "run_exploration.json"]
    assert sorted(path for path in tmp_path.rglob("*") if "out" not in path.parts) == before


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["RUN", "--steps", "some"], "--steps must be"),
        (["RUN", "--steps", "3"], "step 3 was not evaluated; there is 0"),
        (["RUN", "--s", "x"], "--s must be numbers"),
        (["RUN", "--k", "9"], "--k 9"),
        (["RUN", "--wanted", "0"], "--wanted must be"),
        (["nothing"], "nothing does not exist"),
        (["EMPTY"], "holds neither a run nor a finished result"),
        (["RUN", "--output-dir", "FILE"], "cannot write"),
    ],
)
def test_mistakes(given: list[str], wanted: str, tmp_path: Path, capsys) -> None:
    run_of(tmp_path / "RUN", {0: {"p": [RIGHT, WRONG]}})
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "FILE").touch()
    words = [str(tmp_path / word) if word.isupper() else word for word in given]
    code, _, error = run_main(capsys, "explore", *words)
    assert code == 2
    assert wanted in error
    assert len(error.splitlines()) == 1


def test_a_run_that_cannot_be_written_to_is_shown_first(tmp_path: Path, capsys) -> None:
    run = run_of(tmp_path / "run", {0: {"p": [RIGHT, WRONG]}})
    (run / "exploration.json").mkdir()
    code, shown, error = run_main(capsys, "explore", str(run))
    assert code == 2
    assert "exploration, 1 problems" in shown
    assert "--output-dir" in error


@pytest.mark.parametrize("line", ['{"step": 1,', '{"step": 1, "tokens/sampled": "x", "tokens/useful": 1}'])
def test_damaged_metrics_cost_only_the_useful_tokens(line: str, tmp_path: Path, capsys) -> None:
    run = run_of(tmp_path / "run", {0: {"p": [RIGHT, WRONG]}})
    (run / "metrics.jsonl").write_text(f'{{"step": 0}}\n{line}\n{{"step": 2}}\n')
    code, shown, error = run_main(capsys, "explore", str(run))
    assert (code, error) == (0, "")
    assert ("metrics.jsonl:2 is damaged: this line is left out" in shown) is line.endswith(",")
    (found,) = json.loads((run / "exploration.json").read_text())
    assert found["useful_tokens"] == []
    assert found["points"][0]["figures"]["pass@1"]["value"] == 0.5
