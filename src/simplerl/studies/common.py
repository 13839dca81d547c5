"""What experiments share: the settings of a short run, and the measures."""

from typing import Any

from simplerl.analysis.seeds import Measure

PAPER = "SimpleRL-Zoo, arXiv 2503.18892"

#: A run of less than a minute on one thread: half the recipe's problems in a step and half its steps, at a learning
#: rate at which the cub has learned most of what it will.
SHORT: dict[str, Any] = {
    "steps": 40,
    "sampling": {"prompts_per_step": 32, "samples_per_prompt": 8},
    "optimizer": {"lr": 1e-3},
    "evaluation": {"size": 250, "samples": 4, "every": 20},
    "checkpoint": {"every": 20, "keep": 1},
}

#: A cub that is weak at the task, seldom answering in a box (6% right), and a stronger one (35%).
WEAK, STRONG = "cub-llama", "cub-qwen"

BASE = Measure(label="accuracy before", where="base", path=("acc", "value"))
ACCURACY = Measure(label="accuracy after", where="final", path=("acc", "value"))
GAIN = Measure(label="gain", where="gain", path=("acc", "value"))
BOXED = Measure(label="answers in a box", where="final", path=("answer_ratio", "value"))
CLIPPED = Measure(label="truncated", where="final", path=("clip_ratio", "value"))
LENGTH = Measure(label="length (tokens)", where="final", path=("tokens", "value"), share=False)
ENTROPY = Measure(label="entropy (nats, last 5 steps)", where="last", path=("policy/entropy",), share=False)
SAMPLED = Measure(label="tokens sampled", where="sum", path=("tokens/sampled",), share=False)
USEFUL = Measure(label="tokens useful", where="sum", path=("tokens/useful",), share=False)
MIXED = Measure(label="problems with signal (last 5 steps)", where="last", path=("groups/mixed",))


def pass_at(k: int, *, before: bool = False) -> Measure:
    """Return pass@k of the last evaluation, or of the base model."""
    when = "base" if before else "final"
    return Measure(label=f"pass@{k} {'before' if before else 'after'}", where=when, path=("pass@k", str(k), "value"))


def level(name: str) -> Measure:
    """Return the accuracy on one level after training."""
    return Measure(label=f"level {name}", where="final", path=("by_level", name, "value"))
