"""The plan before the start: near what is measured, honest about what does not fit, with the smallest change."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support import SMALL, arguments, deep, environment, run_main, run_small, small_config
from transformers import AutoConfig

from simplerl.config.resolve import RECIPES, as_table, flatten, resolve
from simplerl.core.errors import ConfigError
from simplerl.models.load import load
from simplerl.runs.run import Run
from simplerl.train import plan as plan_module
from simplerl.train.components import load_problems
from simplerl.train.plan import (
    SHAPES,
    Machine,
    Plan,
    check,
    longest_prompt,
    make_plan,
    shape_of,
    stack_bytes,
    update_bytes,
)

#: One update of a learner on rows × width tokens, all scored: prints its peak above what the process had before.
MEASURE = """
import resource, sys, torch
from simplerl.algorithms import ALGORITHMS
from simplerl.core.types import Batch
from simplerl.models.load import load
from simplerl.config.sections import LearnerConfig, OptimizerConfig
from simplerl.train.learner import Learner
lanes = int(sys.argv[5])
torch.set_num_threads(lanes)
def held():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
name, rows, width, precision = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
small = load("cub-qwen")  # Libraries hold what they need once anything has run.
small.model(torch.arange(8)[None]).logits.sum().backward()
del small
before = held()
policy = load(name)
learner = Learner(policy, ALGORITHMS["grpo"](kl_coef=0.0), optimizer=OptimizerConfig(), precision=precision,
                  learner=LearnerConfig(tokens_per_microbatch=rows * width), temperature=1.0, steps=2)
rows *= lanes
tokens_BT = torch.randint(4, 100, (rows, width))
mask_BT = torch.ones(rows, width, dtype=torch.bool)
mask_BT[:, 0] = False
batch = Batch(tokens_BT=tokens_BT, lengths_B=torch.full((rows,), width), prompt_lengths_B=torch.ones(rows).long(),
              mask_BT=mask_BT, sampler_logprobs_BT=None, rewards_B=torch.arange(rows).remainder(2).float(),
              group_B=torch.arange(rows) // 4, included_B=torch.ones(rows).bool(), truncated_B=torch.zeros(rows).bool(),
              to_come_BT=torch.zeros(rows, width), component_B=torch.zeros(rows).long(),
              credit_BT=torch.full((rows, width), float("nan")))
for step in (1, 2):
    learner.step(batch, step)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before)
"""


def measured(name: str, rows: int, width: int, precision: str, lanes: int = 1) -> int:
    """Return the bytes that two updates of `lanes` micro-batches took at their peak, in a process of their own."""
    # Without these, memory that was freed stays with the process in pieces, and counts.
    trimmed = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
    command = [sys.executable, "-c", MEASURE, name, str(rows), str(width), precision, str(lanes)]
    done = subprocess.run(command, env=environment() | trimmed, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def planned(name: str, rows: int, width: int, precision: str, lanes: int = 1) -> int:
    """Return what a plan says of the same update."""
    over = {
        "model": name,
        "learner": {"tokens_per_microbatch": rows * width, "precision": precision},
        "sampling": {"prompts_per_step": lanes * rows // 4, "samples_per_prompt": 4, "max_new_tokens": width - 16},
    }
    plan = make_plan(small_config(over), Machine(memory_gib=1000), prompt_tokens=16)
    assert (plan.rows, plan.width) == (rows, width)
    return sum(plan.always.values()) + sum(plan.learning.values())


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_update_of_the_cub_is_within_a_tenth_of_the_measured(precision: str) -> None:
    assert planned("cub-qwen", 32, 128, precision) == pytest.approx(measured("cub-qwen", 32, 128, precision), rel=0.1)


@pytest.mark.slow
def test_several_micro_batches_at_once_are_planned_as_they_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as there are threads; never all of them are at their peak at the same moment."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    plan, held = (of("cub-qwen", 32, 128, "fp32", lanes=4) for of in (planned, measured))
    assert 0.98 * held <= plan <= 1.1 * held


@pytest.mark.real_models
@pytest.mark.parametrize(
    ("model", "rows", "width"),
    [("smollm2-135m-instruct", *size) for size in ((4, 64), (4, 128), (4, 256), (8, 128))] + [("gemma3-270m", 4, 128)],
)
def test_an_update_of_a_real_model_too(model: str, rows: int, width: int) -> None:
    name = str(Path(os.environ.get("SIMPLERL_REAL_MODELS", "")) / model)
    if not Path(name, "config.json").is_file():
        pytest.skip(f"SIMPLERL_REAL_MODELS names no folder that holds {model}")
    assert planned(name, rows, width, "fp32") == pytest.approx(measured(name, rows, width, "fp32"), rel=0.1)


def test_the_papers_models_need_no_files() -> None:
    assert len(SHAPES) == 10
    assert set(SHAPES) < {resolve(name, {}).model for name in RECIPES}
    sizes = {"Qwen/Qwen2.5-0.5B": 24, "Qwen/Qwen2.5-32B": 64, "mistralai/Mistral-Small-24B-Base-2501": 40}
    for name, layers in sizes.items():
        assert shape_of(name).num_hidden_layers == layers


def test_parts_of_a_plan_follow_the_settings() -> None:
    few = {"sampling": {"prompts_per_step": 16, "samples_per_prompt": 8}}
    plain = make_plan(small_config(few), Machine(memory_gib=100), prompt_tokens=16)
    assert plain.fits
    assert plain.always["weights"] == 4 * plain.parameters
    assert plain.always["moments"] == 8 * plain.parameters
    assert plain.always["engine"] == 0, "the native backend samples from the learner's weights"
    writes = deep(few, {"checkpoint": {"asynchronous": True}})
    copied = make_plan(small_config(writes), Machine(memory_gib=100), prompt_tokens=16)
    assert copied.peak - plain.peak == 12 * plain.parameters
    kl = make_plan(small_config(deep(few, {"algorithm": {"kl_coef": 0.1}})), Machine(memory_gib=100), prompt_tokens=16)
    assert kl.always["weights"] == 2 * plain.always["weights"], "and the reference"
    vllm = make_plan(small_config(deep(few, {"rollout": {"backend": "vllm"}})), Machine(memory_gib=100))
    assert vllm.always["engine"] == 4 * plain.parameters
    assert vllm.always["cache"] > 0
    split = make_plan(small_config(few), Machine(gpus=4), prompt_tokens=16)
    assert split.always["moments"] == plain.always["moments"] // 4
    assert split.seconds.keys() == {"rollout", "update", "sync"}


def test_the_longest_prompt_is_that_of_the_template(tmp_path: Path) -> None:
    """Worked examples in a prompt are longer than the question, of which alone a plan was made."""
    (tmp_path / "long.txt").write_text("What is 1+1? 2\n" * 20 + "{input}")
    plain, long = (small_config({"template": name}) for name in ("plain", str(tmp_path / "long.txt")))
    policy, problems = load(plain.model), load_problems(long, lambda line: None).train
    texts = ["What is 1+1? 2\n" * 20 + problem.question for problem in problems]
    assert longest_prompt(long) == max(len(policy.encode(text)) for text in texts)
    extra = longest_prompt(long) - longest_prompt(plain)
    assert extra > 100
    assert longest_prompt(small_config({"template": "chat"})) == plain.sampling.max_prompt_tokens, "cannot be told"
    plans = [make_plan(each, Machine(memory_gib=100)) for each in (plain, long)]
    assert plans[1].width - plans[0].width == extra
    assert plans[1].sampling["cache"] > 2 * plans[0].sampling["cache"]


def test_processes_beside_this_one_are_planned() -> None:
    """On a CPU they are in the same memory; on GPUs of their own engines are none of the learner's."""
    few = {"sampling": {"prompts_per_step": 16, "samples_per_prompt": 8}}
    on_cpu, on_gpu = {"machine": Machine(memory_gib=100), "held": 2**28}, {"machine": Machine(gpus=2)}

    def of(over: dict[str, Any], machine: Machine, **how: Any) -> Plan:
        return make_plan(small_config(deep(few, over)), machine, prompt_tokens=16, **how)

    plain, two = of({}, **on_cpu), of({"cluster": {"engines": 2}}, **on_cpu)
    assert two.always["engine"] == 2 * (2**28 + 4 * plain.parameters) + 3 * 4 * plain.parameters
    ranks = of({"learner": {"ranks": 2}}, **on_cpu)
    assert ranks.always["processes"] == 2 * plain.always["processes"]
    assert ranks.always["gathered from ranks"] == 2 * 3 * 4 * plain.parameters
    assert ranks.always["engine"] == 4 * plain.parameters, "the sampler of rank 0 has all of it"
    shared, own = of({}, **on_gpu), of({}, Machine(gpus=2, engines=1, apart=True))
    assert shared.peak == own.peak + shared.always["engine"]
    assert own.sampling["engine"] == shared.always["engine"] > 0
    offloaded = of({"learner": {"cpu_offload": True}}, **on_gpu)
    assert shared.always["moments"] > offloaded.always["moments"] == offloaded.learning["gradients"] == 0


def test_the_seconds_of_a_sync_follow_the_way_of_the_weights() -> None:
    """Copied in this process; for engines in fp32 by shared memory, once for all, or over the network, to each."""
    few = {"sampling": {"prompts_per_step": 16, "samples_per_prompt": 8}}

    def of(over: dict[str, Any], **machine: Any) -> Plan:
        return make_plan(small_config(deep(few, over)), Machine(**machine), prompt_tokens=16)

    here = of({}, gpus=1)
    size = 4 * here.parameters
    assert here.seconds["sync"] == pytest.approx(size / 2 / 50e9), "bf16, a copy"
    there = size / 0.75e9 + size / 2e9
    ranks = of({"learner": {"ranks": 2}}, gpus=2, engines=1)
    assert ranks.seconds["sync"] == here.seconds["sync"], "the sampler is in the process of rank 0"
    assert of({}, gpus=8).seconds["sync"] == pytest.approx(there)
    engine = {"cluster": {"engines": 2}}
    assert of(engine, gpus=1, engines=2, apart=True).seconds["sync"] == pytest.approx(there)
    far = of(deep(engine, {"cluster": {"address": "auto"}}), gpus=1, engines=2, network=1.0)
    assert far.seconds["sync"] == pytest.approx(there + 2 * size / 1e9)
    assert far.sync.endswith("sent to 2 engines over a network of 1 GB/s, read by each engine at 2 GB/s")
    many = of({}, gpus=64)
    assert many.seconds["sync"] == pytest.approx(there + 64 * size / 12.5e9)
    vllm = of({"rollout": {"backend": "vllm"}}, gpus=64)
    assert vllm.seconds["sync"] == pytest.approx(many.seconds["sync"] / 2), "it holds them in bf16"
    adapted, merged = (of({"lora": {"rank": 4, "send": send}}, gpus=64) for send in ("adapters", "merged"))
    assert adapted.parameters > many.parameters
    assert merged.seconds["sync"] == many.seconds["sync"]
    share = (adapted.parameters - many.parameters) / many.parameters
    assert adapted.seconds["sync"] == pytest.approx(share * merged.seconds["sync"])


def test_a_run_on_a_gpu_is_planned_before_it_begins(monkeypatch, capsys, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=2**24))
    line = [*arguments(deep(SMALL, {"learner": {"device": "cuda"}})), "--output-dir", str(tmp_path / "run")]
    code, _, error = run_main(capsys, "train", "cub", *line)
    assert code == 2
    assert "the run does not fit: it needs" in error
    assert not (tmp_path / "run").exists()


def test_adapters_take_no_moments_of_the_model() -> None:
    over = {"sampling": {"prompts_per_step": 16, "samples_per_prompt": 8}}
    plain = make_plan(small_config(over), Machine(memory_gib=100), prompt_tokens=16)
    adapted = make_plan(small_config(deep(over, {"lora": {"rank": 4}})), Machine(memory_gib=100), prompt_tokens=16)
    assert adapted.always["moments"] < 0.2 * plain.always["moments"]
    assert adapted.always["engine"] == 4 * adapted.parameters, "the sampler has the merged weights of its own"
    assert adapted.parameters > plain.parameters


@pytest.mark.parametrize(
    ("vocabulary", "width", "checkpointing", "latest"),
    [(256, 64, False, "act"), (256, 64, True, "grad"), (1024, 8, False, "act")],
)
def test_a_deep_model_is_planned_from_a_few_of_its_layers(
    vocabulary: int, width: int, checkpointing: bool, latest: str
) -> None:
    """Whether activations or gradients fill its peak; in the third case gradients do in models that are less deep."""
    shape = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128}
    settings = (4, width, "fp32", "sdpa", checkpointing, 0)

    def counted(layers: int) -> tuple[AutoConfig, dict[str, int]]:
        config = AutoConfig.for_model("llama", **shape, vocab_size=vocabulary, num_hidden_layers=layers)
        table = config.to_diff_dict() | {"model_type": "llama"}
        return config, update_bytes(json.dumps(table, default=str), *settings)

    config, every = counted(9)
    assert stack_bytes(config, *settings) == every
    assert max(("act", "grad"), key=every.__getitem__) == latest
    if vocabulary == 1024:
        assert counted(3)[1]["grad"] > 0


def test_what_does_not_fit_is_refused_with_the_smallest_change() -> None:
    few = small_config({"sampling": {"prompts_per_step": 64, "samples_per_prompt": 8}, "rollout": {"max_rows": 16}})
    plan = make_plan(few, Machine(memory_gib=100), prompt_tokens=100)
    tight = Machine(memory_gib=0.8 * plan.peak / 2**30)
    with pytest.raises(ConfigError, match=r"does not fit: it needs .* It fits with --learner\.gradient-checkpointing"):
        check(few, tight, prompt_tokens=100)
    with pytest.raises(ConfigError, match="Take a smaller model"):
        check(few, Machine(memory_gib=0.001), prompt_tokens=100)


@pytest.mark.parametrize(
    ("over", "gpus", "said"),
    [
        ({"checkpoint": {"asynchronous": True}, "algorithm": {"kl_coef": 0.1}}, 0, "--checkpoint.asynchronous false"),
        ({"rollout": {"backend": "vllm", "max_rows": 512}}, 0, "--rollout.max-rows 32"),
        ({"learner": {"gradient_checkpointing": True, "tokens_per_microbatch": 1}}, 1, "--learner.cpu-offload true"),
        (
            {"learner": {"tokens_per_microbatch": 1}},
            1,
            "--learner.gradient-checkpointing true --learner.cpu-offload true",
        ),
        ({"lora": {"rank": 4}, "rollout": {"max_rows": 16}}, 2, "--gpus 4, with --learner.ranks 4 --cluster.engines 4"),
    ],
)
def test_the_smallest_change_is_the_fewest_settings(over: Any, gpus: int, said: str, monkeypatch) -> None:
    """Whatever fits is that change and those that are larger."""
    few = small_config(deep({"sampling": {"prompts_per_step": 64, "samples_per_prompt": 8}}, over))
    names = said.partition(",")[0].replace("-", "_").lstrip("_").split(" __")

    def plan(config: Any, machine: Machine, **asked: int) -> Any:
        tables = {**flatten(as_table(config)), "gpus": machine.gpus}
        fits = all(str(tables[key]).lower() == value for key, _, value in (name.partition(" ") for name in names))
        parts: dict[str, int] = {}
        return SimpleNamespace(fits=fits, peak=0, always=parts, learning=parts, sampling=parts)

    monkeypatch.setattr(plan_module, "make_plan", plan)
    with pytest.raises(ConfigError, match=re.escape(f"It fits with {said} (")):
        check(few, Machine(gpus=gpus), prompt_tokens=100)


def test_a_frozen_model_beside_the_policy_is_planned() -> None:
    """A reference of its own size, with adapters too, and the backbone under a critic's adapters."""
    few = {"sampling": {"prompts_per_step": 16, "samples_per_prompt": 8}}

    def of(over: dict[str, Any]) -> Plan:
        return make_plan(small_config(deep(few, over)), Machine(memory_gib=100), prompt_tokens=16)

    plain, adapted = of({}), of({"lora": {"rank": 4}})
    kl = {"algorithm": {"kl_coef": 0.1}}
    other = 4 * sum(p.numel() for p in load("cub-llama").model.parameters())
    assert other != 4 * plain.parameters
    assert of(kl).always["weights"] == 8 * plain.parameters
    assert of(deep(kl, {"reference": "cub-llama"})).always["weights"] == 4 * plain.parameters + other
    assert of(deep(kl, {"lora": {"rank": 4}})).always["weights"] == 4 * adapted.parameters
    over = deep(kl, {"lora": {"rank": 4}, "reference": "cub-llama"})
    assert of(over).always["weights"] == 4 * adapted.parameters + other
    ppo = {"algorithm": {"name": "ppo"}}
    assert of(ppo).always["critic"] == 16 * plain.parameters
    trained = adapted.parameters - plain.parameters
    assert of(deep(ppo, {"lora": {"rank": 4}})).always["critic"] == 4 * adapted.parameters + 12 * trained
    some = of({"lora": {"rank": 4, "targets": ["q_proj"]}})
    assert 0 < some.always["moments"] < adapted.always["moments"] / 3
    with pytest.raises(ConfigError, match=r"lora\.targets = qq: Qwen2ForCausalLM has no such linear layers"):
        of({"lora": {"rank": 4, "targets": ["qq"]}})


def test_ranks_and_engines_that_are_given_are_planned(capsys) -> None:
    few = ["plan", "cub", "--prompt-tokens", "30", "--gpus", "4"]
    code, out, _ = run_main(capsys, *few, "--learner.ranks", "2", "--cluster.engines", "2")
    assert code == 0
    assert "of 2 × 80 GiB" in out
    assert "engine " not in out.partition("during")[0], "engines have GPUs of their own"
    for more, said in (
        (["--learner.ranks", "8"], "learner.ranks = 8 needs as many GPUs: give --gpus 8"),
        (["--response-tokens", "99999"], "is more than sampling.max_new_tokens"),
    ):
        code, _, error = run_main(capsys, *few, *more)
        assert code == 2
        assert said in error


def test_the_command_and_the_dry_run(capsys, tmp_path: Path) -> None:
    code, out, _ = run_main(capsys, "plan", "cub", "--prompt-tokens", "30")
    assert code == 0
    assert "0.9 M parameters" in out
    code, out, _ = run_main(capsys, "plan", "cub", "--prompt-tokens", "30", "--gpus", "16", "--network", "25")
    assert code == 0
    assert "sent to 16 engines over a network of 25 GB/s" in " ".join(out.split())
    large = ["--gpus", "1", "--gpu-memory", "1", "--learner.tokens-per-microbatch", "1000000"]
    code, _, error = run_main(capsys, "plan", "cub", "--prompt-tokens", "30", *large)
    assert code == 2
    assert error.startswith("error: the run does not fit: it needs ")
    output = tmp_path / "run"
    code, out, _ = run_main(capsys, "train", "cub", "--dry-run", "--output-dir", str(output))
    assert code == 0
    assert "prompts_per_step = 64" in out
    assert "step 1: 64 problems × 8 responses" in out
    assert "What is" in out
    assert not output.exists()


@pytest.mark.parametrize("sampler", ["uniform", "query-effect"])
def test_the_dry_run_shows_the_problems_that_the_sampler_chooses(sampler: str, capsys, tmp_path: Path) -> None:
    over = {"steps": 1, "sampler": {"name": sampler}, "star": {"temperatures": [0.8, 1.3], "subset": 3}}
    run_small(tmp_path / "run", over)
    code, out, _ = run_main(capsys, "train", "cub", "--dry-run", *arguments(deep(SMALL, over)))
    assert code == 0
    shown = [line.split()[1].rstrip(",") for line in out.splitlines() if line.startswith("--- ")]
    assert shown == list(Run(tmp_path / "run").records(1).visits(1))
