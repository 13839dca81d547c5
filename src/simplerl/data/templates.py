"""Prompt templates, byte-exact: they decide a base model's score.

`simple`, `qwen-boxed` and `qwen25-math-cot` are those of SimpleRL-Zoo (arXiv 2503.18892). `plain` is the short one
that the cubs know best, `three-shot` shows arithmetic to a base model. A template is text with `{input}` where the
question goes; nothing else in it is special, so `\\boxed{}` stands for itself. Two more are no text: `chat` is the
tokenizer's own chat template, `from-data` the prompt that the data set itself brings.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simplerl.core.errors import ConfigError, DataError, ModelError, nearest
from simplerl.core.registry import Registry
from simplerl.core.types import Problem

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

_TEXTS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))

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
    path = Path(name)
    if not path.is_file():
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
