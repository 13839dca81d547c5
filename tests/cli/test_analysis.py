"""simplerl explore: tables, files, and mistakes.

simplerl behaviours without an endpoint: keywords, the choice of responses, and mistakes.

simplerl fit: the table, the files, and mistakes.
"""

import dataclasses
import json
import sys
from pathlib import Path

import pytest
from made_answers import run_of
from made_runs import CONFIG
from support import run_main, run_small

from simplerl import behaviours
from simplerl.analysis import scaling
from simplerl.behaviours import Item, Judge, estimate, select
from simplerl.runs.run import read_behaviours, series

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


def run_with(path: Path, problems: int = 6, samples: int = 4) -> Path:
    said = {
        step: {
            f"p{i}": [f"{step} {i} {s}" + (" wait" if step else "") for s in range(samples)] for i in range(problems)
        }
        for step in (0, 5, 10)
    }
    return run_of(path, said)


def test_keywords_alone_need_nothing(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    run = run_with(tmp_path / "run")
    code, shown, error = run_main(capsys, "behaviours", str(run), "--responses", "0")
    assert (code, error) == (0, "")
    assert "by keywords (weaker than a judge)" in shown
    (judge,) = json.loads((run / "behaviours" / "table.json").read_text())["judges"]
    assert (judge["judge"], judge["settings"]) == ("keywords", "patterns 1")
    assert [step["behaviours"]["backtracking"]["value"] for step in judge["steps"]] == [0.0, 1.0, 1.0]
    assert [step["responses"] for step in judge["steps"]] == [24] * 3
    found = read_behaviours(run)
    assert len(found) == 72
    assert {j.behaviours["backtracking"] for j in found if j.step} == {("wait",)}


def test_the_behaviours_of_a_real_run(tmp_path: Path, capsys) -> None:
    run_small(tmp_path / "run")
    assert run_main(capsys, "behaviours", str(tmp_path / "run"), "--steps", "first,last")[0] == 0
    assert {j.step for j in read_behaviours(tmp_path / "run")} == {0, 3}


def test_without_the_package_it_says_how_to_get_it(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    code, _, error = run_main(capsys, "behaviours", str(run_with(tmp_path / "run")), "--judge", "m", "--yes")
    assert code == 2
    assert "pip install 'simplerl[judge]'" in error


def test_responses_are_split_over_problems_and_the_same_at_every_step(tmp_path: Path) -> None:
    ((_, evaluations),) = series(run_with(tmp_path / "run"), print)
    for number, most in ((4, 1), (6, 1), (9, 2), (24, 4), (99, 4), (0, 4)):
        chosen = [select(evaluation, number) for evaluation in evaluations]
        places = [[(item.problem_id, item.sample) for item in items] for items in chosen]
        assert places[0] == places[1] == places[2]
        assert len(set(places[0])) == len(places[0]) == min(number or 24, 24)
        counts = [sum(problem == f"p{i}" for problem, _ in places[0]) for i in range(6)]
        assert max(counts) == most
        assert max(counts) - min(counts) <= 1
        assert all(item.response.startswith(str(item.step)) for items in chosen for item in items)
    assert select(evaluations[0], 9) == select(evaluations[0], 9)
    assert select(evaluations[0], 9) != select(evaluations[0], 9, seed=1)
    assert select(evaluations[0], 9)[:4] == select(evaluations[0], 4), "more are added to fewer"


def test_a_damaged_step_is_named_and_left_out(tmp_path: Path, capsys) -> None:
    run = run_with(tmp_path / "run")
    (run / "evaluations" / "step_000005.parquet").write_bytes(b"PAR1 no PAR1")
    code, shown, _ = run_main(capsys, "behaviours", str(run))
    assert code == 0
    assert ": left out" in shown
    assert "step_000005.parquet" in shown
    table = json.loads((run / "behaviours" / "table.json").read_text())
    assert [step["step"] for step in table["judges"][0]["steps"]] == [0, 10]
    assert "step_000005.parquet" in table["left_out"][0]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["--responses", "-1"], "--responses must be at least 0"),
        (["--concurrency", "0"], "--concurrency must be at least 1"),
        (["--retries", "-1"], "--retries"),
        (["--timeout", "0"], "--timeout"),
        (["--timeout", "nan"], "--timeout"),
        (["--price-in", "1"], "go together"),
        (["--price-in", "-1", "--price-out", "1"], "--price-in must lie between 0 and"),
        (["--price-in", "1", "--price-out", "inf"], "--price-out must lie between 0 and"),
        (["--steps", "7"], "step 7 was not evaluated; there is 0, 5, 10"),
        (["--judge", "m", "--api-key-env", "UNSET_VARIABLE"], "UNSET_VARIABLE holds no key"),
        (["--judge", "m", "--no-api-key", "--base-url", "localhost:8000"], "--base-url must be such as"),
        (["--judge", "m", "--param", "temperature"], "--param takes NAME=JSON"),
        (["--judge", "m", "--param", "messages=[]"], "--param takes NAME=JSON"),
        (["--judge", "m", "--param", "effort=low"], "is not JSON"),
    ],
)
def test_mistakes_of_behaviours(given: list[str], wanted: str, tmp_path: Path, capsys) -> None:
    if "--judge" in given:
        pytest.importorskip("openai")
    run = run_with(tmp_path / "run")
    code, _, error = run_main(capsys, "behaviours", str(run), *given)
    assert code == 2
    assert wanted in error
    assert len(error.splitlines()) == 1
    assert not (run / "behaviours").exists()


def test_a_key_in_the_place_of_its_name_is_not_repeated(tmp_path: Path, capsys) -> None:
    pytest.importorskip("openai")
    secret = "sk-proj-abcdefghijkl"
    code, shown, error = run_main(
        capsys, "behaviours", str(run_with(tmp_path / "run")), "--judge", "m", "--api-key-env", secret
    )
    assert code == 2
    assert "the name of an environment variable" in error
    assert secret not in shown + error


def test_user_and_password_in_the_address_are_not_shown(tmp_path: Path, capsys) -> None:
    pytest.importorskip("openai")
    url = "http://user:p@hunter2222@127.0.0.1:1/v1?token=hunter3333"
    words = ["--judge", "m", "--no-api-key", "--base-url", url, "--yes", "--retries", "0"]
    code, shown, error = run_main(capsys, "behaviours", str(run_with(tmp_path / "run")), *words)
    assert code == 2
    assert "127.0.0.1:1/v1" in shown + error
    assert "hunter" not in shown + error


def test_runs_of_one_name_do_not_share_a_folder(tmp_path: Path, capsys) -> None:
    runs = [str(run_with(tmp_path / name / "run")) for name in "ab"]
    code, _, error = run_main(capsys, "behaviours", *runs, "--output-dir", str(tmp_path / "out"))
    assert code == 2
    assert "would share a folder" in error


def test_estimate_goes_by_bytes() -> None:
    """A Chinese character costs about a token, and so do three letters."""

    def tokens(response: str) -> tuple[int, int]:
        item = Item(step=0, home=Path(), problem_id="p", sample=0, question="q", response=response)
        return estimate([item])

    empty = tokens("")
    assert empty[1] == 40
    assert [a - b for a, b in zip(tokens("x" * 300), empty, strict=True)] == [100, 50]
    assert [a - b for a, b in zip(tokens("日" * 300), empty, strict=True)] == [300, 150]
    assert tokens("x" * 9000)[1] == 340, "quotations are short"


def test_an_answer_is_of_everything_that_it_depends_on(monkeypatch) -> None:
    judge = Judge(model="m", parameters={"temperature": 0})
    item = Item(step=0, home=Path(), problem_id="p", sample=0, question="q", response="r")
    address = judge.address(item)
    assert judge.address(dataclasses.replace(item, step=5, home=Path("x"), problem_id="o", sample=3)) == address
    others = {
        dataclasses.replace(judge, model="n").address(item),
        dataclasses.replace(judge, parameters={"temperature": 1}).address(item),
        judge.address(dataclasses.replace(item, question="r", response="q")),
        judge.address(dataclasses.replace(item, question="other")),
        judge.address(dataclasses.replace(item, response="other")),
    }
    monkeypatch.setattr(behaviours, "PROMPT_VERSION", 99)
    others.add(judge.address(item))
    assert len(others - {address}) == 6


def run_rising(path: Path, values: list[float]) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(CONFIG))
    lines = [{"step": s, "accuracy/mean": v, "tokens/sampled": 10 * bool(s)} for s, v in enumerate(values)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_two_runs_in_one_table_and_one_plot(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(scaling, "RESAMPLES", 20)
    rising = run_rising(tmp_path / "rising", [0.2, *(0.2 + 0.6 * c / (c + 8) for c in range(1, 31))])
    falling = run_rising(tmp_path / "falling", [0.5, *(0.4 - 0.001 * c for c in range(30))])
    output = tmp_path / "out.json"
    code, shown, error = run_main(
        capsys, "fit", str(rising), str(falling), "--metric", "accuracy/mean", "--output", str(output)
    )
    assert (code, error) == (0, "")
    assert "80.0 [80.0, 80.0]" in shown
    assert "falling: accuracy/mean does not rise" in shown
    assert "rising: accuracy/mean does not rise" not in shown
    first, second = json.loads(output.read_text())
    assert first["C_mid"]["value"] == pytest.approx(80, rel=0.01)
    assert (first["run"], second["run"]) == ("rising", "falling")
    assert output.with_suffix(".png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["RUN"], "has 2 values of eval/accuracy"),
        (["RUN", "--metric", "nothing"], "has no nothing over tokens"),
        (["RUN", "--skip", "1"], "--skip must lie between"),
        (["RUN", "--output", "fit.png"], "--output fit.png is where the plot would go"),
        (["missing"], "missing does not exist"),
    ],
)
def test_mistakes_of_fit(given: list[str], wanted: str, tmp_path: Path, capsys) -> None:
    run = run_rising(tmp_path / "run", [0.2, 0.3, 0.4])
    text = (run / "metrics.jsonl").read_text().replace("accuracy/mean", "eval/accuracy")
    (run / "metrics.jsonl").write_text(text)
    code, _, error = run_main(capsys, "fit", *(str(run) if word == "RUN" else word for word in given))
    assert code == 2
    assert wanted in error
    assert error.count("\n") == 1
    assert not (run / "fit.json").exists()
