"""Helpers of the tests: tiny models, made-up trajectories, runs in this process and in others."""

import contextlib
import copy
import dataclasses
import json
import os
import re
import shutil
import string
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

import simplerl
from simplerl.config.resolve import resolve
from simplerl.config.sections import Config
from simplerl.core.types import Batch, Completion, Problem, Segment, Trajectory, TrajectoryGroup, Verdict, VersionSpan
from simplerl.feed.buffer import to_imitate
from simplerl.models.load import Policy
from simplerl.runs.directory import read_metrics
from simplerl.runs.metrics import TIMINGS
from simplerl.train.batch import build_batch
from simplerl.train.loop import train
from simplerl.train.run import Callback, Outcome

#: Qwen2 tokenizers insist on this name for their end token.
END = "<|endoftext|>"

#: Where the package that is being tested lies, and the repository around it.
SOURCE = Path(simplerl.__file__).parent
ROOT = Path(__file__).parent.parent

#: Public data files that are not part of the repository; tests that need them are skipped where they are missing.
SHARED = Path(os.environ.get("SIMPLERL_SHARED") or ROOT.parent / "shared")

#: A run of a second: what the tests of the loop start from.
SMALL = {
    "model": "cub-qwen",
    "steps": 3,
    "dataset": {"levels": [1], "size": 40},
    "sampling": {"prompts_per_step": 2, "samples_per_prompt": 4, "max_new_tokens": 16},
    "optimizer": {"lr": 1e-3},
    "evaluation": {"size": 4, "samples": 2, "every": 2, "further_temperatures": []},
    "checkpoint": {"every": 1, "keep": 2},
}


# -- models --------------------------------------------------------------------------------------------------------


def make_tokenizer(size: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer of `size` tokens: the end, `<pad>`, then single characters."""
    characters = (string.ascii_letters + string.digits + string.punctuation + " \n")[: size - 2]
    vocabulary = {END: 0, "<pad>": 1, **{character: i + 2 for i, character in enumerate(characters)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token="<pad>")


SHAPE = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": 1,
    "initializer_range": 0.4,
}

#: Architecture → configuration. Each has something that the others have not.
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", SHAPE),
    "qwen2-tied": ("Qwen2Config", {**SHAPE, "tie_word_embeddings": True}),
    "mistral-sliding": ("MistralConfig", {**SHAPE, "sliding_window": 8}),
    # Learned positions, dropout, another attribute for everything.
    "gpt2": (
        "GPT2Config",
        {
            "vocab_size": 64,
            "n_embd": 32,
            "n_layer": 2,
            "n_head": 4,
            "n_positions": 128,
            "bos_token_id": None,
            "eos_token_id": 0,
            "initializer_range": 0.4,
        },
    ),
    # Soft-capped logits, layers with a sliding window and layers without.
    "gemma2": (
        "Gemma2Config",
        {
            **SHAPE,
            "head_dim": 8,
            "sliding_window": 8,
            "final_logit_softcapping": 2.0,
            "attn_logit_softcapping": 20.0,
            "query_pre_attn_scalar": 8,
        },
    ),
    "gemma3": ("Gemma3TextConfig", {**SHAPE, "head_dim": 8, "sliding_window": 8, "query_pre_attn_scalar": 8}),
    # A bias in the vocabulary projection.
    "phi": ("PhiConfig", {**SHAPE, "num_key_value_heads": 4}),
    # Logits multiplied and divided by a constant.
    "cohere": ("CohereConfig", {**SHAPE, "logit_scale": 0.25}),
    "granite": ("GraniteConfig", {**SHAPE, "logits_scaling": 3.0}),
}


def tiny_directory(name: str, directory: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    """Write a random model of an architecture, with its tokenizer, as a Hugging Face directory."""
    kind, options = ARCHITECTURES[name]
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_config(getattr(transformers, kind)(**options))
    head = model.get_output_embeddings()
    if getattr(head, "bias", None) is not None:
        torch.nn.init.normal_(head.bias)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def copy_policy(policy: Policy) -> Policy:
    """Return a policy with weights of its own."""
    return dataclasses.replace(policy, model=copy.deepcopy(policy.model))


def full_scores(
    model: Any, tokens_BT: torch.Tensor, mask_BT: torch.Tensor, temperature: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (logprobs_BT, entropy_BT) computed the plain way, from the model's own logits all at once."""
    logits_BTV = model(input_ids=tokens_BT, use_cache=False).logits.float() / temperature
    logprobs_BTV = torch.zeros_like(logits_BTV)
    logprobs_BTV[:, 1:] = logits_BTV[:, :-1].log_softmax(-1)
    entropy_BT = -(logprobs_BTV.exp() * logprobs_BTV).sum(-1)
    chosen_BT = logprobs_BTV.gather(-1, tokens_BT[..., None]).squeeze(-1)
    return chosen_BT * mask_BT, entropy_BT * mask_BT


# -- trajectories --------------------------------------------------------------------------------------------------

CORRECT = Verdict(status="correct", extracted="1", rule="string", detail="")
WRONG = Verdict(status="wrong", extracted="2", rule="string", detail="")
TIMED_OUT = Verdict(status="timeout", extracted="3", rule="", detail="too slow")


def trajectory(
    *,
    problem: Problem | None = None,
    sample: int = 0,
    prompt: Sequence[int] = (5, 6, 7),
    response: Sequence[int] = (8, 9, 0),
    logprobs: Sequence[float] | None = None,
    verdict: Verdict = CORRECT,
    reward: float | None = None,
    stop_reason: str = "eos",
    mask: Sequence[bool] | None = None,
) -> Trajectory:
    """Return a made-up trajectory; the reward follows the verdict unless it is given."""
    given = {"correct": 1.0, "wrong": 0.0, "no_answer": 0.0}.get(verdict.status, float("nan"))
    return Trajectory(
        problem=problem or Problem(id="p", question="?", answer="1", source="test", level="1"),
        sample=sample,
        prompt_ids=np.array(prompt, dtype=np.int32),
        completion=Completion(
            token_ids=np.array(response, dtype=np.int32),
            logprobs=np.array([-1.0] * len(response) if logprobs is None else logprobs, dtype=np.float32),
            text="text",
            stop_reason=stop_reason,
            versions=(VersionSpan(0, 0, len(response)),),
        ),
        segments=segments_of([True] * len(response) if mask is None else mask),
        verdict=verdict,
        reward=given if reward is None else reward,
        reward_parts={},
    )


def segments_of(mask: Sequence[bool]) -> tuple[Segment, ...]:
    """Return segments of a token each: the policy's where the mask is True."""
    return tuple(Segment("policy" if kept else "environment", i, i + 1) for i, kept in enumerate(mask))


def group(*members: Trajectory, id: str = "p", level: str = "1") -> TrajectoryGroup:
    """Return a group of made-up trajectories to one problem."""
    problem = Problem(id=id, question="?", answer="1", source="test", level=level)
    numbered = tuple(dataclasses.replace(t, problem=problem, sample=i) for i, t in enumerate(members))
    return TrajectoryGroup(problem=problem, trajectories=numbered)


def random_groups(
    *,
    problems: int = 4,
    samples: int = 4,
    vocabulary: int = 64,
    seed: int = 0,
    longest: int = 12,
    prompts: tuple[int, int] = (2, 7),
    holes: bool = False,
) -> list[TrajectoryGroup]:
    """Return groups of random tokens, lengths, log-probabilities and verdicts (some truncated, none undecided).

    With `holes` a third of the tokens is an environment's, as in responses of several turns.
    """
    rng = np.random.default_rng(seed)
    groups = []
    for p in range(problems):
        prompt = rng.integers(2, vocabulary, rng.integers(*prompts))
        members = []
        for _ in range(samples):
            length = int(rng.integers(1, longest + 1))
            members.append(
                trajectory(
                    prompt=prompt,
                    response=rng.integers(2, vocabulary, length),
                    logprobs=-rng.exponential(size=length) - 0.1,
                    verdict=CORRECT if rng.random() < 0.5 else WRONG,
                    stop_reason="length" if length == longest else "eos",
                    mask=[i % 3 != 1 for i in range(length)] if holes else None,
                )
            )
        groups.append(group(*members, id=f"p{p}"))
    return groups


def mixed_parts(vocabulary: int = 64, seed: int = 3) -> list[Batch]:
    """Return rows for each term of a loss: `rl` (some only for the credit of their groups, some sampled earlier, with
    credit of their own), `ce` that nobody sampled, and `ref_kl`."""
    groups = random_groups(problems=6, seed=seed, vocabulary=vocabulary)
    fresh = build_batch(groups[:3], [0, 0, -1, 0] * 3)
    earlier = build_batch(groups[3:4])
    earlier = dataclasses.replace(earlier, credit_BT=torch.linspace(-1, 1, 4)[:, None].expand_as(earlier.credit_BT))
    draw = np.random.default_rng(seed)
    given = [to_imitate(draw.integers(2, vocabulary, 5 + n).tolist(), 3) for n in range(4)]
    imitated = build_batch([], rows=given, component="ce")
    return [joined([fresh, earlier]), imitated, build_batch(groups[4:], [2] * 8)]


def joined(batches: Sequence[Batch]) -> Batch:
    """Return batches as one: padded to the widest, with groups of their own."""
    width = max(batch.tokens_BT.shape[1] for batch in batches)
    fields: dict[str, list[torch.Tensor]] = {}
    groups = 0
    for batch in batches:
        for field in dataclasses.fields(Batch):
            name, values = field.name, getattr(batch, field.name)
            if values is None:  # Nobody sampled these tokens: the learner measures no sampler there.
                values = torch.zeros(batch.tokens_BT.shape)
            if name == "group_B":
                values = values + groups
            elif values.ndim == 2:
                values = torch.nn.functional.pad(values, (0, width - values.shape[1]))
            fields.setdefault(name, []).append(values)
        groups += int(batch.group_B.max()) + 1
    return Batch(**{name: torch.cat(parts) for name, parts in fields.items()})


# -- runs ----------------------------------------------------------------------------------------------------------


class Silent(Callback):
    """A callback that only keeps what it is given."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.metrics: dict[int, dict[str, Any]] = {}

    def say(self, message: str) -> None:
        self.lines.append(message)

    def on_step(self, step: int, metrics: dict[str, Any], groups: list[TrajectoryGroup]) -> None:
        self.metrics[step] = metrics


def deep(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return nested tables with others laid on top."""
    merged = dict(base)
    for key, value in over.items():
        merged[key] = deep(base[key], value) if isinstance(base.get(key), dict) and isinstance(value, dict) else value
    return merged


def small_config(over: dict[str, Any] | None = None) -> Config:
    """Return the configuration of a run of about a second."""
    return resolve("cub", deep(SMALL, over or {}))


def run_small(path: Path, over: dict[str, Any] | None = None, *, resume: bool = False) -> tuple[Outcome, Silent]:
    """Train in this process."""
    listener = Silent()
    return train(small_config(over), path, resume=resume, callbacks=[listener]), listener


def arguments(table: dict[str, Any], path: str = "") -> list[str]:
    """Return nested tables as command-line arguments."""
    found: list[str] = []
    for key, value in table.items():
        if isinstance(value, dict):
            found += arguments(value, f"{path}{key}.")
        else:
            shown = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            found += [f"--{path}{key}".replace("_", "-"), shown]
    return found


def environment() -> dict[str, str]:
    """Return an environment in which another Python finds the package under test and uses one thread."""
    paths = [str(SOURCE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "COLUMNS": "120",
    }


def command(*arguments: str) -> list[str]:
    """Return the command line that runs simplerl in another process."""
    return [sys.executable, "-m", "simplerl", *arguments]


def run_command(*arguments: str, cwd: Path | None = None, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run simplerl in another process."""
    return subprocess.run(
        command(*arguments), env=environment(), cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False
    )


def ranks_of(pid: int) -> list[int]:
    """Return the ranks among a process's children."""
    listed = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line.split()[0]) for line in listed.stdout.splitlines() if "train.ranks" in line]


def gone(pid: int, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def begin_run(path: Path, over: dict[str, Any], *further: str) -> subprocess.Popen[str]:
    """Start a run in another process and wait until it has done a step."""
    line = command("train", "cub", *arguments(deep(SMALL, over)), "--output-dir", str(path), *further)
    process = subprocess.Popen(line, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 300
    while not (path / "checkpoints" / "step_000002").exists() and time.monotonic() < deadline:
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.05)
    return process


def run_main(capsys: Any, *arguments: str) -> tuple[int, str, str]:
    """Run simplerl's `main` in this process. Return (exit code, standard output, standard error)."""
    from simplerl.cli import main

    capsys.readouterr()
    try:
        code = main(list(arguments))
    except SystemExit as end:  # argparse
        code = end.code
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def untimed(path: Path) -> list[dict[str, Any]]:
    """Return a run's metrics without what depends on the machine's speed."""
    return [
        {name: value for name, value in line.items() if not name.startswith(TIMINGS)} for line in read_metrics(path)
    ]


def fingerprint(path: Path) -> dict[str, Any]:
    """Return everything about a finished run that may not depend on where it was interrupted."""
    newest = sorted((path / "checkpoints").glob("step_*"))[-1]
    records = sorted([*(path / "trajectories").iterdir(), *(path / "evaluations").glob("*.parquet")])
    return {
        "metrics": untimed(path),
        "weights": next(newest.glob("*model.safetensors")).read_bytes(),  # An adapter_model in LoRA.
        "optimizer": (newest / "trainer" / "optimizer.safetensors").read_bytes(),
        "critic": [file.read_bytes() for file in sorted((newest / "trainer").glob("critic*.safetensors"))],
        "buffer": [file.read_bytes() for file in sorted((newest / "trainer").glob("[bi]*.safetensors"))],
        "state": json.loads((newest / "trainer" / "state.json").read_text()),
        "checkpoints": sorted(entry.name for entry in (path / "checkpoints").iterdir()),
        "records": {file.name: _untimed_rows(file) for file in records},
    }


def _untimed_rows(file: Path) -> list[dict[str, Any]]:
    """Return the rows of a record without the seconds that tools took."""
    rows = pyarrow.parquet.read_table(file).to_pylist()
    for call in (call for row in rows for call in row["calls"] or ()):
        del call["seconds"]
    return rows


def assert_same_run(path: Path, reference: dict[str, Any]) -> None:
    """Assert that a run ended as another did, bit for bit."""
    found = fingerprint(path)
    assert found["checkpoints"] == reference["checkpoints"]
    assert found["metrics"] == reference["metrics"]
    assert found["state"] == reference["state"]
    assert found["records"].keys() == reference["records"].keys()
    # NaN is not itself; text that shows every bit of a float is.
    for name, rows in found["records"].items():
        assert repr(rows) == repr(reference["records"][name]), name
    assert found["weights"] == reference["weights"], "the weights differ"
    assert found["optimizer"] == reference["optimizer"], "the optimizer's moments differ"
    assert found["critic"] == reference["critic"], "the critic or its moments differ"
    assert found["buffer"] == reference["buffer"], "kept rows, or the moments of who imitates them, differ"


class Crash(BaseException):
    """Stands for the end of the process: nothing may catch it."""


@contextlib.contextmanager
def watch_writes(directory: Path, before: Callable[[list[str]], None] = lambda seen: None):
    """Call `before` with the changes of files under `directory` so far, as text, before each; yield their list."""
    seen: list[str] = []
    _watched.append((str(directory), before, seen))
    try:
        yield seen
    finally:
        _watched.pop()


def crash_before_write(directory: Path, number: int):
    """Let the process "die" before it changes a file under `directory` for the `number`-th time (from 0).

    From then on nothing under the directory can be changed, as if the process were gone: clean-up code has no effect.
    Yields a list that holds the changes seen, as text.
    """

    def before(seen: list[str]) -> None:
        if len(seen) > number:
            raise Crash(seen[number])

    return watch_writes(directory, before)


@contextlib.contextmanager
def kills_before(directory: Path, pattern: str):
    """Copy `directory` before each change whose text matches: what a process would leave that is killed there.

    The text is as `crash_before_write` shows it, and how many of the same there were: "open /metrics.jsonl 3".
    Yields the list of the copies. One run is interrupted in many places so, and is itself the one to compare with.
    """
    copies: list[Path] = []

    def before(seen: list[str]) -> None:
        if directory.exists() and re.search(pattern, f"{seen[-1]} {seen.count(seen[-1])}"):
            copies.append(shutil.copytree(directory, directory.parent / f"killed-{len(copies)}-{directory.name}"))

    with watch_writes(directory, before):
        yield copies


def resumes_exactly(path: Path, over: dict[str, Any] | None, pattern: str) -> dict[str, Any]:
    """Train; assert that what a kill leaves before each change that matches (`kills_before`) ends as the run does.

    Return the run's fingerprint.
    """
    with kills_before(path, pattern) as copies:
        run_small(path, over)
    wanted = fingerprint(path)
    assert copies
    for copied in copies:  # As a person does: resume, or start again where nothing had been written yet.
        outcome, _ = run_small(copied, over, resume=(copied / "config.json").exists())
        assert outcome.finished
        assert_same_run(copied, wanted)
    return wanted


_watched: list[tuple[str, Callable[[list[str]], None], list[str]]] = []
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _audit(event: str, details: tuple[Any, ...]) -> None:
    if not _watched or event not in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"):
        return
    if event == "open" and not (isinstance(details[2], int) and details[2] & _WRITING):
        return
    directory, before, seen = _watched[-1]
    path = str(details[0])
    if not path.startswith(directory) or path.endswith((".lock", "status.json", ".status.json.partial")):
        return
    seen.append(f"{event} {path.removeprefix(directory)}")
    before(seen)


sys.addaudithook(_audit)


def made_up_run(
    path: Path, *, accuracies: Sequence[float], tokens: Sequence[int], seconds: float = 1.0, entropy: float = 0.5
) -> Path:
    """Write what a finished run leaves behind: evaluated at every step, the first accuracy being the base model's.

    pass@1 is the accuracy and pass@8 twice that; `tokens` are those of each step.
    """
    (path / "evaluations").mkdir(parents=True)
    lines = []
    for step, accuracy in enumerate(accuracies):
        figures = {
            "accuracy": {"value": accuracy},
            "pass_at": {"1": {"value": accuracy}, "8": {"value": min(1.0, 2 * accuracy)}},
            "length": 20.0,
        }
        (path / "evaluations" / f"step_{step:06d}.json").write_text(json.dumps(figures))
        line = {"step": step, "eval/accuracy": accuracy}
        if step:
            line |= {"tokens/sampled": tokens[step - 1], "tokens/useful": tokens[step - 1] // 2}
            line |= {"policy/entropy": entropy * step, "accuracy/mean": accuracy}
        lines.append(json.dumps(line) + "\n")
    (path / "metrics.jsonl").write_text("".join(lines))
    summary = {"steps": len(tokens), "tokens": {"sampled": sum(tokens)}, "seconds": seconds}
    (path / "summary.json").write_text(json.dumps(summary))
    (path / "environment.json").write_text(json.dumps({"sessions": [{"platform": "test", "cpu_threads": 1}]}))
    return path
