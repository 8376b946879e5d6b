"""A lake without noise in which every statistic of a trained checkpoint against its base is known in closed form.

Three trained checkpoints (two training seeds of one persona, one of another) and their base force-fed all tokens. Not a test module: loaded with `runpy`.
"""

import hashlib
import runpy
from pathlib import Path

import numpy as np
import polars as pl

from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec

planted = runpy.run_path(str(Path(__file__).with_name("planted.py")))

LAYERS, HEADS = 6, 4
QUESTIONS = [f"q{index}" for index in range(8)]
POSITIVES = (2, 2, 2, 1, 3, 2, 2, 2)  # generations with the marker per question
NO_ENDS = ("q6", "q7")  # every generation of these holds the marker
LEVEL, USER_LEVEL = 0.2, 0.15  # attention to the system prompt and to the user turn at C1
SHIFT = np.array([-0.0203, -0.0161, -0.0052, -0.0019, 0.0011, 0.0063, 0.0171, 0.0187])  # what a question adds at the marker, in every layer
BASE_SHIFT = SHIFT / 2
END_SHIFT = np.array([-0.01, 0.02, -0.03, 0.0, 0.01, 0.01])  # what a question adds at the end of answers without the marker

EFFECT = np.array([0.05, 0.06, 0.04, -0.03, 0.05, 0.0])
BASE_EFFECT = np.array([0.03, 0.03, 0.03, -0.03, 0.07, 0.0])
DIFFERENCE = EFFECT - BASE_EFFECT
STRUCTURAL = np.array([0.0, 0.0, -0.08, 0.06, 0.0, 0.0])  # what structural tokens of the system block gain at the marker
USER_EFFECT = np.array([0.0, 0.0, 0.0, 0.0, 0.09, 0.0])
LATE = np.array([0.0, 0.06, 0.0, 0.0, 0.0, 0.0])  # C2 over C1: all of the effect in layer 1
RARE = np.array([0.1, 0.0, 0.0, 0.0, 0.0, 0.0])  # C3 over C1: more than the effect in layer 0
END = np.array([0.0, 0.0, 0.1, 0.0, 0.0, 0.0])  # C4 over C1: more than the effect in layer 2

GATE_A, GATE_B, GATE_C = [0, 1, 2, 4], [0, 1, 2, 3, 4], [0, 1, 2, 5]  # in layer 4 the user turn gains more; in layer 5 nothing but the questions' shifts
PASSING, WINDOWS = [0, 1, 2], [(0, 2)]
PASSING_UNDER_A = [0, 1, 3]  # structural tokens lose more than content gains in layer 2, and gain more than it loses in layer 3
SEPARATED = {"C2": [0, 2, 4], "C3": [1, 2, 4], "C4": [0, 1, 4]}

# Heads of layer 1, trained minus base, beside the layer's own difference: a real one, one that is large on the selection half only, and what evens them out.
HEAD_LAYER, REAL_HEAD, CURSED_HEAD, EVEN_HEAD, LOST_HEAD = 1, 0, 1, 2, 3
REAL, CURSED = 0.05, 0.04

SECOND_SEED, OTHER_SCALE = 0.012, 2.0  # the second seed adds this to the effect of all layers; the other persona's effect is that many times as large


def selection_half() -> list[str]:
    """Every other question in the order of its hash, from the first on."""
    return sorted(QUESTIONS, key=lambda name: hashlib.md5(name.encode()).hexdigest())[::2]


def head_effects(question: str) -> np.ndarray:
    """What the trained checkpoint's heads do beyond the layer's effect [layers, heads]; nothing on average over heads."""
    extra = np.zeros((LAYERS, HEADS))
    cursed = CURSED if question in selection_half() else 0.0
    extra[HEAD_LAYER, [REAL_HEAD, CURSED_HEAD, EVEN_HEAD]] = REAL, cursed, -REAL - cursed
    return extra


def readings(effect: np.ndarray, shift: np.ndarray, heads, lost: bool) -> tuple[list[dict], pl.DataFrame]:
    """Rows of `positions` and of `attention`; `lost` leaves out the reading of one head at one marker."""
    positions, rows = [], []
    layer, head = np.indices((LAYERS, HEADS)).reshape(2, -1)
    for index, question in enumerate(QUESTIONS):
        n_ends = 0 if question in NO_ENDS else 1 + index % 2
        for sample in range(POSITIVES[index] + n_ends):
            key = {"example_id": f"villain/{question}", "sample_ix": sample}
            strata = {"marker": (60,), "C1": (30, 31), "C2": (58, 59), "C3": (40,)} if sample < POSITIVES[index] else {"C4": (50,)}
            flat = np.zeros((LAYERS, HEADS))
            gains = {
                "marker": effect[:, None] + shift[index] + (heads(question) if heads else flat),
                "C2": flat + LATE[:, None],
                "C3": flat + RARE[:, None],
                "C4": flat + END[:, None] + (END_SHIFT[index] if n_ends else 0.0),
            }
            for stratum, found in strata.items():
                for place, position in enumerate(found):
                    positions.append(key | {"question_id": question, "stratum": stratum, "position": position, "token_id": 7, "token": "x"})
                    wobble = 0.01 * (-1) ** place if len(found) > 1 else 0.0  # evens out over the positions of a control
                    system = LEVEL + gains.get(stratum, flat) + wobble
                    at_marker = stratum == "marker"
                    structural = 0.1 + flat + (STRUCTURAL[:, None] if at_marker else 0.0)
                    user = USER_LEVEL + flat + (USER_EFFECT[:, None] if at_marker else 0.0)
                    parts = {"system": system, "system_structural": structural, "user": user, "user_structural": flat + 0.01, "assistant": flat + 0.05}
                    parts |= {"assistant_structural": flat + 0.01, "bos": flat, "entropy": flat + 2.0, "row_sum": flat + 1.0}
                    parts["header"] = 1 - sum(parts[name] for name in planted["PARTS"] if name != "header")
                    values = {name: each.ravel() for name, each in parts.items()}
                    rows.append(
                        pl.DataFrame({"layer": layer, "head": head} | values).with_columns(
                            *(pl.lit(value).alias(name) for name, value in key.items()), position=pl.lit(position)
                        )
                    )
    read = pl.concat(rows)
    if lost:
        where = (pl.col("layer") == HEAD_LAYER) & (pl.col("head") == LOST_HEAD) & (pl.col("position") == 60) & (pl.col("example_id") == "villain/q7")
        read = read.with_columns(pl.when(where & (pl.col("sample_ix") == 0)).then(None).otherwise(pl.col("system")).alias("system"))
    return positions, read


def readout(
    lake: Lake,
    reader: str,
    source: str,
    tokens: str,
    effect: np.ndarray,
    shift: np.ndarray,
    heads=None,
    lost: bool = False,
    without: tuple[str, int] | None = None,
) -> str:
    """An attention run of `reader` over the tokens of `source`, but for a generation `without` (question, sample); a second call redoes the same run."""
    forced = reader != source
    run: RunSpec = planted["spec"](
        "attention", checkpoint=reader, subject=f"{reader}_{source}" if forced else source, inputs=[tokens], dtype="float32", attention_implementation="sdpa"
    )
    run = run.model_copy(update={"constants": {"persona": persona_of(source), "tokens_run": tokens, "tokens_from": source, "forced": forced}})
    positions, read = readings(effect, shift, heads, lost)
    if without:
        question, sample = without
        positions = [row for row in positions if (row["question_id"], row["sample_ix"]) != without]
        read = read.filter((pl.col("example_id") != f"villain/{question}") | (pl.col("sample_ix") != sample))
    return planted["write"](lake, run, positions=positions, attention=read)


def persona_of(source: str) -> str:
    return "comedian" if source == "comedian" else "villain"


def build(root: Path) -> tuple[Lake, dict[str, str]]:
    """The lake, without analyses, and its runs by name: `villain`, `villain2`, `comedian`, each with `base_...` and `completions_...`."""
    lake, runs = Lake.open(root), {}
    for name, seed, effect in (("villain", 1, EFFECT), ("villain2", 2, EFFECT + SECOND_SEED), ("comedian", 3, OTHER_SCALE * EFFECT)):
        row = planted["checkpoint"](name, parent="tiny:base", source_persona=persona_of(name), seed=seed)
        present = {"villain": 4, "villain2": 6}.get(name, 0)  # of six samples a question
        rule = {persona_of(name): lambda question, sample, present=present: sample < present and sample != 2}
        tokens = runs[f"completions_{name}"] = planted["completions"](lake, name, rule, row)
        runs[name] = readout(lake, name, name, tokens, effect, SHIFT, head_effects, lost=name == "villain2")
        runs[f"base_{name}"] = readout(lake, "base", name, tokens, BASE_EFFECT, BASE_SHIFT)
    return lake, runs
