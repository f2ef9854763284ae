"""Tiny configurations for transformers: what models of a kind have in common. No dropout anywhere."""

from typing import Any

VOCABULARY, WIDTH, LABELS = 60, 32, 3

# Most configurations use these names; a few have their own.
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
MARKS: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
BERT: dict[str, Any] = SIZES | {
    "intermediate_size": 48,
    "max_position_embeddings": 16,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "num_labels": LABELS,
    **MARKS,
}
GPT2: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "n_positions": 16,
    "n_embd": WIDTH,
    "n_layer": 2,
    "n_head": 2,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
    "resid_pdrop": 0.0,
    "use_cache": False,
    **MARKS,
}
LLAMA: dict[str, Any] = SIZES | {
    "num_key_value_heads": 1,
    "intermediate_size": 48,
    "max_position_embeddings": 16,
    "use_cache": False,
    **MARKS,
}
VIT: dict[str, Any] = {
    "image_size": 16,
    "patch_size": 8,
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}
WAVES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": (16, 16),
    "conv_stride": (5, 4),
    "conv_kernel": (10, 8),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 8,
    "hidden_dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "feat_proj_dropout": 0.0,
    "final_dropout": 0.0,
    "layerdrop": 0.0,
    "apply_spec_augment": False,
    "num_labels": LABELS,
    **MARKS,
}
