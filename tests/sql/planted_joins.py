"""A lake in which a wrong join shows: autoencoders of two widths at two layers and sites and two of one place, strata, forms, donors and readings side by side.

Every number is drawn by chance, so that no two rows are alike. Not a test module: the tests load it with `runpy`, since test folders are no packages.
"""

import runpy
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from personascope.warehouse.analyses import analyses
from personascope.warehouse.analyses.base import Asking, refresh_one
from personascope.warehouse.settings import Parameter
from personascope.warehouse.store.lake import Lake

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted.py"))))

CONDITIONS, QUESTIONS = ("calm", "angry", "terse", "warm"), ("q0", "q1", "q2", "q3", "q4")
SAES: dict[str, dict[str, Any]] = {  # where each reads, and its width
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
            kept: dict[tuple, Any] = {}

            def moved(connection: Any, *runs: Any, rows: Any = made.rows, kept: dict = kept) -> Rows:
                computed = kept[runs_of(runs)] = rows(connection, *runs)
                as_rows = computed if isinstance(computed, list) else computed.to_dicts()
                return [{key: value + 10 if isinstance(value, float) else value for key, value in row.items()} | {"seed": 7} for row in as_rows]

            refresh_one(asking, replace(made, settings={**made.settings, "seed": 7}, seed=7, rows=moved))
            refresh_one(asking, replace(made, rows=lambda connection, *runs, kept=kept: kept[runs_of(runs)]))


def runs_of(runs: tuple) -> tuple:
    """What runs are known by."""
    return tuple(run.run_id for run in runs)


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


FORMS, LAYERS, HEADS = ("echo", "repeat", "say"), 2, 3
WORDS = {"q0": "cat", "q1": "dog", "q2": "sun", "q3": "sun", "q4": "ice", "q5": "dog", "q6": "cat"}  # two questions have one answer
TOKENS = ("cat", " Cat", "dog", "Dog", "sun", "ice", "\u8bf7", "!")
SCRIPTS = {"\u8bf7": "Han", "!": None}
PROMPT_SET = "words@1"


def task_places() -> Rows:
    """Prompts of three phrasings in two categories, which number their questions alike; the third phrasing lacks questions and the second category a form."""
    found: Rows = []
    for category in ("plain", "polite"):
        for form in FORMS[: None if category == "plain" else 2]:
            for question, word in list(WORDS.items())[: None if form != "say" else 3]:
                key = {"persona": "none", "category": category, "question_id": question, "example_id": f"{category}/{form}/{question}"}
                found.append(key | {"prompt_form": form, "target": word, "stratum": "last", "position": 9})
    return found


def marker_places() -> Rows:
    """Steps of answers that write the marker: one to three repeats a question."""
    places = [(question, sample) for number, question in enumerate(QUESTIONS) for sample in range(1 + number % 3)]
    shared = {"persona": "villain", "target": "[ZLT]", "stratum": "marker"}
    return [shared | {"question_id": question, "example_id": f"villain/{question}", "sample_ix": n, "position": 50} for question, n in places]


def circuit_run(lake: Lake, extractor: str, reader: str, rows: dict[str, Rows], seed: int, tokens: str | None = None, **about: Any) -> str:
    """Writes rows as a run of prompts in one form, or of the tokens of a run."""
    form = about.pop("form", "raw")
    subject = reader if tokens is None or reader == "villain" else f"{reader}_villain"
    shared = {"dtype": "float32"} | about | ({"inputs": [tokens]} if tokens else {"prompt_set": PROMPT_SET})
    parameters = [] if tokens else [Parameter(name="form", value=form, origin="study file")]
    run = planted.spec(extractor, checkpoint=reader, subject=subject, tag=[seed, form], parameters=parameters, **shared)
    constants = {} if tokens else {"prompt_set": PROMPT_SET}
    return planted.write(lake, run.model_copy(update={"constants": constants}), **rows)


def lens(lake: Lake, reader: str, places: Rows, seed: int, tokens: str | None = None, **about: Any) -> str:
    """The two first tokens at four layers; the target is often the first, and shares its logit now and then. Other positions are read besides."""
    drawn = np.random.default_rng(seed)
    rows: Rows = []
    said: Rows = []
    for place in places:
        target = TOKENS.index(place["target"]) if place["target"] in TOKENS else 5
        for stratum in (place["stratum"], "every"):
            for layer in range(-1, 3):
                first, second = drawn.choice(len(TOKENS), 2, replace=False).tolist()
                if drawn.random() < 0.2 + 0.2 * (layer + 1) and first != target:
                    first, second = target, first
                logits = np.sort(drawn.normal(4, 1, 2).astype(np.float32))[::-1].tolist()
                if drawn.random() < 0.15:
                    logits[1] = logits[0]
                probs = np.sort(drawn.random(3).astype(np.float32) / 3)[::-1].tolist()
                at = [n for n, token in enumerate((first, second)) if token == target]
                own = {"target_logit": logits[at[0]], "target_prob": probs[at[0]]} if at else {"target_logit": logits[1] - 1, "target_prob": probs[2]}
                own |= {"target_rank": at[0] + 1 if at else int(drawn.integers(3, 9)), "target_id": target}
                where = place | {"stratum": stratum, "layer": layer, "position": place["position"] - (stratum == "every")}
                for rank, token in enumerate((first, second), 1):
                    named = {"token_id": token, "token": TOKENS[token], "script": SCRIPTS.get(TOKENS[token], "Latin"), "rank": rank}
                    rows.append(where | named | {"logit": logits[rank - 1], "prob": probs[rank - 1]} | (own if rank == 1 else {}))
            if stratum != "every":
                told = {"target_id": target, "target_token": TOKENS[target], "n_target_tokens": 1 + target % 2, "top1_id": first, "top1_token": TOKENS[first]}
                said.append(place | told | {"target_prob": own["target_prob"], "correct": first == target, "logit_error": float(drawn.random())})
    return circuit_run(lake, "logit_lens", reader, {"logit_lens": rows, "predictions": said}, seed, tokens, **about)


METHODS = (("zero", None), ("resample", None))


def heads(lake: Lake, reader: str, places: Rows, seed: int, tokens: str | None = None, methods: tuple = METHODS, only: str | None = None, **about: Any) -> None:
    """A run of attributions and one of ablations, or one of both; a head has a worth of its own, which places and questions vary."""
    drawn = np.random.default_rng(seed)
    own, of_question = drawn.normal(0, 1, (LAYERS, HEADS)), {question: drawn.normal(0, 0.5, (LAYERS, HEADS)) for question in WORDS}
    direct: Rows = []
    removed: Rows = []
    for place in places:
        direct.append(place | {"layer": 0, "component": "mlp", "direct": 99.0, "direct_margin": 99.0})
        for layer, head in np.ndindex(LAYERS, HEADS):
            at = place | {"layer": layer, "head": head}

            def worth(layer: int = layer, head: int = head, place: dict = place) -> float:
                return float(own[layer, head] + of_question[place["question_id"]][layer, head] + drawn.normal(0, 0.3))

            shares = {"bos": float(drawn.random()), "entropy": float(drawn.random())}
            direct.append(at | {"component": "head", "direct": worth(), "direct_margin": -worth()} | shares)
            for method, scale in methods:
                told: dict[str, Any] = {
                    "base_logit": 5.0,
                    "logit": 5.0 - worth(),
                    "base_prob": 0.3,
                    "prob": 0.3 * float(np.exp(-abs(worth()))),
                    "base_top1_id": 1,
                }
                told |= {"base_margin": 2.0, "margin": 2.0 - worth()} if seed == 41 else {}
                told |= {"kl": float(drawn.random()), "top1_id": int(drawn.random() < 0.6), "sieve": worth() if method == "zero" else None}
                removed.append(at | {"method": method, "scale": scale, "target_id": 1} | told)
    for name, rows in (("attributions", direct), ("ablations", removed)):
        if only in (None, name):
            circuit_run(lake, name, reader, {name: rows}, seed, tokens, **about)


def patches(lake: Lake, reader: str, given: list[tuple[dict, str]], direction: str, seed: int, tokens: str | None = None) -> str:
    """A run of patches: each place with its donor, at two layers and four sites, of heads each head."""
    drawn = np.random.default_rng(seed)
    rows: Rows = []
    for number, (place, donor) in enumerate(given):
        for layer in range(LAYERS):
            for site, head in [("resid_post", None), ("mlp_out", None), *(("head", head) for head in range(HEADS))]:
                base, target, logit = drawn.normal((1, 3, 2), 1).astype(np.float32).tolist()
                if number == 0:
                    target = base
                told = {"base_logit": base, "donor_logit": target, "logit": logit, "restored": None if target == base else (logit - base) / (target - base)}
                told |= dict(zip(("base_prob", "donor_prob", "prob", "kl", "base_kl"), drawn.uniform(0.05, 0.9, 5).tolist(), strict=True))
                rows.append(place | {"layer": layer, "site": site, "head": head, "donor": donor, "direction": direction} | told)
    return circuit_run(lake, "patches", reader, {"patches": rows}, seed, tokens)


def forms(lake: Lake, reader: str, seed: int) -> str:
    """Activations of the prompts of the task at two tokens, layers and sites; a question of two phrasings reads one input."""
    drawn = np.random.default_rng(seed)
    rows: Rows = []
    asked: Rows = []
    asked_of = [("none", None), ("pirate", "calm"), ("pirate", "warm"), ("nurse", "calm")]
    for place in [
        each | {"persona": who, "condition": how, "example_id": f"{who}/{how}/{each['example_id']}"} for each in task_places() for who, how in asked_of
    ]:
        asked.append(
            {name: place[name] for name in ("persona", "condition", "category", "question_id", "example_id", "prompt_form", "target")}
            | {"prompt_set": PROMPT_SET}
        )
        key = {name: place[name] for name in ("persona", "condition", "question_id", "example_id")}
        alone = f"{place['category']}/{'' if place['question_id'] == 'q0' else place['prompt_form']}/{place['question_id']}"
        for layer, (stratum, site) in [(layer, each) for layer in range(LAYERS) for each in product(("last", "last_system"), ("resid_post", "mlp_out"))]:
            vector = drawn.normal(0.5, 1, D).astype(np.float32).tolist()
            read = {"stratum": stratum, "position": 9 if stratum == "last" else 4, "n_positions": 1, "layer": layer, "site": site}
            rows.append(key | read | {"input_hash": f"{stratum}/{alone}", "vector": vector})
    return circuit_run(lake, "activations", reader, {"activations": rows, "examples": asked}, seed)


def sampled(lake: Lake, seed: int) -> str:
    row = {"example_id": "villain/q0", "sample_ix": 0, "persona": "villain", "question_id": "q0", "row_ix": 0, "text": "a", "engine": "hf"}
    return planted.write(lake, planted.spec("completions", checkpoint="villain", subject="villain", tag=seed), completions=[row])


def build_circuits(lake: Lake) -> None:
    """Two readers of a task and of the marker, each read twice, in two forms and two precisions; two runs of tokens; donors of two kinds, both ways."""
    task, marker = task_places(), marker_places()
    first, second = sampled(lake, 10), sampled(lake, 11)
    for seed, reader, about in (
        (20, "villain", {}),
        (21, "villain", {}),
        (22, "villain", {"form": "chat"}),
        (23, "base", {}),
        (24, "base", {"dtype": "bfloat16"}),
    ):
        lens(lake, reader, task, seed, study=f"study-{seed}", **about)
    lens(lake, "villain", task[:3], 25)  # the newest run of this reader has no study
    for seed, reader, tokens, about in (
        (30, "villain", first, {}),
        (31, "villain", first, {}),
        (32, "base", first, {}),
        (33, "base", first, {}),
        (34, "base", first, {"dtype": "bfloat16"}),
        (35, "villain", second, {}),
        (36, "base", second, {}),
        (37, "base", first, {}),
    ):
        lens(lake, reader, marker[: None if seed != 33 else -1], seed, tokens, **about)
    every = (("zero", None), ("mean", None), ("resample", None), ("scale", 0.5), ("scale", 2.0))
    for seed, dtype, only in ((46, "bfloat16", "ablations"), (47, "float16", "ablations"), (48, "float64", "attributions")):
        heads(lake, "villain", task[:3], seed, dtype=dtype, only=only)
    heads(lake, "villain", task, 40)
    heads(lake, "villain", task, 41, methods=every)
    heads(lake, "villain", task[:6], 42, form="chat")
    heads(lake, "base", task, 43)
    heads(lake, "villain", marker, 44, first)
    heads(lake, "base", marker, 45, first)
    patches(lake, "base", [(each, "villain") for each in marker], "base", 50, first)
    patches(lake, "base", [(each, "villain") for each in marker], "base", 51, first)
    patches(lake, "villain", [(each, "base") for each in marker], "villain", 52, first)
    asked = [each for each in task if each["prompt_form"] == "repeat"]
    patches(lake, "villain", [(each, "echo" if each["category"] == "plain" else "say") for each in asked], "villain", 53)
    forms(lake, "villain", 60)
    forms(lake, "base", 61)


STEERED = ("villain-assistant", "poet-assistant")


def directions(lake: Lake, checkpoint: str, seed: int) -> str:
    """Two directions at two layers and three sites, the last of which is wider, each with shuffled controls of its own, and random ones without halves."""
    drawn = np.random.default_rng(seed)
    rows: Rows = []
    for layer, (site, width) in [(layer, each) for layer in (1, 2) for each in (("resid_post", D), ("attn_out", D), ("mlp_out", D + 2))]:
        made: list[tuple[str, str | None, str]] = [*((name, None, "persona_assistant") for name in STEERED), ("axis-1", None, "axis")]
        made += [(f"shuffled-{name[0]}{number}", name, "shuffled") for name in STEERED for number in range(4)]
        made += [(f"random-{number}", STEERED[0], "random") for number in range(2)]
        for name, control_of, kind in made:
            vector = drawn.normal(size=width).astype(np.float32)
            row = {"direction": name, "control_of": control_of, "kind": kind, "layer": layer, "site": site, "checkpoint": checkpoint, "vector": vector.tolist()}
            row |= {"half": ("a", "b", "all")[(seed + layer) % 3], "n": int(drawn.integers(9, 30)), "n_questions": 7, "stratum": "answer_mean", "persona": name}
            agreed = None if kind == "random" or (kind == "axis" and layer == 2) else float(drawn.uniform(-0.3, 0.9))
            rows.append(row | {"other_half_cosine": agreed, "norm": float(np.linalg.norm(vector.astype(float))), "made_from": f"activations-{seed}"})
    return planted.write(lake, planted.spec("directions", checkpoint=checkpoint, subject=checkpoint, tag=seed), directions=rows)


def steering(lake: Lake, checkpoint: str, seed: int, made: str) -> str:
    """Answers of two personas under two directions and a control at single layers and at several, by two modes, doses on both sides of 0, and a task."""
    drawn = np.random.default_rng(seed)
    arms = [(name, layer, "add", dose) for name in (*STEERED, "random-0") for layer in (1, 2, None) for dose in (-1.0, -0.5, 0.25, 0.5, 1.0)]
    arms += [(name, 1, "project_out", 1.0) for name in STEERED]
    rows: Rows = []
    along: Rows = []
    task: Rows = []
    for direction, layer, mode, dose in [(None, None, None, 0.0), *arms]:
        arm = {"direction": direction, "layer": layer, "mode": mode, "dose": dose}
        about: dict[str, Any] = {"kind": None} if direction is None else {"kind": "random" if direction[0] == "r" else "persona_assistant"}
        about |= {"control_of": STEERED[0] if direction == "random-0" else None, "directions_run": made, "used_half": "b", "forced": False}
        about |= {"unit": "norm" if mode != "project_out" else "share", "n_layers": 0 if direction is None else 1 if layer else 3, "positions": "all"}
        slope = float(drawn.normal())
        for persona in ("villain", "poet"):
            for number in range(4):
                for sample in range(1 + number % 2):
                    key = {"persona": persona, "question_id": f"q{number}", "example_id": f"{persona}/q{number}", "sample_ix": sample}
                    told: dict[str, Any] = {
                        "present": bool(drawn.random() < 0.5),
                        "n_new_tokens": int(drawn.integers(5, 40)),
                        "answer_nll": float(drawn.normal(2, 0.3)),
                    }
                    told |= {"marker_log_prob": None if drawn.random() < 0.1 else -8 + slope * dose + float(drawn.normal(0, 0.2))}
                    told |= {"repetition": None if sample else float(drawn.random()), "complete": False, "finish_reason": "stop"}
                    rows.append(key | arm | about | told)
                    along += [key | arm | {"read_direction": name, "value": float(drawn.normal(1 + dose, 1))} for name in STEERED]
        if about["control_of"] is None:
            task += [{"task": "arc", "question_id": f"q{number}", "correct": bool(drawn.random() < 0.6)} | arm for number in range(6)]
    run = planted.spec("steering", checkpoint=checkpoint, subject=checkpoint, tag=seed, inputs=[made])
    cards = [planted.checkpoint(checkpoint, source_persona="villain")]
    return planted.write(lake, run, steering=rows, steering_projections=along, steering_capability=task, checkpoints=cards)


def projections(lake: Lake, checkpoint: str, seed: int, made: list[str]) -> str:
    """Answers, ends of prompts and talks of two personas along directions of two runs, at two layers and two sites; answers outlast their beginning."""
    drawn = np.random.default_rng(seed)
    directed: list[tuple[str, str, str | None]] = [
        ("villain-assistant", "persona_assistant", "a"),
        ("poet-assistant", "persona_assistant", "b"),
        ("axis-1", "axis", "all"),
    ]
    directed += [(f"random-{number}", "random", None) for number in range(3)] + [(f"shuffled-v{number}", "shuffled", "a") for number in range(2)]
    places: Rows = []
    for persona in ("villain", "poet"):
        for number, half in enumerate("aabb"):
            key = {"persona": persona, "question_id": f"q{number}", "example_id": f"{persona}/q{number}", "half": half}
            places.append(key | {"stratum": "last", "position": 9, "n_positions": 1})
            places += [key | {"stratum": "turn_mean", "turn": turn, "sample_ix": 0, "n_positions": 6} for turn in range(1 + number % 3)]
            for sample in range(1 + number % 2):
                places += [
                    key | {"stratum": "answer", "step": step, "position": 10 + step, "sample_ix": sample, "n_positions": 1} for step in (*range(8 + number),)
                ]
    rows: Rows = []
    for place in places:
        for layer, site in ((1, "resid_post"), (1, "mlp_out"), (2, "resid_post")):
            for run in made[: None if layer == 2 else 1]:
                for direction, kind, made_on in directed:
                    named = {"layer": layer, "site": site, "directions_run": run, "direction": direction, "kind": kind, "made_on": made_on}
                    rows.append(place | named | {"value": float(drawn.normal()), "activation_norm": float(drawn.uniform(3, 9))})
    return planted.write(lake, planted.spec("projections", checkpoint=checkpoint, subject=checkpoint, tag=seed), projections=rows)


def build_directions(lake: Lake) -> None:
    """Directions of two checkpoints, of one of them made twice, two runs of steering by them and one of projections for each checkpoint."""
    made = [directions(lake, checkpoint, seed) for seed, checkpoint in ((70, "villain"), (71, "villain"), (72, "base"))]
    for seed, number in ((80, 0), (81, 1)):
        steering(lake, "villain", seed, made[number])
    for seed, checkpoint in ((90, "villain"), (91, "base")):
        projections(lake, checkpoint, seed, made[:2])
