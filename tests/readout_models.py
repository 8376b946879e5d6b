"""Small models of families that the readout takes, and a batch of texts of different length for them."""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from personascope.extract.texts.regions import REGIONS
from personascope.warehouse.store.hashing import stable_seed

ROTARY = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 101,
    "max_position_embeddings": 64,
    "initializer_range": 0.4,  # sharp, differing heads
    "pad_token_id": 0,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {}),
    "llama-mqa": ("llama", {"num_key_value_heads": 1}),
    "llama-mha": ("llama", {"num_key_value_heads": 4}),
    "mistral-window": ("mistral", {"sliding_window": 5}),
    "mistral-wide-window": ("mistral", {"sliding_window": 60}),
    "gemma2": ("gemma2", {"sliding_window": 5, "attn_logit_softcapping": 2.0, "query_pre_attn_scalar": 3}),
    "gpt_neox": ("gpt_neox", {}),
    "olmo2": ("olmo2", {}),
    "phi3-window": ("phi3", {"sliding_window": 6}),
    "gpt2": ("gpt2", {"n_embd": 32, "n_layer": 3, "n_head": 4, "scale_attn_by_inverse_layer_idx": True}),
}
LENGTHS = (21, 9, 16)
WIDTH = max(LENGTHS)


def tiny(family, **changes):
    torch.manual_seed(stable_seed(family) % 2**31)
    config = AutoConfig.for_model(family, **(ROTARY | changes))
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def batch(side):
    """input_ids, mask, positions [B, 5] filled up with -1, regions: three sequences of different length, padded on `side`."""
    generator = torch.Generator().manual_seed(7)
    first = torch.tensor([WIDTH - length if side == "left" else 0 for length in LENGTHS])
    columns = torch.arange(WIDTH)
    real = (columns >= first[:, None]) & (columns < first[:, None] + torch.tensor(LENGTHS)[:, None])
    input_ids = torch.randint(1, 101, (len(LENGTHS), WIDTH), generator=generator) * real
    positions = torch.full((len(LENGTHS), 5), -1)
    for row, length in enumerate(LENGTHS):
        count = 5 - row
        positions[row, :count] = torch.randperm(length, generator=generator)[:count] + first[row]
    positions[0, 0] = first[0]  # the first real token sees only itself
    regions = torch.randint(len(REGIONS), real.shape, generator=generator).where(real, -1)
    return input_ids, real, positions, regions
