"""Units by name: two ways of writing one unit, and units that are certainly different."""

from __future__ import annotations

import re

#: One line for each unit: its name, and other ways of writing it. Plural s is understood.
_UNITS = """
mm millimeter millimetre; cm centimeter centimetre; m meter metre; km kilometer kilometre; nm nanometer nanometre
um micrometer; inch in inche; foot ft feet; yard yd; mile mi; mg milligram; g gram gm; kg kilogram kilo; ton tonne
pound lb; ounce oz; second s sec; ms millisecond; minute min; hour h hr; day; week wk; month mo; year yr
ml milliliter millilitre; liter l litre; dl; gallon gal; quart qt; pint pt; cup; pa pascal; kpa kilopascal; mpa
atm; bar; hz hertz; khz; mhz; ghz; newton n; kn; joule j; kj; cal calorie; kcal; ev; kev; mev; gev; watt w; kw
volt v; kv; ampere amp; mol mole; kelvin; ohm
dollar usd; cent; euro eur; yuan rmb; rad radian; degree deg; bit; byte
kb; mb; gb
"""
_NAMES = {
    name: names.split()[0] for names in _UNITS.replace("\n", ";").split(";") if names.strip() for name in names.split()
}
_SPEEDS = {"mph": "mile/hour", "kph": "km/hour", "kmh": "km/hour", "kmph": "km/hour"}


def _named(word: str) -> str | None:
    return _NAMES.get(word) or _NAMES.get(word.removesuffix("s"))


def unit_name(text: str) -> str | None:
    """One spelling of a unit made of known words, such as `m^2` or `mile/hour`; None if any word is not known."""
    text = re.sub(r"[{}.]", "", text.lower()).strip()
    text = _SPEEDS.get(text, text)
    text = re.sub(r"\b(?:square|sq)\s*(\w+)", r"\1^2", text)
    text = re.sub(r"\b(?:cubic|cu)\s*(\w+)", r"\1^3", text)
    text = re.sub(r"\bper\b", "/", text)
    parts = []
    for part in text.split("/"):
        match = re.fullmatch(r"\s*([a-z]+)\s*(squared|cubed)?\s*(?:\^\s*(-?\d))?\s*", part)
        name = _named(match.group(1)) if match else None
        if not match or name is None:
            return None
        power = {"squared": "2", "cubed": "3"}.get(match.group(2) or "", match.group(3) or "1")
        parts.append(name + "^" + power)
    return "/".join(parts)


def differ(first: str, second: str) -> bool:
    """Whether two units are both known and not the same."""
    names = unit_name(first), unit_name(second)
    return None not in names and names[0] != names[1]
