"""Putting a run together: which problems are learned from, which held out, what is left out and recorded."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support import deep, run_small, small_config

from simplerl.core.errors import ConfigError, DataError
from simplerl.runs.run import Run
from simplerl.train.components import build_components, fit, learner_device, load_problems, with_steps_for


def jsonl(path: Path, count: int, *, same: int = 0) -> str:
    rows = [{"question": f"What is {max(i, same)}+1?", "answer": str(max(i, same) + 1)} for i in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_held_out_problems_of_a_file_are_kept_from_training(tmp_path: Path) -> None:
    over = {
        "data": jsonl(tmp_path / "d.jsonl", 40),
        "dataset": {"levels": [], "size": 0},
        "evaluation": {"holdout": 10, "size": 0},
    }
    split = load_problems(small_config(over), print)
    train, held_out = split.train, split.held_out
    assert (len(train), len(held_out)) == (30, 10)
    assert not {p.question for p in train} & {p.question for p in held_out}
    other_seed = load_problems(small_config({**over, "seed": 5}), print)
    assert other_seed == split, "the run's seed moves no problem"
    limited = load_problems(small_config({**over, "evaluation": {"holdout": 10, "size": 3}}), print)
    assert limited.held_out == held_out[:3], "the limit holds whatever the source"
    assert limited.train == train


def test_a_question_in_both_is_not_trained_on(tmp_path: Path) -> None:
    """Files repeat themselves: a duplicate of a held-out question would be a leak."""
    over = {"data": jsonl(tmp_path / "d.jsonl", 40, same=20), "dataset": {"levels": [], "size": 0}}
    said: list[str] = []
    split = load_problems(small_config({**over, "evaluation": {"holdout": 10, "size": 0}}), said.append)
    train, held_out, shared = split.train, split.held_out, split.shared
    assert not {p.question for p in train} & {p.question for p in held_out}
    assert len(train) + len(held_out) + len(shared) == 40
    assert shared
    assert said[0].startswith(f"{len(shared)} of 30 training problems are held out too")


def test_training_on_what_is_held_out_alone_is_refused(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "d.jsonl", 10)
    over = {"data": file, "dataset": {"levels": [], "size": 0}, "evaluation": {"data": file, "size": 0}}
    with pytest.raises(DataError, match="every training problem"):
        load_problems(small_config(over), print)


def test_a_step_samples_all_problems_where_these_are_few(tmp_path: Path) -> None:
    """A new user's file has ten problems; the recipe's 64 a step, in updates of 4, follow it."""
    said: list[str] = []
    over = {"sampling": {"prompts_per_step": 8}, "learner": {"prompts_per_update": 4}}
    config = with_steps_for(small_config(over), 6, said.append)
    assert (config.sampling.prompts_per_step, config.learner.prompts_per_update) == (6, 0)
    assert "only 6 training problems: each step samples all 6" in said[0]
    assert "each step is one update" in said[1]
    assert with_steps_for(small_config(over), 8, said.append) == small_config(over)
    data = {"data": jsonl(tmp_path / "d.jsonl", 8), "dataset": {"levels": [], "size": 0}}
    over = {**data, "sampling": {"prompts_per_step": 64}, "evaluation": {"holdout": 2}, "steps": 2}
    run_small(tmp_path / "run", over)
    assert len(set(Run(tmp_path / "run").responses(2)["problem_id"].to_pylist())) == 6
    run_small(tmp_path / "run", {**over, "steps": 3}, resume=True)
    assert len(set(Run(tmp_path / "run").responses(3)["problem_id"].to_pylist())) == 6


def test_built_in_data_is_evaluated_on_its_test_split() -> None:
    split = load_problems(small_config({"evaluation": {"size": 12}}), print)
    train, held_out = split.train, split.held_out
    assert {p.id.split("-")[1] for p in train} == {"train"}
    assert {p.id.split("-")[1] for p in held_out} == {"test"}
    assert {p.level for p in held_out} == {"1"}
    assert len(held_out) == 12


def test_other_data_to_evaluate_on(tmp_path: Path) -> None:
    config = small_config({"evaluation": {"data": jsonl(tmp_path / "e.jsonl", 9), "size": 5}})
    assert [p.id for p in load_problems(config, print).held_out] == [f"e-{i}" for i in range(5)]


def test_long_prompts_are_left_out_and_named() -> None:
    session = build_components(small_config({"evaluation": {"size": 3}}), lambda message: None)
    session.close()
    items = session.held_out
    longest = max(len(item.prompt_ids) for item in items)
    said: list[str] = []
    short, left_out = fit(items, longest - 1, "held-out", said.append)
    assert len(short) + len(left_out) == 3
    assert left_out
    assert f"{len(left_out)} of 3 held-out" in said[0]
    assert left_out[0] in said[0]
    assert fit(items, longest, "held-out", pytest.fail) == (items, [])
    with pytest.raises(DataError, match="all 3 held-out prompts"):
        fit(items, 1, "held-out", said.append)


def test_environment_is_recorded_without_the_environment_variables(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    run_small(tmp_path / "run", {"steps": 1})
    text = (tmp_path / "run" / "environment.json").read_text()
    assert "hush" not in text
    (session,) = json.loads(text)["sessions"]
    assert session["start_step"] == 0
    assert session["packages"]["torch"]
    assert session["device"] == "cpu"
    assert len(session["data"]["train"]["sha256"]) == 64
    assert session["data"]["train"]["problems"] == 40


def test_resuming_with_changed_data_is_refused(tmp_path: Path) -> None:
    from simplerl.core.errors import RunError

    path = jsonl(tmp_path / "d.jsonl", 20)
    over = {"data": path, "dataset": {"levels": [], "size": 0}, "evaluation": {"holdout": 4}, "steps": 1}
    run_small(tmp_path / "run", over)
    text = Path(path).read_text()
    Path(path).write_text(text.replace("What is 3+1?", "What is 3 + 1?"))
    with pytest.raises(RunError, match="data or the template has changed"):
        run_small(tmp_path / "run", {**over, "steps": 2}, resume=True)
    Path(path).write_text(text)
    assert run_small(tmp_path / "run", {**over, "steps": 2}, resume=True)[0].finished


@pytest.mark.parametrize(
    ("over", "wanted"),
    [
        ({"sampling": {"top_k": 5}}, r"sampling\.top_k = 5.*scored under another one"),
        ({"sampling": {"top_p": 0.9}, "algorithm": {"name": "rover"}}, r"ROVER reads a mean over the complete"),
    ],
)
def test_what_is_not_scored_as_it_is_sampled_is_not_trained_on(over: Any, wanted: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=wanted):
        run_small(tmp_path / "run", over)
    assert not (tmp_path / "run").exists()


def test_a_nucleus_is_scored_as_it_is_sampled(tmp_path: Path) -> None:
    """NLPO: on policy the sampler's renormalised log-probabilities are the learner's; an update later they are near."""
    over = {"model": "cub-qwen", "steps": 2, "sampling": {"top_p": 0.8}, "learner": {"prompts_per_update": 2}}
    _, listener = run_small(tmp_path / "run", over)
    for step in (1, 2):
        assert listener.metrics[step]["policy/mismatch_kl"] < 1e-5
        assert listener.metrics[step]["policy/ratio"] == pytest.approx(1, abs=0.1)


def test_a_nucleus_of_an_older_policy_is_scored_as_it_is_sampled(tmp_path: Path) -> None:
    """NLPO's mask: renewed every step it is the policy's own; else probabilities are others, and scored as drawn."""

    def drawn(name: str, mask_steps: int) -> list[list[tuple[Any, ...]]]:
        # Without a mask prompts would be computed once, which rounds otherwise.
        learner = {"precision": "fp32", "share_prompts": "off"}
        exact = {"learner": learner, "rollout": {"precision": "fp32"}, "optimizer": {"lr": 5e-3}}
        over = {"steps": 3, "sampling": {"top_p": 0.8, "temperature": 1.2, "mask_steps": mask_steps}, **exact}
        _, listener = run_small(tmp_path / name, over)
        assert max(listener.metrics[step]["policy/mismatch_kl"] for step in (1, 2, 3)) <= 1e-6
        rows = [Run(tmp_path / name).responses(step).to_pylist() for step in (1, 2, 3)]
        return [[(row["token_ids"], row["logprobs"]) for row in step] for step in rows]

    own, renewed, older = drawn("own", 0), drawn("renewed", 1), drawn("older", 2)
    assert renewed == own
    assert older[0] == own[0]
    assert older[1] != own[1]


@pytest.mark.parametrize(
    "over",
    [
        {"sampling": {"top_p": 1.0}},
        {"cluster": {"engines": 1}},
        {"rollout": {"backend": "vllm"}},
        {"learner": {"ranks": 2}},
        {"lora": {"rank": 4}},
    ],
)
def test_a_mask_that_sampler_and_learner_cannot_share_is_refused(over: Any) -> None:
    with pytest.raises(ConfigError, match=r"sampling\.mask_steps = 20: sampler and learner ask one copy"):
        small_config(deep({"sampling": {"top_p": 0.9, "mask_steps": 20}}, over))


@pytest.mark.parametrize(
    ("over", "device"),
    [
        ({}, "cpu"),
        ({"learner": {"device": "cuda"}}, "cuda"),
        ({"learner": {"cpu_offload": True}}, "cuda"),
        ({"rollout": {"backend": "vllm"}}, "cuda"),
        ({"model": "someone/large"}, "cuda"),
    ],
)
def test_a_gpu_is_not_for_a_tiny_model(over: dict, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert learner_device(small_config(over)).type == device
