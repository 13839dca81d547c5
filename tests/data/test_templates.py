"""Templates byte for byte, typed from the published recipe: they decide a base model's score."""

import pytest

from simplerl.data.templates import TEMPLATES, resolve
from simplerl.errors import ConfigError

EXACT = {
    "plain": "Question: 1+1?\nAnswer:",
    "simple": "Question:\n1+1?\nAnswer:\nLet's think step by step.\n",
    "qwen-boxed": (
        "<|im_start|>system\n"
        "You are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n"
        "1+1?\n"
        "Please reason step by step, and put your final answer within \\boxed{}.<|im_end|>\n"
        "<|im_start|>assistant\n"
    ),
    "qwen25-math-cot": (
        "<|im_start|>system\n"
        "Please reason step by step, and put your final answer within \\boxed{}.<|im_end|>\n"
        "<|im_start|>user\n"
        "1+1?<|im_end|>\n"
        "<|im_start|>assistant\n"
    ),
}


def test_each_is_typed_here_too() -> None:
    assert EXACT.keys() == TEMPLATES.keys()


@pytest.mark.parametrize("name", EXACT)
def test_byte_for_byte(name: str) -> None:
    assert resolve(name).format("1+1?") == EXACT[name]


@pytest.mark.parametrize("question", ["{input}", "{0} {x!r} %s", "\\boxed{}", "a\n\nb", "{{}}"])
def test_the_question_is_put_in_as_it_is(question: str) -> None:
    assert resolve("plain").format(question) == f"Question: {question}\nAnswer:"


def test_from_a_file(tmp_path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("Aufgabe: {input}\nLösung (in \\boxed{}):", encoding="utf-8")
    assert resolve(str(path)).format("1+1?") == "Aufgabe: 1+1?\nLösung (in \\boxed{}):"


@pytest.mark.parametrize("text", ["no place", "{input} and {input}"])
def test_a_file_has_one_place(text: str, tmp_path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text(text)
    with pytest.raises(ConfigError, match="exactly once, found"):
        resolve(str(path))
