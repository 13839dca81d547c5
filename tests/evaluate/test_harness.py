"""lm-evaluation-harness: our templates around its questions; the real harness on a task of our own, if installed."""

import json
import sys
import types
from pathlib import Path

import pytest
from support import run_main

from simplerl.data.prompts import prompter
from simplerl.evaluate.harness import evaluate, render, scores
from simplerl.evaluate.run import Settings, Target, prompt_settings, targets


def test_the_last_question_is_opened() -> None:
    history = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "1+1?"},
        {"role": "assistant", "content": " 2"},
        {"role": "user", "content": "2+2?"},
    ]
    shown = render(history, prompter("plain"), None, opened=True)
    assert shown == "Question: Be brief.\n\n1+1?\nAnswer: 2\n\nQuestion: 2+2?\nAnswer:"


def test_a_begun_answer_is_left_open() -> None:
    history = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": " The answer is"}]
    assert render(history, prompter("plain"), None, opened=False) == "Question: 1+1?\nAnswer: The answer is"


def test_scores_are_read_from_its_results() -> None:
    found = {"results": {"t": {"alias": "t", "acc,none": 0.5, "acc_stderr,none": 0.1, "n,none": 3, "v,x": "text"}}}
    assert scores(found) == [("t", "acc", 0.5, 0.1), ("t", "n", 3.0, None)]


def test_without_the_extra_it_says_what_to_install(monkeypatch, tmp_path: Path, capsys) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    code, _, message = run_main(capsys, "eval", "cub-qwen", "--tasks", "ifeval", "--output-dir", str(tmp_path / "out"))
    assert code == 2
    assert "pip install 'simplerl[harness]'" in message


def test_another_number_of_examples_or_another_limit_is_another_file(monkeypatch, tmp_path: Path) -> None:
    class Manager:
        def __init__(self, **settings) -> None:
            self.all_tasks = ["t"]

    made = {
        "lm_eval": {"simple_evaluate": lambda **settings: {"results": {}}},
        "lm_eval.tasks": {"TaskManager": Manager},
    }
    made |= {
        "lm_eval.models": {},
        "lm_eval.models.huggingface": {"HFLM": type("HFLM", (), {"__init__": lambda *a, **k: None})},
    }
    for name, values in made.items():
        monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(**values))
    (target,) = targets("cub-qwen", recipe={"template": "plain"})
    for fewshot, settings in (
        (None, {}),
        (0, {}),
        (5, {}),
        (5, {"max_tokens": 9}),
        (5, {"limit": 3}),
        (5, {"limit": 3}),
    ):
        evaluate(target, ["t"], Settings(**settings), fewshot=fewshot, output=tmp_path, say=lambda line: None)
    names = [file.stem.rpartition("_")[0] for file in (tmp_path / "cub-qwen").iterdir()]
    assert names == ["harness_t"] * 5


def test_a_run_keeps_its_system_message() -> None:
    target = Target(
        label="r@1", source="r", step=1, config={"prompt": {"system": "Be brief.", "special_tokens": "bos"}}
    )
    assert prompt_settings("chat", target, Settings()) == {"system": "Be brief.", "special_tokens": "bos"}
    assert prompt_settings("plain", target, Settings(special_tokens="none")) == {"system": "", "special_tokens": "none"}


def test_a_task_of_our_own(tmp_path: Path, capsys) -> None:
    pytest.importorskip("lm_eval", reason="the extra harness is not installed")
    rows = [{"question": f"What is {a}+1?", "answer": str(a + 1)} for a in range(1, 7)]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "own_sums.yaml").write_text(
        "task: own_sums\ndataset_path: json\ndataset_kwargs:\n  data_files:\n"
        f"    test: {tmp_path}/sums.jsonl\n"
        'test_split: test\noutput_type: generate_until\ndoc_to_text: "{{question}}"\ndoc_to_target: "{{answer}}"\n'
        'generation_kwargs:\n  until: ["\\n\\n\\n"]\n  max_gen_toks: 40\n'
        "filter_list:\n  - name: boxed\n    filter:\n      - function: regex\n"
        '        regex_pattern: "boxed\\\\{(-?\\\\d+)\\\\}"\n      - function: take_first\n'
        "metric_list:\n  - metric: exact_match\n    aggregation: mean\n    higher_is_better: true\n"
    )
    code, shown, message = run_main(
        capsys, "eval", "cub-qwen", "--tasks", str(tmp_path / "own_sums.yaml"), "--output-dir", str(tmp_path / "out")
    )
    assert code == 0, message
    assert "exact_match" in shown
    (file,) = (tmp_path / "out" / "cub-qwen").glob("harness_*.json")
    result = json.loads(file.read_text())["results"]["own_sums"]
    assert next(value for name, value in result.items() if name.startswith("exact_match,")) >= 0.5
    code, _, message = run_main(capsys, "eval", "cub-qwen", "--tasks", "ifevall", "--output-dir", str(tmp_path))
    assert (code, "unknown task 'ifevall'; did you mean 'ifeval'" in message) == (2, True)
