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
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

if importlib.util.find_spec("personascope") is None:  # no install: the checkout is the package under another folder name
    place = Path(tempfile.mkdtemp())
    (place / "personascope").symlink_to(Path(__file__).resolve().parents[2])
    sys.path.insert(0, str(place))
sys.path.append(str(Path(__file__).resolve().parents[1]))  # the parts, also where another program runs this file

from gpu.measuring import SHAPES, Figures, SkippedError, machine
from gpu.placements import rounded, spread, vllm
from gpu.readings import entropy, families, readout
from gpu.savings import ablations, lora, sampling, steering


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
