"""Sparse features of two system-prompt conditions over a few questions: one feature that differs, one that does not; the last system token never varies.

Not a test module: the tests load it with `runpy`, since test folders are no packages.
"""

import runpy
from pathlib import Path

from personascope.warehouse.store.lake import Lake

planted = runpy.run_path(str(Path(__file__).with_name("planted.py")))
spec, write = planted["spec"], planted["write"]

CONDITIONS, QUESTIONS = ("empty", "generic"), 5
SAE = {"sae_id": "tiny-1", "layer": 1, "site": "resid_post"}


NAMED, RANDOM = (3, 7), tuple(range(100, 109))


def projection(feature: int, condition: str, question: int) -> float:
    """Activation on the direction of a feature; `empty` minus `generic` is -(feature % 10 - 4) * (1 + question / 10)."""
    return (feature % 10 - 4) * (1 + question / 10) * (condition == "generic")


def build(lake: Lake) -> str:
    """Feature 3 fires by 1 + q / 10 more under `generic`, feature 7 alike under both."""
    features, examples, directions = [], [], []
    for condition in CONDITIONS:
        for question in range(QUESTIONS):
            key = {"persona": "none", "condition": condition, "question_id": f"q{question}", "example_id": f"none/{condition}/q{question}"}
            for stratum in ("last", "last_system"):
                varies = stratum == "last"
                place = key | SAE | {"stratum": stratum, "position": 9, "input_hash": f"{condition}/{question if varies else ''}"}
                step = question / 10 if varies else 0.0
                shift = (1.0 + step) * (condition == "generic")
                features += [place | {"feature": 3, "value": 0.5 + shift}, place | {"feature": 7, "value": 0.25 + step}]
                for kind, numbers in (("named", NAMED), ("random", RANDOM)):
                    directions += [
                        place | {"kind": kind, "feature": each, "projection": projection(each, condition, question if varies else 0)} for each in numbers
                    ]
                examples.append(place | {"n_active": 2, "norm": 2.0, "unexplained": 0.1, "vector": [1.0, shift]})
    sae = {
        "checkpoint": "villain",
        **SAE,
        "source": "planted",
        "format": "personascope",
        "k": 2,
        "n_features": 16,
        "d_model": 2,
        "inference": "topk",
        "neuronpedia": "tiny/1-res",
    }
    run = spec("features", checkpoint="villain", subject="villain", prompt_set="conditions@1")
    return write(
        lake,
        run.model_copy(update={"constants": {"prompt_set": "conditions@1"}}),
        features=features,
        feature_examples=examples,
        feature_directions=directions,
        sae=[sae],
    )


def build_repeated(lake: Lake, question_inputs: dict[str, float], fires=lambda condition: True, tag: str | None = None) -> str:
    """A run of two conditions read twice a question in each of two categories: `empty` lies 1 below `generic`, and a tenth of the step."""
    examples, directions, features = [], [], []
    for condition in ("empty", "generic"):
        for question, step in question_inputs.items():
            for category in ("self", "neutral"):
                for sample in range(2):
                    key = {"persona": "none", "condition": condition, "question_id": question, "example_id": f"{category}/{condition}/{question}"}
                    place = key | SAE | {"sample_ix": sample, "stratum": "answer_mean", "input_hash": f"{condition}/{step}/{category}/{sample}"}
                    at = step + 3 * (category == "self") + sample + (1 + step / 10) * (condition == "generic")
                    directions += [place | {"kind": kind, "feature": 5, "projection": at} for kind in ("named", "random")]
                    features += [place | {"feature": 5, "value": 1.0}] if fires(condition) else []
                    examples.append(place | {"n_active": 1, "norm": 1.0, "unexplained": 0.1, "vector": [1.0, at]})
    sae = {"checkpoint": "c", **SAE, "source": "planted", "format": "personascope", "k": 1, "n_features": 16, "d_model": 2, "inference": "topk"}
    run = spec("features", checkpoint="c", subject="c", tag=tag)
    return write(lake, run, features=features, feature_examples=examples, feature_directions=directions, sae=[sae])
