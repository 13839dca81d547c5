"""Collecting: every response with its verdict and reward, in order, drawn from its own address."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from simplerl.core.types import Problem, Verdict
from simplerl.data import load as load_data
from simplerl.data.templates import TEMPLATES
from simplerl.rewards import REWARDS
from simplerl.rollout import open_backend
from simplerl.rollout.backend import Sampling
from simplerl.rollout.groups import Rollout, fingerprint, prompt
from simplerl.verify import VerifierPool

PROBLEMS = [
    Problem(id=f"p{i}", question=f"What is {i}+0?", answer=str(i), source="test", level=str(1 + i % 2))
    for i in range(6)
]


class Judge:
    """A verifier that decides by the response alone, and gives its verdicts back to front."""

    def __init__(self, **statuses: str):
        self.statuses, self.seen = statuses, []

    def submit(self, key: int, response: str, gold: str, question: str) -> None:
        status = next((s for word, s in self.statuses.items() if word in response), None)
        status = status or ("correct" if response.strip() == gold else "wrong")
        self.seen.append((key, Verdict(status=status, extracted=response, rule="test", detail="")))

    def results(self) -> Iterator[tuple[int, Verdict]]:
        yield from reversed(self.seen)


def gather(policy, backend, problems, *, verifier=None, reward=None, **options):
    rollout = Rollout(
        backend=backend,
        verifier=verifier or Judge(),
        reward=reward or REWARDS["correctness"](),
        sampling=Sampling(max_new_tokens=20),
        samples=options.pop("samples", 3),
        seed=options.pop("seed", 0),
    )
    address = {"purpose": "train", "step": 1, **options}
    return rollout.sample_groups(prompt(problems, TEMPLATES["plain"], policy), **address)


def test_each_response_keeps_its_own_verdict(cub) -> None:
    policy = cub("cub-qwen")
    # Right where the noise key is even: every response differs from its neighbours.
    backend = open_backend(
        "fake", policy, respond=lambda text, key: text.split("is ")[1].split("+")[0] if key % 2 else "no"
    )
    groups = gather(policy, backend, PROBLEMS, samples=5)
    assert [group.problem for group in groups] == PROBLEMS
    statuses = set()
    for group in groups:
        assert [t.sample for t in group.trajectories] == list(range(5))
        for t in group.trajectories:
            assert t.problem is group.problem
            assert t.prompt_ids.tolist() == policy.encode(f"Question: {group.problem.question}\nAnswer:")
            right = t.completion.text == group.problem.answer
            assert t.verdict.status == ("correct" if right else "wrong")
            assert t.reward == float(right)
            assert t.reward_parts == {"correctness": float(right)}
            assert t.loss_mask.all()
            assert len(t.loss_mask) == len(t.completion.token_ids)
            statuses.add(t.verdict.status)
    assert statuses == {"correct", "wrong"}


def test_undecided_has_no_reward(cub) -> None:
    policy = cub("cub-qwen")
    answers = iter(["slow", "broken", "0"] * 6)
    backend = open_backend("fake", policy, respond=lambda text, key: next(answers))
    (group, *_) = gather(policy, backend, PROBLEMS, verifier=Judge(slow="timeout", broken="error"))
    assert [t.verdict.status for t in group.trajectories] == ["timeout", "error", "correct"]
    assert np.isnan([t.reward for t in group.trajectories]).tolist() == [True, True, False]
    assert [t.reward_parts for t in group.trajectories[:2]] == [{}, {}]


def texts(groups) -> dict[tuple[str, int], str]:
    return {(g.problem.id, t.sample): t.completion.text for g in groups for t in g.trajectories}


def test_noise_is_addressed_by_seed_purpose_step_problem_and_sample(cub) -> None:
    policy = cub("cub-qwen")
    backend = open_backend("native", policy)
    wanted = texts(gather(policy, backend, PROBLEMS))
    assert len(set(wanted.values())) > 6
    assert texts(gather(policy, backend, PROBLEMS[::-1])) == wanted
    some = texts(gather(policy, backend, PROBLEMS[2:4], samples=2))
    assert some == {key: wanted[key] for key in some}
    for other in ({"seed": 1}, {"purpose": "evaluate"}, {"step": 2}):
        assert texts(gather(policy, backend, PROBLEMS, **other)) != wanted, other


def test_progress_is_told_once_per_response(cub) -> None:
    policy = cub("cub-qwen")
    seen = []
    gather(policy, open_backend("fake", policy), PROBLEMS, on_response=seen.append)
    assert len(seen) == 18


def test_the_real_verifier_judges_real_responses(cub) -> None:
    policy = cub("cub-qwen")
    with VerifierPool(workers=1) as verifier:
        groups = gather(policy, open_backend("fake", policy), PROBLEMS, verifier=verifier)
    # The fake answers \boxed{0}: right for the first problem only.
    assert [[t.verdict.correct for t in group.trajectories] for group in groups] == [[True] * 3] + [[False] * 3] * 5


@pytest.mark.parametrize("name", ["plain", "simple", "qwen-boxed"])
def test_prompts_are_the_template_and_nothing_else(name: str, cub) -> None:
    policy = cub("cub-qwen")
    (problem,) = load_data("arithmetic", size=1)
    (item,) = prompt([problem], TEMPLATES[name], policy)
    text = policy.tokenizer.decode(item.prompt_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    assert text == TEMPLATES[name].format(problem.question)


def test_fingerprint_tells_data_and_templates_apart(cub) -> None:
    policy = cub("cub-qwen")

    def print_of(problems: list[Problem], template: str = "plain") -> str:
        return fingerprint(prompt(problems, TEMPLATES[template], policy))

    other_answer = [*PROBLEMS[:5], dataclasses.replace(PROBLEMS[5], answer="7")]
    assert print_of(PROBLEMS) == print_of(list(PROBLEMS))
    assert (
        len({print_of(PROBLEMS), print_of(PROBLEMS[::-1]), print_of(other_answer), print_of(PROBLEMS, "simple")}) == 4
    )
