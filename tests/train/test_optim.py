"""Learning rates by hand."""

import pytest

from simplerl.config.sections import OptimizerConfig
from simplerl.train.optim import learning_rate


def rates(steps: list[float], total: int = 10, **options: object) -> list[float]:
    config = OptimizerConfig(lr=2.0, **options)
    return [learning_rate(config, step, total) for step in steps]


def test_constant() -> None:
    assert rates([0, 4, 9, 100]) == [2.0] * 4


def test_warm_up_reaches_the_peak() -> None:
    assert rates([0, 1, 2, 3, 4, 5], warmup_steps=4) == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0, 2.0])


def test_updates_within_a_step_go_on_warming_up() -> None:
    assert rates([0, 0.5, 1.0, 1.5], warmup_steps=2) == pytest.approx([1.0, 1.5, 2.0, 2.0])


def test_linear_reaches_nothing_at_the_end() -> None:
    assert rates([0, 5, 9, 10, 12], schedule="linear") == pytest.approx([2.0, 1.0, 0.2, 0.0, 0.0])
    assert rates([2, 6, 10], schedule="linear", warmup_steps=2) == pytest.approx([2.0, 1.0, 0.0])


def test_cosine_ends_at_its_floor() -> None:
    # 2 · (0.1 + 0.9 · (1 + cos πs) / 2)
    found = rates([0, 2.5, 5, 10, 15], schedule="cosine")
    assert found == pytest.approx([2.0, 2 * (0.1 + 0.45 * (1 + 0.5**0.5)), 1.1, 0.2, 0.2])
    assert rates([10], schedule="cosine", min_lr_ratio=0.0) == pytest.approx([0.0])


def test_the_learner_follows_it(tiny) -> None:
    from support import random_groups

    from simplerl.algorithms import ALGORITHMS
    from simplerl.config.sections import LearnerConfig
    from simplerl.train.batch import build_batch
    from simplerl.train.learner import Learner

    learner = Learner(
        tiny(),
        ALGORITHMS["grpo"](),
        optimizer=OptimizerConfig(lr=1e-3, schedule="linear", warmup_steps=1),
        learner=LearnerConfig(prompts_per_update=2),
        precision="fp32",
        temperature=1.0,
        steps=5,
    )
    batch = build_batch(random_groups(problems=4))
    found = [learner.step(batch, step).metrics["optimizer/lr"] for step in (1, 2, 3)]
    # Each step does two updates; the metric is the second's, half a step on.
    assert found == pytest.approx([1e-3, 1e-3 * (1 - 0.5 / 4), 1e-3 * (1 - 1.5 / 4)])
