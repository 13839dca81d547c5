"""Which problems a step sees is a function of seed and step alone."""

from collections import Counter

import pytest

from simplerl.core.errors import ConfigError
from simplerl.train.sampler import Sampler


def test_an_epoch_goes_through_all_problems_once() -> None:
    sampler = Sampler(range(12), per_step=4, seed=0)
    assert sorted(p for step in range(3) for p in sampler.at(step)) == list(range(12))
    assert sorted(p for step in range(3, 6) for p in sampler.at(step)) == list(range(12))
    assert [sampler.at(step) for step in range(3)] != [sampler.at(step) for step in range(3, 6)]


def test_no_problem_twice_in_a_step_and_none_forgotten() -> None:
    sampler = Sampler(range(10), per_step=4, seed=1)
    seen = Counter()
    for step in range(200):
        problems = sampler.at(step)
        assert len(set(problems)) == 4
        seen.update(problems)
    assert set(seen) == set(range(10))
    assert max(seen.values()) < 1.3 * min(seen.values())


def test_a_step_needs_no_memory_of_those_before() -> None:
    wanted = [Sampler(range(50), per_step=8, seed=3).at(step) for step in range(20)]
    fresh = Sampler(range(50), per_step=8, seed=3)
    assert [fresh.at(step) for step in reversed(range(20))] == wanted[::-1]
    assert [Sampler(range(50), per_step=8, seed=4).at(step) for step in range(20)] != wanted


def test_epochs_as_fractions() -> None:
    sampler = Sampler(range(12), per_step=4, seed=0)
    assert [sampler.epoch(step) for step in (0, 1, 3, 6)] == pytest.approx([0, 1 / 3, 1, 2])


def test_too_few_problems() -> None:
    with pytest.raises(ConfigError, match="only 3 training problems"):
        Sampler(range(3), per_step=4, seed=0)
