"""The critic: values of the right places, a regression that learns, a warm-up, and bounds on what it changes."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support import copy_policy, random_groups, run_small

from simplerl.algorithms import ALGORITHMS
from simplerl.config.sections import LearnerConfig, OptimizerConfig
from simplerl.core.types import Batch
from simplerl.models.load import Policy
from simplerl.models.value_head import ValueModel
from simplerl.train.batch import build_batch
from simplerl.train.learner import Learner


def make_learner(policy: Policy, *, seed: int = 0, **settings) -> Learner:
    return Learner(
        policy,
        ALGORITHMS["ppo"](**{"critic_lr": 1e-3, "kl_reward_coef": 0.0, **settings}),
        optimizer=OptimizerConfig(lr=1e-3, weight_decay=0.0),
        learner=LearnerConfig(tokens_per_microbatch=60),
        precision="fp32",
        temperature=1.0,
        steps=10,
        seed=seed,
    )


@pytest.fixture
def batch() -> Batch:
    return build_batch(random_groups())


def test_value_stands_before_its_token(tiny: Callable[[str], Policy], batch: Batch) -> None:
    """The value at t is the head on the state after t − 1: it cannot have seen the token that it is an estimate for."""
    policy = tiny()
    model = ValueModel(policy.model, seed=0, precision="fp32")
    found_BT = model(batch.tokens_BT, batch.mask_BT, batch.lengths_B)
    hidden_BTH = policy.model.base_model(input_ids=batch.tokens_BT).last_hidden_state
    wanted_BT = torch.zeros(batch.tokens_BT.shape)
    wanted_BT[:, 1:] = model.head(hidden_BTH[:, :-1]).squeeze(-1)
    torch.testing.assert_close(found_BT, wanted_BT * batch.mask_BT, rtol=1e-4, atol=1e-6)
    row = int(batch.mask_BT.sum(1).argmax())
    last = int(batch.lengths_B[row]) - 1
    other = batch.tokens_BT.clone()
    other[row, last] = (other[row, last] + 1) % 64
    torch.testing.assert_close(model(other, batch.mask_BT, batch.lengths_B), found_BT)


def test_head_is_drawn_small_and_by_the_seed(tiny: Callable[[str], Policy]) -> None:
    policy = tiny()
    weights = [ValueModel(policy.model, seed=seed, precision="fp32").head.weight for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert float(weights[0].detach().std()) == pytest.approx(1 / 33, rel=0.4)
    assert ValueModel(policy.model, seed=0, precision="fp32").head.bias is None


def test_critic_is_apart_from_the_policy(tiny: Callable[[str], Policy], batch: Batch) -> None:
    policy = tiny()
    learner = make_learner(policy)
    assert not {id(p) for p in learner.critic.model.parameters()} & {id(p) for p in policy.model.parameters()}
    before = copy.deepcopy(policy.model.state_dict())
    rows, old_BT = torch.arange(len(batch.tokens_BT)), torch.zeros(batch.tokens_BT.shape)
    learner.critic.update(batch, rows, batch.mask_BT, old_BT, old_BT + 1, 0)
    assert all(torch.equal(values, before[name]) for name, values in policy.model.state_dict().items())


def test_critic_learns_the_returns(tiny: Callable[[str], Policy], batch: Batch) -> None:
    learner = make_learner(tiny(), critic_lr=1e-2, value_clip=0.0, lam=1.0)
    explained = [learner.step(batch, 1).metrics["critic/explained_variance"] for _ in range(25)]
    assert explained[0] < 0.3
    assert explained[-1] > 0.8


def test_figures_of_the_critic_are_of_before_the_step(tiny: Callable[[str], Policy], batch: Batch) -> None:
    """With λ = γ = 1 and no KL the return of every token is its response's reward, whatever the critic says."""
    learner = make_learner(tiny(), lam=1.0)
    values_BT = learner.critic.values(batch, batch.mask_BT)
    values_N, returns_N = values_BT[batch.mask_BT], batch.rewards_B[:, None].expand_as(batch.mask_BT)[batch.mask_BT]
    metrics = learner.step(batch, 1).metrics
    assert metrics["critic/value"] == pytest.approx(float(values_N.mean()), rel=1e-4)
    assert metrics["critic/return"] == pytest.approx(float(returns_N.mean()), rel=1e-4)
    assert metrics["critic/return"] != pytest.approx(metrics["critic/value"], abs=0.01)
    left, spread = (returns_N - values_N).var(correction=0), returns_N.var(correction=0)
    assert metrics["critic/explained_variance"] == pytest.approx(float(1 - left / spread), rel=1e-3, abs=1e-4)


def test_policy_does_not_move_while_the_critic_warms_up(tiny: Callable[[str], Policy], batch: Batch) -> None:
    policy = tiny()
    before, wanted = copy.deepcopy(policy.model.state_dict()), copy_policy(policy)
    learner = make_learner(policy, critic_warmup_steps=2)
    for step in (1, 2):
        metrics = learner.step(batch, step).metrics
        assert metrics["optimizer/updates"] == metrics["tokens/useful"] == 0
        assert metrics["critic/loss"] > 0
    assert all(torch.equal(values, before[name]) for name, values in policy.model.state_dict().items())
    assert learner.step(batch, 3).metrics["optimizer/updates"] == 1
    moved = max((v - before[n]).abs().max().item() for n, v in policy.model.state_dict().items())
    assert moved > 1e-4
    first = make_learner(wanted)
    first.step(batch, 3)
    assert any(
        not torch.equal(values, wanted.model.state_dict()[name]) for name, values in policy.model.state_dict().items()
    ), "a critic that has learned gives other advantages"


def test_value_clip_bounds_what_a_step_can_gain(tiny: Callable[[str], Policy], batch: Batch) -> None:
    """Values beyond the clip on the way to the return have no gradient."""
    learner = make_learner(tiny(), value_clip=0.2)
    rows, returns_BT = torch.arange(len(batch.tokens_BT)), torch.full(batch.tokens_BT.shape, 5.0)
    values_BT = learner.critic.values(batch, batch.mask_BT)
    gone_too_far_BT = values_BT - 1.0
    metrics = learner.critic.update(batch, rows, batch.mask_BT, gone_too_far_BT, returns_BT, 0)
    assert metrics["critic/grad_norm"] == pytest.approx(0.0, abs=1e-9)
    metrics = learner.critic.update(batch, rows, batch.mask_BT, values_BT, returns_BT, 0)
    assert metrics["critic/grad_norm"] > 0.1


def test_critic_has_its_own_mini_batches_and_epsilon(tiny: Callable[[str], Policy], batch: Batch) -> None:
    learner = make_learner(tiny(), critic_prompts_per_update=1)
    assert learner.critic.optimizer.param_groups[0]["eps"] == 1e-8
    assert make_learner(tiny(), critic_epsilon=1e-3).critic.optimizer.param_groups[0]["eps"] == 1e-3
    seen: list[set[int]] = []
    real = learner.critic.update
    learner.critic.update = lambda batch, rows, *rest: (
        seen.append(set(batch.group_B[rows].tolist())),
        real(batch, rows, *rest),
    )[1]
    metrics = learner.step(batch, 1).metrics
    assert seen == [{number} for number in range(int(batch.group_B.max()) + 1)], "one problem after the other"
    assert len(seen) > 1
    assert metrics["optimizer/updates"] == 1


def test_checkpoint_holds_the_critic(tmp_path: Path, tiny: Callable[[str], Policy], batch: Batch) -> None:
    policy = tiny()
    learner = make_learner(policy)
    learner.step(batch, 1)
    learner.snapshot({"step": 1}, False)(tmp_path / "c")
    again = make_learner(copy_policy(policy), seed=5)
    assert not torch.equal(again.critic.model.head.weight, learner.critic.model.head.weight)
    again.restore(tmp_path / "c")
    for name, values in learner.critic.model.state_dict().items():
        assert torch.equal(again.critic.model.state_dict()[name], values), name
    metrics = [one.step(batch, 1).metrics for one in (learner, again)]
    assert metrics[0]["critic/loss"] == metrics[1]["critic/loss"]
    assert torch.equal(again.critic.model.head.weight, learner.critic.model.head.weight)


def test_one_sample_per_problem_is_enough(tmp_path: Path) -> None:
    over = {"algorithm": {"name": "ppo"}, "sampling": {"samples_per_prompt": 1, "prompts_per_step": 8}, "steps": 1}
    _, listener = run_small(tmp_path / "run", over)
    assert listener.metrics[1]["tokens/useful"] > 0
    assert listener.metrics[1]["time/critic"] > 0
