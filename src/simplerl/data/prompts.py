"""From a problem to the tokens that the model is given: template and special tokens, one policy for every use.

Training, evaluation and every tool make prompts through a `Prompter`, so that none of them can differ from another by
a BOS token that somebody's engine adds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from simplerl.core.errors import ModelError
from simplerl.core.types import Problem
from simplerl.data.templates import AnyTemplate, FromData, resolve

#: Characters shown on either side of a difference.
AROUND = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompter:
    """A template and what is added to it."""

    template: AnyTemplate
    special_tokens: str = "none"  # `auto`, `none` or `bos`: see `prompt.special_tokens`

    def text(self, problem: Problem, tokenizer: Any) -> str:
        """Return the prompt as text, without what the policy adds."""
        return self.template.render(problem, tokenizer)

    def ids(self, problem: Problem, tokenizer: Any) -> list[int]:
        """Return the prompt's token ids, exactly as the model is to see them."""
        # Not verbose: whether a prompt fits the context is checked, and said, by whoever uses it.
        ids = tokenizer.encode(self.text(problem, tokenizer), add_special_tokens=False, verbose=False)
        if not self.begins(tokenizer):
            return ids
        begin = tokenizer.bos_token_id
        if begin is None:
            raise ModelError(
                f"prompt.special_tokens = 'bos', but the tokenizer of {tokenizer.name_or_path!r} has no begin-of-text "
                "token; use 'none'"
            )
        return ids if ids[:1] == [begin] else [begin, *ids]

    def begins(self, tokenizer: Any) -> bool:
        """Return whether the begin-of-text token stands before a prompt."""
        return self.special_tokens == "bos" or (self.special_tokens == "auto" and adds_begin(tokenizer))


def adds_begin(tokenizer: Any) -> bool:
    """Return whether a tokenizer, left to its habit, puts the begin-of-text token before a text."""
    return tokenizer.bos_token_id is not None and tokenizer.encode("a")[:1] == [tokenizer.bos_token_id]


def prompter(template: str, *, system: str = "", special_tokens: str = "none") -> Prompter:
    """Return the prompter of a configuration: `template`, `prompt.system` and `prompt.special_tokens`."""
    return Prompter(template=resolve(template, system=system), special_tokens=special_tokens)


def difference(problems: Sequence[Problem], prompts: Prompter, tokenizer: Any) -> str | None:
    """Return what to tell a user whose data brings prompts other than the template's; None where they agree.

    Names the number of problems and the first difference. Data without prompts of its own has none.
    """
    if isinstance(prompts.template, FromData):
        return None
    own = [p for p in problems if len(p.meta.get("messages", ())) == 1]
    pairs = [(p, p.meta["messages"][0][1], prompts.text(p, tokenizer)) for p in own]
    differing = [pair for pair in pairs if pair[1] != pair[2]]
    if not differing:
        return None
    problem, theirs, ours = differing[0]
    position = next(
        (i for i, (a, b) in enumerate(zip(theirs, ours, strict=False)) if a != b), min(len(theirs), len(ours))
    )
    shown = [repr(text[max(0, position - AROUND) : position + AROUND]) for text in (theirs, ours)]
    return (
        f"the data's own prompts differ from the template in {len(differing)} of {len(problems)} problems, first in "
        f"{problem.id} at character {position}: the data has …{shown[0]}…, the template …{shown[1]}…. The template is "
        "used; --template from-data uses the data's prompts"
    )
