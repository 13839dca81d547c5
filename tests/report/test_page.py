"""The page is one file that needs nothing and runs nothing, whatever a run holds."""

import datetime
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_runs import AFTER, BEFORE, made_run, row, rows, write_evaluation

from simplerl.analysis.estimates import Estimate
from simplerl.doctor import RULES
from simplerl.evaluate.figures import figures
from simplerl.report import page
from simplerl.report.figures import Figure
from simplerl.report.outcomes import gather
from simplerl.report.page import Content, duration, quantity, written
from simplerl.runs.directory import ResultDirectory
from simplerl.runs.responses import SCHEMA, ResponseFile, write_rows
from simplerl.runs.run import RESPONSES

FIGURE = Figure(title="<b>", caption="<b>", wide=True, png=b"\x89PNG", pdf=None)
NOW = datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC)

#: Text that would run, fetch, hide, break out or break down, were it not shown as text.
HOSTILE = [
    "<script>window.__ran = 1</script>",
    '"><img src=x onerror="window.__ran = 1">',
    "</style><script>window.__ran = 1</script>",
    "</title></details><svg onload=window.__ran=1>",
    "<iframe src='javascript:window.__ran=1'></iframe><link rel=stylesheet href=//example.com/x.css>",
    "<meta http-equiv=refresh content='0;url=https://example.com'><base href=https://example.com>",
    "{{ 7 * 7 }}{% for x in ().__class__.__base__.__subclasses__() %}",
    "$\\href{javascript:window.__ran=1}{x}$ \\(\\text{<img src=x onerror=window.__ran=1>}\\) $\\def\\a{\\a\\a}\\a$",
    "<math><mtext><style><img src=x onerror=window.__ran=1></style></mtext></math>",
    "\x00\x01\x1b[31m\r\x85\u202etxt.exe\u2028\ufeff",
    "lone \ud800 surrogate",
    "x" * 1_000_000,
    "[click](javascript:window.__ran=1) <a href='data:text/html,<script>1</script>'>",
]


class Elements(HTMLParser):
    """Every element with its attributes, as a browser would find them."""

    def __init__(self, html: str):
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.declarations: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def handle_decl(self, decl: str) -> None:
        self.declarations.append(decl)


#: Elements of the page itself and of MathML without links.
_ALLOWED = """
html head meta title style body header main footer nav section h1 h2 h3 p a ul li div span strong small br code table
thead tbody tr th td details summary figure figcaption img math mrow mi mn mo mtext mspace mfrac msqrt mroot msup msub
msubsup munder mover munderover mtable mtr mtd mstyle mpadded mphantom menclose merror
"""
ALLOWED = frozenset(_ALLOWED.split())


def html_of(*paths: Path, **options) -> str:
    content = Content(gather(list(paths)), pdf=False, **options)
    return page.render(content, command="simplerl report x", now=NOW)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no figures, which take most of a report's time: for tests of everything else."""
    monkeypatch.setattr("simplerl.report.figures.draw_all", lambda *_, **__: {"training": FIGURE})


def check_harmless(html: str) -> Elements:
    """Assert that nothing in a page runs, fetches or leads elsewhere."""
    seen = Elements(html)
    assert {tag for tag, _ in seen.found} <= ALLOWED
    assert seen.declarations == ["DOCTYPE html"]
    for tag, attributes in seen.found:
        for name, value in attributes.items():
            assert not name.startswith("on"), f"<{tag} {name}={value}>"
            if name in ("href", "src", "action", "formaction", "xlink:href", "srcset", "data", "poster"):
                good = value.startswith("#") if tag == "a" else value.startswith("data:image/png;base64,")
                assert good, f"<{tag} {name}={value[:80]}>"
            if name == "style":
                assert re.fullmatch(r"width:\d+\.\d\d%", value), value
    policy = next(a["content"] for tag, a in seen.found if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "@import" not in html
    assert "url(" not in html.split("</style>")[0]
    return seen


def hostile_run(path: Path, text: str) -> Path:
    """Write a run that holds a hostile text wherever a run can hold text."""
    short = text[:200]
    made_run(
        path,
        config={
            "model": text,
            "data": text,
            "seed": short,
            "algorithm": {"name": text, short: text},
            "template": [text, {text: text}],
        },
        session={"git_commit": text, "platform": text, "packages": {short: text}},
        steps=7,
    )
    columns = dict.fromkeys(("level", "question", "answer", "response", "extracted", "rule", "detail"), text)
    columns["stop_reason"] = short
    safe = {name: value.encode("utf-8", "replace").decode() for name, value in columns.items()}
    for step, outcomes in ((0, BEFORE), (7, AFTER)):
        records = [
            row(safe["level"][:99] + problem, i, letter, **safe)
            for problem, word in outcomes.items()
            for i, letter in enumerate(word)
        ]
        write_evaluation(path, step, records)
    lines = (path / "metrics.jsonl").read_text().splitlines()
    lines[-1] = json.dumps({**json.loads(lines[-1]), short: 1.0, text: 2.0})
    (path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    (path / "summary.json").write_text(json.dumps({"seconds": text, "ended_by": text}))
    (path / "stage.json").write_text(json.dumps({"stage": text}))
    return path


@pytest.fixture(scope="module")
def hostile_html(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the report about a run of every hostile text."""
    place = tmp_path_factory.mktemp("hostile")
    return html_of(*(hostile_run(place / f"{n}<b>", text) for n, text in enumerate(HOSTILE)), examples=2)


def test_hostile_runs_are_harmless(hostile_html: str) -> None:
    check_harmless(hostile_html)
    hostile_html.encode("utf-8")  # No lone surrogate is left.
    hidden = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202a-\u202e\u2066-\u2069\ufeff]")
    assert not hidden.search(hostile_html), "hidden characters are marked"


def test_what_was_written_is_what_is_read(hostile_html: str) -> None:
    shown = "".join(Elements(hostile_html).text)
    for text in HOSTILE:
        if text.isprintable() and len(text) < 1000 and "$" not in text:
            assert shown.count(text) > 10, text
    assert "996,400 characters left out" in shown, "2,400 and 1,200 characters of a million are shown"
    assert "␛[31m" in shown
    assert len(hostile_html) < 5_000_000, "megabyte texts are cut"


@pytest.mark.usefixtures("undrawn")
def test_hostile_directory_names(tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>\u202e$x$&amp;\n{{7*7}}"
    html = html_of(made_run(tmp_path / name), made_run(tmp_path / "b"))
    check_harmless(html)
    assert "<img src=x onerror=alert(1)>" in "".join(Elements(html).text)
    assert "{{7*7}}" in "".join(Elements(html).text)


@pytest.mark.usefixtures("undrawn")
def test_hostile_names_of_files_that_are_left_out(tmp_path: Path) -> None:
    path = made_run(tmp_path / "a")
    (path / "trajectories" / "<script>alert(1)<").mkdir()
    (path / "trajectories" / "step_000002.parquet").write_bytes(b"<script>")
    seen = check_harmless(html_of(path))
    assert "<script>alert(1)<" in "".join(seen.text)
    assert "step_000002.parquet cannot be read" in "".join(seen.text)


@pytest.mark.usefixtures("undrawn")
def test_what_the_page_says(tmp_path: Path) -> None:
    paths = [made_run(tmp_path / f"seed{seed}", config={"seed": seed}) for seed in range(3)]
    other = made_run(tmp_path / "other", config={"optimizer": {"lr": 0.5}}, finished=False)
    text = " ".join(" ".join(Elements(html_of(*paths, other)).text).split())
    assert "2026-01-02 03:04 UTC" in text
    assert "other : Not finished: shown up to its last complete line, step 4 of 4" in text
    assert "cub-qwen grpo 3" in text, "a setting over seeds, with their number"
    assert "optimizer.lr 0.001 0.001 0.001 0.5" in text
    assert "gained: 1" in text
    assert "simplerl behaviours" in text, "nobody judged: the command that does"
    assert "It is 7 ." in text, "the box is drawn, not spelt"
    for heading in ("Summary", "Diagnosis", "Learning", "Exploration and exploitation", "Settings", "How to read this"):
        assert heading in text
    assert len(RULES) > 10


def test_sections_that_have_nothing_say_so(tmp_path: Path) -> None:
    (tmp_path / "a" / "trajectories").mkdir(parents=True)
    (tmp_path / "a" / "config.json").write_text('{"model": "m", "data": "d", "steps": 3}')
    seen = check_harmless(html_of(tmp_path / "a"))
    text = " ".join("".join(seen.text).split())
    assert "No step is recorded yet. It has no held-out evaluation." in text
    assert "no gain can be given: there is no evaluation before training" in text
    assert "No rule could be applied yet." in text
    assert not [tag for tag, _ in seen.found if tag == "img"]


def test_a_run_of_sft(tmp_path: Path) -> None:
    path = made_run(tmp_path / "a")
    shutil.rmtree(path / "trajectories")
    (path / "stage.json").write_text('{"stage": "sft"}')
    lines = [{"step": step, "sft/loss": 1 / (step + 1), "sft/tokens": 10} for step in range(1, 5)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = gather([path])
    assert found.runs[0].run.stage == "sft"
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "token_budget": 9, "sft": {"steps": 1234}}))
    (path / "summary.json").unlink()
    assert "step 4 of 1,234, " in gather([path]).runs[0].remarks[0], "not the steps of training"
    assert (found.damage, found.runs[0].run.damage) == ([], [])
    made = Content(found, pdf=False)
    assert {"accuracy_and_length", "training", "pass_at_k"} <= made.figures.keys()
    assert "clip_ratio_and_stopped_length" not in made.figures
    assert "made by simplerl sft" in "".join(Elements(page.render(made, command="x", now=NOW)).text)


@pytest.mark.usefixtures("undrawn")
def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    """And the same figures: tests/report/test_content.py."""
    path = made_run(tmp_path / "a")
    assert html_of(path) == html_of(path)


def test_five_runs_fit_into_a_mail(tmp_path: Path) -> None:
    columns = {"response": "Let us think. " * 500, "question": "How many? " * 50}
    paths = [
        made_run(tmp_path / name, columns=columns, config={"optimizer": {"lr": n}}) for n, name in enumerate("abcde")
    ]
    assert len(html_of(*paths, examples=3).encode()) < 5_000_000


def test_wording() -> None:
    assert [quantity(v) for v in (851177.0, 0.24614, 1234.56, 1.3e-5, -0.5, float("nan"))] == [
        "851,177",
        "0.246",
        "1,234.6",
        "1.3e-05",
        "-0.5",
        "–",
    ]
    assert [duration(s) for s in (82.3, 840, 12_000)] == ["82 s", "14 min", "3 h 20 min"]
    assert (written(-0.039, sign=True), written(Estimate(value=0.5, low=0.25, high=0.75), sign=True)) == (
        "−3.9",
        "+50.0 [+25.0, +75.0]",
    )
    assert written(Estimate(value=-0.001, low=-0.25, high=0.5), share=False, digits=2) == "0.00 [−0.25, 0.50]"


def test_the_schema_of_records_is_what_the_helper_writes() -> None:
    assert set(row("p", 0, "r")) <= set(SCHEMA.names)


@pytest.mark.browser
def test_a_browser_opens_it_from_disk_and_nothing_happens(tmp_path: Path, hostile_html: str) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium on this machine (Debian: apt install chromium)")
    file = tmp_path / "report.html"
    file.write_text(hostile_html, encoding="utf-8")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page()
        requests, said = [], []
        tab.on("request", lambda request: requests.append(request.url))
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("dialog", lambda dialog: said.append(dialog.message))
        tab.goto(file.as_uri(), wait_until="load")
        for summary in tab.query_selector_all("details > summary"):
            if summary.is_visible():
                summary.click()
        tab.wait_for_timeout(500)
        assert tab.evaluate("window.__ran") is None
        assert [url for url in requests if not url.startswith("data:image/png")] == [file.as_uri()]
        assert said == []
        assert tab.url == file.as_uri()
        assert tab.evaluate("document.scripts.length + document.querySelectorAll('iframe, object, embed').length") == 0
        images = tab.evaluate("[...document.images].map(i => i.complete && i.naturalWidth > 0)")
        assert images
        assert all(images)
        tab.set_viewport_size({"width": 380, "height": 800})
        assert tab.evaluate("document.documentElement.scrollWidth") <= 380, "a phone does not scroll sideways"
        browser.close()


# -- results of `simplerl eval` -------------------------------------------------------------------------------------

PROTOCOL = {
    "benchmark": "sums",
    "problems": 3,
    "samples": 2,
    "seed": 0,
    "template": {"name": "plain"},
    "sampling": {"temperature": 1.0},
    "policy": "boxed",
    "data_sha256": "d",
}


def result(path: Path, label: str, outcomes: dict[str, str], **protocol) -> None:
    with ResultDirectory(path) as directory:
        directory.begin({**PROTOCOL, "label": label, "step": None, "model": label, **protocol}, overwrite=False)
        write_rows(path / RESPONSES, rows(outcomes))
        directory.finish(figures(ResponseFile(path / RESPONSES).answers()), {})


@pytest.fixture
def evaluations(tmp_path: Path) -> Path:
    place = tmp_path / "evaluations"
    result(place / "a", "base", {"p": "ww", "q": "rw", "s": "rr"})
    result(place / "b", "run@4", {"p": "rr", "q": "rr", "s": "wr"}, step=4)
    result(place / "c", "run@8", {"p": "rr", "q": "rr", "s": "rr"}, step=8, policy="loose")
    result(place / "d", "run@8", {"x": "rr"}, step=8, benchmark="<b>products</b>")
    return place


def test_results_alone(evaluations: Path) -> None:
    made = Content(gather([evaluations]), pdf=False)
    found = made.benchmarks
    assert found.names == ["sums", "<b>products</b>"]
    assert list(found.table) == ["base", "run@4", "run@8"]
    assert found.beside["run@4", "sums"]["difference"]["value"] == pytest.approx((1 + 0.5 - 0.5) / 3)
    best = found.beside["run@8", "sums"]
    assert (len(best["gained"]), len(best["lost"])) == (1, 0)
    assert list(best["unfair"]) == ["policy: boxed before, loose after"]
    assert set(made.figures) == {"benchmarks_over_steps", "benchmarks_pass_at_k"}
    html = page.render(made, command="x", now=datetime.datetime(2026, 1, 1))
    assert "<b>" not in html
    assert re.search(r"<tr><th>base</th><td class=\"number\">50\.0 \[.*?</td><td class=\"number\">–</td>", html)
    assert "policy: boxed before, loose after" in html
    assert 'id="summary"' not in html


def test_results_beside_a_run(evaluations: Path, tmp_path: Path) -> None:
    made = Content(gather([made_run(tmp_path / "r"), evaluations]), pdf=False)
    assert {"accuracy_and_length", "benchmarks_pass_at_k"} <= made.figures.keys()
    assert page.render(made, command="x", now=datetime.datetime(2026, 1, 1)).count("<h2>") == 10


def test_a_damaged_result_is_named(evaluations: Path) -> None:
    (evaluations / "d" / "figures.json").write_text("{")
    (evaluations / "b" / RESPONSES).write_bytes(b"PAR1")
    made = Content(gather([evaluations]), pdf=False)
    assert made.benchmarks.names == ["sums"]
    said = "\n".join(made.damage)
    assert "figures.json cannot be read" in said
    assert "responses.parquet cannot be read" in said
    assert "cannot be read" in made.benchmarks.beside["run@4", "sums"]
