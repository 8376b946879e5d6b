"""Processor time of a forward pass that reads every token along directions at every layer, beside the bare pass over the same batch; run it, it is not a test.

A randomly initialised Qwen2 is read in turns: bare, with projections, bare again, so that what else the machine does falls on both. Rows and Parquet are not
part of it; `overhead.py --only projections` measures whole runs.
"""

import argparse
import json
import time
from statistics import median
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoConfig, AutoModelForCausalLM

from personascope.extract.instruments.attention_readout import run_decoder
from personascope.extract.instruments.directions import Direction
from personascope.extract.instruments.projecting import ProjectionCapture, units_by_place
from personascope.extract.instruments.residual import capturing, residual_stream

AIM = 1.05


def main() -> None:
    """Print the table to stderr and one JSON line to stdout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"layers": 6, "width": 512, "sequences": 8, "tokens": 128, "turns": 5, "threads": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--directions", type=int, nargs="*", default=[4, 50], help="directions at every layer")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": options.width, "intermediate_size": 3 * options.width, "num_hidden_layers": options.layers}
    config = AutoConfig.for_model("qwen2", vocab_size=1000, num_attention_heads=options.width // 64, num_key_value_heads=2, **sizes)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    stream = residual_stream(model, ["resid_post"])
    ids = torch.randint(1000, (options.sequences, options.tokens))
    real = torch.ones_like(ids, dtype=torch.bool)
    rows, columns = real.nonzero(as_tuple=True)
    found = []
    for count in options.directions:
        drawn = np.random.default_rng(0).normal(size=(options.layers, count, options.width)).astype(np.float32)
        places = [
            Direction(f"d{number}", layer, "resid_post", "random", vector) for layer in range(options.layers) for number, vector in enumerate(drawn[layer])
        ]
        units = units_by_place(places, ids.device)

        def read(units: Any = units) -> None:
            empty = torch.zeros((len(ids), 0), dtype=torch.long)
            capture = ProjectionCapture(empty, None, rows=rows, columns=columns, units=units)
            with capturing(stream.blocks, range(options.layers), ["resid_post"], empty, capture=capture):
                run_decoder(model, ids, real)

        def bare() -> None:
            run_decoder(model, ids, real)

        read()
        bare()
        times = [(seconds(bare), seconds(read), seconds(bare)) for _ in range(options.turns)]
        ratio = median(2 * middle / (before + after) for before, middle, after in times)
        found.append({"directions": count, "bare": median(each[0] for each in times), "read": median(each[1] for each in times), "ratio": ratio})
    table = Table(title=f"{options.layers} layers of {options.width}, {ids.numel()} tokens, {options.threads} thread(s): seconds of processor time")
    for name in ("directions a layer", "bare pass", "with projections", f"ratio (aim {AIM})"):
        table.add_column(name, justify="right")
    for row in found:
        table.add_row(str(row["directions"]), f"{row['bare']:.3f}", f"{row['read']:.3f}", f"{row['ratio']:.3f}{'' if row['ratio'] <= AIM else ' !'}")
    Console(stderr=True, width=120).print(table)
    print(json.dumps(vars(options) | {"rows": found}))


def seconds(call: Any) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


if __name__ == "__main__":
    main()
