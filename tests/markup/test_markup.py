r"""Hostile text becomes HTML that holds no element, attribute or entity but ours."""

import html
import random
import time
from html.parser import HTMLParser
from xml.etree.ElementTree import Element, SubElement

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simplerl.markup.formulas import ATTRIBUTES, ELEMENTS, _written, formula, prose
from simplerl.markup.text import (
    ADVANTAGE,
    ENTROPY,
    LOGPROB,
    SCALES,
    coloured,
    differences,
    escape,
    escape_marked,
    legend,
    one_line,
    plain,
    runs,
    visible,
)

OWN = {"span", "code", "del", "ins", "div"}

HOSTILE = [
    "<script>window.__pwned = 1</script>",
    "<img src=x onerror=alert(1)>",
    "'\"><svg onload=alert(1)>",
    "</textarea></style><iframe srcdoc='<script>alert(1)</script>'>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "${alert(1)} `x` {{constructor}} {% raw %}",
    r"$\text{<img src=x onerror=alert(1)>}$",
    r"$\href{javascript:alert(1)}{x}$ $\style{background:url(//evil)}{x}$ $\class{a}{y}$ $\color{white}z$",
    r"$\unicode{x3c}script\unicode{x3e}$",
    r"$$\mbox{</math><script>alert(1)</script>}$$",
    "a\u202egnp.exe \u2066x\u2069 \x00\x1b[31m\x7f\u200b\ufeff \ud800 \U000e0041",
    r"$x^ \(\frac{ \[\begin{matrix} \boxed{ $$ $",
]


class Inventory(HTMLParser):
    """What a browser's parser would see: elements, attributes and text."""

    def __init__(self, source: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def assert_harmless(source: str) -> Inventory:
    """Assert that only our elements are there, with attributes that load and run nothing, and no hidden character."""
    found = Inventory(source)
    for tag, attributes in found.elements:
        assert tag in OWN | ELEMENTS, tag
        for name in attributes:
            assert name in {"class", "title", *ATTRIBUTES}, (tag, name)
    assert visible(source) == source
    assert not set(source) & set("{}$`"), "a template language could read it"
    return found


RENDERERS = {
    "plain": plain,
    "prose": prose,
    "line": one_line,
    "first": lambda text: differences(text, "other words")[0],
    "second": lambda text: differences("other words", text)[1],
    "tokens": lambda text: coloured([text, text], [None, -1.0], LOGPROB),
}


@pytest.mark.parametrize("render", RENDERERS.values(), ids=RENDERERS)
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown(render, text) -> None:
    assert_harmless(render(text))


@given(text=st.text(alphabet=st.characters() | st.sampled_from("$\\{}<>&\"'`[]()_^\ud800\u202e\n"), max_size=80))
def test_any_text_is_harmless_and_complete(text) -> None:
    for render in RENDERERS.values():
        assert_harmless(render(text))
    assert Inventory(plain(text)).text == visible(text)
    first, second = differences(text, text[::-1])
    assert Inventory(first).text == visible(text)
    assert Inventory(second).text == visible(text[::-1])


def test_escaping() -> None:
    assert escape("<a href=\"x\" id='y'>&") == "&lt;a href=&quot;x&quot; id=&#x27;y&#x27;&gt;&amp;"
    assert html.unescape(escape("${x} `y`")) == "${x} `y`"
    assert escape("tab\tand\nline") == "tab\tand\nline"
    assert escape("\x00\r\x7f\x85\u202e\ud800") == "␀␍␡⟨U+0085⟩⟨U+202E⟩⟨U+D800⟩"
    assert escape("👩‍🚀 é नि") == "👩‍🚀 é नि", "the joiners of emoji and scripts stay"
    assert escape_marked("a\u202eb") == (
        'a<span class="hidden-character" title="U+202E right-to-left override">⟨U+202E⟩</span>b'
    )


def test_cutting_counts_what_is_left_out() -> None:
    assert plain("abcdef", limit=4).startswith("abcd<")
    assert plain("abcd", limit=4) == "abcd"
    assert "2 characters left out" in differences("abcdef", "ab", limit=4)[0]
    assert "1,000,000 characters left out" in plain("x" * 1_000_100, limit=100)
    assert "5 tokens left out" in coloured(["x"] * 7, [0.0] * 7, LOGPROB, limit=2)
    assert one_line("a \n\n b  c") == "a b c"
    assert one_line("word " * 100, limit=10) == "word word …"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (r"\frac{1}{2}", "<mfrac><mrow><mn>1</mn></mrow><mrow><mn>2</mn></mrow></mfrac>"),
        (r"a<b", "<mi>a</mi><mo>&lt;</mo><mi>b</mi>"),
        (r"\text{<script>}", "<mtext>&lt;script&gt;</mtext>"),
        (r"\unicode{x3c}", "<mi>&lt;</mi>"),
        (r"\unicode{x202e}", "<mi>⟨U+202E⟩</mi>"),
        (r"\kern-1000em x", "<mspace></mspace><mi>x</mi>"),
    ],
)
def test_formulas(source, expected) -> None:
    assert expected in formula(source)


@pytest.mark.parametrize(
    "source",
    [
        "x^",
        r"\frac{",
        "x^a^b",
        r"\begin{matrix}",
        "{" * 1000,
        r"\newcommand{\a}[1]{#1#1}\a{x}",
        r"\def\a{x}\a",
        "x" * 2_001,
        "  ",
    ],
)
def test_what_cannot_be_drawn_is_none(source) -> None:
    assert formula(source) is None


@pytest.mark.parametrize(
    "tag", ["script", "style", "a", "img", "svg", "semantics", "annotation", "annotation-xml", "maction", "mglyph"]
)
def test_only_known_elements_are_written(tag: str) -> None:
    """Whatever the converter makes of its input, now or in a later version."""
    tree = Element("math")
    SubElement(SubElement(tree, "mrow"), tag)
    with pytest.raises(ValueError, match=tag):
        _written(tree)


def test_only_known_attributes_are_written() -> None:
    refused = "href src style class id onclick onload mathcolor mathbackground color actiontype xlink:href"
    tree = Element("math", dict.fromkeys(refused.split(), "x"))
    SubElement(tree, "mi", {"mathvariant": "bold", "lspace": "2em"}).text = "<b>"
    SubElement(tree, "mo", {"mathvariant": 'bold" onload="x', "lspace": "9999em"}).text = "&#x3C;"
    assert _written(tree) == '<math><mi mathvariant="bold" lspace="2em">&lt;b&gt;</mi><mo>&lt;</mo></math>'


def test_prose_finds_formulas_and_leaves_prices() -> None:
    drawn = prose(r"$x$ is $5 and $6; \(y\), \[z\], $$w$$, so \boxed{\frac{1}{2}}. $x^$")
    assert drawn.count("<math") == 5
    assert "is &#36;5 and &#36;6;" in drawn
    assert drawn.count('display="block"') == 2
    assert '<code class="formula-source">&#36;x^&#36;</code>' in drawn
    assert "<math" not in prose(r"\boxed{ is open, $a and $ b, cost \$5")


def test_a_formula_within_an_escaped_dollar() -> None:
    assert "<math" in prose(r"$\$5 + x$")


def test_differences_by_words() -> None:
    first, second = differences("so 2+2=4. Yes", "so 2+3=5. Yes")
    assert first == "so 2+<del>2</del>=<del>4</del>. Yes"
    assert second == "so 2+<ins>3</ins>=<ins>5</ins>. Yes"
    assert differences("same", "same") == ("same", "same")
    assert differences("", "new") == ("", "<ins>new</ins>")


@given(
    first=st.lists(st.sampled_from(["a", "b", "c"]), max_size=12),
    second=st.lists(st.sampled_from(["a", "b", "c"]), max_size=12),
)
def test_differences_are_fewest(first, second) -> None:
    """The words kept are a longest common subsequence, by the quadratic table."""
    a, b = ("".join(f"{word}." for word in words) for words in (first, second))
    left, right = runs(a, b)
    kept = ["".join(text for differs, text in side if not differs) for side in (left, right)]
    assert kept[0] == kept[1]
    words_a, words_b = (list(text) for text in (a, b))
    table = [[0] * (len(words_b) + 1) for _ in range(len(words_a) + 1)]
    for i, x in enumerate(words_a):
        for j, y in enumerate(words_b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    assert len(kept[0]) == table[-1][-1]


def test_colours_follow_the_numbers() -> None:
    assert [LOGPROB.colour(value) for value in (-9.0, -3.0, -2.0, -0.5, 0.0)] == ["c-h4", "c-h3", "c-h2", "c-h1", "c-0"]
    assert [ENTROPY.colour(value) for value in (0.0, 0.3, 3.0)] == ["c-0", "c-h1", "c-h4"]
    assert [ADVANTAGE.colour(value) for value in (-2.0, -0.5, 0.0, 0.1, 2.0)] == ["c-n3", "c-n2", "c-0", "c-p1", "c-p3"]
    assert LOGPROB.colour(None) == LOGPROB.colour(float("nan")) == "c-none"
    shown = coloured([" two", "\n"], [-0.693147, None], LOGPROB)
    assert 'title="1: log-probability -0.693 nats (probability 50.0%)"> two<' in shown
    assert 'title="2: no log-probability"' in shown


@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
def test_legends_name_every_colour(scale) -> None:
    shown = assert_harmless(legend(scale))
    classes = [attributes["class"] for tag, attributes in shown.elements if "token" in attributes.get("class", "")]
    assert classes == [f"token {colour}" for colour in scale.colours]


def test_nothing_hangs() -> None:
    """Every renderer stays far below a second on megabytes and on what is quadratic or exponential elsewhere."""
    rng = random.Random(0)
    texts = [
        "x" * 3_000_000,
        "$" * 1_000_000,
        "$a" * 500_000,
        r"\[" * 500_000,
        r"\boxed{" * 200_000,
        "\u202e" * 1_000_000,
        r"$" + "{" * 1_900 + "$",
        " ".join(rng.choice("ab") for _ in range(500_000)),
        " " * 2_000_000,
    ]
    for text in texts:
        for name, render in RENDERERS.items():
            begin = time.process_time()
            shown = render(text)
            assert time.process_time() - begin < 1.5, (name, text[:10])
            assert len(shown) < 4_000_000
    begin = time.process_time()
    differences("".join(rng.choice("ab ") for _ in range(19_000)), "".join(rng.choice("ab ") for _ in range(19_000)))
    assert time.process_time() - begin < 2.0
