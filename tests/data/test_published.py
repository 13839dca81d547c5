"""SimpleRL-Zoo's Parquet files, read as they are, and the data sets that stand for them."""

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from support import small_config

from simplerl import data
from simplerl.core.errors import ConfigError, DataError
from simplerl.data.published import ZOO, ZOO_DIRECTORIES
from simplerl.train.components import build_components, load_problems

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
