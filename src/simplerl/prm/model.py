"""A process reward model: a copy of a language model with a scalar head, read at the end of each step of a response.

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
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from transformers import PreTrainedTokenizerBase

from simplerl.core.errors import ConfigError, ModelError, nearest
from simplerl.core.types import Problem
from simplerl.data.prompts import Prompter, prompter
from simplerl.models.load import Policy, load
from simplerl.models.value_head import ValueModel
from simplerl.runs.files import damage, write_directory, write_json

#: How steps are parted → what stands between two of them.
STEPS = {"lines": r"\n+", "sentences": r"\n+|(?<=[.!?])\s+"}

#: The files of the head, and of what it was trained for, beside those of the model.
HEAD, CARD = "head.safetensors", "prm.json"

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
    lengths = [len(re.sub(r"[\W_]+\Z", "", text[start:end])) for start, end in itertools.pairwise([0, *ends])]
    return [start + n if n else end for n, (start, end) in zip(lengths, itertools.pairwise([0, *ends]), strict=True)]


def text_of(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """Return the text of tokens without special ones."""
    return str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))


def token_ends(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], ends: Sequence[int]) -> list[int]:
    """Return, for each end in characters, the number of tokens up to the one in which it lies."""
    return [
        bisect.bisect_left(range(len(ids) + 1), end, key=lambda n: len(text_of(tokenizer, ids[:n]))) for end in ends
    ]


def vocabulary_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the SHA-256 of a vocabulary: whether two tokenizers speak of the same tokens."""
    return hashlib.sha256(json.dumps(sorted(tokenizer.get_vocab().items())).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A prompt and a response as tokens, and where its steps end."""

    tokens: list[int]
    columns: list[int]
    """For each step the column behind the token where it is read; at least 1, at most the number of tokens."""


def values_of(model: ValueModel, rows: Sequence[Row], device: torch.device) -> torch.Tensor:
    """Return the logits of all steps of some rows, one after the other, [N], with gradient."""
    width = max(len(row.tokens) for row in rows) + 1  # A value is read before a token: a last step needs one more.
    tokens_BT = torch.zeros((len(rows), width), dtype=torch.int64)
    mask_BT = torch.zeros((len(rows), width), dtype=torch.bool)
    for index, row in enumerate(rows):
        tokens_BT[index, : len(row.tokens)] = torch.tensor(row.tokens)
        mask_BT[index, row.columns] = True
    lengths_B = torch.tensor([len(row.tokens) + 1 for row in rows])
    values_BT = model(tokens_BT.to(device), mask_BT.to(device), lengths_B)
    places = [(index, column) for index, row in enumerate(rows) for column in row.columns]
    rows_N, columns_N = (torch.tensor(each, dtype=torch.int64) for each in zip(*places, strict=True))
    return values_BT[rows_N, columns_N]


@dataclass(frozen=True, kw_only=True, eq=False)
class ProcessRewardModel:
    """A trained process reward model, ready to score."""

    name: str
    policy: Policy
    """Tokenizer and context of the model that the copy was made of."""
    model: ValueModel
    prompts: Prompter
    steps: str

    def row(self, problem: Problem, ids: Sequence[int], text: str) -> Row:
        """Return a response, as its sampled tokens, with its steps. Raises ModelError for tokens of another tokenizer.

        A stop string that was cut off the text may stand at the end of the tokens.
        """
        if not text_of(self.policy.tokenizer, ids).startswith(text.rstrip("�")):
            raise ModelError(
                f"the process reward model {self.name} has another tokenizer than the policy: it reads a response's "
                f"tokens as {text_of(self.policy.tokenizer, ids)[:60]!r}, which the policy wrote as {text[:60]!r}. "
                "Give one that was trained from a model with the policy's tokenizer"
            )
        prompt = self.policy.check(self.prompts.ids(problem, self.policy.tokenizer), f"prompt of {problem.id}")
        room = self.policy.context_length - len(prompt) - 1
        places = readable_ends(text, step_ends(text, self.steps))
        ends = token_ends(self.policy.tokenizer, ids, places)
        # Steps that end in one token count each; those beyond the context are not seen, the last one within it counts.
        columns = [len(prompt) + min(end, room) for end in ends]
        return Row(tokens=[*prompt, *ids][: len(prompt) + room], columns=columns)

    def encoded(self, problem: Problem, text: str) -> Row:
        """Return a response that was made elsewhere, of which there is only text."""
        ids = self.policy.encode(text)
        return self.row(problem, ids, text_of(self.policy.tokenizer, ids))

    @torch.no_grad()
    def scores(self, rows: Sequence[Row]) -> list[np.ndarray]:
        """Return the logits of each response's steps, float64 [K]; empty for one without a step."""
        self.model.eval()
        device = next(self.model.parameters()).device
        scores: list[np.ndarray] = [np.zeros(0)] * len(rows)
        order = sorted((i for i, row in enumerate(rows) if row.columns), key=lambda i: len(rows[i].tokens))
        for start in range(0, len(order), ROWS):
            part = order[start : start + ROWS]
            unique = [sorted(set(rows[i].columns)) for i in part]
            cut = [Row(tokens=rows[i].tokens, columns=own) for i, own in zip(part, unique, strict=True)]
            logits = iter(values_of(self.model, cut, device).double().tolist())
            for i, own in zip(part, unique, strict=True):
                by_column = {column: next(logits) for column in own}
                scores[i] = np.array([by_column[column] for column in rows[i].columns])
        return scores


def save(directory: Path, policy: Policy, model: ValueModel, card: dict[str, Any]) -> None:
    """Write a process reward model as a model directory with a head and a card, in one step."""
    policy.model.base_model.load_state_dict(model.backbone.state_dict())

    def fill(temporary: Path) -> None:
        policy.model.save_pretrained(temporary)
        policy.tokenizer.save_pretrained(temporary)
        safetensors.torch.save_file({"weight": model.head.weight.detach().cpu().contiguous()}, temporary / HEAD)
        write_json(temporary / CARD, {**card, "vocabulary_sha256": vocabulary_hash(policy.tokenizer)})

    write_directory(directory, fill)


@functools.lru_cache(maxsize=4)
def load_prm(name: str, device: str = "cpu") -> ProcessRewardModel:
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
    policy = load(str(path), device=device)
    if vocabulary_hash(policy.tokenizer) != card["vocabulary_sha256"]:
        raise ModelError(f"the process reward model {name} was trained with another tokenizer than the one beside it")
    model = ValueModel(policy.model, seed=0, precision="fp32").requires_grad_(False)
    weight_1H = safetensors.torch.load_file(path / HEAD)["weight"]
    if weight_1H.shape != model.head.weight.shape:
        raise ModelError(f"the head of {name} is of {weight_1H.shape[-1]} units, its model of another size")
    model.head.weight.copy_(weight_1H)
    prompt = prompter(card["template"], system=card["system"], special_tokens=card["special_tokens"])
    return ProcessRewardModel(name=name, policy=policy, model=model, prompts=prompt, steps=card["steps"])


def paired(logits: Sequence[np.ndarray], labels: Sequence[Sequence[int | None]]) -> Iterator[tuple[float, int, bool]]:
    """Yield (logit, label, whether no step before it is wrong) of every labelled step of some responses."""
    for own, marks in zip(logits, labels, strict=True):
        first = True
        for logit, label in zip(own.tolist(), marks, strict=True):
            if label is not None:
                yield logit, label, first
                first = first and label == 1
