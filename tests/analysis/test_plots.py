"""The plot of a comparison shows what it was given, and its file is small."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from simplerl.analysis.estimates import Band, Estimate
from simplerl.analysis.plots import Panel, draw_panel, plot_panels

LINE = Band(x=[0.0, 1.0], mean=[0.5, 0.9], low=[0.4, 0.7], high=[0.6, 1.4])
BAR = (Estimate(value=0.5, low=0.25, high=0.75, n=3), [0.4, 0.5, 0.6])


def drawn(panel: Panel):
    axes = Figure().subplots()
    draw_panel(axes, panel, {"a": {"color": "red"}, "b": {"color": "blue"}})
    return axes


def test_shares_are_shown_in_per_cent_and_stay_within_a_hundred() -> None:
    axes = drawn(Panel(title="t", ylabel="%", lines={"a": LINE}, dashed={"a": LINE}, scale=100))
    solid, dashed = axes.get_lines()
    assert list(solid.get_ydata()) == [50.0, 90.0]
    assert (solid.get_linestyle(), dashed.get_linestyle()) == ("-", "--")
    assert solid.get_color() == dashed.get_color() == "red"
    assert axes.get_ylim()[1] == 100.0
    assert axes.get_legend_handles_labels()[1] == ["a"], "a dashed line has the name of its solid one"


def test_bars_have_their_interval_and_every_seed() -> None:
    axes = drawn(Panel(title="t", ylabel="", bars={"a": BAR, "b": BAR}))
    assert [patch.get_height() for patch in axes.patches] == [0.5, 0.5]
    assert list(axes.get_lines()[0].get_ydata()) == [0.4, 0.5, 0.6]
    assert axes.collections[0].get_segments()[0][:, 1].tolist() == [0.25, 0.75]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b"]


def test_file_is_small(tmp_path: Path) -> None:
    names = [f"variant {i}" for i in range(6)]
    panels = [Panel(title="t", ylabel="%", lines=dict.fromkeys(names, LINE), scale=100)] * 2
    plot_panels([*panels, Panel(title="t", ylabel="", bars=dict.fromkeys(names, BAR))], tmp_path / "x.png", title="t")
    content = (tmp_path / "x.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert 5_000 < len(content) < 100_000


def test_names_stand_beside_the_panels_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *args, **options: seen.append(figure))
    panels = [Panel(title="t", ylabel="", lines=dict.fromkeys(names, LINE)) for names in ("abc", "bcd")]
    plot_panels(panels, tmp_path / "x.png", title="t")
    ((legend,),) = [figure.legends for figure in seen]
    assert [text.get_text() for text in legend.get_texts()] == list("abcd")
    assert [axes.get_legend() for axes in seen[0].axes] == [None, None]
    colours = [{line.get_label(): line.get_color() for line in axes.get_lines()} for axes in seen[0].axes]
    assert [colours[0][name] for name in "bc"] == [colours[1][name] for name in "bc"]
