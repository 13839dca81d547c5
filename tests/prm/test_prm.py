"""Process reward models: where steps end, what is read there, the reward's forms, labels and training, bad input."""

import dataclasses
import json
import math
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import (
    CORRECT,
    SMALL,
    WRONG,
    Crash,
    crash_before_write,
    deep,
    group,
    make_tokenizer,
    run_main,
    trajectory,
)

from simplerl.config.resolve import resolve
from simplerl.core.errors import ConfigError, DataError, ModelError, RunError
from simplerl.core.types import Completion, Problem, Scored, Undecided, VersionSpan
from simplerl.data.prompts import prompter
from simplerl.models.load import Policy
from simplerl.models.score import Scorer
from simplerl.models.text import decode
from simplerl.ops.statistics import auc, reliability
from simplerl.prm import (
    ProcessRewardModel,
    StepModel,
    likelihoods,
    load_prm,
    lowest,
    save,
    step_ends,
    step_rewards,
    token_ends,
    vocabulary_hash,
)
from simplerl.rewards import make_reward
from simplerl.selftraining.prm import Lesson, label, read_labels, step_label, train_prm
from simplerl.train.batch import build_batch

TEXT = " 3+4=7. 7*5=35. \\boxed{35}"
CARD = {"template": "plain", "system": "", "special_tokens": "none", "steps": "sentences"}
PROBLEM = Problem(id="p", question="What is (3+4)*5?", answer="35", source="test")


def test_where_steps_end() -> None:
    assert step_ends(TEXT, "sentences") == [7, 15, 26]
    assert step_ends(TEXT, "lines") == [26]
    assert step_ends("a\n\n b. c\n \nd\n", "lines") == [1, 8, 12], "a line of white space is not a step"
    assert step_ends("pi is 3.14. So", "sentences") == [11, 14], "a point within a number ends nothing"
    assert step_ends(" \n", "lines") == step_ends("", "sentences") == []
    with pytest.raises(ConfigError, match="lines or sentences, not 'words'"):
        step_ends("", "words")


def test_ends_in_tokens_are_those_of_the_text_whatever_the_tokenizer(cub: Callable[[str], Policy]) -> None:
    for tokenizer in (cub("cub-qwen").tokenizer, make_tokenizer(98)):
        ids = tokenizer.encode(TEXT, add_special_tokens=False)
        assert decode(tokenizer, ids) == TEXT
        ends = step_ends(TEXT, "sentences")
        for end, count in zip(ends, token_ends(tokenizer, ids, ends), strict=True):
            assert len(decode(tokenizer, ids[: count - 1])) < end <= len(decode(tokenizer, ids[:count]))


@pytest.fixture
def prm_path(cub: Callable[[str], Policy], tmp_path: Path) -> Path:
    """A process reward model with the head as it is drawn."""
    load_prm.cache_clear()
    policy = cub("cub-qwen")
    save(tmp_path / "prm", policy, StepModel(policy.model, seed=0), CARD)
    return tmp_path / "prm"


def completion_of(policy: Policy, text: str) -> Completion:
    ids = np.array([*policy.encode(text), min(policy.stop_ids)], dtype=np.int32)
    spans = (VersionSpan(0, 0, len(ids)),)
    return Completion(token_ids=ids, logprobs=np.zeros(len(ids)), text=text, stop_reason="eos", versions=spans)


def test_a_score_is_read_after_the_last_token_of_a_step(prm_path: Path, cub: Callable[[str], Policy]) -> None:
    """A second way to the same numbers: the head on the backbone's state at that token; later tokens change nothing."""
    prm, policy = load_prm(str(prm_path)), cub("cub-qwen")
    completion = completion_of(policy, TEXT)
    row = prm.row(PROBLEM, completion.token_ids.tolist(), TEXT)
    (scores,) = prm.scores([row])
    assert len(scores) == 3
    with torch.no_grad():
        hidden_TH = prm.model.value.backbone(input_ids=torch.tensor([row.tokens]), use_cache=False).last_hidden_state[0]
        wanted = (hidden_TH[[column - 1 for column in row.columns]] @ prm.model.value.head.weight[0]).tolist()
    assert scores.tolist() == pytest.approx(wanted, abs=1e-5)
    short = prm.row(PROBLEM, policy.encode(TEXT[:15]), TEXT[:15])
    beside, alone = prm.scores([prm.encoded(PROBLEM, "1\n2"), short])[1], prm.scores([short])[0]
    assert beside.tolist() == pytest.approx(scores[:2].tolist(), abs=1e-5)
    assert alone.tolist() == pytest.approx(beside.tolist(), abs=1e-5), "whatever else is in the batch"
    assert prm.scores([prm.encoded(PROBLEM, " ")])[0].tolist() == []


def test_what_the_model_finds_likely(prm_path: Path, cub: Callable[[str], Policy]) -> None:
    """Σ l, min l and min (l + H) over the tokens of a step, and the least of the last so far: counted a second time."""
    prm, policy = load_prm(str(prm_path)), cub("cub-qwen")
    row = prm.encoded(PROBLEM, TEXT)
    found = likelihoods(Scorer(policy.model), [prm.encoded(PROBLEM, "1. 2. 3"), row])[3:].tolist()
    with torch.no_grad():
        logits_TV = policy.model(input_ids=torch.tensor([row.tokens]), use_cache=False).logits[0].log_softmax(-1)
    start, least = row.begin, 0.0
    for own, end in zip(found, row.columns, strict=True):
        logprobs = [float(logits_TV[t - 1, row.tokens[t]]) for t in range(start, end)]
        entropies = [-float((x.exp() * x).sum()) for x in logits_TV[start - 1 : end - 1]]
        odd = [own_l + h for own_l, h in zip(logprobs, entropies, strict=True)]
        least, start = min(least, *odd), end
        assert own == pytest.approx([sum(logprobs), min(logprobs), min(odd), least], abs=1e-3)


def test_bad_models(prm_path: Path, tmp_path: Path, tiny: Callable[[str], Policy]) -> None:
    with pytest.raises(ModelError, match="cub-qwen is not a process reward model: it has no trained head"):
        load_prm("cub-qwen")
    prm = load_prm(str(prm_path))
    with pytest.raises(ModelError, match="another tokenizer than the policy"):
        prm.row(PROBLEM, tiny("llama").tokenizer.encode(TEXT), TEXT)
    shutil.copytree(prm_path, tmp_path / "cut")
    (tmp_path / "cut" / "head.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="is damaged: head"):
        load_prm(str(tmp_path / "cut"))


# -- the reward --------------------------------------------------------------------------------------------------------


def test_rewards_of_b_star() -> None:
    """Right with scores [2, 1] of 5: 1.2; wrong with [4, 3]: .6; wrong with [−4]: −.8 (arXiv 2412.17256)."""
    assert 1 + lowest([2, 1], 5) == pytest.approx(1.2)
    assert lowest([4, 3], 5) == pytest.approx(0.6)
    assert lowest([-4], 5) == pytest.approx(-0.8)
    assert (lowest([99], 5), lowest([-99, 9], 5)) == (1, -1)


def to_come(rewards: list[float]) -> list[float]:
    return [sum(rewards[k:]) for k in range(len(rewards))]


def test_what_is_to_come_is_the_clipped_score_and_padding_gains_nothing() -> None:
    """min(p − η, 0), then p_k − p_{k+1}, p_{K−1} at K − 1 and 0 on the last step (arXiv 2410.15115)."""
    values = [0.9, 0.3, 0.6, 0.2, 0.8]
    assert step_rewards(values, "clip", 0.5) == pytest.approx([0, -0.2, 0, -0.3, 0])
    assert step_rewards(values, "delta") == pytest.approx([0.6, -0.3, 0.4, 0.2, 0])
    assert to_come(step_rewards(values, "delta")) == pytest.approx([0.9, 0.3, 0.6, 0.2, 0])
    assert to_come(step_rewards(values, "clip-delta", 0.5)) == pytest.approx([0, -0.2, 0, -0.3, 0])
    for good in range(1, 4):
        padded = to_come(step_rewards([*values[:3], *[0.99] * good, *values[3:]], "clip-delta", 0.5))
        assert padded == pytest.approx([0, -0.2, 0, *[0] * good, -0.3, 0]), "good steps add nothing, before or after"
    assert step_rewards([0.7], "clip-delta") == [0]


def test_the_reward_of_steps_becomes_credit_of_their_tokens(prm_path: Path, cub: Callable[[str], Policy]) -> None:
    policy = cub("cub-qwen")
    completions = [completion_of(policy, TEXT), completion_of(policy, "")]
    parts = [{"name": "correctness"}, {"name": "process", "weight": 2.0, "params": {"prm": str(prm_path)}}]
    scored, empty = make_reward("mixture", {"rewards": parts}).score(PROBLEM, completions, [CORRECT, WRONG])
    assert isinstance(empty, Undecided)
    assert isinstance(scored, Scored)
    assert scored.value == 1
    ids = completions[0].token_ids.tolist()
    assert [end for end, _ in scored.steps] == token_ends(policy.tokenizer, ids, [7, 15, 26])
    one = trajectory(prompt=(5, 6), response=ids, reward=1.0)
    batch = build_batch([group(*(_with(one, steps) for steps in (((2, 0.5), (4, -0.25)), ())))])
    assert batch.to_come_BT[0, :8].tolist() == [0, 0, 0.25, 0.25, -0.25, -0.25, 0, 0]
    assert not batch.to_come_BT[1].any()


def _with(one: Any, steps: Any) -> Any:
    return dataclasses.replace(one, step_rewards=steps)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"form": "max"}, "process needs form = min, clip, delta, clip-delta, not 'max'"),
        ({"eta": 2.0}, "0 ≤ eta ≤ 1"),
    ],
)
def test_bad_settings_of_the_reward(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_reward("process", params)


def test_the_reward_needs_a_model() -> None:
    with pytest.raises(ConfigError, match="prm = DIR"):
        make_reward("process").score(PROBLEM, [], [])


# -- labels and training -----------------------------------------------------------------------------------------------

OVER = deep(SMALL, {"dataset": {"levels": [3], "size": 8}, "sampling": {"max_new_tokens": 40, "samples_per_prompt": 2}})
OPTIONS: dict[str, Any] = {"completions": 3, "steps": "sentences", "say": lambda line: None}


def test_undecided_is_not_bad() -> None:
    assert step_label(Counter(right=1, wrong=7)) == 1
    assert step_label(Counter(wrong=8)) == 0
    assert step_label(Counter(wrong=7, undecided=1)) is None
    assert step_label(Counter(right=1, undecided=7)) == 1
    assert step_label(Counter()) is None


def test_labels_are_the_same_after_a_crash(tmp_path: Path) -> None:
    config = resolve("cub-qwen", OVER)
    counts = label(config, tmp_path / "whole", **OPTIONS)
    assert counts["good"] > 0 < counts["bad"]
    settings, rows = read_labels(tmp_path / "whole")
    assert (settings["steps"], settings["completions"], len(rows)) == ("sentences", 3, 8)
    for response in (r for row in rows for r in row["responses"]):
        assert len(response["ends"]) == len(response["labels"])
        if response["verdict"] in ("correct", "wrong", "no_answer") and response["labels"][-1] is not None:
            assert response["labels"][-1] == (response["verdict"] == "correct"), "the last label is the verdict"
    with pytest.raises(Crash), crash_before_write(tmp_path / "cut", 2):
        label(config, tmp_path / "cut", **OPTIONS)
    label(config, tmp_path / "cut", **OPTIONS)
    whole, cut = (sorted((tmp_path / name / "labels.jsonl").read_text().splitlines()) for name in ("whole", "cut"))
    assert whole == cut
    with pytest.raises(RunError, match=r"labels made with other settings \(completions\)"):
        label(config, tmp_path / "cut", **{**OPTIONS, "completions": 2})


def made_labels(path: Path, policy: Policy, problems: int = 30) -> Path:
    """Write labels in which a first step is bad where it ends in 9, and a second one has no label."""
    path.mkdir()
    settings = {**CARD, "model": "cub-qwen", "completions": 1, "vocabulary_sha256": vocabulary_hash(policy.tokenizer)}
    (path / "settings.json").write_text(json.dumps(settings))
    rng, lines = np.random.default_rng(0), []
    for number in range(problems):
        responses = []
        for sample in range(4):
            a, wrong = int(rng.integers(1, 9)), int(rng.integers(0, 2))
            text = f" {a}+1={9 * wrong}. \\boxed{{{a}}}"
            labels: list[int | None] = [1 - wrong, None]
            ends = step_ends(text, "sentences")
            ids = policy.encode(text)
            responses.append({"sample": sample, "response": text, "token_ids": ids, "ends": ends, "labels": labels})
        lines.append({"problem_id": f"p{number}", "question": "What is it?", "answer": "1", "responses": responses})
    (path / "labels.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_process_reward_model_learns_which_step_is_wrong(cub: Callable[[str], Policy], tmp_path: Path) -> None:
    load_prm.cache_clear()
    labels = made_labels(tmp_path / "labels", cub("cub-qwen"))
    lesson = Lesson(updates=40, batch_size=32, lr=1e-3)
    figures = train_prm(labels, tmp_path / "prm", lesson, say=lambda line: None)
    assert figures["auc"] > 0.9
    assert figures["brier"] < figures["brier_of_the_mean"]
    prm = load_prm(str(tmp_path / "prm"))
    good, bad = prm.scores([prm.encoded(PROBLEM, text) for text in (" 2+1=0. 5", " 2+1=9. 5")])
    assert good[0] > bad[0]
    train_prm(labels, tmp_path / "again", lesson, say=lambda line: None)
    head = "head.safetensors"
    assert (tmp_path / "prm" / head).read_bytes() == (tmp_path / "again" / head).read_bytes()


def test_bad_labels(cub: Callable[[str], Policy], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = made_labels(tmp_path / "labels", cub("cub-qwen"), problems=3)
    with pytest.raises(DataError, match="does not hold labels"):
        train_prm(tmp_path, tmp_path / "prm", Lesson(), say=lambda line: None)
    settings = json.loads((labels / "settings.json").read_text())
    (labels / "settings.json").write_text(json.dumps({**settings, "vocabulary_sha256": "other"}))
    with pytest.raises(ModelError, match="another tokenizer"):
        train_prm(labels, tmp_path / "prm", Lesson(), say=lambda line: None)
    lines = (labels / "labels.jsonl").read_text()
    (labels / "settings.json").write_text(json.dumps(settings))
    (labels / "labels.jsonl").write_text(lines.replace('"labels": [0', '"labels": [1'))
    code, _, error = run_main(capsys, "prm", "train", str(labels), "--output-dir", str(tmp_path / "prm"))
    assert code == 2
    assert "0 bad steps to learn from" in error
    rows = [json.loads(line) for line in lines.splitlines()]
    for response in (r for row in rows for r in row["responses"]):
        response |= {"ends": [], "labels": []}
    (labels / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, error = run_main(capsys, "prm", "train", str(labels), "--output-dir", str(tmp_path / "prm"))
    assert code == 2
    assert "labels without steps" in error


def test_scoring_a_file(prm_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, output = tmp_path / "responses.jsonl", tmp_path / "scored.jsonl"
    source.write_text(json.dumps({"question": "What is 1+1?", "response": "1+1=2. 2", "mine": 7}) + "\n")
    assert run_main(capsys, "prm", "score", str(prm_path), str(source), "--output", str(output))[0] == 0
    (row,) = map(json.loads, output.read_text().splitlines())
    assert row["mine"] == 7
    assert row["score"] == min(row["step_scores"])
    assert len(row["step_scores"]) == 2
    code, _, error = run_main(capsys, "prm", "score", "cub-qwen", str(source), "--output", str(tmp_path / "other"))
    assert code == 2
    assert "it has no trained head" in error


# -- figures -----------------------------------------------------------------------------------------------------------


def test_auc_literals() -> None:
    assert auc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])) == 0.75
    assert auc(np.array([1.0, 1.0]), np.array([0, 1])) == 0.5, "ties count by half"
    assert auc(np.array([1.0, 2.0]), np.array([1, 1])) is None


def test_reliability_bins() -> None:
    found = reliability(np.array([0.05, 0.05, 0.95, 1.0]), np.array([0, 1, 1, 1]))
    assert found == [
        {"predicted": pytest.approx(0.05), "seen": 0.5, "count": 2},
        {"predicted": pytest.approx(0.975), "seen": 1.0, "count": 2},
    ]


def test_a_step_at_the_end_of_the_context_is_still_read(cub: Callable[[str], Policy]) -> None:
    policy = dataclasses.replace(cub("cub-qwen"), context_length=64)
    model = StepModel(policy.model, seed=0)
    prompts = prompter("plain")
    prm = ProcessRewardModel(name="made up", policy=policy, model=model, prompts=prompts, steps="lines")
    row = prm.encoded(PROBLEM, "1\n" * 100)
    assert len(row.tokens) < policy.context_length
    assert max(row.columns) <= len(row.tokens)
    (scores,) = prm.scores([row])
    assert len(scores) == 100
    assert all(math.isfinite(score) for score in scores)
