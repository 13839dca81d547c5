"""The model card of a cub: what it was made from, and what it can do before any reinforcement learning."""

from pathlib import Path

import torch

from simplerl.cubs.specs import CubSpec
from simplerl.data import arithmetic
from simplerl.data.templates import TEMPLATES
from simplerl.evaluate.figures import evaluation_figures
from simplerl.models.load import load
from simplerl.rewards import Correctness
from simplerl.rollout.backend import Sampling
from simplerl.rollout.collect import collect, prompt
from simplerl.rollout.native import NativeBackend
from simplerl.verify import VerifierPool

SAMPLES = 8


def measure(directory: Path, template: str) -> dict:
    """Return the evaluation figures of a cub on the 250 test problems, 8 samples each, at temperature 1."""
    policy = load(str(directory))
    with VerifierPool(workers=1) as verifier:
        groups = collect(
            prompt(arithmetic.load("test"), TEMPLATES[template], policy),
            backend=NativeBackend(policy),
            verifier=verifier,
            reward=Correctness(),
            sampling=Sampling(max_new_tokens=80),
            samples=SAMPLES,
            seed=0,
            purpose="card",
            step=0,
        )
    return evaluation_figures(groups)


def card(name: str, directory: Path, spec: CubSpec, seconds: float) -> str:
    """Return the text of the model card."""
    figures = {template: measure(directory, template) for template in ("plain", "simple", "qwen-boxed")}
    plain = figures["plain"]
    parameters = sum(p.numel() for p in load(str(directory)).model.parameters())

    def share(value: float) -> str:
        return f"{100 * value:.1f}%"

    def mixture(shares: dict[str, float]) -> str:
        return ", ".join(f"{key} {share(value)}" for key, value in shares.items())

    levels = "\n".join(
        f"| {level} | {share(f['value'])} [{share(f['low'])}, {share(f['high'])}] |"
        for level, f in plain["by_level"].items()
    )
    templates = "\n".join(
        f"| `{template}` | {share(f['acc']['value'])} | {share(f['answer_ratio']['value'])} |"
        for template, f in figures.items()
    )
    shape = ", ".join(f"{key} {value}" for key, value in spec.shape.items())
    corpus, accuracy, pass_all = spec.corpus, plain["acc"], plain["pass@k"][str(SAMPLES)]
    return f"""---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
tags: [simplerl, cub]
---

# {name}

A tiny base model of the simplerl project: {spec.summary}.
It is for tests and for showing, on a laptop, how reinforcement learning from verifiable rewards works; it knows nothing
but small arithmetic.

- architecture: {spec.config.__name__.removesuffix("Config")}, {parameters:,} parameters, stored in bf16
  ({shape})
- tokenizer: byte-level BPE, digits stand alone; any text can be encoded
- corpus: generated arithmetic (values 0 to 99, five levels), {spec.tokens:,} tokens, seed {spec.seed}; {share(corpus.facts)} of the
  documents are lists of equations, the rest question and answer
- habits: {mixture(dict(corpus.habits))};
  a sloppy step slips with probability {corpus.slip}, a bare answer is right with probability {corpus.bare_right}
- templates: {mixture(dict(corpus.templates))}
- training: Muon on matrices, AdamW on the rest; {seconds:.0f} s on {torch.get_num_threads()} CPU threads.
  `simplerl cub build {name}` makes it again

Accuracy before any reinforcement learning, {plain["problems"]} test problems × {SAMPLES} samples, temperature 1, template `plain`, with
95% intervals: **{share(accuracy["value"])}** [{share(accuracy["low"])}, {share(accuracy["high"])}], pass@{SAMPLES} {share(pass_all["value"])}.

| level | accuracy |
|---|---|
{levels}

| template | accuracy | answer in a box |
|---|---|---|
{templates}
"""
