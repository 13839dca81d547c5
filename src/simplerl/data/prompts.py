"""From a problem to the tokens that the model is given: template and special tokens, one policy for every use.

Training, evaluation and every tool make prompts through a `Prompter`, so that none of them can differ from another by
a BOS token that somebody's engine adds. The templates are byte-exact, because they decide a base model's score:
`simple`, `qwen-boxed` and `qwen25-math-cot` are those of SimpleRL-Zoo (arXiv 2503.18892). `plain` is the short one
that the cubs know best, `three-shot` shows arithmetic to a base model. A template is text with `{input}` where the
question goes; nothing else in it is special, so `\\boxed{}` stands for itself. Two more are no text: `chat` is the
tokenizer's own chat template, `from-data` the prompt that the data set itself brings.
"""

import os
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simplerl.core.errors import ConfigError, DataError, ModelError, nearest
from simplerl.core.registry import Registry
from simplerl.core.types import Problem
from simplerl.data.rows import path_of

PLACE = "{input}"


@dataclass(frozen=True, slots=True)
class Template:
    """A prompt with one place for the question."""

    text: str

    def format(self, question: str) -> str:
        """Return the prompt. The question is put in as it is: braces in it mean nothing."""
        before, after = self.text.split(PLACE)
        return before + question + after

    def render(self, problem: Problem, tokenizer: Any) -> str:
        """Return the prompt of a problem. The tokenizer has no say in it."""
        return self.format(problem.question)


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """The tokenizer's own chat template: a system message if there is one, the question, and the opened answer."""

    system: str = ""

    def render(self, problem: Problem, tokenizer: Any) -> str:
        """Return the prompt of a problem. Raises ModelError where the tokenizer has no (such) template."""
        if not getattr(tokenizer, "chat_template", None):
            raise ModelError(
                f"template 'chat': the tokenizer of {tokenizer.name_or_path!r} has no chat template, as those of many "
                f"base models; choose {', '.join(TEMPLATES)} or a file"
            )
        system = [{"role": "system", "content": self.system}] if self.system else []
        try:
            return tokenizer.apply_chat_template(
                [*system, {"role": "user", "content": problem.question}], tokenize=False, add_generation_prompt=True
            )
        except Exception as error:  # A template is a program: it may refuse a role, or fail in its own ways.
            raise ModelError(
                f"template 'chat': the chat template of {tokenizer.name_or_path!r} cannot render the question"
                f"{' after a system message' if system else ''}: {error}"
            ) from error


@dataclass(frozen=True, slots=True)
class FromData:
    """The prompt that the data set itself brings (`prompt[0].content`), byte for byte."""

    def render(self, problem: Problem, tokenizer: Any) -> str:
        """Return the prompt of a problem. Raises DataError where the data has none, or several messages."""
        messages = problem.meta.get("messages", ())
        if len(messages) != 1:
            raise DataError(
                f"template 'from-data': {problem.meta.get('place', problem.id)} has {len(messages)} prompt messages, "
                "not one (prompt[0].content); choose another template"
            )
        return messages[0][1]


#: What knows how to make a prompt of a problem.
AnyTemplate = Template | ChatTemplate | FromData

_TEXTS = tomllib.loads(Path(__file__).with_name("templates.toml").read_text(encoding="utf-8"))
#: Name → template.
TEMPLATES: Registry[Template] = Registry("template", values={name: Template(text) for name, text in _TEXTS.items()})


def resolve(name: str, *, system: str = "") -> AnyTemplate:
    """Return a template by name or from a file that holds its text with `{input}` exactly once.

    `system` is the system message of `chat`; the others have theirs in their text.
    """
    if system and name != "chat":
        raise ConfigError(f"a system message is for template 'chat'; {name!r} has its own text (prompt.system)")
    if name == "chat":
        return ChatTemplate(system)
    if name == "from-data":
        return FromData()
    if name in TEMPLATES:
        entry = TEMPLATES[name]
        return _from_text(entry, f"template {name!r}") if isinstance(entry, str) else entry
    path = path_of(name)
    if not os.path.isfile(path):  # It may be the text itself, which is too long for a name.
        raise ConfigError(
            f"unknown template {name!r}; {nearest(name, [*TEMPLATES, 'chat', 'from-data'])} "
            f"A file with {PLACE} in its text works too."
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"template file {name} cannot be read as UTF-8 text: {error}") from error
    return _from_text(text, f"template file {name}")


def _from_text(text: str, what: str) -> Template:
    if text.count(PLACE) != 1:
        raise ConfigError(f"{what}: {PLACE} must stand in it exactly once, found {text.count(PLACE)}")
    return Template(text)


#: Characters shown on either side of a difference.
AROUND = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompter:
    """A template and what is added to it."""

    template: AnyTemplate
    special_tokens: str = "none"  # `auto`, `none` or `bos`: see `prompt.special_tokens`

    def ids(self, problem: Problem, tokenizer: Any) -> list[int]:
        """Return the prompt's token ids, exactly as the model is to see them."""
        # Not verbose: whether a prompt fits the context is checked, and said, by whoever uses it.
        ids = tokenizer.encode(self.template.render(problem, tokenizer), add_special_tokens=False, verbose=False)
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
    pairs = [(p, p.meta["messages"][0][1], prompts.template.render(p, tokenizer)) for p in own]
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
