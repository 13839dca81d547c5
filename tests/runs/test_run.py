"""The reader: runs of the version before it, runs that are empty, foreign, damaged or half-written, and results."""

import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from made_answers import result_of, run_of
from made_runs import AFTER, made_run

from simplerl.core.errors import ConfigError, RunError
from simplerl.runs.responses import ResponseFile
from simplerl.runs.run import Evaluation, Run, choose, find_runs, is_result, is_run, results, series, unified

#: A run and a result of version 0.1 (commit c22b989): `simplerl train --steps 2 --evaluation.size 4
#: --sampling.prompts_per_step 2 --sampling.samples_per_prompt 2`, without its weights, and `simplerl eval` of it.
DATA = Path(__file__).parent / "data"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA / "run", tmp_path / "old"))


def test_a_run_of_the_version_before_opens_without_damage(old: Path) -> None:
    run = Run(old, warn=pytest.fail)
    assert run.damage == []
    assert (run.name, run.stage, run.finished, run.last_step, run.is_result) == ("old", "train", True, 2, False)
    assert run.setting("sampling.temperature") == 1.0
    assert run.setting("sampling.nothing", "default") == "default"
    assert [session["packages"]["simplerl"] for session in run.environment] == ["0.1.0"]
    assert run.steps == (1, 2)
    assert run.summary["steps"] == 2
    assert run.summary["final"]["acc"]["value"] == run.summary["final_accuracy"]
    assert run.behaviours() == []


def test_metrics_are_a_table_by_step(old: Path) -> None:
    table = Run(old).metrics
    assert table["step"].to_pylist() == [0, 1, 2]
    assert table["accuracy/mean"].to_pylist() == [None, 0.75, 0.25]
    assert table.schema.field("tokens/sampled").type == pyarrow.int64()
    steps, values = Run(old).history("accuracy/mean")
    assert (steps.tolist(), values.tolist()) == ([1, 2], [0.75, 0.25])
    assert steps.dtype == np.int64
    assert len(Run(old).history("nothing/of/the/kind")[0]) == 0


def test_training_responses(old: Path) -> None:
    run = Run(old)
    assert run.responses(2).num_rows == 4
    table = run.responses(columns=["step", "verdict"])
    assert table.column_names == ["step", "verdict"]
    assert table["step"].to_pylist() == [1] * 4 + [2] * 4
    assert run.responses([2], ["step"])["step"].to_pylist() == [2] * 4
    with pytest.raises(RunError, match="no training responses of step 7; it has steps 1 to 2"):
        run.responses(7)


def test_evaluations_of_the_version_before_have_the_names_of_today(old: Path) -> None:
    first, last = Run(old).evaluations
    assert (first.label, first.step, first.benchmark, last.label, last.step) == ("old@0", 0, "held-out", "old@2", 2)
    assert last.figures["acc"] == {"value": 0.4375, "low": 0.3125, "high": 0.5625, "problems": 4}
    assert set(last.figures["pass@k"]) == {"1", "2", "4", "8"}
    assert last.figures["answer_ratio"] == {"value": 0.9375, "low": None, "high": None, "problems": 4}
    assert last.figures["tokens"]["value"] == last.figures["stop_tokens"]["value"] > 0, "none was truncated"
    assert last.figures["clip_ratio"]["value"] == 0
    assert not {"accuracy", "pass_at", "boxed", "length", "mean_stopped"} & last.figures.keys()
    assert last.protocol["sampling"] == {"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 80}
    answers = last.answers()
    assert len(answers) == last.responses(["problem_id"]).num_rows == 32
    assert sum(answer.correct for answer in answers) == 0.4375 * 32
    assert {answer.status for answer in answers} <= {"correct", "wrong", "no_answer"}


def test_the_further_temperatures_are_mapped_too() -> None:
    table = unified({"accuracy": {"value": 1.0}, "further": [{"temperature": 0.0, "accuracy": {"value": 0.5}}]})
    assert table["further"] == [{"temperature": 0.0, "acc": {"value": 0.5}}]
    assert unified(table) == table, "the names of today stay"
    assert [unified({"further": odd})["further"] for odd in (5, "x", None, [1])] == [[]] * 4, "nothing that can be read"


def test_checkpoints_say_whether_they_are_complete(old: Path) -> None:
    (checkpoint,) = Run(old).checkpoints
    assert (checkpoint.step, checkpoint.complete) == (2, False), "its weights were left out"
    for name in json.loads((checkpoint.path / "manifest.json").read_text()):
        (checkpoint.path / name).parent.mkdir(exist_ok=True)
        (checkpoint.path / name).touch()
    assert Run(old).checkpoints[0].complete


def test_a_result_of_the_version_before_is_one_evaluation() -> None:
    run = Run(DATA / "result")
    assert run.damage == []
    assert (run.stage, run.finished, run.is_result, run.config, run.steps) == ("eval", True, True, {}, ())
    assert run.metrics.num_rows == 0
    (evaluation,) = run.evaluations
    assert (evaluation.label, evaluation.step, evaluation.benchmark) == ("oldrun@2", 2, "tiny")
    assert evaluation.protocol["samples"] == 2
    assert evaluation.figures["acc"]["value"] == pytest.approx(2 / 3)
    assert len(evaluation.answers()) == 6
    with pytest.raises(RunError, match="no training responses that can be read"):
        run.responses()


def test_every_run_and_result_below_a_directory(tmp_path: Path, old: Path) -> None:
    shutil.copytree(DATA / "result", tmp_path / "evaluations" / "model" / "tiny" / "key")
    made_run(tmp_path / "deep" / "down" / "run")
    (tmp_path / "deep" / "link").symlink_to(tmp_path / "deep" / "down")
    (tmp_path / "deep" / ".hidden").mkdir()
    assert [run.name for run in find_runs(tmp_path, pytest.fail)] == ["run", "key", "old"]
    assert [run.name for run in find_runs(old, pytest.fail)] == ["old"]
    with pytest.raises(RunError, match="does not exist"):
        find_runs(tmp_path / "nothing")


def test_what_is_a_run(tmp_path: Path, old: Path) -> None:
    assert is_run(old)
    assert not is_result(old)
    assert is_result(DATA / "result")
    assert not is_run(DATA / "result")
    assert not is_run(old / "checkpoints" / "step_000002"), "a model has a config.json too"
    assert not is_run(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "does not exist; give the directory of a run"),
        (lambda path: path.touch(), "is a file; give"),
        (lambda path: path.mkdir(), "is empty; give"),
        (lambda path: (path / "trajectories").mkdir(parents=True), "is empty; give"),
        (lambda path: (path / "photos").mkdir(parents=True), "is not a run"),
        (lambda path: made_run(path / "a"), "is not a run, but holds 1; give one of them: a"),
    ],
)
def test_what_is_not_a_run_is_said(tmp_path: Path, make, message: str) -> None:
    make(tmp_path / "x")
    with pytest.raises(RunError, match=message) as error:
        Run(tmp_path / "x")
    assert str(tmp_path / "x") in str(error.value)


def test_a_model_directory_is_foreign(old: Path) -> None:
    with pytest.raises(RunError, match=r"no config\.json beside trajectories/"):
        Run(old / "checkpoints" / "step_000002")


def test_half_written_runs_open_and_say_so(old: Path) -> None:
    with (old / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "rew')
    (old / "summary.json").unlink()
    (old / "evaluations" / "step_000002.json").unlink()
    (old / "trajectories" / ".step_000003.parquet.partial").write_bytes(b"PAR1")
    said: list[str] = []
    run = Run(old, warn=said.append)
    assert not run.finished
    assert run.metrics["step"].to_pylist() == [0, 1, 2]
    assert run.evaluations[1].figures == {}
    assert len(run.evaluations[1].answers()) == 32
    assert len(run.damage) == 2
    assert any("the last line is cut short or is still being written" in sentence for sentence in run.damage)
    assert any("step_000002.parquet has no figures beside it" in sentence for sentence in run.damage)
    assert sorted(said) == sorted(run.damage), "each sentence is said once"


def test_a_run_that_has_only_begun(tmp_path: Path) -> None:
    for name in ("trajectories", "evaluations", "checkpoints"):
        (tmp_path / name).mkdir()
    (tmp_path / "config.json").write_text('{"steps": 4}')
    run = Run(tmp_path)
    assert (run.finished, run.steps, run.evaluations, run.checkpoints, run.last_step) == (False, (), (), (), 0)
    assert run.metrics.num_rows == 0
    assert run.damage == [f"{tmp_path / 'metrics.jsonl'} is missing: nothing is known of its metrics"]


def test_of_a_step_that_was_done_again_the_last_line_counts(tmp_path: Path) -> None:
    lines = [
        {"step": 2, "a": 1},
        {"step": 0},
        {"step": 1, "a": None, "b": "x"},
        {"step": 2, "a": 3.5, "c": True, "\ud800": 1},
    ]
    run = Run(run_of(tmp_path / "run", {}, lines))
    assert run.metrics["step"].to_pylist() == [0, 1, 2]
    a = run.metrics["a"].to_pylist()
    assert a[0] is None
    assert math.isnan(a[1]), "what was not finite is written as null, and is NaN here"
    assert a[2] == 3.5
    assert math.isnan(run.metrics["b"].to_pylist()[1])
    assert run.metrics["?"].to_pylist() == [None, None, 1], "a lone surrogate is not a character"
    assert [tuple(part.tolist()) for part in run.history("a")] == [(2,), (3.5,)]
    assert sum("is not a number: left out" in sentence for sentence in run.damage) == 2


def test_damage_is_named_and_left_out(old: Path) -> None:
    for name, content in {
        "config.json": "[" * 100_000,
        "stage.json": '"sft"',
        "environment.json": '{"sessions": [',
        "summary.json": "\x00",
        "evaluations/step_000000.json": '{"accuracy": "high"}',
        "trajectories/notes.txt": "mine",
    }.items():
        (old / name).write_text(content)
    file = old / "trajectories" / "step_000001.parquet"
    file.write_bytes(file.read_bytes()[:-30])
    (old / "evaluations" / "step_000002.parquet").unlink()
    lines = (old / "metrics.jsonl").read_text().splitlines()
    (old / "metrics.jsonl").write_text("\n".join([lines[0], "nonsense", lines[2]]) + "\n")
    run = Run(old)
    assert (run.stage, run.config, run.environment, run.summary, run.finished) == ("train", {}, [], None, False)
    assert run.metrics["step"].to_pylist() == [0, 2]
    assert run.responses()["step"].to_pylist() == [2] * 4
    with pytest.raises(RunError, match=r"step_000001\.parquet cannot be read"):
        run.responses(1)
    with pytest.raises(RunError, match=r"step_000002\.parquet cannot be read: it does not exist"):
        run.evaluations[1].answers()
    damage = "\n".join(run.damage)
    for name in (
        "config.json", "stage.json", "environment.json", "summary.json", "evaluations/step_000000.json",
        "notes.txt", "step_000001.parquet", "step_000002.parquet is missing", "metrics.jsonl:2 is damaged",
    ):  # fmt: skip
        assert name in damage, name


def test_pipes_are_not_opened(old: Path) -> None:
    for name in ("config.json", "trajectories/step_000001.parquet"):
        (old / name).unlink()
        os.mkfifo(old / name)
    run = Run(old)
    assert run.config == {}
    assert any("config.json cannot be read (it is not a file)" in sentence for sentence in run.damage)
    assert run.steps == (2,)


def test_unfinished_and_damaged_results(tmp_path: Path) -> None:
    result = Path(shutil.copytree(DATA / "result", tmp_path / "result"))
    figures = (result / "figures.json").read_text()
    (result / "figures.json").unlink()
    run = Run(result)
    assert (run.finished, run.evaluations) == (False, ())
    assert run.damage == [f"{result} is not finished (no figures.json); evaluate again to go on with it"]
    for content in (figures[:-40], "[]", '{"acc": 1}'):
        (result / "figures.json").write_text(content)
        assert Run(result).evaluations == ()
        (sentence,) = Run(result).damage
        assert "figures.json" in sentence
    (result / "figures.json").write_text(figures)
    assert Run(result).damage == []


@pytest.mark.parametrize(
    ("config", "summary", "expected"),
    [
        ({"steps": 4}, {"seconds": 1}, True),
        ({"steps": 9}, {"seconds": 1}, False),  # It was resumed with more steps.
        ({"steps": 9, "token_budget": 400}, {"seconds": 1}, True),
        ({"steps": 9, "token_budget": 401}, {"seconds": 1}, False),
        ({"steps": 4}, {}, False),
    ],
)
def test_finished(tmp_path: Path, config: dict, summary: dict, expected: bool) -> None:
    path = made_run(tmp_path / "run", config=config)
    (path / "config.json").write_text(json.dumps(json.loads((path / "config.json").read_text()) | config))
    (path / "summary.json").write_text(json.dumps(summary))
    assert Run(path).finished is expected


class TestResponseFile:
    """Columns that are missing, of another type, or hold what they must not."""

    def file(self, tmp_path: Path, **columns) -> ResponseFile:
        path = run_of(tmp_path / "run", {0: {"p": ["4"] * 4}}) / "evaluations" / "step_000000.parquet"
        table = pyarrow.parquet.read_table(path)
        for name, values in columns.items():
            index = table.schema.get_field_index(name)
            if values is None:
                table = table.drop_columns([name])
            else:
                column = values if isinstance(values, pyarrow.Array) else pyarrow.array(values)
                table = table.set_column(index, name, column) if index >= 0 else table.append_column(name, column)
        pyarrow.parquet.write_table(table, path)
        return ResponseFile(path)

    @pytest.mark.parametrize(
        ("column", "values", "message"),
        [
            ("response", [1] * 4, "response (int64)"),
            ("response", [b"x"] * 4, "response (binary)"),
            ("verdict", [1] * 4, "verdict (int64)"),
            ("sample", ["0"] * 4, "sample (string)"),
            ("sample", [None] * 4, "sample (null)"),
            ("reward", ["much"] * 4, "reward (string)"),
            ("extracted", [1.5] * 4, "extracted (double)"),
            ("token_ids", ["1"] * 4, "token_ids (string)"),
            ("token_ids", [["1"]] * 4, "token_ids (list<element: string>)"),
            ("problem_id", ["p", None, "p", "p"], "problem_id is not known of every row"),
            ("sample", [2**40] * 4, "cannot be read"),
            ("response", pyarrow.array([b"\xff"] * 4).view("string"), "cannot be read"),
            ("verdict", None, "it has no column verdict"),
        ],
    )
    def test_something_else_is_refused(self, column: str, values, message: str, tmp_path: Path) -> None:
        records = self.file(tmp_path, **{column: values})
        reads = [records.read, lambda: list(records.batches())] + [records.answers] * (column != "reward")
        for read in reads:
            with pytest.raises(RunError) as error:
                read()
            assert message in str(error.value)
            assert str(records.path) in str(error.value)

    def test_columns_of_older_and_newer_versions(self, tmp_path: Path) -> None:
        records = self.file(tmp_path, kind=None, entropies=None, weather=["fine"] * 4)
        table = records.read()
        assert table["kind"].to_pylist() == [None] * 4
        assert table["weather"].to_pylist() == ["fine"] * 4
        assert {answer.kind for answer in records.answers()} == {""}
        assert records.read(["entropies", "verdict"]).column_names == ["entropies", "verdict"]
        with pytest.raises(RunError, match="has no column colour; it has step, problem_id"):
            records.read(["colour"])

    def test_categories_nulls_and_wide_types(self, tmp_path: Path) -> None:
        words = pyarrow.array(["correct"] * 4).dictionary_encode()
        large = pyarrow.array(["4"] * 4, pyarrow.large_string())
        records = self.file(
            tmp_path, verdict=words, reward=[None] * 4, response=large, sample=pyarrow.array([0, 1, 2, 3])
        )
        rows = records.read(["verdict", "reward", "response", "sample"]).to_pylist()
        assert rows[3] == {"verdict": "correct", "reward": None, "response": "4", "sample": 3}

    def test_batches_are_the_rows_in_order(self, tmp_path: Path) -> None:
        records = self.file(tmp_path)
        batches = list(records.batches(["sample"], size=3))
        assert [batch["sample"].to_pylist() for batch in batches] == [[0, 1, 2], [3]]
        records.check()

    def test_opening_it_oneself(self, tmp_path: Path) -> None:
        records = self.file(tmp_path)
        with records.open(dictionary=["verdict"]) as file:
            assert pyarrow.types.is_dictionary(file.schema_arrow.field("verdict").type)
        with pytest.raises(RunError, match=r"step_000000\.parquet cannot be read: odd"), records.open() as file:
            raise pyarrow.ArrowInvalid("odd")


def test_evaluations_of_made_runs_are_read(tmp_path: Path) -> None:
    run = Run(made_run(tmp_path / "run"))
    assert run.damage == []
    last = run.evaluations[-1]
    assert isinstance(last, Evaluation)
    assert len(last.answers()) == sum(map(len, AFTER.values()))


# --- evaluations in series --------------------------------------------------------------------------------------------


@pytest.fixture
def evaluations(tmp_path: Path):
    run = run_of(tmp_path / "run", {step: {"p": ["4"]} for step in (20, 0, 5)})
    ((name, evaluations),) = series(run, lambda message: None)
    assert name == "run"
    return evaluations


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("all", [0, 5, 20]),
        ("first", [0]),
        ("last", [20]),
        ("first,last", [0, 20]),
        ("20, 5,20", [5, 20]),
        ("all,5", [0, 5, 20]),
    ],
)
def test_choose(steps: str, expected: list[int], evaluations) -> None:
    assert [one.step for one in choose(evaluations, steps)] == expected


@pytest.mark.parametrize("steps", ["", "most", "-1", "5;20", "1.5", "7"])
def test_choose_refuses(steps: str, evaluations) -> None:
    with pytest.raises(ConfigError, match="--steps"):
        choose(evaluations, steps)


def test_results_make_a_series_for_each_run_and_protocol(tmp_path: Path) -> None:
    for step, seed in ((10, 0), (0, 0), (0, 1)):
        label = f"run@{step}"
        result_of(tmp_path / label / f"seed{seed}", {"p": ["4"]}, label=label, step=step, seed=seed)
    for more in ({"policy": "choice"}, {"environment": {"name": "calculator"}}):
        result_of(tmp_path / str(more), {"p": ["4"]}, label="run@10", step=10, seed=0, **more)
    result_of(tmp_path / "other", {"p": ["4"]}, label="other", step=None)
    found = series(tmp_path, pytest.fail)
    steps = [(name.split()[0], [one.step for one in evaluations]) for name, evaluations in found]
    wanted = [("run", [0, 10]), ("run", [0]), ("run", [10]), ("run", [10]), ("other", [None])]
    assert sorted(steps, key=str) == sorted(wanted, key=str)


def test_a_damaged_result_is_named_or_refused(tmp_path: Path) -> None:
    result_of(tmp_path / "a", {"p": ["4"]}, label="a")
    result_of(tmp_path / "b", {"p": ["4"]}, label="b")
    (tmp_path / "b" / "figures.json").write_text("{}")
    said: list[str] = []
    assert [one.label for one in results(tmp_path, said.append)] == ["a"]
    assert ["figures.json" in sentence for sentence in said] == [True]
    with pytest.raises(RunError, match=r"figures\.json"):
        results(tmp_path)


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not exist"):
        series(tmp_path / "x", pytest.fail)
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="file is a file"):
        series(tmp_path / "file", pytest.fail)
    with pytest.raises(RunError, match="nor a finished result"):
        series(tmp_path, pytest.fail)
    with pytest.raises(RunError, match="no evaluation yet"):
        series(run_of(tmp_path / "run", {}), pytest.fail)
