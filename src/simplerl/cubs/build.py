"""Pretrain a cub from random weights on its corpus and write it as an ordinary Hugging Face model directory."""

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from simplerl.core.seeds import generator, torch_seed
from simplerl.cubs.card import card
from simplerl.cubs.corpus import document
from simplerl.cubs.specs import SPECS, CubSpec

VOCABULARY = 384
CONTEXT = 1024
END, PAD = "<|endoftext|>", "<|pad|>"
SPECIAL = (END, PAD, "<|im_start|>", "<|im_end|>")
#: The tokenizer is learned from this mixture, whatever the cub, so that all cubs share one.
TOKENIZER_DOCUMENTS = 20_000


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Learn the shared byte-level tokenizer: any text can be encoded, digits stand alone."""
    specs = list(SPECS.values())
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


def pretrain(
    spec: CubSpec, tokenizer: PreTrainedTokenizerFast, progress: Callable[[int, int, float], None]
) -> PreTrainedModel:
    """Train a cub on next-token prediction: Muon and AdamW, linear decay, bf16 autocast over fp32 weights."""
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
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32)
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
