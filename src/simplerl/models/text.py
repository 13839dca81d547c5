"""From tokens to the text that a reader and the verifier see: special tokens removed, cut at the first stop string."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase


def decode(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> str:
    """Return the text of tokens, special tokens removed and spaces left as they are."""
    return str(tokenizer.decode(list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))


def special_stops(tokenizer: PreTrainedTokenizerBase, stop: Sequence[str]) -> frozenset[int]:
    """Return the ids of stop strings that are special tokens (`<|im_end|>`): decoded text never shows those."""
    special = {str(token): index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    return frozenset(special[text] for text in stop if text in special)


def tail_holds_stop(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int], stop: Sequence[str]) -> bool:
    """Return whether a stop string stands in the last tokens. Looks no further back than the longest could reach."""
    if not stop:
        return False
    reach = max(len(text.encode()) for text in stop) + 4
    tail = decode(tokenizer, token_ids[-reach:])
    return any(text in tail for text in stop)


def cut(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int], stop: Sequence[str]) -> str:
    """Return the text of a response up to the first stop string."""
    text = decode(tokenizer, token_ids)
    ends = [end for end in (text.find(string) for string in stop) if end >= 0]
    return text[: min(ends)] if ends else text
