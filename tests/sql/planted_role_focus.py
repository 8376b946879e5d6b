"""Entropies of two families, base and instruct, that can be worked out by hand: heads have an offset, self-referent prompts a shift.

Not a test module: the tests load it with `runpy`, since test folders are no packages.
"""

import runpy
from pathlib import Path

import numpy as np

from personascope.warehouse.store.lake import Lake

planted = runpy.run_path(str(Path(__file__).with_name("planted.py")))
spec, write = planted["spec"], planted["write"]

FAMILIES, LAYERS, HEADS, PROMPTS = ("ash", "birch"), 3, 2, 6
CATEGORIES = ("confounder", "neutral", "self_referent", "third_person")
PROMPT_SET = "role@1"


def entropies(family: str, variant: str) -> dict[str, np.ndarray]:
    """Mean entropy [prompts, layers, heads] of every category, the same in every process."""
    draw = np.random.default_rng([FAMILIES.index(family), variant == "instruct"])
    shift = {"self_referent": -0.1, "confounder": 0.05}
    return {
        category: 1.0 + 0.2 * np.arange(LAYERS)[:, None] + 0.1 * np.arange(HEADS) + shift.get(category, 0.0) + draw.normal(0, 0.05, (PROMPTS, LAYERS, HEADS))
        for category in CATEGORIES
    }


def n_positions(category: str, prompt: int) -> int:
    return 5 + prompt + (category == "self_referent")


def entropy_run(lake: Lake, family: str, variant: str, shift: float = 0.0) -> str:
    """An entropy run of one variant; a second call with another `shift` of its self-referent prompts redoes the same run."""
    name = f"{family}-{variant}"
    rows, values = [], entropies(family, variant)
    for category in CATEGORIES:
        for prompt in range(PROMPTS):
            length = n_positions(category, prompt)
            key = {"category": category, "question_id": f"q{prompt}", "example_id": f"{category}/q{prompt}", "path": "direct", "n_positions": length}
            for layer in range(LAYERS):
                for head in range(HEADS):
                    mean = float(values[category][prompt, layer, head]) + shift * (category == "self_referent")
                    figures = {"mean": mean, "first_three": 0.4, "last_three": mean + 0.1 * prompt, "last_one": mean, "sink": 0.3, "mean_no_sink": mean / 2}
                    rows.append(key | {"layer": layer, "head": head} | figures)
    run = spec("entropy", checkpoint=name, subject=name, prompt_set=PROMPT_SET)
    row = {"checkpoint": name, "id": f"tiny:{name}", "family": family, "variant": variant, "n_layers": LAYERS, "n_heads": HEADS}
    return write(lake, run.model_copy(update={"constants": {"prompt_set": PROMPT_SET, "form": "raw"}}), entropy=rows, checkpoints=[row])


def ablation_run(lake: Lake) -> str:
    """Head 1 of layer 0 of ash-instruct set to zero: log-probability falls by 0.5 and 1.5 in turn, one continuation in two changes."""
    shared = {"layer": 0, "head": 1, "method": "scale", "scale": 0.0}
    nexts, said, read = [], [], []
    for prompt in range(PROMPTS):
        key = {"category": "neutral", "question_id": f"q{prompt}", "example_id": f"neutral/q{prompt}", "stratum": "last", "position": 4} | shared
        lost = 0.5 + prompt % 2
        tops = {"base_top1_id": 1, "base_top1": "a", "top1_id": 1 + prompt % 2, "top1": "ab"[prompt % 2], "target_id": 1}
        nexts.append(key | tops | {"base_logit": 2.0, "logit": 2.0 - lost, "base_prob": 0.5, "prob": 0.5 * float(np.exp(-lost)), "kl": lost})
        said.append(key | {"base_text": "x", "text": "x", "same": prompt % 2 == 0, "n_same": 4 - prompt % 2, "base_nll": 1.0, "nll": 1.0 + lost})
        read += [key | {"reader_layer": layer, "base_entropy": 1.0, "entropy": 1.0 + 0.1 * layer} for layer in range(LAYERS)]
    run = spec("ablations", checkpoint="ash-instruct", subject="ash-instruct", prompt_set=PROMPT_SET)
    return write(lake, run, ablations=nexts, ablation_generations=said, ablation_entropies=read)


def build(lake: Lake) -> dict[str, str]:
    """Run ids by checkpoint, and of the ablations."""
    runs = {f"{family}-{variant}": entropy_run(lake, family, variant) for family in FAMILIES for variant in ("base", "instruct")}
    return runs | {"ablations": ablation_run(lake)}
