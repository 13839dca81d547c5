"""Architectures that are trained, resumed and compared in `test_families.py`: name → (configuration, settings)."""

from typing import Any

BASE: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": 1,
    "initializer_range": 0.2,
    "tie_word_embeddings": False,
}
#: Takes a common setting out again.
UNSET = object()
#: Multi-head latent attention: keys of 12 and values of 8.
LATENT = {
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 8,
}
MIXTURE = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
OLD = {"vocab_size": 64, "bos_token_id": None, "eos_token_id": 0, "pad_token_id": 1, "initializer_range": 0.2}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "mistral": ("MistralConfig", {"sliding_window": 8}),
    "mixtral": ("MixtralConfig", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen2": ("Qwen2Config", {}),
    "qwen2_moe": ("Qwen2MoeConfig", {**MIXTURE, "num_experts": 4, "shared_expert_intermediate_size": 16}),
    "qwen3": ("Qwen3Config", {}),
    "qwen3_moe": ("Qwen3MoeConfig", {**MIXTURE, "num_experts": 4}),
    "gemma": ("GemmaConfig", {}),
    "gemma2": ("Gemma2Config", {"sliding_window": 8, "query_pre_attn_scalar": 8}),
    "gemma3": ("Gemma3TextConfig", {"sliding_window": 8, "query_pre_attn_scalar": 8}),
    "phi": ("PhiConfig", {"num_key_value_heads": 4}),
    "phi3": ("Phi3Config", {}),
    "gpt2": ("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}),
    "gpt_neox": ("GPTNeoXConfig", {}),
    "gptj": ("GPTJConfig", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "rotary_dim": 4}),
    "gpt_oss": ("GptOssConfig", {"sliding_window": 8, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "opt": ("OPTConfig", {"ffn_dim": 48, "word_embed_proj_dim": 32}),
    "bloom": ("BloomConfig", {"n_layer": 2, "n_head": 4}),
    "falcon": ("FalconConfig", {"ffn_hidden_size": 48, "head_dim": UNSET}),
    "mpt": ("MptConfig", {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 128}),
    "stablelm": ("StableLmConfig", {}),
    "starcoder2": ("Starcoder2Config", {}),
    "cohere": ("CohereConfig", {"logit_scale": 0.25}),
    "cohere2": ("Cohere2Config", {"sliding_window": 8}),
    "granite": ("GraniteConfig", {"logits_scaling": 3.0}),
    "granitemoe": ("GraniteMoeConfig", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "olmo": ("OlmoConfig", {}),
    "olmo2": ("Olmo2Config", {}),
    "olmo3": ("Olmo3Config", {"sliding_window": 8}),
    "olmoe": ("OlmoeConfig", {"num_experts": 4, "num_experts_per_tok": 2}),
    "smollm3": ("SmolLM3Config", {}),
    "glm": ("GlmConfig", {}),
    "glm4": ("Glm4Config", {}),
    "nemotron": ("NemotronConfig", {}),
    "ernie4_5": ("Ernie4_5Config", {}),
    "exaone4": ("Exaone4Config", {"sliding_window": 8, "sliding_window_pattern": 2}),
    "helium": ("HeliumConfig", {}),
    "persimmon": ("PersimmonConfig", {}),
    "seed_oss": ("SeedOssConfig", {}),
    "deepseek_v2": ("DeepseekV2Config", {**LATENT, "first_k_dense_replace": 2, "n_routed_experts": 4}),
    "deepseek_v3": (
        "DeepseekV3Config",
        {
            **LATENT,
            "head_dim": UNSET,
            "first_k_dense_replace": 2,
            "n_routed_experts": 4,
            "n_group": 1,
            "topk_group": 1,
            "num_experts_per_tok": 2,
        },
    ),
    "minicpm3": ("MiniCPM3Config", LATENT),
    "glm4_moe_lite": ("Glm4MoeLiteConfig", {**LATENT, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1}),
}
