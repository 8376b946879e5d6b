"""Directions of two checkpoints with shuffled and random controls, and projections of two personas along them: answers that drift by known amounts."""

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted.py"))))

D, LAYER, SHUFFLED, RANDOM = 8, 1, 9, 5
DIRECTIONS = ["villain-assistant", "poet-assistant"]
CHECKPOINTS = ["base", "villain"]
PERSONAS = ["villain", "assistant"]
QUESTIONS = ["q00", "q01", "q02", "q03", "q04"]
LENGTHS = [12, 20, 16, 9, 20]  # of the answers to each question
AGREEMENTS = [0.9, -0.2]
SHUFFLED_AGREEMENTS = np.linspace(-0.4, 0.4, SHUFFLED)


def vector_of(checkpoint: str, name: str) -> np.ndarray:
    drawn = np.random.default_rng([CHECKPOINTS.index(checkpoint), *name.encode()])
    own = np.random.default_rng([*name.encode()]).normal(size=D)
    return (own + 0.3 * drawn.normal(size=D)).astype(np.float32)


def values_of(persona: str, question: str, direction: str, sample: int) -> np.ndarray:
    """Projection of every token of an answer; the villain's answers rise along its own direction."""
    drawn = np.random.default_rng([*f"{persona}/{question}/{direction}/{sample}".encode()])
    steps = np.arange(LENGTHS[QUESTIONS.index(question)])
    rise = 0.5 if (persona, direction) == ("villain", "villain-assistant") else 0.0
    return (drawn.normal() + rise * steps + 0.1 * drawn.normal(size=len(steps))).astype(np.float32)


def write_directions(lake: Any, checkpoint: str, made_from: str = "activations-x") -> str:
    shared: dict[str, Any] = {
        "checkpoint": checkpoint,
        "layer": LAYER,
        "site": "resid_post",
        "made_from": made_from,
        "stratum": "answer_mean",
        "n": 20,
        "n_questions": 5,
    }
    rows: list[dict[str, Any]] = [
        {"direction": name, "kind": "persona_assistant", "persona": name.split("-")[0], "other": "assistant", "half": "a", "other_half_cosine": agreement}
        for name, agreement in zip(DIRECTIONS, AGREEMENTS, strict=True)
    ]
    control: dict[str, Any] = {"control_of": DIRECTIONS[0]}
    rows += [
        control | {"direction": f"shuffled-{number:04d}", "kind": "shuffled", "half": "a", "other_half_cosine": float(value)}
        for number, value in enumerate(SHUFFLED_AGREEMENTS)
    ]
    rows += [control | {"direction": f"random-{number:04d}", "kind": "random"} for number in range(RANDOM)]
    for row in rows:
        vector = vector_of(checkpoint, row["direction"])
        row |= shared | {"vector": vector.tolist(), "norm": float(np.linalg.norm(vector.astype(np.float64)))}
    return planted.write(lake, planted.spec("directions", checkpoint=checkpoint, subject=checkpoint), directions=rows)


def write_projections(
    lake: Any, directions: str, checkpoint: str = "base", halves: tuple[str, ...] = ("b",), tag: str | None = None, inputs: tuple[str, ...] = ()
) -> str:
    """Answers of two personas along two directions token by token, their means, and the means along random controls."""
    rows: list[dict[str, Any]] = []
    controls = [f"random-{number:04d}" for number in range(RANDOM)]
    for persona in PERSONAS:
        for number, question in enumerate(QUESTIONS):
            for sample in range(2):
                key = {
                    "persona": persona,
                    "question_id": question,
                    "half": halves[number % len(halves)],
                    "example_id": f"{persona}/{question}",
                    "sample_ix": sample,
                }
                key |= {"layer": LAYER, "site": "resid_post", "directions_run": directions, "activation_norm": 10.0}
                for name in DIRECTIONS + controls:
                    values = values_of(persona, question, name, sample)
                    kind = {"kind": "random", "made_on": None} if name in controls else {"kind": "persona_assistant", "made_on": "a"}
                    row = key | kind | {"direction": name}
                    rows.append(row | {"stratum": "answer_mean", "n_positions": len(values), "value": float(values.mean())})
                    if name not in controls:
                        rows += [
                            row | {"stratum": "answer", "position": 30 + step, "step": step, "token": f" w{step}", "n_positions": 1, "value": float(value)}
                            for step, value in enumerate(values)
                        ]
    return planted.write(lake, planted.spec("projections", checkpoint=checkpoint, subject=checkpoint, tag=tag, inputs=[directions, *inputs]), projections=rows)


def turns_of(persona: str, question: str, direction: str, sample: int) -> np.ndarray:
    """Mean projection of every answer of a conversation; later questions have fewer turns."""
    drawn = np.random.default_rng([*f"talk/{persona}/{question}/{direction}/{sample}".encode()])
    turns = np.arange(5 - QUESTIONS.index(question) // 2)
    return (drawn.normal() + 2.0 * turns * (persona == "villain") + 0.1 * drawn.normal(size=len(turns))).astype(np.float32)


def write_conversations(lake: Any, directions: str) -> str:
    """Conversations of two personas, two repeats of each, along two directions and the random controls."""
    rows: list[dict[str, Any]] = []
    for persona in PERSONAS:
        for question in QUESTIONS:
            for sample in range(2):
                key = {"persona": persona, "question_id": question, "half": "b", "example_id": f"{persona}/{question}#{sample}", "sample_ix": sample}
                key |= {"layer": LAYER, "site": "resid_post", "directions_run": directions, "activation_norm": 10.0, "stratum": "turn_mean", "n_positions": 4}
                for name in DIRECTIONS + [f"random-{number:04d}" for number in range(RANDOM)]:
                    kind = {"kind": "random", "made_on": None} if name.startswith("random") else {"kind": "persona_assistant", "made_on": "a"}
                    values = turns_of(persona, question, name, sample)
                    rows += [key | kind | {"direction": name, "turn": turn, "value": float(value)} for turn, value in enumerate(values)]
    return planted.write(lake, planted.spec("projections", checkpoint="base", subject="base", tag="talk", inputs=[directions]), projections=rows)


def build(lake: Any) -> dict[str, str]:
    """The run_ids by name."""
    runs = {f"directions of {name}": write_directions(lake, name) for name in CHECKPOINTS}
    runs["projections"] = write_projections(lake, runs["directions of base"])
    runs["conversations"] = write_conversations(lake, runs["directions of base"])
    return runs
