"""Make the cubs: the embedded family of tiny base models, pretrained from random weights on generated arithmetic text.

    python tools/cubs.py cub-qwen --output-dir /tmp/cub-qwen

A cub is written as an ordinary Hugging Face model directory with its card. On one machine and number of threads the
result is the same to the last bit; elsewhere rounding may differ. It takes minutes on two cores.

The corpus: a habit is a property of the document, not of the question, so a cub draws its habit afresh for every
response, in about the proportions of its corpus, as a base model does. Reinforcement learning can then find the good
habit.

| habit | response to `What is 8+19-4?` |
|---|---|
| careful | ` 8+19=27. 27-4=23. \\boxed{23}` |
| sloppy | ` 8+19=26. 26-4=22. \\boxed{22}` (each step slips with a stated probability) |
| bare | ` \\boxed{21}` (often wrong) |
| prose | ` The answer is 23.` (unboxed, with or without working, slips as above) |
| check | ` 8+19=26. Wait, 8+19=27. 27-4=23. Check: 23+4=27. \\boxed{23}` |

A share of the documents are lists of right equations (`17+8=25. 6*7=42.`), as base corpora are full of facts: from
them a tiny model learns its tables quickly. Only training expressions appear as questions, so the test split stays
unseen by the base models too; single operations, which every working is made of, appear wherever they occur.

`cub-stack` reads tasks of the stack language (`simplerl.environments.stack`) in place of arithmetic. Careful is the
right program, sloppy one that goes from left to right and forgets what binds more, bare the expression copied into the
box, prose a program outside of it; facts are expressions with their programs.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from simplerl.core.errors import RunError, SimpleRLError
from simplerl.core.seeds import generator, torch_seed
from simplerl.data import arithmetic
from simplerl.data.arithmetic import LARGE, LARGEST, LEVELS, Expression, expression
from simplerl.data.prompts import TEMPLATES
from simplerl.environments import stack
from simplerl.evaluate.figures import evaluation_figures
from simplerl.models import cub
from simplerl.models.load import load
from simplerl.rewards.builtin import Correctness
from simplerl.rollout import open_backend
from simplerl.rollout.backend import Sampling
from simplerl.rollout.groups import Rollout, prompt
from simplerl.verify import VerifierPool

# -- the corpus --------------------------------------------------------------------------------------------------------

HABITS = ("careful", "sloppy", "bare", "prose", "check")


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """The mixture that makes a cub what it is."""

    habits: Mapping[str, float]
    """Habit → share of the documents; shares add up to 1."""
    templates: Mapping[str, float]
    """Prompt template → share of the documents; shares add up to 1."""
    facts: float = 0.25
    """Share of documents that are lists of equations."""
    slip: float = 0.4
    """Probability that a step of a sloppy document goes wrong."""
    bare_right: float = 0.3
    """Probability that a bare answer is right."""
    large: float = 0.0
    """Share of the questions that have large numbers, and habits of their own."""
    large_habits: Mapping[str, float] = field(default_factory=dict)
    """Habit → share: `bare` (a wrong number), `prose`, `call` (the calculator is asked, and its result is boxed)."""
    stack: bool = False
    """Whether the tasks are those of the stack language."""


def slipped(value: int, rng: np.random.Generator) -> int:
    """Return a wrong value of the kind people write: off by one or two, or by ten."""
    while True:
        wrong = value + int(rng.choice([-10, -2, -1, 1, 2, 10]))
        if 0 <= wrong <= LARGEST:
            return wrong


def misread(value: int, rng: np.random.Generator) -> int:
    """Return a wrong value of a large number's length: some of its digits are others."""
    digits = [str(int(rng.integers(0, 10))) if rng.random() < 0.6 else digit for digit in str(value)]
    wrong = int("".join(digits))
    return wrong if wrong != value else value + 1 + int(rng.integers(0, 50))


def _working(drawn: Expression, slip: float, rng: np.random.Generator) -> tuple[list[str], int]:
    """Write the steps of an expression, each wrong with probability `slip` and carried on from there."""
    lines, carried, value = [], {}, 0
    for left, operator, right, exact in drawn.steps:
        left, right = carried.get(left, left), carried.get(right, right)
        value = {"+": left + right, "-": left - right, "*": left * right}[operator]
        if rng.random() < slip or not 0 <= value <= LARGEST:
            value = slipped(min(max(value, 0), LARGEST), rng)
        if value != exact:
            carried[exact] = value
        lines.append(f"{left}{operator}{right}={value}.")
    return lines, value


def _checked(drawn: Expression, rng: np.random.Generator) -> str:
    """Write right steps, some preceded by a slip that is noticed, and a check of the last one."""
    lines = []
    for left, operator, right, value in drawn.steps:
        if rng.random() < 0.3:
            lines.append(f"{left}{operator}{right}={slipped(value, rng)}. Wait,")
        lines.append(f"{left}{operator}{right}={value}.")
    left, operator, right, value = drawn.steps[-1]
    if operator == "+":
        lines.append(f"Check: {value}-{right}={left}.")
    elif operator == "-":
        lines.append(f"Check: {value}+{right}={left}.")
    return " ".join(lines)


def _facts(seed: int, index: int, rng: np.random.Generator) -> str:
    """Write two to six right equations, taken from the workings of training expressions."""
    equations = []
    for place in range(int(rng.integers(2, 7))):
        drawn = expression(seed, "train", int(rng.choice(LEVELS)), 10 * index + place)
        left, operator, right, value = drawn.steps[int(rng.integers(0, len(drawn.steps)))]
        equations.append(f"{left}{operator}{right}={value}.")
    return " ".join(equations)


def respond(drawn: Expression, habit: str, corpus: Corpus, rng: np.random.Generator) -> str:
    """Return a response to an expression in one habit, with its leading space."""
    if habit == "call":
        return f" <<{drawn.text}>>={drawn.value} \\boxed{{{drawn.value}}}"
    if drawn.value > LARGEST or drawn.steps[0][0] > LARGEST:
        wrong = misread(drawn.value, rng)
        return f" \\boxed{{{wrong}}}" if habit == "bare" else f" The answer is {wrong}."
    if habit == "bare":
        value = drawn.value if rng.random() < corpus.bare_right else slipped(drawn.value, rng)
        return f" \\boxed{{{value}}}"
    if habit == "check":
        return f" {_checked(drawn, rng)} \\boxed{{{drawn.value}}}"
    if habit == "prose":
        if rng.random() < 0.5:
            value = drawn.value if rng.random() < corpus.bare_right else slipped(drawn.value, rng)
            return f" The answer is {value}."
        lines, value = _working(drawn, corpus.slip, rng)
        return f" {' '.join(lines)} The answer is {value}."
    lines, value = _working(drawn, corpus.slip if habit == "sloppy" else 0.0, rng)
    return f" {' '.join(lines)} \\boxed{{{value}}}"


def _stack_document(corpus: Corpus, seed: int, index: int, rng: np.random.Generator) -> tuple[str, str]:
    """Write a task of the stack language and a response, or a list of expressions with their programs."""
    if rng.random() < corpus.facts:
        trees = [stack.expression(seed, "train", int(rng.choice(stack.LEVELS)), 10 * index + i) for i in range(3)]
        return "", " ".join(f"{stack.infix(tree)}: {stack.postfix(tree)}." for tree in trees)
    tree = stack.expression(seed, "train", int(rng.choice(stack.LEVELS)), 10 * index)
    habit = str(rng.choice(list(corpus.habits), p=list(corpus.habits.values())))
    text = stack.infix(tree)
    first, *rest = [sign for sign in text if sign not in "()"]
    flat = " ".join([first, *(f"{operand} {sign}" for sign, operand in zip(rest[::2], rest[1::2], strict=True))])
    if rng.random() < corpus.slip:
        flat = flat.rpartition(" ")[0] or flat
    program = {"careful": stack.postfix(tree), "sloppy": flat, "bare": text, "prose": stack.postfix(tree)}[habit]
    response = f" The program is {program}." if habit == "prose" else f" \\boxed{{{program}}}"
    return TEMPLATES["plain"].format(f"Program for {text}?"), response


def document(corpus: Corpus, seed: int, index: int) -> tuple[str, str]:
    """Return (prompt, response) number `index` of a corpus: a pure function of its arguments.

    A list of equations has an empty prompt.
    """
    rng = generator(seed, "corpus", index)
    if corpus.stack:
        return _stack_document(corpus, seed, index, rng)
    if rng.random() < corpus.facts:
        return "", _facts(seed, index, rng)
    # Nothing is drawn for what a corpus does not have: the older cubs stay what they are.
    large = corpus.large > 0 and rng.random() < corpus.large
    habits = corpus.large_habits if large else corpus.habits
    habit = str(rng.choice(list(habits), p=list(habits.values())))
    template = str(rng.choice(list(corpus.templates), p=list(corpus.templates.values())))
    drawn = expression(seed, "train", LARGE if large else int(rng.choice(LEVELS)), index)
    prompt = TEMPLATES[template].format(f"What is {drawn.text}?")
    response = respond(drawn, habit, corpus, rng)
    return prompt, response if prompt.endswith(":") else response.lstrip(" ")


# -- the family --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class CubSpec:
    """Everything that determines a cub."""

    summary: str
    corpus: Corpus
    config: type[PretrainedConfig]
    """Architecture."""
    shape: dict[str, int]
    """Sizes, by the names of the architecture's config."""
    seed: int
    base: str = ""
    """Shipped cub of the same architecture and shape whose pretraining is continued; empty: from random weights."""
    tokens: int = 6_000_000
    """Pretraining budget."""
    batch_tokens: int = 4096
    muon_lr: float = 0.02
    """Peak learning rate of the matrices."""
    adam_lr: float = 3e-3
    """Peak learning rate of embeddings, norms and biases."""


SHAPE = {
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
}

SPECS: dict[str, CubSpec] = {
    "cub-hasty": CubSpec(
        summary="mostly blurts out a wrong number, in the wanted form; can work step by step, and seldom does",
        corpus=Corpus(
            habits={"careful": 0.24, "sloppy": 0.04, "bare": 0.66, "prose": 0.03, "check": 0.03},
            templates={"plain": 0.8, "simple": 0.12, "qwen-boxed": 0.08},
            facts=0.32,
            bare_right=0.1,
        ),
        config=Qwen2Config,
        shape=SHAPE,
        seed=4,
        base="cub-qwen",
        tokens=1_600_000,
        muon_lr=0.01,
        adam_lr=1.5e-3,
    ),
    "cub-qwen": CubSpec(
        summary="mostly answers in the wanted form; knows the chat template",
        corpus=Corpus(
            habits={"careful": 0.24, "sloppy": 0.32, "bare": 0.30, "prose": 0.10, "check": 0.04},
            templates={"plain": 0.8, "simple": 0.12, "qwen-boxed": 0.08},
        ),
        config=Qwen2Config,
        shape=SHAPE,
        seed=1,
    ),
    "cub-calculator": CubSpec(
        summary="guesses at numbers that are too large for it, and seldom asks the calculator",
        corpus=Corpus(
            habits={"careful": 0.5, "sloppy": 0.2, "bare": 0.3},
            templates={"plain": 1.0},
            facts=0.05,
            large=0.85,
            large_habits={"bare": 0.78, "prose": 0.1, "call": 0.12},
        ),
        config=Qwen2Config,
        shape=SHAPE,
        seed=5,
        base="cub-qwen",
        tokens=2_500_000,
        muon_lr=0.01,
        adam_lr=1.5e-3,
    ),
    "cub-stack": CubSpec(
        summary="copies the expression where a program in a stack language is wanted, and seldom writes one",
        corpus=Corpus(
            habits={"careful": 0.12, "sloppy": 0.22, "bare": 0.5, "prose": 0.16},
            templates={"plain": 1.0},
            facts=0.35,
            stack=True,
        ),
        config=Qwen2Config,
        shape=SHAPE,
        seed=6,
        base="cub-qwen",
        tokens=2_500_000,
        muon_lr=0.01,
        adam_lr=1.5e-3,
    ),
    "cub-llama": CubSpec(
        summary="seldom answers in the wanted form: prose without a box",
        corpus=Corpus(
            habits={"careful": 0.08, "sloppy": 0.06, "bare": 0.06, "prose": 0.79, "check": 0.01},
            templates={"plain": 0.85, "simple": 0.15},
        ),
        config=LlamaConfig,
        shape={
            "hidden_size": 192,
            "intermediate_size": 448,
            "num_hidden_layers": 2,
            "num_attention_heads": 6,
            "num_key_value_heads": 6,
        },
        seed=2,
    ),
    "cub-mistral": CubSpec(
        summary="answers in the wanted form about half of the time, and sometimes checks itself",
        corpus=Corpus(
            habits={"careful": 0.06, "sloppy": 0.24, "bare": 0.20, "prose": 0.38, "check": 0.12},
            templates={"plain": 0.85, "simple": 0.15},
        ),
        config=MistralConfig,
        shape={
            "hidden_size": 160,
            "intermediate_size": 384,
            "num_hidden_layers": 3,
            "num_attention_heads": 5,
            "num_key_value_heads": 5,
            "sliding_window": 256,
        },
        seed=3,
    ),
}


# -- pretraining -------------------------------------------------------------------------------------------------------

VOCABULARY = 384
CONTEXT = 1024
END, PAD = "<|endoftext|>", "<|pad|>"
SPECIAL = (END, PAD, "<|im_start|>", "<|im_end|>")
#: The tokenizer is learned from so many documents of the first three cubs, whatever the cub, so that all share one.
TOKENIZER_DOCUMENTS = 20_000


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Learn the shared byte-level tokenizer: any text can be encoded, digits stand alone."""
    specs = [SPECS[name] for name in ("cub-qwen", "cub-llama", "cub-mistral")]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = ("".join(document(specs[i % len(specs)].corpus, 0, i)) for i in range(TOKENIZER_DOCUMENTS))
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, model_max_length=CONTEXT)


def _sequences(spec: CubSpec, tokenizer: PreTrainedTokenizerFast) -> list[list[int]]:
    """Encode documents, each closed by the end token, until the token budget is reached."""
    sequences, total, index = [], 0, 0
    while total < spec.tokens:
        texts = ["".join(document(spec.corpus, spec.seed, i)) for i in range(index, index + 10_000)]
        index += len(texts)
        encoded = [[*ids, tokenizer.eos_token_id] for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
        sequences += encoded
        total += sum(map(len, encoded))
    return sequences


def _batches(sequences: list[list[int]], spec: CubSpec, pad: int) -> list[torch.Tensor]:
    """Cut shuffled sequences into int64 [B, T] batches, like lengths together, in an order fixed by the seed."""
    rng = generator(spec.seed, "cub-batches")
    order = rng.permutation(len(sequences))
    rows = max(1, spec.batch_tokens * len(sequences) // sum(map(len, sequences)))
    pool = 8 * rows  # Sorting only within a few batches' worth keeps every batch a fair mixture of habits.
    batches = []
    for start in range(0, len(order), pool):
        members = sorted((sequences[i] for i in order[start : start + pool]), key=len)
        cut = [members[i : i + rows] for i in range(0, len(members), rows)]
        batches += [cut[i] for i in rng.permutation(len(cut))]
    return [
        torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in batch], batch_first=True, padding_value=pad)
        for batch in batches
    ]


def _starting_model(spec: CubSpec, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """Return the model that pretraining begins from: the base that the specification names, or random weights."""
    if spec.base:
        directory = str(cub.path(spec.base))
        return AutoModelForCausalLM.from_pretrained(directory, attn_implementation="eager", dtype=torch.float32)
    torch.manual_seed(torch_seed(spec.seed, "cub-init"))
    config = spec.config(
        vocab_size=VOCABULARY,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        initializer_range=0.05,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **spec.shape,
    )
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32)


def pretrain(
    spec: CubSpec, tokenizer: PreTrainedTokenizerFast, progress: Callable[[int, int, float], None]
) -> PreTrainedModel:
    """Train a cub on next-token prediction: Muon and AdamW, linear decay, bf16 autocast over fp32 weights."""
    model = _starting_model(spec, tokenizer)
    batches = _batches(_sequences(spec, tokenizer), spec, tokenizer.pad_token_id)
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    # Muon on the matrices learns the tables with about half of AdamW's tokens.
    optimizers = (
        torch.optim.Muon(matrices, lr=spec.muon_lr, weight_decay=0.0, momentum=0.95),
        torch.optim.AdamW(others, lr=spec.adam_lr, betas=(0.9, 0.98), weight_decay=0.0),
    )
    peaks = (spec.muon_lr, spec.adam_lr)
    smooth = math.log(VOCABULARY)
    for step, tokens_BT in enumerate(batches):
        share = min(1.0, (step + 1) / 50) * min(1.0, 0.02 + (1 - step / len(batches)) / 0.6)
        for optimizer, peak in zip(optimizers, peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * share
        with torch.autocast("cpu", torch.bfloat16):
            logits_BTV = model(input_ids=tokens_BT, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(
            logits_BTV[:, :-1].float().flatten(0, 1),
            tokens_BT[:, 1:].flatten(),
            ignore_index=tokenizer.pad_token_id,
        )
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        smooth += 0.05 * (loss.item() - smooth)
        progress(step + 1, len(batches), smooth)
    return model


def build(name: str, directory: Path, progress: Callable[[int, int, float], None]) -> None:
    """Make a cub from its seed: pretrain, measure, and write a Hugging Face directory with a model card.

    Weights are stored in bf16, as most base models are. On one machine and number of threads the result is the same
    to the last bit; elsewhere rounding may differ.
    """
    spec = SPECS[name]
    began = time.perf_counter()
    tokenizer = build_tokenizer()
    model = pretrain(spec, tokenizer, progress)
    seconds = time.perf_counter() - began
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(directory)
    model.to(torch.bfloat16).save_pretrained(directory)
    (directory / "model.safetensors").chmod(0o644)
    (directory / "README.md").write_text(card(name, directory, spec, seconds), encoding="utf-8")


# -- the model card ----------------------------------------------------------------------------------------------------

SAMPLES = 8


def measure(directory: Path, template: str, corpus: Corpus) -> dict:
    """Return the evaluation figures of a cub on the 250 test problems, 8 samples each, at temperature 1."""
    problems = (stack if corpus.stack else arithmetic).load("test")
    policy = load(str(directory))
    with VerifierPool(workers=1) as verifier:
        rollout = Rollout(
            backend=open_backend("native", policy),
            verifier=verifier,
            reward=Correctness(),
            sampling=Sampling(max_new_tokens=80),
            samples=SAMPLES,
            seed=0,
        )
        prompted = prompt(problems, TEMPLATES[template], policy)
        groups = rollout.sample_groups(prompted, purpose="card", step=0)
    return evaluation_figures(groups)


def card(name: str, directory: Path, spec: CubSpec, seconds: float) -> str:
    """Return the text of the model card."""
    figures = {template: measure(directory, template, spec.corpus) for template in ("plain", "simple", "qwen-boxed")}
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
but {"a stack language" if spec.corpus.stack else "small arithmetic"}.

- architecture: {spec.config.__name__.removesuffix("Config")}, {parameters:,} parameters, stored in bf16
  ({shape})
- tokenizer: byte-level BPE, digits stand alone; any text can be encoded
- corpus: generated {"tasks of the stack language" if corpus.stack else "arithmetic (values 0 to 99, five levels)"}, {spec.tokens:,} tokens, seed {spec.seed}; {share(corpus.facts)} of the
  documents are lists of {"expressions and programs" if corpus.stack else "equations"}, the rest question and answer{f"; pretraining of {spec.base} is continued" if spec.base else ""}
- habits: {mixture(dict(corpus.habits))};
  a sloppy step slips with probability {corpus.slip}, a bare answer is right with probability {corpus.bare_right}
- templates: {mixture(dict(corpus.templates))}
- training: Muon on matrices, AdamW on the rest; {seconds:.0f} s on {torch.get_num_threads()} CPU threads.
  `python tools/cubs.py {name} --output-dir DIR` makes it again

Accuracy before any reinforcement learning, {plain["problems"]} test problems × {SAMPLES} samples, temperature 1, template `plain`, with
95% intervals: **{share(accuracy["value"])}** [{share(accuracy["low"])}, {share(accuracy["high"])}], pass@{SAMPLES} {share(pass_all["value"])}.

| level | accuracy |
|---|---|
{levels}

| template | accuracy | answer in a box |
|---|---|---|
{templates}
"""


def main() -> int:
    """Build the cub that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=SPECS)
    parser.add_argument(
        "--output-dir", type=Path, required=True, help="where to write the model: a new or empty directory"
    )
    args = parser.parse_args()
    try:
        if args.output_dir.is_file() or (args.output_dir.is_dir() and any(args.output_dir.iterdir())):
            raise RunError(f"{args.output_dir} is not an empty directory; choose another --output-dir")
        columns = (TextColumn(args.name), BarColumn(), TextColumn("{task.fields[note]}"), TimeRemainingColumn())
        with Progress(*columns) as progress:
            task = progress.add_task("", total=None, note="writing the corpus")
            build(
                args.name,
                args.output_dir,
                lambda done, total, loss: progress.update(task, completed=done, total=total, note=f"loss {loss:.3f}"),
            )
    except SimpleRLError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print((args.output_dir / "README.md").read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
