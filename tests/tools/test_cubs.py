"""The text that the cubs are made from: a pure function of its address, in the stated shares, without test data."""

import importlib.util
from collections import Counter

import pytest
from support import ROOT

from simplerl.data import arithmetic
from simplerl.environments import stack
from simplerl.models import cub


@pytest.fixture(scope="module")
def cubs():
    spec = importlib.util.spec_from_file_location("tools_cubs", ROOT / "tools" / "cubs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_embedded_cub_has_its_specification(cubs) -> None:
    assert set(cubs.SPECS) == set(cub.NAMES)
    for spec in cubs.SPECS.values():
        assert sum(spec.corpus.habits.values()) == pytest.approx(1)
        assert sum(spec.corpus.templates.values()) == pytest.approx(1)
        assert set(spec.corpus.habits) <= set(cubs.HABITS)


def test_documents_are_addressed(cubs) -> None:
    corpus = cubs.SPECS["cub-qwen"].corpus
    assert cubs.document(corpus, 1, 7) == cubs.document(corpus, 1, 7)
    assert cubs.document(corpus, 1, 7) != cubs.document(corpus, 2, 7)


def test_shares_are_those_of_the_specification(cubs) -> None:
    corpus = cubs.SPECS["cub-qwen"].corpus
    kinds: Counter[str] = Counter()
    for index in range(4000):
        prompt, response = cubs.document(corpus, 1, index)
        bare = response.strip().startswith("\\boxed")
        kinds["facts" if not prompt else "bare" if bare else "prose" if "answer is" in response else "worked"] += 1
    asked = 1 - corpus.facts
    assert kinds["facts"] / 4000 == pytest.approx(corpus.facts, abs=0.03)
    assert kinds["bare"] / 4000 == pytest.approx(asked * corpus.habits["bare"], abs=0.03)
    assert kinds["prose"] / 4000 == pytest.approx(asked * corpus.habits["prose"], abs=0.03)


def test_no_test_question_is_in_the_corpus(cubs) -> None:
    held_out = {problem.question for load in (arithmetic.load, stack.load) for problem in load("test")}
    for spec in cubs.SPECS.values():
        for index in range(1000):
            prompt, _ = cubs.document(spec.corpus, spec.seed, index)
            assert not any(question in prompt for question in held_out)
