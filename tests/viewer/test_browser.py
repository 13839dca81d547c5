"""The page in a real browser: `pytest -m browser`. Needs playwright and a chromium (CHROMIUM=PATH)."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import made_views
import pytest
from support import command, environment

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install '.[browser]')")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no browser at {CHROMIUM}; install Debian's chromium, or set CHROMIUM")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Watched:
    """A tab with everything suspicious that happened in it."""

    def __init__(self, browser: Any):
        self.context = browser.new_context(viewport={"width": 1400, "height": 900}, accept_downloads=True)
        self.foreign: list[str] = []
        self.complaints: list[str] = []
        self.page = self.tab()

    def tab(self) -> Any:
        page = self.context.new_page()
        page.on("request", lambda r: self.foreign.append(r.url) if not r.url.startswith(OWN) else None)
        page.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: self.complaints.append(str(e)))
        page.on("dialog", lambda d: (self.complaints.append(f"dialog {d.message}"), d.dismiss()))
        return page


OWN = ("http://127.0.0.1:", "data:", "blob:")


@pytest.fixture
def watched(chromium: Any) -> Iterator[Watched]:
    tab = Watched(chromium)
    yield tab
    tab.context.close()
    assert tab.foreign == []
    assert tab.complaints == []


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[[Path], str]]:
    """Start `simplerl view DIR` and give its address; Ctrl-C must end each cleanly."""
    started: list[subprocess.Popen[str]] = []

    def start(directory: Path) -> str:
        process = subprocess.Popen(
            command("view", str(directory), "--no-browser", "--port", str(_port())),
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        for line in process.stdout:
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                return found[0]
        raise AssertionError(process.stderr.read())

    yield start
    for process in started:
        process.send_signal(signal.SIGINT)
    for process in started:
        _, errors = process.communicate(timeout=20)
        assert process.returncode in (0, 130)
        assert "Traceback" not in errors, errors


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _bytes(directory: Path) -> dict[str, str]:
    return {
        str(file.relative_to(directory)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in directory.rglob("*")
        if file.is_file()
    }


def opened(page: Any, address: str) -> None:
    page.goto(address)
    page.wait_for_selector("#body :is(table.problems, .card, .nothing)")


def until(page: Any, expression: str, seconds: float = 20.0) -> None:
    """Wait for an expression to be true. Playwright's own waiting needs `eval`, which the page's policy forbids."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(Exception):  # The page may be on its way to another address.
            if page.evaluate(expression):
                return
        time.sleep(0.02)
    raise AssertionError(f"{expression} is not true after {seconds:g} s")


def choose(page: Any, name: str, text: str) -> None:
    """Choose from a list by what it shows."""
    page.locator(f"select[name={name}]").select_option(label=text)


def ids(page: Any) -> list[str]:
    return page.locator("table.problems a.id").all_inner_texts()


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose training gained p1 and p4, lost p2 and kept the rest."""
    before = [
        *made_views.group("p1", "ww", text=r"First guess: $\frac{1}{2}$, so \boxed{7}"),
        *made_views.group("p2", "cw"),
        *made_views.group("p3", "cc", level="2"),
        *made_views.group("p4", "wn"),
        *made_views.group("p5", "wt"),
    ]
    after = [
        *made_views.group("p1", "cw", text=r"Second thought: $\frac{3}{4}$, so \boxed{42}"),
        *made_views.group("p2", "ww"),
        *made_views.group("p3", "cc", level="2"),
        *made_views.group("p4", "cc"),
        *made_views.group("p5", "ww"),
    ]
    directory = tmp_path_factory.mktemp("two") / "runs"
    made_views.run(directory / "mine", {0: before, 10: after, 20: before})
    made_views.run(directory / "other", {0: before, 5: before}, trajectories={1: made_views.group("t1", "cw")})
    return directory


def test_from_opening_to_a_link_and_back(watched: Watched, serve, two_steps: Path) -> None:
    """Open, choose two checkpoints, filter to gained, search, read both answers, and follow the link in a new tab."""
    untouched = _bytes(two_steps)
    page, address = watched.page, serve(two_steps)
    opened(page, address)
    assert page.locator("#plots figure").count() >= 1
    choose(page, "a_step", "0 (base)")
    choose(page, "b_step", "10")
    page.wait_for_url("**b_step=10**")
    choose(page, "outcome", "gained (A never right, B right)")
    page.wait_for_url("**outcome=gained**")
    assert ids(page) == ["p1", "p4"]
    page.locator("[name=search]").fill("SECOND thought")
    page.keyboard.press("Enter")
    page.wait_for_url("**search=SECOND+thought**")
    assert ids(page) == ["p1"]
    page.locator("table.problems a.id", has_text="p1").click()
    page.wait_for_selector(".card")
    answers = page.locator(".card .response").all_inner_texts()
    assert len(answers) == 4
    assert "First guess" in answers[0]
    assert "Second thought" in answers[1]
    assert page.locator(".card .response mfrac").count() == 4, "the fractions are drawn"
    assert page.locator(".card header b").all_inner_texts() == ["wrong", "correct", "wrong", "wrong"]
    page.locator("#mode label", has_text="differences").click()
    page.wait_for_selector("ins")
    assert page.locator(".card ins").first.inner_text() == "Second"
    assert page.locator(".card del").first.inner_text() == "First"

    again = watched.tab()
    opened(again, page.url)
    assert again.url == page.url
    for part in ("#body", "#mode"):
        assert again.locator(part).inner_text() == page.locator(part).inner_text()
    assert again.locator("#mode input:checked").get_attribute("value") == "differences"
    link = again.evaluate("document.querySelector('#here').href")
    assert link == page.url

    page.go_back()
    until(page, "!document.querySelector('.card ins')")
    page.keyboard.press("Escape")
    page.wait_for_selector("table.problems")
    assert ids(page) == ["p1"]
    assert _bytes(two_steps) == untouched


def test_colours_sorting_runs_and_export(watched: Watched, serve, two_steps: Path) -> None:
    page = watched.page
    opened(page, serve(two_steps) + "/?a=mine&a_step=0&b=mine&b_step=10&problem=p1&mode=log-probability")
    assert page.locator(".card").first.locator(".token").count() == 3
    assert page.locator(".card .token.c-h4").first.get_attribute("title").startswith("3: log-probability -5.000 nats")
    assert "by number" in page.locator(".card").first.inner_text(), "there is no tokenizer, and it says so"
    with page.expect_download() as got:
        page.locator("a[download]").click()
    rows = [json.loads(line) for line in Path(got.value.path()).read_text(encoding="utf-8").splitlines()]
    assert [(row["side"], row["sample"], row["verdict"]) for row in rows] == [
        ("A", 0, "wrong"),
        ("A", 1, "wrong"),
        ("B", 0, "correct"),
        ("B", 1, "wrong"),
    ]
    page.keyboard.press("j")
    page.wait_for_url("**problem=p2**")
    page.keyboard.press("Escape")
    page.wait_for_selector("table.problems")
    page.locator("th a", has_text="change").click()
    page.wait_for_url("**sort=change**")
    assert ids(page)[0] == "p4"
    choose(page, "b", "other")
    page.wait_for_url("**b=other**")
    choose(page, "benchmark", "held-out")
    assert "lost" in page.locator("#body .bar").first.inner_text()


def test_links_that_lead_outside_are_refused(watched: Watched, serve, two_steps: Path) -> None:
    page, address = watched.page, serve(two_steps)
    for path in ("../../../../etc", "/etc/passwd", "mine/../../../etc"):
        opened(page, f"{address}/?a={path}&runs={path}&problem={path}&b_step=999&sheet=-4&mode=x")
        notices = page.locator("#notices").inner_text()
        assert "nothing outside it is opened" in notices
        assert "root:" not in page.content()
    assert page.evaluate(f"fetch('{address}/file=/etc/passwd').then(r => r.status)") == 404
    assert page.evaluate(f"fetch('{address}/', {{method: 'POST'}}).then(r => r.status)") == 501
    assert page.evaluate(f"fetch('{address}/export?a=../../etc').then(r => r.status)") == 404
    watched.complaints[:] = [text for text in watched.complaints if not re.search(r"status of (404|501)", text)]


HOSTILE = (
    "<script>window.__pwned = 1</script><img src=x onerror='window.__pwned = 2'>\"><svg onload=window.__pwned=3>"
    "${window.__pwned=4} {{constructor.constructor('window.__pwned=5')()}} `${window.__pwned=6}`"
    "<iframe src='https://evil.example/'></iframe><link rel=stylesheet href=//evil.example/x.css>"
    "[x](javascript:window.__pwned=7) ![y](https://evil.example/i.png) \u202e\x00\x1b[2J\u200b"
    r"$\href{javascript:window.__pwned=8}{x}$ $\text{<img src=x onerror=window.__pwned=9>}$ $\unicode{x3c}$ $x^$"
)


@pytest.mark.parametrize("mode", ["rendered", "source", "differences", "log-probability"])
def test_hostile_text_is_shown_and_never_executed(watched: Watched, serve, hostile: Path, mode: str) -> None:
    page, address = watched.page, serve(hostile)
    opened(page, address)
    assert page.locator("table.problems tbody tr").count() == 2
    page.locator("#choose-levels summary").click()
    page.locator("#choose-levels input").first.check()
    page.keyboard.press("Escape")
    page.wait_for_url("**levels=**")
    assert page.locator("table.problems tbody tr").count() == 1
    page.locator("#choose-levels summary").click()
    page.locator("#choose-levels input").first.uncheck()
    page.keyboard.press("Escape")
    until(page, "!location.search.includes('levels')")
    page.locator("table.problems a.question").first.click()
    page.wait_for_selector(".card")
    label = {"rendered": "rendered", "source": "source"}.get(mode, mode)
    page.locator("#mode label", has_text=label).click()
    page.wait_for_timeout(500)
    text = page.locator("#body").inner_text()
    assert "<script>window.__pwned = 1</script>" in text
    assert "onerror='window.__pwned = 2'" in text
    assert "{{constructor.constructor('window.__pwned=5')()}}" in text
    assert "⟨U+202E⟩␀␛[2J⟨U+200B⟩" in text
    assert page.evaluate("window.__pwned") is None
    inserted = "#body :is(script, img, iframe, link, svg, object), #notices :is(script, img), #body [onerror]"
    assert page.locator(inserted).count() == 0
    assert page.locator("#plots :is(script, img, iframe)").count() == 0
    assert page.evaluate(
        "[...document.querySelectorAll('body *')].every(e => !e.getAttributeNames().some("
        "n => n.startsWith('on') || n === 'style'))"
    )
    hrefs = page.evaluate("[...document.querySelectorAll('#body a')].map(e => e.getAttribute('href'))")
    assert all(href.startswith(("?", "export?")) for href in hrefs)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("hostile") / "runs"
    name = "<img src=x onerror=window.__pwned=10> ${window.__pwned=11} {{x}} \u202e"
    words = dict.fromkeys(("source", "level", "kind", "question", "answer", "rule", "detail", "extracted"), HOSTILE)
    rows = [
        made_views.response(HOSTILE + "a", sample, HOSTILE, HOSTILE * repeat, stop_reason=HOSTILE, **words)
        for sample, repeat in enumerate((1, 2))
    ]
    rows.append(made_views.response("long", 0, text="x" * 3_000_000 + HOSTILE, question="y" * 1_000_000))
    metrics = [{"step": step, HOSTILE: step, "eval/accuracy": 0.5, "__proto__": 1} for step in range(3)]
    made_views.run(directory / name, {0: rows, 1: rows}, metrics=metrics, ended=False)
    made_views.result(directory / "out/m/b/key", rows, label=HOSTILE, benchmark=HOSTILE, step=None)
    return directory


def test_a_run_that_trains_is_followed(watched: Watched, serve, tmp_path: Path) -> None:
    rows = made_views.group("p1", "wc")
    run = made_views.run(tmp_path / "mine", {0: rows}, ended=False)
    page = watched.page
    opened(page, serve(tmp_path))
    assert page.locator("#plots circle").count() == 1
    made_views.write_rows(run / "evaluations" / "step_000007.parquet", rows)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "eval/accuracy": 0.5}\n{"step": 8, "eval/accu')
    until(page, "document.querySelectorAll('#plots circle').length === 2")
    choose(page, "b_step", "7")
    page.wait_for_url("**b_step=7**")


def test_a_hundred_thousand_responses_are_quick(watched: Watched, serve, tmp_path_factory) -> None:
    """100,000 responses on each side: the first page within 2 s, a filter and a search within 1 s.

    The best of three tries each: other programs may want the machine. The first try of the first page reads the files.
    """
    directory = tmp_path_factory.mktemp("large")
    run = made_views.run(directory / "large", {})
    for step in (0, 1):
        made_views.large(run / "evaluations" / f"step_{step:06d}.parquet", step=step)
    page, tries = watched.page, []
    # What a page takes without anything to read, for comparison.
    empty = serve(tmp_path_factory.mktemp("empty"))
    rows = "document.querySelectorAll('table.problems tbody tr').length"
    bar = "document.querySelector('#body .bar').innerText"

    def timed(name: str, act: Callable[[], object], done: str) -> None:
        begin = time.perf_counter()
        act()
        until(page, done)
        tries[-1][name] = round(time.perf_counter() - begin, 2)

    for number in range(3):
        tries.append({})
        # A server of its own per try: nothing is read yet.
        address = serve(directory)
        timed("empty page", lambda: page.goto(empty), "document.querySelector('#body .nothing')")
        timed("first page", lambda address=address: page.goto(address), f"{rows} === 25")
        timed(
            "filter",
            lambda: choose(page, "outcome", "gained (A never right, B right)"),
            f"{bar}.includes(' of 12,500') && !{bar}.startsWith('12')",
        )
        timed(
            "second page",
            lambda: page.locator("a.next").click(),
            f"{bar}.includes('page 2')",
        )
        box = page.locator("[name=search]")
        box.fill(f"Wait wait {number}")
        shown = page.locator("#body .bar").inner_text()
        timed(
            "search",
            lambda box=box: box.press("Enter"),
            f"{bar} !== {json.dumps(shown)}",
        )
        page.goto(f"{address}/?outcome=gained")
        page.wait_for_selector("a.id")
        timed("problem", lambda: page.locator("a.id").first.click(), "document.querySelectorAll('.card').length === 16")
    print(json.dumps(tries))
    best = {name: min(attempt[name] for attempt in tries) for name in tries[0]}
    assert best["first page"] <= 2.0, tries
    assert all(best[name] <= 1.0 for name in ("filter", "second page", "search", "problem")), tries
