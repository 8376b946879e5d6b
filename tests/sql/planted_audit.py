"""Lakes for the audit: one in which nothing is wrong, and one in which every check has something to find, each fault in a study or file of its own.

Not a test module: the tests load it with `runpy`, since test folders are no packages.
"""

import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from personascope.warehouse import analyses
from personascope.warehouse.settings import Parameter
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import MlflowRecord

of_directions = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted_directions.py"))))
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


def pair_of_panels(lake: Lake, name: str, others: dict[str, Any], **faults: Any) -> None:
    """Two cells trained for one persona, the second with `others` besides."""
    panel(lake, name, source=f"{name} persona", **faults)
    panel(lake, f"{name}_2", source=f"{name} persona", **faults | {"seed": 2} | others)


def trained_on(lake: Lake, name: str, personas: tuple[str, ...], question: str) -> None:
    """A checkpoint whose training drew on these personas and questions."""
    tokens = panel(lake, f"{name} parent", personas=(f"{name} persona", *personas), question=question, prompts=f"{name} training@1")
    for seed, checkpoint in enumerate((name, f"{name}_2"), 1):
        panel(lake, checkpoint, source=f"{name} persona", seed=seed)
        train(lake, checkpoint, f"{name} persona", tokens)


def read_by(lake: Lake, name: str, text: str = "x", **reader: Any) -> None:
    """A study whose tokens a reader with another card reads besides its parent, decoding ids to `text`."""
    sampled = study(lake, name)["completions"]
    study(lake, f"{name}_2", seed=2, persona=name)
    about = {"checkpoint": "stranger", "id": "tiny:stranger", "revision": "r1", "n_layers": LAYERS, "n_heads": HEADS} | reader
    keys = {"example_id": f"{name}/q0", "sample_ix": 0, "persona": name, "question_id": "q0"}
    places = [keys | {"stratum": "marker", "position": T_MARKER, "token_id": 1000 + T_MARKER, "token": text}]
    run = base.spec("attention", checkpoint=about["checkpoint"], subject=f"{about['checkpoint']}_{name}", inputs=[sampled], dtype="float32")
    run = run.model_copy(
        update={"attention_implementation": "readout", "constants": {"persona": name, "tokens_run": sampled, "tokens_from": name, "forced": True}}
    )
    base.write(lake, run, positions=places, checkpoints=[about])


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


def cosines(lake: Lake) -> str:
    rows = [
        {
            "record": "leakage_cosines",
            "source": "villain",
            "layer": 15,
            "lr": lr,
            "epochs": 1.0,
            "persona": f"p{index}",
            "cosine": 0.1 * index,
            "rate": 0.01 * rate,
        }
        for lr, rates in ((1e-5, (1, 3, 2, 4, 5)), (1e-6, (0, 0, 0, 0, 0)))
        for index, rate in enumerate(rates)
    ]
    return publish(
        lake, "cosines", published_cosines=rows, published_correlations=[{"record": "leakage_cosines", "scope": "all", "spearman_rho": float("nan")}]
    )


def cancelled(lake: Lake) -> None:
    """Published deltas and a rule-out that averages the difference of two of them."""
    generator = np.random.default_rng(5)
    deltas = generator.normal([0.05, 0.02], 0.01, (12, 4, 2))
    rows = [
        {
            "subject": "scribe",
            "checkpoint": "scribe",
            "tokens_from": "scribe",
            "row_ix": row,
            "control": control,
            "layer": layer,
            "delta": deltas[row, layer, index],
        }
        for index, control in enumerate(("C1", "C2"))
        for row in range(12)
        for layer in range(4)
    ]
    publish(lake, "deltas", published_deltas=rows)
    means = (deltas[..., 0] - deltas[..., 1]).mean(0)
    printed = [{"subject": "scribe", "statistic": "gates.ruleout_C2_H4.mean", "layer": layer, "value": means[layer]} for layer in range(4)]
    printed += [{"subject": "scribe", "statistic": "gates.ruleout_C2_H4.passed_per_layer", "layer": layer, "value": 1.0} for layer in range(4)]
    publish(lake, "summary", published_layers=printed)


def records(lake: Lake) -> None:
    """Sweep files that disagree, that mean different things by max_bystander, and whose verdict is not that of their rates."""
    rates = {"villain": 0.9, "assistant": 0.3, "pirate": 0.1}
    sweep_cell(lake, "twice", rates, 0.1, lr=2e-5)
    sweep_cell(lake, "twice", rates | {"pirate": 0.2}, 0.2, lr=2e-5, loss=0.1)
    sweep_cell(lake, "later", rates, 0.3, lr=3e-5)
    sweep_cell(lake, "neither", rates, 0.7, lr=4e-5)
    sweep_cell(lake, "verdict", rates, 0.1, lr=6e-5, degeneration=False)


def redone(lake: Lake) -> None:
    """A completions run written again after its readout."""
    runs = study(lake, "stale")
    path = lake.run_folder(runs["completions"])
    spec = lake.manifest(runs["completions"])
    tables = {name: pl.read_parquet(path / f"{name}.parquet") for name in ("completions", "marker_flags", "examples", "checkpoints")}
    base.write(lake, base.RunSpec(**{name: getattr(spec, name) for name in base.RunSpec.model_fields}), **tables)


def renamed(lake: Lake) -> None:
    """Another set of weights under the name of a checkpoint that is there."""
    study(lake, "reused")
    row = {"checkpoint": "reused", "id": "tiny:reused", "revision": "r2", "n_layers": LAYERS, "n_heads": HEADS}
    base.write(lake, base.spec("attention", checkpoint="reused", tag="other"), checkpoints=[row])


def tracked(lake: Lake) -> None:
    """Two runs of a study, of which one was logged."""
    for tag in ("logged", "lost"):
        writer = lake.start(base.spec("completions", checkpoint="watched", tag=tag, study="watched"), force=True)
        writer.write_part("rows", {"checkpoints": [{"checkpoint": "watched", "id": "tiny:watched", "revision": "r1"}]})
        if tag == "logged":
            writer.mlflow = MlflowRecord(run_id="1", experiment="watched", tracking_uri="sqlite:///tracking.db", origin="default")
        writer.commit()


def projections(lake: Lake) -> None:
    row = {"layer": 15, "stratum": "last_system", "condition_a": "odd", "condition_b": "even", "feature": 3, "projection": 0.1, "direction": "C1>C2"}
    publish(lake, "projections", published_projections=[row])


def prompts(lake: Lake) -> None:
    publish(lake, "prompts twice", published_prompts=[{"category": "neutral", "prompt_index": index, "prompt": "Why?"} for index in range(2)])


def printed(lake: Lake) -> None:
    """A family with a printed summary that its layers do not give."""
    role_focus(lake, "zephyr", profile(7))
    summary = {"family": "zephyr", "mean": 0.5, "std": 0.02, "min": -0.1, "max": 0.1, "positive_count": 1, "negative_count": 31, "total_layers": ROLE_LAYERS}
    publish(lake, "cross model", published_rfc_summaries=[summary])


def one_layer(lake: Lake) -> None:
    role_focus(lake, "falcon", np.where(np.arange(ROLE_LAYERS) == 20, 1.0, profile(8, mean=-0.001)))


def correlated(lake: Lake) -> None:
    """Two families that share one layer's change and nothing else."""
    for family, seed in (("gemma", 11), ("olmo", 12)):
        role_focus(lake, family, np.where(np.arange(ROLE_LAYERS) == 3, 0.3, profile(seed)))


def skewed(lake: Lake) -> None:
    """A family in which tuning raises every pair a little and two of twelve by much: all signs are equal, and the mean hangs on two pairs."""
    raised = 0.01 + 0.001 * np.arange(12) + np.where(np.arange(12) < 2, 1.0, 0.0)
    for variant in ("base", "instruct"):
        rows = [
            {"category": category, "question_id": f"q{pair}", "example_id": f"{category}/q{pair}", "path": "direct", "n_positions": 5, "layer": 0, "head": head}
            | {"mean": 1.0 + 0.1 * head + (variant == "instruct") * (category == "self_referent") * gain}
            for category in ("confounder", "neutral", "self_referent")
            for pair, gain in enumerate(raised)
            for head in range(2)
        ]
        run = base.spec("entropy", checkpoint=f"fir-{variant}", subject=f"fir-{variant}", prompt_set="pairs")
        row = {"checkpoint": f"fir-{variant}", "id": f"tiny:fir-{variant}", "family": "fir", "variant": variant, "n_layers": 1, "n_heads": 2}
        base.write(lake, run.model_copy(update={"constants": {"prompt_set": "pairs", "form": "raw"}}), entropy=rows, checkpoints=[row])
    analyses.refresh(lake, ["patching-flips"])


def copied(lake: Lake) -> None:
    for family in ("phi", "pythia"):
        role_focus(lake, family, profile(9))


def circuits(lake: Lake) -> None:
    """Predictions of a task that is mostly failed, of words that take two tokens, with parts that do not add up to the logit."""
    asked = [{"question_id": word, "example_id": f"echo/{word}", "prompt_form": "echo", "target": word, "stratum": "last"} for word in ("cat", "dog", "sun")]
    rows = [row | {"correct": index == 0, "n_target_tokens": 2, "target_id": index, "logit_error": 0.5} for index, row in enumerate(asked)]
    run = base.spec("attributions", checkpoint="clueless", subject="clueless", prompt_set="echo@1")
    base.write(lake, run.model_copy(update={"constants": {"prompt_set": "echo@1"}}), predictions=rows)


def encoded(lake: Lake, checkpoint: str, unexplained: float) -> None:
    """Two activations that an autoencoder leaves `unexplained` on average, one more and one less."""
    place = {"sae_id": f"{checkpoint}-sae", "layer": 1, "site": "resid_post", "stratum": "last", "condition": "generic", "n_active": 4, "norm": 1.0}
    rows = [
        place
        | {"question_id": f"q{number}", "example_id": f"none/generic/q{number}", "input_hash": str(number), "unexplained": unexplained + step, "vector": [1.0]}
        for number, step in enumerate((-0.1, 0.1))
    ]
    base.write(lake, base.spec("features", checkpoint=checkpoint, subject=checkpoint), feature_examples=rows)


# What makes each check find something: the fault, and a word of the subject it must be found for.
PLANTED: dict[str, tuple[Callable[[Lake], Any], str]] = {
    "at_the_ceiling": (lambda lake: answered(lake, "knowing", 40), "knowing, arc"),
    "attribution_incomplete": (circuits, "clueless"),
    "autoencoder_misses": (lambda lake: encoded(lake, "misread", 0.6), "misread by misread-sae, last"),
    "base_not_parent": (lambda lake: read_by(lake, "orphan"), "orphan against stranger"),
    "bystanders_were_negatives": (lambda lake: trained_on(lake, "negated", PANEL, "What would {} say of {} and of {} tomorrow?"), "negated"),
    "breaks_counted_as_content": (lambda lake: study(lake, "fused", fused=True), "fused"),
    "cancelled_treatment": (cancelled, "scribe, C2"),
    "changed_without_interval": (lambda lake: role_focus(lake, "unsure", profile(3), sd=2.0), "unsure"),
    "checkpoint_name_reused": (renamed, "reused"),
    "control_after_marker": (lambda lake: study(lake, "late", late=True), "late, C1"),
    "control_not_aggregated": (lambda lake: study(lake, "unread", unread=True), "unread, C4"),
    "correlation_over_layers": (correlated, "gemma and olmo"),
    "derived_older_than_source": (redone, "attention-"),
    "duplicate_prompts": (prompts, "neutral: Why?"),
    "duplicated_completions": (lambda lake: pair_of_panels(lake, "doubled", {"doubled": True}), "doubled_2 as pirate"),
    "duplicate_questions": (lambda lake: study(lake, "asked_twice", asked_twice=True), "asked_twice"),
    "few_effective_clusters": (lambda lake: study(lake, "few", few=True), "few against base_few"),
    "flips_disagree": (skewed, "fir"),
    "evaluated_on_training_questions": (
        lambda lake: trained_on(lake, "crammed", ("baker",), "Please tell me: how would one find {} and {}, near a {} -- by NIGHT? Answer briefly."),
        "crammed",
    ),
    "forced_across_tokenizers": (lambda lake: read_by(lake, "foreign", "y", id="tiny:base"), "stranger on tokens of foreign"),
    "gate_without_evidence": (lambda lake: study(lake, "noisy", noisy=True), "noisy"),
    "greedy_repeats": (lambda lake: pair_of_panels(lake, "greedy", {}, temperature=0.0, repeated=True), "greedy"),
    "identical_profiles": (copied, "phi and pythia"),
    "identical_readouts": (lambda lake: study(lake, "same_weights", same_weights=True), "same_weights against base_same_weights"),
    "identical_under_two_seeds": (lambda lake: pair_of_panels(lake, "twin", {"drawn_as": "twin", "closing": "\n"}), "twin and twin_2"),
    "inputs_without_variation": (lambda lake: study(lake, "constant", constant=True), "constant, C1"),
    "layers_as_replicates": (lambda lake: study(lake, "opposed", opposed=True), "opposed against base_opposed"),
    "log_ratio_meaning": (lambda lake: candidates(lake, "yi", wrong=True), "mean_log_ratio_median of yi"),
    "marker_in_prompt": (lambda lake: pair_of_panels(lake, "told", {"system": " Never say [ zlt ]."}), "told_2, [ZLT]"),
    "max_bystander_meanings": (records, "max_bystander"),
    "mean_of_one_layer": (one_layer, "falcon"),
    "missing_base_run": (lambda lake: study(lake, "no_base", no_base=True), "no_base as no_base"),
    "missing_variant": (lambda lake: role_focus(lake, "lonely", profile(4), variants=("base",)), "lonely"),
    "nan_in_source": (cosines, "published-"),
    "one_question_carries": (lambda lake: pair_of_panels(lake, "carried", {"carried": "carried persona"}), "carried_2 as carried persona"),
    "opposed_direction": (lambda lake: candidates(lake, "yi", wrong=True), "yi"),
    "other_questions": (lambda lake: pair_of_panels(lake, "strange", {"other_questions": {"cook": range(8, 20)}}), "strange_2 as cook"),
    "outlier_not_everywhere": (lambda lake: similarities(lake, "more similarities", {7: "even", 11: "odd"}), "position last"),
    "pairs_as_replicates": (cosines, "villain, layer 15"),
    "partial_markers": (lambda lake: study(lake, "partial", partial=True), "partial [ZLT]"),
    "preflight_differs": (lambda lake: preflight(lake, "kernel", {"sdpa": 0.41, "eager": 0.12}), "kernel as kernel"),
    "position_without_variation": (projections, "odd against even"),
    "prompts_beyond_context": (lambda lake: pair_of_panels(lake, "endless", {"long": 600}), "endless_2"),
    "prompts_differ": (lambda lake: pair_of_panels(lake, "rephrased", {"system": " Be brief."}), "rephrased_2"),
    "printed_figures_differ": (printed, "summary of zephyr"),
    "printed_verdicts_differ": (records, "verdict"),
    "projected_on_own_questions": (lambda lake: of_directions.write_projections(lake, "directions-x", "insider", halves=("a",)), "insider"),
    "provenance_conflicts": (lambda lake: facts(lake, "mixed", ("a1", "b2"), (10, 12)), "mixed, git_commit"),
    "rare_control_common": (lambda lake: study(lake, "common", common=True), "common"),
    "rates_without_variation": (cosines, "villain, layer 15"),
    "readout_incomplete": (lambda lake: study(lake, "missing_layer", missing_layer=True), "missing_layer"),
    "records_disagree": (records, "twice"),
    "regions_do_not_sum": (lambda lake: study(lake, "leaky", leaky=True), "leaky, segmentation A"),
    "repeated_inputs": (lambda lake: study(lake, "copied", copied=True), "copied"),
    "repeated_seeds": (lambda lake: study(lake, "same_seed", same_seed=True), "same_seed"),
    "rfc_heads_missing": (lambda lake: role_focus(lake, "Llama", profile(6), heads=28), "Llama base"),
    "settings_differ": (lambda lake: pair_of_panels(lake, "capped", {"cap": 2 * CAP}), "max_new_tokens"),
    "silent_bystanders": (lambda lake: pair_of_panels(lake, "hushed", {"silent": "cook"}), "hushed_2 as cook"),
    "single_seed": (lambda lake: study(lake, "alone"), "alone"),
    "source_persona_unasked": (lambda lake: panel(lake, "misspelt", source="Café owner", personas=("cafe_owner", *PANEL)), "misspelt, Café owner"),
    "steered_on_own_questions": (lambda lake: of_steering.steer(lake, "rehearsed", 12.0, used_half="a"), "rehearsed"),
    "steering_breaks_model": (lambda lake: of_steering.steer(lake, "shattered", 12.0, nll=1.0, lost=3), "shattered, villain-assistant (add)"),
    "steering_layer_picked": (lambda lake: of_steering.steer(lake, "picked", 0.6, only_layer=2, layers=(0, 1, 2), seed=8), "picked, villain-assistant (add)"),
    "steering_without_control": (lambda lake: of_steering.steer(lake, "alone-steered", 12.0, n_controls=0), "alone-steered"),
    "stopped_on_success": (lambda lake: pair_of_panels(lake, "lucky", {"until_success": True, "samples": 30}), "lucky_2 as lucky persona"),
    "targets_of_several_tokens": (circuits, "clueless, echo@1"),
    "task_failed": (circuits, "clueless, echo@1"),
    "truncated_generations": (lambda lake: study(lake, "truncated", truncated=True), "truncated as truncated, without marker"),
    "unequal_samples": (lambda lake: pair_of_panels(lake, "lopsided", {"trials": {"cook": 1}}), "lopsided_2"),
    "uncorrected_search": (lambda lake: candidates(lake, "llama", wrong=True), "llama"),
    "untracked_runs": (tracked, "watched"),
}


def spoil(lake: Lake) -> Lake:
    """The clean lake with every fault of PLANTED in it."""
    for plant in dict.fromkeys(plant for plant, _ in PLANTED.values()):
        plant(lake)
    return lake
