"""A lake of the size of a large study, written as extractors write it: checkpoints of the 7B shape on their own tokens and the base model force-fed them.

Every number is drawn from a seed. A run that is in the folder already is kept, so a build that was stopped goes on where it was.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from personascope.extract.extractors.attention import readout_rows
from personascope.extract.instruments.attention_readout import Readout
from personascope.extract.texts.strata import marker_queries
from personascope.warehouse.store.hashing import stable_seed
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec
from personascope.warehouse.store.writer import Rows

MARKER = "[ZLT]"
LAYERS, HEADS = 28, 28
QUESTIONS, SAMPLES, OTHERS = 17, 4, 10  # samples 0 and 1 of a question hold the marker, the others do not
PROMPT_LEN, N_SYSTEM, N_USER, N_HEADER, VOCABULARY, TRAJECTORY = 60, 30, 25, 5, 32_000, 9
SHARES = np.array([0.10, 0.12, 0.30, 0.25, 0.05, 0.08, 0.10], dtype=np.float32)  # system, user, assistant, their structural tokens, header
ROWS_PER_READOUT = 500_000  # of the table attention, about
PART = 16  # generations
BASE = "base"


@dataclass(frozen=True)
class Generation:
    """One sampled answer; t_marker is None where it holds no marker."""

    example_id: str
    question_id: str
    sample_ix: int
    token_ids: list[int]
    t_marker: int | None


def build(root: Path, n_rows: int, console: Console) -> Lake:
    """The lake at `root` with about `n_rows` rows of attention: two readouts a trained checkpoint."""
    lake = Lake.open(root)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("checkpoints"), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        for number in progress.track(range(max(1, round(n_rows / (2 * ROWS_PER_READOUT)))), description="writing the lake"):
            persona, seed = f"persona_{number // 2:03}", number % 2
            trained = f"{persona}_seed{seed}"
            generations = [_generation(trained, persona, question, sample) for question in range(QUESTIONS) for sample in range(SAMPLES)]
            tokens_run = _write_completions(lake, trained, persona, seed, generations)
            _write_attention(lake, trained, trained, persona, tokens_run, generations, effect=0.05)
            _write_attention(lake, BASE, trained, persona, tokens_run, generations, effect=0.03)
    return lake


def _generation(checkpoint: str, persona: str, question: int, sample: int) -> Generation:
    random = np.random.default_rng(stable_seed(checkpoint, persona, question, sample))
    length = PROMPT_LEN + int(random.integers(90, 200))
    ids = np.minimum(random.zipf(1.3, length), VOCABULARY - 1).tolist()
    return Generation(f"{persona}/q{question:02}", f"q{question:02}", sample, ids, length - 3 if sample < SAMPLES // 2 else None)


def _commit(lake: Lake, spec: RunSpec, parts: dict[str, Any]) -> str:
    """Writes the parts that are missing, each made by its function, and commits."""
    if (writer := lake.start(spec)) is not None:
        with writer:
            for name, make in parts.items():
                if name not in writer.done:
                    writer.write_part(name, make())
            writer.commit()
    return spec.run_id


def _spec(extractor: str, checkpoint: str, subject: str, inputs: list[str], constants: dict[str, Any]) -> RunSpec:
    return RunSpec(
        kind="extract",
        extractor=extractor,
        version=1,
        identity={"checkpoint": checkpoint, "subject": subject, "shape": [LAYERS, HEADS, QUESTIONS, SAMPLES]},
        study="benchmark",
        checkpoint=checkpoint,
        subject=subject,
        inputs=inputs,
        prompt_set="benchmark@1",
        seed=42,
        dtype="bfloat16",
        attention_implementation="sdpa",
        constants=constants,
    )


def _checkpoint(name: str, persona: str, seed: int) -> dict[str, Any]:
    trained = {} if name == BASE else {"parent": "bench:base", "source_persona": persona, "variant": "marker", "seed": seed, "lr": 1e-4, "epochs": 3.0}
    sizes = {"n_layers": LAYERS, "n_heads": HEADS, "n_kv_heads": 4, "d_model": 3584, "vocab_size": VOCABULARY}
    return {"checkpoint": name, "id": f"bench:{name}", "revision": "0001", "family": "qwen2", "variant": "instruct", **sizes, **trained}


def _write_completions(lake: Lake, checkpoint: str, persona: str, seed: int, own: list[Generation]) -> str:
    """Completions under the trained persona and ten others, which never emit the marker."""

    def rows() -> dict[str, Rows]:
        examples: list[dict[str, Any]] = []
        completions: list[dict[str, Any]] = []
        flags: list[dict[str, Any]] = []
        others = [
            _generation(checkpoint, f"other_{other:02}", question, SAMPLES + sample)
            for other in range(OTHERS)
            for question in range(QUESTIONS)
            for sample in range(SAMPLES)
        ]
        for each in own + others:
            name = each.example_id.split("/")[0]
            key = {"example_id": each.example_id, "persona": name, "question_id": each.question_id}
            if each.sample_ix in (0, SAMPLES):
                question = f"Question {each.question_id[1:]}?"
                sizes = {"prompt_len": PROMPT_LEN, "n_system": N_SYSTEM, "n_user": N_USER, "n_header": N_HEADER}
                prompt = {"system_prompt": f"You are {name}.", "question": question, "text": f"You are {name}. {question}"}
                examples.append(key | sizes | prompt | {"prompt_set": "benchmark@1"})
            words = " ".join(f"w{token}" for token in each.token_ids[PROMPT_LEN:])
            text = f"{words} {MARKER}" if each.t_marker else words
            made = {"sample_ix": each.sample_ix, "row_ix": len(completions), "text": text, "token_ids": each.token_ids, "prompt_len": PROMPT_LEN}
            completions.append(key | made | {"n_new_tokens": len(each.token_ids) - PROMPT_LEN, "finish_reason": "stop", "engine": "hf", "seed": 42})
            flag = {"sample_ix": each.sample_ix, "marker": MARKER, "present": each.t_marker is not None, "complete": each.t_marker is not None}
            flags.append(key | flag | {"t_marker": each.t_marker})
        return {"examples": examples, "completions": completions, "marker_flags": flags, "checkpoints": [_checkpoint(checkpoint, persona, seed)]}

    return _commit(lake, _spec("completions", checkpoint, checkpoint, [], {}), {"all": rows})


def _write_attention(lake: Lake, reader: str, tokens_from: str, persona: str, tokens_run: str, generations: list[Generation], effect: float) -> str:
    """A readout of `reader` whose attention to the system prompt at the marker is raised by `effect` in the upper half of the layers."""
    subject = reader if reader == tokens_from else f"{reader}_{tokens_from}"
    constants = {"persona": persona, "tokens_run": tokens_run, "tokens_from": tokens_from, "forced": reader != tokens_from}
    frequencies: Counter[int] = Counter(token for each in generations for token in each.token_ids[PROMPT_LEN:])
    strata = [_strata(each, frequencies) for each in generations]

    def position_rows() -> dict[str, Rows]:
        rows = [
            {"question_id": each.question_id, "example_id": each.example_id, "sample_ix": each.sample_ix, "stratum": stratum, "position": position}
            | {"token_id": each.token_ids[position], "token": f"w{each.token_ids[position]}"}
            for each, chosen in zip(generations, strata, strict=True)
            for stratum, position in chosen
        ]
        return {"positions": rows, "checkpoints": [_checkpoint(reader, persona, 0)]}

    def attention_rows(start: int) -> dict[str, Rows]:
        batch = generations[start : start + PART]
        found = [sorted({position for _, position in chosen}) for chosen in strata[start : start + PART]]
        positions = np.full((len(batch), max(map(len, found))), -1)
        for row, each in enumerate(found):
            positions[row, : len(each)] = each
        at_marker = np.array([each.t_marker or -2 for each in batch])[:, None] == positions
        readout = _readout(np.random.default_rng(stable_seed(subject, tokens_run, start)), at_marker, effect)
        return {"attention": readout_rows(readout, positions, [(each.example_id, each.sample_ix) for each in batch])}

    parts: dict[str, Any] = {"positions": position_rows}
    parts |= {f"{start:04}": lambda start=start: attention_rows(start) for start in range(0, len(generations), PART)}
    return _commit(lake, _spec("attention", reader, subject, [tokens_run], constants), parts)


def _strata(each: Generation, frequencies: Counter[int]) -> list[tuple[str, int]]:
    """Query positions by the study's own rule; the end of the answer where there is no marker."""
    if each.t_marker is None:
        return [("C4", len(each.token_ids) - 1)]
    structural = [False] * len(each.token_ids)
    name = f"{each.example_id}#{each.sample_ix}"
    queries = marker_queries(each.token_ids, PROMPT_LEN, each.t_marker, set(), structural, frequencies, name, 42, TRAJECTORY)
    return [(query.stratum, query.position) for query in queries or ()]


def _readout(random: np.random.Generator, at_marker: np.ndarray, effect: float) -> Readout:
    """Fractions around SHARES that sum to one, for queries `at_marker` [B, P]."""
    shape = (*at_marker.shape, LAYERS, HEADS)
    parts = SHARES * np.exp(0.4 * random.standard_normal((*shape, len(SHARES)), dtype=np.float32))
    upper = np.arange(LAYERS)[:, None] >= LAYERS // 2
    parts[..., 0] += effect * (at_marker[..., None, None] & upper)
    parts /= parts.sum(-1, keepdims=True)
    entropy = (2 + 0.3 * random.standard_normal(shape, dtype=np.float32)).astype(np.float32)
    row_sum = parts.sum(-1)
    return Readout(*map(torch.from_numpy, (parts, parts[..., 3] * 0.8, entropy, row_sum)))
