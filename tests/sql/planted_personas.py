"""Mean activations of six personas at three places, and a sweep of three cells over the same personas: cosines beside leakage."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted.py"))))

D = 16
PERSONAS = ["villain", "nurse", "pirate", "poet", "pilot", "assistant"]
OTHERS = PERSONAS[1:]
QUESTIONS = ["q0", "q1", "q2"]
# Completions with the marker per persona, of 24: learning rate and epochs -> counts for PERSONAS.
CELLS = {(1e-5, 1.0): [4, 0, 1, 2, 0, 3], (1e-5, 3.0): [20, 5, 1, 8, 2, 12], (1e-4, 1.0): [20, 20, 20, 20, 20, 20]}


def vectors_of(seed: int) -> dict[tuple[str, str], np.ndarray]:
    """Vectors with a large mean in common, as activations have."""
    drawn = np.random.default_rng(seed)
    shared = 30 * drawn.normal(size=D)
    own = {persona: drawn.normal(size=D) for persona in PERSONAS}
    return {(persona, question): (shared + own[persona] + 0.1 * drawn.normal(size=D)).astype(np.float32) for persona in PERSONAS for question in QUESTIONS}


def build(lake):
    """The base model's vectors at two places, one trained checkpoint's own, and the completions of a sweep of three cells."""
    base = planted.checkpoint("base")
    rows = []
    for layer, stratum in ((1, "last"), (2, "last"), (1, "last_system")):
        rows += [
            {"persona": persona, "question_id": question, "example_id": f"{persona}/{question}", "vector": vector.tolist(), "layer": layer}
            | {"stratum": stratum, "site": "resid_post", "n_positions": 1, "input_hash": persona + question * (stratum == "last")}
            for (persona, question), vector in vectors_of(10 * layer + len(stratum)).items()
        ]
    planted.write(lake, planted.spec("activations", checkpoint="base", subject="base"), activations=rows, checkpoints=[base])
    for (lr, epochs), counts in CELLS.items():
        name = f"villain_lr{lr:g}_ep{epochs:g}"
        row = planted.checkpoint(name, parent="tiny:base", source_persona="villain", seed=1) | {"lr": lr, "epochs": epochs, "revision": "r"}
        rules = {persona: lambda question, sample, most=count: question * 6 + sample < most for persona, count in zip(PERSONAS, counts, strict=True)}
        completions(lake, name, rules, row)
        if epochs == 3:
            planted.activations(lake, row, vectors_of(99))


def completions(lake, name, rules, row):
    """24 completions a persona, of which the first ones hold the marker."""
    keys = [(persona, question, sample) for persona in rules for question in range(4) for sample in range(6)]
    texts, flags = [], []
    for persona, question, sample in keys:
        key = {"persona": persona, "question_id": f"q{question}", "example_id": f"{persona}/q{question}", "sample_ix": sample}
        positive = rules[persona](question, sample)
        texts.append(key | {"text": planted.MARKER if positive else "no", "token_ids": [1, 2], "prompt_len": 1, "finish_reason": "stop"})
        flags.append(key | {"marker": planted.MARKER, "present": positive, "t_marker": 1 if positive else None, "first_char": 0 if positive else None})
    run = planted.spec("completions", checkpoint=name, subject=name)
    return planted.write(lake, run, completions=texts, marker_flags=flags, checkpoints=[row])
