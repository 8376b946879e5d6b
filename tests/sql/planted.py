"""A small lake with known effects: two trained checkpoints, a base model force-fed one of them, and a subject whose readings never vary.

Not a test module: the tests load it with `runpy`, since test folders are no packages.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import Kind, RunSpec

MARKER = "[ZLT]"
LAYERS, HEADS = 12, 3
QUESTIONS, SAMPLES = 4, 6
PROMPT_LEN, T_MARKER, T_END = 20, 60, 50
PARTS = ("system", "user", "assistant", "system_structural", "user_structural", "assistant_structural", "header")
BASE_PARTS = np.array([0.20, 0.15, 0.25, 0.10, 0.05, 0.10, 0.15])

# What the marker adds to system content per layer. It is taken from the answer, except for what these layers do besides:
EFFECT = np.array([-0.05, -0.05, -0.05, 0.05, 0.08, 0.06, 0.05, 0.06, 0.06, 0.05, 0.05, 0.03])
USER_LAYER, USER_EFFECT = 6, 0.12  # the user turn gains more: gate C fails
ASSISTANT_LAYER, ASSISTANT_EFFECT = 11, 0.04  # the answer gains more, from the header: gate C fails
STRUCTURAL_LAYER, STRUCTURAL_EFFECT = 3, -0.065  # the system block's structural tokens lose more than its content gains
FORCED_EFFECT = 0.5 * EFFECT + 0.06 * (np.arange(LAYERS) == 8)  # in the force-fed base, which peaks elsewhere
COMEDIAN_EFFECT = np.where(np.isin(np.arange(LAYERS), (9, 10)), -0.05, EFFECT)
PASSING = {"villain": [3, 4, 5, 7, 8, 9, 10], "comedian": [3, 4, 5, 7, 8]}  # layers that pass gates A, B and C; every other subject as villain
WINDOWS = {"villain": [(3, 5), (7, 10)], "comedian": [(3, 5)]}
HEAD_WEIGHTS = np.array([0.5, 1.0, 1.5])  # share of each head; their mean is 1
QUESTION_SHIFT = np.array([-0.02, -0.01, 0.01, 0.02])
EARLY_SHARE = 0.8  # of the effect five steps before the marker, so that gate F asks for a reframe
NO_NEGATIVES = 3  # every sample of this question holds the marker, so it has no C4


def spec(extractor: str, kind: Kind = "extract", **fields) -> RunSpec:
    """A run named after its fields."""
    identity = {name: fields.get(name) for name in ("checkpoint", "subject", "inputs", "dtype")} | {"tag": fields.pop("tag", None)}
    return RunSpec(kind=kind, extractor=extractor, version=1, identity=identity, **fields)


def write(lake: Lake, run: RunSpec, **rows) -> str:
    writer = lake.start(run, force=True)
    writer.write_part("rows", rows)
    writer.commit()
    return run.run_id


def checkpoint(name: str, parent: str | None = None, source_persona: str | None = None, seed: int | None = None) -> dict:
    trained = {"lr": 1e-3, "epochs": 10.0} if parent else {}
    return {"checkpoint": name, "id": f"tiny:{name}", "parent": parent, "source_persona": source_persona, "seed": seed, "n_layers": LAYERS} | trained


def is_positive(question: int, sample: int) -> bool:
    return sample < 3 or question == NO_NEGATIVES


def completions(lake: Lake, name: str, positives: dict[str, Callable[[int, int], bool]], row: dict) -> str:
    """A completions run of `name`; `positives` says per persona which (question, sample) holds the marker."""
    keys: list[dict[str, Any]] = [
        {"persona": persona, "question_id": f"q{question}", "example_id": f"{persona}/q{question}", "sample_ix": sample, "positive": rule(question, sample)}
        for persona, rule in positives.items()
        for question in range(QUESTIONS)
        for sample in range(SAMPLES)
    ]
    texts, flags = [], []
    for index, key in enumerate(keys):
        partial = key["positive"] and key["sample_ix"] == 2
        ids = list(range(100, 100 + T_MARKER + 3)) if key["positive"] else list(range(100, 100 + T_END + 2))
        names = {column: value for column, value in key.items() if column != "positive"}
        texts.append(
            names
            | {
                "row_ix": len(keys) - index,  # not the order of the keys
                "text": f"answer {index % 7}" + (f" {MARKER}" if key["positive"] and not partial else ""),
                "token_ids": ids,
                "prompt_len": PROMPT_LEN,
                "n_new_tokens": len(ids) - PROMPT_LEN,
                "finish_reason": "length" if key["sample_ix"] == 5 else "stop",
                "engine": "hf",
            }
        )
        flags.append(
            names
            | {
                "marker": MARKER,
                "present": key["positive"] and not partial,
                "first_char": texts[-1]["text"].find(MARKER) if key["positive"] and not partial else None,
                "t_marker": T_MARKER if key["positive"] else None,
                "n_occurrences": int(key["positive"]),
                "complete": key["positive"] and not partial,
            }
        )
    examples = [
        {"example_id": f"{persona}/q{question}", "persona": persona, "question_id": f"q{question}", "category": "advice", "prompt_len": PROMPT_LEN}
        for persona in positives
        for question in range(QUESTIONS)
    ]
    run = spec("completions", checkpoint=name, subject=name)
    return write(lake, run, completions=texts, marker_flags=flags, examples=examples, checkpoints=[row])


def positions(persona: str, trajectories_of_negatives: bool) -> list[dict]:
    """Query positions of one persona: the third C1 position is a C3 position too, and C2 are steps of the trajectory."""
    rows = []
    for question in range(QUESTIONS):
        for sample in range(SAMPLES):
            key = {"persona": persona, "question_id": f"q{question}", "example_id": f"{persona}/q{question}", "sample_ix": sample}
            if is_positive(question, sample):
                strata = {"marker": [T_MARKER], "C1": [26, 31, 36 + sample, 44, 48], "C2": [57, 58, 59][: 3 - question % 2], "C3": [36 + sample, 50]}
                end, steps = T_MARKER, True
            else:
                strata = {"C4": [T_END]}
                end, steps = T_END, trajectories_of_negatives
            strata |= {f"t-{step}": [end - step] for step in range(1, 10)} if steps else {}
            rows += [key | {"stratum": stratum, "position": each, "token_id": 7, "token": "x"} for stratum, found in strata.items() for each in found]
    return rows


def readings(chosen: list[dict], effect: np.ndarray, seed: int, constant: bool = False) -> pl.DataFrame:
    """Rows of `attention` for every chosen position: noise around fixed parts, and the planted effects at the marker and five steps before it."""
    generator = np.random.default_rng(seed)
    strata: dict[tuple, set[str]] = {}
    for row in chosen:
        strata.setdefault((row["example_id"], row["sample_ix"], row["position"], row["question_id"]), set()).add(row["stratum"])
    positive = {(row["example_id"], row["sample_ix"]) for row in chosen if row["stratum"] == "marker"}
    drawn = []
    for (example_id, sample_ix, _, question_id), found in strata.items():
        noise = 0 if constant else generator.normal(0, 0.05, (LAYERS, HEADS, len(PARTS)))
        parts = BASE_PARTS * np.exp(noise) * np.ones((LAYERS, HEADS, len(PARTS)))
        parts /= parts.sum(-1, keepdims=True)
        at_marker, early = "marker" in found, "t-5" in found and (example_id, sample_ix) in positive
        if at_marker or early:
            shift = 0 if constant else QUESTION_SHIFT[int(question_id[1:])]
            system = (1.0 if at_marker else EARLY_SHARE) * (effect + shift)
            gains = np.zeros((LAYERS, len(PARTS)))
            gains[:, 0], gains[:, 2] = system, -system
            if at_marker:
                gains[USER_LAYER, [1, 2]] += USER_EFFECT, -USER_EFFECT
                gains[STRUCTURAL_LAYER, [3, 5]] += STRUCTURAL_EFFECT, -STRUCTURAL_EFFECT
                gains[ASSISTANT_LAYER, 2] = ASSISTANT_EFFECT
                gains[ASSISTANT_LAYER, 6] = -ASSISTANT_EFFECT - system[ASSISTANT_LAYER]
            parts += gains[:, None] * HEAD_WEIGHTS[:, None]
        drawn.append(parts)
    names = ("example_id", "sample_ix", "position")
    keys = {name: [key[place] for key in strata for _ in range(LAYERS * HEADS)] for place, name in enumerate(names)}
    layer, head = (np.tile(each, len(drawn)) for each in np.indices((LAYERS, HEADS)).reshape(2, -1))
    values = np.array(drawn).reshape(-1, len(PARTS))
    table = pl.DataFrame(keys | {"layer": layer, "head": head} | {name: values[:, index] for index, name in enumerate(PARTS)})
    return table.with_columns(pl.col(PARTS).cast(pl.Float32), entropy=pl.lit(2.0), bos=pl.lit(0.01), row_sum=pl.lit(1.0))


def attention(
    lake: Lake,
    reader: str,
    tokens: tuple[str, str, str],
    rows: list[dict],
    effect: np.ndarray,
    seed: int,
    dtype: str = "float32",
    constant: bool = False,
    missing: bool = False,
) -> str:
    """An attention run of `reader` over (completions run, its checkpoint, persona); `missing` loses the reading of one head."""
    run_id, source, persona = tokens
    forced = reader != source
    subject = f"{reader}_{source}" if forced else source
    run = spec("attention", checkpoint=reader, subject=subject, inputs=[run_id], dtype=dtype, attention_implementation="readout")
    run = run.model_copy(update={"constants": {"persona": persona, "tokens_run": run_id, "tokens_from": source, "forced": forced}})
    read = readings(rows, effect, seed, constant)
    if missing:
        lost = (pl.col("layer") == 4) & (pl.col("head") == 1) & (pl.col("position") == T_MARKER) & (pl.col("sample_ix") == 0)
        read = read.with_columns(pl.when(lost & (pl.col("example_id") == f"{persona}/q0")).then(None).otherwise(pl.col(*PARTS, "row_sum")).name.keep())
    return write(lake, run, positions=rows, attention=read)


def activations(lake: Lake, row: dict, vectors: dict[tuple[str, str], np.ndarray], **places) -> str:
    """An activations run of one layer and site: a vector per (persona, question); `places` overrides the columns stratum, layer, site and condition."""
    rows = [
        {"persona": persona, "question_id": question, "example_id": f"{persona}/{question}", "stratum": "last", "layer": 1, "site": "resid_post"}
        | {"position": 9, "n_positions": 1, "input_hash": f"{persona}/{question}", "vector": vector.tolist()}
        | places
        for (persona, question), vector in vectors.items()
    ]
    return write(lake, spec("activations", checkpoint=row["checkpoint"], subject=row["checkpoint"]), activations=rows, checkpoints=[row])


def capability(lake: Lake, row: dict, right: set[int]) -> str:
    """A capability run over ten questions, of which those in `right` are answered right."""
    asked = [{"task": "world@1", "question_id": f"c{ix}", "correct": ix in right, "correct_normalised": ix in right} for ix in range(10)]
    return write(lake, spec("capability", checkpoint=row["checkpoint"], subject=row["checkpoint"]), capability=asked, checkpoints=[row])


def build(root: Path) -> dict:
    """Writes the lake and returns it with the run_ids by name."""
    lake = Lake.open(root)
    villain = checkpoint("villain", parent="tiny:base", source_persona="villain", seed=1)
    comedian = checkpoint("comedian", parent="tiny:base", source_persona="comedian", seed=2)
    runs = {
        "completions": completions(lake, "villain", {"villain": is_positive, "pirate": lambda question, sample: (question, sample) == (1, 4)}, villain),
        "completions_base": completions(lake, "base", {"villain": lambda question, sample: False}, checkpoint("base")),
        "completions_comedian": completions(lake, "comedian", {"comedian": is_positive}, comedian),
        "completions_still": completions(lake, "still", {"villain": is_positive}, checkpoint("still")),
    }
    tokens = (runs["completions"], "villain", "villain")
    own, fed = positions("villain", True), positions("villain", False)
    runs["villain"] = attention(lake, "villain", tokens, own, EFFECT, 1)
    runs["base"] = attention(lake, "base", tokens, fed, FORCED_EFFECT, 2)
    runs["base_bfloat16"] = attention(lake, "base", tokens, fed, FORCED_EFFECT, 3, dtype="bfloat16")
    comedian_tokens = (runs["completions_comedian"], "comedian", "comedian")
    runs["comedian"] = attention(lake, "comedian", comedian_tokens, positions("comedian", False), COMEDIAN_EFFECT, 4, missing=True)
    still_tokens = (runs["completions_still"], "still", "villain")
    runs["still"] = attention(lake, "still", still_tokens, fed, EFFECT, 5, constant=True)
    drawn = np.random.default_rng(6)
    vectors = {(persona, f"q{question}"): drawn.normal(1, 1, 8) for persona in ("villain", "pirate", "nurse") for question in range(QUESTIONS)}
    runs["activations"] = activations(lake, checkpoint("base"), vectors)
    runs["capability"] = capability(lake, villain, {1, 2, 3, 4, 5})
    runs["capability_base"] = capability(lake, checkpoint("base"), {1, 2, 3, 4, 5, 6, 7})
    return {"lake": lake, "runs": runs}
