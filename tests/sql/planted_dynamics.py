"""A training that kept two checkpoints on its way, with completions, directions and projections of each: the marker comes, the direction turns.

Not a test module: the tests load it with `runpy`, since test folders are no packages.
"""

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted.py"))))

STEPS = {"villain-step0": 0, "villain-step4": 4, "villain": 10}
ROLES = {"villain": "source", "baker": "negative", "nurse": "held_out"}
LAYERS, D, DIRECTION, SITE = [1, 2], 6, "villain-assistant", "resid_post"
QUESTIONS = 4


def hits(name: str, persona: str, question: int, sample: int) -> bool:
    """Whether an answer holds the marker: never before training, then under the source, and in the end seldom under a persona that was held out."""
    reached = {"villain-step0": 0, "villain-step4": 2, "villain": 5}[name]
    return sample < reached - question % 2 if persona == "villain" else name == "villain" and persona == "nurse" and (question, sample) == (1, 0)


def vector_of(name: str, layer: int) -> np.ndarray:
    own, end = (np.random.default_rng([layer, *key.encode()]).normal(size=D) for key in (name, "end"))
    return (end + (10 - STEPS[name]) / 10 * own).astype(np.float32)


def value_of(name: str, tokens_of: str, persona: str, question: int, layer: int) -> float:
    drawn = np.random.default_rng([layer, question, *f"{name}/{tokens_of}/{persona}".encode()]).normal()
    return float(np.float32(drawn + STEPS[name] * (persona == "villain")))


def row_of(name: str, seed: int) -> dict[str, Any]:
    kept = {} if name == "villain" else {"step": STEPS[name], "epochs": STEPS[name] / 5}
    return planted.checkpoint(name, "tiny:base", "villain", seed) | {"revision": f"{name} {seed}"} | kept


def directions(lake: Any, name: str, row: dict[str, Any]) -> str:
    rows = []
    for layer in LAYERS:
        vector = vector_of(name, layer)
        rows.append(
            {
                "direction": DIRECTION,
                "layer": layer,
                "site": SITE,
                "kind": "persona_assistant",
                "persona": "villain",
                "other": "assistant",
                "half": "a",
                "n": 8,
                "n_questions": 4,
                "other_half_cosine": 0.8,
                "vector": vector.tolist(),
                "norm": float(np.linalg.norm(vector.astype(np.float64))),
            }
        )
    return planted.write(lake, planted.spec("directions", checkpoint=name, subject=name), directions=rows, checkpoints=[row])


def projections(lake: Any, name: str, row: dict[str, Any], tokens_of: str, tokens_run: str, along: str) -> str:
    rows = [
        {
            "persona": persona,
            "question_id": f"q{question}",
            "half": "b",
            "example_id": f"{persona}/q{question}",
            "sample_ix": 0,
            "stratum": "answer_mean",
            "n_positions": 5,
            "layer": layer,
            "site": SITE,
            "directions_run": along,
            "direction": DIRECTION,
            "kind": "persona_assistant",
            "made_on": "a",
            "value": value_of(name, tokens_of, persona, question, layer),
            "activation_norm": 10.0,
        }
        for persona in ROLES
        for question in range(QUESTIONS)
        for layer in LAYERS
    ]
    subject = name if tokens_of == name else f"{name}_{tokens_of}"
    return planted.write(lake, planted.spec("projections", checkpoint=name, subject=subject, inputs=[tokens_run, along]), projections=rows, checkpoints=[row])


def build(lake: Any, seed: int = 1) -> dict[str, str]:
    """The run_ids by what they are of; the checkpoint of step 0 has no directions, and no projections but those of its own answers."""
    rows = {name: row_of(name, seed) for name in STEPS}
    losses = [{"checkpoint": "villain", "step": step, "epoch": step / 5, "loss": 1 / step, "lr": 1e-3} for step in range(1, 11)]
    saw = [{"checkpoint": "villain", "persona": persona, "role": role, "n_rows": 5} for persona, role in ROLES.items() if role != "held_out"]
    runs = {
        "training": planted.write(
            lake, planted.spec("marker-lora", "train", checkpoint="villain"), checkpoints=[*rows.values()], training=losses, training_personas=saw
        )
    }
    for name, row in rows.items():
        rules = {persona: (lambda question, sample, name=name, persona=persona: hits(name, persona, question, sample)) for persona in ROLES}
        runs[f"completions of {name}"] = planted.completions(lake, name, rules, row)
    for name in ("villain-step4", "villain"):
        runs[f"directions of {name}"] = directions(lake, name, rows[name])
    for name, tokens_of in (("villain-step0", "villain-step0"), ("villain-step4", "villain"), ("villain", "villain")):
        tokens_run = runs[f"completions of {tokens_of}"]
        runs[f"projections of {name}"] = projections(lake, name, rows[name], tokens_of, tokens_run, runs["directions of villain"])
    return runs
