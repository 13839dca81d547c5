"""Files are whole or not there, whatever happens while they are written."""

import errno
import json
import os
from pathlib import Path

import pytest
from support import Crash, crash_before_write

from simplerl.core.errors import RunError
from simplerl.runs import files
from simplerl.runs.files import damage, json_line, write_atomic, write_directory, write_json


def fill(directory: Path, text: str = "weights") -> None:
    (directory / "trainer").mkdir()
    (directory / "model").write_text(text * 1000)
    (directory / "trainer" / "state").write_text("{}")


def content(directory: Path) -> dict[str, str]:
    return {str(f.relative_to(directory)): f.read_text() for f in directory.rglob("*") if f.is_file()}


def test_replaces_a_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomic(path, "old")
    write_atomic(path, "new")
    assert content(tmp_path) == {"a.json": "new"}


def test_half_a_character_is_a_question_mark(tmp_path: Path) -> None:
    """A directory's name that is not UTF-8 comes as one, and stands in tables and protocols."""
    write_json(tmp_path / "a.json", {"path": os.fsdecode(b"runs/\xff")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"path": "runs/?"}
    assert content(tmp_path).keys() == {"a.json"}, "nothing half-written beside it"


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_full_disk_leaves_the_old_file(call: str, tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.json"
    write_atomic(path, "old")

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        if call == "fsync":
            patch.setattr(files.os, "fsync", full)
        else:
            patch.setattr(Path, call, full)
        with pytest.raises(RunError, match=r"cannot write .*a\.json: No space left on device.*--resume"):
            write_atomic(path, "new")
    assert content(tmp_path) == {"a.json": "old"}


def test_crash_at_any_write_leaves_old_or_new(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomic(path, "old")
    with crash_before_write(tmp_path, 99) as seen:
        write_atomic(path, "old")
    assert len(seen) >= 2
    for number in range(len(seen)):
        with pytest.raises(Crash), crash_before_write(tmp_path, number):
            write_atomic(path, "new")
        assert path.read_text() == "old"


def test_directory_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "step"
    write_directory(path, fill)
    assert damage(path) is None
    assert set(content(path)) == {"model", "trainer/state", "manifest.json"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["step"]
    write_directory(path, lambda directory: fill(directory, "better"))
    assert damage(path) is None
    assert content(path)["model"].startswith("better")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), ValueError("a bug"), Crash()])
def test_failed_directory_leaves_nothing_behind(error: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "step"
    write_directory(path, fill)
    before = content(path)

    def fail(directory: Path) -> None:
        fill(directory, "half")
        raise error

    with pytest.raises(RunError if isinstance(error, OSError) else type(error)):
        write_directory(path, fail)
    assert content(path) == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["step"]


def test_remains_of_a_crash_are_no_obstacle(tmp_path: Path) -> None:
    remains = tmp_path / ".step.partial"
    remains.mkdir()
    (remains / "junk").write_text("junk")
    write_directory(tmp_path / "step", fill)
    assert "junk" not in content(tmp_path / "step")
    assert not remains.exists()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda d: (d / "model").write_text("short"), "model has changed"),
        (lambda d: (d / "model").unlink(), "model is missing"),
        (lambda d: (d / "trainer" / "state").unlink(), "trainer/state is missing"),
        (lambda d: (d / "manifest.json").unlink(), "manifest.json cannot be read"),
        (lambda d: (d / "manifest.json").write_text('{"model": "ab'), "manifest.json cannot be read"),
        (lambda d: (d / "manifest.json").write_text("[]"), "manifest.json cannot be read"),
    ],
)
def test_damage_is_named(spoil, reason: str, tmp_path: Path) -> None:
    write_directory(tmp_path / "step", fill)
    spoil(tmp_path / "step")
    assert reason in damage(tmp_path / "step")


def test_one_flipped_bit_is_damage(tmp_path: Path) -> None:
    write_directory(tmp_path / "step", fill)
    raw = bytearray((tmp_path / "step" / "model").read_bytes())
    raw[3000] ^= 1
    (tmp_path / "step" / "model").write_bytes(raw)
    assert damage(tmp_path / "step") == "model has changed or is cut short"


def test_json_has_no_nan(tmp_path: Path) -> None:
    value = {"a": float("nan"), "b": [1.5, float("inf")], "c": (float("-inf"), "数"), 3: True}
    wanted = {"a": None, "b": [1.5, None], "c": [None, "数"], "3": True}
    write_json(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == wanted
    line = json_line(value)
    assert json.loads(line) == wanted
    assert line.count("\n") == 1


@pytest.mark.parametrize("number", [0.1, 1e-300, 1 / 3, 2**53 + 1, -0.0])
def test_json_keeps_every_bit_of_a_number(number: float) -> None:
    assert repr(json.loads(json_line({"x": number}))["x"]) == repr(number)


def test_nested_tables_become_dotted_keys() -> None:
    assert files.flatten({"a": {"b": {"c": 1}, "d": []}, "e": {}, "f": None}) == {
        "a.b.c": 1,
        "a.d": [],
        "e": {},
        "f": None,
    }
