"""The page in Gradio, the library that people of this field know: controls around our own escaped HTML.

The only module that imports gradio. Every control's event takes the view from the page, changes one part of it, and
shows the whole anew; so a link, a click and a control come to the same thing.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from simplerl.markup import CSS
from simplerl.markup.text import escape
from simplerl.viewer.html import content
from simplerl.viewer.library import Library
from simplerl.viewer.state import MODES, OUTCOMES, View, parse

#: Seconds between looks at a directory in which a run may be training.
LOOK_S = 5.0

HERE = Path(__file__).parent

#: An event that comes while another is answered is answered too: Gradio would drop it, and keys may be pressed quickly.
QUIET: Any = {"queue": False, "show_progress": "hidden", "api_visibility": "private", "trigger_mode": "multiple"}


def build(library: Library) -> gr.Blocks:
    """Return the page over a library."""
    with gr.Blocks(title=f"simplerl · {library.root.name}", analytics_enabled=False, fill_width=True) as page:
        parts = _layout(library)
        here, names = parts["here"], list(parts)
        seen = gr.State("")
        outputs = [seen, *parts.values()]

        def show(view: View, complaints: list[str]) -> list[Any]:
            return [_fingerprint(library), *_updates(library, view, complaints, names)]

        def opened(request: gr.Request) -> list[Any]:
            return show(*parse(str(request.query_params)))

        def gone(event: gr.EventData) -> list[Any]:
            return show(*parse(str((event._data or {}).get("query", ""))))

        page.load(opened, None, outputs, **QUIET)
        here.click(gone, None, outputs, **QUIET)
        for name in (*CHOSEN, *TYPED):

            def changed(query: str, value: Any, name: str = name) -> list[Any]:
                return show(parse(query)[0].choose(name, value), [])

            for event in (parts[name].submit, parts[name].blur) if name in TYPED else (parts[name].input,):
                event(changed, [here, parts[name]], outputs, **QUIET)
        watched = ("notices", "plots", "a_step", "b_step", "runs", "metrics", "body")

        def look(query: str, before: str) -> list[Any]:
            """Show what a run that trains has added. Boxes in which one may be typing are left alone."""
            now = _fingerprint(library)
            if now == before:
                return [now, *(gr.skip() for _ in watched)]
            return [now, *_updates(library, parse(query)[0], [], watched)]

        gr.Timer(LOOK_S).tick(look, [here, seen], [seen, *(parts[name] for name in watched)], **QUIET)
    return page


def _layout(library: Library) -> dict[str, Any]:
    title = f'<div class="page"><h1>{escape(library.root.name)}</h1>'
    parts: dict[str, Any] = {}
    # Its value is the query of a link: percent-encoded, so it can hold no markup.
    parts["here"] = gr.HTML(
        "",
        html_template=title + '<a href="?${value}" title="leads back to exactly this view">link to this view</a></div>',
        js_on_load=(HERE / "page.js").read_text(encoding="utf-8"),
        apply_default_css=False,
        elem_id="here",
    )
    parts["notices"] = _html("notices")
    with gr.Group(elem_id="overview") as parts["overview"], gr.Row():
        parts["runs"] = _dropdown("runs", multiselect=True, scale=2)
        parts["metrics"] = _dropdown("metrics", multiselect=True, scale=3)
        parts["doctor"] = gr.Checkbox(label="doctor's findings", elem_id="doctor", min_width=90, scale=0)
    parts["plots"] = _html("plots")
    with gr.Row(equal_height=True):
        parts["a"] = _dropdown("A: run", scale=2)
        parts["a_step"] = _dropdown("A: checkpoint", scale=2)
        parts["b"] = _dropdown("B: run", scale=2)
        parts["b_step"] = _dropdown("B: checkpoint", scale=2)
        parts["benchmark"] = _dropdown("benchmark", scale=2)
        parts["outcome"] = _dropdown("right or wrong", scale=3, choices=[(o, name) for name, o in OUTCOMES.items()])
    with gr.Row(equal_height=True) as parts["filters"]:
        parts["levels"] = _dropdown("level", multiselect=True, scale=2)
        parts["kinds"] = _dropdown("kind", multiselect=True, scale=2)
        parts["shortest"] = gr.Number(label="tokens, at least", minimum=0, precision=0, min_width=90, scale=1)
        parts["longest"] = gr.Number(label="tokens, at most", minimum=0, precision=0, min_width=90, scale=1)
        search: Any = {"label": "search questions, golds and responses (Enter)", "elem_id": "search"}
        parts["search"] = gr.Textbox(**search, max_length=400, max_lines=1, scale=4)
    parts["mode"] = gr.Radio(list(MODES), label="responses", elem_id="mode", container=False, visible=False)
    parts["body"] = _html("body")
    return parts


def _html(name: str) -> gr.HTML:
    return gr.HTML("", elem_id=name, js_on_load=None, apply_default_css=False)


def _dropdown(text: str, *, multiselect: bool = False, scale: int, choices: Any = ()) -> gr.Dropdown:
    name = text.replace(":", "").replace(" ", "-").lower()
    return gr.Dropdown(
        list(choices), value=[] if multiselect else None, label=text, multiselect=multiselect, filterable=True,
        min_width=110, scale=scale, elem_id=f"choose-{name}",
    )  # fmt: skip


#: Controls of which a change shows something else; those that are typed into, on Enter or when they are left.
TYPED = ("search", "shortest", "longest")
CHOSEN = (
    "runs", "metrics", "a", "a_step", "b", "b_step", "benchmark", "outcome", "levels", "kinds", "mode", "doctor"
)  # fmt: skip


def _updates(library: Library, view: View, complaints: list[str], names: Sequence[str]) -> list[Any]:
    """Return the updates of some parts of the page."""
    c = content(library, view, complaints)
    view, reading = c.view, c.view.problem is not None
    values: dict[str, Any] = {
        **{name: list(getattr(view, name)) for name in ("runs", "metrics", "levels", "kinds")},
        **{name: getattr(view, name) or None for name in ("a", "b", "benchmark")},
        **{name: str(step) for name in ("a_step", "b_step") if (step := getattr(view, name)) is not None},
        **{name: getattr(view, name) for name in ("outcome", *TYPED, "mode", "doctor")},
    }
    updates: dict[str, Any] = {
        name: gr.update(value=values.get(name), **c.options.get(name, {})) for name in (*CHOSEN, *TYPED)
    }
    updates |= {
        "here": view.query(),
        "notices": gr.update(value=c.notices, visible=bool(c.notices)),
        "overview": gr.update(visible=not reading),
        "plots": gr.update(value=c.plots, visible=not reading),
        "filters": gr.update(visible=not reading),
        "mode": gr.update(value=view.mode, visible=reading),
        "body": f'<div class="page">{c.body}</div>',
    }
    return [updates[name] for name in names]


def _fingerprint(library: Library) -> str:
    """Return what changes when anything under the directory does."""
    catalog = library.catalog()
    shown = [(entry.key, entry.stamp, entry.ended, entry.steps) for entry in catalog.entries.values()]
    return hashlib.sha256(repr((shown, catalog.notices)).encode("utf-8", "replace")).hexdigest()


def mounted(application: Any, library: Library) -> Any:
    """Put the page at `/` of an application: no file of this machine, no account, no history, nothing foreign."""
    sizes: Any = dict.fromkeys(("text_size", "spacing_size", "radius_size"), "sm")
    theme = gr.themes.Base(  # pyright: ignore[reportPrivateImportUsage]
        font=["system-ui", "-apple-system", "Segoe UI", "sans-serif"], font_mono=["ui-monospace", "monospace"], **sizes
    )
    return gr.mount_gradio_app(
        application,
        build(library),
        path="/",
        server_name="127.0.0.1",
        footer_links=[],
        run_history=False,
        allowed_paths=[],
        show_error=True,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=theme,
        css=CSS + (HERE / "page.css").read_text(encoding="utf-8"),
    )
