"""Experiments are TOML: what a file says is what is run, and a wrong file is named with its key."""

from pathlib import Path

import pytest

from simplerl.analysis.estimates import Measure
from simplerl.core.errors import ConfigError
from simplerl.studies.experiment import Bars, Curve, PassAtK, measure, read_experiment

OWN = """
question = "Does a longer limit help?"
overrides = { steps = 3, sampling.max_new_tokens = 80 }
measures = ["accuracy", { label = "own", where = "final", path = ["further", 0, "acc", "value"] }]
panels = [{ metric = "accuracy/mean", label = "accuracy" }, { measure = "own" }, { pass_at_k = "pass@k" }]

[[variants]]
label = "80"

[[variants]]
label = "160"
overrides.sampling.max_new_tokens = 160
against = "80"
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "limit.toml"
    path.write_text(text)
    return path


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    experiment = read_experiment(write(tmp_path, OWN))
    assert (experiment.name, experiment.recipe, experiment.x_axis, experiment.claim) == ("limit", "cub", "step", "")
    assert experiment.overrides == {"steps": 3, "sampling": {"max_new_tokens": 80}}
    assert [variant.against for variant in experiment.variants] == ["", "80"]
    own = Measure(label="own", where="final", path=("further", 0, "acc", "value"))
    assert experiment.measures == (measure("accuracy"), own)
    assert experiment.panels == (
        Curve(metric="accuracy/mean", label="accuracy"),
        Bars(measure=own),
        PassAtK(pass_at_k="pass@k"),
    )


@pytest.mark.parametrize(
    ("name", "where", "path", "label"),
    [
        ("greedy accuracy", "final", ("greedy", "acc", "value"), "greedy accuracy after"),
        ("pass@8", "final", ("pass@k", "8", "value"), "pass@8 after"),
        ("pass@4 before", "base", ("pass@k", "4", "value"), "pass@4 before"),
        ("gain of pass@64", "gain", ("pass@k", "64", "value"), "gain of pass@64"),
        ("level 3", "final", ("by_level", "3", "value"), "level 3"),
        ("domain chain_sum", "final", ("by_source", "chain_sum", "value"), "domain chain_sum"),
        ("domain knights before", "base", ("by_source", "knights", "value"), "domain knights before"),
    ],
)
def test_names_of_measures(name: str, where: str, path: tuple[str, ...], label: str) -> None:
    assert measure(name) == Measure(label=label, where=where, path=path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("question =", "question", "cannot be read as an experiment"),
        ("question =", "qestion =", "limit.toml: question: Field required"),
        ('question = "Does', 'questoin = 1\nquestion = "Does', "questoin: Extra inputs.*did you mean 'question'"),
        ('"accuracy",', '"acuracy",', "unknown measure 'acuracy'; did you mean 'accuracy'"),
        ('label = "160"', 'label = "80"', "two variants have the label '80'"),
        ('against = "80"', 'against = "8"', "is against '8'; did you mean '80'"),
        ('where = "final"', 'where = "end"', "measures"),
        ('{ measure = "own" }', '{ measure = "other" }', "unknown measure 'other'"),
    ],
)
def test_a_wrong_file_is_named_with_its_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in OWN
    with pytest.raises(ConfigError, match=message):
        read_experiment(write(tmp_path, OWN.replace(old, new)))
