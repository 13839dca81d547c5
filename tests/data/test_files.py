"""Files of problems: GSM8K-style, MATH-style and plain, as JSONL, JSON and Parquet."""

import gzip
import io
import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from support import SHARED

from simplerl.core.errors import DataError
from simplerl.data import load, read, rows_to_audit
from simplerl.data.problems import UnreadableRow, answer_of
from simplerl.data.rows import read_rows
from simplerl.verify import equal


def jsonl(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("row", "question", "answer"),
    [
        ({"question": "How many?", "answer": "4 + 5 = <<4+5=9>>9.\n#### 1,009"}, "How many?", "1,009"),
        ({"question": "Q", "answer": "one #### two\n#### 3"}, "Q", "3"),
        (
            {"problem": "Find $x$.", "solution": "First \\boxed{1}, so $x = \\boxed{\\frac{1}{2}}$."},
            "Find $x$.",
            "\\frac{1}{2}",
        ),
        ({"problem": "P", "solution": "\\boxed{1}", "answer": "2"}, "P", "2"),
        ({"question": "Q", "answer": "  7 "}, "Q", "7"),
        ({"question": "Q", "answer": 7}, "Q", "7"),
        ({"question": "Q", "answer": 27.0}, "Q", "27"),
        ({"question": "Q", "answer": 0.5}, "Q", "0.5"),
        ({"question": "Q", "final_answer": ["\\pi"]}, "Q", "\\pi"),
        ({"input": "Q", "target": "no"}, "Q", "no"),
        ({"Body": "Two birds sit.", "Question": "How many?", "Answer": 2.0}, "Two birds sit. How many?", "2"),
        ({"context": "C.", "question": "C. And then?", "answer": "1"}, "C. And then?", "1"),
        ({"context": None, "question": "Q", "answer": "1"}, "Q", "1"),
        ({"context": "  ", "question": "Q", "answer": "1"}, "Q", "1"),
        ({"question": "Q", "options": "A) 1 B) 2", "Answer": "B"}, "Q\nA) 1 B) 2", "B"),
        ({"question": "Q", "choices": ["x", "y"], "answer": "B"}, "Q\nA) x\nB) y", "B"),
        ({"question": "Q", "choices": ["x", 7], "answer": 1}, "Q\nA) x\nB) 7", "B"),
        ({"question": "Q", "options": ["A)21", "B)22"], "correct": "A"}, "Q\nA)21\nB)22", "A"),
        ({"question": "Q", "options": ["(A) 21", "(B) 22"], "answer": "A"}, "Q\n(A) 21\n(B) 22", "A"),
        ({"question": "Q", "options": ["A. cat", "fish"], "answer": "A"}, "Q\nA) A. cat\nB) fish", "A"),
        ({"question": "Q", "options": {"A": "x", "B": "y"}, "answer": "A"}, "Q\nA) x\nB) y", "A"),
        ({"question": "Q", "choices": {"label": ["1"], "text": ["x"]}, "answer": "1"}, "Q\n1) x", "1"),
        ({"question": "Q\nA) x\nB) y", "choices": ["x", "y"], "answer": "A"}, "Q\nA) x\nB) y", "A"),
        ({"question": "Q", "choices": ["x", "y"], "answer": "x"}, "Q\nA) x\nB) y", "x"),
        ({"question": "Q", "choices": [], "answer": 1}, "Q", "1"),
    ],
)
def test_rows(row: dict, question: str, answer: str, tmp_path: Path) -> None:
    (problem,) = load(jsonl(tmp_path / "d.jsonl", row))
    assert (problem.question, problem.answer) == (question, answer)


@pytest.mark.parametrize("answer", [None, True, [], ["1", ""], [["1"], []], {"a": 1}, "", float("inf")])
def test_what_is_no_answer(answer: object, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"d\.jsonl:1: no final answer"):
        load(jsonl(tmp_path / "d.jsonl", {"question": "Q", "answer": answer}))


@pytest.mark.parametrize("answer", [True, [], {"value": 3}, ["1", None], '["3'])
def test_an_odd_answer_is_never_replaced_by_the_solutions_box(answer: object, tmp_path: Path) -> None:
    row = {"question": "Q", "answer": answer, "solution": "So \\boxed{3}."}
    with pytest.raises(DataError, match=r"d\.jsonl:2: no final answer: 'answer'"):
        load(jsonl(tmp_path / "d.jsonl", {"question": "P", "answer": "1"}, row))


def test_an_empty_answer_beside_a_solution_is_read_from_it_and_counted(tmp_path: Path) -> None:
    answers = ("3", "", None)
    rows = ({"question": f"Q{i}", "answer": a, "solution": "\\boxed{3}"} for i, a in enumerate(answers))
    path = jsonl(tmp_path / "d.jsonl", *rows)
    chosen = read(path)
    assert [problem.answer for problem in chosen.problems] == ["3", "3", "3"]
    assert chosen.notes == [f"2 of 3 rows: 'answer' is empty, so the answer is that of 'solution': {path}:2; {path}:3"]


@pytest.mark.parametrize(
    ("answer", "gold", "said"),
    [
        (["$1$", "$2$"], "$1$, $2$", "all wanted, in any order"),
        (["1,000", "20"], "1000, 20", "all wanted"),
        ([["(1,2)"], ["(3,4)"]], "(1,2), (3,4)", "all wanted"),
        (["1/2", "0.5"], "1/2", "forms of one"),
        (["7", "7"], "7", ""),
        ([7.0], "7", ""),
        ('["7"]', "7", "written in a text"),
        ('["\\\\frac{1}{2}"]', "\\frac{1}{2}", "written in a text"),
        ('["\\frac{1}{2}"]', "\\frac{1}{2}", "written in a text"),
        ('["3", "4"]', "3, 4", "all wanted"),
        ('[ "3" ]', "3", "written in a text"),
        ("['3', '4']", "3, 4", "written in a text"),
        ("[1, 2]", "[1, 2]", ""),
    ],
)
def test_several_answers(answer: object, gold: str, said: str, tmp_path: Path) -> None:
    chosen = read(jsonl(tmp_path / "d.jsonl", {"question": "Q", "answer": answer, "solution": "\\boxed{9}"}))
    assert [problem.answer for problem in chosen.problems] == [gold]
    assert any(said in note and "d.jsonl:1" in note for note in chosen.notes) if said else not chosen.notes


def test_numbers_of_other_types_are_read_or_named() -> None:
    assert answer_of({"answer": Decimal("7.50")})[0] == "7.5"
    with pytest.raises(UnreadableRow, match="'answer' is of the type date, 2020-01-01"):
        answer_of({"answer": date(2020, 1, 1)})


def test_an_answer_that_is_none_of_the_options_is_said(tmp_path: Path) -> None:
    rows = ({"question": f"Q{answer}", "choices": ["x", "y"], "answer": answer} for answer in ("B", "y", "1"))
    (note,) = read(jsonl(tmp_path / "d.jsonl", *rows)).notes
    assert note.startswith("1 of 3 rows: the answer is none of the options: ")
    assert note.endswith("d.jsonl:3")


def test_several_answers_are_judged_as_a_set() -> None:
    gold, _ = answer_of({"answer": ["1,000", "2"]})
    assert equal(gold, "2, 1000")
    assert equal(gold, r"\{1000, 2\}")
    assert not equal(gold, "1000")


@pytest.mark.parametrize(
    "answer", ["proof", "Proof.", "notfound", "N/A", "None", ["proof"], "\\boxed{unknown}", "$\\text{proof}$", "n.a."]
)
def test_placeholders_are_left_out_by_name(answer: object, tmp_path: Path) -> None:
    row = {"question": "Q", "answer": answer, "solution": "So \\boxed{3}."}
    chosen = read(jsonl(tmp_path / "d.jsonl", row, {"question": "P", "answer": "none"}))
    assert [problem.answer for problem in chosen.problems] == ["none"], "none may be an answer"
    (note,) = chosen.notes
    assert note.startswith("1 of 2 rows are left out (the answer is the placeholder '")
    assert note.endswith("d.jsonl:1")


def test_questions_with_conflicting_golds_are_left_out(tmp_path: Path) -> None:
    golds = [("Q", "1"), ("P", "0.5"), (" Q ", "2"), ("P", "1/2"), ("R", "3")]
    chosen = read(jsonl(tmp_path / "d.jsonl", *({"question": q, "answer": a} for q, a in golds)))
    kept = [(problem.id, problem.answer) for problem in chosen.problems]
    assert kept == [("d-1", "0.5"), ("d-3", "1/2"), ("d-4", "3")]
    (note,) = chosen.notes
    assert "2 of 5 rows" in note
    assert "different answers" in note
    assert "d.jsonl:1; " in note
    assert note.endswith("d.jsonl:3")


def test_all_rows_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "d.jsonl", {"question": "P", "answer": "1"}, {"question": "Q"}, {"answer": "1"})
    with pytest.raises(DataError, match=r"d\.jsonl:2: no final answer.*\n1 more of 3 rows.*simplerl audit"):
        load(path)
    chosen = read(path, strict=False)
    assert [item.place for item in chosen.left_out] == [f"{path}:2", f"{path}:3"]
    assert len(chosen.problems) == 1


CHAT = [{"role": "user", "content": "What is 1+1?"}]


@pytest.mark.parametrize(
    ("row", "question", "answer", "said"),
    [
        ({"messages": CHAT, "ground_truth": "2", "dataset": "gsm8k"}, "What is 1+1?", "2", ""),
        ({"messages": [*CHAT, {"role": "assistant", "content": "2"}], "answer": 2}, "What is 1+1?", "2", ""),
        ({"conversations": [{"from": "human", "value": "Q"}], "answer": "2"}, "Q", "2", ""),
        ({"prompt": CHAT, "reward_model": {"ground_truth": ["2"], "style": "rule"}}, "What is 1+1?", "2", ""),
        ({"prompt": CHAT, "reward_model": {"ground_truth": '["2"]'}}, "What is 1+1?", "2", "written in a text"),
        ({"prompt": CHAT, "reward_model": {"style": "model"}, "answer": "2"}, "What is 1+1?", "2", ""),
        ({"prompt": [{"role": "system", "content": "S"}, *CHAT], "answer": "2"}, "What is 1+1?", "2", "prompt.system"),
        ({"prompt": [*CHAT, {"role": "user", "content": "And?"}], "answer": "2"}, "And?", "2", "of several turns"),
        ({"Problem": "P", "Answer": "1"}, "P", "1", ""),
        ({" QUESTION": "P", "ANSWER ": "1"}, "P", "1", ""),
        ({"Answer": "9", "question": "P", "answer": "1"}, "P", "1", ""),
    ],
)
def test_chats_and_capitals(row: dict, question: str, answer: str, said: str, tmp_path: Path) -> None:
    chosen = read(jsonl(tmp_path / "d.jsonl", row))
    assert [(problem.question, problem.answer) for problem in chosen.problems] == [(question, answer)]
    assert any(said in note for note in chosen.notes) if said else not chosen.notes


ROWS = [{"question": f"{i}?", "answer": str(i)} for i in range(3)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.jsonl.gz", gzip.compress(LINES, mtime=0)),
        ("d.json.gz", gzip.compress(json.dumps(ROWS).encode(), mtime=0)),
        ("d.json", LINES),
        ("d.jsonl", json.dumps(ROWS, indent=1).encode()),
        ("d.JSONL", LINES),
        ("d.json", b"\xef\xbb\xbf" + json.dumps(ROWS).encode()),
        ("d.jsonl", b"\n" + b"".join(b"\xef\xbb\xbf" + line + b"\n" for line in LINES.splitlines())),
        ("d.jsonl", LINES.decode().encode("utf-16")),
        ("d.jsonl.gz", gzip.compress(LINES.decode().encode("utf-16"), mtime=0)),
    ],
)
def test_files_in_other_wrappings(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    problems = load(str(tmp_path / name))
    assert [(p.id, p.question, p.answer) for p in problems] == [(f"d-{i}", f"{i}?", str(i)) for i in range(3)]
    assert [row.gold for row in rows_to_audit(str(tmp_path / name))] == ["0", "1", "2"]


def parquet(**columns: object) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.jsonl.gz", gzip.compress(LINES, mtime=0)[:40], "not a complete gzip file"),
        ("d.jsonl.gz", LINES, "not a complete gzip file"),
        ("d.jsonl", b"\xff\xfe\x00\xd8\n\x00", "not valid UTF-16"),
        ("d.json", b'{\n "question": 1}', "d.json:1: not valid JSON, as one list or one object a line"),
        ("d.csv", LINES, "the ending must be one of"),
        ("d.parquet", LINES, "not a readable Parquet file"),
        (
            "d.parquet",
            parquet(question=["1?"], answer=pyarrow.array([b"\xff"]).view("string")),
            "not a readable Parquet file: .*can't decode",
        ),
    ],
)
def test_files_that_are_damaged(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        load(str(tmp_path / name))
    with pytest.raises(DataError, match=message):
        list(rows_to_audit(str(tmp_path / name)))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"question": "Q", "choices": [1, 2], "answer": 1},
            "may be the option of that text or the option of that index",
        ),
        ({"question": "Q", "choices": [None, "x"], "answer": "A"}, "texts or numbers"),
        ({"question": "Q", "choices": ["x"] * 27, "answer": "A"}, "up to 26"),
        ({"question": "Q", "choices": {"label": ["A"], "text": []}, "answer": "A"}, "as many labels"),
        ({"question": "Q", "choices": {"label": 1, "text": None}, "answer": "A"}, "as many labels"),
        (
            {"question": "Q", "choices": [{"label": "1", "text": "x"}, {"label": "2", "text": "y"}], "answer": 1},
            "may be the option of that text or the option of that index",
        ),
    ],
)
def test_options_that_cannot_be_read(row: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"d\.jsonl:1: .*{message}"):
        load(jsonl(tmp_path / "d.jsonl", row))


def test_a_real_row_without_an_answer_is_named() -> None:
    """GaoKao 2023 (English) has one, and a data set may not lose a row in silence."""
    path = SHARED / "data" / "benchmarks" / "gaokao2023en.jsonl"
    if not path.is_file():
        pytest.skip(f"{path} is not there; SIMPLERL_SHARED names the directory that holds data/")
    with pytest.raises(DataError, match=r"gaokao2023en\.jsonl:168: no final answer"):
        load(str(path))


def test_svamp_and_sat_math_keep_what_the_question_needs() -> None:
    """SVAMP's story stands in `Body`, SAT's choices in `options`: without them nobody could answer."""
    for name in ("svamp", "sat_math"):
        path = SHARED / "data" / "benchmarks" / f"{name}.jsonl"
        if not path.is_file():
            pytest.skip(f"{path} is not there; SIMPLERL_SHARED names the directory that holds data/")
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        wanted = {
            "svamp": [f"{row.get('Body')} {row.get('Question')}" for row in rows],
            "sat_math": [f"{row.get('question')}\n{row.get('options')}" for row in rows],
        }[name]
        assert [p.question for p in load(str(path))] == wanted


def test_ids_levels_and_places(tmp_path: Path) -> None:
    rows = [
        {"problem": "a", "answer": "1", "level": "Level 3", "unique_id": "test/algebra/1.json"},
        {"problem": "b", "answer": "2", "level": 5},
        {"problem": "c", "answer": "3"},
    ]
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows).replace("\n", "\n\n", 1))
    found = load(str(path))
    assert [p.id for p in found] == ["mine-0", "mine-1", "mine-2"]
    assert [p.level for p in found] == ["3", "5", ""]
    assert [p.source for p in found] == ["mine"] * 3
    assert [p.meta["place"] for p in found] == [f"{path}:{line}" for line in (1, 3, 4)]
    assert found[0].meta["original_id"] == "test/algebra/1.json"


def test_the_same_rows_in_every_form(tmp_path: Path) -> None:
    rows = [{"question": f"What is {i}?", "answer": str(i), "level": str(i % 2)} for i in range(10)]
    (tmp_path / "d.json").write_text(json.dumps(rows))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "d.parquet", row_group_size=3)
    wanted = load(jsonl(tmp_path / "d.jsonl", *rows))
    for name in ("d.json", "d.parquet"):
        found = load(str(tmp_path / name))
        assert [(p.id, p.question, p.answer, p.level) for p in found] == [
            (p.id, p.question, p.answer, p.level) for p in wanted
        ]
    assert load(str(tmp_path / "d.json"))[4].meta["place"].endswith("d.json[4]")


def test_size_and_levels(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "d.jsonl", *({"question": f"{i}", "answer": "1", "level": i % 3} for i in range(12)))
    assert [p.question for p in load(path, size=4)] == ["0", "1", "2", "3"]
    assert [p.question for p in load(path, levels=(1, 2), size=3)] == ["1", "2", "4"]
    with pytest.raises(DataError, match="no problem of level 7"):
        load(path, levels=(7,))


def test_odd_text_is_kept(tmp_path: Path) -> None:
    question = 'a "quoted" \\frac{1}{2}   数 \u2028 end'
    (problem,) = load(jsonl(tmp_path / "d.jsonl", {"question": question, "answer": "x"}))
    assert problem.question == question


def test_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"question": "Q", "answer": "1"}).encode())
    assert load(str(path))[0].answer == "1"


def test_hub_data_without_the_extra_says_what_to_install(monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "datasets", None)
    for name in ("gsm8k", "math", "owner/name"):
        with pytest.raises(DataError, match=r"simplerl\[hub\]"):
            load(name)


# -- real files, where there are any ---------------------------------------------------------------------------------

#: File → (problems, first answer). 40 rows of college_math ask the same as another row with another gold.
REAL = {
    "train/gsm8k_train.jsonl": (7473, "72"),
    "benchmarks/gsm8k.jsonl": (1319, "18"),
    "benchmarks/math500.jsonl": (500, "\\left( 3, \\frac{\\pi}{2} \\right)"),
    "benchmarks/minerva_math.jsonl": (272, None),
    "benchmarks/olympiadbench.jsonl": (675, None),
    "benchmarks/aime24.jsonl": (30, None),
    "benchmarks/amc23.jsonl": (40, "27"),
    "benchmarks/college_math.jsonl": (2778, "$10-4 n$"),
    "benchmarks/svamp.jsonl": (1000, "145"),
    "benchmarks/sat_math.jsonl": (32, "A"),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files(name: str) -> None:
    path = SHARED / "data" / name
    if not path.is_file():
        pytest.skip(f"{path} is not there; SIMPLERL_SHARED names the directory that holds data/")
    count, first = REAL[name]
    found = load(str(path))
    assert len(found) == count
    assert len({p.id for p in found}) == count
    assert all(p.question.strip() and p.answer.strip() for p in found)
    assert first is None or found[0].answer == first
    assert not any("####" in p.answer or "\\boxed" in p.answer for p in found)
    assert all(equal(p.answer, p.answer) for p in found[:20]), "a gold that does not equal itself"


def test_numbers_in_single_precision_are_what_was_written(tmp_path: Path) -> None:
    """0.1 is no answer of 17 digits; a number in double precision that both have keeps all of its own."""
    table = {
        "question": ["a?", "b?", "c?"],
        "answer": pyarrow.array([0.1, -2.5, None], pyarrow.float32()),
        "scores": pyarrow.array([[0.1, 0.7], [], None], pyarrow.list_(pyarrow.float32())),
        "double": [2.0**-20, 0.1, 1e10],
    }
    (tmp_path / "d.parquet").write_bytes(parquet(**table))
    rows = [row.fields for row in read_rows(tmp_path / "d.parquet")]
    assert [row["answer"] for row in rows] == [0.1, -2.5, None]
    assert [row["scores"] for row in rows] == [[0.1, 0.7], [], None]
    assert [row["double"] for row in rows] == [2.0**-20, 0.1, 1e10]
