"""Questions that a benchmark asks too: found whatever their dress, and no others."""

import json
import time
from pathlib import Path

import pytest
from support import SHARED

from simplerl.core.errors import DataError
from simplerl.core.types import Problem
from simplerl.data import load
from simplerl.data.decontaminate import Asked, benchmark_files, decontaminate, exact, questions, words

LONG = "A train leaves the station at noon and travels at sixty miles an hour toward the city. When is it there?"


def problem(question: str, index: int = 0) -> Problem:
    return Problem(id=f"d-{index}", question=question, answer="1", source="d", meta={"place": f"d.jsonl:{index + 1}"})


def asked(*questions: str) -> list[Asked]:
    return [Asked(benchmark="b", place=f"b.jsonl:{i + 1}", question=text) for i, text in enumerate(questions)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Don't, STOP_now!", ["don", "t", "stop", "now"]),
        ("$x^2+\\frac{1}{20}$", ["x", "2", "frac", "1", "20"]),
        ("ＡＢＣ ﬁne ½", ["abc", "fine", "1", "2"]),
        ("已知集合A", ["已", "知", "集", "合", "a"]),
        ("Straße", ["strasse"]),
        ("?!", []),
    ],
)
def test_words(text: str, wanted: list[str]) -> None:
    assert words(text) == wanted


def test_exact_keeps_the_signs_that_make_another_question() -> None:
    assert exact("What is 17-9?") == exact("  what is 17 - 9") == "what is 17 - 9"
    assert len({exact(f"What is 17{sign}9?") for sign in "+-*/^=<>"}) == 8
    assert exact("?!") != exact("!!")


def test_a_shared_n_gram_is_found_whatever_its_dress() -> None:
    dressed = "First, " + LONG.upper().replace(" ", "\n  ").replace(",", ";") + " Explain."
    kept, (hit,) = decontaminate([problem("Something else."), problem(dressed, 1)], asked("Other.", LONG))
    assert [item.id for item in kept] == ["d-0"]
    assert (hit["id"], hit["benchmark_place"], hit["how"]) == ("d-1", "b.jsonl:2", "13-gram")
    assert hit["shared"] == "a train leaves the station at noon and travels at sixty miles an"
    assert hit["shared_ngrams"] == len(LONG.split()) - 12


def test_thirteen_words_are_needed_and_are_enough() -> None:
    shared = "one two three four five six seven eight nine ten eleven twelve"
    train = [problem(f"{shared} thirteen and so on"), problem(f"{shared} and so on", 1)]
    kept, hits = decontaminate(train, asked(f"Well, {shared} thirteen it is"))
    assert ([item.id for item in kept], [hit["id"] for hit in hits]) == (["d-1"], ["d-0"])
    assert len(decontaminate(train, asked(f"Well, {shared} it is"), n=12)[1]) == 2


def test_short_questions_are_compared_whole() -> None:
    train = [problem("What is 17-9?"), problem("What is 17+9?", 1), problem("Well, what is 17-9?", 2)]
    kept, (hit,) = decontaminate(train, asked("what is 17 - 9"))
    assert [item.id for item in kept] == ["d-1", "d-2"]
    assert (hit["id"], hit["how"], hit["shared"]) == ("d-0", "exact", "what is 17 - 9")


def test_benchmarks_need_no_gold_but_a_question(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text('{"Body": "B.", "Question": "Q?"}\n{"problem": "P"}\n')
    assert [item.question for item in questions(str(tmp_path / "b.jsonl"))] == ["B. Q?", "P"]
    (tmp_path / "c.jsonl").write_text('{"question": "Q"}\n{"text": "P"}\n')
    with pytest.raises(DataError, match=r"c\.jsonl:2: no question; wanted one of .*Fields there: 'text'"):
        list(questions(str(tmp_path / "c.jsonl")))


def test_a_directory_stands_for_the_data_files_in_it(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.parquet", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "svamp").mkdir()
    for name in ("test.jsonl", "train.jsonl"):
        (tmp_path / "svamp" / name).touch()
    found = list(benchmark_files([str(tmp_path), "gsm8k"]))
    files = ("a.parquet", "b.jsonl", "svamp/test.jsonl")
    assert found == [*(str(tmp_path / name) for name in files), "gsm8k"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no"):
        list(benchmark_files([str(tmp_path / "empty")]))


def test_time_is_linear() -> None:
    """Eight times the data takes about eight times as long, not sixty-four."""

    def seconds(count: int) -> float:
        train = [problem(" ".join(f"w{(i * 31 + j * 17) % 9973}" for j in range(60)), i) for i in range(count)]
        benchmark = asked(*(" ".join(f"v{(i * 7 + j * 3) % 9973}" for j in range(60)) for i in range(count)))
        began = time.process_time()
        assert not decontaminate(train, benchmark)[1]
        return time.process_time() - began

    small = min(seconds(200) for _ in range(3))
    assert seconds(1600) < 30 * small


def test_gsm8k_against_its_own_test_set() -> None:
    """Real files: the four problems of the training set that the test set asks too, near enough."""
    train, test = SHARED / "data" / "train" / "gsm8k_train.jsonl", SHARED / "data" / "benchmarks" / "gsm8k.jsonl"
    if not (train.is_file() and test.is_file()):
        pytest.skip(f"{train} or {test} is not there; SIMPLERL_SHARED names the directory that holds data/")
    rows = [json.loads(line)["question"] for line in test.read_text(encoding="utf-8").splitlines()]
    _, hits = decontaminate(load(str(train)), questions(str(test)))
    assert [hit["id"].rsplit("-")[-1] for hit in hits] == ["20", "406", "1314", "5162"]
    for hit in hits:
        line = int(hit["benchmark_place"].rsplit(":", 1)[1])
        assert hit["shared"] in " ".join(words(rows[line - 1]))
        assert hit["shared"] in " ".join(words(hit["question"]))
