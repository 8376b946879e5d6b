"""Processor time of one step of the sampler beside softmax and multinomial, by size of the vocabulary and peak of the distribution; run it, it is not a test.

32 rows of random logits with a standard deviation of 0.02 (flat: the worst case), 3 and 6 (peaked, as trained models are), one thread, medians of rounds.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from personascope.extract.weights.sampler import draw

ROWS = 32


def main() -> None:
    """Print the table to stderr and one JSON line to stdout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabularies", type=int, nargs="+", default=[49_152, 151_936, 262_144])
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    figures = [measure(size, spread, options.rounds) for size in options.vocabularies for spread in (0.02, 3.0, 6.0)]
    table = Table(title=f"one step of {ROWS} rows, processor time", title_justify="left")
    for name in figures[0]:
        table.add_column(name, justify="right")
    for row in figures:
        table.add_row(*(f"{value:,.4g}" for value in row.values()))
    Console(stderr=True, width=110).print(table)
    print(json.dumps(figures))


def measure(size: int, spread: float, rounds: int) -> dict[str, float]:
    """Milliseconds of both ways, and the ratio of the sampler to the plain way with all tokens allowed and with the likeliest 95%."""
    generator = torch.Generator().manual_seed(size)
    scores = torch.randn(ROWS, size, generator=generator) * spread
    uniform = torch.rand(ROWS, 1, generator=generator)
    ways: dict[str, Callable[[], Any]] = {
        "plain": lambda: torch.multinomial(torch.softmax(scores, -1), 1),
        "all": lambda: draw(torch.softmax(scores, -1), uniform, 1.0),
        "top_p": lambda: draw(torch.softmax(scores, -1), uniform, 0.95),
    }
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.process_time()
            way()
            spent[name].append(time.process_time() - started)
    middle = {name: statistics.median(times) for name, times in spent.items()}
    return {
        "vocabulary": size,
        "spread": spread,
        "plain_ms": middle["plain"] * 1e3,
        "sampler_ms": middle["all"] * 1e3,
        "ratio": middle["all"] / middle["plain"],
        "ratio_top_p_0.95": middle["top_p"] / middle["plain"],
    }


if __name__ == "__main__":
    main()
