"""From tokens to text: special tokens go, spaces stay, stop strings cut."""

import pytest

from simplerl.models.load import load
from simplerl.models.text import cut, decode, special_stops, tail_holds_stop


@pytest.fixture(scope="module")
def tokenizer():
    return load("cub-qwen").tokenizer


def ids(tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False)


@pytest.mark.parametrize("text", [" leading and trailing ", "two  spaces .", "don 't , really", "\n\nx\n", "数 🎲"])
def test_text_comes_back_as_it_was(text: str, tokenizer) -> None:
    assert decode(tokenizer, ids(tokenizer, text)) == text


def test_special_tokens_are_not_text(tokenizer) -> None:
    assert decode(tokenizer, ids(tokenizer, "<|im_start|>a<|im_end|>b<|endoftext|>")) == "ab"


def test_cut_at_the_first_of_several_stops(tokenizer) -> None:
    tokens = ids(tokenizer, "one two three two")
    assert cut(tokenizer, tokens, ("three", "two")) == "one "
    assert cut(tokenizer, tokens, ("four",)) == "one two three two"
    assert cut(tokenizer, tokens, ()) == "one two three two"


@pytest.mark.parametrize("stop", ["Question:", "🎲", "\n\n", "a" * 60])
def test_stop_is_seen_in_the_tail_however_it_is_cut_into_tokens(stop: str, tokenizer) -> None:
    """As soon as it is complete, not before; however long the text before it is."""
    tokens = ids(tokenizer, "x数" * 50 + stop)
    assert tail_holds_stop(tokenizer, tokens, ("never", stop))
    complete = next(n for n in range(len(tokens) + 1) if stop in decode(tokenizer, tokens[:n]))
    assert not tail_holds_stop(tokenizer, tokens[: complete - 1], (stop,))
    assert complete == len(tokens)


def test_stops_that_are_special_tokens(tokenizer) -> None:
    assert special_stops(tokenizer, ("<|im_end|>", "Question:")) == set(ids(tokenizer, "<|im_end|>"))
    assert special_stops(tokenizer, ()) == set()
