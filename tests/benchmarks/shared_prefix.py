"""What it would save to compute the keys of a shared system prompt once: processor time of sampling, of reading prompts, and of reading them behind kept keys.

Prompts of one persona of a shipped set, one batch, one thread. The prefix is what all of them have in common, read once and repeated for every row. Printed are
the shares of sampling that reading the prompts and reading the prefix take, and how far the logits behind kept keys are from those of the whole prompt: an
answer that is sampled from other logits is another answer. Run it, it is not a test.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import DynamicCache

from personascope.extract.texts.chat import render
from personascope.extract.weights.engines import Request, TransformersEngine, end_ids
from personascope.extract.weights.on_device import Models
from personascope.ingest.prompts import load_prompt_set
from personascope.ingest.weights.checkpoints import resolve


def main() -> None:
    """Print one JSON line of milliseconds and shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="folder of a model, or FILE.gguf")
    parser.add_argument("--prompts", default="personas-short")
    parser.add_argument("--persona", default="villain")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--max-new-tokens", type=int, default=48)
    options = parser.parse_args()
    torch.set_num_threads(1)
    checkpoint, models = resolve(options.checkpoint, name="measured"), Models("cpu", "float32")
    loaded, tokenizer = models.load(checkpoint), models.tokenizer(checkpoint)
    prompts = [prompt for prompt in load_prompt_set(options.prompts).prompts if prompt.persona == options.persona]
    rows = [render(tokenizer, prompt.system_prompt, prompt.question).token_ids for prompt in prompts]
    rows = (rows * options.rows)[: options.rows]
    shared = next(place for place, tokens in enumerate(zip(*rows, strict=False)) if len(set(tokens)) > 1)
    engine = TransformersEngine(loaded, end_ids(models, checkpoint))
    requests = [Request(ids, seed) for seed, ids in enumerate(rows)]
    with torch.no_grad():
        sampled, _ = timed(lambda: engine.sample(requests, 1.0, 1.0, options.max_new_tokens))
        whole, far = timed(lambda: read(loaded.model, rows, 0, None))
        begun, kept = timed(lambda: keys(loaded.model, rows[0][:shared], len(rows)))
        rest, near = timed(lambda: read(loaded.model, rows, shared, kept))
    figures = {
        "rows": len(rows),
        "prompt_tokens": sum(map(len, rows)) / len(rows),
        "shared_tokens": shared,
        "sampling_ms": 1e3 * sampled,
        "share_of_reading_prompts": whole / sampled,
        "share_saved": (whole - begun - rest) / sampled,
        "largest_difference_of_logits": float((far - near).abs().max()),
    }
    print(json.dumps(figures))


def read(model: Any, rows: list[tuple[int, ...]], start: int, kept: DynamicCache | None) -> torch.Tensor:
    """Logits [rows, vocabulary] behind the last token of each prompt, whose tokens before `start` are in the cache."""
    width = max(map(len, rows)) - start
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    mask = torch.zeros((len(rows), start + width), dtype=torch.long)
    mask[:, :start] = 1
    for number, row in enumerate(rows):
        ids[number, width - (len(row) - start) :] = torch.tensor(row[start:])
        mask[number, start + width - (len(row) - start) :] = 1
    positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, start:]
    return model(ids, attention_mask=mask, position_ids=positions, past_key_values=kept, logits_to_keep=1, use_cache=True).logits[:, -1]


def keys(model: Any, prefix: tuple[int, ...], n_rows: int) -> DynamicCache:
    """Keys and values of the prefix, once for every row."""
    cache = model(torch.tensor([prefix]), use_cache=True, logits_to_keep=1).past_key_values
    cache.batch_repeat_interleave(n_rows)
    return cache


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds of the work, and what it gave."""
    started = time.process_time()
    found = work()
    return time.process_time() - started, found


if __name__ == "__main__":
    main()
