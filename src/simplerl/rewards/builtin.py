"""The built-in rewards: of a response's verdict, form and length; and some that add something to right and wrong.

Each of these (length of thought, tools, novelty, the form of unit tests) can be had without what it is meant for: RLSP
by length, Tool-Star by a call that is not needed, curiosity by noise, static checks by tests that assert nothing of
worth. docs/methods.md names the doctor's rule that sees it.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from simplerl.core.errors import ConfigError
from simplerl.core.types import Completion, Problem, Scored, Undecided, Verdict
from simplerl.rewards import Reward
from simplerl.verify.extract import STOP_STRINGS, boxed, final_part

_TAGS = ("<think>", "</think>", "<answer>", "</answer>")
_R1 = re.compile(r"<think>.*</think>\s*<answer>\s*\S.*</answer>", re.DOTALL)


def has_box(completion: Completion) -> bool:
    r"""Whether the final part of the response holds a closed, non-empty `\boxed{…}`."""
    return boxed(final_part(completion.text)) is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Correctness(Reward):
    """`correct` for a right answer, `wrong` for a wrong or a missing one, in between where the verdict has a score.

    No reward for form: it hurts weak models.
    """

    name: ClassVar[str] = "correctness"
    correct: float = 1.0
    """For a right answer."""
    wrong: float = 0.0
    """For a wrong answer, and for none."""

    def __call__(self, problem: Problem, completion: Completion, verdict: Verdict) -> float:
        if verdict.correct or not verdict.score:
            return self.correct if verdict.correct else self.wrong
        return self.wrong + verdict.score * (self.correct - self.wrong)


@dataclass(frozen=True, kw_only=True)
class Independent(Reward):
    """Four values, for the answer and its box; use it with a policy that finds answers outside a box.

    SimpleRL-Zoo's mode of this name: the answer and its form are rewarded separately.
    """

    name: ClassVar[str] = "independent"
    correct: float = 1.0
    """For a right answer in the form."""
    correct_unformatted: float = 0.5
    """For a right answer outside it, which only a fallback policy finds."""
    wrong: float = -0.5
    """For a wrong answer in the form."""
    neither: float = -1.0
    """For a wrong answer, or none, outside it."""

    def formatted(self, completion: Completion) -> bool:
        """Whether a response has the form."""
        return has_box(completion)

    def __call__(self, problem: Problem, completion: Completion, verdict: Verdict) -> float:
        if verdict.correct:
            return self.correct if self.formatted(completion) else self.correct_unformatted
        return self.wrong if self.formatted(completion) else self.neither


@dataclass(frozen=True, kw_only=True)
class SimplerlV0(Independent):
    """Three values: right in a box, wrong in a box, no closed and non-empty box, whatever the answer.

    The reward of the first SimpleRL (the PPO blog, January 2025). There "boxed" was the mere substring.
    """

    name: ClassVar[str] = "simplerl-v0"
    correct_unformatted: float = -1.0


@dataclass(frozen=True, kw_only=True)
class R1Tags(Independent):
    """The same four values for DeepSeek-R1's form, `<think>…</think><answer>…</answer>`; its policy is `r1-tags`."""

    name: ClassVar[str] = "r1-tags"
    think_in_prompt: bool = False
    """The prompt already ends with `<think>`, so that the response begins inside the thought."""

    def formatted(self, completion: Completion) -> bool:
        return in_r1_format(completion.text, opened=self.think_in_prompt)


def in_r1_format(text: str, *, opened: bool = False) -> bool:
    """Whether a response is one thought and one non-empty answer, each tag once, in this order, nothing around them.

    `opened`: the prompt already ended with `<think>`.
    """
    for stop in STOP_STRINGS:
        text = text.split(stop, 1)[0]
    text = text.strip()
    if opened and not text.startswith("<think>"):
        text = "<think>" + text
    return all(text.count(tag) == 1 for tag in _TAGS) and bool(_R1.fullmatch(text))


@dataclass(frozen=True, kw_only=True, slots=True)
class Format(Reward):
    """1 for a box, 0 without; the verdict is not looked at. For mixtures and for ablations."""

    name: ClassVar[str] = "format"

    def __call__(self, problem: Problem, completion: Completion, verdict: Verdict) -> float:
        return 1.0 if has_box(completion) else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Length(Reward):
    """Between −1 (at `limit` tokens or more) and 0; a part of a mixture, not a reward by itself."""

    name: ClassVar[str] = "length"
    limit: int = 16_384
    """Tokens at which the cost is −1: the maximum response length."""
    only_correct: bool = True
    """Leave wrong answers alone: a model should not learn to be wrong in few words."""

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ConfigError(f"length needs limit ≥ 1, not {self.limit}")

    def __call__(self, problem: Problem, completion: Completion, verdict: Verdict) -> float:
        if self.only_correct and not verdict.correct:
            return 0.0
        return -min(len(completion.token_ids) / self.limit, 1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlong(Reward):
    """A cost of length in the last `buffer` tokens before `limit`; a part of a mixture, not a reward by itself.

    DAPO's soft overlong punishment (Yu et al., 2025, eq. 13): 0 until `limit − buffer` tokens, then linearly to −1.
    """

    name: ClassVar[str] = "overlong"
    limit: int = 16_384
    """Tokens at which the cost is −1: the maximum response length."""
    buffer: int = 4_096
    """Tokens before the limit over which the cost grows."""

    def __post_init__(self) -> None:
        if not 0 < self.buffer <= self.limit:
            raise ConfigError(f"overlong needs 0 < buffer ≤ limit, not buffer = {self.buffer}, limit = {self.limit}")

    def __call__(self, problem: Problem, completion: Completion, verdict: Verdict) -> float:
        over = len(completion.token_ids) - (self.limit - self.buffer)
        return -min(max(over / self.buffer, 0.0), 1.0)


#: Characters of a response that are read as code.
LONGEST = 50_000
_CODE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)```", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class RLSP(Reward):
    """Right or wrong, less a cost of having no box, less a cost of short responses (arXiv 2502.06773, its code)."""

    name: ClassVar[str] = "rlsp"
    no_box: float = 0.5
    """Cost of a response without a box."""
    short: float = 20.0
    """The cost of length is this divided by the response's tokens: searching longer costs less."""

    def __call__(self, problem: Problem, completion: Completion, verdict: Verdict) -> float:
        unboxed = not has_box(completion)
        return float(verdict.correct) - self.no_box * unboxed - self.short / max(len(completion.token_ids), 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolStar(Reward):
    """−1 without the form; else F1 of the answer's words, and where it is above 0 a bonus for using every tool.

    The form: thoughts and one answer in tags, `<think>…</think>` and `<answer>…</answer>` (arXiv 2505.16410).
    """

    name: ClassVar[str] = "tool-star"
    tools: tuple[str, ...] = ("<search>", "<python>")
    """What calls of the tools begin with."""
    bonus: float = 0.1
    """For a response that calls each of them."""

    def __call__(self, problem: Problem, completion: Completion, verdict: Verdict) -> float:
        text, answer = completion.text, verdict.extracted
        pairs = [(text.count(f"<{tag}>"), text.count(f"</{tag}>")) for tag in ("think", "answer")]
        if answer is None or pairs[0][0] < 1 or pairs[0][0] != pairs[0][1] or pairs[1] != (1, 1):
            return -1.0
        said, gold = (Counter(re.findall(r"\w+", words.lower())) for words in (answer, problem.answer))
        shared = (said & gold).total()
        f1 = 1.0 if verdict.correct else 2 * shared / max(said.total() + gold.total(), 1)
        return f1 + self.bonus * (f1 > 0 and all(tool in text for tool in self.tools))


@dataclass(frozen=True, kw_only=True)
class Curiosity(Reward):
    """1 − the share of a response's n-grams that other samples of the problem have too, mean over n = 3, 4, 5.

    The self-BLEU of curiosity-driven red teaming (arXiv 2402.19464), within the group. Its second part, the distance to
    all earlier responses, is left out: what a response earns would depend on the run's past. A part of a mixture.
    """

    name: ClassVar[str] = "curiosity"

    def score(
        self, problem: Problem, completions: Sequence[Completion], verdicts: Sequence[Verdict]
    ) -> list[Scored | Undecided]:
        """Return each response's novelty among the others; one without others is not compared."""
        words = [re.findall(r"\w+|[^\w\s]", completion.text) for completion in completions]
        grams = [[{tuple(w[i : i + n]) for i in range(len(w) - n + 1)} for n in (3, 4, 5)] for w in words]
        if len(grams) == 1:
            return [Undecided("curiosity compares the samples of a problem, and this is alone", applies=False)]
        results = []
        for index, own in enumerate(grams):
            others = [*grams[:index], *grams[index + 1 :]]
            shares = [
                len(mine & set().union(*(other[k] for other in others))) / len(mine) if mine else 1.0
                for k, mine in enumerate(own)
            ]
            results.append(self.scored(1.0 - sum(shares) / len(shares)))
        return results


@dataclass(frozen=True, kw_only=True, slots=True)
class StaticTests(Reward):
    """Unit tests by reading them: −1 where they cannot be one, else the share of good practice (arXiv 2310.02368).

    Necessary: Python that parses, a call of what is tested (`entry_point` of the problem, where it has one) and an
    assertion. Good practice: no branches, no caught exceptions, no assertion twice, none of constants alone. Nothing
    is executed.
    """

    name: ClassVar[str] = "rlsqm"

    def __call__(self, problem: Problem, completion: Completion, verdict: Verdict) -> float:
        text = completion.text[:LONGEST]
        blocks = _CODE.findall(text)
        try:
            tree = ast.parse(blocks[-1] if blocks else text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):  # A response is anybody's text.
            return -1.0
        nodes = list(ast.walk(tree))
        asserted = list(_assertions(nodes))
        tested = str(problem.meta.get("entry_point", ""))
        called = {_name(node.func) for node in nodes if isinstance(node, ast.Call)}
        if not asserted or (tested and tested not in called):
            return -1.0
        dumped = [ast.dump(each) for each in asserted]
        practice = (
            not any(isinstance(node, ast.If | ast.IfExp | ast.Match) for node in nodes),
            not any(isinstance(node, ast.Try | ast.TryStar) for node in nodes),
            len(set(dumped)) == len(dumped),
            all(any(isinstance(node, ast.Name | ast.Call) for node in ast.walk(each)) for each in asserted),
        )
        return sum(practice) / len(practice)


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _assertions(nodes: Sequence[ast.AST]) -> Iterator[ast.expr]:
    """Yield what is asserted: the test of `assert`, the arguments of `self.assert…` as a tuple."""
    for node in nodes:
        if isinstance(node, ast.Assert):
            yield node.test
        elif isinstance(node, ast.Call) and _name(node.func).startswith("assert"):
            yield ast.Tuple(elts=node.args, ctx=ast.Load())
