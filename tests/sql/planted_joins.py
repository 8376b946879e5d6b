"""A lake in which a wrong join shows: autoencoders of two widths at two layers and sites and two of one place, checkpoints, strata, forms and donors side by side.

Every number is drawn by chance, so that no two rows are alike. Not a test module: the tests load it with `runpy`, since test folders are no packages.
"""

import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from personascope.warehouse.analyses import analyses, refresh
from personascope.warehouse.analyses.base import Asking, refresh_one
from personascope.warehouse.store.lake import Lake

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted.py"))))

CONDITIONS, QUESTIONS = ("calm", "angry", "terse", "warm"), ("q0", "q1", "q2", "q3", "q4")
SAES = {  # where each reads, and its width
    "wide-1": {"layer": 1, "site": "resid_post", "n_features": 40},
    "narrow-2": {"layer": 2, "site": "mlp_out", "n_features": 12},
    "other-1": {"layer": 1, "site": "resid_post", "n_features": 20},
}
D = 5
Rows = list[dict[str, Any]]


def analyse_twice(lake: Lake, names: list[str]) -> None:
    """Computes analyses under another seed first, every number of them off by 10, and then as they are: what was superseded shows wherever it is read."""
    with Asking(lake) as asking:
        for name in names:
            made = analyses()[name]

            def moved(*found: Any, rows: Any = made.rows) -> Rows:
                computed = rows(*found)
                as_rows = computed if isinstance(computed, list) else computed.to_dicts()
                return [{key: value + 10 if isinstance(value, float) else value for key, value in row.items()} | {"seed": 7} for row in as_rows]

            refresh_one(asking, replace(made, settings={**made.settings, "seed": 7}, seed=7, rows=moved))
    refresh(lake, names)


def read_places(conditions: tuple[str | None, ...]) -> Rows:
    """Places of prompts and of answers; answers have one to three repeats a question, and none to q4 under the last condition."""
    found: Rows = []
    for number, condition in enumerate(conditions):
        for asked, question in enumerate(QUESTIONS):
            key = {"persona": "none", "condition": condition, "question_id": question, "example_id": f"none/{condition}/{question}"}
            same = f"{condition}/{'q0' if question == 'q1' else question}"  # q1 reads the tokens of q0
            found.append(key | {"stratum": "last", "position": 9 + asked, "input_hash": same})
            found.append(key | {"stratum": "last_system", "position": 4, "input_hash": str(condition)})
            unasked = condition == CONDITIONS[-1] and question == QUESTIONS[-1]
            for sample in range(0 if unasked else 1 + (asked + number) % 3):
                found.append(key | {"stratum": "answer_mean", "sample_ix": sample, "input_hash": f"{condition}/{question}/{sample}"})
    return found


def features(lake: Lake, checkpoint: str, names: tuple[str, ...], seed: int, conditions: tuple[str | None, ...] = CONDITIONS, **about: Any) -> str:
    """A run of features; activations of equal input are equal, and the last condition of the narrow autoencoder is silent at the last token."""
    drawn = np.random.default_rng(seed)
    firing: Rows = []
    examples: Rows = []
    directions: Rows = []
    for name in names:
        where = {"sae_id": name, "layer": SAES[name]["layer"], "site": SAES[name]["site"]}
        width = SAES[name]["n_features"]
        numbers = drawn.permutation(width)
        listed = {"named": np.sort(numbers[:3]), "random": np.sort(numbers[3:11])}
        known: dict[tuple[str, str], tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        for each in read_places(conditions):
            key = (each["stratum"], each["input_hash"])
            if key not in known:
                values = np.where(drawn.random(width) < 0.4, drawn.gamma(2, 1, width), 0).astype(np.float32)
                known[key] = values, drawn.normal(1, 1, D).astype(np.float32), drawn.normal(0.3, 1, width).astype(np.float32)
            values, vector, along = known[key]
            place = each | where
            silent = name == "narrow-2" and each["stratum"] == "last" and each["condition"] == CONDITIONS[-1]
            active = [] if silent else np.flatnonzero(values).tolist()
            firing += [place | {"feature": feature, "value": float(values[feature])} for feature in active]
            examples.append(place | {"n_active": len(active), "norm": float(np.linalg.norm(vector)), "unexplained": 0.1, "vector": vector.tolist()})
            for kind, those in listed.items():
                said = {"description": f"about {name}"} if kind == "named" else {}
                directions += [place | said | {"kind": kind, "feature": int(feature), "projection": float(along[feature])} for feature in those]
    of_files = {"checkpoint": checkpoint, "source": "planted", "format": "personascope", "k": 2, "d_model": D, "inference": "topk"}
    saes = [of_files | {"sae_id": name, "neuronpedia": f"{checkpoint}/{name}"} | SAES[name] for name in names]
    run = planted.spec("features", checkpoint=checkpoint, subject=checkpoint, prompt_set="conditions@1", tag=[seed, *names], **about)
    run = run.model_copy(update={"constants": {"prompt_set": "conditions@1"}})
    asked = [{"example_id": name, "question": f"Asked by {seed} as {name}?"} for name in sorted({row["example_id"] for row in examples})]
    return planted.write(lake, run, features=firing, feature_examples=examples, feature_directions=directions, sae=saes, examples=asked)


def activations(lake: Lake, checkpoint: str, seed: int) -> str:
    """Activations of the same places at two layers and two sites."""
    drawn = np.random.default_rng(seed)
    rows = [
        each | {"layer": layer, "site": site, "n_positions": 1, "vector": drawn.normal(1, 1, D).astype(np.float32).tolist()}
        for each in read_places(CONDITIONS)
        for layer in (1, 2)
        for site in ("resid_post", "mlp_out")
    ]
    return planted.write(lake, planted.spec("activations", checkpoint=checkpoint, subject=checkpoint, tag=seed), activations=rows)


def build_features(lake: Lake) -> None:
    """Two readings of `villain`, one of `base`, one of another autoencoder at the same place, one without conditions, and activations of both checkpoints."""
    features(lake, "villain", ("wide-1", "narrow-2"), 1)
    features(lake, "villain", ("wide-1", "narrow-2"), 2, dtype="bfloat16")
    features(lake, "base", ("wide-1", "narrow-2"), 3)
    features(lake, "villain", ("other-1",), 4)
    features(lake, "villain", ("wide-1",), 5, conditions=(None,))
    activations(lake, "villain", 6)
    activations(lake, "base", 7)
