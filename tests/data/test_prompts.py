"""Templates byte for byte, as the published recipe has them; special tokens; when the data has prompts of its own."""

import copy

import pytest
from tokenizers import processors

from simplerl.core.errors import ConfigError, DataError, ModelError
from simplerl.core.types import Problem
from simplerl.data.prompts import TEMPLATES, Prompter, Template, difference, prompter, resolve


def beginning(tokenizer):
    """Return a tokenizer that puts its begin-of-text token before every text, as Llama's and Gemma's do."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="z $A", special_tokens=[("z", tokenizer.bos_token_id)]
    )
    return tokenizer


def problem(index: int = 0, prompt: str | None = None) -> Problem:
    meta = {} if prompt is None else {"messages": (("user", prompt),)}
    return Problem(id=f"d-{index}", question="ab", answer="1", source="d", meta=meta)


@pytest.fixture
def tokenizer(tokenizer_64):
    tokenizer = copy.deepcopy(tokenizer_64)
    tokenizer.bos_token = "z"
    return tokenizer


def test_nothing_is_added_unless_it_is_asked_for(tokenizer) -> None:
    assert Prompter(template=Template("{input}")).ids(problem(), tokenizer) == [2, 3]
    assert Prompter(template=Template("{input}"), special_tokens="bos").ids(problem(), tokenizer) == [27, 2, 3]


def test_auto_follows_the_habit_of_the_tokenizer(tokenizer, tokenizer_64) -> None:
    auto = Prompter(template=Template("{input}"), special_tokens="auto")
    assert auto.ids(problem(), tokenizer) == [2, 3], "it knows a begin-of-text token, and does not add it by itself"
    assert auto.ids(problem(), beginning(tokenizer)) == [27, 2, 3]
    assert auto.ids(problem(), tokenizer_64) == [2, 3]
    assert Prompter(template=Template("z{input}"), special_tokens="auto").ids(problem(), beginning(tokenizer)) == [
        27,
        2,
        3,
    ]


def test_a_template_that_begins_with_bos_gets_no_second_one(tokenizer) -> None:
    assert Prompter(template=Template("z{input}"), special_tokens="bos").ids(problem(), tokenizer) == [27, 2, 3]


def test_a_tokenizer_without_the_token_is_said(tokenizer_64) -> None:
    with pytest.raises(ModelError, match="no begin-of-text token"):
        prompter("simple", special_tokens="bos").ids(problem(), tokenizer_64)


def test_the_first_difference_is_shown() -> None:
    made = prompter("qwen-boxed")
    same = made.template.render(problem(), None)
    theirs = same.replace("\\boxed{}", "\\boxed{{}}")
    assert difference([problem(0, same), problem(1)], made, None) is None
    said = difference([problem(0, same), problem(1, theirs), problem(2, theirs)], made, None)
    assert "2 of 3 problems, first in d-1 at character" in said
    place = int(said.split("at character ")[1].split(":")[0])
    assert (theirs[place], same[place], theirs[:place]) == ("{", "}", same[:place])
    assert "boxed{{}}" in said
    assert "--template from-data" in said


def test_a_prompt_that_only_goes_on_differs_at_its_end() -> None:
    said = difference([problem(0, "Question: ab\nAnswer: ")], prompter("plain"), None)
    assert "at character 20:" in said


def test_the_datas_own_prompts_do_not_differ_from_themselves() -> None:
    assert difference([problem(0, "x")], prompter("from-data"), None) is None


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


def test_a_text_in_place_of_a_name_is_said() -> None:
    """It may be longer than a file's name can be."""
    with pytest.raises(ConfigError, match="unknown template"):
        resolve("Solve this step by step. " * 20 + "{input}")


CHAT = (
    "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def asked(**meta: object) -> Problem:
    return Problem(id="d-0", question="1+1? {x}", answer="2", source="d", meta={"place": "d.jsonl:1", **meta})


def test_chat_is_the_tokenizers_own_with_the_answer_opened(tokenizer_64) -> None:
    tokenizer_64 = copy.deepcopy(tokenizer_64)
    tokenizer_64.chat_template = CHAT
    tokenizer_64.bos_token = "a"
    assert resolve("chat").render(asked(), tokenizer_64) == "a<user>1+1? {x}</user>\n<assistant>"
    given = resolve("chat", system="Think.").render(asked(), tokenizer_64)
    assert given == "a<system>Think.</system>\n<user>1+1? {x}</user>\n<assistant>"


def test_chat_needs_a_chat_template_that_takes_the_messages(tokenizer_64) -> None:
    with pytest.raises(ModelError, match="no chat template"):
        resolve("chat").render(asked(), tokenizer_64)
    tokenizer_64 = copy.deepcopy(tokenizer_64)
    tokenizer_64.chat_template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(ModelError, match="after a system message: System role not supported"):
        resolve("chat", system="x").render(asked(), tokenizer_64)


def test_a_system_message_is_for_chat_only() -> None:
    with pytest.raises(ConfigError, match=r"'simple' has its own text \(prompt\.system\)"):
        resolve("simple", system="Think.")


def test_from_data_is_the_prompt_of_the_file_byte_for_byte() -> None:
    own = "<|im_start|>user\nWhat? \\boxed{{}}.<|im_end|>\n"
    assert resolve("from-data").render(asked(messages=(("user", own),)), None) == own
    with pytest.raises(DataError, match=r"d\.jsonl:1 has 0 prompt messages"):
        resolve("from-data").render(asked(), None)
    with pytest.raises(DataError, match="2 prompt messages"):
        resolve("from-data").render(asked(messages=(("system", "a"), ("user", "b"))), None)
