"""Making training data: filters, tiers, contamination found, and a file that is read back."""

import json
import time
from pathlib import Path

import pytest
from support import SHARED

from simplerl.core.errors import ConfigError, DataError, SimpleRLError
from simplerl.core.types import Problem
from simplerl.data import load, read
from simplerl.data.making import (
    Asked,
    benchmark_files,
    build_tiers,
    by_gold,
    by_pass_rate,
    by_prompt_tokens,
    check_output,
    counts,
    decontaminate,
    exact,
    histogram,
    questions,
    report_of,
    report_path,
    sourced,
    words,
    write,
)
from simplerl.verify import VerifierPool


def problem(index: int, *, source: str = "d", level: str = "", answer: str = "1", **meta: object) -> Problem:
    meta = {"place": f"d.jsonl:{index + 1}", **meta}
    return Problem(id=f"{source}-{index}", question=f"Q{index}?", answer=answer, source=source, level=level, meta=meta)


# -- what is written ---------------------------------------------------------------------------------------------------


def test_written_problems_are_read_back(tmp_path: Path) -> None:
    problems = [
        problem(0, level="3", answer="\\frac{1}{2}", messages=(("system", "s"), ("user", "Q0? \\boxed{{}}"))),
        problem(1, original_id="test/algebra/1.json", origin="math", pass_rate=0.25, pass_rate_samples=8),
        problem(2, answer='"x" \u2028 数'),
    ]
    path = tmp_path / "out.jsonl"
    write(path, problems, {"kept": 3})
    found = load(str(path))
    assert [(p.question, p.answer, p.level) for p in found] == [(p.question, p.answer, p.level) for p in problems]
    assert [p.meta["original_id"] for p in found] == ["d-0", "test/algebra/1.json", "d-2"]
    assert [p.meta["origin"] for p in found] == ["d", "math", "d"]
    assert found[0].meta["messages"] == problems[0].meta["messages"]
    assert (found[1].meta["pass_rate"], found[1].meta["pass_rate_samples"]) == (0.25, 8)
    assert "pass_rate" not in found[0].meta
    assert json.loads(report_path(path).read_text()) == {"kept": 3}
    write(path, found, {})
    again = [(p.question, p.meta["original_id"], p.meta["origin"]) for p in load(str(path))]
    assert again == [(p.question, p.meta["original_id"], p.meta["origin"]) for p in found], "a second time as well"


#: Rows of several forms, with what rewards, environments and samplers read of them.
FORMS: list[dict[str, object]] = [
    {"question": "a?", "answer": "1", "rubric": [{"text": "short", "weight": 2}], "principle": "Be kind.", "hint": "h"},
    {"question": "b?", "answer": "It is 2 and 3.\n#### 5", "difficulty": 3},
    {"problem": "c?", "solution": "So it is \\boxed{7}.", "level": "Level 4", "id": "c/1", "data_source": "math"},
    {"question": "d?", "choices": ["x", "y", "z"], "answer": 1},
    {"question": "e?", "choices": {"label": ["1", "2"], "text": ["x", "y"]}, "answerKey": "2", "family": "f"},
    {
        "prompt": "def f(x):\n",
        "test": "def check(f):\n    assert f(1)\n",
        "entry_point": "f",
        "canonical_solution": "  return x",
    },
    {"question": "g?", "input_output": {"inputs": ["1"], "outputs": ["2"]}, "solutions": ["print(2)"], "n": 3},
    {"prompt": [{"role": "user", "content": "h?"}], "reward_model": {"ground_truth": "8"}, "extra_info": {"index": 4}},
]


def test_no_column_is_lost(tmp_path: Path) -> None:
    given, path = tmp_path / "given.jsonl", tmp_path / "out.jsonl"
    for form in FORMS:
        given.write_text(json.dumps(form) + "\n")
        (before,) = load(str(given))
        write(path, [before], {})
        (after,) = load(str(path))
        place = {"place", "original_id", "origin", "messages"}
        place |= {"stem", "options", "choice"} if "label" in form.get("choices", ()) else set()
        kept, read_back = ({k: v for k, v in p.meta.items() if k not in place} for p in (before, after))
        assert read_back == kept, form
        assert (after.question, after.answer, after.level) == (before.question, before.answer, before.level)
    write(path, [problem(0, rubric=["a"]), problem(1)], {})
    assert [p.meta.get("rubric") for p in load(str(path))] == [["a"], None]


def test_a_column_that_json_cannot_hold_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a column of d-0 cannot be stored as JSON .*leave it out"):
        write(tmp_path / "o.jsonl", [problem(0, picture=b"x")], {})


def test_half_a_character_is_kept(tmp_path: Path) -> None:
    odd = problem(0, answer="\ud800")
    write(tmp_path / "o.jsonl", [odd], {})
    assert load(str(tmp_path / "o.jsonl"))[0].answer == "\ud800"


def test_outputs_are_checked_before_any_work(tmp_path: Path) -> None:
    path = tmp_path / "new" / "o.jsonl"
    assert check_output(path, overwrite=False) == path
    assert path.parent.is_dir()
    path.write_text("precious")
    with pytest.raises(DataError, match="exists already"):
        check_output(path, overwrite=False)
    assert check_output(path, overwrite=True) == path
    report_path(tmp_path / "p.jsonl").write_text("precious")
    with pytest.raises(DataError, match=r"p\.report\.json exists already"):
        check_output(tmp_path / "p.jsonl", overwrite=False)
    for bad, message in ((tmp_path / "o.parquet", r"must be \.jsonl"), (path / "o.jsonl", "cannot write")):
        with pytest.raises(SimpleRLError, match=message):
            check_output(bad, overwrite=False)
    with pytest.raises(DataError, match="nothing is left"):
        write(path, [], {})
    assert path.read_text() == "precious"


def test_reports_say_what_was_read(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"question": "Q", "answer": "1"}\n{"question": "Q", "reward_model": {}}\n')
    report = report_of("filter", read(str(tmp_path / "d.jsonl")), {"n": 1}, kept=1)
    assert (report["read"], report["kept"], report["settings"]) == (2, 1, {"n": 1})
    assert [item["place"] for item in report["no_gold"]] == [f"{tmp_path / 'd.jsonl'}:2"]
    assert len(report["input"]["sha256"]) == 64


# -- filters -----------------------------------------------------------------------------------------------------------


def test_prompts_are_counted_in_tokens() -> None:
    problems = [problem(i, original_id=f"o{i}") for i in range(4)]
    result = by_prompt_tokens(problems, lambda p: 10 * (int(p.question[1]) + 1), 30)
    assert [p.id for p in result.kept] == ["d-0", "d-1", "d-2"]
    assert result.removed == [{"id": "d-3", "original_id": "o3", "place": "d.jsonl:4", "tokens": 40}]
    assert result.rows == [("longer prompts", 1)]
    assert result.report["prompt_tokens"] == {"min": 10, "median": 25, "p95": 40, "max": 40}


def test_pass_rates_within_bounds() -> None:
    rates = [0.0, 0.125, 0.5, 0.875, 1.0]
    problems = [*(problem(i, pass_rate=rate) for i, rate in enumerate(rates)), problem(9)]
    kept, removed, *_ = by_pass_rate(problems, least=0.125, most=0.875)
    assert [p.meta["pass_rate"] for p in kept] == [0.125, 0.5, 0.875]
    assert [(item["id"], item["pass_rate"]) for item in removed] == [("d-0", 0.0), ("d-4", 1.0), ("d-9", None)]
    assert removed[-1]["why"] == "no sample could be judged"
    for least, most in ((0.5, 0.4), (-0.1, 1), (0, 1.5)):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            by_pass_rate(problems, least=least, most=most)


@pytest.mark.parametrize("rate", [87.5, -0.5])
def test_a_pass_rate_is_a_share(rate: float) -> None:
    with pytest.raises(DataError, match=rf"d\.jsonl:2: pass_rate must be a share between 0 and 1, got {rate}"):
        by_pass_rate([problem(0, pass_rate=0.5), problem(1, pass_rate=rate)], least=0, most=1)


def test_histogram() -> None:
    rates = [0.0, 0.125, 0.25, 0.26, 0.5, 0.75, 0.875, 1.0, 1.0]
    problems = [problem(index, pass_rate=rate) for index, rate in enumerate(rates)]
    assert histogram([*problems, problem(9)]) == {
        "0": 1, "up to 1/4": 2, "up to 1/2": 2, "up to 3/4": 1, "below 1": 1, "1": 2, "not judged": 1,
    }  # fmt: skip


def test_golds_that_cannot_be_judged() -> None:
    problems = [problem(0, answer="\\frac{1}{2}"), problem(1, answer="\\boxed{}"), problem(2, answer="7")]
    kept, removed, _, _, rows, _ = by_gold(problems, workers=1, timeout_s=2.0)
    assert [p.id for p in kept] == ["d-0", "d-2"]
    assert [(item["id"], item["place"]) for item in removed] == [("d-1", "d.jsonl:2")]
    assert removed[0]["why"]
    assert [count for _, count in rows] == [1, 0, 0]


def test_checking_golds_judges_each_once(monkeypatch) -> None:
    judged = []
    monkeypatch.setattr(VerifierPool, "judge", lambda *arguments: judged.append(arguments))
    kept, *_ = by_gold([problem(0, answer="3+4")], workers=1, timeout_s=2.0)
    assert (len(kept), judged) == (1, [])


# -- tiers -------------------------------------------------------------------------------------------------------------


def test_tiers_are_the_papers() -> None:
    gsm8k = sourced([problem(i) for i in range(3)], "gsm8k", "gsm8k-train")
    math = sourced([problem(10 + i, level=str(1 + i % 5)) for i in range(10)], "math", "math-train")
    built = build_tiers(gsm8k, math)
    assert {name: len(found) for name, found in built.problems.items()} == {"easy": 5, "medium": 8, "hard": 6}
    assert counts(built.problems["easy"]) == {"gsm8k": 3, "math level 1": 2}
    assert {p.level for p in built.problems["medium"]} == set("1234")
    assert {p.level for p in built.problems["hard"]} == set("345")
    assert [p.id for p in built.problems["easy"]][:4] == [
        "gsm8k-train-0",
        "gsm8k-train-1",
        "gsm8k-train-2",
        "math-train-0",
    ]


def test_what_is_in_no_tier_is_named() -> None:
    math = [problem(i, source="math", level=str(1 + i)) for i in range(5)]
    odd = [problem(7, source="math", level="?"), problem(8, source="math")]
    built = build_tiers([], [*math, *odd], exclude=["q1 ?", "Nothing like it"])
    assert [p.id for p in built.excluded] == ["math-1"]
    assert [p.id for p in built.without_level] == ["math-7", "math-8"]
    assert sum(len(found) for found in built.problems.values()) == 1 + 3 + 3


def test_a_tier_without_math_is_refused() -> None:
    with pytest.raises(DataError, match=r"tier easy has no problem of MATH: it needs levels 1, .* there are ''"):
        build_tiers([problem(0, source="gsm8k")], [problem(1, source="math")])


def test_tiers_of_real_files() -> None:
    """MATH-500 stands for MATH: its levels are known."""
    train, math = SHARED / "data" / "train" / "gsm8k_train.jsonl", SHARED / "data" / "benchmarks" / "math500.jsonl"
    if not (train.is_file() and math.is_file()):
        pytest.skip(f"{train} or {math} is not there; SIMPLERL_SHARED names the directory that holds data/")
    built = build_tiers(sourced(load(str(train)), "gsm8k", "gsm8k"), sourced(load(str(math)), "math", "math"))
    assert {name: len(found) for name, found in built.problems.items()} == {"easy": 7516, "medium": 366, "hard": 367}


LONG = "A train leaves the station at noon and travels at sixty miles an hour toward the city. When is it there?"


def asking(question: str, index: int = 0) -> Problem:
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
    kept, (hit,) = decontaminate([asking("Something else."), asking(dressed, 1)], asked("Other.", LONG))
    assert [item.id for item in kept] == ["d-0"]
    assert (hit["id"], hit["benchmark_place"], hit["how"]) == ("d-1", "b.jsonl:2", "13-gram")
    assert hit["shared"] == "a train leaves the station at noon and travels at sixty miles an"
    assert hit["shared_ngrams"] == len(LONG.split()) - 12


def test_thirteen_words_are_needed_and_are_enough() -> None:
    shared = "one two three four five six seven eight nine ten eleven twelve"
    train = [asking(f"{shared} thirteen and so on"), asking(f"{shared} and so on", 1)]
    kept, hits = decontaminate(train, asked(f"Well, {shared} thirteen it is"))
    assert ([item.id for item in kept], [hit["id"] for hit in hits]) == (["d-1"], ["d-0"])
    assert len(decontaminate(train, asked(f"Well, {shared} it is"), n=12)[1]) == 2


def test_short_questions_are_compared_whole() -> None:
    train = [asking("What is 17-9?"), asking("What is 17+9?", 1), asking("Well, what is 17-9?", 2)]
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
    (tmp_path / "b.report.json").touch()
    found = list(benchmark_files([str(tmp_path), "gsm8k"]))
    files = ("a.parquet", "b.jsonl", "svamp/test.jsonl")
    assert found == [*(str(tmp_path / name) for name in files), "gsm8k"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no"):
        list(benchmark_files([str(tmp_path / "empty")]))


def test_time_is_linear() -> None:
    """Eight times the data takes about eight times as long, not sixty-four."""

    def seconds(count: int) -> float:
        train = [asking(" ".join(f"w{(i * 31 + j * 17) % 9973}" for j in range(60)), i) for i in range(count)]
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
