"""Rewards that add something to right and wrong: length of thought, tools, novelty, and the form of unit tests.

Each can be had without what it is meant for: RLSP by length, Tool-Star by a call that is not needed, curiosity by
noise, static checks by tests that assert nothing of worth. docs/methods.md names the doctor's rule that sees it.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from simplerl.core.types import Completion, Problem, Scored, Undecided, Verdict
from simplerl.rewards.base import Reward
from simplerl.rewards.builtin import has_box

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
        right, boxed = verdict.correct, has_box(completion)
        return float(right) - self.no_box * (not boxed) - self.short / max(len(completion.token_ids), 1)


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
