"""Series of evaluations, the choice of steps, and reading columns."""

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from made_answers import run_of

from simplerl.core.errors import ConfigError, RunError
from simplerl.runs.stages import choose, list_means, read_columns, series


@pytest.fixture
def stages(tmp_path: Path):
    run = run_of(tmp_path / "run", {step: {"p": ["4"]} for step in (20, 0, 5)})
    return series(run, pytest.fail)[0].stages


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
def test_choose(steps: str, expected: list[int], stages) -> None:
    assert [stage.step for stage in choose(stages, steps)] == expected


@pytest.mark.parametrize("steps", ["", "most", "-1", "5;20", "1.5", "7"])
def test_choose_refuses(steps: str, stages) -> None:
    with pytest.raises(ConfigError, match="--steps"):
        choose(stages, steps)


def test_list_means(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    lists = [[-1.0, -2.0], None, [], [0.5], [1.0, 2.0, 6.0]] * 500
    pyarrow.parquet.write_table(pyarrow.table({"x": lists, "y": [1] * 2500}), file)
    assert list_means(file, "x") == [-1.5, None, None, 0.5, 3.0] * 500
    assert list_means(file, "z") == []
    pyarrow.parquet.write_table(pyarrow.table({"x": [[1.0], [float("nan")], [3.0]]}), file)
    assert [str(mean) for mean in list_means(file, "x")] == ["1.0", "nan", "3.0"], "what is no number stays where it is"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(RunError, match=r"a\.parquet cannot be read"):
        list_means(file, "x")


def test_read_columns(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"sample": [1, 2], "extracted": ["a", None]}), file)
    assert read_columns(file, ["sample"], ["extracted", "reward"]) == [
        {"sample": 1, "extracted": "a", "reward": None},
        {"sample": 2, "extracted": None, "reward": None},
    ]
    with pytest.raises(RunError, match="no column verdict"):
        read_columns(file, ["sample", "verdict"])


@pytest.mark.parametrize(
    ("column", "values", "wanted"),
    [
        ("response", [1] * 4, "response (int64)"),
        ("response", [b"x"] * 4, "response (binary)"),
        ("verdict", [1] * 4, "verdict (int64)"),
        ("sample", ["0"] * 4, "sample (string)"),
        ("sample", [None] * 4, "sample (null)"),
        ("reward", ["much"] * 4, "reward (string)"),
        ("extracted", [1.5] * 4, "extracted (double)"),
        ("problem_id", ["p", None, "p", "p"], "problem_id is not known of every row"),
        ("response", pyarrow.array([b"\xff"] * 4).view("string"), "cannot be read"),
    ],
)
def test_columns_of_something_else_are_refused(column: str, values, wanted: str, tmp_path: Path) -> None:
    file = run_of(tmp_path / "run", {0: {"p": ["4"] * 4}}) / "evaluations" / "step_000000.parquet"
    table = pyarrow.parquet.read_table(file)
    values = values if isinstance(values, pyarrow.Array) else pyarrow.array(values)
    pyarrow.parquet.write_table(table.set_column(table.schema.get_field_index(column), column, values), file)
    with pytest.raises(RunError) as error:
        read_columns(file, ["problem_id", "sample", "response", "verdict"], ["extracted", "reward"])
    assert wanted in str(error.value)
    assert str(file) in str(error.value)


def test_categories_and_nulls_are_read(tmp_path: Path) -> None:
    file = run_of(tmp_path / "run", {0: {"p": ["4", "5"]}}) / "evaluations" / "step_000000.parquet"
    table = pyarrow.parquet.read_table(file)
    place = table.schema.get_field_index("verdict")
    table = table.set_column(place, "verdict", table["verdict"].dictionary_encode())
    table = table.set_column(table.schema.get_field_index("reward"), "reward", pyarrow.nulls(2))
    pyarrow.parquet.write_table(table, file)
    rows = read_columns(file, ["problem_id", "verdict"], ["reward"])
    assert rows == [{"reward": None, "problem_id": "p", "verdict": "correct"}] * 2
