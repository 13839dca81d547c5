"""Collecting: every response with its verdict and reward, in order, drawn from its own address."""

import copy
import dataclasses
import re
from concurrent.futures import Future

import numpy as np
import pytest
import torch
from support import full_scores
from tokenizers import processors

from simplerl.core.types import Problem, Verdict
from simplerl.data import load as load_data
from simplerl.data.prompts import TEMPLATES, Prompter, Template
from simplerl.rewards import REWARDS
from simplerl.rollout import groups, open_backend
from simplerl.rollout.backend import Sampling
from simplerl.rollout.groups import Rollout, fingerprint, prompt
from simplerl.verify import VerifierPool

PROBLEMS = [
    Problem(id=f"p{i}", question=f"What is {i}+0?", answer=str(i), source="test", level=str(1 + i % 2))
    for i in range(6)
]


class Judge:
    """A verifier that decides by the response alone."""

    policy = "boxed"

    def __init__(self, **statuses: str):
        self.statuses = statuses

    def submit(self, response: str, gold: str, question: str) -> Future[Verdict]:
        status = next((s for word, s in self.statuses.items() if word in response), None)
        status = status or ("correct" if response.strip() == gold else "wrong")
        verdict: Future[Verdict] = Future()
        verdict.set_result(Verdict(status=status, extracted=response, rule="test", detail=""))
        return verdict


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


# -- the begin-of-text token -----------------------------------------------------------------------------------------


@pytest.fixture
def begun(tiny):
    """A policy whose tokenizer knows a begin-of-text token, `z`, and adds it or not."""

    def get(adds: bool):
        policy = tiny("llama")
        tokenizer = copy.deepcopy(policy.tokenizer)
        tokenizer.bos_token = "z"
        if adds:
            tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
                single="z $A", special_tokens=[("z", tokenizer.bos_token_id)]
            )
        return dataclasses.replace(policy, tokenizer=tokenizer)

    return get


LETTERS = [Problem(id=f"p{i}", question=f"{letter} to", answer="1", source="test") for i, letter in enumerate("abcd")]


@pytest.mark.parametrize(
    ("adds", "special_tokens", "after_begin", "bare", "wanted"),
    [
        (True, "auto", -1.0, -3.0, "z stands before every prompt"),
        (True, "none", -1.0, -3.0, "WARNING.*leaves out.*-1.00 nats each after z, -3.00 without. Use .*tokens bos"),
        (True, "none", -1.0, -1.0, "WARNING.*which its tokenizer adds by itself.*Compare with .*tokens bos"),
        (True, "bos", -1.0, -1.0, None),
        (False, "auto", -1.0, -3.0, "WARNING.*its tokenizer does not add by itself.*Use --prompt.special-tokens bos"),
        (False, "auto", -3.0, -1.0, None),
        (False, "none", -1.0, -1.0, None),
        (True, "auto", -3.0, -1.0, "WARNING.*adds.*Use --prompt.special-tokens none"),
    ],
)
def test_a_model_that_wants_another_begin_is_said(
    adds: bool, special_tokens: str, after_begin: float, bare: float, wanted: str | None, begun
) -> None:
    policy = begun(adds)

    def score(ids) -> np.ndarray:  # Prompts are so likely, whatever the model thinks.
        return np.full(len(ids) - 1, after_begin if ids[0] == policy.tokenizer.bos_token_id else bare)

    prompter = Prompter(template=Template("{input}"), special_tokens=special_tokens)
    said = groups.begin_notice(LETTERS, prompter, policy, score)
    assert (said is None) == (wanted is None), said
    assert said is None or re.search(wanted, said)


def test_nothing_is_said_of_a_token_that_is_not_there(tiny, begun) -> None:
    assert groups.begin_notice(LETTERS, Prompter(template=Template("{input}")), tiny("llama")) is None
    assert groups.begin_notice(LETTERS, Prompter(template=Template("z{input}")), begun(True)) is None


def test_the_same_tokens_are_compared_with_and_without(begun) -> None:
    """The first token of the text has nothing before it without a begin, so it counts in neither."""
    policy = begun(True)
    rows = [policy.tokenizer.encode(problem.question, add_special_tokens=False) for problem in LETTERS]
    means = []
    for begin in ([policy.tokenizer.bos_token_id], []):
        values = []
        for ids in rows:
            tokens_BT = torch.tensor([[*begin, *ids]])
            with torch.no_grad():
                logprobs_BT, _ = full_scores(policy.model, tokens_BT, torch.ones_like(tokens_BT, dtype=torch.bool))
            values += logprobs_BT[0, len(begin) + 1 :].tolist()
        means.append(float(np.mean(values)))
    said = groups.begin_notice(LETTERS, Prompter(template=Template("{input}")), policy)
    assert said is not None
    shown = [float(number) for number in re.findall(r"-\d+\.\d+", said)]
    assert shown == pytest.approx(means, abs=0.0051)
