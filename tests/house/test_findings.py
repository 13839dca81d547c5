"""Every experiment resolves, is consistent in itself, and stands in docs/findings.md with its command."""

import re

import pytest
from support import ROOT

from simplerl.config.resolve import resolve
from simplerl.config.sections import Config
from simplerl.runs.files import slug
from simplerl.runs.metrics import METRICS
from simplerl.studies.experiment import EXPERIMENTS, Bars, Curve, Experiment, PassAtK
from simplerl.studies.jobs import table_of

PAGE = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")


@pytest.fixture(params=EXPERIMENTS)
def experiment(request) -> Experiment:
    return EXPERIMENTS[request.param]


def section(name: str) -> str:
    found = re.search(rf"^## {re.escape(name)}$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/findings.md has no section {name!r}"
    return found[1]


def test_name_is_that_of_the_registry() -> None:
    for name, found in EXPERIMENTS.items():
        assert found.name == name
        assert slug(name) == name, "it names a directory"


def test_variants_resolve(experiment: Experiment) -> None:
    for variant in experiment.variants:
        assert isinstance(resolve(variant.recipe or experiment.recipe, table_of(experiment, variant)), Config)
    assert len(experiment.variants) >= 2


def test_variants_differ_and_are_compared_with_one_of_them(experiment: Experiment) -> None:
    labels = [variant.label for variant in experiment.variants]
    assert len({slug(label).lower() for label in labels}) == len(labels), "two would share a run directory"
    tables = [(v.recipe, table_of(experiment, v), v.before) for v in experiment.variants]
    assert all(a != b for i, a in enumerate(tables) for b in tables[:i])
    for variant in experiment.variants:
        assert variant.against in ("", *labels)
        assert variant.against != variant.label


def test_panels_show_what_is_recorded(experiment: Experiment) -> None:
    labels = [measure.label for measure in experiment.measures]
    assert len(set(labels)) == len(labels)
    for panel in experiment.panels:
        if isinstance(panel, Curve):
            assert panel.metric in METRICS
        elif isinstance(panel, Bars):
            assert panel.measure in experiment.measures, "bars are drawn from the table"
        else:
            assert isinstance(panel, PassAtK)
    for measure in experiment.measures:
        if measure.where in ("last", "sum"):
            assert measure.path[0] in METRICS


def test_texts_are_sentences(experiment: Experiment) -> None:
    assert experiment.question.endswith("?")
    for text in (experiment.claim, experiment.figures, experiment.remarks):
        assert text.endswith(".")
    assert experiment.source


def test_the_page_has_a_section_with_question_paper_and_command(experiment: Experiment) -> None:
    found = " ".join(section(experiment.name).split())
    for text in (experiment.question, experiment.claim, experiment.figures, f"simplerl experiment {experiment.name}"):
        assert text in found, f"{experiment.name}: {text}"


def test_the_page_shows_a_table_and_a_plot_or_says_that_it_was_not_run(experiment: Experiment) -> None:
    found = section(experiment.name)
    if "Not run yet." in found:
        assert "|" not in found
        return
    for variant in experiment.variants:
        assert f"| {variant.label} |" in found, variant.label
    assert "seeds" in found
    image = re.search(r"!\[[^]]+\]\((figures/[^)]+\.png)\)", found)
    assert image, "no plot"
    file = ROOT / "docs" / image[1]
    assert file.stat().st_size < 100_000


def test_the_page_has_no_section_of_an_experiment_that_is_gone() -> None:
    commands = set(re.findall(r"simplerl experiment ([\w-]+)", PAGE))
    assert commands == set(EXPERIMENTS)
