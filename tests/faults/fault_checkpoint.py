"""A checkpoint of a few kilobytes: what the commands of the harness that read a model are pointed at."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

TEMPLATE = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"


def tiny_checkpoint(folder: Path) -> Path:
    """A Qwen2 of one layer and random weights, with letters as its vocabulary."""
    words = ["<unk>", "<|user|>", "<|assistant|>", "<|system|>", *"abcdefghijklmnopqrstuvwxyzWALTZQYH0123456789[]?. "]
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<|user|>", chat_template=TEMPLATE)
    config = Qwen2Config(vocab_size=len(words), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1)
    torch.manual_seed(0)
    Qwen2ForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder
