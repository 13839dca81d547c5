"""What the page shows, without a browser: catalogue, metrics, responses, pairs, links."""

import html
import os
import re
import shutil
from pathlib import Path

import made_views
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from support import run_command

from simplerl.core.errors import RunError
from simplerl.markup import Safe
from simplerl.markup.text import plain
from simplerl.runs.run import HELD_OUT, Run
from simplerl.viewer.library import MODES, OUTCOMES, SORTS, TRAINING, Library, View, parse, search
from simplerl.viewer.page import HOST, _surface, _ticks, charts, content, open_server, page, piece

BEFORE = [
    *made_views.group("gained", "ww"),
    *made_views.group("lost", "cw"),
    *made_views.group("same", "cc", level="2", kind="algebra"),
    *made_views.group("timeout", "ct"),
    *made_views.group("undecided", "uu"),
    *made_views.group("only-a", "cw"),
    *made_views.group("other", "ww"),
]
AFTER = [
    *made_views.group("gained", "cn", text="A Needle in B"),
    *made_views.group("lost", "ww", stop_reason="length", token_ids=[1] * 9, logprobs=[0.0] * 9),
    *made_views.group("same", "cw", level="2", kind="algebra"),
    *made_views.group("timeout", "cc"),
    *made_views.group("undecided", "cc"),
    *made_views.group("other", "cc", question="Another question?"),
    *made_views.group("only-b", "cc"),
]


@pytest.fixture
def library(tmp_path: Path) -> Library:
    steps = {3: made_views.group("train", "cw")}
    made_views.run(tmp_path / "deep" / "mine", {0: BEFORE, 10: AFTER}, trajectories=steps)
    made_views.run(tmp_path / "other", {0: BEFORE})
    for step, label in ((0, "mine@0"), (10, "mine@10")):
        path = tmp_path / "evaluations" / label / "gsm8k" / "greedy_0123"
        made_views.result(path, BEFORE if step == 0 else AFTER, label=label, benchmark="gsm8k", step=step)
    return Library(tmp_path)


def ids(library: Library, **changes: object) -> list[str]:
    view, notices = library.resolve(View(a="deep/mine", b="deep/mine", **changes))
    pair = library.pair(view, notices)
    numbers = pair.select(view, notices)
    assert notices == []
    return [pair.ids[number] for number in numbers]


# -- catalogue -----------------------------------------------------------------------------------------------------


def test_runs_and_results_are_found(library: Library) -> None:
    entries = library.catalog.entries
    assert list(entries) == ["other", "deep/mine", "results:evaluations:mine"] or set(entries) == {
        "other",
        "deep/mine",
        "results:evaluations:mine",
    }
    mine = entries["deep/mine"]
    assert {step: sorted(there) for step, there in mine.steps.items()} == {
        0: [HELD_OUT],
        3: [TRAINING],
        10: [HELD_OUT],
    }
    assert {step: list(there) for step, there in entries["results:evaluations:mine"].steps.items()} == {
        0: ["gsm8k"],
        10: ["gsm8k"],
    }
    assert library.catalog.notices == []


def test_a_run_itself_can_be_shown(library: Library) -> None:
    assert list(Library(library.root / "deep" / "mine").catalog.entries) == ["."]


def test_damaged_files_are_named_and_left_out(library: Library) -> None:
    folder = library.root / "deep" / "mine" / "evaluations"
    whole = (folder / "step_000010.parquet").read_bytes()
    (folder / "step_000020.parquet").write_bytes(whole[: len(whole) // 2])
    (folder / "step_000030.parquet").write_bytes(b"")
    (folder / "step_000040.parquet").write_bytes(b"PAR1" + b"\xff" * 100 + b"\xff\xff\xff\xffPAR1")
    (folder / ".step_000050.parquet.partial").write_bytes(whole)
    catalog = Library(library.root).catalog
    assert list(catalog.entries["deep/mine"].steps) == [0, 3, 10]
    assert [
        step for step in (20, 30, 40) if any(f"step_{step:06d}.parquet cannot be read" in n for n in catalog.notices)
    ] == [
        20,
        30,
        40,
    ]


def test_damage_inside_a_file_is_named_when_it_is_read(library: Library) -> None:
    file = library.root / "deep" / "mine" / "evaluations" / "step_000010.parquet"
    damaged = bytearray(file.read_bytes())
    damaged[4 : len(damaged) // 2] = b"\x55" * (len(damaged) // 2 - 4)
    file.write_bytes(damaged)
    shown = content(library, View(a="deep/mine", b="deep/mine", b_step=10), [])
    assert "step_000010.parquet cannot be read" in shown.notices
    assert "gained" in shown.body, "the other side is still shown"


def test_a_foreign_parquet_is_named(library: Library) -> None:
    file = library.root / "deep" / "mine" / "evaluations" / "step_000010.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"x": [1]}), file)
    shown = content(library, View(a="deep/mine", b="deep/mine", b_step=10), [])
    assert "it has no column problem_id" in shown.notices


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("reward", "much"), ("level", 1.5), ("token_ids", "x"), ("stop_reason", [1]), ("turns", [{"author": "policy"}]),
        ("reward_parts", {"a": "b"}),
    ],
)  # fmt: skip
def test_columns_of_another_type_are_named_and_left_out(library: Library, name: str, value: object) -> None:
    file = library.root / "deep" / "mine" / "evaluations" / "step_000010.parquet"
    table = pyarrow.parquet.read_table(file)
    kind = pyarrow.map_(pyarrow.string(), pyarrow.string()) if isinstance(value, dict) else None
    values = [list(value.items()) if isinstance(value, dict) else value] * len(table)
    odd = table.set_column(table.schema.get_field_index(name), name, pyarrow.array(values, kind))
    pyarrow.parquet.write_table(odd, file)
    catalog = library.catalog
    assert list(catalog.entries["deep/mine"].steps) == [0, 3]
    assert f"columns of another type: {name}" in "".join(catalog.notices)


def test_turns_and_calls_that_lack_a_part_are_not_shown(tmp_path: Path) -> None:
    call = {"turn": 0, "tool": "sum", "arguments": "1", "result": "2", "status": "ok", "seconds": 0.1}
    turns = [
        {"author": "policy", "text": "whole"},
        {"author": None, "text": "half"},
        {"author": "policy", "text": None},
    ]
    columns = {"turns": turns, "calls": [call, {**call, "tool": "half", "seconds": None}]}
    made_views.run(tmp_path / "r", {0: made_views.group("p", "c", **columns)})
    body = content(Library(tmp_path), View(problem="p"), []).body
    assert "whole" in body
    assert "sum(1)" in body
    assert "half" not in body


@pytest.mark.parametrize("values", [[1e308, -1e308], [1.7e308] * 3, [5e-324, 0.0], [1e99, -1e99]])
def test_absurd_metrics_leave_the_page_whole(tmp_path: Path, values: list[float]) -> None:
    lines = [{"step": step, "accuracy/mean": value} for step, value in enumerate(values)]
    made_views.run(tmp_path / "r", {0: BEFORE}, metrics=lines)
    assert "<figure>" in page(Library(tmp_path), "")


def test_older_and_wider_files_are_read(library: Library) -> None:
    """Files without the columns that came later, and with columns that nobody knows."""
    file = library.root / "deep" / "mine" / "evaluations" / "step_000010.parquet"
    table = pyarrow.parquet.read_table(file)
    table = table.drop_columns(["kind", "reward_parts", "token_ids", "logprobs"])
    pyarrow.parquet.write_table(table.append_column("surprise", pyarrow.array([1] * len(table))), file)
    view, notices = library.resolve(View(a="deep/mine", b="deep/mine", problem="gained", mode="log-probability"))
    shown = content(library, view, notices)
    assert "no log-probabilities were recorded here" in shown.body
    assert "length not known" in shown.body


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_links_that_lead_outside_are_left_out(library: Library, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = made_views.run(tmp_path_factory.mktemp("outside") / "secret", {0: BEFORE})
    (library.root / "linked").symlink_to(outside)
    folder = library.root / "other" / "evaluations"
    (folder / "step_000099.parquet").symlink_to(outside / "evaluations" / "step_000000.parquet")
    (library.root / "deep" / "half").mkdir()
    (library.root / "deep" / "half" / "metrics.jsonl").symlink_to(outside / "metrics.jsonl")
    (library.root / "loop").symlink_to(library.root)
    catalog = Library(library.root).catalog
    assert len(catalog.entries) == 3
    assert list(catalog.entries["other"].steps) == [0]
    assert sum("leads outside" in notice for notice in catalog.notices) == 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_does_not_hang_the_page(library: Library) -> None:
    os.mkfifo(library.root / "other" / "evaluations" / "step_000007.parquet")
    catalog = Library(library.root).catalog
    assert list(catalog.entries["other"].steps) == [0]
    assert any("is not a record of a step" in notice for notice in catalog.notices)


def test_a_name_that_is_no_text_has_a_key(tmp_path: Path) -> None:
    made_views.run(tmp_path / os.fsdecode(b"bad\xff<b>"), {0: BEFORE})
    library = Library(tmp_path)
    (key,) = library.catalog.entries
    assert key == "bad%FF%3Cb%3E"
    shown = content(library, parse(View(a=key).query())[0], [])
    assert "bad⟨U+DCFF⟩&lt;b&gt;" in shown.plots
    assert page(library, View(a=key).query()).encode("utf-8")


# -- metrics -------------------------------------------------------------------------------------------------------


def test_curves_hold_the_numbers_in_order_of_steps(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(
        b'{"step": 5, "a": 2}\n{"step": 0, "a": 1, "t": "text", "n": null}\nx\n{"step": 6, "a": Infinity}\n'
    )
    library = Library(tmp_path)
    (entry,) = library.catalog.entries.values()
    assert [values.tolist() for values in entry.run.history("a")] == [[0, 5], [1.0, 2.0]]
    assert any("metrics.jsonl:3 is damaged" in notice for notice in library.catalog.notices)


def test_damaged_lines_are_named(library: Library) -> None:
    with (library.root / "other" / "metrics.jsonl").open("a") as file:
        file.write("x\n")
    assert "other/metrics.jsonl:2 is damaged: this line is left out" in content(library, View(), []).notices


def test_charts_have_a_line_per_run(tmp_path: Path) -> None:
    one = made_views.run(tmp_path / "1", {}, metrics=[{"step": 0, "m": 0.0}, {"step": 10, "m": 1.0}])
    other = made_views.run(tmp_path / "2", {}, metrics=[{"step": 5, "m": 0.5}])
    drawn = piece("charts", **charts(["m", "<x>"], {"r1": Run(one), "<r2>": Run(other)}, [("A", 0)]))
    assert drawn.count("<polyline") == 2
    assert "&lt;r2&gt;, step 5: 0.5" in drawn
    assert "<x>" not in drawn
    assert "no values" in drawn


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.0, 1.0, [0, 0.5, 1.0]), (3.0, 3.0, [2.6, 2.8, 3.0, 3.2, 3.4]), (-2.0, 40.0, [-20, 0, 20, 40])],
)
def test_axes_have_round_numbers(low, high, expected) -> None:
    assert _ticks(low, high) == pytest.approx(expected)


# -- responses and pairs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        ("all", ["gained", "lost", "same", "timeout", "undecided", "only-a", "other", "only-b"]),
        ("gained", ["gained"]),
        ("lost", ["lost"]),
        ("better", ["gained"]),
        ("worse", ["lost", "same"]),
        ("right-a", ["lost", "same", "timeout", "only-a"]),
        ("wrong-a", ["gained", "other"]),
        ("right-b", ["gained", "same", "timeout", "undecided", "other", "only-b"]),
        ("wrong-b", ["lost"]),
        ("no-answer", ["gained"]),
        ("timeout", ["timeout"]),
        ("undecided", ["timeout", "undecided"]),
        ("truncated", ["lost"]),
    ],
)
def test_outcomes(library: Library, outcome: str, expected: list[str]) -> None:
    """A problem that one side could not judge, or that is another question there, is neither gained nor lost."""
    assert ids(library, outcome=outcome) == expected


def test_every_outcome_has_a_test() -> None:
    tested = next(mark for mark in test_outcomes.pytestmark if mark.name == "parametrize").args[1]
    assert {outcome for outcome, _ in tested} == set(OUTCOMES)


def test_filters(library: Library) -> None:
    assert ids(library, levels=("2",)) == ["same"]
    assert ids(library, kinds=("algebra",)) == ["same"]
    assert ids(library, shortest=4) == ["lost"]
    assert ids(library, shortest=9, longest=9) == ["lost"]
    assert ids(library, longest=2) == []
    assert ids(library, search="nEEdle in b") == ["gained"]
    assert ids(library, search="another question") == ["other"]
    assert ids(library, search="what about lost?") == ["lost"]
    assert ids(library, search=".*") == [], "a search is no pattern"
    assert ids(library, search="needle", levels=("2",)) == []


def test_sorting(library: Library) -> None:
    assert ids(library, sort="change", outcome="worse") == ["lost", "same"]
    assert ids(library, sort="change", descending=True)[:2] == ["gained", "timeout"]
    assert ids(library, sort="right-b", descending=True)[:3] == ["timeout", "undecided", "other"], "equals: by file"
    for descending in (False, True):
        assert ids(library, sort="right-a", descending=descending)[-2:] == ["undecided", "only-b"], "no number: last"
    for sort in SORTS:
        assert sorted(ids(library, sort=sort)) == sorted(ids(library))


def test_a_heading_leads_to_the_highest_then_the_lowest_then_the_order_of_the_file() -> None:
    highest = View(sheet=2).sorted_by("change")
    assert highest == View(sort="change", descending=True)
    assert highest.sorted_by("change") == View(sort="change")
    assert highest.sorted_by("change").sorted_by("change") == View()
    assert highest.sorted_by("right-a") == View(sort="right-a", descending=True)


def test_numbers_in_levels_are_sorted_as_numbers(tmp_path: Path) -> None:
    made_views.run(
        tmp_path / "r", {0: [row for i in (10, 9, 2) for row in made_views.group(f"p-{i}", "c", level=str(i))]}
    )
    assert [level for level, _ in content(Library(tmp_path), View(), []).choices["levels"]] == ["2", "9", "10"]


def test_a_pair_against_a_plain_reading(library: Library) -> None:
    view, _ = library.resolve(View(a="deep/mine", b="deep/mine", b_step=10))
    pair = library.pair(view, [])
    for side, records in enumerate(pair.records):
        rows = pyarrow.parquet.read_table(records.path).to_pylist()
        names = list(dict.fromkeys(row["problem_id"] for row in rows))
        assert [pair.ids[number] for number in np.flatnonzero(pair.there_SP[side])] == sorted(names, key=pair.ids.index)
        for name in names:
            number = pair.positions[name]
            own = [row for row in rows if row["problem_id"] == name]
            assert len(pair.rows(number, side)) == len(own)
            assert pair.correct_SP[side, number] == sum(row["verdict"] == "correct" for row in own)
            assert pair.length_SP[side, number] == np.mean([len(row["token_ids"]) for row in own])
            shown = pair.responses(number, side)
            assert [row["response"] for row in shown] == [row["response"] for row in own]
            assert [row["sample"] for row in shown] == list(range(len(own)))
        found = search(records, "needle", len(rows))
        assert found.tolist() == ["needle" in row["response"].lower() for row in rows]


def test_a_problem_of_a_long_name_has_a_link_that_leads_to_it(tmp_path: Path) -> None:
    names = ["p" * 700 + end for end in ("a", "b")]
    made_views.run(tmp_path / "r", {0: [row for name in names for row in made_views.group(name, "cw", text=name[-1])]})
    shown = page(Library(tmp_path), "")
    (second,) = (link for link in re.findall(r'href="(\?[^"]*problem=[^"]+)"', shown)[2:3])
    assert names[1] in page(Library(tmp_path), html.unescape(second))


def test_rows_in_many_row_groups(tmp_path: Path) -> None:
    rows = [made_views.response(f"p{i}", 0, text=f"text {i}") for i in range(50)]
    run = made_views.run(tmp_path / "r", {0: rows})
    file = run / "evaluations" / "step_000000.parquet"
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(file), file, row_group_size=7)
    library = Library(tmp_path)
    records = library.pair(library.resolve(View())[0], []).records[0]
    wanted = np.isin(np.arange(50), [0, 13, 14, 49])
    rows = [row for batch in records.batches(("response",), wanted) for row in batch.to_pylist()]
    assert [row["response"] for row in rows] == ["text 0", "text 13", "text 14", "text 49"]
    assert np.flatnonzero(search(records, "text 4", 50)).tolist() == [4, *range(40, 50)]


def test_a_file_that_is_replaced_is_read_anew(library: Library) -> None:
    assert "gained" in ids(library, outcome="gained", b_step=10)
    file = library.root / "deep" / "mine" / "evaluations" / "step_000010.parquet"
    made_views.write_rows(file, BEFORE)
    os.utime(file, (1, 1))
    assert ids(library.now(), outcome="gained", b_step=10) == []


def test_a_page_is_of_one_moment(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is deleted while its page is made is still in the catalogue that the page began with."""
    resolve = Library.resolve

    def deleted(self: Library, view: View) -> tuple[View, list[str]]:
        found = resolve(self, view)
        shutil.rmtree(self.root / "deep", ignore_errors=True)
        return found

    monkeypatch.setattr(Library, "resolve", deleted)
    assert "step_000000.parquet" in page(library, "a=deep/mine&b=deep/mine")
    assert "deep/mine" not in page(library, "")


def test_a_file_that_is_rewritten_after_it_was_seen_is_named(library: Library) -> None:
    view, _ = library.resolve(View(a="deep/mine", b="deep/mine", problem="lost"))
    pair = library.pair(view, [])
    file = library.root / "deep" / "mine" / "evaluations" / "step_000010.parquet"
    made_views.write_rows(file, AFTER[:1])
    with pytest.raises(RunError, match="written anew"):
        pair.responses(pair.positions["lost"], 1)


def test_a_text_that_repeats_is_held_once(tmp_path: Path) -> None:
    """Kilobytes on disk that would be gigabytes, were every row written out."""
    count, text = 3000, "x" * 1_000_000
    made_views.run(tmp_path / "r", {0: made_views.group("p", "c")})
    [records] = [held["held-out"] for held in Library(tmp_path).catalog.entries["r"].steps.values()]
    same = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * count, pyarrow.int32()), pyarrow.array([text]))
    table = dict.fromkeys(("question", "answer", "response", "level", "kind"), same)
    table |= {"problem_id": pyarrow.array([f"p{i}" for i in range(count)]), "sample": pyarrow.array([0] * count)}
    table |= dict.fromkeys(("verdict", "stop_reason"), pyarrow.array(["correct"] * count))
    pyarrow.parquet.write_table(pyarrow.table(table), records.path)
    library = Library(tmp_path)
    view, notices = library.resolve(View(search="y"))
    pair = library.pair(view, notices)
    numbers = pair.select(view, notices)
    assert (len(pair.ids), len(numbers), notices) == (count, 0, [])
    assert len({id(level) for level in pair.levels}) == 1


def test_an_empty_file_is_shown_as_empty(tmp_path: Path) -> None:
    made_views.run(tmp_path / "r", {0: []})
    assert "No responses were recorded here" in content(Library(tmp_path), View(), []).body


# -- links ---------------------------------------------------------------------------------------------------------


def test_a_link_gives_the_view_back() -> None:
    view = View(
        runs=("a/b", "c&d=e", "\udcff"),
        metrics=("x/y",),
        a="r 1",
        a_step=0,
        b="r+2",
        b_step=20,
        benchmark="gsm8k",
        outcome="gained",
        levels=("1", ""),
        kinds=("ü",),
        shortest=0,
        longest=99,
        search="a b&c#%",
        sort="change",
        descending=True,
        sheet=3,
        problem="",
        mode="entropy",
    )
    query = view.query()
    assert set(query) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-~%+&=")
    back, notices = parse("?" + query)
    assert back == View(**{**{f: getattr(view, f) for f in View.__dataclass_fields__}, "runs": back.runs})
    assert back.runs[:2] == view.runs[:2]
    assert notices == []
    assert parse(View().query()) == (View(), [])
    empty = "runs=a&a=&a_step=&b_step=&benchmark=&shortest=&longest=&search="  # What a browser says of empty boxes.
    assert parse(empty) == (View(runs=("a",)), [])


@pytest.mark.parametrize(
    "query",
    ["sheet=-1", "a_step=1e9", "mode=evil", "sort=__class__", "outcome=x", "shortest=²", "&" * 2_000 + "a=" * 600],
)
def test_what_a_link_cannot_say_is_left_aside(query: str) -> None:
    view, notices = parse(query)
    assert view == View() or view.a == ""
    assert "left aside" in " ".join(notices) or "&&" in query


@pytest.mark.parametrize("key", ["../../etc", "/etc/passwd", "deep/../../x", "%2e%2e", "results:../..:x", "deep"])
def test_paths_in_links_are_refused(library: Library, key: str) -> None:
    view, notices = library.resolve(View(a=key, runs=(key, "other")))
    assert view.runs == ("other",)
    assert view.a == "other"
    assert any("nothing outside it is opened" in notice for notice in notices)


def test_changing_a_filter_leads_to_the_first_page_of_the_table() -> None:
    view = View(sheet=4, problem="p")
    assert view.but(outcome="lost") == View(outcome="lost")
    assert view.but(mode="source") == View(sheet=4, problem="p", mode="source")


# -- content -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_problem_is_shown_in_every_mode(library: Library, mode: str) -> None:
    view, notices = library.resolve(View(a="deep/mine", b="deep/mine", problem="gained", mode=mode))
    body = content(library, view, notices).body
    assert body.count("<article") == 4
    assert body.index("A · deep/mine · step 0") < body.index("B · deep/mine · step 10")
    if mode in ("rendered", "source", "differences"):
        assert "Needle" in body
    if mode == "log-probability":
        assert body.count('class="token c-h4"') == 1 + 4, "the legend's, and one token of each response"
    if mode in ("advantage", "entropy"):
        assert "here" in body
        assert "were recorded" in body or "training responses" in body


@pytest.mark.parametrize("problem", [None, "<u>p"])
@pytest.mark.parametrize("mode", MODES)
def test_everything_that_is_shown_is_escaped(tmp_path: Path, mode: str, problem: str | None) -> None:
    texts = ("source", "level", "kind", "question", "answer", "stop_reason", "extracted", "rule", "detail")
    rows = [
        *made_views.group("<u>p", "cw", text="<u>", **dict.fromkeys(texts, "<u>"), reward_parts=[("<u>", 1.0)]),
        made_views.response("<u>q", 0, "<u>"),
    ]
    other = [{**row, "question": "<u>other"} for row in rows]
    name = tmp_path / "<u>run"
    made_views.run(name, {0: rows, 5: other}, metrics=[{"step": step, "<u>": 1.0} for step in range(5)])
    (name / "evaluations" / "step_000007.parquet").write_text("<u>")
    view = View(problem=problem, mode=mode, metrics=("<u>",), search="<u>" if problem is None else "")
    shown = page(Library(tmp_path), view.query() + "&sort=<u>")
    assert "<u>" not in shown
    assert shown.count("&lt;u&gt;") > 10


def test_turns_and_calls_are_told_apart() -> None:
    call = {"turn": 0, "tool": "calculator", "arguments": "<b>6*7", "result": "42", "status": "ok", "seconds": 0.002}
    turns = [{"author": "policy", "text": " <<6*7>>"}, {"author": "environment", "text": "=<i>42"}]
    shown = piece("turns", {"turns": turns, "calls": [call]}, [Safe(plain(turn["text"])) for turn in turns])
    assert shown.startswith(" &lt;&lt;6*7&gt;&gt;<span class=")
    assert ">=&lt;i&gt;42</span>" in shown
    assert "turn 1: calculator(&lt;b&gt;6*7) → 42 (ok, 2.0 ms)" in shown


def test_formulas_are_shared_out_among_the_responses(tmp_path: Path) -> None:
    made_views.run(tmp_path / "r", {0: made_views.group("p", "c" * 64, text="$x_1$ " * 200)})
    body = content(Library(tmp_path), View(problem="p"), []).body
    assert 2000 < body.count("<math") <= 3000
    assert body.count("x_1") > 64 * 150, "the others are there as their source"


def test_the_neighbours_are_those_of_the_filters(library: Library) -> None:
    view, notices = library.resolve(View(a="deep/mine", b="deep/mine", outcome="worse", problem="lost"))
    body = content(library, view, notices).body
    assert "1 of 2" in body
    assert "problem=same" in body


def test_tokens_come_from_the_runs_own_tokenizer(library: Library, tokenizer_64) -> None:
    checkpoint = library.root / "deep" / "mine" / "checkpoints" / "step_000010"
    tokenizer_64.save_pretrained(checkpoint)
    texts, problem = library.tokens(library.catalog.entries["deep/mine"], [5, 6, 99, -1])
    assert problem == ""
    assert texts == [tokenizer_64.decode([5]), tokenizer_64.decode([6]), "⟨99⟩", "⟨-1⟩"]
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()
    (checkpoint / "tokenizer.json").write_text('{"model": 1}')
    texts, problem = Library(library.root).tokens(library.catalog.entries["deep/mine"], [5])
    assert "cannot be read" in problem
    assert texts == ["⟨5⟩"]


def test_every_training_step_is_offered_after_the_evaluations(tmp_path: Path) -> None:
    run = made_views.run(tmp_path / "r", {0: BEFORE, 9: AFTER}, trajectories={1: made_views.group("t", "c")})
    os.link(run / "trajectories" / "step_000001.parquet", run / "trajectories" / "step_000002.parquet")
    shown = content(Library(tmp_path), View(a="r", a_step=2, b="r", b_step=0), [])
    assert [step for _, step in shown.choices["a_step"]] == ["0", "9", "1", "2"]


def test_an_export_holds_what_is_shown(library: Library) -> None:
    view, _ = library.resolve(View(a="deep/mine", b="deep/mine", outcome="worse"))
    rows = list(library.export(view))
    assert [(row["side"], row["problem_id"], row["sample"]) for row in rows] == [
        (side, problem, sample) for side in "AB" for problem in ("lost", "same") for sample in (0, 1)
    ]
    assert {row["step"] for row in rows if row["side"] == "B"} == {10}
    assert "logprobs" not in rows[0]
    one = list(library.export(view.but(problem="lost")))
    assert [row["logprobs"] is not None for row in one] == [True] * 4


def test_an_export_says_what_it_lacks(library: Library) -> None:
    """An answer that has begun cannot be taken back: a side or a rest that cannot be read is a row of its own."""
    view, _ = library.resolve(View(a="deep/mine", b="deep/mine"))
    rows = library.export(view)
    assert next(rows)["side"] == "A"
    file = library.root / "deep" / "mine" / "evaluations" / "step_000010.parquet"
    file.write_bytes(file.read_bytes()[:100])
    *whole, last = rows
    assert {row["side"] for row in whole} == {"A"}
    assert len(whole) == len(BEFORE) - 1
    assert list(last) == ["error"]
    assert "step_000010.parquet" in last["error"]
    assert [row for row in library.export(view.but(problem="gained")) if "error" in row]


def test_an_empty_directory_says_so(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    shown = content(Library(tmp_path), View(a="x"), [])
    assert "There are no runs in" in shown.body


def test_a_missing_directory_is_a_message(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be opened"):
        Library(tmp_path / "none")
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="is a file"):
        Library(tmp_path / "file")


# -- the command ---------------------------------------------------------------------------------------------------


def test_a_port_in_use_gives_the_next_one(library: Library) -> None:
    with open_server(library, 47_860) as first, open_server(library, first.server_address[1]) as second:
        assert first.server_address[0] == second.server_address[0] == HOST
        assert second.server_address[1] > first.server_address[1]


def test_mistakes_are_messages(tmp_path: Path) -> None:
    done = run_command("view", str(tmp_path / "none"))
    assert done.returncode == 2
    assert "cannot be opened" in done.stderr
    done = run_command("view", str(tmp_path), "--port", "70000")
    assert done.returncode == 2
    assert "--port must lie between 1 and 65535, got 70000" in done.stderr


def test_the_page_needs_no_torch() -> None:
    import subprocess
    import sys

    from support import environment

    code = "import sys, simplerl.viewer.page; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_surface_of_a_search_is_a_table(tmp_path: Path) -> None:
    points = [
        {"temperature": t, "threshold": r, "query_effect": q}
        for t, r, q in ((0.5, 0.0, 0.1), (0.5, 0.5, 0.2), (1.0, 0.0, 0.4))
    ]
    surface = _surface({"step": 3, "chosen": points[2], "points": points})
    assert surface["thresholds"] == [0.0, 0.5]
    assert surface["rows"] == [
        (0.5, [(0.1, 1, False), (0.2, 2, False)]),
        (1.0, [(0.4, 4, True), (None, 0, False)]),
    ]
    shown = piece("searches", "<b>run", [surface])
    assert "&lt;b&gt;run" in shown
    assert shown.count("<td") == 4
    assert shown.count('class="token c-h4 chosen"') == shown.count('class="token c-0"') == 1
