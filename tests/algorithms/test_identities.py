"""Algorithms against each other: where two of them must be the same, on random batches and to the last digits."""

import dataclasses
from typing import Any

import pytest
import torch
from support import group, random_groups, trajectory

from simplerl.algorithms import ALGORITHMS, Algorithm
from simplerl.algorithms.base import ClippedAlgorithm
from simplerl.core.types import Batch, CreditInputs, LossInputs
from simplerl.train.batch import build_batch


def make(name: str, **settings: Any) -> Algorithm:
    return ALGORITHMS[name](**{"constant_length": 10, **settings})


@pytest.fixture
def batch() -> Batch:
    return build_batch(random_groups(problems=5, samples=4))


def credit(algorithm: Algorithm, batch: Batch, **more: Any) -> torch.Tensor:
    inputs = {"mask_BT": algorithm.mask(batch), "values_BT": None, "kl_BT": None, "kl_scale": 1.0, "entropy": 0.65}
    return algorithm.advantages(CreditInputs(batch=batch, **{**inputs, **more}))


def gradient(algorithm: Algorithm, batch: Batch, *, spread: float = 0.3, advantages: Any = None) -> torch.Tensor:
    """Return d loss / d logprobs [B, T] at log-ratios drawn with a spread (0: on policy)."""
    generator = torch.Generator().manual_seed(3)
    old_BT = -torch.rand(batch.tokens_BT.shape, generator=generator) * batch.mask_BT
    moved_BT = old_BT + spread * torch.randn(old_BT.shape, generator=generator)
    logprobs_BT = (moved_BT * batch.mask_BT).requires_grad_()
    mean_BT = torch.randn(old_BT.shape, generator=generator)
    mask_BT = algorithm.mask(batch)
    inputs = LossInputs(
        mask_BT=mask_BT,
        logprobs_BT=logprobs_BT,
        old_logprobs_BT=old_BT,
        ref_logprobs_BT=old_BT if algorithm.needs_reference else None,
        entropy_BT=torch.zeros_like(old_BT),
        advantages_BT=credit(algorithm, batch) if advantages is None else advantages,
        weights_BT=algorithm.weights(mask_BT, batch.group_B),
        mean_BT=mask_BT / mask_BT.sum(),
        vocabulary_mean_BT=mean_BT,
        old_vocabulary_mean_BT=mean_BT if spread == 0 else torch.zeros_like(mean_BT),
    )
    (found,) = torch.autograd.grad(algorithm.loss(inputs).loss, logprobs_BT)
    assert found.abs().max() > 1e-4
    return found


def assert_close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-8)


def test_dapo_with_equal_clips_and_no_extras_is_grpo_with_a_token_mean(batch: Batch) -> None:
    dapo, grpo = make("dapo", clip_high=0.2, refill_rounds=0), make("grpo", normaliser="token")
    assert_close(gradient(dapo, batch), gradient(grpo, batch))
    assert not torch.equal(gradient(make("dapo"), batch, spread=0.3), gradient(grpo, batch, spread=0.3))


def test_rloo_is_n_over_n_minus_one_times_dr_grpo(batch: Batch) -> None:
    assert_close(credit(make("rloo"), batch), 4 / 3 * credit(make("dr_grpo"), batch))
    assert_close(gradient(make("rloo"), batch, spread=0), 4 / 3 * gradient(make("dr_grpo"), batch, spread=0))


def test_dr_grpo_divides_by_neither_std_nor_length(batch: Batch) -> None:
    advantages_BT = credit(make("dr_grpo"), batch)
    for g in batch.group_B.unique():
        rows = batch.group_B == g
        centred_B = batch.rewards_B[rows] - batch.rewards_B[rows].mean()
        assert_close(advantages_BT[rows], centred_B[:, None] * batch.mask_BT[rows])
    weights_BT = make("dr_grpo").weights(batch.mask_BT, batch.group_B)
    assert_close(weights_BT, batch.mask_BT / (10.0 * len(batch.tokens_BT)))


def test_rec_one_side_with_ratio_is_the_clip_without_division_by_the_std(batch: Batch) -> None:
    rec, clip = make("rec", weight_mode="ratio"), make("grpo", scale="none")
    assert_close(gradient(rec, batch), gradient(clip, batch))


def test_dppo_without_a_region_is_cispo_and_holds_what_has_moved_too_far(batch: Batch) -> None:
    free = gradient(make("dppo", delta_low=1.0, delta_high=1.0), batch)
    assert_close(free, gradient(make("cispo", ratio_cap=20.0), batch))
    held = gradient(make("dppo", delta_low=0.05, delta_high=0.05), batch)
    changed = held != free
    assert 0 < changed.sum() < (free != 0).sum()
    assert (held[changed] == 0).all(), "all or nothing"


def test_problems_whose_rewards_are_equal_leave_the_mean_too(batch: Batch) -> None:
    equal = batch.group_B == batch.group_B[0]
    rewards_B = torch.where(equal, 1.0, batch.rewards_B)
    batch = dataclasses.replace(batch, rewards_B=rewards_B, included_B=torch.ones_like(batch.included_B))
    kept, excluded = make("cispo", normaliser="prompt"), make("cispo", normaliser="prompt", exclude_equal=True)
    assert not excluded.mask(batch)[equal].any()
    groups = len(batch.group_B.unique())
    assert_close(gradient(excluded, batch), gradient(kept, batch) * groups / (groups - 1))


@pytest.mark.parametrize("mask_mode", ["none", "two-side", "one-side", "ring"])
@pytest.mark.parametrize("weight_mode", ["one", "ratio"])
def test_on_policy_every_rec_is_reinforce(mask_mode: str, weight_mode: str, batch: Batch) -> None:
    rec = make("rec", mask_mode=mask_mode, weight_mode=weight_mode)
    assert_close(gradient(rec, batch, spread=0), gradient(make("grpo", scale="none"), batch, spread=0))


def test_rec_regularisers_add_their_gradient(batch: Batch) -> None:
    plain = gradient(make("rec"), batch)
    weights_BT = make("rec").weights(batch.mask_BT, batch.group_B)
    assert_close(gradient(make("rec", regulariser="forward-kl", tau=0.3), batch), plain - 0.3 * weights_BT)
    added = gradient(make("rec", regulariser="k2", tau=0.3), batch) - plain
    generator = torch.Generator().manual_seed(3)
    torch.rand(batch.tokens_BT.shape, generator=generator)
    gap_BT = 0.3 * torch.randn(batch.tokens_BT.shape, generator=generator)
    torch.testing.assert_close(added, 0.3 * weights_BT * 2 * gap_BT, rtol=1e-3, atol=1e-6)


def test_asymre_without_shift_is_reinforce_and_the_shift_is_added_to_all(batch: Batch) -> None:
    free = make("rec", mask_mode="none")
    assert_close(gradient(make("asymre", baseline_shift=0.0), batch), gradient(free, batch))
    shifted = credit(make("asymre", baseline_shift=-0.1), batch) - credit(make("asymre", baseline_shift=0.0), batch)
    torch.testing.assert_close(shifted, 0.1 * batch.mask_BT)


def test_opmd_is_reinforce_damped_by_tau(batch: Batch) -> None:
    free = gradient(make("rec", mask_mode="none"), batch)
    assert_close(gradient(make("opmd", tau=1.0), batch), free / 2)
    assert_close(gradient(make("opmd", tau=1e-9), batch), free)


def test_opmd_baseline_goes_from_the_best_to_the_mean(batch: Batch) -> None:
    mean = credit(make("opmd"), batch)
    torch.testing.assert_close(credit(make("opmd", baseline="soft-maximum", tau=1e4), batch), mean, rtol=0, atol=1e-4)
    best = credit(make("opmd", baseline="soft-maximum", tau=1e-4), batch)
    assert best.max() < 1e-3, "no reward is above the best one"
    assert best.min() == pytest.approx(-1, abs=1e-3)


def test_cispo_without_a_cap_is_the_unclipped_surrogate(batch: Batch) -> None:
    assert_close(gradient(make("cispo", ratio_cap=1e9), batch), gradient(make("grpo", clip_low=9, clip_high=9), batch))


def test_cispo_at_cap_one_never_pushes_harder_than_on_policy(batch: Batch) -> None:
    held = gradient(make("cispo", ratio_cap=1.0), batch).abs()
    assert (held <= gradient(make("cispo"), batch, spread=0).abs() + 1e-7).all()
    assert ((held > 0) == batch.mask_BT & (credit(make("cispo"), batch) != 0)).all(), "no token loses its gradient"


def test_gspo_of_one_token_is_grpo_with_a_sequence_mean() -> None:
    batch = build_batch(random_groups(longest=1))
    gspo, grpo = make("gspo", clip_low=0.2, clip_high=0.2), make("grpo", normaliser="sequence")
    assert_close(gradient(gspo, batch), gradient(grpo, batch))


def test_gspo_treats_the_tokens_of_a_response_alike(batch: Batch) -> None:
    found = gradient(make("gspo", clip_low=9, clip_high=9), batch)
    for row, mask in zip(found, batch.mask_BT, strict=True):
        assert_close(row[mask], row[mask].mean().expand(int(mask.sum())))


def test_lite_ppo_and_grpo_agree_where_all_groups_have_one_spread(batch: Batch) -> None:
    """With a single group the std of the batch is the biased std of the group."""
    one = build_batch(random_groups(problems=1, samples=8))
    torch.testing.assert_close(
        credit(make("lite_ppo"), one), credit(make("grpo"), one) * (8 / 7) ** 0.5, rtol=1e-4, atol=1e-5
    )


def test_reinforce_pp_without_kl_whitens_the_reward(batch: Batch) -> None:
    found = credit(make("reinforce_pp"), batch)
    values = (batch.rewards_B[:, None] * batch.mask_BT)[batch.mask_BT]
    wanted = (values - values.mean()) / values.std(correction=0)
    torch.testing.assert_close(found[batch.mask_BT], wanted)


def test_reinforce_pp_takes_the_kl_still_to_come_off_the_return() -> None:
    algorithm = make("reinforce_pp", kl_reward_coef=0.5)
    batch = build_batch(random_groups(problems=3, samples=2))
    kl_BT = torch.rand(batch.tokens_BT.shape)
    returns = []
    for row in range(len(batch.tokens_BT)):
        own = kl_BT[row][batch.mask_BT[row]]
        returns.append(batch.rewards_B[row] - 0.5 * 2.0 * own.flip(0).cumsum(0).flip(0))
    returns = torch.cat(returns)
    wanted = (returns - returns.mean()) / returns.std(correction=0)
    found = credit(algorithm, batch, kl_BT=kl_BT, kl_scale=2.0)
    torch.testing.assert_close(found[batch.mask_BT], wanted, rtol=1e-4, atol=1e-5)


def test_reinforce_pp_baseline_whitens_what_is_left_of_the_reward(batch: Batch) -> None:
    values = credit(make("dr_grpo"), batch)[batch.mask_BT]
    wanted = (values - values.mean()) / values.std(correction=0)
    torch.testing.assert_close(credit(make("reinforce_pp_baseline"), batch)[batch.mask_BT], wanted)


def test_rover_on_policy_is_twice_reinforce(batch: Batch) -> None:
    wanted = 2 * gradient(make("grpo", scale="none"), batch, spread=0)
    assert_close(gradient(make("rover"), batch, spread=0), wanted)
    assert_close(gradient(make("rover", value_scale=0.5), batch, spread=0), wanted / 2)


def test_ppo_with_lambda_one_and_a_critic_that_knows_nothing_is_reinforce_pp(batch: Batch) -> None:
    kl_BT, zero_BT = torch.rand(batch.tokens_BT.shape), torch.zeros(batch.tokens_BT.shape)
    ppo, reinforce = make("ppo", lam=1.0, kl_reward_coef=0.2), make("reinforce_pp", kl_reward_coef=0.2)
    wanted = credit(reinforce, batch, kl_BT=kl_BT)
    assert_close(credit(ppo, batch, kl_BT=kl_BT, values_BT=zero_BT), wanted)
    assert_close(gradient(ppo, batch, advantages=wanted), gradient(reinforce, batch, advantages=wanted))


def test_ppo_with_a_perfect_critic_has_nothing_to_say(batch: Batch) -> None:
    """Where every value is the reward to come, all advantages are 0 and the returns are the values."""
    ppo = make("ppo", kl_reward_coef=0.0)
    values_BT = batch.rewards_B[:, None] * batch.mask_BT
    assert not credit(ppo, batch, values_BT=values_BT).any()
    inputs = CreditInputs(batch=batch, mask_BT=batch.mask_BT, values_BT=values_BT, kl_BT=None, kl_scale=1.0)
    assert_close(ppo.returns(inputs), values_BT)


def test_ppo_clips_the_reward(batch: Batch) -> None:
    huge = dataclasses.replace(batch, rewards_B=batch.rewards_B * 1000)
    ten = dataclasses.replace(batch, rewards_B=batch.rewards_B * 10)
    ppo = make("ppo", kl_reward_coef=0.0)
    inputs, limit = (
        CreditInputs(batch=b, mask_BT=b.mask_BT, values_BT=torch.zeros(b.tokens_BT.shape), kl_BT=None, kl_scale=1.0)
        for b in (huge, ten)
    )
    assert torch.equal(ppo.returns(inputs), ppo.returns(limit))


def of_one_problem(*rewards: float) -> Batch:
    return build_batch([group(*(trajectory(reward=r) for r in rewards))])


def credit_by_response(algorithm: Algorithm, batch: Batch, **more: Any) -> list[float]:
    return [float(row[mask][0]) for row, mask in zip(credit(algorithm, batch, **more), batch.mask_BT, strict=True)]


def test_maxrl_literals() -> None:
    """n 4, c 1: +3, −1, −1, −1 (arXiv 2602.02710). Nothing right, or rewards that cancel out, give no credit."""
    assert credit_by_response(make("maxrl"), of_one_problem(1, 0, 0, 0)) == [3, -1, -1, -1]
    assert credit_by_response(make("maxrl"), of_one_problem(1, 1, 1, 1)) == [0] * 4
    assert credit_by_response(make("maxrl"), of_one_problem(0, 0, 0, 0)) == [0] * 4
    assert credit_by_response(make("maxrl"), of_one_problem(1, -1, -1, -1)) == [0] * 4


def test_pass_at_k_literals() -> None:
    """n 4, c 1, k 2: ρ = σ = .5, A⁺ = 1, A⁻ = (.5 − 2/3)/.5 (arXiv 2508.10751)."""
    found = credit_by_response(make("pass_at_k", k=2), of_one_problem(1, 0, 0, 0))
    assert found == pytest.approx([1, -1 / 3, -1 / 3, -1 / 3], abs=1e-5)
    assert credit_by_response(make("pass_at_k", k=2), of_one_problem(1, 1, 1, 0)) == [0] * 4, "every pair is solved"
    assert credit_by_response(make("pass_at_k", k=2), of_one_problem(0, 0, 0, 0)) == [0] * 4


def test_pass_at_one_is_grpo_with_the_biased_std() -> None:
    batch = of_one_problem(1, 0, 0, 0, 1, 0)
    grpo = credit_by_response(make("grpo"), batch)
    found = credit_by_response(make("pass_at_k", k=1), batch)
    assert found == pytest.approx([c * (6 / 5) ** 0.5 for c in grpo], rel=1e-4)


def test_entrocraft_reinforces_above_its_bounds_and_suppresses_below_them() -> None:
    """Bounds .6 → .4 and .7 → .5 over the run (arXiv 2604.26326)."""
    batch, algorithm = of_one_problem(1, 0, 0, 1), make("entrocraft", bound_steps=11)
    assert algorithm.bounds(1) == (0.6, 0.7)
    assert algorithm.bounds(6) == pytest.approx((0.5, 0.6))
    assert algorithm.bounds(11) == algorithm.bounds(99) == (0.4, 0.5)
    assert credit_by_response(algorithm, batch, entropy=0.71) == [1, 0, 0, 1]
    assert credit_by_response(algorithm, batch, entropy=0.59) == [0, -1, -1, 0]
    assert credit_by_response(algorithm, batch, entropy=0.65) == credit_by_response(make("grpo"), batch)
    assert credit_by_response(algorithm, batch, entropy=0.65, step=11) == [1, 0, 0, 1], "the bounds have moved"


def test_entropic_weighs_by_what_it_has_missed_and_misses() -> None:
    """α = I + (H − H*), I ← I + .01 (H − H*), H* = .5 (arXiv 2511.15248)."""
    batch, algorithm = of_one_problem(1, 0, 0, 1), make("entropic")
    up, down, *_ = credit_by_response(make("grpo"), batch)
    found = credit_by_response(algorithm, batch, entropy=0.7, state={"integral": 0.1})
    assert found == pytest.approx([up * 1.3, down * 0.7, down * 0.7, up * 1.3])
    assert credit_by_response(algorithm, batch, entropy=9.0) == pytest.approx([2 * up, 0, 0, 2 * up]), "never a sign"
    inputs = CreditInputs(batch=batch, mask_BT=batch.mask_BT, values_BT=None, kl_BT=None, kl_scale=1.0, entropy=0.7)
    assert algorithm.carried(inputs)["integral"] == pytest.approx(0.002)
    later = dataclasses.replace(inputs, state={"integral": 0.1})
    assert algorithm.carried(later)["integral"] == pytest.approx(0.102)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_no_algorithm_builds_on_another(name: str) -> None:
    assert ALGORITHMS[name].__bases__ in ((Algorithm,), (ClippedAlgorithm,))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_nothing_decided_gives_no_credit_and_no_nan(name: str, batch: Batch) -> None:
    undecided = dataclasses.replace(
        batch,
        included_B=torch.zeros_like(batch.included_B),
        rewards_B=torch.full_like(batch.rewards_B, torch.nan),
    )
    values_BT = torch.ones(batch.tokens_BT.shape) if ALGORITHMS[name].needs_critic else None
    found = credit(make(name), undecided, values_BT=values_BT)
    assert torch.equal(found * make(name).mask(undecided), torch.zeros_like(found))


#: What the papers say, or the reference implementation where they are silent: a default is a claim.
DEFAULTS = {
    "grpo": {"clip_low": 0.2, "clip_high": 0.2, "scale": "group", "normaliser": "token", "kl_coef": 0.0},
    "dr_grpo": {"clip_low": 0.2, "clip_high": 0.2, "normaliser": "constant"},
    "rloo": {"normaliser": "constant"},
    "reinforce_pp": {"clip_low": 0.2, "clip_high": 0.2, "kl_reward_coef": 0.01, "kl_estimator": "k1", "gamma": 1.0},
    "reinforce_pp_baseline": {"clip_low": 0.2, "clip_high": 0.2, "kl_coef": 1e-5, "kl_estimator": "k2"},
    "dapo": {"clip_low": 0.2, "clip_high": 0.28, "normaliser": "token", "kl_coef": 0.0, "refill_rounds": 3},
    "lite_ppo": {"clip_low": 0.2, "clip_high": 0.2, "normaliser": "token", "kl_coef": 0.0},
    "gspo": {"clip_low": 3e-4, "clip_high": 4e-4, "normaliser": "sequence"},
    "cispo": {"ratio_cap": 5.0, "scale": "group", "normaliser": "token"},
    "dppo": {"delta_low": 0.2, "delta_high": 0.2, "ratio_cap": 20.0},
    "rec": {
        "mask_mode": "one-side",
        "weight_mode": "one",
        "clip_low": 0.2,
        "clip_high": 0.2,
        "ring_low": 0.6,
        "ring_high": 2.0,
        "regulariser": "k2",
        "tau": 0.0,
    },
    "asymre": {"baseline_shift": -0.1},
    "opmd": {"tau": 1.0, "baseline": "mean"},
    "rover": {"value_scale": 1.0, "kl_coef": 0.0},
    "maxrl": {"clip_low": 0.2, "clip_high": 0.2, "normaliser": "token"},
    "pass_at_k": {"k": 2, "clip_low": 0.2, "clip_high": 0.2},
    "entrocraft": {"lower_start": 0.6, "lower_end": 0.4, "upper_start": 0.7, "upper_end": 0.5, "kl_coef": 1e-3},
    "distill": {"kl_coef": 1.0, "kl_estimator": "k2", "teacher_temperature": 1.0, "rl_coef": 0.0},
    "entropic": {"entropy_target": 0.5, "integral_rate": 0.01},
    "ppo": {
        "clip_low": 0.2,
        "clip_high": 0.2,
        "gamma": 1.0,
        "lam": 0.95,
        "kl_reward_coef": 0.01,
        "kl_estimator": "k1",
        "reward_clip": 10.0,
        "value_clip": 0.2,
        "critic_lr": 9e-6,
        "critic_warmup_steps": 0,
        "kl_target": 0.0,
    },
}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_defaults_are_those_of_the_papers(name: str) -> None:
    algorithm = ALGORITHMS[name]()
    assert {key: getattr(algorithm, key) for key in DEFAULTS[name]} == DEFAULTS[name]
    assert (algorithm.correction, algorithm.correction_high, algorithm.entropy_coef) == ("none", 2.0, 0.0)
    assert algorithm.needs_critic == (name == "ppo")
    assert algorithm.needs_group == (name not in ("ppo", "reinforce_pp", "distill"))
    assert ALGORITHMS["distill"](rl_coef=0.1).needs_group


@pytest.mark.parametrize("name", ALGORITHMS)
def test_tokens_left_out_have_no_advantage(name: str, batch: Batch) -> None:
    """What is recorded is what was trained on: truncated responses that are left out show none."""
    assert batch.truncated_B.any()
    algorithm = make(name, mask_truncated=True)
    values_BT = torch.ones(batch.tokens_BT.shape) if algorithm.needs_critic else None
    found = credit(algorithm, batch, values_BT=values_BT)
    assert not found[~algorithm.mask(batch)].any()
    assert found.any()
