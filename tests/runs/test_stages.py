"""Series of evaluations, the choice of steps, and reading columns."""

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from made_up import run_of

from simplerl.errors import ConfigError, RunError
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
    pyarrow.parquet.write_table(pyarrow.table({"x": [1, 2], "y": ["a", None]}), file)
    assert read_columns(file, ["x"], ["y", "z"]) == [{"x": 1, "y": "a", "z": None}, {"x": 2, "y": None, "z": None}]
    with pytest.raises(RunError, match="no column w"):
        read_columns(file, ["x", "w"])
