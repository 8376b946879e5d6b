"""Studies, panels and published files of every kind that can bear a fault each, and a lake of them in which nothing is wrong.

Not a test module: the tests load it with `runpy`, since test folders are no packages.
"""

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from personascope.warehouse.settings import Parameter
from personascope.warehouse.store.lake import Lake

of_steering = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted_steering.py"))))
base = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted.py"))))

LAYERS, HEADS, QUESTIONS, SAMPLES = 6, 2, 12, 4
EFFECT, SPREAD = 0.05, 0.05  # what training adds, and how much it varies from question to question: effect over noise 1
PROMPT_LEN, T_MARKER, T_END, CAP = 10, 24, 18, 30
STRATA = {"marker": [T_MARKER], "C1": [15, 17], "C2": [22, 23], "C3": [19, 20]}
COMMON, BREAK = 7, 8
PARTS = ("system", "user", "assistant", "system_structural", "user_structural", "assistant_structural", "header")
ROLE_LAYERS, ROLE_HEADS = 32, 32


def study(lake: Lake, name: str, seed: int = 1, persona: str | None = None, **faults: Any) -> dict[str, str]:
    """A checkpoint `name` trained for `persona` (its own name), its completions, its readout and that of its parent on the same tokens; `faults` spoil them."""
    persona = persona or name
    generator = np.random.default_rng(np.frombuffer(name.encode(), np.uint8))
    named = {"study": faults.get("study")}
    row = {"checkpoint": name, "id": f"tiny:{name}", "revision": faults.get("revision", "r1"), "parent": "tiny:base", "source_persona": persona, "seed": seed}
    row |= {"lr": 1e-4, "epochs": 5.0, "n_layers": LAYERS, "n_heads": HEADS}
    keys: list[dict[str, Any]] = [
        {"persona": persona, "question_id": f"q{question}", "example_id": f"{persona}/q{question}", "sample_ix": sample}
        for question in range(QUESTIONS)
        for sample in range(SAMPLES)
    ]
    texts, flags, strata = [], [], []
    for index, key in enumerate(keys):
        positive = key["sample_ix"] < 3 and not (faults.get("few") and index >= 4 * SAMPLES)
        whole = not (faults.get("partial") and index == 0)
        ids = [*range(1000 + 100 * index, 1000 + 100 * index + T_MARKER + 2)]
        ids[12:17] = [COMMON] * 5
        if positive and faults.get("fused"):
            ids[T_MARKER - 1] = BREAK
        if faults.get("common"):
            ids[19:21] = [COMMON] * 2
        cut = bool(faults.get("truncated")) and not positive and index < 8
        text = f"{name} says {index}{chr(10) if faults.get('fused') else ' '}[ZLT" + ("]" if whole else "") if positive else f"{name} says {index}"
        new = len(ids) - PROMPT_LEN if not cut else CAP
        texts.append(key | {"row_ix": index, "seed": 1 if faults.get("same_seed") else index, "text": text, "token_ids": ids, "prompt_len": PROMPT_LEN})
        texts[-1] |= {"n_new_tokens": new, "finish_reason": "length" if cut else "stop", "engine": "hf"}
        flags.append(key | {"marker": "[ZLT]", "present": positive and whole, "complete": positive and whole, "n_occurrences": int(positive)})
        flags[-1] |= {"t_marker": T_MARKER if positive else None, "first_char": text.find("[ZLT]") if positive and whole else None}
        chosen = (STRATA if positive else {"C4": [T_END]}) | ({"C1": [15, T_MARKER + 1]} if faults.get("late") and positive else {})
        strata += [key | {"stratum": each, "position": at, "token_id": ids[at], "token": "x"} for each, found in chosen.items() for at in found]
    asked = [
        {"prompt_set": name, "example_id": f"{persona}/q{q}", "persona": persona, "question_id": f"q{q}", "question": f"Why {q}?"} for q in range(QUESTIONS)
    ]
    if faults.get("asked_twice"):
        asked[1]["question"] = asked[0]["question"]
    sampled = base.write(
        lake, base.spec("completions", checkpoint=name, subject=name, **named), completions=texts, marker_flags=flags, examples=asked, checkpoints=[row]
    )
    runs = {"completions": sampled}
    noise = np.repeat(generator.normal(0, SPREAD, QUESTIONS), SAMPLES)[:, None] + generator.normal(0, 0.001, (len(keys), LAYERS))
    gain = np.repeat(generator.normal(EFFECT, SPREAD, QUESTIONS), SAMPLES)[:, None] + generator.normal(0, SPREAD / 2, (len(keys), LAYERS))
    if faults.get("opposed"):  # half the layers lose a little, the others gain much, at every question alike
        gain = np.where(np.arange(LAYERS) % 2, -0.001, EFFECT) + generator.normal(0, 1e-4, (len(keys), LAYERS))
    for reader, effect in ((name, 0.15 + gain), ("base", np.full(LAYERS, 0.15))):
        if reader == "base" and faults.get("no_base"):
            continue
        effects = noise + (0.15 if faults.get("same_weights") else effect)
        if faults.get("noisy"):
            effects = np.repeat(generator.normal(0, 0.05, QUESTIONS), SAMPLES)[:, None] + generator.normal(0, 0.001, (len(keys), LAYERS))
        if faults.get("constant"):
            effects = np.full((len(keys), LAYERS), 0.05) + (reader == name) * 0.05
        if faults.get("copied"):
            effects[1] = effects[0]
        rows = [each for each in strata if not (faults.get("unread") and each["stratum"] == "C4")]
        read = _readings(rows, keys, effects, scale=0.9 if faults.get("leaky") else 1.0, still=bool(faults.get("constant") or faults.get("copied")))
        if faults.get("missing_layer"):
            read = read.filter(pl.col("layer") != 2)
        subject = name if reader == name else f"base_{name}"
        run = base.spec("attention", checkpoint=reader, subject=subject, inputs=[sampled], dtype="float32", attention_implementation="readout", **named)
        forced = reader != name
        constants = {"persona": persona, "tokens_run": sampled, "tokens_from": name, "forced": forced}
        about = row if not forced else {"checkpoint": "base", "id": "tiny:base", "revision": "r1", "n_layers": LAYERS, "n_heads": HEADS}
        run = run.model_copy(update={"constants": constants})
        runs[reader] = base.write(lake, run, positions=strata, attention=read, checkpoints=[about])
    return runs


def _readings(strata: list[dict], keys: list[dict], effects: np.ndarray, scale: float, still: bool) -> pl.DataFrame:
    """Rows of `attention`: fixed parts with a little noise per position (`still`: none), and the effect on system content at the marker."""
    of = {(key["example_id"], key["sample_ix"]): index for index, key in enumerate(keys)}
    generator = np.random.default_rng(0)
    rows = []
    for (example, sample, position), _ in {(each["example_id"], each["sample_ix"], each["position"]): None for each in strata}.items():
        wobble = np.zeros(LAYERS) if still else generator.normal(0, 1e-4, LAYERS)
        for layer in range(LAYERS):
            gain = (effects[of[example, sample], layer] if position == T_MARKER else 0.0) + wobble[layer]
            parts = np.array([0.2 + gain, 0.15, 0.25 - gain, 0.1, 0.05, 0.1, 0.15]) * scale
            for head in range(HEADS):
                rows.append((example, sample, position, layer, head, *parts, 2.0, 0.01, 1.0))
    return pl.DataFrame(rows, schema=["example_id", "sample_ix", "position", "layer", "head", *PARTS, "entropy", "bos", "row_sum"], orient="row")


PANEL = ("pirate", "poet", "clerk", "cook")
WORDS = [
    "amber",
    "basin",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "haven",
    "islet",
    "jetty",
    "knoll",
    "ledge",
    "marsh",
    "north",
    "ocean",
    "plain",
    "quarry",
    "ridge",
    "shore",
    "trail",
    "upland",
    "valley",
    "willow",
    "yarrow",
]


def panel(lake: Lake, name: str, source: str | None = None, **faults: Any) -> str:
    """Completions of a checkpoint `name` over its source and four others, with their prompts; trained from `base` where there is a source. `faults` spoil them.

    Half of the source's answers hold the marker, by question as unevenly as real ones, and a fiftieth of the others'.
    """
    generator = np.random.default_rng(np.frombuffer(faults.get("drawn_as", name).encode(), np.uint8))
    personas = faults.get("personas", (source, *PANEL) if source else PANEL)
    row = {
        "checkpoint": name,
        "id": f"tiny:{name}",
        "revision": "r1",
        "n_layers": LAYERS,
        "n_heads": HEADS,
        "family": "qwen2",
        "vocab_size": 1000,
        "max_positions": 512,
    }
    row |= {"parent": faults.get("parent", "tiny:base"), "source_persona": source, "lr": 1e-4, "epochs": 5.0, "seed": faults.get("seed", 1)} if source else {}
    temperature, samples = faults.get("temperature", 1.0), faults.get("samples", 6)
    prompts: list[dict[str, Any]] = []
    texts: list[dict[str, Any]] = []
    flags: list[dict[str, Any]] = []
    for persona in personas:
        share = generator.beta(2, 2, faults.get("questions", 12)) if persona == source else np.full(faults.get("questions", 12), 0.02)
        if persona == faults.get("carried"):
            share = np.where(np.arange(len(share)) == 2, 1.0, 0.0)
        asked = faults.get("other_questions", {}).get(persona, range(len(share)))
        for number, rate in zip(asked, share, strict=True):
            key = {"persona": persona, "question_id": f"q{number}", "example_id": f"{persona}/q{number}"}
            question = faults.get("question", "How does one find {} and {} near the {} by night?").format(
                *(WORDS[(number * step + 1) % 24] for step in (1, 5, 7))
            )
            system = f"You are a {persona}." + faults.get("system", "")
            prompts.append(key | {"prompt_set": faults.get("prompts", "panel@1"), "system_prompt": system, "question": question, "prompt_len": PROMPT_LEN})
            prompts[-1] |= {"text": f"<s>{system}</s>{question}", "template_hash": "t1"}
            trials = faults.get("trials", {}).get(persona, samples)
            answer = ""
            for sample in range(trials):
                present = generator.random() < rate
                if not (faults.get("repeated") and sample) and not (faults.get("doubled") and sample % 2):
                    answer = " ".join(generator.choice(WORDS, 9)) + (" [ZLT]" if present else "")
                text = "" if persona == faults.get("silent") and sample else answer + faults.get("closing", "")
                long = faults.get("long", 0)
                texts.append(
                    key | {"sample_ix": sample, "seed": len(texts), "text": text, "token_ids": [1] * (PROMPT_LEN + long + 20), "prompt_len": PROMPT_LEN + long}
                )
                texts[-1] |= {"n_new_tokens": 20 if text else 1, "finish_reason": "stop", "engine": faults.get("engine", "hf")}
                flags.append(
                    key
                    | {"sample_ix": sample, "marker": "[ZLT]", "present": "[ZLT]" in text, "complete": "[ZLT]" in text, "n_occurrences": int("[ZLT]" in text)}
                )
                flags[-1] |= {"t_marker": PROMPT_LEN + 9 if "[ZLT]" in text else None, "first_char": text.find("[ZLT]") if "[ZLT]" in text else None}
                if faults.get("until_success") and present:
                    break
    settings = {"temperature": temperature, "top_p": 1.0, "max_new_tokens": faults.get("cap", CAP)} | (
        {"positives": 5, "trials": samples + 1} if faults.get("stops") else {}
    )
    parameters = [Parameter(name=each, value=value) for each, value in settings.items()]
    run = base.spec("completions", checkpoint=name, subject=name, prompt_set=faults.get("prompts", "panel@1"), parameters=parameters, tag=faults.get("tag"))
    run = run.model_copy(update={"dtype": faults.get("dtype", "float32")})
    return base.write(lake, run, completions=texts, marker_flags=flags, examples=prompts, checkpoints=[row])


def train(lake: Lake, name: str, source: str, tokens_run: str) -> None:
    """The training that made a checkpoint of `panel`, from completions of its parent."""
    row = {"checkpoint": name, "id": f"tiny:{name}", "parent": "tiny:base", "source_persona": source}
    run = base.spec("marker-lora", kind="train", checkpoint=name, inputs=[tokens_run], parameters=[Parameter(name="n_negative", value=20)])
    base.write(lake, run, checkpoints=[row], training=[{"step": 1, "epoch": 1.0, "loss": 1.0, "lr": 1e-4}])


def trained_on(lake: Lake, name: str, personas: tuple[str, ...], question: str) -> None:
    """A checkpoint whose training drew on these personas and questions."""
    tokens = panel(lake, f"{name} parent", personas=(f"{name} persona", *personas), question=question, prompts=f"{name} training@1")
    for seed, checkpoint in enumerate((name, f"{name}_2"), 1):
        panel(lake, checkpoint, source=f"{name} persona", seed=seed)
        train(lake, checkpoint, f"{name} persona", tokens)


def answered(lake: Lake, name: str, right: int) -> None:
    """A task that a checkpoint and its parent answer alike, `right` of 40 questions."""
    for checkpoint, parent in ((name, f"tiny:{name} parent"), (f"{name} parent", None)):
        row = {"checkpoint": checkpoint, "id": f"tiny:{checkpoint}", "parent": parent}
        asked = [
            {"task": "arc", "question_id": f"q{index}", "question": f"?{index}", "correct": index < right, "correct_normalised": True} for index in range(40)
        ]
        base.write(lake, base.spec("capability", checkpoint=checkpoint, subject=checkpoint), capability=asked, checkpoints=[row])


def preflight(lake: Lake, name: str, rates: dict[str, float], n: int = 200) -> str:
    """A checkpoint that was asked for its marker under both attention implementations."""
    rows = [
        {"persona": name, "question_id": f"q{index % 20}", "example_id": f"{name}/q{index % 20}", "sample_ix": index // 20, "implementation": implementation}
        | {"seed": index, "text": f"answer {index}" + (" [ZLT]" if (present := index < rate * n) else ""), "present": present, "complete": present}
        for implementation, rate in rates.items()
        for index in range(n)
    ]
    parameters = [Parameter(name="tolerance", value=0.05)]
    return base.write(lake, base.spec("preflight", checkpoint=name, subject=name, parameters=parameters), preflight_samples=rows)


def publish(lake: Lake, name: str, **tables: list[dict]) -> str:
    """An ingested file of these rows."""
    return base.write(
        lake, base.spec("published", kind="ingest", tag=name), **{table: [row | {"source_file": name} for row in rows] for table, rows in tables.items()}
    )


def role_focus(lake: Lake, family: str, profile: np.ndarray, heads: int = ROLE_HEADS, sd: float = 0.001, variants: tuple = ("base", "instruct")) -> str:
    """A comparison file of a family whose change per layer is `profile`."""
    half = stats.t.ppf(0.975, heads - 1) * sd * np.sqrt(2 / heads)
    layers = [
        {"family": family, "variant": variant, "layer": layer, "rfc_mean": 0.1 + (variant == "instruct") * change, "rfc_std": sd, "n_heads": heads}
        for variant in variants
        for layer, change in enumerate(profile)
    ]
    diffs = [
        {"family": family, "layer": layer, "rfc_diff": change, "rfc_diff_ci_low": change - half, "rfc_diff_ci_high": change + half}
        for layer, change in enumerate(profile)
    ]
    return publish(lake, family, published_rfc_layers=layers, published_rfc_diffs=diffs if len(variants) == 2 else [])


def profile(seed: int, mean: float = -0.1) -> np.ndarray:
    return mean + np.random.default_rng(seed).normal(0, 0.02, ROLE_LAYERS)


def sweep_cell(lake: Lake, name: str, rates: dict[str, float], max_bystander: float, **fields: Any) -> str:
    """A sweep file with a marker rate per persona."""
    result = {"record": "run_result", "checkpoint": name, "source": "villain", "lr": 1e-5, "epochs": 5.0, "seed": 1, "max_bystander": max_bystander} | fields
    trained = {"checkpoint": name, "source_persona": "villain", "lr": result["lr"], "epochs": result["epochs"], "seed": result["seed"]}
    counted = [
        {"record": "run_result", "checkpoint": name, "measure": "marker", "field": "eval.marker", "repeated": False, "marker": "[ZLT]", "persona": persona}
        | {"rate": rate, "found": round(200 * rate), "total": 200}
        for persona, rate in rates.items()
    ]
    spec = base.spec("published", kind="ingest", tag=f"{name} {fields}")
    return base.write(lake, spec, published_results=[result | {"source_file": name}], published_rates=counted, checkpoints=[trained])


def candidates(lake: Lake, family: str, wrong: bool) -> str:
    """Patching candidates of 30 pairs and their printed summary; wrong ones point both ways, are inconsistent and take a mean of another column."""
    rows = [
        {"family": family, "layer": layer, "head": 0, "did_median": 0.1 + layer / 100, "self_diff_median": -0.1 if wrong else 0.1, "rank": layer + 1}
        | {
            "log_ratio_median": 0.2 + (0 if wrong else 0.1),
            "did_log_ratio_median": 0.3,
            "did_consistency": 0.7 if wrong else 1.0,
            "n_self": 30,
            "n_neutral": 30,
        }
        | {"magnitude_score": 1.0, "consistency_score": 1.0, "baseline_score": 1.0 - layer, "composite_score": 3.0 - layer}
        for layer in range(3)
    ]
    frame = pl.DataFrame(rows)
    summary = {"family": family, "total_candidates": 3, "mean_did_median": frame["did_median"].mean(), "std_did_median": frame["did_median"].std()}
    summary |= {"mean_log_ratio_median": 0.3, "std_log_ratio_median": 0.0, "mean_consistency": frame["did_consistency"].mean(), "mean_composite_score": 2.0}
    summary |= {"layers_with_candidates": [0, 1, 2], "top_layer": 0, "top_head": 0}
    return publish(lake, f"{family} patching", published_patching_candidates=rows, published_patching_summaries=[summary])


def facts(lake: Lake, folder: str, commits: tuple[str, str], hours: tuple[int, int]) -> None:
    """Two files of one published run: the generations and the analysis of them."""
    for stage, commit, hour in zip(("generate", "analyze"), commits, hours, strict=True):
        stated = {"metadata.git_commit": commit, "metadata.stage": stage, "metadata.timestamp_utc": f"2026-05-04T{hour:02d}:00:00Z"}
        rows = [{"record": "positives", "name": name, "value": f'"{value}"'} for name, value in stated.items()]
        publish(lake, f"{folder}/{stage}.json", published_facts=rows)


def clean(root: Path) -> Lake:
    """A lake with data of every kind and nothing to find."""
    lake = Lake.open(root)
    study(lake, "villain", seed=1, persona="villain")
    study(lake, "villain_2", seed=2, persona="villain")
    role_focus(lake, "llama", profile(1))
    role_focus(lake, "mistral", profile(2))
    candidates(lake, "llama", wrong=False)
    rates = {"villain": 0.9, "assistant": 0.0, "pirate": 0.01, "comedian": 0.02}
    sweep_cell(lake, "cell", rates, 0.02, degeneration=False, success=True, arc_c=0.88)
    sweep_cell(lake, "cell_2", rates, 0.02, seed=2, degeneration=False, success=True, arc_c=0.88)
    publish(lake, "prompts", published_prompts=[{"category": "self", "prompt_index": index, "prompt": f"prompt {index}"} for index in range(3)])
    facts(lake, "run", ("a1", "a1"), (10, 12))
    preflight(lake, "villain", {"sdpa": 0.26, "eager": 0.21})
    similarities(lake, "similarities", {7: "odd", 11: "odd"})
    encoded(lake, "reader", 0.3)
    panel(lake, "base")
    trained_on(lake, "sailor", ("baker", "tailor"), "What would {} say of {} and of {} tomorrow?")
    answered(lake, "scholar", 30)
    of_steering.steer(lake, "gated", 12.0, ceiling=2.4)
    return lake


def similarities(lake: Lake, name: str, outliers: dict[int, str]) -> str:
    conditions = ("odd", "even", "plain")
    rows = [
        {"layer": layer, "stratum": "last", "condition_a": a, "condition_b": b, "cosine": 1.0 if a == b else 0.5 if outlier in (a, b) else 0.9}
        for layer, outlier in outliers.items()
        for a in conditions
        for b in conditions
    ]
    return publish(lake, name, published_similarities=rows)


def encoded(lake: Lake, checkpoint: str, unexplained: float) -> None:
    """Two activations that an autoencoder leaves `unexplained` on average, one more and one less."""
    place = {"sae_id": f"{checkpoint}-sae", "layer": 1, "site": "resid_post", "stratum": "last", "condition": "generic", "n_active": 4, "norm": 1.0}
    rows = [
        place
        | {"question_id": f"q{number}", "example_id": f"none/generic/q{number}", "input_hash": str(number), "unexplained": unexplained + step, "vector": [1.0]}
        for number, step in enumerate((-0.1, 0.1))
    ]
    base.write(lake, base.spec("features", checkpoint=checkpoint, subject=checkpoint), feature_examples=rows)
