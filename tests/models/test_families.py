"""Architectures: each is trained two steps, resumed to the bit, and its sampler agrees with its scorer."""

from pathlib import Path

import pytest
import torch
import transformers
from made_families import BASE, FAMILIES, OLD, UNSET
from support import ROOT, assert_same_run, deep, fingerprint, make_tokenizer, run_small
from transformers import AutoModelForCausalLM

from simplerl.models.load import load
from simplerl.models.score import shares_prompts

#: One architecture of each kind in every run of the tests; the others are slow together.
QUICK = ("llama", "gemma3", "deepseek_v3", "gpt_oss", "mpt")
RUN = {
    "steps": 2,
    "template": "plain",
    "prompt": {"special_tokens": "none"},
    "sampling": {"max_new_tokens": 12},
    "evaluation": {"every": 1, "size": 1, "samples": 1},
    "learner": {"precision": "fp32"},
    "algorithm": {"name": "grpo", "entropy_coef": 0.01},
}
NAMES = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in FAMILIES]


def random_model(name: str, directory: Path) -> None:
    """Write a tiny random model of a family with a tokenizer of single characters."""
    kind, settings = FAMILIES[name]
    # Those with names of their own for everything know nothing of the common ones.
    given = {**(OLD if "n_layer" in settings else BASE), **settings}
    config = getattr(transformers, kind)(**{key: value for key, value in given.items() if value is not UNSET})
    config.vocab_size = 98
    torch.manual_seed(5)
    AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    make_tokenizer(98).save_pretrained(directory)


@pytest.mark.parametrize("name", NAMES)
def test_a_family_is_trained_resumed_and_sampled_as_it_is_scored(name: str, tmp_path: Path) -> None:
    if not hasattr(transformers, FAMILIES[name][0]):
        pytest.skip(f"this version of transformers has no {FAMILIES[name][0]}")
    random_model(name, tmp_path / "model")
    assert shares_prompts(load(str(tmp_path / "model")).model), "prompts cannot be computed once"
    over = deep(RUN, {"model": str(tmp_path / "model")})
    _, listener = run_small(tmp_path / "whole", over)
    for step in (1, 2):
        assert listener.metrics[step]["policy/mismatch_kl"] < 1e-6, "sampler and scorer differ"
        assert listener.metrics[step]["optimizer/updates"] == 1
    run_small(tmp_path / "parts", deep(over, {"steps": 1}))
    run_small(tmp_path / "parts", over, resume=True)
    assert_same_run(tmp_path / "parts", fingerprint(tmp_path / "whole"))


def test_the_documented_families_are_the_tested_ones() -> None:
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    documented = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    assert documented == list(FAMILIES)
    assert len(documented) >= 25
