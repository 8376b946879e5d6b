"""A lake of circuits whose figures can be worked out by hand: a copy task in two phrasings with ties and detours, heads of known worth, patches, and a marker.

Not a test module: the tests load it with `runpy`, since test folders are no packages.
"""

import runpy
from pathlib import Path

import numpy as np

from personascope.warehouse.store.lake import Lake

planted = runpy.run_path(str(Path(__file__).with_name("planted.py")))
spec, write = planted["spec"], planted["write"]

PROMPT_SET, FORMS, WORDS = "echo@1", ("echo", "repeat"), ("cat", "dog", "sun")
IDS = {"x": 0, "cat": 1, " cat": 2, "dog": 3, "Dog": 4, "sun": 5, "moon": 6, "请": 7}
SCRIPTS = {"请": "Han"}
TIE = "="  # behind a token: the second token has the same logit
# Top-1 token at the embeddings and at layers 0, 1 and 2.
PATHS = {
    ("echo", "cat"): ("x", "请", "cat", "cat"),
    ("repeat", "cat"): ("x", "cat", " cat", "cat"),
    ("echo", "dog"): ("x", "dog", "dog", "dog"),
    ("repeat", "dog"): ("x", "x", "x", "Dog"),
    ("echo", "sun"): ("x", "sun", "sun", "sun="),
    ("repeat", "sun"): ("x", "sun", "sun=", "sun"),
}
FREE = ("x", "x", "moon", "moon")  # a prompt that names no target: the model's own choice is read
LAYERS, HEADS = 2, 4
BASE_PROB = 0.3
DIRECT = np.array([[0.4, 0.3, 0.2, 0.1], [0.15, 0.5, -0.2, 0.0]])
LOSS = {  # of the target's log-probability, nats
    "zero": np.array([[4.0, 3.0, 2.0, 1.0], [5.0, -1.0, 2.5, 0.0]]),
    "mean": np.array([[1.0, 2.0, 3.0, 4.0], [0.5, 0.1, 0.2, 0.3]]),
}
SHIFT = np.array([[0.0, 6.0, -1.0, 2.5], [-4.0, 5.0, 0.5, -2.0]])  # by which an ablation lowers all logits alike: nothing that the model says changes
OUTDONE = np.array([[0.5, 1.5, -0.5, 3.0], [0.0, 2.0, -1.0, 0.25]])  # by how much more than log-probability the lead over the runner-up falls
WOBBLE = {"cat": 0.02, "dog": -0.03, "sun": 0.01}  # times the number of the head: what a word adds to each head's worth
VECTORS = {("echo", "cat"): (1.0, 0.0), ("repeat", "cat"): (2.0, 0.0), ("echo", "dog"): (1.0, 0.0), ("repeat", "dog"): (0.0, 1.0)}
# Logits of the target at two places of three questions: (base, donor, patched), the last without any distance.
PATCHED = {
    "resid_post": {"q0": (0.0, 4.0, 4.0), "q1": (1.0, 3.0, 2.0), "q2": (2.0, 2.0, 2.5)},
    "mlp_out": {"q0": (0.0, 4.0, 1.0), "q1": (1.0, 3.0, 1.0), "q2": (2.0, 2.0, 2.0)},
}
PATCHED_PROB = {"q0": 0.9, "q1": 0.4, "q2": 0.2}
MARKER_LOGITS = {"villain": (0.0, 1.0, 5.0), "base": (0.0, 1.0, 2.0)}  # by layer from the embeddings on; a question adds its number times 0.1 to the trained
QUESTIONS = ("q0", "q1", "q2")


def word_key(form: str, word: str) -> dict:
    return {"question_id": word, "example_id": f"{form}/{word}", "prompt_form": form, "target": word, "stratum": "last", "position": 9}


def lens_rows(key: dict, path: tuple[str, ...], target: str) -> list[dict]:
    """Both ranks of every layer; the target's rank, probability and logit stand on rank 1."""
    rows = []
    for layer, top in enumerate(path, -1):
        token, tied = top.removesuffix(TIE), top.endswith(TIE)
        second = "moon" if token != "moon" else "x"
        rank = 1 if token == target else 2
        about = {"target_id": IDS[target], "target_rank": rank, "target_prob": 0.5 / rank, "target_logit": 3.0 if rank == 1 else 1.0}
        rows.append(
            key | {"layer": layer, "rank": 1, "token_id": IDS[token], "token": token, "script": SCRIPTS.get(token, "Latin"), "logit": 3.0, "prob": 0.5} | about
        )
        rows.append(key | {"layer": layer, "rank": 2, "token_id": IDS[second], "token": second, "script": "Latin", "logit": 3.0 if tied else 1.0, "prob": 0.25})
    return rows


def lens(lake: Lake) -> str:
    rows, predictions = [], []
    for (form, word), path in PATHS.items():
        rows += lens_rows(word_key(form, word), path, word)
        final = path[-1].removesuffix(TIE)
        predictions.append(word_key(form, word) | {"target_id": IDS[word], "target_token": word, "n_target_tokens": 2 if word == "sun" else 1})
        predictions[-1] |= {"top1_id": IDS[final], "top1_token": final, "target_prob": 0.5, "target_rank": 1, "correct": final == word, "logit_error": 1e-5}
    rows += lens_rows({"question_id": "free", "example_id": "free", "stratum": "last", "position": 9}, FREE, "moon")
    run = spec("logit_lens", checkpoint="copier", subject="copier", prompt_set=PROMPT_SET, dtype="float32", study="echo")
    return write(lake, run.model_copy(update={"constants": {"prompt_set": PROMPT_SET}}), logit_lens=rows, predictions=predictions)


def activations(lake: Lake) -> str:
    """The residual stream of cat and dog in both phrasings; the layer before them reads the same tokens in both."""
    rows, examples = [], []
    for (form, word), vector in VECTORS.items():
        key = {"example_id": f"{form}/{word}", "question_id": word}
        examples.append(key | {"prompt_set": PROMPT_SET, "prompt_form": form, "target": word})
        place = {"stratum": "last", "position": 9, "n_positions": 1, "layer": 0}
        rows.append(key | place | {"site": "resid_post", "input_hash": f"{form}/{word}", "vector": list(vector)})
        rows.append(key | place | {"site": "resid_pre", "input_hash": "same", "vector": [3.0, 4.0]})
    run = spec("activations", checkpoint="copier", subject="copier", prompt_set=PROMPT_SET, study="echo")
    return write(lake, run, activations=rows, examples=examples)


def heads(lake: Lake) -> tuple[str, str]:
    """Attributions and ablations of every head; head 3 of layer 1 looks at the first token, zero ablation of head 0 of layer 1 changes the answer."""
    direct, ablations = [], []
    for form in FORMS:
        for word in WORDS:
            key = word_key(form, word)
            direct.append(key | {"layer": 0, "component": "mlp", "direct": 9.0, "direct_margin": 9.0})
            for layer in range(LAYERS):
                for head in range(HEADS):
                    wobble = WOBBLE[word] * head
                    place = key | {"layer": layer, "head": head}
                    value = float(DIRECT[layer, head]) + wobble
                    sink = 0.9 if (layer, head) == (1, 3) else 0.1
                    direct.append(place | {"component": "head", "direct": value, "direct_margin": -value, "bos": sink, "entropy": 1.5})
                    for method, loss in LOSS.items():
                        lost = float(loss[layer, head]) + wobble
                        flips = method == "zero" and (layer, head) == (1, 0)
                        raw, lead = lost + float(SHIFT[layer, head]), lost + float(OUTDONE[layer, head])
                        result = {"target_id": IDS[word], "base_logit": 10.0, "logit": 10.0 - raw, "base_margin": 2.0, "margin": 2.0 - lead}
                        result |= {"base_prob": BASE_PROB, "prob": BASE_PROB * float(np.exp(-lost)), "kl": abs(lost) / 10}
                        tops = {"base_top1_id": IDS[word], "base_top1": word, "top1_id": 0 if flips else IDS[word], "top1": "x" if flips else word}
                        sieve = {"sieve": -raw * (2 if layer else 1)} if method == "zero" else {}
                        ablations.append(place | {"method": method} | result | tops | sieve)
    constants = {"constants": {"prompt_set": PROMPT_SET}}
    shared = {"checkpoint": "copier", "subject": "copier", "prompt_set": PROMPT_SET, "dtype": "float32", "study": "echo"}
    return (
        write(lake, spec("attributions", **shared).model_copy(update=constants), attributions=direct),
        write(lake, spec("ablations", **shared).model_copy(update=constants), ablations=ablations),
    )


def patches(lake: Lake, tokens_run: str) -> str:
    rows = []
    for site, of_site in PATCHED.items():
        for question, (base, donor, patched) in of_site.items():
            key = {"question_id": question, "example_id": f"villain/{question}", "sample_ix": 0, "stratum": "marker", "position": 60, "persona": "villain"}
            restored = None if base == donor else (patched - base) / (donor - base)
            logits = {"base_logit": base, "donor_logit": donor, "logit": patched, "base_prob": 0.1, "donor_prob": 0.9, "prob": PATCHED_PROB[question]}
            rows.append(key | {"layer": 1, "site": site, "donor": "villain", "direction": "base", "restored": restored, "kl": 0.5, "base_kl": 2.0} | logits)
    run = spec("patches", checkpoint="base", subject="base_villain", inputs=[tokens_run], dtype="float32", study="marker-circuits")
    return write(lake, run, patches=rows)


def marker_lens(lake: Lake, reader: str, tokens_run: str) -> str:
    rows = []
    for number, question in enumerate(QUESTIONS):
        for layer, logit in enumerate(MARKER_LOGITS[reader], -1):
            key = {"question_id": question, "example_id": f"villain/{question}", "sample_ix": 0, "stratum": "marker", "position": 59, "persona": "villain"}
            logit += 0.1 * number if reader == "villain" else 0.0
            top = logit > 4
            about = {"target_id": 5, "target_rank": 1 if top else 3, "target_prob": logit / 10, "target_logit": logit}
            rows.append(
                key
                | {"layer": layer, "rank": 1, "token_id": 5 if top else 0, "token": "[Z" if top else "x", "script": "Latin", "logit": 4.0, "prob": 0.5}
                | about
            )
    subject = "villain" if reader == "villain" else f"{reader}_villain"
    run = spec("logit_lens", checkpoint=reader, subject=subject, inputs=[tokens_run], dtype="float32", study="marker-circuits")
    return write(lake, run, logit_lens=rows)


def build(lake: Lake) -> dict[str, str]:
    """Writes everything into the lake; run_ids by name."""
    row = {"example_id": "villain/q0", "sample_ix": 0, "persona": "villain", "question_id": "q0", "row_ix": 0, "text": "a", "engine": "hf"}
    tokens_run = write(lake, spec("completions", checkpoint="villain", subject="villain", tag="circuits"), completions=[row])
    attribution_run, ablation_run = heads(lake)
    return {
        "tokens": tokens_run,
        "lens": lens(lake),
        "activations": activations(lake),
        "attributions": attribution_run,
        "ablations": ablation_run,
        "patches": patches(lake, tokens_run),
        "trained_lens": marker_lens(lake, "villain", tokens_run),
        "base_lens": marker_lens(lake, "base", tokens_run),
    }
