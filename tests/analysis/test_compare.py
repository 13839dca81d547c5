"""Comparisons and tables of evaluations and of runs, against hand-computed literals."""

import csv
import io
import json
from pathlib import Path

import pyarrow.parquet
import pytest
from made_runs import CONFIG, SESSION
from support import CORRECT, TIMED_OUT, WRONG, group, run_main, run_small, trajectory

from simplerl.analysis.compare import averages, compare, markdown, rows, sides, to_csv, tracked, unfair
from simplerl.core.errors import RunError
from simplerl.evaluate.figures import figures
from simplerl.runs.directory import ResultDirectory
from simplerl.runs.responses import write_rows
from simplerl.runs.run import RESPONSES, results

PROTOCOL = {
    "benchmark": "b",
    "problems": 3,
    "samples": 2,
    "seed": 0,
    "template": {"name": "plain"},
    "sampling": {"temperature": 1.0},
    "policy": "boxed",
    "data_sha256": "d",
}


def result(path: Path, label: str, outcomes: dict[str, str], **protocol) -> Path:
    """Write a result; outcomes are problem → one letter a sample: r(ight), w(rong), t(imeout)."""
    verdicts = {"r": CORRECT, "w": WRONG, "t": TIMED_OUT}
    groups = [group(*(trajectory(verdict=verdicts[c]) for c in word), id=name) for name, word in outcomes.items()]
    with ResultDirectory(path) as directory:
        directory.begin({**PROTOCOL, "label": label, "step": None, **protocol}, overwrite=False)
        responses = directory.fill(groups, list, size=len(groups))
        directory.finish(figures(responses.answers()), {})
    return path


def test_literals(tmp_path: Path) -> None:
    result(tmp_path / "a", "A", {"p": "ww", "q": "rw", "s": "rr", "t": "rt"})
    result(tmp_path / "b", "B", {"p": "rw", "q": "rr", "s": "ww", "u": "rr"})
    c = compare(sides(str(tmp_path / "a"))["b"], sides(str(tmp_path / "b"))["b"])
    assert c["problems"] == 3
    assert c["left_out"] == {"only_before": 1, "only_after": 1, "other_question": 0, "undecided": 0}
    assert c["acc"]["before"]["value"] == pytest.approx(1.5 / 3)
    assert c["acc"]["after"]["value"] == pytest.approx(1.5 / 3)
    assert c["difference"]["value"] == 0.0
    assert c["p_value"] == 1.0, "½ + ½ − 1 = 0: every pattern of signs is as far from 0"
    assert (c["gained"], c["lost"]) == (["p"], ["s"])
    assert (c["more_often"], c["less_often"]) == (2, 1)
    assert c["pass@k"]["2"]["before"] == pytest.approx(2 / 3)


def test_what_became_of_the_solvable_set(tmp_path: Path) -> None:
    """MATH-Beyond's four sets, by hand; k is what all problems have on both sides."""
    before = {"p": "wwww", "q": "rwww", "s": "rrww", "t": "rwww", "u": "wwww", "v": "wwwr"}
    after = {"p": "wrww", "q": "rrww", "s": "rrww", "t": "wwww", "u": "wwww", "v": "rwww"}
    result(tmp_path / "a", "A", before, samples=4)
    result(tmp_path / "b", "B", after, samples=4)
    sets = compare(sides(str(tmp_path / "a"))["b"], sides(str(tmp_path / "b"))["b"])["sets"]
    names = ("k", "expansion", "shrinkage", "consolidation", "preservation")
    assert [sets[name] for name in names] == [4, ["p"], ["t"], ["q"], ["s", "v"]]
    values = {name: (figure["value"], figure["problems"]) for name, figure in sets["figures"].items()}
    assert values == {"expansion": (1 / 2, 2), "shrinkage": (1 / 4, 4), "overlap": (3 / 5, 5)}


def test_one_undecided_sample_lowers_k_for_its_problem_alone(tmp_path: Path, capsys) -> None:
    result(tmp_path / "a", "A", {"p": "rwww", "q": "twwr", "s": "tttr"}, samples=4)
    result(tmp_path / "b", "B", {"p": "rrww", "q": "wwrr", "s": "rrww"}, samples=4)
    c = compare(sides(str(tmp_path / "a"))["b"], sides(str(tmp_path / "b"))["b"])
    curve = {k: (point["before"], point["after"], point["difference"]["problems"]) for k, point in c["pass@k"].items()}
    assert curve["1"] == (pytest.approx((1 / 4 + 1 / 3 + 1) / 3), 0.5, 3)
    assert curve["2"] == (pytest.approx((1 / 2 + 2 / 3) / 2), pytest.approx(5 / 6), 2)
    assert curve["4"] == (1.0, 1.0, 1)
    assert (c["sets"]["k"], c["sets"]["consolidation"], c["sets"]["preservation"]) == (4, ["p"], ["q", "s"])
    code, shown, _ = run_main(capsys, "compare", str(tmp_path / "a"), str(tmp_path / "b"))
    assert code == 0
    assert "pass@2 (2 problems)" in shown


def test_more_samples_on_one_side_gain_nothing(tmp_path: Path) -> None:
    result(tmp_path / "a", "A", {"p": "w", "q": "r"}, samples=1)
    result(tmp_path / "b", "B", {"p": "wrrr", "q": "rwww"}, samples=4)
    c = compare(sides(str(tmp_path / "a"))["b"], sides(str(tmp_path / "b"))["b"])
    assert (c["gained"], c["lost"]) == ([], [])


def test_where_nothing_was_solved_expansion_is_pass_at_k(tmp_path: Path) -> None:
    result(tmp_path / "a", "A", dict.fromkeys("pqst", "wwww"), samples=4)
    result(tmp_path / "b", "B", {"p": "rrrr", "q": "wwww", "s": "wwrw", "t": "wrrw"}, samples=4)
    c = compare(sides(str(tmp_path / "a"))["b"], sides(str(tmp_path / "b"))["b"])
    assert c["sets"]["figures"]["expansion"]["value"] == c["pass@k"]["4"]["after"] == 0.75
    assert c["crossing_interval"] == {"low": None, "high": None, "share": 0.0}


def test_the_crossing_has_an_interval_over_problems(tmp_path: Path) -> None:
    """Where every problem tells the same story there is no doubt; where one in eight decides, there is."""
    alike = dict.fromkeys("abcdefgh", "rwwwwwww")
    result(tmp_path / "a", "A", alike, samples=8)
    some = {name: "rrrrrrrr" if name in "abc" else "wwwwwwww" for name in alike}
    result(tmp_path / "b", "B", some, samples=8)
    c = compare(sides(str(tmp_path / "a"))["b"], sides(str(tmp_path / "b"))["b"])
    assert c["crossing"] == 4, "pass@2 1/4 against 3/8, pass@4 1/2 against 3/8"
    interval = c["crossing_interval"]
    assert interval["low"] in (2, 4)
    assert interval["high"] in (8, None)
    assert 0.8 < interval["share"] < 1


def test_crossing(tmp_path: Path) -> None:
    """After: one problem always, one never. Before: both now and then. So pass@1 rises and pass@4 falls."""
    result(tmp_path / "a", "A", {"p": "rwww", "q": "rwww"}, samples=4)
    result(tmp_path / "b", "B", {"p": "rrrr", "q": "wwww"}, samples=4)
    c = compare(sides(str(tmp_path / "a"))["b"], sides(str(tmp_path / "b"))["b"])
    assert c["pass@k"]["1"]["difference"]["value"] == pytest.approx(0.25)
    assert c["pass@k"]["2"]["difference"]["value"] == pytest.approx(0.0)
    assert c["pass@k"]["4"]["difference"]["value"] == pytest.approx(-0.5)
    assert c["crossing"] == 4
    assert c["crossing_is_certain"] is False


def test_unequal_protocols_are_named() -> None:
    other = {**PROTOCOL, "template": {"name": "simple"}, "sampling": {"temperature": 0.0}}
    assert [line.split(":")[0] for line in unfair(PROTOCOL, other)] == ["template", "sampling"]
    assert unfair(PROTOCOL, PROTOCOL) == []
    (line,) = unfair(PROTOCOL, {**PROTOCOL, "environment": {"name": "calculator"}})
    assert line == "environment: single-turn before, calculator after"


def test_runs_compare_with_themselves(tmp_path: Path, capsys) -> None:
    run_small(tmp_path / "run")
    code, shown, _ = run_main(capsys, "compare", str(tmp_path / "run"), "--output", str(tmp_path / "c.json"))
    assert code == 0
    assert "run@0 → run@3" in shown
    assert json.loads((tmp_path / "c.json").read_text())[0]["problems"] == 4
    code, _, message = run_main(capsys, "compare", f"{tmp_path}/run@1", f"{tmp_path}/run@3")
    assert (code, "has no evaluation of step 1; it has 0, 2, 3" in message) == (2, True)


def test_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not exist"):
        sides(str(tmp_path / "none"))
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"file is a file; give .*, or RUN@STEP"):
        sides(str(tmp_path / "file"))
    with pytest.raises(RunError, match="nor a finished result"):
        sides(str(tmp_path))
    result(tmp_path / "m" / "1", "A", {"p": "rw"})
    result(tmp_path / "m" / "2", "A", {"p": "rr"}, seed=1)
    with pytest.raises(RunError, match="more than one evaluation of b"):
        sides(str(tmp_path / "m"))


def test_csv_has_the_originals_columns(tmp_path: Path) -> None:
    result(tmp_path / "1", "A", {"p": "rw", "q": "rr"})
    result(tmp_path / "2", "A", {"p": "ww", "q": "rr"}, benchmark="c")
    result(tmp_path / "3", "A", {"p": "rr", "q": "rr"}, benchmark="c@32")
    (line,) = csv.DictReader(io.StringIO(to_csv(list(results(tmp_path)))))
    assert line["model"] == "A"
    assert (line["b_acc"], line["b_pass_acc"], line["c_acc"], line["c@32_acc"]) == ("75.0", "100.0", "50.0", "100.0")
    assert line["avg_acc"] == "62.5", "a benchmark with samples of its own counts once"
    columns = "acc pass_acc tokens keywords correct_tokens wrong_tokens clip_ratio stop_tokens stop_ratio box_ratio"
    assert [f"avg_{name}" for name in [*columns.split(), "repeat_ratio"]] == list(line)[-11:]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("figures.json", {"acc": {"value": "high"}}),
        ("figures.json", {"pass@k": {"1": 0.5}}),
        ("figures.json", {"verdicts": []}),
        ("protocol.json", {"template": {}}),
        ("protocol.json", {"policy": 7}),
        ("protocol.json", {"environment": "code"}),
    ],
)
def test_a_result_of_other_types_is_left_out_by_name(name: str, change: dict, tmp_path: Path) -> None:
    """The table of all results is written when an evaluation ends: a foreign file must not take that away."""
    result(tmp_path / "1", "A", {"p": "rw"})
    result(tmp_path / "2", "A", {"p": "rw"}, sampling={"temperature": 0.0})
    file = tmp_path / "2" / name
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    said: list[str] = []
    assert list(rows(results(tmp_path, said.append))) == ["A"]
    (sentence,) = said
    assert str(file) in sentence
    assert next(iter(change)) in sentence


def test_a_figure_that_is_missing_or_odd_is_an_empty_cell(tmp_path: Path) -> None:
    result(tmp_path / "1", "A", {"p": "rw"})
    file = tmp_path / "1" / "figures.json"
    table = json.loads(file.read_text())
    del table["repeat_ratio"]
    file.write_text(json.dumps(table | {"keywords": [], "box_ratio": {"value": "x"}}))
    (line,) = csv.DictReader(io.StringIO(to_csv(results(tmp_path))))
    assert [line[f"b_{column}"] for column in ("acc", "repeat_ratio", "keywords", "box_ratio")] == ["50.0", "", "", ""]


def test_protocols_do_not_hide_each_other(tmp_path: Path) -> None:
    result(tmp_path / "1", "A", {"p": "rw"})
    result(tmp_path / "2", "A", {"p": "rr"}, sampling={"temperature": 0.0})
    table = rows(list(results(tmp_path)))
    assert len(table) == 2


def test_average_has_the_uncertainty_of_its_parts(tmp_path: Path) -> None:
    result(tmp_path / "1", "A", {f"p{i}": "rw" if i % 2 else "ww" for i in range(20)})
    result(tmp_path / "2", "A", {f"p{i}": "rr" if i % 2 else "rw" for i in range(20)}, benchmark="c")
    (row,) = rows(list(results(tmp_path))).values()
    one, two = (r.figures["acc"] for r in row.values())
    mean = averages(row)["acc"]
    assert mean["value"] == pytest.approx((one["value"] + two["value"]) / 2)
    half = ((one["high"] - one["value"]) ** 2 + (two["high"] - two["value"]) ** 2) ** 0.5 / 2
    assert mean["high"] - mean["value"] == pytest.approx(half)


def test_the_papers_average_is_over_its_six(tmp_path: Path) -> None:
    names = ("gsm8k", "math500", "minerva_math", "olympiadbench", "aime24", "amc23")
    for index, name in enumerate(names):
        result(tmp_path / name, "A", {"p": "rr" if index == 0 else "ww"}, benchmark=name)
    result(tmp_path / "extra", "A", {"p": "rr"}, benchmark="college_math")
    (row,) = rows(list(results(tmp_path))).values()
    assert averages(row)["paper_acc"]["value"] == pytest.approx(1 / 6)
    assert averages(row)["acc"]["value"] == pytest.approx(2 / 7)


def test_markdown_escapes() -> None:
    assert "A\\|B" in markdown([["A|B"]])


def test_same_id_is_not_the_same_problem(tmp_path: Path) -> None:
    """Two files of one name: problem p is another question there. It is not paired, and nothing is dropped unsaid."""
    result(tmp_path / "a", "A", {"p": "ww", "q": "rw", "s": "tt"})
    result(tmp_path / "b", "B", {"p": "rr", "q": "rr", "s": "rr"})
    responses = tmp_path / "b" / RESPONSES
    table = pyarrow.parquet.read_table(responses).to_pylist()
    changed = [{**row, "question": "another?"} if row["problem_id"] == "p" else row for row in table]
    write_rows(responses, changed)
    c = compare(sides(str(tmp_path / "a"))["b"], sides(str(tmp_path / "b"))["b"])
    assert c["problems"] == 1
    assert c["left_out"] == {"only_before": 0, "only_after": 0, "other_question": 1, "undecided": 1}
    write_rows(responses, [{**row, "answer": "9"} for row in table])
    with pytest.raises(RunError, match="3 have the same id, but another question or gold"):
        compare(sides(str(tmp_path / "a"))["b"], sides(str(tmp_path / "b"))["b"])


def test_rows_mix_neither_models_nor_protocols(tmp_path: Path) -> None:
    """Two models of one name, and one model greedily on b and sampled on b and c: four averages would be wrong."""
    greedy = {"sampling": {"temperature": 0.0}}
    result(tmp_path / "1", "A", {"p": "rr"}, weights_sha256="1", model="x/A", **greedy)
    result(tmp_path / "2", "A", {"p": "ww"}, weights_sha256="1", model="x/A")
    result(tmp_path / "3", "A", {"p": "ww"}, weights_sha256="1", model="x/A", benchmark="c")
    result(tmp_path / "4", "A", {"p": "rr"}, weights_sha256="1", model="x/A", benchmark="c@32", samples=32)
    result(tmp_path / "5", "A", {"p": "rr"}, weights_sha256="2", model="y/A", benchmark="c", **greedy)
    found = {name: {key: r.home.name for key, r in row.items()} for name, row in rows(list(results(tmp_path))).items()}
    assert found == {
        "A": {"b": "1", "c@32": "4"},
        "A (plain, t 1.0, n 2, 3 problems, seed 0, boxed)": {"b": "2", "c": "3"},
        "A (y/A)": {"c": "5"},
    }


# -- runs in one table: what differs between them, what they ran on, what came of it ----------------------------------


def run_of(path: Path, *, session: dict | None = None, **over) -> None:
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({**CONFIG, **over}))
    (path / "environment.json").write_text(json.dumps({"sessions": [session or SESSION]}))
    lines = [{"step": s, "tokens/sampled": 10, "time/step": 0.5} for s in range(3)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_row_says_what_is_unusual(tmp_path: Path) -> None:
    run_of(tmp_path / "a")
    run_of(tmp_path / "b", seed=1)
    run_of(tmp_path / "deep" / "c", optimizer={"lr": 0.01}, output_dir="elsewhere")
    run_of(tmp_path / "d", session={**SESSION, "packages": {"simplerl": "0.2.0"}}, new_setting=3)
    with (tmp_path / "b" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "tokens/sampled": "many", "time/step": [1]}\n')
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "metrics.jsonl").write_text("{")
    table = tracked(tmp_path)
    assert [(one["name"], one["seed"], one["settings"]) for one in table["runs"]] == [
        ("a", 0, {}),
        ("b", 1, {}),
        ("d", 0, {}),
        ("deep/c", 0, {"optimizer.lr": 0.01}),
    ]
    assert table["usual"]["optimizer.lr"] == 0.001
    first = table["runs"][0]
    assert (first["steps"], first["tokens"], first["seconds"], first["finished"]) == (2, 20, 1.0, False)
    assert [one["tokens"] for one in table["runs"]] == [20] * 4, "what is not a number adds nothing"
    assert first["versions"]["simplerl"] == "0.1.0"
    assert first["versions"]["git_commit"] == "c0ffee"
    assert table["runs"][2]["versions"]["simplerl"] == "0.2.0"


def test_the_command_shows_and_writes_it(tmp_path: Path, capsys) -> None:
    for name in "ab":
        run_of(tmp_path / "runs" / name, optimizer={"lr": {"a": 0.001, "b": 0.5}[name]})
    output = tmp_path / "runs.json"
    code, shown, error = run_main(capsys, "compare", str(tmp_path / "runs"), "--output", str(output))
    assert (code, error) == (0, "")
    assert "optimizer.lr = 0.5" in shown
    assert "2 …" in shown, "not finished"
    assert json.loads(output.read_text()) == tracked(tmp_path / "runs")


def test_no_run_is_a_message(tmp_path: Path, capsys) -> None:
    with pytest.raises(RunError, match="holds no run with recorded steps"):
        tracked(tmp_path)
    code, _, error = run_main(capsys, "compare", str(tmp_path))
    assert code == 2
    assert "holds no run" in error
