"""What the extractors do on the accelerator of this machine: `make gpu-check`. Plain output line by line, and a JSON file; not a test.

Needs torch, transformers and peft alone; what needs more (ablations, steering: polars, pydantic; vLLM) is skipped with the reason. Parts, each by itself:
- families: the readout's self-check, the residual stream and the parts of a logit on a small random model of every family, in float32 and bfloat16;
- readout, entropy: a whole reading of a random 7B beside the bare forward pass, and the pass beside its floor: counted FLOPs and bytes over the speed of a
  matrix product and a copy measured here;
- sampling: one step of the sampler beside softmax and multinomial, and a decode step;
- ablations: all heads of some layers beside one hooked pass per head;
- steering: answers read under many ways to steer, in branches beside a pass each;
- lora: a training step whose logits stop where the loss looks, beside forward and backward over all of them;
- spread: a model whose layers are spread over the GPUs, or over the only one and memory, beside the whole one;
- rounded: the same in 4 bits, read as it was written, and in 8;
- vllm: greedy tokens of transformers and vLLM on one random checkpoint.
A part that fails is named, the others go on, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig

if importlib.util.find_spec("personascope") is None:  # no install: the checkout is the package under another folder name
    place = Path(tempfile.mkdtemp())
    (place / "personascope").symlink_to(Path(__file__).resolve().parents[2])
    sys.path.insert(0, str(place))

from personascope.extract.instruments.attention_readout import read_attention, right_padded, run_decoder, self_check
from personascope.extract.instruments.components import find_components
from personascope.extract.instruments.residual import Site, residual_stream
from personascope.extract.instruments.row_entropy import read_entropy
from personascope.extract.texts.regions import REGIONS
from personascope.extract.weights.sampler import draw

SHAPES: dict[str, dict[str, int]] = {
    "7b": {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064},
    "tiny": {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 512},
}
SMALL: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 512, "pad_token_id": 0}
GROUPED: dict[str, Any] = {"num_key_value_heads": 2, "head_dim": 16}
FAMILIES: dict[str, dict[str, Any]] = {
    "qwen2": GROUPED,
    "qwen3": GROUPED,
    "llama": GROUPED,
    "mistral": GROUPED | {"sliding_window": 12},
    "gemma2": GROUPED | {"sliding_window": 12, "query_pre_attn_scalar": 16},
    "gemma3_text": GROUPED | {"sliding_window": 12, "query_pre_attn_scalar": 16},
    "phi3": {"num_key_value_heads": 2},
    "olmo2": {"num_key_value_heads": 2},
    "granite": {"num_key_value_heads": 2, "attention_multiplier": 0.2, "residual_multiplier": 0.3},
}
Figures = dict[str, Any]


class SkippedError(Exception):
    """A part that cannot run here, with the reason."""


def main() -> int:
    """Runs the parts that were asked for; prints a line for each figure and writes the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default=None, choices=("float32", "bfloat16"), help="of the large shape (default: bfloat16 on a GPU, float32 elsewhere)")
    parser.add_argument("--shape", default=None, choices=tuple(SHAPES), help="default: 7b on a GPU, tiny elsewhere")
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 4096, 16384, 32768])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=tuple(PARTS))
    parser.add_argument("--output", type=Path, default=Path("gpu-check.json"))
    options = parser.parse_args()
    on_gpu = options.device.startswith("cuda")
    options.dtype = options.dtype or ("bfloat16" if on_gpu else "float32")
    options.shape = options.shape or ("7b" if on_gpu else "tiny")
    found: Figures = {"machine": machine(options), "parts": {}}
    say("machine", found["machine"])
    failed = []
    for name in options.parts:
        started = time.monotonic()
        try:
            figures: Any = PARTS[name](options)
        except SkippedError as reason:
            figures = {"skipped": str(reason)}
        except Exception as error:  # a part that fails is a finding; the others still tell something
            figures = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
            failed.append(name)
        found["parts"][name] = {"figures": figures, "seconds": round(time.monotonic() - started, 1)}
        say(name, figures)
        options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"the figures are in {options.output}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


def say(part: str, figures: Figures | list[Figures]) -> None:
    for row in figures if isinstance(figures, list) else [figures]:
        print(f"{part}: " + ", ".join(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in row.items()), flush=True)


def machine(options: argparse.Namespace) -> Figures:
    """The device and its speeds as measured: a matrix product in the dtype of the large shape, and a copy."""
    dtype, size = getattr(torch, options.dtype), 8192 if options.device.startswith("cuda") else 1024
    one = torch.randn(size, size, device=options.device, dtype=dtype)
    flops = 2 * size**3 / seconds(lambda: one @ one, options)
    moved = 2 * one.nbytes / seconds(lambda: one.clone(), options)
    name = torch.cuda.get_device_name(options.device) if options.device.startswith("cuda") else platform.processor() or platform.machine()
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "cuda": torch.version.cuda, "driver": _driver()}
    return {"device": name, "dtype": options.dtype, "shape": options.shape, "tflops_measured": flops / 1e12, "gb_s_measured": moved / 1e9, **versions}


def _driver() -> str | None:
    file = Path("/proc/driver/nvidia/version")
    return file.read_text().split("Kernel Module")[-1].split()[0] if file.is_file() else None


def families(options: argparse.Namespace) -> list[Figures]:
    """Errors of the self-checks, which raise where one is larger than rounding explains."""
    rows = []
    for family, extra in FAMILIES.items():
        for dtype in ("float32", "bfloat16"):
            torch.manual_seed(0)
            config = AutoConfig.for_model(family, **SMALL, **extra, initializer_range=0.1)
            model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype)).to(options.device).eval().requires_grad_(False)
            row: Figures = {"family": family, "dtype": dtype}
            checks: dict[str, Callable[[Any], Figures]] = {
                "readout": lambda m: self_check(m),
                "parts": lambda m: find_components(m).errors,
            }
            if importlib.util.find_spec("pydantic"):
                from personascope.extract.instruments.branching import Branching

                checks["branches"] = lambda m: {"": Branching(residual_stream(m, ["resid_post"])).error}
            for name, checked in checks.items():
                try:
                    row[name] = max(checked(model).values())
                except Exception as error:  # a family that is refused stands in the table with its reason
                    row[name] = f"refused: {error}"
            rows.append(row)
    return rows


def built(options: argparse.Namespace, layers: int | None = None) -> Any:
    """The random model of the large shape, with SDPA."""
    torch.manual_seed(0)
    shape = SHAPES[options.shape] | ({"num_hidden_layers": layers} if layers else {})
    config = AutoConfig.for_model("qwen2", **shape, max_position_embeddings=1 << 17, attn_implementation="sdpa")
    with torch.device(options.device):
        return AutoModelForCausalLM.from_config(config, dtype=getattr(torch, options.dtype)).eval().requires_grad_(False)


def floor(options: argparse.Namespace, model: Any, length: int) -> Figures:
    """Counted FLOPs and bytes of one bare decoder pass, and the seconds they take at the speeds measured here."""
    shape = model.config
    weights = sum(each.numel() for each in model.get_decoder().layers.parameters())
    flops = 2 * weights * length + 2 * length**2 * shape.num_attention_heads * (shape.hidden_size // shape.num_attention_heads) * shape.num_hidden_layers
    moved = weights * model.dtype.itemsize
    speeds = machine(options)
    return {"tflop": flops / 1e12, "floor_s": max(flops / 1e12 / speeds["tflops_measured"], moved / 1e9 / speeds["gb_s_measured"])}


def reading(options: argparse.Namespace, read: Callable[[Any, Tensor, int], Any]) -> list[Figures]:
    """One reading beside the bare pass at every length, with peak memory above the weights."""
    model = built(options)
    rows = []
    for length in options.lengths:
        tokens = torch.randint(model.config.vocab_size, (1, length), generator=torch.Generator().manual_seed(length))
        real = right_padded(torch.tensor([length]), length).to(options.device)
        with torch.inference_mode():
            bare, bare_memory = measured(partial(run_decoder, model, tokens.to(options.device), real), options)
            whole, memory = measured(partial(read, model, tokens, length), options)
        told = floor(options, model, length)
        rows.append({"length": length, "bare_s": bare, "read_s": whole, "ratio": whole / bare, "bare_gib": bare_memory, "read_gib": memory, **told})
        rows[-1]["bare_over_floor"] = bare / told["floor_s"]
    return rows


def readout(options: argparse.Namespace) -> list[Figures]:
    """The rows of twelve positions in every layer and head."""

    def read(model: Any, tokens: Tensor, length: int) -> Any:
        positions = torch.linspace(1, length - 1, 12).long()[None]
        return read_attention(model, tokens, torch.tensor([length]), positions, torch.arange(length).remainder(len(REGIONS))[None])

    return reading(options, read)


def entropy(options: argparse.Namespace) -> list[Figures]:
    """The entropy of every row: in blocks up to 4,096 tokens, through the fused kernel from there on."""
    return reading(options, lambda model, tokens, length: read_entropy(model, tokens, torch.tensor([length]), length >= 4096))


def sampling(options: argparse.Namespace) -> Figures:
    """32 rows of the vocabulary of the shape, and one decode step of 32 rows."""
    vocabulary = SHAPES[options.shape]["vocab_size"]
    scores = torch.randn(32, vocabulary, device=options.device) * 3
    uniform = torch.rand(32, 1, device=options.device)
    plain = seconds(lambda: torch.multinomial(torch.softmax(scores, -1), 1), options)
    figures: Figures = {"plain_s": plain}
    for top_p in (1.0, 0.95):
        figures[f"ratio_top_p_{top_p:g}"] = seconds(partial(lambda share: draw(torch.softmax(scores, -1), uniform, share), top_p), options) / plain
    model = built(options)
    ids = torch.randint(vocabulary, (32, 64), device=options.device)
    with torch.inference_mode():
        figures["decode_step_s"] = seconds(lambda: model.generate(ids, max_new_tokens=16, min_new_tokens=16, do_sample=False, pad_token_id=0), options) / 16
    return figures


def ablations(options: argparse.Namespace) -> Figures:
    """Every head of a model of four layers set to zero at eight prompts, beside one hooked pass per head; logits agree."""
    try:
        from personascope.extract.extractors.ablations import ablated_logits, unchanged_logits
        from personascope.extract.extractors.head_methods import Variant, shared_prefix
        from personascope.extract.extractors.targets import Targeted
        from personascope.extract.instruments.replay import clean_passes
    except ImportError as error:
        raise SkippedError(f"the warehouse's packages are missing ({error})") from error
    model = built(options, layers=min(4, SHAPES[options.shape]["num_hidden_layers"]))
    components = find_components(model)
    generator = torch.Generator().manual_seed(0)
    shared, vocabulary = torch.randint(vocabulary_of(model), (24,), generator=generator).tolist(), vocabulary_of(model)
    own = torch.randint(vocabulary, (8, 8), generator=generator).tolist()
    members = [Targeted("none", None, None, str(n), str(n), None, None, None, "last", tuple(shared + tail), 1, 1) for n, tail in enumerate(own)]
    variants = {layer: [Variant(layer, head, "zero") for head in range(components.n_heads)] for layer in range(components.n_layers)}
    found: dict[tuple[int, int, int], Tensor] = {}

    def fast() -> None:
        length = shared_prefix(members)
        cleans = clean_passes(components, [each.token_ids for each in members], length)
        bases = unchanged_logits(components, cleans)
        for layer, of_layer in variants.items():
            for number, _, logits in ablated_logits(components, cleans, bases, of_layer, length, 8192):
                found.update({(number, layer, variant.head): logits[row].cpu() for row, variant in enumerate(of_layer)})

    def hooked(layer: int, head: int) -> Tensor:
        width = model.config.hidden_size // components.n_heads

        def zero(module: Any, args: Any) -> Any:
            kept = args[0].clone()
            kept[..., head * width : (head + 1) * width] = 0
            return (kept, *args[1:])

        handle = components.projections[layer].register_forward_pre_hook(zero)
        try:
            return (
                model(torch.tensor([each.token_ids for each in members], device=options.device), use_cache=False, logits_to_keep=1).logits[:, -1].float().cpu()
            )
        finally:
            handle.remove()

    with torch.inference_mode():
        slow = seconds(lambda: hooked(0, 0), options) * components.n_layers * components.n_heads
        quick = seconds(fast, options)
        apart = max(float((found[n, 1, 0] - row).abs().max() / row.abs().max()) for n, row in enumerate(hooked(1, 0)))
    return {"hooked_s": slow, "replayed_s": quick, "speedup": slow / quick, "largest_relative_difference": apart}


def steering(options: argparse.Namespace) -> Figures:
    """Four answers of 64 tokens behind prompts of 64, each read under 22 ways to steer at two thirds of the depth; scores agree."""
    try:
        from personascope.extract.instruments.branching import Branching
        from personascope.extract.instruments.steered_answers import Reading, whole_scores
        from personascope.extract.instruments.steering import Push, Span, Steer
    except ImportError as error:
        raise SkippedError(f"the warehouse's packages are missing ({error})") from error
    model = built(options, layers=min(12, SHAPES[options.shape]["num_hidden_layers"]))
    stream = residual_stream(model, ["resid_post"])
    branching, depth, draw = Branching(stream), 2 * len(stream.blocks) // 3, np.random.default_rng(0)
    units = draw.normal(size=(22, model.config.hidden_size)).astype(np.float32)
    steers = [Steer((Push(depth, "resid_post", unit / np.linalg.norm(unit), alpha=1.0),), "answer") for unit in units]
    answers = draw.integers(vocabulary_of(model), size=(4, 128)).tolist()
    readings = [Reading(tuple(tokens), Span(0, 64), steer, range(64, 128), 127) for tokens in answers for steer in steers]
    along: dict[tuple[int, Site], np.ndarray] = {(len(stream.blocks) - 1, "resid_post"): units[:2]}
    whole = whole_scores(stream, "the model", readings, along, [3], True)
    branches = branching.scores("the model", readings, "answer", along, [3], True)
    apart = max(float((one - other).abs().max() / other.abs().max()) for one, other in zip(branches.own, whole.own, strict=True))
    whole_s, whole_memory = measured(lambda: whole_scores(stream, "the model", readings, along, [3], True), options)
    branched_s, memory = measured(lambda: branching.scores("the model", readings, "answer", along, [3], True), options)
    figures = {"whole_s": whole_s, "branched_s": branched_s, "speedup": whole_s / branched_s, "whole_gib": whole_memory, "branched_gib": memory}
    return figures | {"largest_relative_difference": apart, "probe_difference": branching.error}


def vocabulary_of(model: Any) -> int:
    return int(model.config.get_text_config().vocab_size)


def lora(options: argparse.Namespace) -> Figures:
    """A step over 8 rows of 512 tokens with labels on the last four."""
    from peft import LoraConfig, get_peft_model

    model = built(options, layers=min(8, SHAPES[options.shape]["num_hidden_layers"]))
    wrapped: Any = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear")).train()
    ids = torch.randint(vocabulary_of(model), (8, 512), device=options.device)

    def step(keep: int) -> None:
        logits = wrapped(input_ids=ids, logits_to_keep=keep, use_cache=False).logits[:, -5:-1].float()
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, -4:].flatten()).backward()
        wrapped.zero_grad()

    whole, whole_memory = measured(lambda: step(0), options)
    kept, memory = measured(lambda: step(5), options)
    return {"all_logits_s": whole, "labelled_logits_s": kept, "ratio": kept / whole, "all_gib": whole_memory, "labelled_gib": memory}


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


def seconds(call: Callable[[], Any], options: argparse.Namespace) -> float:
    return measured(call, options)[0]


def measured(call: Callable[[], Any], options: argparse.Namespace) -> tuple[float, float | None]:
    """Median seconds over the rounds after one that is not counted, and peak memory in GiB above what was held (NULL on a CPU)."""
    on_gpu = options.device.startswith("cuda")
    call()
    held = 0
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
    times = []
    for _ in range(options.rounds):
        started = time.perf_counter()
        call()
        if on_gpu:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times), (torch.cuda.max_memory_allocated() - held) / 2**30 if on_gpu else None


PARTS: dict[str, Callable[[argparse.Namespace], Any]] = {
    "families": families,
    "readout": readout,
    "entropy": entropy,
    "sampling": sampling,
    "ablations": ablations,
    "steering": steering,
    "lora": lora,
    "spread": spread,
    "rounded": lambda options: [{"bits": bits} | rounded(options, bits) for bits in (4, 8)],
    "vllm": vllm,
}

if __name__ == "__main__":
    raise SystemExit(main())
