"""Episodes: turns and observations in one row of tokens, each going on by itself; what an environment does wrong."""

import dataclasses
import itertools
import threading
import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from simplerl.core.errors import ConfigError, DataError, SimpleRLError
from simplerl.core.types import Call, Problem, Turn, Verdict
from simplerl.data.templates import TEMPLATES
from simplerl.environments import ENVIRONMENTS
from simplerl.environments.base import Environment
from simplerl.environments.calculator import Calculator
from simplerl.models.score import text_logprobs
from simplerl.rewards import REWARDS
from simplerl.rollout import episodes, open_backend
from simplerl.rollout.backend import Sampling
from simplerl.rollout.episodes import Episode, Episodes, encode
from simplerl.rollout.fake import FakeBackend
from simplerl.rollout.groups import Rollout, prompt
from simplerl.train.batch import build_batch
from simplerl.verify import VerifierPool

PROBLEMS = [Problem(id=f"p{i}", question=f"What is {i}*2?", answer=str(2 * i), source="test") for i in range(4)]


@dataclass(frozen=True, kw_only=True)
class Echo(Environment):
    """Says `+1` after every turn, three turns long; its text and numbers are addressed."""

    slow: ClassVar[bool] = False
    max_turns: int = 3
    say: str = " 1+1=2."

    def step(self, problem, state, text, rng) -> Turn:
        return Turn(observation=self.say, done=False, calls=(Call(tool="echo", arguments=text, result=self.say),))


def rolled(policy, environment, *, backend=None, tokens=40, samples=3, seed=0, problems=PROBLEMS, **sampling):
    with VerifierPool(workers=1) as verifier:
        rollout = Rollout(
            backend=backend or open_backend("native", policy),
            verifier=verifier,
            reward=REWARDS["correctness"](),
            sampling=Sampling(max_new_tokens=tokens, **sampling),
            samples=samples,
            seed=seed,
            environment=environment,
            tokenizer=policy.tokenizer,
        )
        prompted = prompt(problems, TEMPLATES["plain"], policy, environment, seed)
        return rollout.sample_groups(prompted, purpose="train", step=1)


def trajectories(groups):
    return [t for group in groups for t in group.trajectories]


def fake(policy, respond):
    return FakeBackend(
        "", policy.tokenizer, stop_ids=frozenset({policy.tokenizer.eos_token_id}), context_length=1024, respond=respond
    )


def test_tokens_are_appended_and_the_sampler_agrees_with_the_scorer(cub) -> None:
    policy = cub("cub-qwen")
    for t in trajectories(rolled(policy, Echo())):
        completion = t.completion
        observation = policy.tokenizer.encode(" 1+1=2.", add_special_tokens=False)
        assert [s.author for s in t.segments][::2] == ["policy"] * len(t.segments[::2])
        for segment, (author, text) in zip(t.segments, t.texts or [("policy", completion.text)], strict=True):
            assert segment.author == author
            if author == "environment":
                assert completion.token_ids[segment.start : segment.end].tolist() == observation
                assert text == " 1+1=2."
        assert t.loss_mask.tolist() == [s.author == "policy" for s in t.segments for _ in range(s.end - s.start)]
        assert len(t.calls) == len(t.segments) // 2 + (completion.stop_reason == "turns")
        ids = [*t.prompt_ids.tolist(), *completion.token_ids.tolist()]
        scored = text_logprobs(policy.model, ids)[len(t.prompt_ids) - 1 :]
        gap = (scored - completion.logprobs)[t.loss_mask].astype(float)
        assert np.abs(gap).max() < 1e-4
        assert (np.expm1(gap) - gap).mean() < 1e-6, "the mismatch KL"
        assert (completion.logprobs[~t.loss_mask] == 0).all()


def test_a_single_turn_is_what_it_is_without_an_environment(cub) -> None:
    policy = cub("cub-qwen")
    plain, single = rolled(policy, None), rolled(policy, ENVIRONMENTS["single-turn"]())
    ends = [Ends()]
    for other in [single, *(rolled(policy, environment) for environment in ends)]:
        for a, b in zip(trajectories(plain), trajectories(other), strict=True):
            assert a.completion.token_ids.tolist() == b.completion.token_ids.tolist()
            assert a.completion.logprobs.tolist() == b.completion.logprobs.tolist()
            assert (a.verdict, a.segments, a.reward, b.texts) == (b.verdict, b.segments, b.reward, ())


def test_a_thought_that_is_too_long_is_interrupted_and_answered(cub) -> None:
    policy = cub("cub-qwen")
    problem = Problem(id="a", question="What is 6*7?", answer="42", source="test")
    thought, phrase = " 6*7=42. 6*7=42.", " Time is up. \\boxed{"

    def respond(text: str, key: int) -> str:
        return "42}" if text.endswith(phrase) else thought

    def run(tokens: int, most: int = 60):
        environment = ENVIRONMENTS["forced-end"](thinking_tokens=tokens, phrase=phrase)
        (t,) = trajectories(
            rolled(policy, environment, backend=fake(policy, respond), samples=1, problems=[problem], tokens=most)
        )
        return t

    cut = run(8)
    assert [author for author, _ in cut.texts] == ["policy", "environment", "policy"]
    assert thought.startswith(cut.texts[0][1])
    assert cut.texts[1:] == (("environment", phrase), ("policy", "42}"))
    assert cut.verdict.correct, "the open box is the phrase's, and counts"
    assert cut.loss_mask.sum() == 8 + len(cut.completion.token_ids[cut.segments[2].start :])
    assert cut.completion.stop_reason == "eos"
    whole = run(50)
    assert whole.texts in ((), (("policy", thought),)), "it ended by itself"
    assert whole.verdict.status == "no_answer"
    over = run(8, most=8)
    assert over.completion.stop_reason == "length", "no room for phrase and answer"
    assert over.verdict.status == "no_answer"
    assert run(8, most=20).completion.stop_reason == "length", "no room for an answer behind the phrase"


def test_an_interrupted_thought_is_sampled_and_scored_alike(cub) -> None:
    """On a real model: what was sampled behind the phrase has the log-probability that the model gives it."""
    policy = cub("cub-qwen")
    environment = ENVIRONMENTS["forced-end"](thinking_tokens=6, phrase=" \\boxed{")
    interrupted = [t for t in trajectories(rolled(policy, environment)) if len(t.segments) > 1]
    assert interrupted
    for t in interrupted:
        assert t.segments[0].end == 6
        ids = [*t.prompt_ids.tolist(), *t.completion.token_ids.tolist()]
        scored = text_logprobs(policy.model, ids)[len(t.prompt_ids) - 1 :]
        assert np.abs((scored - t.completion.logprobs)[t.loss_mask]).max() < 1e-4


@dataclass(frozen=True, kw_only=True)
class Ends(Environment):
    """Ends after the first turn, in a thread."""

    def step(self, problem, state, text, rng) -> Turn:
        return Turn()


def test_the_calculator_is_asked_and_what_it_says_is_no_answer(cub) -> None:
    policy = cub("cub-qwen")
    script = {"": " <<6*7>>", "<<6*7>>=42": " \\boxed{42}"}
    problem = Problem(id="a", question="What is 6*7?", answer="42", source="test")

    def respond(text: str, key: int) -> str:
        return script["<<6*7>>=42" if "=42" in text else ""]

    (t,) = trajectories(rolled(policy, Calculator(), backend=fake(policy, respond), samples=1, problems=[problem]))
    assert t.texts == (("policy", " <<6*7>>"), ("environment", "=42"), ("policy", " \\boxed{42}"))
    assert t.completion.text == " <<6*7>>=42 \\boxed{42}"
    assert (t.verdict.status, t.calls[0].result, t.calls[0].status, t.calls[0].turn) == ("correct", "42", "ok", 0)
    # A result that only the calculator wrote is not the policy's answer, whatever it looks like.
    boxing = dataclasses.replace(Echo(max_turns=2), say=" \\boxed{42}")
    (t,) = trajectories(
        rolled(policy, boxing, backend=fake(policy, lambda text, key: " I do not know."), samples=1, problems=[problem])
    )
    assert (t.verdict.status, t.completion.stop_reason) == ("no_answer", "turns")


def test_limits_of_tokens_and_context_end_an_episode(cub) -> None:
    policy = cub("cub-qwen")
    backend = fake(policy, lambda text, key: " and")
    for t in trajectories(rolled(policy, Echo(max_turns=100), backend=backend, tokens=30)):
        assert t.completion.stop_reason == "length"
        assert len(t.completion.token_ids) <= 30
    backend.context_length = len(t.prompt_ids) + 12
    for t in trajectories(rolled(policy, Echo(max_turns=100), backend=backend, tokens=500)):
        assert t.completion.stop_reason == "length"
        assert len(t.prompt_ids) + len(t.completion.token_ids) <= backend.context_length


def test_a_long_observation_keeps_both_ends(cub) -> None:
    tokenizer = cub("cub-qwen").tokenizer
    ids = encode(tokenizer, "".join(map(str, range(300))), 40)
    text = tokenizer.decode(ids.tolist())
    assert len(ids) == 40
    assert text.startswith("0123")
    assert text.endswith("298299")
    assert " … " in text


@dataclass(frozen=True, kw_only=True)
class Faulty(Environment):
    """Fails in one of its methods."""

    where: str = "step"
    slow: ClassVar[bool] = True

    def _fail(self, where: str) -> None:
        if where == self.where:
            raise OSError("the tool is gone")

    def start(self, problem, rng):
        self._fail("start")

    def step(self, problem, state, text, rng) -> Turn:
        self._fail("step")
        return Turn()

    def judge(self, problem, state, text) -> Verdict | None:
        self._fail("judge")
        return None


@pytest.mark.parametrize("where", ["start", "step", "judge"])
def test_what_an_environment_raises_is_undecided_and_never_reward_0(cub, where: str) -> None:
    groups = rolled(cub("cub-qwen"), Faulty(where=where))
    for t in trajectories(groups):
        assert (t.verdict.status, t.verdict.rule) == ("error", "environment")
        assert "the tool is gone" in t.verdict.detail
        assert "test_episodes.py" in t.verdict.detail
        assert np.isnan(t.reward)
    assert not build_batch(groups).included_B.any()


@pytest.mark.parametrize("where", ["nothing", "start", "step", "judge"])
def test_every_environment_that_has_begun_is_ended_once(cub, where: str) -> None:
    ended: list[str] = []

    @dataclass(frozen=True, kw_only=True)
    class Holds(Faulty):
        def end(self, problem, state) -> None:
            ended.append(problem.id)

    rolled(cub("cub-qwen"), Holds(where=where), samples=1)
    assert sorted(ended) == ([] if where == "start" else ["p0", "p1", "p2", "p3"])


def test_what_ends_a_run_is_not_taken_for_a_fault_of_a_tool(cub) -> None:
    class Missing(Ends):
        def step(self, problem, state, text, rng) -> Turn:
            raise ConfigError("no sandbox on this system")

    with pytest.raises(SimpleRLError, match="no sandbox"):
        rolled(cub("cub-qwen"), Missing())


def test_a_problem_that_cannot_be_asked_is_named(cub) -> None:
    class Broken(Ends):
        def problem(self, problem, rng) -> Problem:
            raise KeyError("choices")

    with pytest.raises(DataError, match=r"Broken.problem raised KeyError.*test_episodes.*for problem p0"):
        rolled(cub("cub-qwen"), Broken())


def test_wrong_types_are_faults_too(cub) -> None:
    class Odd(Ends):
        def step(self, problem, state, text, rng) -> Turn:
            return "done"  # type: ignore[return-value]

    assert {t.verdict.status for t in trajectories(rolled(cub("cub-qwen"), Odd()))} == {"error"}


@pytest.mark.parametrize("where", ["start", "step", "judge"])
def test_a_method_that_hangs_is_left_behind(cub, where: str) -> None:
    release, ended = threading.Event(), []

    @dataclass(frozen=True, kw_only=True)
    class Hangs(Environment):
        max_seconds: float = 0.3

        def _wait(self, here: str, problem: Problem) -> None:
            if (here, problem.id) == (where, "p1"):
                release.wait(20)

        def start(self, problem, rng):
            self._wait("start", problem)

        def step(self, problem, state, text, rng) -> Turn:
            self._wait("step", problem)
            return Turn()

        def judge(self, problem, state, text) -> Verdict | None:
            self._wait("judge", problem)
            return None

        def end(self, problem, state) -> None:
            ended.append(problem.id)

    began = time.monotonic()
    groups = rolled(cub("cub-qwen"), Hangs())
    assert time.monotonic() - began < 10
    release.set()
    for group in groups:
        for t in group.trajectories:
            hung = group.problem.id == "p1"
            assert (t.verdict.status == "timeout") == hung
            assert (t.completion.stop_reason == "seconds") == hung
    while len(ended) < 12 and time.monotonic() - began < 20:
        time.sleep(0.01)
    assert sorted(ended) == [p.id for p in PROBLEMS for _ in range(3)], "also what began after it was given up"


@pytest.mark.parametrize("taken", [1, 12])
def test_an_end_that_hangs_is_left_behind(cub, taken: int) -> None:
    """All that is generated is taken, or one episode, and the rest is given up."""
    release, ended = threading.Event(), []

    @dataclass(frozen=True, kw_only=True)
    class Hangs(Environment):
        max_seconds: float = 0.5

        def step(self, problem, state, text, rng) -> Turn:
            return Turn()

        def judge(self, problem, state, text) -> Verdict | None:
            return None

        def end(self, problem, state) -> None:
            if problem.id == "p1":
                release.wait(20)
            ended.append(problem.id)

    policy, environment = cub("cub-qwen"), Hangs()
    begun = [
        Episode(problem=each.problem, sample=sample, prompt_ids=each.prompt_ids)
        for each in prompt(PROBLEMS, TEMPLATES["plain"], policy, environment, 0)
        for sample in range(3)
    ]
    runner = Episodes(
        backend=open_backend("native", policy),
        tokenizer=policy.tokenizer,
        environment=environment,
        sampling=Sampling(max_new_tokens=20),
        address=(0, "train", 1),
    )
    began = time.monotonic()
    running = runner.run(begun)
    over = [episode for _, episode in itertools.islice(running, taken)]
    running.close()
    assert time.monotonic() - began < 10
    if taken == 12:
        assert [e.problem.id for e in over if e.verdict and e.verdict.status == "timeout"] == ["p1"] * 3
    others = [problem.id for problem in PROBLEMS for _ in range(3) if problem.id != "p1"]
    while len(ended) < len(others) and time.monotonic() - began < 20:
        time.sleep(0.01)
    assert sorted(ended) == others
    release.set()


def test_generation_begins_without_an_environment_that_hangs(cub, monkeypatch) -> None:
    monkeypatch.setattr(episodes, "STRAGGLERS_S", 0.1)
    generated, release = threading.Event(), threading.Event()

    class Late(Environment):
        def start(self, problem, rng):
            if problem.id == "p1":
                assert generated.wait(20), "generation waits for it"
                release.set()

    def respond(text: str, key: int) -> str:
        generated.set()
        release.wait(20)
        return " 1"

    policy = cub("cub-qwen")
    groups = rolled(policy, Late(), backend=fake(policy, respond), samples=1)
    assert {t.completion.text for t in trajectories(groups)} == {" 1"}


@dataclass(frozen=True, kw_only=True)
class Patient(Environment):
    """A judge that hangs on one problem."""

    release: ClassVar[threading.Event]
    max_seconds: float = 0.3

    def judge(self, problem, state, text) -> Verdict | None:
        if problem.id == "p1":
            self.release.wait(20)
        return Verdict(status="correct", extracted="1", rule="patient", detail="")


def test_the_judge_that_a_problem_brings_may_hang(cub, monkeypatch) -> None:
    Patient.release = threading.Event()
    monkeypatch.setitem(ENVIRONMENTS.data, "patient", Patient)
    problems = [dataclasses.replace(p, meta={"environment": "patient"}) for p in PROBLEMS]
    for environment in (None, Echo()):
        began = time.monotonic()
        groups = rolled(cub("cub-qwen"), environment, problems=problems)
        assert time.monotonic() - began < 10
        for t in trajectories(groups):
            assert t.verdict.status == ("timeout" if t.problem.id == "p1" else "correct")
            assert "Patient took longer" in t.verdict.detail or t.problem.id != "p1"
            assert t.completion.stop_reason != "seconds", "it is the judge that took long"
    Patient.release.set()


def test_episodes_do_not_wait_for_each_other(cub) -> None:
    """One slow tool: the other episodes have all their turns before its first answer comes."""
    order: list[tuple[str, float]] = []

    @dataclass(frozen=True, kw_only=True)
    class Uneven(Environment):
        max_turns: int = 3

        def step(self, problem, state, text, rng) -> Turn:
            if problem.id == "p0":
                time.sleep(1.0)
            order.append((problem.id, time.monotonic()))
            return Turn(observation=" 1", done=False)

    policy = cub("cub-qwen")
    rolled(policy, Uneven(), backend=fake(policy, lambda text, key: " 2"), samples=1)
    first_slow = next(at for name, at in order if name == "p0")
    assert all(sum(at < first_slow for name, at in order if name == other) == 3 for other in ("p1", "p2", "p3"))


def test_numbers_are_addressed_and_rollouts_repeat(cub) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Dice(Environment):
        slow: ClassVar[bool] = False
        max_turns: int = 3

        def problem(self, problem, rng) -> Problem:
            return dataclasses.replace(problem, question=f"{problem.question} {rng.integers(10)}")

        def step(self, problem, state, text, rng) -> Turn:
            return Turn(observation=f" {rng.integers(10**6)}", done=False)

    policy = cub("cub-qwen")
    one, again = rolled(policy, Dice()), rolled(policy, Dice())
    texts = [t.completion.text for t in trajectories(one)]
    assert texts == [t.completion.text for t in trajectories(again)]
    assert len(set(texts)) == len(texts)
    assert texts != [t.completion.text for t in trajectories(rolled(policy, Dice(), seed=1))]
    # Part of the batch alone: a group is what it was.
    alone = rolled(policy, Dice(), problems=PROBLEMS[2:3])
    assert [t.completion.token_ids.tolist() for t in trajectories(alone)] == [
        t.completion.token_ids.tolist() for t in one[2].trajectories
    ]


def test_masks_with_holes_reach_the_batch(cub) -> None:
    groups = rolled(cub("cub-qwen"), Echo())
    batch = build_batch(groups)
    for row, t in enumerate(trajectories(groups)):
        start = len(t.prompt_ids)
        assert batch.mask_BT[row, start : start + len(t.loss_mask)].tolist() == t.loss_mask.tolist()
    assert isinstance(batch.mask_BT, torch.Tensor)


def test_retry_gives_a_hint_and_judges_the_last_attempt(cub) -> None:
    policy = cub("cub-qwen")
    problem = Problem(id="a", question="What is 6*7?", answer="42", source="test", meta={"hint": "It is even."})

    def respond(text: str, key: int) -> str:
        return " \\boxed{42}" if "even" in text else " \\boxed{41}"

    environment = ENVIRONMENTS["guided-retry"]()
    asked = {"samples": 1, "problems": [problem], "tokens": 200}
    (t,) = trajectories(rolled(policy, environment, backend=fake(policy, respond), **asked))
    assert [author for author, _ in t.texts] == ["policy", "environment", "policy"]
    assert (t.verdict.correct, t.verdict.extracted) == (True, "42")
    stubborn = fake(policy, lambda text, key: " \\boxed{41}")
    (t,) = trajectories(rolled(policy, environment, backend=stubborn, **asked))
    assert (t.verdict.status, t.completion.stop_reason, len(t.texts)) == ("wrong", "turns", 3)
