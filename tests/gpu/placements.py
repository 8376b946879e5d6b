"""One model beside itself in another place or another program: spread over GPUs, rounded, in vLLM."""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
from collections import Counter
from typing import Any

import torch
from gpu.measuring import SHAPES, SMALL, Figures, SkippedError, built, measured, vocabulary_of
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig


def spread(options: argparse.Namespace) -> Figures:
    """Hidden states of every layer, and a pass over 4 rows of 256 tokens. On one GPU three fifths of the weights fit, the rest waits in memory; on a processor
    on disk."""
    try:
        from personascope.extract.weights.sharding import Sharding, placement
    except ImportError as error:
        raise SkippedError(f"packages are missing ({error})") from error
    if importlib.util.find_spec("accelerate") is None:
        raise SkippedError("accelerate is not installed")
    whole = built(options, layers=min(8, SHAPES[options.shape]["num_hidden_layers"]))
    size = sum(each.numel() * each.itemsize for each in whole.parameters())
    gpus = torch.cuda.device_count() if options.device.startswith("cuda") else 0
    some = int(0.6 * size)
    room: Sharding = tuple((gpu, int(1.3 * size / gpus)) for gpu in range(gpus)) if gpus > 1 else ((0, some), ("cpu", 2 * size)) if gpus else (("cpu", some),)
    placed = placement(room, options.device)
    with tempfile.TemporaryDirectory() as folder:
        whole.save_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=whole.dtype, attn_implementation="sdpa", **placed.arguments).eval()
        figures = _beside(whole, model, options)
    places = Counter(map(str, getattr(model, "hf_device_map", {}).values()))
    return {"parts": " ".join(f"{place}:{count}" for place, count in places.items())} | figures


def rounded(options: argparse.Namespace, bits: int) -> Figures:
    """Refused where bitsandbytes reads other numbers than it wrote; states differ by what so few bits lose."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise SkippedError("bitsandbytes is not installed")
    from personascope.extract.weights.rounding import make_exact

    whole = built(options, layers=min(8, SHAPES[options.shape]["num_hidden_layers"]))
    nf4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": whole.dtype}
    config = BitsAndBytesConfig(**({"load_in_8bit": True} if bits == 8 else nf4))
    with tempfile.TemporaryDirectory() as folder:
        whole.save_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=whole.dtype, quantization_config=config, device_map={"": options.device}).eval()
    make_exact(model, "the model")
    return _beside(whole, model, options)


def _beside(whole: Any, other: Any, options: argparse.Namespace) -> Figures:
    """How far two forms of one model are apart behind every layer, relative to the largest number there, and what a pass of each takes."""
    ids = torch.randint(vocabulary_of(whole), (4, 256), generator=torch.Generator().manual_seed(0)).to(options.device)
    with torch.inference_mode():
        pairs = zip(*(model.get_decoder()(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states for model in (whole, other)), strict=True)
        apart = max(float((one.cpu().float() - two.cpu().float()).abs().max() / one.float().abs().max()) for one, two in pairs)
        whole_s, _ = measured(lambda: whole.get_decoder()(input_ids=ids, use_cache=False), options)
        other_s, memory = measured(lambda: other.get_decoder()(input_ids=ids, use_cache=False), options)
    return {"largest_relative_difference": apart, "whole_s": whole_s, "other_s": other_s, "other_gib": memory}


def vllm(options: argparse.Namespace) -> Figures:
    """Greedy tokens of both engines on eight prompts of token ids."""
    if importlib.util.find_spec("vllm") is None:
        raise SkippedError("vllm is not installed")
    from vllm import LLM, SamplingParams

    torch.manual_seed(0)
    config = AutoConfig.for_model("qwen2", **SMALL, num_key_value_heads=2, head_dim=16, initializer_range=0.4, eos_token_id=1, bos_token_id=None)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).to(options.device).eval()
    prompts = torch.randint(2, 512, (8, 12), generator=torch.Generator().manual_seed(0)).tolist()
    with torch.inference_mode():
        plain = [
            model.generate(torch.tensor([each], device=options.device), max_new_tokens=24, do_sample=False, pad_token_id=0)[0, 12:].tolist() for each in prompts
        ]
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        engine = LLM(model=folder, skip_tokenizer_init=True, dtype="float32", gpu_memory_utilization=0.2)
        asked = [{"prompt_token_ids": each} for each in prompts]
        fast = [list(each.outputs[0].token_ids) for each in engine.generate(asked, SamplingParams(temperature=0, max_tokens=24, detokenize=False))]
    equal = sum(one == other for a, b in zip(plain, fast, strict=True) for one, other in zip(a, b, strict=False))
    return {"equal_tokens": equal, "of": sum(map(len, plain)), "prompts_equal": sum(a == b for a, b in zip(plain, fast, strict=True))}
