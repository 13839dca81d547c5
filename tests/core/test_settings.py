"""Settings filled from tables: text is read by the type of its key, and what is wrong is said by name."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, PositiveInt

from simplerl.core.errors import ConfigError
from simplerl.core.settings import filled, read


@dataclass(frozen=True, kw_only=True)
class Inner:
    mode: Literal["true", "off"] = "off"
    share: Annotated[float, Field(gt=0, le=1)] = 0.5


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    count: PositiveInt = 1
    stop: tuple[str, ...] | None = None
    inner: Inner = field(default_factory=Inner)


@pytest.mark.parametrize(
    ("hint", "text", "wanted"),
    [
        (str, "7", "7"),
        (str | None, "7", "7"),
        (int | None, "7", 7),
        (int, None, None),
        (float, "1e-3", 1e-3),
        (bool, "true", True),
        (Literal["true", "off"], "true", "true"),
        (tuple[int, ...], "1,3", [1, 3]),
        (tuple[str, ...], "1,3", ["1", "3"]),
        (tuple[str, ...], '["a, b"]', ["a, b"]),
        (tuple[str, ...] | None, "", []),
        (Any, '[{a = 1}]', [{"a": 1}]),
        (Any, '[{"a": null}]', [{"a": None}]),
        (Any, "[half", "[half"),
        (Any, "null", "null"),
    ],
)  # fmt: skip
def test_text_is_read_by_the_type_that_is_wanted(hint: Any, text: str | None, wanted: object) -> None:
    assert read(hint, text) == wanted


def test_a_table_fills_sections_in_sections() -> None:
    outer = filled(Outer, {"name": "1", "stop": "a,b", "inner": {"mode": "true", "share": "0.25"}})
    assert outer == Outer(name="1", stop=("a", "b"), inner=Inner(mode="true", share=0.25))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"name": "x", "inner": {"shore": 1}}, "unknown key 'at.inner.shore'; did you mean 'share'?"),
        ({"name": "x", "inner": 3}, "at.inner is a section: give a table of its keys, e.g. at.inner.mode"),
        ({"name": "x", "inner": {"share": 2}}, "at.inner.share = 2: Input should be less than or equal to 1"),
        ({"name": "x", "inner": {"share": "nan"}}, "at.inner.share = 'nan': must be a finite number"),
        ({"name": "x", "inner": {"mode": "on"}}, "at.inner.mode must be one of true, off; got 'on'"),
        ({"name": "x", "count": "0"}, "at.count must be positive, got 0"),
        ({"name": "x", "count": True}, "at.count = True: a number is needed"),
        ({"count": 2}, "at: .*missing.*'name'"),
    ],
)
def test_what_is_wrong_is_named(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        filled(Outer, table, "at")
