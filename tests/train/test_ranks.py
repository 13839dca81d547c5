"""A learner on several ranks learns what one process learns; what it saves any number of ranks can load."""

import copy
import dataclasses
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from support import (
    SMALL,
    arguments,
    assert_same_run,
    begin_run,
    copy_policy,
    deep,
    environment,
    fingerprint,
    gone,
    joined,
    make_tokenizer,
    mixed_parts,
    random_groups,
    ranks_of,
    run_command,
    run_main,
    run_small,
    untimed,
)
from transformers import MambaConfig, MambaForCausalLM

import simplerl
from simplerl.algorithms import ALGORITHMS
from simplerl.config.sections import LearnerConfig, OptimizerConfig
from simplerl.core.errors import ConfigError, ModelError, RankLost, SimpleRLError
from simplerl.core.types import Batch
from simplerl.models.checkpoint import TRAINER
from simplerl.models.device import ranks_here
from simplerl.models.load import Policy, load
from simplerl.rollout import open_backend
from simplerl.rollout.proof import ask_back
from simplerl.train import components
from simplerl.train import ranks as module
from simplerl.train.batch import build_batch, cut_update
from simplerl.train.learner import Learner
from simplerl.train.ranks import Ranks, Restarts, spread

TWO = {"learner": {"ranks": 2}}
#: β₁ = 0 and no clip: Adam's first moment is the gradient.
PLAIN = OptimizerConfig(lr=1e-3, beta1=0.0, grad_clip=1e9)

#: Name → architecture, algorithm, settings of the learner.
CASES: dict[str, tuple[str, Any, dict[str, Any]]] = {
    **{name: ("cub-qwen", algorithm(constant_length=10), {}) for name, algorithm in ALGORITHMS.items()},
    "distill": ("cub-qwen", ALGORITHMS["distill"](teacher_temperature=0.8, rl_coef=0.3, kl_coef=0.01), {}),
    "kl, entropy": ("cub-qwen", ALGORITHMS["grpo"](kl_coef=0.1, entropy_coef=0.05), {}),
    "recomputed": ("cub-qwen", ALGORITHMS["ppo"](kl_reward_coef=0.5), {"gradient_checkpointing": True}),
    "shared prompts": ("cub-qwen", ALGORITHMS["grpo"](kl_coef=0.1), {"share_prompts": "on"}),
    "a row to each": ("cub-qwen", ALGORITHMS["grpo"](), {"tokens_per_microbatch": 1}),
    "gemma2": ("gemma2", ALGORITHMS["grpo"](kl_coef=0.1, entropy_coef=0.05), {}),
    "phi": ("phi", ALGORITHMS["grpo"](kl_coef=0.1, entropy_coef=0.05), {}),
    "gpt2": ("gpt2", ALGORITHMS["ppo"](), {}),
}


@pytest.fixture(scope="module")
def two() -> Iterator[Ranks]:
    """Two ranks for every test of this module that needs them: to start one takes seconds."""
    ranks = Ranks(2, torch.device("cpu"), keep_below=2**16)
    yield ranks
    ranks.close()


@pytest.fixture
def policy_of(cub: Callable[[str], Policy], tiny: Callable[[str], Policy]) -> Callable[[str], Policy]:
    return lambda name: cub(name) if name.startswith("cub") else copy_policy(tiny(name))


def make_learner(policy: Policy, algorithm: Any, **settings: Any) -> Learner:
    config = LearnerConfig(**{"tokens_per_microbatch": 160, **settings})
    return Learner(policy, algorithm, optimizer=PLAIN, learner=config, precision="fp32", temperature=1.1, steps=9)


def batch_of(seed: int, **shape: Any) -> Batch:
    groups = random_groups(**{"problems": 5, "samples": 4, "seed": seed, "longest": 20, **shape})
    batch = build_batch(groups)
    return dataclasses.replace(batch, sampler_logprobs_BT=batch.mask_BT * -4.2)  # About what random tokens have.


def saved(learner: Learner, directory: Path) -> dict[str, torch.Tensor]:
    """Return all tensors of a checkpoint by file and name."""
    directory.mkdir()
    learner.snapshot({}, False)(directory)
    return {
        f"{file.stem}.{name}": values
        for file in [directory / "model.safetensors", *(directory / TRAINER).glob("*.safetensors")]
        for name, values in safetensors.torch.load_file(file).items()
    }


def test_a_rank_that_does_not_start_is_named_with_its_last_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMMAND", ("-c", "import sys; sys.exit('no libgomp here')"))
    with pytest.raises(SimpleRLError, match=r"(?s)rank 1 of 2 .* ended with exit code 1; it said:\n  no libgomp here"):
        Ranks(2, torch.device("cpu"))


@pytest.mark.parametrize("where", [{"__module__": "__main__"}, {"__qualname__": "make.<locals>.Mine"}])
def test_an_algorithm_that_other_ranks_cannot_import_is_refused(where: dict[str, str], cub, two: Ranks) -> None:
    kind = type("Mine", (ALGORITHMS["grpo"],), where)
    with pytest.raises(ConfigError, match="Mine is defined in a script, notebook or function"):
        spread(make_learner(cub(), kind()), two)


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_learn_what_one_does(case: str, two: Ranks, policy_of: Callable[[str], Policy], tmp_path: Path):
    """The first moments are the gradients, of the policy and of a critic; the second update compares with the first."""
    name, algorithm, settings = CASES[case]
    one = make_learner(policy_of(name), algorithm, **settings)
    other = spread(make_learner(policy_of(name), algorithm, ranks=2, **settings), two)
    wanted, result = one.step(batch_of(1), 1), other.step(batch_of(1), 1)
    assert result.metrics["optimizer/grad_norm"] == pytest.approx(wanted.metrics["optimizer/grad_norm"], rel=1e-5)
    plain, gathered = saved(one, tmp_path / "one"), saved(other, tmp_path / "two")
    assert gathered.keys() == plain.keys()
    moments = [name for name in plain if name.endswith("exp_avg")]
    assert any(plain[name].abs().max() > 1e-4 for name in moments)
    for name in moments:
        assert (gathered[name] - plain[name]).abs().max() <= 1e-6, name
    one.temperature = other.temperature = 0.8  # As a sampler that steers it has it.
    wanted, result = one.step(batch_of(2), 2), other.step(batch_of(2), 2)
    assert wanted.metrics.keys() == result.metrics.keys()
    for name, value in wanted.metrics.items():
        if not name.startswith("time"):
            assert result.metrics[name] == pytest.approx(value, rel=2e-3, abs=2e-4, nan_ok=True), name
    for mine, theirs in zip(result.advantages, wanted.advantages, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-3)


def test_layers_within_layers_and_kinds_that_follow_from_their_number(two: Ranks, tmp_path: Path) -> None:
    """Of a state-space model, whose layers transformers names at two depths; the ranks read it by shard."""
    sizes = {"vocab_size": 64, "hidden_size": 96, "num_hidden_layers": 2, "state_size": 4}
    MambaForCausalLM(MambaConfig(**sizes, initializer_range=0.4, eos_token_id=0)).save_pretrained(tmp_path)
    make_tokenizer(64).save_pretrained(tmp_path)
    one = make_learner(load(str(tmp_path)), ALGORITHMS["grpo"](), share_prompts="off")
    other = spread(make_learner(load(str(tmp_path), bare=True), ALGORITHMS["grpo"](), ranks=2), two)
    wanted, result = one.step(batch_of(1), 1), other.step(batch_of(1), 1)
    assert result.metrics["optimizer/grad_norm"] == pytest.approx(wanted.metrics["optimizer/grad_norm"], rel=1e-5)


def test_two_ranks_learn_from_rows_of_all_terms(two: Ranks, cub: Callable[[str], Policy], tmp_path: Path) -> None:
    batch, algorithm = joined(mixed_parts(vocabulary=300)), ALGORITHMS["grpo"](kl_coef=0.1)
    one = make_learner(
        cub(), algorithm, share_prompts="off"
    )  # As ranks do: prompts that are computed once round otherwise.
    other = spread(make_learner(cub(), algorithm, ranks=2), two)
    wanted, result = one.step(batch, 1), other.step(batch, 1)
    assert wanted.metrics.keys() == result.metrics.keys()
    for name in ("optimizer/grad_norm", "policy/loss", "sft/loss", "policy/mismatch_kl", "policy/kl"):
        assert result.metrics[name] == pytest.approx(wanted.metrics[name], rel=1e-4, abs=1e-7), name
    plain, gathered = saved(one, tmp_path / "one"), saved(other, tmp_path / "two")
    for name in (name for name in plain if name.endswith("exp_avg")):
        assert (gathered[name] - plain[name]).abs().max() <= 1e-6, name


def test_two_ranks_refresh_imitate_and_begin_anew_as_one(two: Ranks, cub, tmp_path: Path) -> None:
    algorithm, seen = ALGORITHMS["grpo"](kl_coef=0.1), []
    for ranks in (1, 2):
        learner = make_learner(cub(), algorithm, share_prompts="off", ranks=ranks)
        learner = spread(learner, two) if ranks == 2 else learner
        learner.step(batch_of(1), 1)
        learner.refresh()
        metrics = dict(learner.step(batch_of(2), 2).metrics)
        metrics["imitated"] = learner.imitate(mixed_parts(300)[1], PLAIN, 0.01).metrics["optimizer/grad_norm"]
        tensors = saved(learner, tmp_path / f"{ranks}")
        learner.start_anew("cub-qwen")
        seen.append((metrics, tensors, dict(learner.weights())))
    (wanted, plain, _), (metrics, gathered, weights) = seen
    for name in ("optimizer/grad_norm", "policy/kl", "imitated"):
        assert metrics[name] == pytest.approx(wanted[name], rel=2e-3, abs=1e-6), name
    assert gathered.keys() == plain.keys()
    assert {name.split(".")[0] for name in plain} >= {"reference", "imitator_optimizer"}
    for name, values in plain.items():
        assert (gathered[name] - values).abs().mean() < 1e-4, name
    assert all(torch.equal(weights[name], values) for name, values in cub().model.state_dict().items())


def test_a_checkpoint_is_loaded_bit_for_bit_by_any_number_of_ranks(two: Ranks, cub, tmp_path: Path) -> None:
    learner = spread(make_learner(cub(), ALGORITHMS["ppo"](), ranks=2), two)
    learner.step(batch_of(1), 1)
    written = saved(learner, tmp_path / "two")
    again = dataclasses.replace(load(str(tmp_path / "two")), name="again")
    for count in (1, 2):
        reader = make_learner(copy_policy(again), ALGORITHMS["ppo"](), ranks=count)
        reader = spread(reader, two) if count == 2 else reader
        reader.restore(tmp_path / "two")
        read = saved(reader, tmp_path / f"by {count}")
        assert read.keys() == written.keys()
        assert all(torch.equal(read[name], written[name]) for name in written), count


def test_ranks_read_their_shards_from_the_files_bit_for_bit(two: Ranks, cub, tmp_path: Path) -> None:
    """Policy, reference and critic, their buffers, and what they learn, as with a model that rank 0 has read."""
    algorithm = ALGORITHMS["ppo"](kl_reward_coef=0.5)
    cub("cub-qwen").model.save_pretrained(tmp_path / "model", max_shard_size="1MB")  # Several files and their index.
    cub("cub-qwen").tokenizer.save_pretrained(tmp_path / "model")
    assert len(list((tmp_path / "model").glob("*.safetensors"))) > 1
    written = []
    for bare in (False, True):
        policy = load(str(tmp_path / "model"), bare=bare)
        assert {each.is_meta for each in policy.model.parameters()} == {bare}
        learner = spread(make_learner(policy, algorithm, ranks=2), two)
        loaded = saved(learner, tmp_path / f"loaded {bare}")
        learner.step(batch_of(1), 1)
        written.append((loaded, saved(learner, tmp_path / f"learned {bare}"), dict(learner.weights())))
    for plain, read in zip(*written, strict=True):
        assert plain.keys() == read.keys()
        assert all(torch.equal(plain[name], read[name]) for name in plain)
    own = cub("cub-qwen").model.state_dict()
    assert all(torch.equal(written[1][0][f"model.{name}"], own[name]) for name in own if name != "lm_head.weight")


def test_weights_that_no_rank_can_use_are_named(two: Ranks, cub, tmp_path: Path) -> None:
    """One that is missing, and one that is not a number in the rows of the last rank alone."""
    policy = cub("cub-qwen")
    values = policy.model.state_dict()
    name = next(each for each in values if each.endswith("down_proj.weight"))
    policy.tokenizer.save_pretrained(tmp_path)
    policy.model.save_pretrained(tmp_path, state_dict={each: v for each, v in values.items() if each != name})
    with pytest.raises(ModelError, match=re.escape(f"hold no values for 1 of its weights ({name})")):
        load(str(tmp_path), bare=True)
    values[name][-1, -1] = float("nan")
    policy.model.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=re.escape(f"not numbers (NaN or infinite) in 1 tensors ({name})")):
        spread(make_learner(load(str(tmp_path), bare=True), ALGORITHMS["grpo"](), ranks=2), two)


MEMORY = """
import os, sys, torch
from pathlib import Path
from simplerl.algorithms import ALGORITHMS
from simplerl.config.sections import LearnerConfig, OptimizerConfig
from simplerl.models.load import load
from simplerl.train.learner import Learner
from simplerl.train.ranks import Ranks, Restarts, spread

def peak(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024

ranks = Ranks(2, torch.device("cpu"))
pids = [os.getpid(), ranks._processes[0].pid]
before = [peak(pid) for pid in pids]
settings = {"learner": LearnerConfig(ranks=2), "precision": "fp32", "temperature": 1.0, "steps": 9}
policy = load(sys.argv[1], bare=sys.argv[2] == "bare")
learner = spread(Learner(policy, ALGORITHMS["grpo"](), optimizer=OptimizerConfig(), **settings), ranks)
numbers = sum(each.numel() for each in policy.model.parameters())
print(*((peak(pid) - was) / (4 * numbers) for pid, was in zip(pids, before)))
"""


@pytest.mark.engines
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_no_rank_holds_all_of_a_model_that_is_read_by_shard(cub, tmp_path: Path) -> None:
    """The growth of each rank's peak while it loads, in shares of the model's fp32 bytes (about 230 MB here)."""
    config = copy.deepcopy(cub("cub-qwen").model.config)
    config.num_hidden_layers, config.hidden_size, config.intermediate_size = 8, 768, 2048
    config.layer_types = [config.layer_types[0]] * 8
    type(cub("cub-qwen").model)(config).save_pretrained(tmp_path)
    cub("cub-qwen").tokenizer.save_pretrained(tmp_path)
    shares = {}
    for how in ("complete", "bare"):
        line = [sys.executable, "-c", MEMORY, str(tmp_path), how]
        done = subprocess.run(line, env=environment(), capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        shares[how] = [float(each) for each in done.stdout.split()]
    assert max(shares["bare"]) < 0.85, shares
    assert shares["complete"][0] > 1.3, shares


def test_an_engine_gets_the_weights_and_is_asked_back(two: Ranks, cub) -> None:
    policy = cub()
    learner = spread(make_learner(policy, ALGORITHMS["grpo"](), ranks=2), two)
    backend = open_backend("native", policy)
    learner.step(batch_of(1), 1)
    with pytest.raises(SimpleRLError, match="does not use the weights"):
        ask_back(backend, policy, "fp32", own=learner.text_logprobs)
    next(iter(learner.weights()))  # Who stops reading leaves no rank waiting.
    backend.sync(learner.weights(), version=1)
    assert ask_back(backend, policy, "fp32", own=learner.text_logprobs) < 1e-5


@pytest.mark.parametrize("share_prompts", ["off", "on"])
@pytest.mark.parametrize("ranks", [2, 3, 8])
def test_every_row_goes_to_one_rank_and_all_pass_equally_often(ranks: int, share_prompts: str) -> None:
    batch = batch_of(3, problems=12, samples=8, longest=40)
    rows = torch.arange(0, len(batch.tokens_BT), 2)
    cuts: dict[str, Any] = {"tokens": 300, "device": torch.device("cpu"), "share_prompts": share_prompts}
    hands = [cut_update(rows, batch, **cuts, rank=rank, ranks=ranks) for rank in range(ranks)]
    dealt = [micro.rows for hand in hands for micro in hand if not micro.idle]
    assert sorted(torch.cat(dealt).tolist()) == rows.tolist()
    assert len({len(hand) for hand in hands}) == 1
    assert all((micro.prompts is None) == (share_prompts == "off") for hand in hands for micro in hand)
    rounds = [[hand[i].padded for hand in hands] for i in range(len(hands[0]))]
    assert sum(map(sum, rounds)) >= 0.7 * ranks * sum(map(max, rounds)), "ranks wait for each other"
    assert not cut_update(rows[:0], batch, **cuts, rank=1, ranks=2)


def test_what_cannot_be_started(monkeypatch: pytest.MonkeyPatch, capsys, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    output = ["--output-dir", str(tmp_path / "run")]
    code, _, said = run_main(capsys, "train", "cub", *output, "--learner.ranks", "2", "--learner.device", "cuda")
    assert code == 2
    assert "learner.ranks = 2, but PyTorch sees 1 CUDA device, and each rank needs one" in said
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match=r"cuda:1 with learner\.ranks = 1: rank N takes cuda:N"):
        ranks_here(1, torch.device("cuda:1"))


# -- runs ----------------------------------------------------------------------------------------------------------


@pytest.mark.engines
@pytest.mark.parametrize("algorithm", [pytest.param("grpo", marks=pytest.mark.slow), "ppo"])
def test_a_run_that_is_killed_is_resumed_bit_for_bit(algorithm: str, tmp_path: Path) -> None:
    checkpoint = {"keep": 0, "asynchronous": algorithm == "ppo"}
    over = deep(TWO, {"steps": 6, "algorithm": {"name": algorithm}, "checkpoint": checkpoint})
    line = ["train", "cub", *arguments(deep(SMALL, over)), "--output-dir"]
    done = run_command(*line, str(tmp_path / "straight"), timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    process = begin_run(tmp_path / "killed", over)
    (rank,) = ranks_of(process.pid)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert gone(rank), "a rank outlives its controller"
    done = run_command(*line, str(tmp_path / "killed"), "--resume", timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_same_run(tmp_path / "killed", fingerprint(tmp_path / "straight"))
    done = run_command(*line, str(tmp_path / "killed"), "--resume", "--steps", "7", "--learner.ranks", "1", timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ranks was 2, now 1" in re.sub(r"\s+", " ", done.stdout + done.stderr)
    assert untimed(tmp_path / "killed")[-1]["step"] == 7


@pytest.mark.engines
@pytest.mark.parametrize("stopping", [False, True])
def test_a_rank_that_dies_ends_the_run_with_one_message(stopping: bool, tmp_path: Path) -> None:
    """Where the run is not to go on by itself, or was to stop anyway."""
    process = begin_run(tmp_path / "run", deep(TWO, {"steps": 500, "learner": {"restarts": 3 * stopping}}))
    (rank,) = ranks_of(process.pid)
    if stopping:
        os.kill(rank, signal.SIGSTOP)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
    os.kill(rank, signal.SIGKILL)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "rank 1 of 2 of the learner was ended by signal 9" in said
    assert "What is recorded is intact: continue from the last checkpoint with --resume" in said
    assert "The run goes on" not in said
    assert "Traceback" not in said
    assert gone(rank)


class Kill:
    """A callback that kills the rank of this process after some steps, once each, and keeps what is said."""

    def __init__(self, *steps: int):
        self.steps, self.lines = list(steps), list[str]()

    def say(self, message: str) -> None:
        self.lines.append(message)

    def on_step(self, step: int, metrics: Any, groups: Any) -> None:
        if step in self.steps:
            self.steps.remove(step)
            os.kill(ranks_of(os.getpid())[0], signal.SIGKILL)


def train_two(path: Path, *callbacks: Any, **over: Any) -> simplerl.Run:
    settings = deep(deep(SMALL, TWO), {"steps": 5, "checkpoint": {"every": 2}, **over})
    return simplerl.train("cub", output_dir=path, settings=settings, quiet=True, callbacks=callbacks)


@pytest.mark.engines
@pytest.mark.parametrize("lag", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_run_goes_on_when_a_rank_has_ended(lag: int, tmp_path: Path) -> None:
    """From Python, too; before the first checkpoint it begins anew."""
    correction = {"correction": "truncated"} if lag else {}
    over = {"rollout": {"lag": lag}, "cluster": {"engines": lag}, "algorithm": correction}
    train_two(tmp_path / "plain", **over)
    kill = Kill(1, 3, 4)
    assert train_two(tmp_path / "killed", kill, **over).finished
    assert_same_run(tmp_path / "killed", fingerprint(tmp_path / "plain"))
    restarts = [line for line in kill.lines if line.startswith("WARNING: rank 1 of 2 of the learner was ended by sig")]
    assert [line[-14:] for line in restarts] == ["(1 of 3 times)", "(1 of 3 times)", "(2 of 3 times)"]
    assert [line.rpartition("/")[2] for line in kill.lines if "anew" in line or line.startswith("resuming")] == [
        "killed yet: starting anew",
        "killed after step 2",
        "killed after step 2",  # The checkpoint of step 4 is not written without the rank.
    ]


FAILING = """
from simplerl.train.learner import Learner

own = Learner.step

def step(self, batch, number):
    if number == 3 and self.ranks.rank:
        raise MemoryError("no room for a third step")
    return own(self, batch, number)

Learner.step = step
"""


@pytest.mark.engines
def test_a_rank_that_ends_by_itself_again_ends_the_run(tmp_path: Path) -> None:
    plugin = tmp_path / "failing.py"
    plugin.write_text(FAILING)
    over = {"steps": 5, "checkpoint": {"every": 9}}
    line = [*arguments(deep(deep(SMALL, TWO), over)), "--plugin", str(plugin), "--output-dir", str(tmp_path / "run")]
    done = run_command("train", "cub", *line, timeout=300)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "(1 of 3 times)" in done.stdout
    assert "(2 of 3 times)" not in done.stdout
    assert "no room for a third step\nIt ended in the same way at this step before\nWhat is recorded" in done.stderr


@pytest.mark.engines
def test_a_rank_that_hangs_or_ends_before_it_meets_the_others(cub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_S", 2)
    ranks = Ranks(2, torch.device("cpu"))
    learner = spread(make_learner(cub(), ALGORITHMS["grpo"](), ranks=2), ranks)
    (process,) = ranks._processes
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(RankLost, match="one of the 2 ranks of the learner has not come to the others within 2 s"):
        learner.step(batch_of(1), 1)
    assert process.poll() == -signal.SIGKILL
    ending = "import socket, sys; socket.socket(fileno=0).send(b'.'); sys.exit(3)"
    with monkeypatch.context() as patched:
        patched.setattr(module, "JOIN_S", 2)
        patched.setattr(module, "COMMAND", ("-c", ending))
        with pytest.raises(RankLost, match="rank 1 of 2 of the learner ended with exit code 3"):
            Ranks(2, torch.device("cpu"))
    monkeypatch.setattr(module, "JOIN_S", 60)
    Ranks(2, torch.device("cpu")).close()  # In the same process others meet after that.


def test_how_often_a_run_goes_on(tmp_path: Path) -> None:
    killed, failed = RankLost("rank 1 was killed", -9), RankLost("rank 1 failed", 1)
    path = tmp_path / "run"
    restarts = Restarts(path, 2)
    with pytest.raises(RankLost, match=r"^rank 1 was killed$"):
        restarts.next(killed)  # Nothing is recorded.
    path.mkdir()
    (path / "config.json").touch()
    assert [restarts.next(each)[-14:] for each in (killed, failed)] == ["(1 of 2 times)", "(2 of 2 times)"]
    with pytest.raises(SimpleRLError, match=r"killed\nIt has gone on 2 times from .* step 0 \(learner\.restarts\)\n"):
        restarts.next(killed)
    (path / "checkpoints" / "step_000002").mkdir(parents=True)
    assert "(1 of 2 times)" in restarts.next(killed)
    with pytest.raises(SimpleRLError, match="rank 1 failed\nIt ended in the same way at this step before\n"):
        restarts.next(failed)
    (path / "metrics.jsonl").write_text('{"step": 3}\n')
    assert "(2 of 2 times)" in restarts.next(failed)
    with pytest.raises(SimpleRLError, match="rank 1 was killed\nWhat is recorded is intact"):
        Restarts(path, 0).next(killed)
    killed.stopping = True
    with pytest.raises(SimpleRLError, match="rank 1 was killed\nWhat is recorded is intact"):
        Restarts(path, 2).next(killed)


@pytest.mark.engines
def test_three_ranks_load_what_one_has_written(cub, tmp_path: Path) -> None:
    one = make_learner(cub(), ALGORITHMS["ppo"]())
    one.step(batch_of(1), 1)
    written = saved(one, tmp_path / "one")
    ranks = Ranks(3, torch.device("cpu"))
    reader = spread(make_learner(load(str(tmp_path / "one")), ALGORITHMS["ppo"](), ranks=3), ranks)
    reader.restore(tmp_path / "one")
    read = saved(reader, tmp_path / "three")
    ranks.close()
    assert all(torch.equal(read[name], written[name]) for name in written)
    assert read.keys() == written.keys()


@pytest.mark.engines
def test_adapters_are_learned_by_two_ranks_as_by_one(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    over = {"lora": {"rank": 4}, "algorithm": {"kl_coef": 0.1}, "learner": {"precision": "fp32"}}
    names, lines = ("optimizer/grad_norm", "policy/kl", "reward/mean"), []
    for count in (1, 2):
        run_small(tmp_path / f"{count}", deep(over, {"learner": {"ranks": count}}))
        lines.append([{name: line[name] for name in names if name in line} for line in untimed(tmp_path / f"{count}")])
    for one, other in zip(*lines, strict=True):
        assert other == pytest.approx(one, rel=1e-3, abs=1e-6)
    assert any(len(line) == len(names) for line in lines[0]), "no step had a gradient"


@pytest.mark.engines
def test_a_run_whose_ranks_read_by_shard_is_the_run_in_which_rank_0_reads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With engines nobody here needs the model: begun, stopped and resumed, the weights are the same bit for bit."""
    over = deep(TWO, {"algorithm": {"kl_coef": 0.1}})
    run_small(tmp_path / "complete", over)
    loaded: list[Policy] = []
    monkeypatch.setattr(components, "load", lambda *names, **how: loaded.append(load(*names, **how)) or loaded[-1])
    over = deep(over, {"cluster": {"engines": 1}})
    run_small(tmp_path / "by shard", deep(over, {"steps": 2}))
    run_small(tmp_path / "by shard", over, resume=True)
    assert len(loaded) == 3, "a policy, then one and its reference"
    assert all(each.is_meta for policy in loaded for each in policy.model.parameters())
    complete, by_shard = (fingerprint(tmp_path / name) for name in ("complete", "by shard"))
    for name in ("weights", "optimizer", "state"):
        assert complete[name] == by_shard[name], name


def test_one_rank_watches_nobody() -> None:
    ranks = Ranks.__new__(Ranks)
    ranks._processes, ranks._end = [], types.SimpleNamespace(alive=True)
    watcher = threading.Thread(target=ranks._watch, daemon=True)
    watcher.start()
    watcher.join(timeout=10)
    assert not watcher.is_alive()


@pytest.mark.parametrize("how", ["returns", "raises", "diverges", "stays"])
def test_a_collective_that_gives_no_error_is_aborted(how: str, tmp_path: Path, monkeypatch, capsys) -> None:
    """As NCCL's: an abort makes the wait return, with no error or with one. Where it does not, the process ends."""
    freed, ended = threading.Event(), []

    class End:
        alive = True

        def __call__(self) -> None:
            self.alive = False

    monkeypatch.setattr(module, "DEATH_S", 0.1)
    monkeypatch.setattr(module, "LEAVE_S", 0.5)
    monkeypatch.setattr(module.dist, "broadcast_object_list", lambda *given: None)
    monkeypatch.setattr(module.os, "_exit", lambda code: (ended.append(code), freed.set()))
    ranks = Ranks.__new__(Ranks)
    pairs = [socket.socketpair() for _ in range(2)]
    ranks.threads, ranks._sockets, ranks._end, ranks._called = 1, [a for a, _ in pairs], End(), threading.RLock()
    ranks.here, ranks.hosts, ranks._calls, ranks._call, ranks.placed = 3, ["here"], 0, 0, False
    ranks.device = torch.device("cuda")
    programs = ["import sys; sys.exit(3)", "import time; time.sleep(100)"]
    ranks._processes = [subprocess.Popen([sys.executable, "-c", each]) for each in programs]
    ranks._files = types.SimpleNamespace(name=str(tmp_path))
    (tmp_path / "rank_1.txt").write_text("no such kernel\n")
    abort = freed.set if how != "stays" else lambda: None
    ranks.mesh = types.SimpleNamespace(get_group=lambda: types.SimpleNamespace(abort=abort))
    watcher = threading.Thread(target=ranks._watch, daemon=True)
    watcher.start()
    lost = r"rank 1 of 3 of the learner ended with exit code 3; it said:\n  no such kernel"

    def step() -> None:
        with ranks.together("refresh"), ranks.together("restart"):
            assert freed.wait(timeout=30)
            if how == "raises":
                raise RuntimeError("NCCL communicator was aborted on rank 0")
            if how == "diverges":
                raise ModelError("the gradient is not a number")

    with pytest.raises(RankLost, match=lost) as raised:
        step()
    watcher.join(timeout=10)
    assert (raised.value.code, ended, ranks._processes[1].wait(timeout=10)) == (
        3,
        [2] * (how == "stays"),
        -signal.SIGKILL,
    )
    assert re.match("error: " + lost, capsys.readouterr().err) if how == "stays" else not ranks._end.alive
