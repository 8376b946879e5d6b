"""Runs of `steering` with known effects, for the tests of its views and for the audit.

Not a test module: the tests load it with `runpy`, since test folders are no packages.
"""

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from personascope.warehouse.store.lake import Lake

base = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted.py"))))

QUESTIONS, SAMPLES, PERSONAS = 10, 2, ("villain", "baker")
TARGET = "villain-assistant"


def steer(
    lake: Lake,
    name: str,
    effect: float = 0.0,
    *,
    n_controls: int = 19,
    layers: tuple[int, ...] = (1, 2),
    only_layer: int | None = None,
    doses: tuple[float, ...] = (0.1, 0.2, 0.4),
    made_half: str | None = "a",
    used_half: str = "b",
    nll: float = 0.0,
    lost: int = 0,
    ceiling: float = np.inf,
    spread: float = 0.5,
    noise: float = 0.05,
    lean: bool = False,
    trained: bool = False,
    seed: int = 1,
    directions_run: str | None = None,
    subject: str | None = None,
    control_kind: str = "random",
    ragged: bool = False,
    of_controls: float = 0.0,
) -> str:
    """A run of checkpoint `name`: TARGET adds `effect` times the dose to the marker's log-probability, controls `of_controls` times it, up to `ceiling`.

    Every direction moves each outcome by its own chance too (`spread` per unit of dose). The largest dose adds `nll` to the perplexity and loses `lost` of
    10 task questions; effects lie at `only_layer` alone where it is given. A `lean` run has one persona, one repeat and no other outcome than this one.
    In a `ragged` run the second answers to the first four questions were cut (no t*), and the first question is moved by far more than the others.
    """
    generator = np.random.default_rng(seed)
    examples = [
        (persona, question, sample) for persona in PERSONAS[: 1 if lean else None] for question in range(QUESTIONS) for sample in range(1 if lean else SAMPLES)
    ]
    plain = {example: float(generator.normal(-8, 1)) for example in examples}
    made = directions_run or f"directions-{name}"
    of_run = {"directions_run": made, "used_half": used_half, "positions": "all", "forced": False, "finish_reason": "stop", "repetition": 0.0}

    def row(example: tuple[str, int, int], shift: float, more: float, **arm: Any) -> dict[str, Any]:
        persona, question, sample = example
        log_prob = plain[example] + shift + (2.0 * arm["dose"] if ragged and question == 0 else 0.0)
        about = {"persona": persona, "question_id": f"q{question}", "example_id": f"{persona}/q{question}", "sample_ix": sample}
        said = {"present": log_prob > -6, "complete": log_prob > -6, "n_new_tokens": 20, "text": "x", "token_ids": [1], "t_marker": 30}
        if lean:
            return of_run | about | {"repetition": None, "marker_log_prob": log_prob} | arm
        at = None if ragged and question < 4 and sample == 1 else log_prob
        return of_run | about | said | {"marker_log_prob": at, "answer_nll": 1.5 + 0.01 * sample + more} | arm

    nothing = {"direction": None, "layer": None, "mode": None, "dose": 0.0, "n_layers": 0}
    rows = [row(example, 0.0, 0.0, **nothing) for example in examples]
    bare = {name: nothing[name] for name in ("direction", "layer", "mode", "dose")}
    task = [{"task": "arc", "question_id": f"t{number}", "correct": number < 8, **bare} for number in range(10)]
    directions = [(TARGET, "persona_assistant", None), *((f"{control_kind}-{n:04d}", control_kind, TARGET) for n in range(n_controls))]
    for direction, kind, control_of in directions:
        for layer in layers:
            own = float(generator.normal(0, spread))
            for dose in doses:
                arm: dict[str, Any] = {
                    "direction": direction,
                    "kind": kind,
                    "control_of": control_of,
                    "made_half": made_half if kind != "random" else None,
                    "layer": layer,
                }
                arm |= {
                    "mode": "add",
                    "dose": dose,
                    "n_layers": 1,
                    "site": "resid_post",
                    "unit": "norm",
                    "alpha": 10 * dose,
                    "dose_norm": dose,
                    "dose_distance": dose / 2,
                }
                at = of_controls if direction != TARGET else effect if only_layer in (None, layer) else 0.0
                more = nll if dose == doses[-1] and direction == TARGET else 0.0
                for example in examples:
                    shift = min((own + at) * dose, ceiling) + float(generator.normal(0, noise))
                    rows.append(row(example, shift, more, **arm))
                if direction == TARGET:
                    right = 8 - (lost if dose == doses[-1] else 0)
                    key: dict[str, Any] = {"direction": direction, "layer": layer, "mode": "add", "dose": dose}
                    task += [{"task": "arc", "question_id": f"t{number}", "correct": number < right, **key} for number in range(10)]
    read = subject or name
    run = base.spec("steering", checkpoint=read, subject=read, tag=name)
    about = [base.checkpoint(read, source_persona="villain" if trained else None)]
    return base.write(lake, run, steering=rows, steering_capability=task, checkpoints=about)
