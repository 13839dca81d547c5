"""The cold start: what is imitated, what is not, exact resume, and training from what it leaves."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import torch
from support import (
    SMALL,
    Silent,
    arguments,
    assert_same_run,
    copy_policy,
    deep,
    fingerprint,
    full_scores,
    kills_before,
    run_main,
)

from simplerl.algorithms.imitation import Imitation
from simplerl.config.resolve import resolve
from simplerl.config.sections import LearnerConfig, OptimizerConfig
from simplerl.core.errors import DataError, RunError
from simplerl.data import arithmetic
from simplerl.data.demonstrations import Demonstration, built_in, load
from simplerl.data.prompts import prompter
from simplerl.models.load import Policy
from simplerl.runs.directory import read_metrics
from simplerl.train.batch import build_batch
from simplerl.train.learner import Learner
from simplerl.train.loop import train
from simplerl.train.sft import encode, sft
from simplerl.verify import verify

TINY = deep(SMALL, {"sft": {"steps": 3, "batch_size": 8, "size": 64, "lr": 1e-3}, "learner": {"prompts_per_update": 0}})


def config_of(over: dict[str, Any] | None = None) -> Any:
    return resolve("simplerl-cold-start", deep(TINY, over or {}))


def run_sft(path: Path, over: dict[str, Any] | None = None, *, resume: bool = False) -> Silent:
    listener = Silent()
    assert sft(config_of(over), path, resume=resume, callbacks=[listener]).finished
    return listener


def write(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


# -- data ------------------------------------------------------------------------------------------------------------


def test_long_responses_are_right_checked_and_of_training_problems() -> None:
    for index in range(200):
        item = built_in("arithmetic-long", 0, index)
        text = item.question.removeprefix("What is ").removesuffix("?")
        assert verify(item.response, text).correct, "the gold is the expression itself"
        claims = re.findall(r"(\d+)([-+*])(\d+)=(\d+)\.( Wait)?", item.response)
        *working, check = claims
        assert len(re.findall("Check: ", item.response)) == 1, "of the last step, by its inverse"
        assert f"Check: {''.join(check[:3])}={check[3]}. \\boxed{{{working[-1][3]}}}" in item.response
        assert working[-1][3] in check[::3] if working[-1][1] == "*" else check[0] == working[-1][3]
        for left, operator, right, value, slipped in claims:
            exact = {"+": int(left) + int(right), "-": int(left) - int(right), "*": int(left) * int(right)}[operator]
            assert (exact == int(value)) != bool(slipped), item.response
        operations = len(re.findall(r"[-+*]", text))
        assert sum(not claim[4] for claim in working) == operations, "every step of the working, slips mended"
    assert built_in("arithmetic-long", 0, 5) == built_in("arithmetic-long", 0, 5)
    assert built_in("arithmetic-long", 1, 5) != built_in("arithmetic-long", 0, 5)
    assert any("Wait," in built_in("arithmetic-long", 0, i).response for i in range(20))
    train = {problem.question for problem in arithmetic.load("test", size=250)}
    assert not train & {built_in("arithmetic-long", 0, i).question for i in range(500)}, "none of the held-out problems"


@pytest.mark.parametrize(
    "row",
    [
        {"question": "Q", "response": " R"},
        {"problem": "Q", "solution": " R", "answer": "3"},
        {"prompt": "Q", "completion": " R"},
        {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": " R"}]},
        {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": " R"}]},
    ],
)
def test_forms_of_demonstrations(row: dict[str, Any], tmp_path: Path) -> None:
    (item,) = load(write(tmp_path / "d.jsonl", row))
    assert (item.question, item.response, item.ended) == ("Q", " R", True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "d.parquet")
    (again,) = load(str(tmp_path / "d.parquet"))
    assert (again.question, again.response) == ("Q", " R")


@pytest.mark.parametrize("reason", ["length", "turns", "seconds", "eos"])
def test_responses_that_were_cut_are_not_ended(reason: str, tmp_path: Path) -> None:
    (item,) = load(write(tmp_path / "d.jsonl", {"question": "Q", "response": " R", "stop_reason": reason}))
    assert item.ended == (reason == "eos")


def test_the_working_of_gsm8k_is_a_response(tmp_path: Path) -> None:
    (item,) = load(write(tmp_path / "d.jsonl", {"question": "Q", "answer": "1 + 2 = 3\n#### 3"}))
    assert item.response == "1 + 2 = 3\n#### 3"


def test_truncated_responses_are_not_taught_to_end(cub: Callable[[str], Policy]) -> None:
    policy = cub("cub-qwen")
    items = [
        Demonstration(question="What is 1+1?", response=" 1+1=2.", ended=ended, place="") for ended in (True, False)
    ]
    ended, truncated = encode(items, prompter("plain"), policy, 100, pytest.fail)
    assert ended.tokens[:-1].tolist() == truncated.tokens.tolist()
    assert ended.tokens[-1] in policy.stop_ids
    assert not set(truncated.tokens.tolist()) & policy.stop_ids
    assert policy.tokenizer.decode(ended.tokens[: ended.prompt_length]) == "Question: What is 1+1?\nAnswer:"


def test_too_long_ones_are_left_out_and_named(cub: Callable[[str], Policy]) -> None:
    items = [Demonstration(question="q", response=" 1" * n, ended=True, place=f"d:{n}") for n in (2, 60)]
    said: list[str] = []
    assert len(encode(items, prompter("plain"), cub("cub-qwen"), 60, said.append)) == 1
    assert said == ["1 of 2 demonstrations are longer than 60 tokens, left out: d:60"]
    with pytest.raises(DataError, match=r"all 2 .* longer than 4 tokens.*shortest"):
        encode(items, prompter("plain"), cub("cub-qwen"), 4, said.append)


# -- the update ------------------------------------------------------------------------------------------------------


def make_learner(policy: Policy, tokens: int) -> Learner:
    return Learner(
        policy,
        Imitation(),
        optimizer=OptimizerConfig(lr=0.1, epsilon=1.0, grad_clip=1e9, weight_decay=0.0),
        learner=LearnerConfig(tokens_per_microbatch=tokens),
        precision="fp32",
        temperature=1.0,
        steps=1,
    )


def test_only_response_tokens_are_imitated_whatever_the_layout(tiny: Callable[[str], Policy]) -> None:
    """Against cross-entropy written out: a mean over the response tokens of the batch."""
    policy = tiny()
    items = [
        Demonstration(question="abc" * n, response="de" * (4 - n) + "f", ended=n != 2, place="") for n in (1, 2, 3)
    ]
    examples = encode(items, prompter("plain"), policy, 120, pytest.fail)
    tokens_BT = torch.nn.utils.rnn.pad_sequence([torch.tensor(e.tokens) for e in examples], batch_first=True)
    mask_BT = torch.zeros(tokens_BT.shape, dtype=torch.bool)
    for row, example in enumerate(examples):
        mask_BT[row, example.prompt_length : len(example.tokens)] = True
    plain = copy_policy(policy).model
    loss = -full_scores(plain, tokens_BT, mask_BT)[0].sum() / mask_BT.sum()
    loss.backward()
    for tokens in (10**6, 1):
        fresh = copy_policy(policy)
        learner, gradients = make_learner(fresh, tokens), {}
        real = learner.optimizer.step
        learner.optimizer.step = lambda real=real, fresh=fresh, gradients=gradients: (
            gradients.update({n: p.grad.clone() for n, p in fresh.model.named_parameters()}),
            real(),
        )
        metrics = learner.step(build_batch([], rows=examples), 1).metrics
        assert metrics["sft/loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
        assert metrics["tokens/useful"] == int(mask_BT.sum())
        for name, values in plain.named_parameters():
            torch.testing.assert_close(gradients[name], values.grad, rtol=1e-4, atol=1e-6)


# -- the run ---------------------------------------------------------------------------------------------------------


def test_run_resumes_exactly(tmp_path: Path) -> None:
    with kills_before(tmp_path / "whole", r"/metrics\.jsonl 4$") as killed:
        run_sft(tmp_path / "whole")
    wanted = fingerprint(tmp_path / "whole")
    (crashed,) = killed
    run_sft(crashed, resume=True)
    assert_same_run(crashed, wanted)
    state = json.loads((tmp_path / "whole/checkpoints/step_000003/trainer/state.json").read_text())
    assert state["epoch"] == wanted["metrics"][-1]["data/epoch"], "of the demonstrations, not of the problems"
    losses = [line["sft/loss"] for line in wanted["metrics"][1:]]
    assert losses[-1] < losses[0]


#: Demonstrations that unteach arithmetic, and a doctor that ends what makes the model worse than it was.
SPOILS = {
    "sft": {"steps": 8, "lr": 1e-2},
    "evaluation": {"size": 30, "samples": 4, "every": 1},
    "dataset": {"levels": [1]},
    "doctor": {"action": "stop", "stop_on": ["below-base"]},
}


def test_the_doctor_watches_and_ends_a_fine_tuning_that_spoils_the_model(tmp_path: Path, capsys) -> None:
    spoiled = write(tmp_path / "d.jsonl", *({"question": f"What is {i}+2?", "response": " No."} for i in range(32)))
    path = tmp_path / "run"
    settings = arguments(deep(TINY, deep(SPOILS, {"sft": {"data": spoiled}})))
    code, out, error = run_main(capsys, "sft", *settings, "--output-dir", str(path))
    assert code == 1, out + error
    assert out.count("doctor: serious, below-base: Held-out accuracy is below the base model's.") == 1
    assert "the doctor ended the run (doctor.action = stop): below-base" in out
    step = read_metrics(path)[-1]["step"]
    assert 1 <= step < 8
    assert f"stopped after step {step}. Continue with: simplerl sft --output-dir {path} --resume" in out
    assert [entry.name for entry in (path / "checkpoints").iterdir()] == [f"step_{step:06d}"]
    code, out, error = run_main(capsys, "sft", "--output-dir", str(path), "--resume")
    assert code == 0, out + error
    assert "below-base" not in out, "it was said before, and ends no run twice"
    assert read_metrics(path)[-1]["step"] == 8
    over = deep(SPOILS, {"sft": {"data": spoiled}, "doctor": {"action": "off"}})
    assert not any("doctor" in line for line in run_sft(tmp_path / "off", over).lines)
    assert read_metrics(tmp_path / "off")[-1]["sft/loss"] == read_metrics(path)[-1]["sft/loss"], "only watched"


def test_training_begins_from_what_it_leaves(tmp_path: Path) -> None:
    run_sft(tmp_path / "cold", {"sft": {"steps": 12, "batch_size": 32, "size": 400}})
    lines = read_metrics(tmp_path / "cold")
    assert lines[-1]["sft/loss"] < 0.75 * lines[1]["sft/loss"]
    listener = Silent()
    over = {"model": str(tmp_path / "cold"), "steps": 1, "sampling": {"max_new_tokens": 40}}
    assert train(config_of(over), tmp_path / "ppo", resume=False, callbacks=[listener]).finished
    before = lines[0]["eval/length"], lines[-1]["eval/length"]
    assert listener.metrics[0]["eval/length"] != before[0], "it is the fine-tuned model that is trained"
    assert listener.metrics[1]["critic/loss"] > 0


def test_each_command_continues_only_its_own_runs(tmp_path: Path) -> None:
    run_sft(tmp_path / "cold")
    with pytest.raises(RunError, match="was made by simplerl sft"):
        train(config_of(), tmp_path / "cold", resume=True, callbacks=[Silent()])
    train(config_of({"steps": 1}), tmp_path / "rl", resume=False, callbacks=[Silent()])
    with pytest.raises(RunError, match="was made by simplerl train"):
        sft(config_of({"steps": 1}), tmp_path / "rl", resume=True, callbacks=[Silent()])


def test_the_command_for_the_wrong_stage_says_which_is_the_right_one(tmp_path: Path, capsys) -> None:
    """Not only the functions: what shows a resumed run's progress reads its metrics before they are reached."""
    run_sft(tmp_path / "cold")
    code, _, error = run_main(capsys, "train", "--output-dir", str(tmp_path / "cold"), "--resume")
    assert code == 2, error
    assert f"simplerl sft --output-dir {tmp_path / 'cold'} --resume" in error
    train(config_of({"steps": 1}), tmp_path / "rl", resume=False, callbacks=[Silent()])
    code, _, error = run_main(capsys, "sft", "--output-dir", str(tmp_path / "rl"), "--resume")
    assert code == 2, error
    assert f"simplerl train --output-dir {tmp_path / 'rl'} --resume" in error


# -- the commands ----------------------------------------------------------------------------------------------------

BAD = {
    "no data": ([], ["sft.data is empty", "--sft.data"]),
    "unknown data": (["--sft.data", "arithmetik-long"], ["arithmetik-long", ".jsonl"]),
    "missing file": (["--sft.data", "none.jsonl"], ["none.jsonl", "does not exist"]),
    "without responses": (["--sft.data", "questions.jsonl"], ["questions.jsonl:1", "no response", "'answer'"]),
    "empty file": (["--sft.data", "empty.jsonl"], ["empty.jsonl", "no rows"]),
    "all too long": (["--sft.data", "arithmetic-long", "--sft.max-tokens", "5"], ["longer than 5 tokens", "shortest"]),
    "negative rate": (["--sft.data", "arithmetic-long", "--sft.lr", "-1"], ["sft.lr", "positive"]),
    "unknown key": (["--sft.epochs", "3"], ["'sft.epochs'"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case: str, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "questions.jsonl", {"question": "Q", "answer": "3"})
    (tmp_path / "empty.jsonl").write_text("")
    given, wanted = BAD[case]
    code, _, error = run_main(capsys, "sft", "--output-dir", "run", *arguments(SMALL), *given)
    assert code == 2, error
    assert "internal error" not in error
    for fragment in wanted:
        assert fragment in error, error
    assert not (tmp_path / "run" / "config.json").exists()


def test_sampled_responses_can_be_imitated(tmp_path: Path, capsys) -> None:
    output = tmp_path / "right.jsonl"
    settings = arguments(
        {
            "dataset": {"levels": [1], "size": 30},
            "sampling": {"prompts_per_step": 16, "max_new_tokens": 30},
            "evaluation": {"size": 4},
        }
    )
    code, shown, error = run_main(capsys, "sample", "--output", str(output), *settings)
    assert code == 0, error
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert f"{len(rows)} written to" in shown
    assert len({row["problem_id"] for row in rows}) > 16, "every problem is sampled, not the first batch only"
    assert all(row["verdict"] == "correct" and row["stop_reason"] != "length" for row in rows)
    assert all(verify(row["response"], row["answer"]).correct for row in rows)
    assert run_main(capsys, "sample", "--output", str(output), *settings)[0] == 2, "nothing is overwritten"
    everything = tmp_path / "all.jsonl"
    assert run_main(capsys, "sample", "--output", str(everything), "--all", *settings)[0] == 0
    every = [json.loads(line) for line in everything.read_text().splitlines()]
    assert len(every) == 30 * 8
    assert [row for row in every if row["verdict"] == "correct" and row["stop_reason"] != "length"] == rows
    code, shown, error = run_main(
        capsys, "sft", "--sft.data", str(output), "--output-dir", str(tmp_path / "run"), *arguments(TINY)
    )
    assert code == 0, error
    assert "simplerl train --model" in shown


def test_short_demonstrations_are_the_bare_working() -> None:
    from simplerl.data import demonstrations

    found = demonstrations.load("arithmetic-short", size=50, seed=3)
    assert found == demonstrations.load("arithmetic-short", size=50, seed=3)
    assert len({item.question for item in found}) > 30
    for item in found:
        *lines, last = item.response.strip().split(" ")
        for line in lines:
            left, _, value = line.rstrip(".").partition("=")
            operator = next(c for c in "+-*" if c in left)
            a, b = map(int, left.split(operator))
            assert {"+": a + b, "-": a - b, "*": a * b}[operator] == int(value), line
        assert last == f"\\boxed{{{lines[-1].rstrip('.').split('=')[1]}}}"
        assert item.ended
