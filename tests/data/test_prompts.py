"""One policy of special tokens, and what is said when a data set's own prompts are not the template's."""

import copy

import pytest
from tokenizers import processors

from simplerl.core.errors import ModelError
from simplerl.core.types import Problem
from simplerl.data.prompts import Prompter, difference, prompter
from simplerl.data.templates import Template


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
    same = made.text(problem(), None)
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
