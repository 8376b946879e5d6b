"""A lake for the audit in which every check has something to find, each fault in a study or file of its own.

Not a test module: the tests load it with `runpy`, since test folders are no packages.
"""

import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl

from personascope.warehouse import analyses
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import MlflowRecord

of_directions = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted_directions.py"))))
studies = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted_studies.py"))))
base, of_steering = studies.base, studies.of_steering


def pair_of_panels(lake: Lake, name: str, others: dict[str, Any], **faults: Any) -> None:
    """Two cells trained for one persona, the second with `others` besides."""
    studies.panel(lake, name, source=f"{name} persona", **faults)
    studies.panel(lake, f"{name}_2", source=f"{name} persona", **faults | {"seed": 2} | others)


def read_by(lake: Lake, name: str, text: str = "x", **reader: Any) -> None:
    """A study whose tokens a reader with another card reads besides its parent, decoding ids to `text`."""
    sampled = studies.study(lake, name)["completions"]
    studies.study(lake, f"{name}_2", seed=2, persona=name)
    about = {"checkpoint": "stranger", "id": "tiny:stranger", "revision": "r1", "n_layers": studies.LAYERS, "n_heads": studies.HEADS} | reader
    keys = {"example_id": f"{name}/q0", "sample_ix": 0, "persona": name, "question_id": "q0"}
    places = [keys | {"stratum": "marker", "position": studies.T_MARKER, "token_id": 1000 + studies.T_MARKER, "token": text}]
    run = base.spec("attention", checkpoint=about["checkpoint"], subject=f"{about['checkpoint']}_{name}", inputs=[sampled], dtype="float32")
    run = run.model_copy(
        update={"attention_implementation": "readout", "constants": {"persona": name, "tokens_run": sampled, "tokens_from": name, "forced": True}}
    )
    base.write(lake, run, positions=places, checkpoints=[about])


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
    return studies.publish(
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
    studies.publish(lake, "deltas", published_deltas=rows)
    means = (deltas[..., 0] - deltas[..., 1]).mean(0)
    printed = [{"subject": "scribe", "statistic": "gates.ruleout_C2_H4.mean", "layer": layer, "value": means[layer]} for layer in range(4)]
    printed += [{"subject": "scribe", "statistic": "gates.ruleout_C2_H4.passed_per_layer", "layer": layer, "value": 1.0} for layer in range(4)]
    studies.publish(lake, "summary", published_layers=printed)


def records(lake: Lake) -> None:
    """Sweep files that disagree, that mean different things by max_bystander, and whose verdict is not that of their rates."""
    rates = {"villain": 0.9, "assistant": 0.3, "pirate": 0.1}
    studies.sweep_cell(lake, "twice", rates, 0.1, lr=2e-5)
    studies.sweep_cell(lake, "twice", rates | {"pirate": 0.2}, 0.2, lr=2e-5, loss=0.1)
    studies.sweep_cell(lake, "later", rates, 0.3, lr=3e-5)
    studies.sweep_cell(lake, "neither", rates, 0.7, lr=4e-5)
    studies.sweep_cell(lake, "verdict", rates, 0.1, lr=6e-5, degeneration=False)


def redone(lake: Lake) -> None:
    """A completions run written again after its readout."""
    runs = studies.study(lake, "stale")
    path = lake.run_folder(runs["completions"])
    spec = lake.manifest(runs["completions"])
    tables = {name: pl.read_parquet(path / f"{name}.parquet") for name in ("completions", "marker_flags", "examples", "checkpoints")}
    base.write(lake, base.RunSpec(**{name: getattr(spec, name) for name in base.RunSpec.model_fields}), **tables)


def renamed(lake: Lake) -> None:
    """Another set of weights under the name of a checkpoint that is there."""
    studies.study(lake, "reused")
    row = {"checkpoint": "reused", "id": "tiny:reused", "revision": "r2", "n_layers": studies.LAYERS, "n_heads": studies.HEADS}
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
    studies.publish(lake, "projections", published_projections=[row])


def prompts(lake: Lake) -> None:
    studies.publish(lake, "prompts twice", published_prompts=[{"category": "neutral", "prompt_index": index, "prompt": "Why?"} for index in range(2)])


def printed(lake: Lake) -> None:
    """A family with a printed summary that its layers do not give."""
    studies.role_focus(lake, "zephyr", studies.profile(7))
    summary = {
        "family": "zephyr",
        "mean": 0.5,
        "std": 0.02,
        "min": -0.1,
        "max": 0.1,
        "positive_count": 1,
        "negative_count": 31,
        "total_layers": studies.ROLE_LAYERS,
    }
    studies.publish(lake, "cross model", published_rfc_summaries=[summary])


def one_layer(lake: Lake) -> None:
    studies.role_focus(lake, "falcon", np.where(np.arange(studies.ROLE_LAYERS) == 20, 1.0, studies.profile(8, mean=-0.001)))


def correlated(lake: Lake) -> None:
    """Two families that share one layer's change and nothing else."""
    for family, seed in (("gemma", 11), ("olmo", 12)):
        studies.role_focus(lake, family, np.where(np.arange(studies.ROLE_LAYERS) == 3, 0.3, studies.profile(seed)))


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
        studies.role_focus(lake, family, studies.profile(9))


def circuits(lake: Lake) -> None:
    """Predictions of a task that is mostly failed, of words that take two tokens, with parts that do not add up to the logit."""
    asked = [{"question_id": word, "example_id": f"echo/{word}", "prompt_form": "echo", "target": word, "stratum": "last"} for word in ("cat", "dog", "sun")]
    rows = [row | {"correct": index == 0, "n_target_tokens": 2, "target_id": index, "logit_error": 0.5} for index, row in enumerate(asked)]
    run = base.spec("attributions", checkpoint="clueless", subject="clueless", prompt_set="echo@1")
    base.write(lake, run.model_copy(update={"constants": {"prompt_set": "echo@1"}}), predictions=rows)


# What makes each check find something: the fault, and a word of the subject it must be found for.
PLANTED: dict[str, tuple[Callable[[Lake], Any], str]] = {
    "at_the_ceiling": (lambda lake: studies.answered(lake, "knowing", 40), "knowing, arc"),
    "attribution_incomplete": (circuits, "clueless"),
    "autoencoder_misses": (lambda lake: studies.encoded(lake, "misread", 0.6), "misread by misread-sae, last"),
    "base_not_parent": (lambda lake: read_by(lake, "orphan"), "orphan against stranger"),
    "bystanders_were_negatives": (lambda lake: studies.trained_on(lake, "negated", studies.PANEL, "What would {} say of {} and of {} tomorrow?"), "negated"),
    "breaks_counted_as_content": (lambda lake: studies.study(lake, "fused", fused=True), "fused"),
    "cancelled_treatment": (cancelled, "scribe, C2"),
    "changed_without_interval": (lambda lake: studies.role_focus(lake, "unsure", studies.profile(3), sd=2.0), "unsure"),
    "checkpoint_name_reused": (renamed, "reused"),
    "control_after_marker": (lambda lake: studies.study(lake, "late", late=True), "late, C1"),
    "control_not_aggregated": (lambda lake: studies.study(lake, "unread", unread=True), "unread, C4"),
    "correlation_over_layers": (correlated, "gemma and olmo"),
    "derived_older_than_source": (redone, "attention-"),
    "duplicate_prompts": (prompts, "neutral: Why?"),
    "duplicated_completions": (lambda lake: pair_of_panels(lake, "doubled", {"doubled": True}), "doubled_2 as pirate"),
    "duplicate_questions": (lambda lake: studies.study(lake, "asked_twice", asked_twice=True), "asked_twice"),
    "few_effective_clusters": (lambda lake: studies.study(lake, "few", few=True), "few against base_few"),
    "flips_disagree": (skewed, "fir"),
    "evaluated_on_training_questions": (
        lambda lake: studies.trained_on(lake, "crammed", ("baker",), "Please tell me: how would one find {} and {}, near a {} -- by NIGHT? Answer briefly."),
        "crammed",
    ),
    "forced_across_tokenizers": (lambda lake: read_by(lake, "foreign", "y", id="tiny:base"), "stranger on tokens of foreign"),
    "gate_without_evidence": (lambda lake: studies.study(lake, "noisy", noisy=True), "noisy"),
    "greedy_repeats": (lambda lake: pair_of_panels(lake, "greedy", {}, temperature=0.0, repeated=True), "greedy"),
    "identical_profiles": (copied, "phi and pythia"),
    "identical_readouts": (lambda lake: studies.study(lake, "same_weights", same_weights=True), "same_weights against base_same_weights"),
    "identical_under_two_seeds": (lambda lake: pair_of_panels(lake, "twin", {"drawn_as": "twin", "closing": "\n"}), "twin and twin_2"),
    "inputs_without_variation": (lambda lake: studies.study(lake, "constant", constant=True), "constant, C1"),
    "layers_as_replicates": (lambda lake: studies.study(lake, "opposed", opposed=True), "opposed against base_opposed"),
    "log_ratio_meaning": (lambda lake: studies.candidates(lake, "yi", wrong=True), "mean_log_ratio_median of yi"),
    "marker_in_prompt": (lambda lake: pair_of_panels(lake, "told", {"system": " Never say [ zlt ]."}), "told_2, [ZLT]"),
    "max_bystander_meanings": (records, "max_bystander"),
    "mean_of_one_layer": (one_layer, "falcon"),
    "missing_base_run": (lambda lake: studies.study(lake, "no_base", no_base=True), "no_base as no_base"),
    "missing_variant": (lambda lake: studies.role_focus(lake, "lonely", studies.profile(4), variants=("base",)), "lonely"),
    "nan_in_source": (cosines, "published-"),
    "one_question_carries": (lambda lake: pair_of_panels(lake, "carried", {"carried": "carried persona"}), "carried_2 as carried persona"),
    "opposed_direction": (lambda lake: studies.candidates(lake, "yi", wrong=True), "yi"),
    "other_questions": (lambda lake: pair_of_panels(lake, "strange", {"other_questions": {"cook": range(8, 20)}}), "strange_2 as cook"),
    "outlier_not_everywhere": (lambda lake: studies.similarities(lake, "more similarities", {7: "even", 11: "odd"}), "position last"),
    "pairs_as_replicates": (cosines, "villain, layer 15"),
    "partial_markers": (lambda lake: studies.study(lake, "partial", partial=True), "partial [ZLT]"),
    "preflight_differs": (lambda lake: studies.preflight(lake, "kernel", {"sdpa": 0.41, "eager": 0.12}), "kernel as kernel"),
    "position_without_variation": (projections, "odd against even"),
    "prompts_beyond_context": (lambda lake: pair_of_panels(lake, "endless", {"long": 600}), "endless_2"),
    "prompts_differ": (lambda lake: pair_of_panels(lake, "rephrased", {"system": " Be brief."}), "rephrased_2"),
    "printed_figures_differ": (printed, "summary of zephyr"),
    "printed_verdicts_differ": (records, "verdict"),
    "projected_on_own_questions": (lambda lake: of_directions.write_projections(lake, "directions-x", "insider", halves=("a",)), "insider"),
    "provenance_conflicts": (lambda lake: studies.facts(lake, "mixed", ("a1", "b2"), (10, 12)), "mixed, git_commit"),
    "rare_control_common": (lambda lake: studies.study(lake, "common", common=True), "common"),
    "rates_without_variation": (cosines, "villain, layer 15"),
    "readout_incomplete": (lambda lake: studies.study(lake, "missing_layer", missing_layer=True), "missing_layer"),
    "records_disagree": (records, "twice"),
    "regions_do_not_sum": (lambda lake: studies.study(lake, "leaky", leaky=True), "leaky, segmentation A"),
    "repeated_inputs": (lambda lake: studies.study(lake, "copied", copied=True), "copied"),
    "repeated_seeds": (lambda lake: studies.study(lake, "same_seed", same_seed=True), "same_seed"),
    "rfc_heads_missing": (lambda lake: studies.role_focus(lake, "Llama", studies.profile(6), heads=28), "Llama base"),
    "settings_differ": (lambda lake: pair_of_panels(lake, "capped", {"cap": 2 * studies.CAP}), "max_new_tokens"),
    "silent_bystanders": (lambda lake: pair_of_panels(lake, "hushed", {"silent": "cook"}), "hushed_2 as cook"),
    "single_seed": (lambda lake: studies.study(lake, "alone"), "alone"),
    "source_persona_unasked": (
        lambda lake: studies.panel(lake, "misspelt", source="Café owner", personas=("cafe_owner", *studies.PANEL)),
        "misspelt, Café owner",
    ),
    "steered_on_own_questions": (lambda lake: of_steering.steer(lake, "rehearsed", 12.0, used_half="a"), "rehearsed"),
    "steering_breaks_model": (lambda lake: of_steering.steer(lake, "shattered", 12.0, nll=1.0, lost=3), "shattered, villain-assistant (add)"),
    "steering_layer_picked": (lambda lake: of_steering.steer(lake, "picked", 0.6, only_layer=2, layers=(0, 1, 2), seed=8), "picked, villain-assistant (add)"),
    "steering_without_control": (lambda lake: of_steering.steer(lake, "alone-steered", 12.0, n_controls=0), "alone-steered"),
    "stopped_on_success": (lambda lake: pair_of_panels(lake, "lucky", {"until_success": True, "samples": 30}), "lucky_2 as lucky persona"),
    "targets_of_several_tokens": (circuits, "clueless, echo@1"),
    "task_failed": (circuits, "clueless, echo@1"),
    "truncated_generations": (lambda lake: studies.study(lake, "truncated", truncated=True), "truncated as truncated, without marker"),
    "unequal_samples": (lambda lake: pair_of_panels(lake, "lopsided", {"trials": {"cook": 1}}), "lopsided_2"),
    "uncorrected_search": (lambda lake: studies.candidates(lake, "llama", wrong=True), "llama"),
    "untracked_runs": (tracked, "watched"),
}


def spoil(lake: Lake) -> Lake:
    """The clean lake with every fault of PLANTED in it."""
    for plant in dict.fromkeys(plant for plant, _ in PLANTED.values()):
        plant(lake)
    return lake
