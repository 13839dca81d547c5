"""The first update after sampling is on-policy at any temperature, and what was sampled is what is trained on."""

import functools
from collections.abc import Callable

import pytest
import torch
from support import CORRECT, WRONG

from simplerl.algorithms import ALGORITHMS
from simplerl.config.sections import LearnerConfig, OptimizerConfig
from simplerl.core.seeds import derive
from simplerl.core.types import Batch, LossInputs, LossOutput, Segment, Trajectory, TrajectoryGroup
from simplerl.data import load
from simplerl.data.prompts import TEMPLATES
from simplerl.models.load import Policy
from simplerl.rollout import open_backend
from simplerl.rollout.backend import Request, Sampling
from simplerl.rollout.groups import prompt
from simplerl.train.batch import build_batch
from simplerl.train.learner import Learner


def sampled(policy: Policy, *, temperature: float, max_new_tokens: int = 30) -> Batch:
    """Return a batch of four problems × three samples by the native backend, every third one right."""
    prompts = prompt(load("arithmetic", "train", size=4), TEMPLATES["plain"], policy)
    requests = [
        Request(prompt_ids=item.prompt_ids, noise_key=derive(0, "test", item.problem.id, g))
        for item in prompts
        for g in range(3)
    ]
    sampling = Sampling(temperature=temperature, max_new_tokens=max_new_tokens)
    answers = dict(open_backend("native", policy, max_rows=64).generate(requests, sampling))
    groups = []
    for p, item in enumerate(prompts):
        members = []
        for g in range(3):
            completion, right = answers[3 * p + g], g == p % 3
            members.append(
                Trajectory(
                    problem=item.problem,
                    sample=g,
                    prompt_ids=item.prompt_ids,
                    completion=completion,
                    segments=(Segment("policy", 0, len(completion.token_ids)),),
                    verdict=CORRECT if right else WRONG,
                    reward=float(right),
                    reward_parts={},
                )
            )
        groups.append(TrajectoryGroup(problem=item.problem, trajectories=tuple(members)))
    return build_batch(groups)


@pytest.fixture(scope="module")
def batch_at(fresh: Callable[[str], Policy]) -> Callable[[float], Batch]:
    """Give the batch that is sampled at a temperature, once."""
    return functools.cache(lambda temperature: sampled(fresh("cub-qwen"), temperature=temperature))


@pytest.mark.parametrize("temperature", [0.6, 1.2])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_first_update_has_ratio_one_at_any_temperature(
    name: str, temperature: float, batch_at: Callable[[float], Batch], cub: Callable[[str], Policy]
) -> None:
    """π_old is what the sampler used: the trainer's old log-probabilities are the sampler's own, at its temperature."""
    policy, batch = cub("cub-qwen"), batch_at(temperature)
    seen: list[LossInputs] = []

    class Watched(ALGORITHMS[name]):
        def loss(self, inputs: LossInputs) -> LossOutput:
            seen.append(inputs)
            return super().loss(inputs)

    learner = Learner(
        policy,
        Watched(constant_length=10),
        optimizer=OptimizerConfig(lr=1e-3),
        learner=LearnerConfig(prompts_per_update=2, tokens_per_microbatch=10**6),
        precision="fp32",
        temperature=temperature,
        steps=1,
    )
    metrics = learner.step(batch, 1).metrics
    seen = [inputs for inputs in seen if inputs.component == "rl"]
    assert metrics["optimizer/updates"] == len(seen) == 2
    first, second = seen
    ratio_BT = (first.logprobs_BT - first.old_logprobs_BT)[first.mask_BT].exp()
    assert (ratio_BT - 1).abs().max() <= 1e-5
    longest = int(first.mask_BT.sum(1).max())
    assert longest > 3
    sampler = batch.sampler_logprobs_BT[batch.mask_BT & (batch.group_B < 2)[:, None]]
    trainer = first.old_logprobs_BT[first.mask_BT]
    torch.testing.assert_close(trainer.sort().values, sampler.sort().values, rtol=0, atol=1e-4)
    moved_BT = (second.logprobs_BT - second.old_logprobs_BT)[second.mask_BT]
    assert moved_BT.abs().max() > 1e-4, "the second update is off-policy"


def test_truncated_response_gets_no_forged_end(cub: Callable[[str], Policy]) -> None:
    policy = cub("cub-qwen")
    batch = sampled(policy, temperature=1.0, max_new_tokens=5)
    assert batch.truncated_B.any()
    for row in batch.truncated_B.nonzero().flatten().tolist():
        response = batch.tokens_BT[row, batch.prompt_lengths_B[row] : batch.lengths_B[row]]
        assert len(response) == 5
        assert not set(response.tolist()) & policy.stop_ids
        assert batch.mask_BT[row].sum() == 5, "every token that was sampled may be trained on, the last one too"
