"""Bad input gives one clear message and exit code 2; nothing that was there is lost."""

import json
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import torch
from support import SMALL, arguments, deep, fingerprint, make_tokenizer, run_main, run_small

from simplerl.runs.directory import RunDirectory

GOOD_ROWS = [{"question": f"What is {i}+1?", "answer": str(i + 1)} for i in range(20)]


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def rows(path: Path, *values: object) -> str:
    return write(path, "".join(json.dumps(value) + "\n" for value in values))


def parquet(path: Path, values: list[dict[str, object]]) -> str:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(values), path)
    return str(path)


class Place:
    """A directory to make bad input in, and models to spoil."""

    def __init__(self, directory: Path, tiny_models: Callable[[str], Path]):
        self.directory, self.tiny_models = directory, tiny_models

    def __truediv__(self, name: str) -> Path:
        return self.directory / name

    def model(self, name: str = "model") -> Path:
        """Return a copy of a sound model."""
        return Path(shutil.copytree(self.tiny_models("llama"), self.directory / name))

    def spoilt_weights(self, content: bytes) -> str:
        directory = self.model()
        (directory / "model.safetensors").write_bytes(content)
        return str(directory)

    def pickled_weights(self) -> str:
        directory = self.model()
        (directory / "model.safetensors").unlink()
        torch.save({}, directory / "pytorch_model.bin")
        return str(directory)

    def without_end_token(self) -> str:
        directory = self.model()
        settings = json.loads((directory / "tokenizer_config.json").read_text())
        settings["eos_token"] = None
        (directory / "tokenizer_config.json").write_text(json.dumps(settings))
        for name in ("config.json", "generation_config.json"):
            table = json.loads((directory / name).read_text())
            table["eos_token_id"] = None
            (directory / name).write_text(json.dumps(table))
        return str(directory)

    def large_tokenizer(self) -> str:
        directory = self.model()
        make_tokenizer(80).save_pretrained(directory)
        return str(directory)


#: The rows of the files have no levels to choose from.
ALL = ["--dataset.levels", "[]"]

#: What is wrong → (arguments, what the message must say). `p` makes files.
CASES: dict[str, tuple[Callable[[Place], list[str]], list[str]]] = {
    # models
    "unknown cub": (lambda p: ["--model", "cub-qwn"], ["'cub-qwn'", "cub-qwen"]),
    "unknown model": (lambda p: ["--model", "gpt17"], ["'gpt17'", "cub-llama", "hub name"]),
    "missing model directory": (lambda p: ["--model", str(p / "nowhere")], ["nowhere", "does not exist"]),
    "directory without a model": (lambda p: ["--model", str(p.directory)], [str, "config.json"]),
    "broken model configuration": (
        lambda p: ["--model", str(Path(write(p.model() / "config.json", "{")).parent)],
        ["cannot load model", "model"],
    ),
    "unknown architecture": (
        lambda p: ["--model", str(Path(write(p.model() / "config.json", '{"model_type": "strange"}')).parent)],
        ["cannot load model", "strange"],
    ),
    "weights that are a pointer": (
        lambda p: ["--model", p.spoilt_weights(b"version https://git-lfs.github.com/spec/v1\n")],
        ["cannot load model"],
    ),
    "weights cut short": (
        lambda p: ["--model", p.spoilt_weights((p.tiny_models("llama") / "model.safetensors").read_bytes()[:5000])],
        ["cannot load model"],
    ),
    "pickled weights only": (lambda p: ["--model", p.pickled_weights()], ["cannot load model", "safetensors"]),
    "hub model without a network": (lambda p: ["--model", "nobody/nothing"], ["cannot load model", "nobody/nothing"]),
    "tokenizer without an end": (
        lambda p: ["--model", p.without_end_token(), "--template", "plain"],
        ["end-of-text", "eos_token"],
    ),
    "tokenizer larger than the model": (lambda p: ["--model", p.large_tokenizer()], ["does not fit", "80", "64"]),
    # recipes
    "unknown recipe": (lambda p: ["cubb"], ["'cubb'", "'cub'"]),
    "missing recipe file": (lambda p: [str(p / "mine.toml")], ["mine.toml"]),
    "malformed recipe": (lambda p: [write(p / "mine.toml", "steps = = 3")], ["mine.toml", "not valid TOML", "line 1"]),
    "unknown key in a recipe": (
        lambda p: [write(p / "mine.toml", 'extends = "cub"\n[optimizer]\nlrr = 1')],
        ["'optimizer.lrr'", "'lr'"],
    ),
    "unknown base of a recipe": (lambda p: [write(p / "mine.toml", 'extends = "cubs"')], ["'cubs'", "'cub'"]),
    "recipe that extends itself": (
        lambda p: [write(p / "mine.toml", f'extends = "{p / "mine.toml"}"')],
        ["mine.toml", "extends"],
    ),
    "recipe whose base is no name": (lambda p: [write(p / "mine.toml", "extends = 3")], ["extends"]),
    # data
    "missing data file": (lambda p: ["--data", str(p / "none.jsonl")], ["none.jsonl", "does not exist"]),
    "unknown data set": (lambda p: ["--data", "arithmetics"], ["'arithmetics'", "'arithmetic'"]),
    "data of another kind": (lambda p: ["--data", write(p / "d.csv", "a,b")], ["d.csv", ".jsonl"]),
    "data that is a directory": (lambda p: ["--data", str(p.directory)], ["directory"]),
    "malformed JSONL": (
        lambda p: ["--data", write(p / "d.jsonl", '{"question": "a", "answer": "1"}\n\n{"question": "a", \n')],
        ["d.jsonl:3", "JSON"],
    ),
    "JSONL that is not text": (lambda p: ["--data", str(binary(p / "d.jsonl"))], ["d.jsonl", "UTF-16"]),
    "JSONL in another encoding": (
        lambda p: ["--data", latin(p / "d.jsonl")],
        ["d.jsonl:1", "JSON"],
    ),
    "JSONL with a number beyond all bounds": (
        lambda p: ["--data", write(p / "d.jsonl", f'{{"question": "a", "answer": {"1" * 5000}}}\n')],
        ["d.jsonl:1"],
    ),
    "row that is no object": (lambda p: ["--data", rows(p / "d.jsonl", GOOD_ROWS[0], [1])], ["d.jsonl:2", "object"]),
    "row without a question": (
        lambda p: ["--data", rows(p / "d.jsonl", GOOD_ROWS[0], {"text": "a", "answer": "1"})],
        ["d.jsonl:2", "no question", "'text'"],
    ),
    "row with an empty question": (
        lambda p: ["--data", rows(p / "d.jsonl", {"question": "  ", "answer": "1"})],
        ["d.jsonl:1", "no question"],
    ),
    "row without an answer": (
        lambda p: ["--data", rows(p / "d.jsonl", {"question": "a", "level": "1"})],
        ["d.jsonl:1", "no final answer", "'level'"],
    ),
    "row with an empty answer": (
        lambda p: ["--data", rows(p / "d.jsonl", {"question": "a", "answer": "so much for that ####  "})],
        ["d.jsonl:1", "no final answer"],
    ),
    "solution without a box": (
        lambda p: ["--data", rows(p / "d.jsonl", {"problem": "a", "solution": "It is 7."})],
        ["d.jsonl:1", "no final answer", "boxed"],
    ),
    "empty data": (lambda p: ["--data", write(p / "d.jsonl", "\n\n")], ["'d'", "no rows"]),
    "empty list": (lambda p: ["--data", write(p / "d.json", "[]")], ["'d'", "no rows"]),
    "JSON that is no list": (lambda p: ["--data", write(p / "d.json", "{\n}")], ["d.json:1", "one list"]),
    "empty Parquet": (
        lambda p: ["--data", parquet_of_nothing(p / "d.parquet")],
        ["'d'", "no rows"],
    ),
    "broken Parquet": (lambda p: ["--data", write(p / "d.parquet", "PAR1 nonsense")], ["d.parquet", "Parquet"]),
    "Parquet row without an answer": (
        lambda p: ["--data", parquet(p / "d.parquet", [GOOD_ROWS[0], {"question": "b"}])],
        ["d.parquet[1]", "no final answer"],
    ),
    "everything held out": (
        lambda p: ["--data", rows(p / "d.jsonl", *GOOD_ROWS), "--evaluation.holdout", "20", *ALL],
        ["holdout", "20"],
    ),
    "all prompts too long": (
        lambda p: ["--sampling.max-prompt-tokens", "3"],
        ["all", "prompts", "3 tokens", "max_prompt_tokens"],
    ),
    "all held-out prompts too long": (
        lambda p: ["--evaluation.data", rows(p / "d.jsonl", {"question": "a" * 5000, "answer": "1"})],
        ["held-out", "longer than"],
    ),
    "missing held-out file": (lambda p: ["--evaluation.data", str(p / "none.jsonl")], ["none.jsonl"]),
    "no such split": (lambda p: ["--dataset.split", "validation"], ["train", "test", "'validation'"]),
    "no such level": (lambda p: ["--dataset.levels", "9"], ["level", "9"]),
    "unknown template": (lambda p: ["--template", "simpel"], ["'simpel'", "'simple'"]),
    "template without a place": (lambda p: ["--template", write(p / "t.txt", "Question:")], ["t.txt", "{input}"]),
    "template that is not text": (lambda p: ["--template", str(binary(p / "t.txt"))], ["t.txt"]),
    "chat template that is not there": (lambda p: ["--template", "chat"], ["no chat template", "simple"]),
    "prompts that the data has not": (lambda p: ["--template", "from-data"], ["arithmetic-", "0 prompt messages"]),
    "system message without a chat": (lambda p: ["--prompt.system", "Think."], ["'plain'", "prompt.system"]),
    "unknown policy of special tokens": (
        lambda p: ["--prompt.special-tokens", "all"],
        ["special_tokens", "none, bos"],
    ),
    "begin that the tokenizer has not": (lambda p: ["--prompt.special-tokens", "bos"], ["begin-of-text", "'none'"]),
    "place of data that is made here": (lambda p: ["--data", "arithmetic@dir"], ["'arithmetic'", "@dir"]),
    "directory without the tier's files": (
        lambda p: ["--data", f"simplerl-zoo-hard@{p.directory}"],
        ["simplelr_qwen_level3to5/train.parquet", "download"],
    ),
    # keys and values
    "unknown key": (lambda p: ["--sampling.temprature", "1"], ["'sampling.temprature'", "'temperature'"]),
    "unknown key at the top": (lambda p: ["--modle", "x"], ["'modle'", "'model'"]),
    "unknown section": (lambda p: ["--optimiser.lr", "1"], ["'optimiser'", "'optimizer'"]),
    "unknown key of the algorithm": (lambda p: ["--algorithm.clip", "0.1"], ["'algorithm.clip'", "'clip_low'"]),
    "unknown algorithm": (lambda p: ["--algorithm.name", "gpro"], ["'gpro'", "'grpo'"]),
    "unknown reward": (lambda p: ["--reward.name", "corectness"], ["'corectness'", "'correctness'"]),
    "unknown backend": (lambda p: ["--rollout.backend", "nativ"], ["'nativ'", "'native'"]),
    "unknown verifier policy": (lambda p: ["--verifier.policy", "boxd"], ["'boxd'", "'boxed'"]),
    "unknown tracker": (lambda p: ["--tracking.trackers", "wendb"], ["wendb"]),
    "section instead of a key": (lambda p: ["--sampling", "5"], ["sampling is a section"]),
    "key below a value": (lambda p: ["--seed.more", "5"], ["seed"]),
    "word for a number": (lambda p: ["--optimizer.lr", "fast"], ["optimizer.lr", "'fast'"]),
    "word for a whole number": (lambda p: ["--sampling.top-k", "many"], ["sampling.top_k", "'many'"]),
    "fraction for a whole number": (lambda p: ["--sampling.top-k", "1.5"], ["sampling.top_k", "'1.5'"]),
    "word for yes or no": (lambda p: ["--learner.gradient-checkpointing", "perhaps"], ["gradient_checkpointing"]),
    "stray argument": (lambda p: ["cub", "again"], ["again"]),
    "option without its value": (lambda p: ["--model"], ["--model"]),
    # negative, out of range, contradictory
    "negative rate": (lambda p: ["--optimizer.lr", "-1"], ["optimizer.lr", "positive", "-1"]),
    "rate that is no number": (lambda p: ["--optimizer.lr", "nan"], ["optimizer.lr", "nan"]),
    "endless rate": (lambda p: ["--optimizer.lr", "inf"], ["optimizer.lr", "inf"]),
    "negative clip": (lambda p: ["--algorithm.clip-low", "-0.2"], ["algorithm.clip_low", "negative"]),
    "clip that is no number": (lambda p: ["--algorithm.clip-low", "nan"], ["algorithm.clip_low", "nan"]),
    "no temperature": (lambda p: ["--sampling.temperature", "0"], ["sampling.temperature", "positive"]),
    "temperature that is no number": (lambda p: ["--sampling.temperature", "nan"], ["sampling.temperature", "nan"]),
    "nucleus of more than all": (lambda p: ["--sampling.top-p", "2"], ["sampling.top_p", "2"]),
    "evaluation nucleus of nothing": (lambda p: ["--evaluation.top-p", "0"], ["evaluation.top_p", "0"]),
    "negative top-k": (lambda p: ["--sampling.top-k", "-1"], ["sampling.top_k", "-1"]),
    "negative stop id": (lambda p: ["--sampling.stop-ids", "[-1]"], ["sampling.stop_ids", "-1"]),
    "stop id beyond the vocabulary": (lambda p: ["--sampling.stop-ids", "99999"], ["99999", "sampling.stop_ids"]),
    "empty stop string": (lambda p: ["--sampling.stop", '[""]'], ["sampling.stop", "empty"]),
    "group of one": (
        lambda p: ["--sampling.samples-per-prompt", "1"],
        ["samples_per_prompt = 1", "algorithm grpo", "at least 2"],
    ),
    "uneven updates": (
        lambda p: ["--learner.prompts-per-update", "3", "--sampling.prompts-per-step", "4"],
        ["prompts_per_update = 3", "divide"],
    ),
    "negative length": (lambda p: ["--algorithm.constant-length", "-1"], ["constant_length", "negative"]),
    "constant length that nothing uses": (
        lambda p: ["--algorithm.constant-length", "40"],
        ["constant_length = 40", "normaliser = 'token'", "--algorithm.normaliser constant"],
    ),
    "setting of another algorithm": (lambda p: ["--algorithm.ratio-cap", "2"], ["ratio_cap", "cispo", "grpo"]),
    "critic for an algorithm without one": (
        lambda p: ["--algorithm.critic-lr", "1e-5"],
        ["critic_lr", "ppo", "not of grpo"],
    ),
    "critic that does not learn": (
        lambda p: ["--algorithm.name", "ppo", "--algorithm.critic-lr", "0"],
        ["critic_lr", "positive"],
    ),
    "KL of PPO in the reward and in the loss": (
        lambda p: ["--algorithm.name", "ppo", "--algorithm.kl-coef", "0.1"],
        ["kl_coef = 0.1", "count twice"],
    ),
    "KL in the reward of an algorithm without tokens' rewards": (
        lambda p: ["--algorithm.kl-reward-coef", "0.1"],
        ["kl_reward_coef", "reinforce_pp", "not of grpo"],
    ),
    "KL in the reward and in the loss": (
        lambda p: ["--algorithm.name", "reinforce_pp", "--algorithm.kl-coef", "0.1"],
        ["kl_coef = 0.1", "kl_reward_coef = 0.01", "count twice"],
    ),
    "k1 in the loss, where it pulls nowhere": (
        lambda p: ["--algorithm.kl-coef", "0.1", "--algorithm.kl-estimator", "k1"],
        ["kl_estimator = 'k1'", "k2 or k3"],
    ),
    "k1 in the loss of PPO, whose default it is for the reward": (
        lambda p: ["--algorithm.name", "ppo", "--algorithm.kl-coef", "0.1", "--algorithm.kl-reward-coef", "0"],
        ["kl_estimator = 'k1'", "k2 or k3"],
    ),
    "horizon that would turn the KL coefficient negative": (
        lambda p: ["--algorithm.kl-coef", "0.1", "--algorithm.kl-target", "0.1", "--algorithm.kl-horizon", "1"],
        ["kl_horizon = 1", "negative", "at least"],
    ),
    "critic that warms up to the end": (
        lambda p: ["--algorithm.name", "ppo", "--algorithm.critic-warmup-steps", "3", "--steps", "3"],
        ["critic_warmup_steps = 3", "steps = 3", "never move"],
    ),
    "target for no KL": (lambda p: ["--algorithm.kl-target", "0.1"], ["kl_target = 0.1", "kl_coef"]),
    "reference for no KL": (lambda p: ["--reference", "cub-llama"], ["reference = 'cub-llama'", "kl_coef"]),
    "reference with another vocabulary": (
        lambda p: ["--reference", str(p.model()), "--algorithm.kl-coef", "0.1"],
        ["another vocabulary", "64", "367", "--reference"],
    ),
    "teacher with another vocabulary": (
        lambda p: ["--algorithm.name", "distill", "--reference", str(p.model())],
        ["another vocabulary", "64", "367", "--reference"],
    ),
    "reference that does not exist": (
        lambda p: ["--reference", str(p / "nowhere"), "--algorithm.kl-coef", "0.1"],
        ["nowhere", "does not exist"],
    ),
    "bounds of a correction upside down": (
        lambda p: ["--algorithm.correction", "token-mask", "--algorithm.correction-low", "3"],
        ["correction_low", "3"],
    ),
    "unknown correction": (lambda p: ["--algorithm.correction", "clip"], ["algorithm.correction", "truncated"]),
    "discount above one": (
        lambda p: ["--algorithm.name", "reinforce_pp", "--algorithm.gamma", "1.5"],
        ["algorithm.gamma", "less than or equal to 1"],
    ),
    "unknown normaliser": (lambda p: ["--algorithm.normaliser", "tokens"], ["normaliser", "token, sequence"]),
    "unknown schedule": (lambda p: ["--optimizer.schedule", "step"], ["optimizer.schedule", "cosine"]),
    "momentum of one": (lambda p: ["--optimizer.beta1", "1"], ["optimizer.beta1", "1"]),
    "no checkpoints": (lambda p: ["--checkpoint.every", "0"], ["checkpoint.every", "positive"]),
    "response longer than the context": (
        lambda p: ["--sampling.max-new-tokens", "5000"],
        ["max_new_tokens = 5000", "context"],
    ),
    "no such device": (lambda p: ["--learner.device", "abacus"], ["learner.device", "'abacus'"]),
    "unknown precision": (lambda p: ["--learner.precision", "fp8"], ["learner.precision", "bf16"]),
    "unknown attention": (lambda p: ["--learner.attention", "flesh"], ["attention", "eager"]),
    # places
    "output directory that is a file": (lambda p: ["--output-dir", write(p / "file", "")], ["file"]),
    "output directory below a file": (
        lambda p: ["--output-dir", write(p / "file", "") + "/run"],
        ["cannot write", "--output-dir"],
    ),
    "output directory where none can be": (lambda p: ["--output-dir", "/proc/nowhere/run"], ["cannot write", "/proc"]),
    "output directory with other things": (
        lambda p: ["--output-dir", str(Path(write(p / "notes.txt", "precious")).parent)],
        ["not empty"],
    ),
    "nothing to resume": (lambda p: ["--resume", "--output-dir", str(p / "none")], ["no run to resume"]),
}


def binary(path: Path) -> Path:
    path.write_bytes(b"\xff\xfe\x00\x01{input}")
    return path


def latin(path: Path) -> str:
    path.write_bytes(b'{"question": "caf\xe9"}')
    return str(path)


def parquet_of_nothing(path: Path) -> str:
    schema = pyarrow.schema([("question", pyarrow.string()), ("answer", pyarrow.string())])
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([], schema=schema), path)
    return str(path)


@pytest.mark.parametrize("case", CASES)
def test_message_and_exit_code(case: str, tmp_path: Path, tiny_models, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    inner = tmp_path / "place"
    inner.mkdir()
    make, wanted = CASES[case]
    given = make(Place(inner, tiny_models))
    # Positional arguments first; what the case gives stands last and wins.
    position = [] if given[0].startswith("--") else [part for part in given if not part.startswith("--")]
    base = arguments({**SMALL, "output_dir": str(tmp_path / "run")})
    code, _, error = run_main(capsys, "train", *(position or ["cub"]), *base, *given[len(position) :])
    assert code == 2, error
    assert "Traceback" not in error
    assert "internal error" not in error
    assert error.startswith(("error: ", "usage: ")), error
    for fragment in wanted:
        text = str(inner) if fragment is str else fragment
        assert text.replace("_", "-") in error.replace("_", "-"), error
    assert len(error) < 2000


@pytest.mark.parametrize("mistake", [["--model", "cub-qwn"], ["--data", "none.jsonl"], ["--sampling.top-p", "2"]])
def test_mended_command_may_use_the_same_directory(mistake: list[str], tmp_path: Path, capsys) -> None:
    """A mistake takes no name: the right command goes where the wrong one would have gone."""
    base = arguments({**SMALL, "steps": 1, "output_dir": str(tmp_path / "run")})
    assert run_main(capsys, "train", *base, *mistake)[0] == 2
    code, _, error = run_main(capsys, "train", *base)
    assert code == 0, error
    assert (tmp_path / "run" / "summary.json").exists()


def test_bad_input_leaves_what_is_there_alone(tmp_path: Path, capsys) -> None:
    path = tmp_path / "run"
    run_small(path)
    before = fingerprint(path)
    for mistake in (["--resume", "--model", "cub-llama"], ["--resume", "--optimizer.lr", "fast"], ["--seed", "3"]):
        assert run_main(capsys, "train", "--output-dir", str(path), *mistake)[0] == 2
    assert fingerprint(path) == before


def test_tokenizer_without_padding_is_good_enough(tmp_path: Path, tiny_models, capsys) -> None:
    directory = Place(tmp_path, tiny_models).model()
    settings = json.loads((directory / "tokenizer_config.json").read_text())
    settings["pad_token"] = None
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    table = {**SMALL, "steps": 1, "output_dir": str(tmp_path / "run"), "model": str(directory)}
    code, _, error = run_main(capsys, "train", "cub", *arguments(table))
    assert code == 0, error
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["base_accuracy"] == 0.0


def test_long_prompts_are_left_out_counted_and_named(tmp_path: Path, capsys) -> None:
    long = [{"question": "word " * 300 + str(i), "answer": "1"} for i in range(7)]
    data = rows(tmp_path / "d.jsonl", *GOOD_ROWS, *long)
    table = deep(SMALL, {"steps": 1, "evaluation": {"holdout": 4}, "sampling": {"max_prompt_tokens": 100}})
    code, out, error = run_main(
        capsys, "train", *arguments({**table, "dataset": {}, "data": data, "output_dir": str(tmp_path / "run")})
    )
    assert code == 0, error
    environment_file = json.loads((tmp_path / "run" / "environment.json").read_text())
    left_out = environment_file["sessions"][0]["data"]["left_out_too_long"]
    assert sorted([*left_out["train"], *left_out["held_out"]]) == [f"d-{i}" for i in range(20, 27)]
    assert f"{len(left_out['train'])} of " in out
    assert left_out["train"][0] in out


def test_out_of_memory_names_the_knobs(tmp_path: Path, capsys, monkeypatch) -> None:
    from simplerl.train.learner import Learner

    def step(self: Learner, batch: object, number: int) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(Learner, "step", step)
    code, _, error = run_main(capsys, "train", *arguments({**SMALL, "output_dir": str(tmp_path / "run")}))
    assert code == 2
    assert "out of memory" in error
    assert "--learner.tokens-per-microbatch" in error
    assert "--rollout.max-rows" in error


def test_without_vllm_the_message_is_the_line_to_type(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    table = deep(SMALL, {"rollout": {"backend": "vllm"}, "output_dir": str(tmp_path / "run")})
    code, _, error = run_main(capsys, "train", *arguments(table))
    assert code == 2
    assert "rollout.backend = vllm needs vLLM: pip install 'simplerl[vllm]'" in error
    assert not (tmp_path / "run").exists()


def test_knobs_of_memory_may_be_turned_on_resume(tmp_path: Path, capsys) -> None:
    """What the out-of-memory message asks for must be allowed: it changes nothing that is learned."""
    path = tmp_path / "run"
    run_small(path, {"steps": 1})
    knobs = [
        "--learner.tokens-per-microbatch",
        "64",
        "--rollout.max-rows",
        "4",
        "--learner.gradient-checkpointing",
        "true",
    ]
    code, _, error = run_main(capsys, "train", "--output-dir", str(path), "--resume", "--steps", "2", *knobs)
    assert code == 0, error


def test_our_own_bugs_are_not_called_the_users(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("simplerl.train.loop.build_batch", lambda groups, trained: 1 / 0)
    given = arguments({**SMALL, "output_dir": str(tmp_path / "run")})
    code, _, error = run_main(capsys, "train", *given)
    assert code == 1
    assert "internal error: ZeroDivisionError" in error
    assert "--debug" in error
    assert "Traceback" not in error
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(ZeroDivisionError):
        run_main(capsys, "train", "--debug", *given)


def test_nothing_secret_is_recorded(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_verysecret")
    monkeypatch.setenv("WANDB_API_KEY", "alsosecret")
    code, out, error = run_main(capsys, "train", *arguments({**SMALL, "steps": 1, "output_dir": str(tmp_path / "run")}))
    assert code == 0
    written = b"".join(file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file())
    for secret in (b"verysecret", b"alsosecret"):
        assert secret not in written
        assert secret.decode() not in out + error


def test_full_disk_keeps_the_last_good_checkpoint(tmp_path: Path, capsys, monkeypatch) -> None:
    """A limit on the size of files stands for the full disk: from the second checkpoint on, the weights do not fit."""
    path, real, limit = tmp_path / "run", RunDirectory.save_checkpoint, resource.getrlimit(resource.RLIMIT_FSIZE)

    def save(self: RunDirectory, step: int, *args: Any, **options: Any) -> Any:
        if step == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limit[1]))
        return real(self, step, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "save_checkpoint", save)
        try:
            code, _, error = run_main(capsys, "train", *arguments({**SMALL, "output_dir": str(path)}))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert code == 2, error
    assert "cannot write" in error
    assert "step_000002" in error
    assert "--resume" in error
    assert "Traceback" not in error
    assert [entry.name for entry in (path / "checkpoints").iterdir()] == ["step_000001"]
    outcome, listener = run_small(path, {"output_dir": str(path)}, resume=True)
    assert outcome.finished
    assert any("after step 1" in line for line in listener.lines)
