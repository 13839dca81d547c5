"""Questions as plain words, to find the same one in another dress."""

import re
import unicodedata

#: A word, a number, or one character of a script that is written without spaces.
_EAST = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_EAST}]|[^\W_{_EAST}]+")
#: The same, and the signs that make 17-9 another question than 17+9.
_SIGN = re.compile(rf"[{_EAST}]|[^\W_{_EAST}]+|[-+*/^=<>%!|\u00b1\u00d7\u00f7\u2212]")


def words(text: str) -> list[str]:
    """Return the words of a text: compatibility forms unified, lower case, punctuation and signs left out."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def exact(text: str) -> str:
    """Return a text in the form in which two are the same question: words and signs, one space apart."""
    return " ".join(_SIGN.findall(unicodedata.normalize("NFKC", text).casefold())) or text.strip()
