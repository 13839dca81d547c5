"""What `--data` says: tasks, options, mixtures in exact shares; SimpleRL-Zoo's published files, read as they are."""

import json
from collections import Counter
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from support import small_config

from simplerl import data
from simplerl.core.errors import ConfigError, DataError, SimpleRLError
from simplerl.data import ZOO, ZOO_DIRECTORIES, parse
from simplerl.train.components import build_components, load_problems


def rows(path: Path, count: int) -> str:
    path.write_text("".join(json.dumps({"question": f"Q{i}?", "answer": str(i)}) + "\n" for i in range(count)))
    return str(path)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("gsm8k", [("gsm8k", "", None, {})]),
        ("openai/gsm8k@abc", [("openai/gsm8k@abc", "", None, {})]),
        ("gym:sum,size=5", [("gym", "sum", None, {"size": 5})]),
        ("gym:sum:0.5,low=-1,neg=true,ops=a|b", [("gym", "sum", 0.5, {"low": -1, "neg": True, "ops": ["a", "b"]})]),
        (
            "gym:sum,ops=+|-|++arithmetic",
            [("gym", "sum", None, {"ops": ["+", "-", "+"]}), ("arithmetic", "", None, {})],
        ),
        ("a:.5 + d/b.jsonl:2", [("a", "", 0.5, {}), ("d/b.jsonl", "", 2.0, {})]),
        ("a:0.5+b", [("a", "", 0.5, {}), ("b", "", None, {})]),
        ("<object: rows at x.py:3, sha256 1f>", [("<object: rows at x.py:3, sha256 1f>", "", None, {})]),
    ],
)
def test_parts(text: str, parts: list[tuple]) -> None:
    assert [(p.name, p.task, p.weight, p.options) for p in parse(text)] == parts


def test_a_file_of_that_name_is_a_file(tmp_path: Path) -> None:
    odd = rows(tmp_path / "a+b,c=1.jsonl", 3)
    assert [part.name for part in parse(odd)] == [odd]
    assert len(data.load(odd)) == 3


def shares(problems: list) -> dict[str, int]:
    return dict(Counter(problem.source for problem in problems))


def test_shares_are_exact_and_the_first_problems_have_them_too(tmp_path: Path) -> None:
    name = f"arithmetic:0.25+{rows(tmp_path / 'own.jsonl', 300)}:0.75"
    mixed = data.read(name)
    assert shares(mixed.problems) == {"arithmetic": 100, "own": 300}, "the file has no more than 300"
    assert shares(mixed.problems[:40]) == {"arithmetic": 10, "own": 30}
    assert shares(data.read(name, size=100).problems) == {"arithmetic": 25, "own": 75}
    assert "1900 of 2" in "".join(
        f"{len(p)} of 2" for what, p in mixed.decisions.items() if "more than its share" in what
    )
    assert [part["problems"] for part in mixed.origin["mixture"]] == [100, 300]
    assert mixed.problems == data.read(name).problems


def test_without_weights_everything_is_there(tmp_path: Path) -> None:
    name = f"{rows(tmp_path / 'a.jsonl', 3)}+{rows(tmp_path / 'b.jsonl', 5)}"
    assert shares(data.load(name)) == {"a": 3, "b": 5}
    assert not data.has_test_split(name)
    assert data.has_test_split("arithmetic:0.5+knights:0.5")


def test_what_is_decided_in_one_part_is_said_beside_the_other(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"question": f"{name}?", "answer": ["1", "2"]}))
    (note,) = data.read(f"{tmp_path}/a.jsonl+{tmp_path}/b.jsonl").notes
    assert "2 of 2 rows" in note
    assert "a.jsonl:1" in note
    assert "b.jsonl:1" in note


def test_a_mixture_may_end_with_a_source_from_a_directory(tmp_path: Path) -> None:
    parts = parse(f"arithmetic:0.5+gsm8k@{tmp_path}")
    assert [(part.name, part.weight) for part in parts] == [("arithmetic", 0.5), (f"gsm8k@{tmp_path}", None)]
    (strange := tmp_path / "a+b,c").mkdir()
    assert [part.name for part in parse(f"gsm8k@{strange}")] == [f"gsm8k@{strange}"]


def test_ids_stay_apart() -> None:
    problems = data.load("arithmetic,levels=1,size=50+arithmetic,levels=1|2,size=50")
    assert len({problem.id for problem in problems}) == len(problems) == 100


def test_two_files_of_one_name_are_two_domains(tmp_path: Path) -> None:
    """The accuracy of one would else be that of both; one source with two settings is one domain."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    name = f"{rows(tmp_path / 'a' / 'x.jsonl', 2)}:0.5+{rows(tmp_path / 'b' / 'x.jsonl', 2)}:0.5"
    problems = data.load(name)
    assert shares(problems) == {"0-x": 2, "1-x": 2}
    assert [problem.id for problem in problems] == ["0-x-0", "1-x-0", "0-x-1", "1-x-1"]
    assert shares(data.load("arithmetic,levels=1,size=5+arithmetic,levels=2,size=5")) == {"arithmetic": 10}


def test_a_size_of_its_own_is_that_of_training() -> None:
    assert len(data.load("arithmetic,size=7")) == 7
    assert len(data.load("arithmetic,size=7", size=5)) == 5
    assert len(data.load("arithmetic,size=7", "test", size=9)) == 9
    assert len(data.load("arithmetic,size=0", size=5)) == 5
    assert data.load("arithmetic,size=3,seed=4") == data.load("arithmetic", size=3, seed=4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("arithmetic:0.5+", "empty part"),
        ("arithmetic:0+knights:1", "weight of 'arithmetic' must be positive"),
        ("arithmetic,size", "'size' is not key=value"),
        ("arithmetic,size=1,size=2", "given twice"),
        ("arithmetic,sise=1", "no option 'sise'; did you mean 'size'"),
        ("arithmetic,size=-1", "size must be a whole number"),
        ("arithmetic:sums", "'arithmetic' has no tasks"),
        ("arithmetik:0.5+knights:0.5", "unknown data set 'arithmetik'; did you mean 'arithmetic'"),
        ("nowhere.jsonl:0.5+knights:0.5", "nowhere.jsonl does not exist"),
        ("knights,levels=9", "levels 2 to 8"),
        ("arithmetic@here", "made here"),
    ],
)
def test_bad_input(name: str, message: str) -> None:
    with pytest.raises(SimpleRLError, match=message):
        data.read(name, size=4)


def test_a_long_mixture_is_not_taken_for_a_file() -> None:
    """A file's name has at most 255 characters; a mixture of many tasks is longer."""
    assert len(data.load("+".join(f"arithmetic,levels={1 + i % 5}" for i in range(20)), size=100)) == 100
    for name in ("x" * 300, "~nobody-has-this-name/x.jsonl", "x" * 300 + ".jsonl"):
        with pytest.raises(DataError, match=r"unknown data set|does not exist"):
            data.read(name)


def test_a_share_without_a_problem_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no room for a problem of 'knights'"):
        data.read("arithmetic:0.99+knights:0.01", size=10)


def test_every_part_is_audited(tmp_path: Path) -> None:
    names = f"{rows(tmp_path / 'a.jsonl', 2)}+{rows(tmp_path / 'b.jsonl', 3)}"
    assert [row.id for row in data.rows_to_audit(names)] == ["a-0", "a-1", "b-0", "b-1", "b-2"]


@pytest.mark.parametrize(
    ("row", "choice"),
    [
        ({"question": "Q", "choices": ["3", "4"], "answer": 1}, 1),  # MMLU
        ({"question": "Q", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2"}, 1),  # ARC
        ({"question": {"stem": "Q", "choices": [{"label": "A", "text": "x"}, {"label": "B", "text": "y"}]},
          "answerKey": "A"}, 0),  # CommonsenseQA
        ({"question_stem": "Q", "choices": {"text": ["x", "y"], "label": ["A", "B"]}, "answerKey": "B"}, 1),
        ({"question": "Q", "options": ["A)21", "B)22"], "correct": "B"}, 1),  # AQuA
        ({"question": "Q", "options": {"A": "x", "B": "y"}, "answer": "(b)"}, 1),
        ({"question": "Q\nA) x\nB) y", "choices": ["x", "y"], "answer": "Y"}, 1),
        ({"question": "Q", "choices": ["x", "y"], "answer": "z"}, None),
        ({"question": "Q", "choices": ["$2$", "$3$"], "answer": "$3$"}, 1),
        ({"question": "Q", "choices": [{"label": "P", "text": "x"}, {"label": "R", "text": "y"}], "answer": 1}, 1),
    ],
)  # fmt: skip
def test_rows_with_choices(row: dict, choice: int | None, tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text(json.dumps(row) + "\n")
    (problem,) = data.load(str(tmp_path / "d.jsonl"))
    assert problem.meta["stem"] == "Q"
    assert problem.meta["choice"] == choice
    assert len(problem.meta["options"]) == 2


def test_options_that_cannot_be_told_apart_are_not_shuffled(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text(json.dumps({"question": "Q", "options": "A) 1 B) 2", "answer": "B"}) + "\n")
    assert "options" not in data.load(str(tmp_path / "d.jsonl"))[0].meta
    (tmp_path / "d.jsonl").write_text(
        json.dumps({"question": "Q", "choices": {"label": ["A"], "text": []}, "answer": 1})
    )
    with pytest.raises(DataError, match="as many labels"):
        data.load(str(tmp_path / "d.jsonl"))


QWEN = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n{}\n"
    "Please reason step by step, and put your final answer within \\boxed{{{{}}}}.<|im_end|>\n<|im_start|>assistant\n"
)


def row(index: int, truth: str | None, level: int = 5) -> dict:
    """Return a row with the published columns."""
    question = f"What is {index}+1?"
    return {
        "data_source": "simplerl/math500",
        "prompt": [{"role": "user", "content": QWEN.format(question)}],
        "ability": "math",
        "reward_model": {"ground_truth": truth, "style": "rule"},
        "extra_info": {"index": 100 + index, "split": "test"},
        "question": question,
        "gt_answer": "not what is scored",
        "level": level,
    }


def parquet(path: Path, rows: list[dict]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return str(path)


def test_columns(tmp_path: Path) -> None:
    (problem,) = data.load(parquet(tmp_path / "train.parquet", [row(3, "\\frac{1}{2}")]))
    assert (problem.question, problem.answer, problem.level) == ("What is 3+1?", "\\frac{1}{2}", "5")
    assert problem.meta["original_id"] == "103"
    assert problem.meta["origin"] == "simplerl/math500"
    assert problem.meta["messages"] == (("user", QWEN.format("What is 3+1?")),)


def test_a_question_that_stands_only_in_the_prompt(tmp_path: Path) -> None:
    bare = {key: value for key, value in row(1, "2").items() if key != "question"}
    (problem,) = data.load(parquet(tmp_path / "a.parquet", [bare]))
    assert problem.question == QWEN.format("What is 1+1?")
    named = {**bare, "extra_info": {"index": 1, "question": "What is 1+1?"}}
    (problem,) = data.load(parquet(tmp_path / "b.parquet", [named]))
    assert problem.question == "What is 1+1?"


def test_rows_without_a_gold_are_left_out_by_place_and_count(tmp_path: Path, capsys) -> None:
    path = parquet(tmp_path / "test.parquet", [row(0, "1"), row(1, None), row(2, "3"), row(3, "  "), row(4, "5")])
    found = data.read(path)
    assert [p.id for p in found.problems] == ["test-0", "test-2", "test-4"]
    assert [(item.id, item.place) for item in found.left_out] == [
        ("test-1", f"{path}[1]"),
        ("test-3", f"{path}[3]"),
    ]
    assert "ground_truth is empty" in found.left_out[0].why
    assert data.load(path) == found.problems
    said = capsys.readouterr().err
    assert "2 of 5 rows are left out (reward_model.ground_truth is empty)" in said
    assert f"{path}[1]; {path}[3]" in said


def test_nothing_but_rows_without_a_gold(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="2 rows without a gold answer"):
        data.load(parquet(tmp_path / "d.parquet", [row(0, None), row(1, None)]))


def test_a_run_says_and_records_what_was_left_out_and_that_prompts_differ(tmp_path: Path) -> None:
    path = parquet(tmp_path / "d.parquet", [row(i, None if i in (3, 8) else str(i + 1)) for i in range(20)])
    over = {"data": path, "template": "qwen-boxed", "dataset": {"levels": [], "size": 0}, "evaluation": {"holdout": 4}}
    said: list[str] = []
    session = build_components(small_config(over), said.append)
    session.close()
    assert any("2 of 20 rows are left out" in line and f"{path}[3]" in line for line in said)
    assert any("prompts differ from the template in 14 of 14 problems" in line for line in said)
    recorded = session.environment
    assert recorded["data"]["left_out_no_gold"] == {"train": [f"{path}[3]", f"{path}[8]"]}
    assert recorded["data_origin"]["train"]["file"] == path
    assert len(recorded["data_origin"]["train"]["sha256"]) == 64


def test_a_run_on_the_files_own_prompts(tmp_path: Path) -> None:
    path = parquet(tmp_path / "d.parquet", [row(i, str(i + 1)) for i in range(20)])
    over = {"data": path, "template": "from-data", "dataset": {"levels": [], "size": 0}, "evaluation": {"holdout": 4}}
    said: list[str] = []
    session = build_components(small_config(over), said.append)
    session.close()
    assert not said
    item = session.held_out[0]
    text = session.policy.tokenizer.decode(item.prompt_ids.tolist(), clean_up_tokenization_spaces=False)
    assert text == QWEN.format(item.problem.question)


@pytest.mark.parametrize("tier", ZOO_DIRECTORIES)
def test_tiers_from_a_directory(tier: str, tmp_path: Path) -> None:
    directory = tmp_path / ZOO_DIRECTORIES[tier]
    parquet(directory / "train.parquet", [row(i, str(i + 1), level=1 + i % 5) for i in range(10)])
    parquet(directory / "test.parquet", [row(i, str(i + 1)) for i in range(100, 103)])
    name = f"simplerl-zoo-{tier}@{tmp_path}"
    assert data.has_test_split(name)
    assert [p.id for p in data.load(name)] == [f"simplerl-zoo-{tier}-{i}" for i in range(10)]
    assert [p.level for p in data.load(name, levels=(3, 4), size=3)] == ["3", "4", "3"]
    split = load_problems(small_config({"data": name, "dataset": {"levels": [], "size": 0}}), print)
    assert [p.id for p in split.held_out] == [f"simplerl-zoo-{tier}-test-{i}" for i in range(3)]
    assert split.read["train"].origin["file"] == str(directory / "train.parquet")


def test_a_directory_without_the_files_says_which_are_wanted(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not hold simplelr_qwen_level3to5/train\.parquet"):
        data.load(f"simplerl-zoo-hard@{tmp_path}")
    with pytest.raises(DataError, match=r"does not hold train\.jsonl or train\.json or train\.parquet"):
        data.load(f"gsm8k@{tmp_path}")
    with pytest.raises(ConfigError, match="made here"):
        data.load(f"arithmetic@{tmp_path}")
    with pytest.raises(ConfigError, match="splits train and test, not 'dev'"):
        data.load("simplerl-zoo-hard", "dev")


class Hub:
    """Stands for the `datasets` library: remembers what was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple] = []

    def load_dataset(self, name, configuration=None, **options):
        self.asked.append((name, configuration, options))

        class Rows(list):
            _fingerprint = "f00d"

            class info:
                download_checksums = {f"hf://datasets/{name}@{'ab' * 20}/main/train.parquet": {"num_bytes": 1}}  # noqa: RUF012

        return Rows([{"question": "Q", "answer": "1", "level": "Level 2"}])


@pytest.fixture
def hub(monkeypatch) -> Hub:
    import sys

    fake = Hub()
    monkeypatch.setitem(sys.modules, "datasets", fake)
    return fake


def test_built_in_sets_are_read_at_a_pinned_revision_and_the_commit_is_recorded(hub: Hub) -> None:
    found = data.read("gsm8k")
    ((name, configuration, options),) = hub.asked
    assert (name, configuration, options["split"]) == ("openai/gsm8k", "main", "train")
    assert len(options["revision"]) == 40
    assert found.origin == {
        "hub": "openai/gsm8k", "revision": options["revision"], "commit": "ab" * 20, "fingerprint": "f00d",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("gsm8k@v2", ("openai/gsm8k", "main", {"split": "train", "revision": "v2"})),
        ("owner/name", ("owner/name", None, {"split": "train", "revision": None})),
        ("owner/name@refs/pr/1", ("owner/name", None, {"split": "train", "revision": "refs/pr/1"})),
        (
            "simplerl-zoo-medium@abc",
            (
                ZOO,
                None,
                {
                    "split": "train",
                    "revision": "abc",
                    "data_files": {"train": "simplelr_abel_level1to4/train.parquet"},
                },
            ),
        ),
    ],
)
def test_a_revision_stands_after_the_name(name: str, wanted: tuple, hub: Hub) -> None:
    (problem,) = data.load(name)
    assert hub.asked == [wanted]
    assert problem.answer == "1"


def test_the_record_of_a_file_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"question": "a", "answer": "1"}\n')
    assert json.loads(json.dumps(data.read(str(tmp_path / "d.jsonl")).origin))["file"].endswith("d.jsonl")
