"""The learner against a plain implementation of SimpleRL-Zoo's update: whole logits, no micro-batches, no chunks."""

import copy
import dataclasses
from collections.abc import Callable

import pytest
import torch
from support import copy_policy, full_scores, group, joined, random_groups, trajectory

from simplerl.algorithms import ALGORITHMS
from simplerl.config.sections import LearnerConfig, OptimizerConfig
from simplerl.core.types import Batch
from simplerl.models.load import Policy
from simplerl.train.batch import build_batch, minibatches
from simplerl.train.learner import Learner

TEMPERATURE, CLIP, KL, ENTROPY = 0.8, 0.02, 0.3, 0.02
#: With ε as large as this, AdamW moves in proportion to the gradient, so that its weights can be compared closely.
OPTIMIZER = OptimizerConfig(lr=0.5, epsilon=1.0, grad_clip=0.05, weight_decay=0.01)


def plain_step(model, reference, batch: Batch, prompts_per_update: int) -> dict[str, float]:
    """Do a step the way the paper writes it; return the metrics as means over the updates."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=OPTIMIZER.lr, betas=(0.9, 0.999), eps=OPTIMIZER.epsilon, weight_decay=0.01
    )
    advantages_B = torch.zeros(len(batch.rewards_B))
    for g in batch.group_B.unique():
        members = batch.group_B == g
        rewards = batch.rewards_B[members]
        advantages_B[members] = (rewards - rewards.mean()) / (rewards.std() + 1e-6)
    with torch.no_grad():
        old_BT, _ = full_scores(model, batch.tokens_BT, batch.mask_BT, TEMPERATURE)
        ref_BT, _ = full_scores(reference, batch.tokens_BT, batch.mask_BT, TEMPERATURE)
    found: list[dict[str, float]] = []
    for start in range(0, int(batch.group_B.max()) + 1, prompts_per_update):
        rows = (batch.group_B >= start) & (batch.group_B < start + prompts_per_update)
        mask_BT = batch.mask_BT[rows]
        logprobs_BT, entropy_BT = full_scores(model, batch.tokens_BT[rows], mask_BT, TEMPERATURE)
        ratio_BT = (logprobs_BT - old_BT[rows]).exp()
        gain_BT = advantages_B[rows, None] * ratio_BT
        held_BT = advantages_B[rows, None] * ratio_BT.clamp(1 - CLIP, 1 + CLIP)
        d_BT = ref_BT[rows] - logprobs_BT
        kl_BT = (d_BT.exp() - d_BT - 1).clamp(-10, 10)
        loss = (-torch.minimum(gain_BT, held_BT) - ENTROPY * entropy_BT + KL * kl_BT)[mask_BT].mean()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), OPTIMIZER.grad_clip)
        optimizer.step()
        optimizer.zero_grad()
        found.append(
            {
                "policy/loss": float(loss.detach()),
                "policy/kl": float(kl_BT[mask_BT].detach().mean()),
                "policy/entropy": float(entropy_BT[mask_BT].detach().mean()),
                "policy/ratio": float(ratio_BT[mask_BT].detach().mean()),
                "policy/clip_fraction": float((gain_BT > held_BT)[mask_BT].float().mean()),
                "optimizer/grad_norm": float(norm),
            }
        )
    return {name: sum(metrics[name] for metrics in found) / len(found) for name in found[0]}


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2"])
def test_simplerl_zoo_step_against_a_plain_implementation(architecture: str, tiny: Callable[[str], Policy]) -> None:
    policy = tiny(architecture)
    plain, reference = copy.deepcopy(policy.model), copy.deepcopy(policy.model)
    with torch.no_grad():
        for values in reference.parameters():
            values.add_(0.05 * torch.randn_like(values))
    batch = build_batch(random_groups(problems=6, samples=5))
    learner = Learner(
        policy,
        ALGORITHMS["grpo"](clip_low=CLIP, clip_high=CLIP, kl_coef=KL, entropy_coef=ENTROPY),
        optimizer=OPTIMIZER,
        learner=LearnerConfig(tokens_per_microbatch=60, prompts_per_update=2),
        precision="fp32",
        temperature=TEMPERATURE,
        steps=10,
        reference=copy.deepcopy(reference),
    )
    start = copy.deepcopy(policy.model.state_dict())
    metrics = learner.step(batch, 1).metrics
    wanted = plain_step(plain, reference, batch, prompts_per_update=2)
    assert wanted["policy/kl"] > 1e-3
    assert wanted["policy/clip_fraction"] > 0.01, "no clip to compare"
    assert {name: metrics[name] for name in wanted} == pytest.approx(wanted, rel=2e-4, abs=1e-6)
    for name, values in plain.state_dict().items():
        moved = (values - start[name]).abs().max()
        torch.testing.assert_close(policy.model.state_dict()[name], values, rtol=0, atol=1e-6 + 1e-3 * float(moved))


def make_learner(policy: Policy, **options) -> Learner:
    algorithm = ALGORITHMS["grpo"](**options.pop("algorithm", {}))
    return Learner(
        policy,
        algorithm,
        optimizer=OptimizerConfig(**{"lr": 1e-3, **options.pop("optimizer", {})}),
        learner=LearnerConfig(**options),
        precision="fp32",
        temperature=1.0,
        steps=10,
    )


def test_right_answers_become_likelier_and_wrong_ones_less_likely(tiny: Callable[[str], Policy]) -> None:
    policy = tiny()
    batch = build_batch([group(trajectory(response=[9, 8, 0], reward=1.0), trajectory(response=[4, 3, 0], reward=0.0))])

    def likelihood() -> torch.Tensor:
        with torch.no_grad():
            return full_scores(policy.model, batch.tokens_BT, batch.mask_BT)[0].sum(1)

    before = likelihood()
    make_learner(policy).step(batch, 1)
    right, wrong = (likelihood() - before).tolist()
    assert right > 0 > wrong


def test_tokens_outside_the_loss_mask_are_not_trained_on(tiny: Callable[[str], Policy]) -> None:
    """A token that the policy did not choose adds nothing, though what follows is conditioned on it."""
    policy = tiny()
    kept = group(
        trajectory(response=[9, 8, 7, 0], mask=[True, False, False, True], reward=1.0),
        trajectory(response=[4, 3, 2, 0], mask=[True, False, True, True], reward=0.0),
    )
    batch = build_batch([kept])
    learner = make_learner(policy, optimizer={"grad_clip": 1e9})
    gradient = {}
    real = learner.optimizer.step
    learner.optimizer.step = lambda: (
        gradient.update({n: p.grad.clone() for n, p in policy.model.named_parameters()}),
        real(),
    )
    plain = copy_policy(policy).model
    metrics = learner.step(batch, 1).metrics
    assert metrics["tokens/useful"] == metrics["tokens/scored"] == 5
    logprobs_BT, _ = full_scores(plain, batch.tokens_BT, torch.ones_like(batch.mask_BT))
    advantages_B = torch.tensor([1.0, -1.0]) * 0.5 / (0.5**0.5 + 1e-6)
    places = [(0, 3), (0, 6), (1, 3), (1, 5), (1, 6)]
    loss = -sum(advantages_B[row] * logprobs_BT[row, column] for row, column in places) / len(places)
    loss.backward()
    for name, values in plain.named_parameters():
        torch.testing.assert_close(gradient[name], values.grad, rtol=1e-4, atol=1e-6)


def test_on_policy_update_has_ratio_one_and_no_second_pass(tiny: Callable[[str], Policy]) -> None:
    policy = tiny()
    learner = make_learner(policy)
    calls = []
    policy.model.base_model.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    metrics = learner.step(build_batch(random_groups()), 1).metrics
    assert metrics["policy/ratio"] == pytest.approx(1.0, abs=1e-6)
    assert metrics["policy/clip_fraction"] == 0.0
    assert calls
    assert all(calls), "log-probabilities were computed again without gradient"


def test_reference_only_where_the_loss_has_a_kl_term(tiny: Callable[[str], Policy]) -> None:
    assert make_learner(tiny()).reference is None
    learner = make_learner(tiny(), algorithm={"kl_coef": 0.1})
    batch = build_batch(random_groups())
    first = learner.step(batch, 1).metrics["policy/kl"]
    second = learner.step(batch, 1).metrics["policy/kl"]
    assert first == pytest.approx(0.0, abs=1e-6)
    assert second > 1e-6


def test_mismatch_measures_the_distance_between_sampler_and_trainer(tiny: Callable[[str], Policy]) -> None:
    policy = tiny()
    groups = random_groups()
    batch = build_batch(groups)
    with torch.no_grad():
        exact_BT, _ = full_scores(policy.model, batch.tokens_BT, batch.mask_BT)

    def mismatch(shift: float) -> float:
        shifted = dataclasses.replace(batch, sampler_logprobs_BT=(exact_BT + shift) * batch.mask_BT)
        return make_learner(copy_policy(policy)).step(shifted, 1).metrics["policy/mismatch_kl"]

    assert mismatch(0.0) == pytest.approx(0.0, abs=1e-6)
    # k3 with d = log trainer − log sampler = −0.5: e^−0.5 + 0.5 − 1.
    assert mismatch(0.5) == pytest.approx(0.1065306597, rel=1e-3)


def test_mismatch_is_measured_where_nothing_moves(tiny: Callable[[str], Policy]) -> None:
    """Neither a step without any advantage nor the critic's warm-up hides a sampler that is not the trainer."""
    policy = tiny()
    flat = build_batch([group(*[trajectory(response=[9, 8, 7], reward=1.0)] * 3)])
    with torch.no_grad():
        exact_BT, _ = full_scores(policy.model, flat.tokens_BT, flat.mask_BT)
    flat = dataclasses.replace(flat, sampler_logprobs_BT=(exact_BT + 0.5) * flat.mask_BT)
    metrics = make_learner(policy).step(flat, 1).metrics
    assert metrics["optimizer/updates"] == 0
    assert metrics["policy/mismatch_kl"] == pytest.approx(0.1065306597, rel=1e-3)
    warming = Learner(
        policy,
        ALGORITHMS["ppo"](critic_warmup_steps=1, kl_reward_coef=0.0),
        optimizer=OptimizerConfig(),
        learner=LearnerConfig(),
        precision="fp32",
        temperature=1.0,
        steps=10,
    )
    assert warming.step(flat, 1).metrics["policy/mismatch_kl"] == pytest.approx(0.1065306597, rel=1e-3)


def test_what_cannot_be_divided_is_cut_evenly() -> None:
    """Dynamic sampling may leave 5 problems for updates of 4: not 4 and 1, because every update moves alike far."""
    for problems, wanted in ((5, [2, 3]), (8, [4, 4]), (3, [3]), (9, [3, 3, 3])):
        batch = build_batch(random_groups(problems=problems, samples=2))
        updates = minibatches(batch.group_B, 4)
        assert [len(batch.group_B[rows].unique()) for rows in updates] == wanted
        assert torch.cat(updates).tolist() == list(range(2 * problems))


def test_rows_of_another_term_make_no_updates_of_their_own() -> None:
    batch = joined(
        [build_batch(random_groups(problems=4, samples=2)), build_batch(random_groups(problems=5, samples=1))]
    )
    component_B = torch.tensor([0] * 8 + [1] * 5)
    updates = minibatches(batch.group_B, 2, component_B)
    assert [rows.tolist() for rows in updates] == [[0, 1, 2, 3, 8, 10, 12], [4, 5, 6, 7, 9, 11]]
    assert len(minibatches(batch.group_B[8:], 2, component_B[8:])) == 3, "where there are no others they are cut"


def test_gradient_norm_is_clipped(tiny: Callable[[str], Policy]) -> None:
    """With a huge ε the step is proportional to the clipped gradient: a tenth of the norm, a tenth of the way."""
    batch = build_batch(random_groups())

    def moved(clip: float) -> tuple[float, float]:
        policy = tiny()
        before = copy.deepcopy(policy.model.state_dict())
        options = {"grad_clip": clip, "epsilon": 1e4, "lr": 1e3, "weight_decay": 0.0}
        norm = make_learner(policy, optimizer=options).step(batch, 1).metrics["optimizer/grad_norm"]
        after = policy.model.state_dict()
        return norm, sum(float((after[n] - v).double().square().sum()) for n, v in before.items()) ** 0.5

    norm, free = moved(1e9)
    again, held = moved(norm / 10)
    assert again == pytest.approx(norm)
    assert held == pytest.approx(free / 10, rel=1e-2)


def test_update_without_gradient_leaves_weights_and_moments_alone(tiny: Callable[[str], Policy]) -> None:
    """Weight decay and momentum do not act where there was nothing to learn."""
    policy = tiny()
    learner = make_learner(policy, optimizer={"weight_decay": 0.5})
    learner.step(build_batch(random_groups()), 1)
    before = copy.deepcopy(policy.model.state_dict())
    flat = build_batch([group(*[trajectory(reward=1.0)] * 4)])
    assert learner.step(flat, 1).metrics["optimizer/updates"] == 0
    assert all(torch.equal(values, before[name]) for name, values in policy.model.state_dict().items())
