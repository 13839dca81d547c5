"""Prompt templates, byte-exact: they decide a base model's score.

`simple`, `qwen-boxed` and `qwen25-math-cot` are those of SimpleRL-Zoo (arXiv 2503.18892). `plain` is the short one
that the cubs know best. A template is text with `{input}` where the question goes; nothing else in it is special, so
`\\boxed{}` stands for itself.
"""

from dataclasses import dataclass
from pathlib import Path

from simplerl.errors import ConfigError, nearest

PLACE = "{input}"


@dataclass(frozen=True, slots=True)
class Template:
    """A prompt with one place for the question."""

    text: str

    def format(self, question: str) -> str:
        """Return the prompt. The question is put in as it is: braces in it mean nothing."""
        before, after = self.text.split(PLACE)
        return before + question + after


TEMPLATES: dict[str, Template] = {
    "plain": Template("Question: {input}\nAnswer:"),
    "simple": Template("Question:\n{input}\nAnswer:\nLet's think step by step.\n"),
    "qwen-boxed": Template(
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n{input}\nPlease reason step by step, and put your final answer within \\boxed{}.<|im_end|>\n"
        "<|im_start|>assistant\n"
    ),
    "qwen25-math-cot": Template(
        "<|im_start|>system\nPlease reason step by step, and put your final answer within \\boxed{}.<|im_end|>\n"
        "<|im_start|>user\n{input}<|im_end|>\n"
        "<|im_start|>assistant\n"
    ),
}


def resolve(name: str) -> Template:
    """Return a template by name or from a file that holds its text with `{input}` exactly once."""
    if name in TEMPLATES:
        return TEMPLATES[name]
    path = Path(name)
    if not path.is_file():
        raise ConfigError(
            f"unknown template {name!r}; {nearest(name, TEMPLATES)} A file with {PLACE} in its text works too."
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"template file {name} cannot be read as UTF-8 text: {error}") from error
    if text.count(PLACE) != 1:
        raise ConfigError(f"template file {name}: {PLACE} must stand in it exactly once, found {text.count(PLACE)}")
    return Template(text)
