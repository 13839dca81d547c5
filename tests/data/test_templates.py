"""Templates byte for byte, typed from the published recipe: they decide a base model's score."""

import copy

import pytest

from simplerl.core.errors import ConfigError, DataError, ModelError
from simplerl.core.types import Problem
from simplerl.data.templates import TEMPLATES, resolve

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
    "three-shot": (
        "Q: What is 6+7?\n"
        "A: 6+7=13. The answer is 13.\n"
        "\n"
        "Q: What is 9-4?\n"
        "A: 9-4=5. The answer is 5.\n"
        "\n"
        "Q: What is 3*5?\n"
        "A: 3*5=15. The answer is 15.\n"
        "\n"
        "Q: 1+1?\n"
        "A:"
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


CHAT = (
    "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def problem(**meta: object) -> Problem:
    return Problem(id="d-0", question="1+1? {x}", answer="2", source="d", meta={"place": "d.jsonl:1", **meta})


def test_chat_is_the_tokenizers_own_with_the_answer_opened(tokenizer_64) -> None:
    tokenizer_64 = copy.deepcopy(tokenizer_64)
    tokenizer_64.chat_template = CHAT
    tokenizer_64.bos_token = "a"
    assert resolve("chat").render(problem(), tokenizer_64) == "a<user>1+1? {x}</user>\n<assistant>"
    given = resolve("chat", system="Think.").render(problem(), tokenizer_64)
    assert given == "a<system>Think.</system>\n<user>1+1? {x}</user>\n<assistant>"


def test_chat_needs_a_chat_template_that_takes_the_messages(tokenizer_64) -> None:
    with pytest.raises(ModelError, match="no chat template"):
        resolve("chat").render(problem(), tokenizer_64)
    tokenizer_64 = copy.deepcopy(tokenizer_64)
    tokenizer_64.chat_template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(ModelError, match="after a system message: System role not supported"):
        resolve("chat", system="x").render(problem(), tokenizer_64)


def test_a_system_message_is_for_chat_only() -> None:
    with pytest.raises(ConfigError, match=r"'simple' has its own text \(prompt\.system\)"):
        resolve("simple", system="Think.")


def test_from_data_is_the_prompt_of_the_file_byte_for_byte() -> None:
    own = "<|im_start|>user\nWhat? \\boxed{{}}.<|im_end|>\n"
    assert resolve("from-data").render(problem(messages=(("user", own),)), None) == own
    with pytest.raises(DataError, match=r"d\.jsonl:1 has 0 prompt messages"):
        resolve("from-data").render(problem(), None)
    with pytest.raises(DataError, match="2 prompt messages"):
        resolve("from-data").render(problem(messages=(("system", "a"), ("user", "b"))), None)
