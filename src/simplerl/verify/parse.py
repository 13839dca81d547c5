r"""The reader: one lexer, one grammar, one tree. It understands all of an answer, or refuses and names the part.

Contents: the tree (`Node`) · tokens (`tokenize`) · brackets and separators (`split`) · structures (`read`: lead-ins,
lists, conditions, remarks, layouts, sets, quantities) · expressions (`_Reader`). Brackets are decided on tokens, before
any expression is compared, so that `[0,1)` is never `(0,1)`. A run of letters in LaTeX is a product of symbols; in a
plain answer it is a word when it is a known unit or answer word, or has four or more letters. Nothing is guessed: two
adjacent numbers, an unknown command or a stray word are `Unreadable`. Sums, integrals and limits become `opaque`
symbols that equal only themselves. Linear in the number of tokens, which the lexer caps, as it caps the depth.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise

from simplerl.verify import words as lexicon
from simplerl.verify.extract import closing_brace
from simplerl.verify.numbers import number
from simplerl.verify.words import TABLES, pattern, word_set

#: Deeper nesting is refused before any recursion, a longer expression too: trees stay below Python's recursion limit.
MAX_DEPTH, MAX_OPERATIONS, MAX_TOKENS = 40, 700, 1_500


class Unreadable(Exception):
    """The text is not mathematics that the reader knows; the message names the part that was not understood."""


@dataclass(frozen=True, slots=True)
class Node:
    """One operation and its arguments.

    Expressions: `num` (value), `sym` (name), `const` (pi, e, i, inf), `add`, `mul`, `div`, `pow`, `neg`, `pm`, `mp`,
    `fact`, `fact2`, `abs`, `root` (index, radicand), `func` (name), `app` (unknown function, name), `binom`, `opaque`
    (name). Marks: `percent`, `degree`, `unit` (name), `label` (a value with words that are no unit). Structures:
    `list` (name: its connective), `seq` (name: its two brackets), `set`, `union`, `rel` (name: operators joined by
    spaces), `matrix` (rows of `row`), `text` (name), `ratio`, `time`, `date`, `base` (name: digits; one argument),
    `both` (the same answer in two forms), `point` (a tuple with its name in front), `cond` (a value and the conditions
    behind it), `pieces` (of a function: each a `cond`, or a value alone for "otherwise").
    """

    op: str
    args: tuple[Node, ...] = ()
    name: str = ""
    value: Fraction | None = None

    def walk(self) -> Iterator[Node]:
        """Yield this node and everything below it, in order."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.args))


#: Structures; everything else is a scalar expression.
STRUCTURES = word_set("structures")


def num(value: int | Fraction) -> Node:
    """Return a number node."""
    return Node("num", (), "", Fraction(value))


def sym(name: str) -> Node:
    """Return a symbol node."""
    return Node("sym", (), name)


def neg(node: Node) -> Node:
    """Return the negative of a node."""
    return Node("neg", (node,))


def is_scalar(node: Node) -> bool:
    """Whether a node is an expression rather than a structure of them."""
    return node.op not in STRUCTURES


def has_symbols(node: Node) -> bool:
    """Whether the value depends on anything but constants."""
    return any(part.op in ("sym", "app", "opaque") for part in node.walk())


INFINITY = Node("const", (), "inf")
IMAGINARY = Node("const", (), "i")
_CONSTANTS = {"pi": Node("const", (), "pi"), "infty": INFINITY, "imath": IMAGINARY, "jmath": IMAGINARY} | {
    name: sym("\\" + name) for name in ("ldots", "emptyset")
}

# --- tokens -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Token:
    """`kind`: num · rep · sci · base · let (one letter or a name) · cmd · op · txt (words) · sep (comma, and, or, ;) ·
    begin, end (of an environment, by name) · cell · row. `spaced`: a space stood before it."""

    kind: str
    text: str
    spaced: bool = False


_END = Token("", "")
#: Function names → canonical name.
FUNCTIONS: dict[str, str] = {name: name for name in word_set("functions")} | TABLES["function_aliases"]
_ARGUMENT_LISTS = frozenset({"max", "min", "gcd", "lcm"})
_READ = {name: pattern(text) for name, text in TABLES["reader"].items()}
_SIGNS, _PHRASES = TABLES["signs"], TABLES["phrases"]
_KINDS = {",": "sep", ";": "sep", "and": "sep", "or": "sep", "&": "cell", "\\row": "row"}


def tokenize(text: str) -> list[Token]:
    """Return the tokens of a normalised text; raise `Unreadable` for too long or too deeply nested text."""
    out: list[Token] = []
    at = depth = 0
    while match := _READ["token"].match(text, at):
        at, spaced, kind = match.end(), bool(match["space"]), match.lastgroup or "op"
        piece = _SIGNS.get(match[kind], match[kind])
        depth += (kind == "begin" or piece in ("{", "(", "[")) - (kind == "end" or piece in ("}", ")", "]"))
        if kind == "cmd" and (piece[1:] in lexicon.TEXT_COMMANDS or piece[1:] in lexicon.DECORATIONS):
            content, at = _group(text, at)
            if piece[1:] in lexicon.TEXT_COMMANDS:
                unknown = {*re.findall(r"\\([a-z]+)", content)} - lexicon.TEXT_COMMANDS - {"cdot", "mu", "quad", "row"}
                if unknown:
                    raise Unreadable(f"the command \\{min(unknown)} among words")
                content = re.sub(r"\\[a-z]+|[{}$]", " ", content)
                _add_words(out, content, spaced, roman=piece == "\\mathrm")
            else:
                out.append(Token("let", f"{piece}{{{content.replace(' ', '')}}}", spaced))
        elif kind == "mixed":
            integer, top, bottom = (match[name].strip("{} ") for name in ("integer", "top", "bottom"))
            proper = 0 < int(top) < int(bottom)
            out.append(Token("num", rf"{integer}\frac{{{top}}}{{{bottom}}}" if proper else integer, spaced))
            at = at if proper else match.end("integer")
        elif kind == "word":
            time = piece in ("min", "sec") and out and out[-1].kind == "num" and not _READ["argument"].match(text, at)
            if time or (piece in lexicon.GLUED_UNITS and _READ["factor"].match(text, at)):  # minutes; m g \sin\theta
                out += [Token("txt" if time else "let", run, spaced) for run in ([piece] if time else piece)]
            else:
                _add_words(out, piece, spaced, bare=True)
        else:
            kind = "txt" if kind == "cjk" else "cmd" if piece[0] == "\\" and kind == "op" else kind
            out.append(Token(_KINDS.get(piece, kind), piece, spaced))
        if depth > MAX_DEPTH or len(out) > MAX_TOKENS:
            raise Unreadable("nested too deeply" if depth > MAX_DEPTH else "too many tokens")
    return out


def _group(text: str, at: int) -> tuple[str, int]:
    """Return the content of the brace group that opens at or after `at`, and the index behind it."""
    at += len(text[at:]) - len(text[at:].lstrip())
    braced = text[at : at + 1] == "{"
    end = closing_brace(text, at + 1) if braced else at
    if text[at : at + 1] in ("", "\\") or end < 0:
        raise Unreadable("a command without its argument")
    return text[at + braced : end + (not braced)], end + 1


def _unit_may_follow(out: list[Token]) -> bool:
    """Whether what stands before can carry a unit: a value, or a unit and a slash."""
    if out and out[-1].text in ("/", "\\cdot", "-"):
        return len(out) > 1 and (out[-2].kind == "txt" or (out[-2].text in "}23" and out[-1].text == "/"))
    return bool(out) and (out[-1].kind not in ("op", "sep") or out[-1].text in "})%|")


def _add_words(out: list[Token], content: str, spaced: bool, *, bare: bool = False, roman: bool = False) -> None:
    r"""Append the tokens of a `\text{…}` group, a roman group or a bare run of letters."""
    padded = not bare and content != content.strip()
    content = " ".join(content.replace("\\", " ").split())
    lower = content.lower().strip(" .")
    last = out[-1] if out else _END
    kind, text = "txt", content
    if not lower:
        return
    if lower.strip(" ,;") in _PHRASES or (len(lower) == 1 and not lower.isalnum() and lower.isascii()):
        text = _PHRASES.get(lower.strip(" ,;"), lower)
        kind = "txt" if " " in text else _KINDS.get(text, "op")
    elif not bare and _is_mixed(out, content):
        _add_pieces(out, content, spaced)
        return
    elif lower in lexicon.UNIT_WORDS and len(lower) > 1 and not bare and _unit_may_follow(out):
        pass
    elif (content in FUNCTIONS or content == "pi") and not (padded and content in ("max", "min")):
        kind, text = "cmd", "\\" + FUNCTIONS.get(content, content)
    elif len(content) == 1 and content.isalpha():
        value = last.kind in ("num", "txt", "rep") or last.text in ("}", ")", r"\circ") or last.text in "/\\cdot-"
        temperature = content in "CF" and any(token.text == "\\circ" for token in out[-2:])
        unit = not bare and value and _unit_may_follow(out) and content in "mslghcfnwvaMSLGHKCFNJWVA"
        kind = "txt" if unit and not temperature else "let"
    elif (bare or roman) and content.isupper() and len(content) <= 4 and content not in lexicon.UPPER_WORDS:
        kind = "txt" if len(content) == 4 and lower in lexicon.ANSWER_WORDS else "let"  # a segment, such as AB
    elif (roman and re.fullmatch(r"[a-z]{2,3}", content) and lower not in lexicon.ANSWER_WORDS) or (
        bare and not _is_word(out, content, last, glued=not spaced and last.kind == "num")
    ):
        named = re.fullmatch(r"[A-Z][a-z]{2,}", content) and (spaced or last.kind != "num")  # Tom
        out += [Token("let", run, spaced and not i) for i, run in enumerate([content] if named else content)]
        return
    elif bare and last.kind == "txt":
        out[-1] = Token("txt", last.text + (" " if spaced else "") + content, last.spaced)
        return
    out.append(Token(kind, text, spaced))


def _is_mixed(out: list[Token], content: str) -> bool:
    """Whether a text group holds more than words: numbers, signs, or parts joined by `and`, `or` and commas."""
    if " " in content and lexicon.number_in_words(content) is not None:
        return False
    if re.search(r"[\d=<>()^/]", content):
        return not (_unit_may_follow(out) and not content[0].isdecimal() and lexicon.unit_of(content) is not None)
    return bool(re.search(r"(?:^| )(?:and|or)(?: |$)|[,;:]", content)) and not lexicon.is_lead_in(content)


def _add_pieces(out: list[Token], content: str, spaced: bool) -> None:
    """Append the tokens of a text group that is more than words: its runs of words stay words."""
    if out and _READ["text_remark"].match(content):
        raise Unreadable(f"the remark {content!r}")
    for match in _READ["text_pieces"].finditer(content):
        piece = match.group().strip()
        if match["sep"]:
            piece = match["sep"].strip(" ,;") or match["sep"].strip()
            out.append(Token("op" if piece == ":" else "sep", piece, spaced))
        elif match["words"]:
            _add_words(out, piece, True)
        elif piece:
            out += tokenize(piece.replace(",", "") if match["number"] else piece)


def _is_word(out: list[Token], run: str, last: Token, *, glued: bool) -> bool:
    r"""Whether a bare run is a word or a unit, alone or behind a value; in `\frac{Mm}{r^2}` it is a product. Glued to a
    number, only long units and some short ones are: 5cm; in 4kn, 24abcd they are factors."""
    lower = run.lower()
    if glued:
        return lower in lexicon.UNIT_WORDS and (len(run) > 2 or lower in lexicon.GLUED_UNITS)
    unit = lower in lexicon.UNIT_WORDS and (not out or len(run) > 3 or _unit_may_follow(out))
    return unit or lower in lexicon.ANSWER_WORDS or len(run) >= 4


def canonical(tokens: list[Token]) -> str:
    r"""Return a spelling that equal token sequences share: `x^{2}` as `x^2`, words in lower case and in marks."""
    texts = [f"‹{' '.join(t.text.lower().split())}›" if t.kind == "txt" else t.text for t in tokens]
    return " ".join(filter(None, texts))


# --- brackets and separators --------------------------------------------------------------------------------------

_DEPTHS = dict.fromkeys(("(", "[", "{", "\\{", "\\langle"), 1) | dict.fromkeys((")", "]", "}", "\\}", "\\rangle"), -1)


def _depth(token: Token) -> int:
    return {"begin": 1, "end": -1, "txt": 0}.get(token.kind, _DEPTHS.get(token.text, 0))


def split(tokens: list[Token], wanted: Collection[str]) -> tuple[list[list[Token]], list[str]]:
    """Split at top-level tokens of these texts; return the parts and the separators between them."""
    if not any(token.text in wanted for token in tokens):  # by far the most calls
        return [tokens], []
    parts: list[list[Token]] = [[]]
    separators: list[str] = []
    depth, bars, paired = 0, False, sum(token.text == "|" for token in tokens) % 2 == 0
    for token in tokens:
        depth += _depth(token)
        bars ^= paired and token.text == "|" and depth == 0  # unpaired bars enclose nothing
        if depth == 0 and not bars and token.text in wanted and token.kind not in ("txt", "begin", "end"):
            separators.append(token.text)
            parts.append([])
        else:
            parts[-1].append(token)
    return parts, separators


def closing(tokens: list[Token], start: int) -> int:
    """Index of the token that closes the bracket at `start`, or −1."""
    depths = accumulate(map(_depth, tokens[start:]))
    return next((i for i, depth in enumerate(depths, start) if not depth), -1)


def _enclosing(tokens: list[Token]) -> bool:
    """Whether the first token opens a bracket that the last one closes."""
    return len(tokens) > 1 and _depth(tokens[0]) > 0 and closing(tokens, 0) == len(tokens) - 1


# --- structures ---------------------------------------------------------------------------------------------------

RELATIONS = word_set("relations")
INEQUALITIES = frozenset({"<", ">", "\\le", "\\ge"})
_COMMAS, _ROWS = frozenset({",", "and", "or", "\\quad"}), frozenset({";", "\\row"})
#: Beside these a wide space separates nothing.
_BESIDE_SPACE = RELATIONS | {"+", "-", "\\cup", "\\forall", ":", "|"}
_AROUND_SPACE = ("", "sep", "txt", "cell", "row", "begin", "end")
_MATRICES, _LAYOUTS, _CHANGES = word_set("matrices"), word_set("layouts"), word_set("changes")
_MARKS: dict[str, str] = TABLES["word_marks"]
_CONDITION_WORDS = frozenset(TABLES["condition_words"].split("/"))
_READINGS = [(near, pattern(find), new) for near, find, new in TABLES["readings"]]


def read(text: str) -> Node:
    """Return the tree of a normalised answer; raise `Unreadable` when it is not completely understood."""
    for near, find, new in _READINGS:
        if near in text:
            text = find.sub(new, text).strip()
    if _READ["factor_one"].search(text):
        raise Unreadable("the remark +1")
    text = strip_lead_in(text)
    modulus = _READ["modulus"].search(text) if "mod" in text else None
    if not modulus or not modulus.start():
        return read_tokens(_without_wide_spaces(tokenize(text)))
    residue, name = read_tokens(tokenize(text[: modulus.start()])), modulus.group(1)
    last = residue.args[-1] if residue.op == "rel" else residue
    below = last.value is not None and name.isdecimal() and last.value < int(name[:9])
    if not below and last.op != "sym" and "\\equiv" not in residue.name:
        raise Unreadable(f"the modulus {name}: {text[: modulus.start()]} is not a residue")
    # The modulus is a unit of the residue: it may be left out, but a different one is another answer.
    unit = Node("unit", (last,), "mod " + name)
    return Node("rel", (*residue.args[:-1], unit), residue.name) if residue.op == "rel" else unit


def _texts(tokens: list[Token]) -> str:
    return " ".join(token.text for token in tokens)


def strip_lead_in(text: str) -> str:
    r"""Remove words that introduce an answer (`the area is`, `about`); `\text{The answer is D}` becomes `\text{D}`."""
    match = _READ["first_words"].match(text)
    if not match:
        return text
    opening, run, closed = match.groups()
    ends = [word.end() for word in re.finditer(r"\S+", run)]
    for end in reversed(ends[:13]):
        prefix, rest = run[:end], run[end:] + (closed or "") + text[match.end() :]
        bare = rest.strip().lstrip("}").strip()
        inside = opening and (closed is None or end < ends[-1])
        if bare and lexicon.is_lead_in(prefix) and _introduces(prefix, bare):
            return strip_lead_in("\\text{" + rest.strip() if inside else bare)
    return text


def _introduces(prefix: str, rest: str) -> bool:
    """Whether words that could introduce an answer do so before this text: a currency only before digits."""
    lower = prefix.lower().strip(" ,:=")
    if prefix.rstrip().endswith(":"):
        return ":" not in rest
    verb = re.search(r"\b(?:is|are|equals)$", lower)
    return bool(verb) or lower in lexicon.ADVERBS or rest[0] in "0123456789$.\\-("


def _without_wide_spaces(tokens: list[Token]) -> list[Token]:
    r"""Drop wide spaces that separate nothing: beside another separator, an operator, words or an end."""
    beside = [t.kind in _AROUND_SPACE or t.text in _BESIDE_SPACE for t in (_END, *tokens, _END)]
    return [t for i, t in enumerate(tokens, 1) if t.text != "\\quad" or not (beside[i - 1] or beside[i + 1])]


def read_tokens(tokens: list[Token]) -> Node:
    """Read a token list as an answer: from what separates its parts to its values."""
    while _enclosing(tokens) and tokens[0].text == "{":
        tokens = tokens[1:-1]
    while tokens and (tokens[0].text in ("=", "\\approx", ":", "\\forall") or tokens[0].kind in ("sep", "row")):
        tokens = tokens[1:]
    while tokens and (tokens[-1].kind in ("sep", "row") or tokens[-1].text == "."):
        tokens = tokens[:-1]
    if not tokens:
        raise Unreadable("an empty part")
    first, last = tokens[0], tokens[-1]
    framed = first.kind == "begin" and first.text in _LAYOUTS and _enclosing(tokens)
    if framed and (layout := _layout(first.text, tokens[1:-1])) is not None:
        return layout
    if len(tokens) > 3 and last.text == ")" and (remarked := _remark(tokens)) is not None:
        return remarked
    groups, _ = split(tokens, ("or",))
    if len(groups) > 1 and all(len(split(group, (",",))[0]) > 1 and "=" in [t.text for t in group] for group in groups):
        return Node("list", tuple(map(read_tokens, groups)))  # x=1, y=0 or x=2, y=3
    for wanted in (_ROWS, _COMMAS):
        parts, separators = split(tokens, wanted)
        if len(parts) > 1:
            return _listed(parts, separators)
    if (conditional := _conditional(tokens)) is not None:
        return conditional
    for sign, name in (("\\cup", ""), ("\\setminus", "minus")):
        parts, _ = split(tokens, (sign,))
        if len(parts) > 1:  # without points or intervals: compared as a region
            return Node("union", tuple(map(read_tokens, parts)), name)
    return _labelled(tokens) or _relation(tokens) or _value(tokens)


def _labelled(tokens: list[Token]) -> Node | None:
    """`Area: 12` and `Tom: 8`: a value with a name in front."""
    parts, _ = split(tokens, (":",))
    head = parts[0]
    if len(parts) != 2 or not all(parts) or len(_texts(head)) < 2 or any(t.kind not in ("txt", "let") for t in head):
        return None
    words, spoken = _texts(head), len(head[0].text) > 1 and any(t.text.islower() or t.text.istitle() for t in head)
    return _named(words, read_tokens(parts[1])) if spoken or lexicon.is_name(words) else None


def _named(words: str, value: Node) -> Node:
    """A value with words in front: the name of the quantity, or else words that must be there on both sides."""
    name = Node("text", (), lexicon.plain_words(words))
    return Node("rel", (name, value), "=") if lexicon.is_name(words) else Node("label", (value,), words)


def _relation(tokens: list[Token]) -> Node | None:
    parts, operators = split(tokens, RELATIONS)
    if len(parts) == 1:
        return None
    sides = tuple(map(_side, parts))
    named = operators == ["="] and sides[0].op == "text"  # Tom = 8
    return _named(sides[0].name, sides[1]) if named else Node("rel", sides, " ".join(operators))


def _value(tokens: list[Token]) -> Node:
    """One value: a point, a tuple, an interval, a set, words, a ratio or a quantity."""
    first = tokens[0]
    if len(tokens) > 5 and first.kind == "let" and first.text.isupper() and _enclosing(tokens[1:]):
        inside = _bracketed(tokens[1:]) if tokens[1].text == "(" else None
        if inside is not None and inside.op == "seq":
            return Node("point", inside.args, first.text)
    if _enclosing(tokens) and (node := _bracketed(tokens)) is not None:
        return node
    wordlike = all(t.kind in ("txt", "let") or (t.kind == "op" and t.text in ".,'-()\"?!:") for t in tokens)
    if wordlike and (first.kind == "txt" or len(first.text) > 1) and any(token.kind == "txt" for token in tokens):
        return _in_words(_texts(tokens))
    return _ratio(tokens) or _quantity(tokens)


def _in_words(text: str) -> Node:
    """The node of an answer in words; some words are mathematics."""
    words = lexicon.plain_words(text)
    if words in TABLES["number_sets"]:
        return sym(TABLES["number_sets"][words])
    pieces = text.lower().split()
    for count in range(len(pieces), 0, -1):
        said, rest = lexicon.number_in_words(" ".join(pieces[:count])), " ".join(pieces[count:])
        if said is not None and (not rest or lexicon.unit_of(rest)):
            return Node("unit", (num(said),), rest) if rest else num(said)  # fourteen students
    return Node("text", (), words)


def _listed(parts: list[list[Token]], separators: list[str]) -> Node:
    """A list; between inequalities its connective matters: the name is `and`, `or`, empty (a comma), or `mixed`. Other
    answers are alternatives where each is joined by `or`: then the name is `either`. Conditions at its end belong to
    what stands before them."""
    items = tuple(map(read_tokens, filter(None, parts)))
    first, others = items[0], items[1:]
    assigned = first.op == "rel" and first.name in ("=", "\\neq") and first.args[0].op == "sym"
    if assigned and not any(map(has_symbols, others)) and all(map(is_scalar, others)):
        items = (first, *(Node("rel", (first.args[0], item), first.name) for item in others))  # x = 0, 8
    if len(items) > 1 and all(item.op == "cond" and len(item.args) == 2 for item in items):
        return Node("pieces", items)
    inequalities = [item for item in items if item.op == "rel" and set(item.name.split()) & INEQUALITIES]
    conditions = len(items)
    while conditions > 1 and _is_condition(items[conditions - 1], items[: conditions - 1]):
        conditions -= 1
    if conditions < len(items) and len(inequalities) < len(items) and "or" not in separators[conditions - len(items) :]:
        either = "either" if set(separators[: conditions - 1]) == {"or"} else ""
        head = items[0] if conditions == 1 else Node("list", items[:conditions], either)
        return Node("cond", (head, *items[conditions:]))
    if separators == ["and"] and first.op == "num" and items[-1].op == "div":
        return Node("list", items, "and")  # 7 and 1/2 may be one number
    words = {word for word in separators if word in ("and", "or")}
    if not words or not inequalities:
        return Node("list", items, "either" if set(separators) == {"or"} else "")
    return Node("list", items, "mixed" if len(words) == 2 else words.pop())


def _is_condition(node: Node, before: tuple[Node, ...]) -> bool:
    r"""Whether an item only says where what stands before it holds: `k \in \mathbb{Z}`, `x > 0` behind a function."""
    if node.op != "rel" or len(node.args) != 2 or node.args[0].op not in ("sym", "list"):
        return False
    if node.name not in ("\\neq", *INEQUALITIES) and not (node.name == "\\in" and node.args[1].op == "sym"):
        return False
    values = [item.args[-1] if item.op == "rel" else item for item in before]
    named = any(item.op == "rel" and set(item.name.split()) != {"="} for item in before)
    return not named and any(part == sym(node.args[0].name) for value in values for part in value.walk())


def _conditional(tokens: list[Token]) -> Node | None:
    r"""`x + 1 \text{ if } x < 0`, `f(x) = 2x \; \forall x \in \mathbb{R}`: a value and where it holds."""
    for i, token in enumerate(tokens):
        word = token.text.lower().strip(" ,.")
        if i and (word in _CONDITION_WORDS or word == "\\forall") and not sum(map(_depth, tokens[:i])):
            value, condition = read_tokens(tokens[:i]), read_tokens(tokens[i + 1 :])
            return Node("cond", (value, condition))
    return None


def _remark(tokens: list[Token]) -> Node | None:
    """A value with a remark in parentheses behind it: its unit, the same value in another form, a condition, a reason.
    None where the parentheses are mathematics. A remark that is none of these is not understood."""
    start = next(i for i in range(len(tokens) - 2, -1, -1) if not i or not sum(map(_depth, tokens[i:])))
    head, inner, before = tokens[:start], tokens[start + 1 : -1], tokens[start - 1]
    if start < 1 or not inner or before.text[1:] in FUNCTIONS:
        return None
    words, text = [token.text.lower() for token in inner if token.kind == "txt"], _texts(inner)
    relation = any(token.text in RELATIONS for token in inner)
    joined = inner[0].text in ("or", "=", "\\approx")
    if joined or (inner[-1].text == "%" and tokens[start].spaced and not words):
        return Node("both", (read_tokens(head), read_tokens(inner[joined:])))
    listed = len(split(head, _ROWS | _COMMAS)[0]) > 1  # then words belong to its last item
    if (not words and (not relation or before.text in ("P", "E"))) or (words and not relation and listed):
        return None
    value = read_tokens(head)
    if len(words) == len(inner):
        if (said := lexicon.number_in_words(text)) is not None:
            return Node("both", (value, num(said)))
        if any(token.kind == "txt" for token in head):
            raise Unreadable(f"the words {text!r}")
        return _with_words(value, text)
    node = read_tokens(inner)
    conditions = node.args if node.op == "list" else (node,)
    if relation and len(head) > 1 and all(_is_condition(item, (value,)) for item in conditions):
        return Node("cond", (value, *conditions))
    if node.op == "unit" and lexicon.unit_of(node.name):
        return Node("both", (value, node))  # 2 hours (120 minutes)
    raise Unreadable("the remark " + canonical(inner))


def _with_words(node: Node, words: str) -> Node:
    """A value with a unit or a counted noun, or else with words that must be there on both sides."""
    lower = words.lower().strip(" .")
    mark = _MARKS.get(lower)
    if mark == "" or (node.op == "percent" and lower in _CHANGES):
        return node
    if not is_scalar(node) and not (node.op == "seq" and mark in ("percent", "degree")):
        raise Unreadable(f"the words {words!r}")
    if mark:
        return Node(mark, (node,)) if mark in ("percent", "degree") else Node("unit", (node,), mark)
    known = lexicon.unit_of(words) is not None
    return Node("unit" if known else "label", (node,), words if known else re.sub("^(?:is|are) ", "", words))


def _layout(name: str, tokens: list[Token]) -> Node | None:
    r"""The rows of `cases`, `aligned`, an `array` after `\{` …: a piecewise function, a system, or one chain. None
    where an array is a matrix."""
    rows = [list(filter(None, split(row, ("&",))[0])) for row in split(tokens, ("\\row",))[0] if row]
    if not rows:
        raise Unreadable("an empty environment")
    apart = name in ("cases", "dcases", "rcases", "array") or all(cells[0][-1].kind == "sep" for cells in rows)
    pieces = [_piece(*cells) if apart and len(cells) == 2 else None for cells in rows]
    if None not in pieces:
        return Node("pieces", tuple(filter(None, pieces)))
    joined = [[token for cell in cells for token in cell] for cells in rows]
    if name in ("array", "matrix") and not all(len(split(row, RELATIONS)[0]) > 1 for row in joined):
        return None
    lines: list[list[Token]] = []
    for row in filter(None, joined):
        if lines and row[0].text in RELATIONS:
            lines[-1] = lines[-1] + row  # a chain goes on
        else:
            lines.append(row)
    return read_tokens(lines[0]) if len(lines) == 1 else _listed(lines, ["and"] * (len(lines) - 1))


def _piece(value: list[Token], condition: list[Token]) -> Node | None:
    """A value and where it holds, or alone for "otherwise"; None where the second cell is no condition."""
    first, relation = condition[0], len(split(condition, RELATIONS)[0]) > 1 or condition[-1].kind == "txt"
    word = (first.text.lower().split() or [""])[0].strip(",.") if first.kind == "txt" else ""
    if word in ("otherwise", "else", "elsewhere"):
        return read_tokens(value)
    if word not in _CONDITION_WORDS and (word or first.text in RELATIONS or not relation):
        return None
    return Node("cond", (read_tokens(value), read_tokens(condition[word in _CONDITION_WORDS :])))


def _side(tokens: list[Token]) -> Node:
    r"""One side of a relation: a value, or the name of one, in words or as in `P(A|B)`, `(f \circ g)(2)`, `\max`."""
    if not tokens:
        raise Unreadable("a relation without one of its sides")
    texts = [token.text for token in tokens]
    call = _READ["call"].fullmatch(" ".join(texts))
    if call and texts[0] not in texts[2:]:  # p(1) = 2, y(t) = …; x(x+1) = 0 and xy = 6 are equations
        return Node("app", tuple(read_expression([token]) for token in tokens[2:-1:2]), texts[0])
    name = sym(canonical([token for token in tokens if token.text not in "(){}"]))
    function = texts[0].lower().lstrip("\\") in _NAMED_FUNCTIONS and (len(tokens) > 1 or tokens[0].kind == "cmd")
    function = function and all(token.kind == "let" or token.text in "(){}_[]," for token in tokens[1:])
    if _READ["composition"].fullmatch("".join(texts)) or (function and tokens[0].kind == "txt"):
        return name  # not an angle
    try:
        return read_tokens(tokens)
    except Unreadable:
        named = texts[0] == "|" or (tokens[0].kind in ("let", "cmd", "begin") and texts[0][1:] not in FUNCTIONS)
        closed = len(tokens) > 1 and texts[-1] in _NAME_ENDS and all(token.kind != "txt" for token in tokens)
        if not function and not (named and closed):
            raise
    return name


_NAMED_FUNCTIONS, _NAME_ENDS = word_set("named_functions"), frozenset({")", "]", "|", "vmatrix"})


def _bracketed(tokens: list[Token]) -> Node | None:
    r"""A tuple, an interval, a set or a set-builder; None when the brackets only group a scalar."""
    opening, closed, inner = tokens[0].text, tokens[-1].text, tokens[1:-1]
    if tokens[0].kind == "begin":
        return None
    if opening == "\\{" and closed == "\\}":
        bar = next((i for i, token in enumerate(inner) if token.text == "|"), 0)
        odd = sum(token.text == "|" for token in inner) % 2  # bars in pairs are absolute values
        parts = [inner[:bar], inner[bar + 1 :]] if odd else split(inner, (":",))[0]
        if len(parts) == 2 and all(parts):
            return _builder(*parts)
        items = tuple(map(read_tokens, filter(None, split(inner, _COMMAS | {";"})[0])))
        return Node("set", items) if inner else sym("\\emptyset")
    brackets = {"\\langle": "("}.get(opening, opening) + {"\\rangle": ")"}.get(closed, closed)
    if brackets not in ("()", "[]", "[)", "(]"):
        raise Unreadable("brackets that do not match")
    items = tuple(map(read_tokens, split(inner, (",", ";", "\\quad"))[0]))
    if len(items) == 1 and (brackets == "()" or items[0].op == "matrix"):
        return items[0] if opening != "\\langle" else None
    if len(items) > 1 and brackets == "[]" and all(item.op == "seq" and item.name == "[]" for item in items):
        return Node("matrix", tuple(Node("row", item.args) for item in items))
    return Node("seq", items, brackets)


def _builder(head: list[Token], rest: list[Token]) -> Node:
    r"""`\{x \in \mathbb{R} : x > 2\}` is its condition: one real symbol, of which the condition speaks. Anything else
    in front of the bar is part of the answer."""
    name, domain, texts = head[0].text, [token.text for token in head[1:]], [token.text for token in rest]
    symbol = head[0].kind == "let" or name[1:] in lexicon.GREEK
    if symbol and domain in ([], ["\\in", "\\mathbb{R}"]) and name in texts:
        renamed = {",": Token("sep", "and"), ";": Token("sep", "and")}
        if "x" not in texts:
            renamed[name] = Token("let", "x")
        return read_tokens([renamed.get(token.text, token) for token in rest])
    if all(token.kind != "txt" for token in rest):
        with contextlib.suppress(Unreadable):
            value, condition = read_tokens(head), read_tokens(rest)
            if condition.op == "rel" and condition.name == "\\in" and is_scalar(value):
                return Node("cond", (value, condition))
    return Node("opaque", (), canonical([*head, Token("op", "|"), *rest]))


def _ratio(tokens: list[Token]) -> Node | None:
    """`3:4`, `2:3:4`, and clock times such as `4:30 p.m.`."""
    clock = _READ["clock"].fullmatch("".join(token.text for token in tokens).lower())
    if clock and int(clock[1]) < 25 and int(clock[2]) < 60:
        hour, half = int(clock[1]), (clock[4] or "")[:1]  # on 24 hours where that is known
        hour += 12 if half == "p" and hour < 12 else -12 if half == "a" and hour == 12 else 0
        return Node("time", (), f"{hour}:{clock[2]}:{clock[3] or '00'}")
    parts, _ = split(tokens, (":",))
    if len(parts) == 1 or any(part and (part[0].text == "+" or part[-1].kind == "txt") for part in parts):
        return None
    return Node("ratio", tuple(map(_quantity, parts)))


_CURRENCIES: dict[str, str] = TABLES["currencies"]
#: What may stand among the words behind a number: exponents, `mi / hr`, `(years)`.
_OF_UNITS = frozenset({"^", "{", "}", "/", "-", "(", ")", ".", "\\cdot", "2", "3", "1", "%"})


def _base(text: str) -> Node:
    """`204_5`, `2A_{16}`, `54_{six}`."""
    digits, _, word = re.sub(r"\\text|[\s{}]", "", text).partition("_")
    base = int(word) if word.isdecimal() and len(word) < 3 else lexicon.number_in_words(word)
    if base is None or not 2 <= base <= 36 or any(int(digit, 36) >= base for digit in digits):
        raise Unreadable("a subscript on a number")
    # Behind digits in words ("17 base 8") the base may not be left out: the value says so.
    return Node("base", (num(base),), digits.upper(), Fraction(1) if "\\text{" in text and word.isdecimal() else None)


def _quantity(tokens: list[Token]) -> Node:
    """An expression with an optional unit behind it, or a currency in front."""
    if not tokens:
        raise Unreadable("an empty part")
    signed = next((token for token in tokens[1:] if token.text != "-"), _END)
    if tokens[0].kind == "txt" and signed.kind in (*_NUMBERS, "cmd"):  # length 8, Tom 8, minimum: -3
        words = tokens[0].text
        unit = lexicon.unit_of(words[:-1]) if words.endswith("s:") else None  # ducks: 12
        return Node("unit" if unit and unit.counts else "label", (_quantity(tokens[1:]),), words.rstrip(":"))
    if len(tokens) == 1 and tokens[0].kind == "base":
        return _base(tokens[0].text)
    if len(tokens) > 1 and any(token.text in _CURRENCIES for token in tokens[:2]):
        return _money(tokens)
    end = next((i for i, token in enumerate(tokens) if token.kind == "txt"), len(tokens))
    if end == len(tokens):
        return read_expression(tokens)
    cuts = [i for i in range(end + 1, len(tokens)) if tokens[i].kind in _NUMBERS and tokens[i - 1].kind == "txt"]
    if end and cuts:  # 3 feet 4 inches
        return compound([_quantity(tokens[a:b]) for a, b in pairwise([0, *cuts, len(tokens)])])
    if not end or not all(
        token.kind == "txt"
        or token.text in _OF_UNITS
        or (token.kind == "let" and len(token.text) == 1 and before.text != "-")
        for before, token in pairwise(tokens[end - 1 :])
    ):
        raise Unreadable(f"the words {tokens[end].text!r}")
    phrase = "".join((" " if token.kind in ("txt", "let") else "") + token.text for token in tokens[end:]).strip()
    value = read_expression(tokens[:end])
    word, _, rest = phrase.partition(" ")
    scale = lexicon.scale_of(word) if tokens[end - 1].text not in ("0", "%") else None
    if scale:  # 1.5 million dollars, 3 halves
        value = num(value.value * scale) if value.value is not None else Node("mul", (value, num(scale)))
        return _with_words(value, rest) if rest else value
    return _with_words(value, phrase)


def _money(tokens: list[Token]) -> Node:
    """An amount with the sign of its currency, alone or with what it is paid for."""
    at = 0 if tokens[0].text in _CURRENCIES else 1
    amount = _quantity(tokens[:at] + tokens[at + 1 :])
    unit = lexicon.unit_of(amount.name) if amount.op == "unit" else None
    paid_for = unit is not None and (unit.counts or re.match(r"/|[/ ]*per ", amount.name))
    inner = amount.args[0] if amount.op == "unit" else amount
    return amount if paid_for else Node("unit", (inner,), _CURRENCIES[tokens[at].text])


def compound(parts: list[Node]) -> Node:
    """A quantity in several units, largest first: 3 feet 4 inches, 2 hours 30 minutes."""
    units = [lexicon.unit_of(part.name) if part.op == "unit" else None for part in parts]
    known = [unit for unit in units if unit and units[0] and unit.dimensions == units[0].dimensions and not unit.counts]
    scales = [num(unit.factors[0] / known[0].factors[0]) for unit in known]
    if len(known) < len(units) or any((scale.value or 1) >= 1 for scale in scales[1:]):
        raise Unreadable("several quantities side by side")
    total = parts[0].args[0]
    for scale, part in zip(scales[1:], parts[1:], strict=True):
        total = Node("add", (total, Node("mul", (scale, part.args[0]))))
    return Node("unit", (total,), parts[0].name)


# --- expressions --------------------------------------------------------------------------------------------------

_OPAQUE, _NOT_FACTORS = word_set("opaque"), word_set("not_factors")
_CLOSERS = {"(": ")", "[": "]", "{": "}", "\\{": "\\}", "\\lfloor": "\\rfloor", "\\lceil": "\\rceil"}
#: Letters that name a function when a parenthesis follows.
_FUNCTION_LETTERS = frozenset("fghFGH")
#: How tightly operators bind; what stands side by side binds as tightly as the argument of a function reaches.
_SUM, _PRODUCT, _SIDE_BY_SIDE = 2, 3, 4
#: Operator between two values → how tightly it binds, and its operation.
_INFIX = {sign: (level, operation) for sign, level, operation in TABLES["infix"]}
_SIGNED = ("+", "-", "\\pm", "\\mp")
_POSTFIX = {"!": "fact", "!!": "fact2", "%": "percent"}
_NUMBERS = ("num", "rep", "sci")


def read_expression(tokens: list[Token]) -> Node:
    """Return the tree of a scalar expression; raise `Unreadable` unless every token is understood."""
    if any(token.text in _OPAQUE for token in tokens):
        return Node("opaque", (), canonical(tokens))
    reader = _Reader(tokens)
    node = reader.sum()
    if reader.at < len(reader.tokens):
        raise Unreadable(f"{reader.peek()!r} out of place")
    return _spread(node) if reader.vectors else node


def _spread(node: Node) -> Node:
    """A matrix or tuple with a scalar in front (or a sign, or a divisor), or a sum of two, as one."""
    if node.op not in ("add", "neg", "mul", "div"):
        return node
    args = tuple(map(_spread, node.args))
    vectors = [i for i, arg in enumerate(args) if arg.op in ("matrix", "row", "seq")]
    vector = args[vectors[0]] if vectors else node
    if node.op == "add" and len({(arg.op, len(arg.args)) for arg in args}) == 1 and len(vectors) == 2:
        cells = [Node("add", pair) for pair in zip(args[0].args, args[1].args, strict=True)]
    elif node.op in ("neg", "mul", "div") and len(vectors) == 1 and (node.op, vectors) != ("div", [1]):
        at = vectors[0]
        cells = [Node(node.op, (*args[:at], cell, *args[at + 1 :])) for cell in vector.args]
    else:
        return Node(node.op, args, node.name)
    return Node(vector.op, tuple(map(_spread, cells)), vector.name)


class _Reader:
    """Operators by how tightly they bind, over recursive descent to primaries."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = list(tokens)
        self.at = self.open_bars = self.size = 0
        self.vectors = False

    def grow(self) -> None:
        """Count an operation: chains nest, and everything behind this reader recurses over them."""
        self.size += 1
        if self.size > MAX_OPERATIONS:
            raise Unreadable("too many operations")

    def peek(self, ahead: int = 0) -> str:
        """Text of the next token, empty at the end."""
        return self.ahead(ahead).text

    def ahead(self, ahead: int = 0) -> Token:
        """A token that is not consumed, an empty one at the end."""
        at = self.at + ahead
        return self.tokens[at] if at < len(self.tokens) else _END

    def take(self, expected: str = "") -> Token:
        """Consume one token, which must be `expected` where that is given."""
        token = self.ahead()
        if token is _END or (expected and token.text != expected):
            raise Unreadable(f"{expected!r} is missing" if expected else "it ends too early")
        self.at += 1
        return token

    def sum(self, least: int = 0) -> Node:
        r"""Values joined by operators that bind more tightly than `least`, side by side, or with a sign in front. The
        argument of `\sin x` is `sum(_PRODUCT)`: it ends at an operator or the next function."""
        self.grow()
        node = factor = self.signed(least) if self.peek() in _SIGNED else self.power()
        while True:
            text, beside = self.peek(), self.factor_at()
            level, op = (_SIDE_BY_SIDE, "mul") if beside else _INFIX.get(text, (0, ""))
            if level <= least or (beside and least == _PRODUCT and (text[1:] in FUNCTIONS or text == "(")):
                return node
            if not beside:
                self.take()
            elif self.ahead().kind in _NUMBERS and factor.op == "num":
                raise Unreadable("two numbers side by side")
            if level == _SUM and self.peek() in _SIGNED:
                raise Unreadable(f"{self.peek()!r} out of place")
            factor = self.sum(level if level < _PRODUCT else _SIDE_BY_SIDE)
            node = Node("add", (node, neg(factor))) if op == "sub" else Node(op, (node, factor))

    def signed(self, least: int) -> Node:
        """A product with a sign in front."""
        sign = self.take().text
        inner = self.sum(max(least, _SUM))
        if sign == "-" and inner.op in ("percent", "degree"):
            return Node(inner.op, (neg(inner.args[0]),))  # −3° is (−3)°
        return inner if sign == "+" else neg(inner) if sign == "-" else Node(sign[1:], (num(0), inner))

    def factor_at(self, ahead: int = 0) -> bool:
        """Whether a token begins another factor of an implicit product."""
        token = self.ahead(ahead)
        if token.kind == "op":
            return token.text in ("(", "{", "[") or (token.text == "|" and not self.open_bars)
        return token.kind in (*_NUMBERS, "let", "begin") or (token.kind == "cmd" and token.text not in _NOT_FACTORS)

    def power(self) -> Node:
        """A primary with what stands behind it: an exponent, a factorial, a percent or degree sign."""
        node = self.primary()
        while (text := self.peek()) in ("^", "\\circ", *_POSTFIX):
            self.take()
            self.grow()
            circle = next((n for n in (1, 3) if self.peek(n // 2) == "\\circ"), 0)  # bare or in braces
            if text in _POSTFIX:
                node = Node(_POSTFIX[text], (node,))
            elif text == "\\circ" or circle:
                self.at += circle if text == "^" else 0
                temperature = node.op == "num" and self.peek() in ("C", "F") and not self.peek(1)
                node = Node("unit", (node,), "deg" + self.take().text) if temperature else Node("degree", (node,))
            elif self.peek() in ("*", "+") and node.op == "sym" and self.ahead(1).kind in ("", "op", "sep"):
                node = sym(node.name + "^" + self.take().text)
            else:
                node = Node("pow", (node, self.exponent()))
        return node

    def exponent(self) -> Node:
        """A braced group, a parenthesis, or one signed token with its arguments."""
        self.grow()
        if self.peek() in ("+", "-"):
            return neg(self.exponent()) if self.take().text == "-" else self.exponent()
        node = self.primary()
        tower = self.peek() == "^" and "\\circ" not in (self.peek(1), self.peek(2))
        return Node("pow", (node, self.exponent())) if tower and self.take() else node

    def argument(self) -> Node:
        r"""An argument of `\frac` and its like: a group, or one token (of a number, one digit)."""
        text = self.peek()
        if self.ahead().kind == "num" and len(text) > 1 and text.isdecimal():
            self.tokens[self.at : self.at + 1] = [Token("num", text[0]), Token("num", text[1:])]
        return self.primary()

    def arguments(self, opening: str, *, most: int = MAX_TOKENS) -> tuple[Node, ...]:
        """A list of sums in brackets."""
        self.take(opening)
        bars, self.open_bars = self.open_bars, 0
        items = [self.sum()]
        while self.peek() == "," and len(items) < most:
            self.take()
            items.append(self.sum())
        self.open_bars = bars
        self.take(_CLOSERS[opening])
        return tuple(items)

    def primary(self) -> Node:
        """A number, a symbol, a group, an environment or a command with its arguments."""
        self.grow()
        token = self.take()
        if token.kind in _NUMBERS:
            value = number(token.text)
            if value is None or (token.text[:2] == "00" and len(token.text) < 4):
                raise Unreadable(f"the number {token.text[:40]!r}")
            return num(value)
        if token.kind == "let":
            return self.symbol(token.text)
        if token.kind == "cmd":
            return self.command(token.text)
        if token.kind == "begin":
            end = closing(self.tokens, self.at - 1)
            rows = [split(row, ("&",))[0] for row in split(self.tokens[self.at : end], ("\\row",))[0] if row]
            if token.text not in _MATRICES or end < 0 or not rows:
                raise Unreadable(f"the environment {token.text}")
            self.at, self.vectors = end + 1, True
            return Node("matrix", tuple(Node("row", tuple(map(read_tokens, row))) for row in rows))
        if token.text == "|":
            self.open_bars += 1
            inner = self.sum()
            self.open_bars -= 1
            self.take("|")
            return Node("abs", (inner,))
        if token.text in ("(", "[", "{"):
            self.at -= 1
            items = self.arguments(token.text, most=MAX_TOKENS if token.text == "(" else 1)
            self.vectors = self.vectors or len(items) > 1
            return items[0] if len(items) == 1 else Node("seq", items, "()")
        raise Unreadable(f"the words {token.text!r}" if token.kind == "txt" else f"{token.text!r} out of place")

    def symbol(self, name: str) -> Node:
        """A symbol with its subscript and primes; `e`, `i` are constants; `f(x)` is an application."""
        if self.peek() == "_":
            self.take()
            name += "_" + self.subscript()
        while self.peek() == "'":
            name += self.take().text
        if name in ("e", "i"):
            return Node("const", (), name)
        function = name[0] in _FUNCTION_LETTERS and len(name.rstrip("'").split("_")[0]) == 1
        if function and [self.peek(i) for i in range(6)] == ["^", "{", "-", "1", "}", "("]:
            self.at += 5
            name += "^-1"
        # I(0) is a value of a function: who multiplies I by a number writes the number in front.
        inner = self.tokens[self.at + 1 : closing(self.tokens, self.at)] if self.peek() == "(" else []
        constant = _READ["constant"].fullmatch("".join(token.text for token in inner))
        return Node("app", self.arguments("("), name) if constant or (function and inner) else sym(name)

    def subscript(self) -> str:
        """The canonical spelling of a subscript."""
        if self.peek() != "{":
            return self.take().text
        start, end = self.at + 1, closing(self.tokens, self.at)
        if end < 0:
            raise Unreadable("it ends too early")
        self.at = end + 1
        return canonical(self.tokens[start:end])

    def command(self, text: str) -> Node:
        """A LaTeX command with its arguments."""
        name = text[1:]
        if name in ("frac", "binom"):
            return Node("div" if name == "frac" else "binom", (self.argument(), self.argument()))
        if name in _CONSTANTS:
            return _CONSTANTS[name]
        if name == "sqrt":
            index = self.arguments("[", most=1)[0] if self.peek() == "[" else num(2)
            # TeX takes one digit, also behind a space; but whoever writes \sqrt 15 means the complete number.
            spaced = self.ahead().kind == "num" and self.ahead().spaced
            return Node("root", (index, self.primary() if spaced else self.argument()))
        if name in FUNCTIONS:
            return self.function(FUNCTIONS[name])
        if name in ("lfloor", "lceil"):
            self.at -= 1
            return Node("func", (self.arguments(text, most=1)[0],), "floor" if name == "lfloor" else "ceil")
        if name in lexicon.GREEK:
            return self.symbol(text)
        raise Unreadable(f"the command {text}")

    def function(self, name: str) -> Node:
        r"""A named function: `\sin^2 x`, `\log_2 8`, `\ln(x+1)`, `\sin 2x`, `\max(3,7)`."""
        base: tuple[Node, ...] = ()
        exponent: Node | None = None
        while self.peek() in ("_", "^") or (self.peek() == "'" and name == "log"):
            if self.take().text == "_":
                base = (self.primary(),)
            else:
                exponent = self.exponent()
        opening = self.peek()
        if opening in ("(", "{") or (opening == "\\{" and name in _ARGUMENT_LISTS):
            inner = self.arguments(opening)
        else:
            inner = (self.sum(_PRODUCT),)
        if exponent == neg(num(1)) and "arc" + name in FUNCTIONS:
            name, exponent = "arc" + name, None
        node = Node("abs", inner) if name in ("abs", "det") else Node("func", (*inner, *base), name)
        return node if exponent is None else Node("pow", (node, exponent))
