"""Groups: problems in, judged and rewarded groups of trajectories out. Training and evaluation share it."""

import dataclasses
import functools
import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from simplerl.core.errors import DataError, SimpleRLError, raised_at
from simplerl.core.seeds import generator
from simplerl.core.types import Completion, Problem, Scored, Trajectory, TrajectoryGroup, Undecided, Verdict
from simplerl.data.prompts import AnyTemplate, Prompter, adds_begin
from simplerl.environments.base import Environment, has_turns
from simplerl.models.load import Policy
from simplerl.models.score import text_logprobs
from simplerl.rewards import Reward
from simplerl.rollout.backend import RolloutBackend, Sampling
from simplerl.rollout.episodes import Episode, Episodes
from simplerl.verify import VerifierPool

#: Prompts, and tokens of each, on which it is measured whether a model wants a begin-of-text token.
PROBES, PROBE_TOKENS = 4, 256
#: Nats a token by which one way must be likelier to be said clearly so.
CLEAR_GAP = 0.1


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prompted:
    """A problem as the model sees it."""

    problem: Problem
    prompt_ids: np.ndarray
    """int32 [T_prompt]."""
    prefix: str = ""
    """What the ids end with that is not of the problem's own prompt."""


def prompt(
    problems: Sequence[Problem],
    template: Prompter | AnyTemplate,
    policy: Policy,
    environment: Environment | None = None,
    seed: int = 0,
) -> list[Prompted]:
    """Format and encode problems, as the environment asks them. A bare template is the whole prompt: nothing is added
    to it."""
    if environment is not None:
        problems = [_asked(environment, item, generator(seed, "environment", item.id)) for item in problems]
    prompter = template if isinstance(template, Prompter) else Prompter(template=template)
    return [
        Prompted(
            problem=p,
            prompt_ids=np.array(policy.check(prompter.ids(p, policy.tokenizer), f"prompt of {p.id}"), dtype=np.int32),
        )
        for p in problems
    ]


def _asked(environment: Environment, problem: Problem, rng: np.random.Generator) -> Problem:
    """Return a problem as an environment asks it. Raises DataError where that raises: nothing can be sampled then."""
    try:
        return environment.problem(problem, rng)
    except SimpleRLError:
        raise
    except Exception as error:  # Anybody's code.
        what = f"{type(environment).__name__}.problem raised {raised_at(error)}"
        raise DataError(f"{what} for problem {problem.id}; it is called once for each before anything runs") from error


def begin_notice(
    problems: Sequence[Problem],
    prompter: Prompter,
    policy: Policy,
    logprobs: Callable[[Sequence[int]], np.ndarray] | None = None,
) -> str | None:
    """Return what to tell a user of the begin-of-text token; None where the model has no use for one.

    Said is when the token is added by the tokenizer's habit, and, as a warning, when a prompt is clearly likelier with
    the token where there is none, or the other way round: measured on a few prompts, in nats a token.
    `logprobs` scores a text where the policy's model has no values here.
    """
    tokenizer = policy.tokenizer
    begin, begins, habit = tokenizer.bos_token_id, prompter.begins(tokenizer), adds_begin(tokenizer)
    if begin is None or begin >= policy.embeddings:
        return None
    plain = dataclasses.replace(prompter, special_tokens="none")
    bare = [plain.ids(problem, tokenizer)[:PROBE_TOKENS] for problem in problems[:PROBES]]
    bare = [policy.check(ids, "prompt") for ids in bare if ids[:1] != [begin] and len(ids) > 1]
    if not bare:
        return None
    score = logprobs or functools.partial(text_logprobs, policy.model)
    # Of the same tokens: the first of a text has nothing before it without a begin, so it counts in neither.
    without = float(np.concatenate([score(ids) for ids in bare]).mean())
    with_it = float(np.concatenate([score([begin, *ids])[1:] for ids in bare]).mean())
    setting, token = f"prompt.special_tokens = {prompter.special_tokens!r}", tokenizer.bos_token
    measured = f"a prompt's tokens have {with_it:.2f} nats each after {token}, {without:.2f} without"
    loss = without - with_it if begins else with_it - without
    if loss > CLEAR_GAP or (habit and not begins):
        other, what = ("none", "adds") if begins else ("bos", "leaves out")
        known = f", which its tokenizer {'adds' if habit else 'does not add'} by itself"
        return (
            f"WARNING: {setting} {what} the begin-of-text token of {policy.name}{known}: {measured}. "
            f"{'Compare with' if loss <= CLEAR_GAP else 'Use'} --prompt.special-tokens {other} (of eval, preflight and "
            f"data: --special-tokens {other})"
        )
    if begins and prompter.special_tokens == "auto":
        return f"{setting}: {token} stands before every prompt, as the tokenizer has it ({measured})"
    return None


def fingerprint(prompted: Sequence[Prompted]) -> str:
    """Return the SHA-256 over ids, prompt tokens and answers: which data a run has seen, as the model saw it."""
    digest = hashlib.sha256()
    for item in prompted:
        digest.update(f"{item.problem.id}\x1f{item.problem.answer}\x1f".encode("utf-8", "surrogatepass"))
        digest.update(item.prompt_ids.tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, kw_only=True, eq=False)
class Rollout:
    """Who samples, judges and rewards, and how: all that stays the same from one call to the next.

    `dataclasses.replace(rollout, sampling=…)` is the same engine under another sampling.
    """

    backend: RolloutBackend
    verifier: VerifierPool
    reward: Reward
    sampling: Sampling
    samples: int
    """Responses to each problem."""
    seed: int
    environment: Environment | None = None
    """What the policy acts in; None: it answers, and that is all."""
    tokenizer: PreTrainedTokenizerBase | None = None
    """Of the policy; an environment of several turns needs it."""

    def sample_groups(
        self,
        prompted: Sequence[Prompted],
        *,
        purpose: str,
        step: int,
        samples: Sequence[int] = (),
        on_response: Callable[[Completion], None] = lambda completion: None,
    ) -> list[TrajectoryGroup]:
        """Sample responses to each problem, judge and reward them; groups come in the order of the problems.

        `samples` says how many to each; empty: those of the rollout.

        The noise of a response is addressed by (seed, purpose, step, problem id, sample index). A trajectory whose
        verdict is undecided gets the reward NaN: it has none, and may not be trained on. Responses are handed to the
        verifier as they finish, so that judging runs beside generation.
        """
        counts = list(samples) or [self.samples] * len(prompted)
        episodes: list[Episode] = []
        drawn = Counter[str]()  # A problem that comes again, with another prefix, has further samples of its own.
        for item, count in zip(prompted, counts, strict=True):
            first = drawn[item.problem.id]
            numbers = range(first, first + count)
            episodes += [Episode(problem=item.problem, sample=i, prompt_ids=item.prompt_ids) for i in numbers]
            drawn[item.problem.id] += count
        runner = Episodes(
            backend=self.backend,
            tokenizer=self.tokenizer,
            environment=self.environment,
            sampling=self.sampling,
            address=(self.seed, purpose, step),
            policy=self.verifier.policy,
        )
        judged: dict[int, Verdict | Future[Verdict]] = {}
        for index, episode in runner.run(episodes):
            asked = episode.answer, episode.problem.answer, episode.problem.question
            judged[index] = episode.verdict or self.verifier.submit(*asked)
            on_response(episode.completion())
        verdicts = [judged[index] for index in range(len(episodes))]
        decided = (each.result() if isinstance(each, Future) else each for each in verdicts)
        rows = iter([(e, e.completion(), verdict) for e, verdict in zip(episodes, decided, strict=True)])
        groups = []
        for item, count in zip(prompted, counts, strict=True):
            own, trajectories = list(itertools.islice(rows, count)), []
            scores = self._score(item.problem, [row[1] for row in own], [row[2] for row in own], purpose)
            for (episode, completion, verdict), said in zip(own, scores, strict=True):
                # A response that the reward says nothing of is an error, left out of the update: it never counts as 0.
                # Where nothing is trained it keeps its verdict: whether an answer is right is not up to the reward.
                if isinstance(said, Undecided) and verdict.decided and purpose == "train":
                    verdict = Verdict(status="error", extracted=verdict.extracted, rule="reward", detail=said.detail)
                scored = said if isinstance(said, Scored) else Scored(float("nan"))
                trajectory = Trajectory(
                    problem=item.problem,
                    sample=episode.sample,
                    prompt_ids=episode.prompt_ids,
                    completion=completion,
                    segments=episode.segments(),
                    verdict=verdict,
                    reward=scored.value,
                    reward_parts=scored.parts,
                    step_rewards=scored.steps,
                    texts=tuple(episode.texts) if len(episode.texts) > 1 else (),
                    calls=tuple(episode.calls) if has_turns(self.environment) else None,
                    prefix=item.prefix,
                )
                trajectories.append(trajectory)
            groups.append(TrajectoryGroup(problem=item.problem, trajectories=tuple(trajectories)))
        return groups

    def _score(
        self, problem: Problem, completions: Sequence[Completion], verdicts: Sequence[Verdict], purpose: str
    ) -> list[Scored | Undecided]:
        """Return what the reward says of each response; it is not shown those whose verdict is undecided."""
        if self.reward.judged and purpose != "train":
            return [Undecided("a model that judges is only asked about what is trained on")] * len(verdicts)
        shown = [index for index, verdict in enumerate(verdicts) if verdict.decided]
        asked = [completions[i] for i in shown], [verdicts[i] for i in shown]
        said = dict(zip(shown, self.reward.score(problem, *asked) if shown else [], strict=True))
        return [said.get(index) or Undecided(verdict.detail) for index, verdict in enumerate(verdicts)]
