"""Process reward models, and the reward `process` of one: a scalar head on a copy of a language model.

The head is read at the end of each step of a response. It reads the state of the copy, which is trained, and how likely
the model as it was finds the tokens of the step (`likelihoods`): a model knows more of what is right than a few
thousand labels can teach its copy (docs/log.md).

A score is a logit: how likely a right answer can still be reached from there. Steps end at places of the *text* (ends
of lines, or of sentences), whatever the tokens are. The score is read after the token that holds the step's last letter
or digit: in a small model the state at a full stop does not know what stands before it (docs/log.md). What was
sampled is scored token for token, never encoded again, so that policy and process reward model need one tokenizer.
"""

import bisect
import functools
import hashlib
import itertools
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import safetensors.torch
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from simplerl.core.errors import ConfigError, ModelError, nearest
from simplerl.core.types import Completion, Problem, Scored, Undecided, Verdict
from simplerl.data.prompts import Prompter, prompter
from simplerl.models.load import Policy, load
from simplerl.models.score import Scorer
from simplerl.models.text import decode
from simplerl.models.value_head import ValueModel
from simplerl.rewards import Reward
from simplerl.runs.files import damage, write_directory, write_json

#: How steps are parted → what stands between two of them.
STEPS = {"lines": r"\n+", "sentences": r"\n+|(?<=[.!?])\s+"}

#: The files of the head, and of what it was trained for, beside those of the model.
HEAD, CARD = "head.safetensors", "prm.json"

#: What `likelihoods` says of a step.
FEATURES = 4

#: Responses that go through the model at once.
ROWS = 64


def step_ends(text: str, steps: str) -> list[int]:
    """Return the character behind each step of a response; what is only white space is not a step.

    >>> step_ends("3+4=7. 7*5=35. 35", "sentences")
    [6, 14, 17]
    """
    if steps not in STEPS:
        raise ConfigError(f"steps are parted by {' or '.join(STEPS)}, not {steps!r}; {nearest(steps, STEPS)}")
    ends, start = list[int](), 0
    for gap in re.finditer(STEPS[steps], text):
        if text[start : gap.start()].strip():
            ends.append(gap.start())
        start = gap.end()
    return [*ends, len(text.rstrip())] if text[start:].strip() else ends


def readable_ends(text: str, ends: Sequence[int]) -> list[int]:
    """Return the character behind the last letter or digit of each step; its end where it has none.

    >>> readable_ends("3+4=7. (so) .", [6, 13])
    [5, 10]
    """
    steps = itertools.pairwise([0, *ends])
    return [start + n if (n := len(re.sub(r"[\W_]+\Z", "", text[start:end]))) else end for start, end in steps]


def token_ends(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], ends: Sequence[int]) -> list[int]:
    """Return, for each end in characters, the number of tokens up to the one in which it lies."""
    return [bisect.bisect_left(range(len(ids) + 1), end, key=lambda n: len(decode(tokenizer, ids[:n]))) for end in ends]


def vocabulary_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the SHA-256 of a vocabulary: whether two tokenizers speak of the same tokens."""
    return hashlib.sha256(json.dumps(sorted(tokenizer.get_vocab().items())).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A prompt and a response as tokens, and where its steps end."""

    tokens: list[int]
    columns: list[int]
    """For each step the column behind the token where it is read; at least 1, at most the number of tokens."""
    begin: int
    """Tokens of the prompt."""


class StepModel(torch.nn.Module):
    """The trained part: the copy with its head, and the weights of what the model finds likely."""

    def __init__(self, model: PreTrainedModel, *, seed: int):
        super().__init__()
        self.value = ValueModel(model, seed=seed, precision="fp32")
        self.likelihood = torch.nn.Linear(FEATURES, 1, device=model.device)
        torch.nn.init.zeros_(self.likelihood.weight)
        torch.nn.init.zeros_(self.likelihood.bias)

    def forward(self, rows: Sequence[Row], features_NF: torch.Tensor) -> torch.Tensor:
        """Return the logits of all steps of some rows, one after the other, [N], with gradient."""
        tokens_BT, lengths_B = padded(rows, features_NF.device)
        places = [(index, column) for index, row in enumerate(rows) for column in row.columns]
        rows_N, columns_N = (torch.tensor(each, dtype=torch.int64) for each in zip(*places, strict=True))
        mask_BT = torch.zeros(tokens_BT.shape, dtype=torch.bool)
        mask_BT[rows_N, columns_N] = True
        values_N = self.value(tokens_BT, mask_BT.to(tokens_BT.device), lengths_B)[rows_N, columns_N]
        return values_N + self.likelihood(features_NF).squeeze(-1)


def padded(rows: Sequence[Row], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (tokens_BT, lengths_B); a column more than the longest, since a value is read before a token."""
    tokens_BT = torch.nn.utils.rnn.pad_sequence([torch.tensor([*row.tokens, 0]) for row in rows], batch_first=True)
    return tokens_BT.to(device), torch.tensor([len(row.tokens) + 1 for row in rows])


@torch.no_grad()
def likelihoods(scorer: Scorer, rows: Sequence[Row]) -> torch.Tensor:
    """Return what the model as it was finds of each step's tokens, [N, FEATURES].

    With l the log-probability of a token and H the entropy at its place: Σ l, min l, min (l + H), and the least of the
    last over all steps so far.
    """
    scorer.model.eval()
    device = next(scorer.model.parameters()).device
    features: list[list[float]] = []
    for start in range(0, len(rows), ROWS):
        part = rows[start : start + ROWS]
        tokens_BT, lengths_B = padded(part, device)
        columns_T = torch.arange(tokens_BT.shape[1])
        begins_B = torch.tensor([row.begin for row in part])
        mask_BT = (columns_T >= begins_B[:, None]) & (columns_T < lengths_B[:, None] - 1)
        logprobs_BT, entropy_BT, _ = scorer(tokens_BT, mask_BT.to(device), lengths_B)
        surprise_BT = logprobs_BT + entropy_BT
        for index, row in enumerate(part):
            least = 0.0
            for first, last in itertools.pairwise([row.begin, *row.columns]):
                own, odd = (each[index, first:last].tolist() or [0.0] for each in (logprobs_BT, surprise_BT))
                least = min(least, *odd)
                features.append([sum(own), min(own), min(odd), least])
    return torch.tensor(features, dtype=torch.float32, device=device)


@dataclass(frozen=True, kw_only=True, eq=False)
class ProcessRewardModel:
    """A trained process reward model, ready to score."""

    name: str
    policy: Policy
    """The model that the copy was made of, as it was."""
    model: StepModel
    prompts: Prompter
    steps: str

    def row(self, problem: Problem, ids: Sequence[int], text: str) -> Row:
        """Return a response, as its sampled tokens, with its steps. Raises ModelError for tokens of another tokenizer.

        A stop string that was cut off the text may stand at the end of the tokens.
        """
        if not decode(self.policy.tokenizer, ids).startswith(text.rstrip("�")):
            raise ModelError(
                f"the process reward model {self.name} has another tokenizer than the policy: it reads a response's "
                f"tokens as {decode(self.policy.tokenizer, ids)[:60]!r}, which the policy wrote as {text[:60]!r}. "
                "Give one that was trained from a model with the policy's tokenizer"
            )
        prompt = self.policy.check(self.prompts.ids(problem, self.policy.tokenizer), f"prompt of {problem.id}")
        room = self.policy.context_length - len(prompt) - 1
        places = readable_ends(text, step_ends(text, self.steps))
        ends = token_ends(self.policy.tokenizer, ids, places)
        # Steps that end in one token count each; those beyond the context are not seen, the last one within it counts.
        columns = [len(prompt) + min(end, room) for end in ends]
        return Row(tokens=[*prompt, *ids][: len(prompt) + room], columns=columns, begin=len(prompt))

    def encoded(self, problem: Problem, text: str) -> Row:
        """Return a response that was made elsewhere, of which there is only text."""
        ids = self.policy.encode(text)
        return self.row(problem, ids, decode(self.policy.tokenizer, ids))

    @torch.no_grad()
    def scores(self, rows: Sequence[Row]) -> list[np.ndarray]:
        """Return the logits of each response's steps, float64 [K]; empty for one without a step."""
        self.model.eval()
        scorer = Scorer(self.policy.model)
        scores: list[np.ndarray] = [np.zeros(0)] * len(rows)
        order = sorted((i for i, row in enumerate(rows) if row.columns), key=lambda i: len(rows[i].tokens))
        for start in range(0, len(order), ROWS):
            part = [rows[i] for i in order[start : start + ROWS]]
            logits_N = self.model(part, likelihoods(scorer, part)).double().cpu()
            for i, own in zip(order[start : start + ROWS], logits_N.split([len(r.columns) for r in part]), strict=True):
                scores[i] = own.numpy()
        return scores


def save(directory: Path, policy: Policy, model: StepModel, card: dict[str, Any]) -> None:
    """Write a process reward model in one step: the model as it was, its trained copy with the head, and a card."""

    def fill(temporary: Path) -> None:
        policy.model.save_pretrained(temporary)
        policy.tokenizer.save_pretrained(temporary)
        safetensors.torch.save_model(model, str(temporary / HEAD))
        write_json(temporary / CARD, {**card, "vocabulary_sha256": vocabulary_hash(policy.tokenizer)})

    write_directory(directory, fill)


@functools.lru_cache(maxsize=4)
def load_prm(name: str) -> ProcessRewardModel:
    """Load a process reward model. Raises ModelError, saying what to do, for anything else."""
    path = Path(name).expanduser()
    if not (path / CARD).is_file() or not (path / HEAD).is_file():
        raise ModelError(
            f"{name} is not a process reward model: it has no trained head ({CARD} and {HEAD}). Make one with "
            "simplerl prm label and simplerl prm train"
        )
    if wrong := damage(path):
        raise ModelError(f"the process reward model {name} is damaged: {wrong}; train it again")
    card = json.loads((path / CARD).read_text(encoding="utf-8"))
    policy = load(str(path))
    if vocabulary_hash(policy.tokenizer) != card["vocabulary_sha256"]:
        raise ModelError(f"the process reward model {name} was trained with another tokenizer than the one beside it")
    model = StepModel(policy.model, seed=0)
    safetensors.torch.load_model(model, path / HEAD)
    model.requires_grad_(False)
    prompt = prompter(card["template"], system=card["system"], special_tokens=card["special_tokens"])
    return ProcessRewardModel(name=name, policy=policy, model=model, prompts=prompt, steps=card["steps"])


# --- the reward -------------------------------------------------------------------------------------------------------

FORMS = ("min", "clip", "delta", "clip-delta")


def lowest(logits: Sequence[float], scale: float) -> float:
    """Return the lowest logit / scale within ±1."""
    return min(max(min(logits) / scale, -1.0), 1.0)


def step_rewards(values: Sequence[float], form: str, eta: float = 0.5) -> list[float]:
    """Return the reward of each step from its probability of being good."""
    clipped = [min(p - eta, 0.0) for p in values] if form.startswith("clip") else list(values)
    if not form.endswith("delta"):
        return clipped
    ahead = [*clipped[1:-1], 0.0]
    return [*(p - q for p, q in zip(clipped[:-1], ahead, strict=True)), 0.0] if len(clipped) > 1 else [0.0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Process(Reward):
    """What a process reward model says of the steps; a part of a mixture with correctness.

    Forms: `min` is the lowest logit / `scale`, within ±1: B-STaR's r_prm (arXiv 2412.17256), added to correctness by a
    mixture. The others give each step k a reward from p_k, its probability of being good (arXiv 2410.15115):

        clip        min(p_k − η, 0)
        delta       p_k − p_{k+1} for k < K − 1, p_{K−1} at K − 1, 0 on the last step
        clip-delta  delta of the clipped ones

    Under `delta` what is still to come at step k is p_k: a response that is padded with good steps gains nothing.
    """

    name: ClassVar[str] = "process"
    prm: str = ""
    """Directory of the process reward model (`simplerl prm train`)."""
    form: str = "clip-delta"
    """`min` (one number for the response), `clip`, `delta` or `clip-delta` (one for each step)."""
    eta: float = 0.5
    """η of the clip: a step that is at least this likely to be good costs nothing."""
    scale: float = 5.0
    """What the lowest logit is divided by under `min`."""

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ConfigError(f"process needs form = {', '.join(FORMS)}, not {self.form!r}")
        if not (0 <= self.eta <= 1 and self.scale > 0):
            raise ConfigError(f"process needs 0 ≤ eta ≤ 1 and scale > 0, not {self.eta} and {self.scale}")

    def score(
        self, problem: Problem, completions: Sequence[Completion], verdicts: Sequence[Verdict]
    ) -> list[Scored | Undecided]:
        """Return the lowest score, or 0 with the rewards of the steps; a response without a step is undecided."""
        if not self.prm:
            raise ConfigError("the reward process needs a process reward model: prm = DIR (simplerl prm train)")
        prm = load_prm(self.prm)
        ids = [c.token_ids.tolist() for c in completions]
        rows = [prm.row(problem, own, c.text) for own, c in zip(ids, completions, strict=True)]
        results: list[Scored | Undecided] = []
        for completion, own, logits in zip(completions, ids, prm.scores(rows), strict=True):
            if not len(logits):
                results.append(Undecided("the response has no step for the process reward model to score"))
                continue
            if self.form == "min":
                results.append(self.scored(lowest(logits.tolist(), self.scale)))
                continue
            rewards = step_rewards([1 / (1 + math.exp(-min(max(x, -50.0), 50.0))) for x in logits], self.form, self.eta)
            ends = token_ends(prm.policy.tokenizer, own, step_ends(completion.text, prm.steps))
            results.append(Scored(0.0, {self.name: sum(rewards)}, tuple(zip(ends, rewards, strict=True))))
        return results
