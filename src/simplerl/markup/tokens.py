"""Tokens coloured by a number each (log-probability, entropy, advantage), with the legend that reads the colours."""

import bisect
import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from simplerl.markup.text import escape, escape_marked, left_out


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """How a number becomes one of a few colours: an entry of tokens.toml, which says what the fields are."""

    name: str
    unit: str
    bounds: list[float]
    colours: list[str]
    labels: list[str]
    about: str

    def colour(self, value: float | None) -> str:
        """Return the CSS class of a value; `c-none` where there is no number."""
        if value is None or math.isnan(value):
            return "c-none"
        return self.colours[bisect.bisect_left(self.bounds, value)]

    def tip(self, value: float | None) -> str:
        """Return a value in words."""
        if value is None or math.isnan(value):
            return f"no {self.name}"
        probability = f" (probability {math.exp(min(value, 0.0)):.1%})" if self is LOGPROB else ""
        return f"{self.name} {value:.3f} {self.unit}".rstrip() + probability


_TABLES = tomllib.loads((Path(__file__).parent / "tokens.toml").read_text(encoding="utf-8"))
SCALES = {name: Scale(name=name, **table) for name, table in _TABLES.items()}
LOGPROB, ENTROPY, ADVANTAGE = SCALES.values()


def coloured(tokens: Sequence[str], values: Sequence[float | None], scale: Scale, *, limit: int = 2_000) -> str:
    """Return tokens as HTML, each with its colour and its number as a tip. Both sequences have the same length."""
    parts = []
    for number, (token, value) in enumerate(zip(tokens[:limit], values[:limit], strict=True), 1):
        # A line end is shown as a mark too: whether the model chose one token or two newlines is what one looks for.
        line_end = '<span class="hidden-character">↵</span>\n'
        text = escape_marked(token[:2_000]).replace("\n", line_end) or "&#8203;"
        parts.append(f'<span class="token {scale.colour(value)}" title="{number}: {scale.tip(value)}">{text}</span>')
    return "".join(parts) + left_out(max(0, len(tokens) - limit), "tokens")


def legend(scale: Scale) -> str:
    """Return what the colours of a scale mean as HTML."""
    colours = zip(scale.colours, scale.labels, strict=True)
    boxes = " ".join(f'<span class="token {colour}">{escape(label)}</span>' for colour, label in colours)
    unit = f" ({scale.unit})" if scale.unit else ""
    return f'<div class="legend">{scale.name}{unit}: {boxes} <span>{scale.about}</span></div>'
