"""The cubs: what each is made from. Adding one is an entry here."""

from dataclasses import dataclass

from transformers import LlamaConfig, MistralConfig, PretrainedConfig, Qwen2Config

from simplerl.cubs.corpus import Corpus


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
    tokens: int = 6_000_000
    """Pretraining budget."""
    batch_tokens: int = 4096
    muon_lr: float = 0.02
    """Peak learning rate of the matrices."""
    adam_lr: float = 3e-3
    """Peak learning rate of embeddings, norms and biases."""


SPECS: dict[str, CubSpec] = {
    "cub-qwen": CubSpec(
        summary="mostly answers in the wanted form; knows the chat template",
        corpus=Corpus(
            habits={"careful": 0.24, "sloppy": 0.32, "bare": 0.30, "prose": 0.10, "check": 0.04},
            templates={"plain": 0.8, "simple": 0.12, "qwen-boxed": 0.08},
        ),
        config=Qwen2Config,
        shape={
            "hidden_size": 192,
            "intermediate_size": 512,
            "num_hidden_layers": 2,
            "num_attention_heads": 6,
            "num_key_value_heads": 3,
        },
        seed=1,
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
