"""Tokens coloured by a number each (log-probability, entropy, advantage), with the legend that reads the colours."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from simplerl.markup.text import escape, escape_marked, left_out


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """How a number becomes one of a few colours, which `markup.css` defines."""

    name: str
    unit: str
    bounds: tuple[float, ...]
    """Upper bounds of the colours but the last, ascending."""
    colours: tuple[str, ...]
    """CSS classes, one more than the bounds."""
    labels: tuple[str, ...]
    """What the legend says of each colour."""
    about: str

    def colour(self, value: float | None) -> str:
        """Return the class of a value; `c-none` where there is no number."""
        if value is None or math.isnan(value):
            return "c-none"
        return self.colours[sum(value > bound for bound in self.bounds)]


#: By how surprised the sampler was: probability below 1%, 10%, 37%, 78%, or above.
LOGPROB = Scale(
    name="log-probability",
    unit="nats",
    bounds=(-4.605, -2.303, -1.0, -0.25),
    colours=("c-h4", "c-h3", "c-h2", "c-h1", "c-0"),
    labels=("≤ -4.605", "≤ -2.303", "≤ -1", "≤ -0.25", "> -0.25"),
    about="under the distribution that was sampled; the darker, the less likely",
)
ENTROPY = Scale(
    name="entropy",
    unit="nats",
    bounds=(0.1, 0.5, 1.0, 2.0),
    colours=("c-0", "c-h1", "c-h2", "c-h3", "c-h4"),
    labels=("≤ 0.1", "≤ 0.5", "≤ 1", "≤ 2", "> 2"),
    about="of the distribution that the token was drawn from; the darker, the more open the choice",
)
ADVANTAGE = Scale(
    name="advantage",
    unit="",
    bounds=(-1.0, -0.25, -1e-6, 1e-6, 0.25, 1.0),
    colours=("c-n3", "c-n2", "c-n1", "c-0", "c-p1", "c-p2", "c-p3"),
    labels=("≤ −1", "≤ −0.25", "< 0", "0", "> 0", "> 0.25", "> 1"),
    about="the credit that training gave the token: blue is more of this, red is less",
)
SCALES = {scale.name: scale for scale in (LOGPROB, ENTROPY, ADVANTAGE)}


def coloured(tokens: Sequence[str], values: Sequence[float | None], scale: Scale, *, limit: int = 2_000) -> str:
    """Return tokens as HTML, each with its colour and its number as a tip. Both sequences have the same length."""
    parts = [
        f'<span class="token {scale.colour(value)}" title="{index}: {_shown(value, scale)}">{_text(token)}</span>'
        for index, (token, value) in enumerate(zip(tokens[:limit], values[:limit], strict=True), 1)
    ]
    return "".join(parts) + left_out(max(0, len(tokens) - limit), "tokens")


def _text(token: str) -> str:
    # A line end is shown as a mark too: whether the model chose one token or two newlines is what one looks for.
    return escape_marked(token[:2_000]).replace("\n", '<span class="hidden-character">↵</span>\n') or "&#8203;"


def _shown(value: float | None, scale: Scale) -> str:
    if value is None or math.isnan(value):
        return f"no {scale.name}"
    probability = f" (probability {math.exp(min(value, 0.0)):.1%})" if scale is LOGPROB else ""
    return f"{scale.name} {value:.3f}{' ' + scale.unit if scale.unit else ''}{probability}"


def legend(scale: Scale) -> str:
    """Return what the colours of a scale mean as HTML."""
    colours = zip(scale.colours, scale.labels, strict=True)
    boxes = " ".join(f'<span class="token {colour}">{escape(label)}</span>' for colour, label in colours)
    unit = f" ({scale.unit})" if scale.unit else ""
    return f'<div class="legend">{scale.name}{unit}: {boxes} <span>{scale.about}</span></div>'
