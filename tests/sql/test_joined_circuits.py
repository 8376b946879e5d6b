"""Every figure over layers of a circuit is that of its own run, stratum, form and tokens: numpy over the tables of a lake with several of each."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(5)

planted, tools = (SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name(name)))) for name in ("planted_joins.py", "joined_tables.py"))
grouped, compared, of_clusters = tools.grouped, tools.compared, tools.of_clusters

STEP = ("run_id", "example_id", "sample_ix", "stratum", "position")
FORM = ("run_id", "subject", "stratum", "prompt_form")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    lake = Lake.open(tmp_path_factory.mktemp("circuits") / "lake")
    planted.build_circuits(lake)
    planted.analyse_twice(lake, ["lens-families"])
    warehouse = Warehouse(lake)
    read = {name: warehouse.select(f"select * from {name}").to_dicts() for name in ("logit_lens", "predictions", "activations", "examples", "runs")}
    return SimpleNamespace(select=lambda view: warehouse.select(f"select * from {view}").to_dicts(), **read)


def by_form(rows):
    """Rows of each phrasing, and of all together."""
    named = [row | {"prompt_form": row["prompt_form"] or "none"} for row in rows]
    return [*named, *(row | {"prompt_form": "all"} for row in named)]


def bare(token):
    return "".join(token.split()).lower()


def settled_from(layers, holds):
    """The first layer from which on `holds` is true up to the last; None where it is not at the last."""
    after = None
    for layer, held in sorted(zip(layers, holds, strict=True), reverse=True):
        if not held:
            break
        after = layer
    return after


def emergences(world):
    """Rows of `emergence`, one step after another."""
    told = {tuple(row[name] for name in STEP): row["target_token"] for row in world.predictions}
    expected = []
    for key, rows in grouped((row for row in world.logit_lens if row["stratum"] != "every"), *STEP).items():
        first, second = ({row["layer"]: row for row in rows if row["rank"] == rank} for rank in (1, 2))
        layers, target = sorted(first), first[-1]["target_id"]
        spelled = next(((row["token"], row["script"]) for row in rows if row["token_id"] == target), (None, None))
        word = told.get(key) or spelled[0]
        top = {layer: first[layer]["token_id"] == target for layer in layers}
        tied = {n: first[n]["logit"] == (second[n]["logit"] if top[n] else first[n]["target_logit"]) for n in layers}
        alone = {layer: top[layer] and not tied[layer] for layer in layers}
        same = {layer: alone[layer] or (word is not None and bare(first[layer]["token"]) == bare(word)) for layer in layers}
        start, start_word = settled_from(layers, map(alone.get, layers)), settled_from(layers, map(same.get, layers))
        found, found_word = (min((layer for layer in layers if held[layer]), default=None) for held in (alone, same))
        last = layers[-1]
        lost = [layer for layer in layers if found is not None and layer > found and not alone[layer]]
        before = first.get(start - 1) if start is not None else None
        row = {name: first[last][name] for name in (*STEP, "subject", "checkpoint", "question_id", "prompt_form", "category", "target", "prompt_set")}
        row |= {"n_layers": 3, "emergence_layer": start, "first_layer": found, "n_lost": len(lost), "n_lost_to_spelling": sum(same[layer] for layer in lost)}
        row |= {"n_tied": sum(tied.values()), "reason": None if start is not None else "tied" if tied[last] else "never", "target_token": word}
        row |= {"emergence_layer_normalised": start_word, "first_layer_normalised": found_word, "final_token": first[last]["token"]}
        row |= {"token_before": before and before["token"], "script_before": before and before["script"], "final_prob": first[last]["target_prob"]}
        others = [layer for layer in layers if start is not None and layer < start and None not in (first[layer]["script"], spelled[1])]
        row |= {"n_other_script": sum(first[layer]["script"] != spelled[1] for layer in others), "final_is_target_normalised": same[last]}
        expected.append(row)
    return expected


def test_emergence_is_read_from_the_layers_of_one_step(world):
    expected = emergences(world)
    compared(world.select("emergence"), expected, STEP)
    assert {row["reason"] for row in expected} == {None, "tied", "never"} and any(row["n_other_script"] for row in expected)


def rate_intervals(counts):
    """Ends of the interval by question of each rate of one family; `counts` holds (present, asked) by question of each. As `macros/rates.sql` says."""
    told = []
    for present, asked in counts:
        c, n = np.array(present, dtype=float), np.array(asked, dtype=float)
        rate, share, total = c.sum() / n.sum(), n / n.sum(), n.sum()
        sizes, few, icc = (n**2).sum(), min((c > 0).sum(), (c < n).sum()), None
        if len(n) > 1 and sizes > total and 0 < rate < 1:
            icc = (((c - n * rate) ** 2 / (1 - share)).sum() / (total * rate * (1 - rate)) - 1) / (sizes / total - 1)
        unequal = share / np.sqrt(1 - share) if len(n) > 1 else share
        df = 1 / ((share**2).sum() + (unequal**2).sum() ** 2 - (unequal**4).sum()) if len(n) > 1 else 1
        told.append((rate, total, sizes, few, icc, stats.t.ppf(0.975, df)))
    ends = []
    for rate, total, sizes, few, icc, t in told:
        others = [each for each in told if each[4] is not None]
        weight, sum_of = sum(each[3] for each in others), sum(each[3] * each[4] for each in others)
        if icc is not None:
            weight, sum_of = weight - few, sum_of - few * icc
        settled = prior = (sum_of + 0.6) / (weight + 4)
        if icc is not None:
            settled = (icc * few + 4 * prior) / (few + 4)
        n = total / max(1, 1 + (sizes / total - 1) * settled)
        middle, reach = rate * n + t**2 / 2, t * np.sqrt(rate * n * (1 - rate) + t**2 / 4)
        ends.append((max(0, (middle - reach) / (n + t**2)), min(1, (middle + reach) / (n + t**2)), n))
    return ends


def wilson(k, n):
    found = stats.binomtest(int(k), int(n)).proportion_ci(method="wilson")
    return found.low, found.high


def test_layers_of_emergence_are_counted_by_form_with_their_intervals(world):
    measures = {"stays": "emergence_layer", "stays, one word": "emergence_layer_normalised", "first": "first_layer"}
    expected = []
    for key, rows in grouped(by_form(emergences(world)), *FORM).items():
        for measure, name in measures.items():
            found = [(row["question_id"], row[name], None if row[name] is not None else row["reason"] or "never") for row in rows]
            questions = sorted({each[0] for each in found})
            asked = [sum(each[0] == question for each in found) for question in questions]
            bins = sorted({each[1:] for each in found}, key=str)
            present = [[sum(each == (question, *where) for each in found) for question in questions] for where in bins]
            for (layer, reason), of_bin, (low, high, _) in zip(bins, present, rate_intervals([(each, asked) for each in present]), strict=True):
                row = dict(zip(FORM, key, strict=True)) | {"measure": measure, "layer": layer, "reason": reason, "n": sum(of_bin), "n_prompts": len(rows)}
                row |= {"n_clusters": len(questions), "share": sum(of_bin) / len(rows), "clustered_low": low, "clustered_high": high}
                row |= dict(zip(("share_low", "share_high"), wilson(sum(of_bin), len(rows)), strict=True))
                expected.append(row | {"checkpoint": rows[0]["checkpoint"]})
    compared(world.select("emergence_histogram"), expected, (*FORM, "measure", "layer", "reason"))


def test_layers_of_the_lens_are_means_over_the_places_of_one_form(world):
    kept = [row for row in world.logit_lens if row["stratum"] != "every"]
    final = {key: max(rows, key=lambda row: (row["layer"], -row["rank"]))["script"] for key, rows in grouped(kept, *STEP).items()}
    expected = []
    for key, rows in grouped(by_form(kept), *FORM, "layer").items():
        tops, lasts = ([row for row in rows if row["rank"] == rank] for rank in (1, 2))
        told = of_clusters([row["target_prob"] for row in tops], [row["question_id"] for row in tops])
        row = dict(zip((*FORM, "layer"), key, strict=True)) | tools.renamed(
            told, target_prob="mean", n="n", n_clusters="n_clusters", clustered_df="df", n_effective_clusters="kish", is_skewed="skewed"
        )
        row |= {"target_prob_low": told["low"] and max(0, told["low"]), "target_prob_high": told["high"] and min(1, told["high"])}
        row |= {"target_logit": np.mean([each["target_logit"] for each in tops]), "target_rank": np.median([each["target_rank"] for each in tops])}
        n_top1 = sum(each["token_id"] == each["target_id"] for each in tops)
        row |= {"n_top1": n_top1, "top1_share": n_top1 / len(tops), "last_rank": 2, "last_rank_prob": np.mean([each["prob"] for each in lasts])}
        ends = [(each["script"], final[tuple(each[name] for name in STEP)]) for each in tops]
        row |= {"last_rank_prob_max": max(each["prob"] for each in lasts), "n_scripts": len({each for each, _ in ends} - {None})}
        expected.append(row | {"n_other_script": sum(None not in each and each[0] != each[1] for each in ends), "checkpoint": tops[0]["checkpoint"]})
    compared(world.select("logit_lens_layers"), expected, (*FORM, "layer"))


def test_the_target_rises_by_medians_over_words(world):
    expected = []
    tops = [row for row in world.logit_lens if row["stratum"] != "every" and row["rank"] == 1]
    for key, rows in grouped(by_form(tops), *FORM, "layer").items():
        row = dict(zip((*FORM, "layer"), key, strict=True)) | {"n": len(rows), "n_top1": sum(each["target_rank"] == 1 for each in rows)}
        words = grouped(rows, "question_id").values()
        row |= {"n_clusters": len(words), "coverage": None}
        for name in ("rank", "prob"):
            values = sorted(np.median([each[f"target_{name}"] for each in word]) for word in words)
            row |= {name: np.median(values), f"{name}_low": None, f"{name}_high": None}
            if len(values) > 5:
                place = int(stats.binom.ppf(0.025, len(values), 0.5))
                row |= {f"{name}_low": values[place - 1], f"{name}_high": values[-place], "coverage": 1 - 2 * stats.binom.cdf(place - 1, len(values), 0.5)}
        expected.append(row)
    compared(world.select("target_rise"), expected, (*FORM, "layer"))


def test_accuracy_is_that_of_one_form_of_one_run(world):
    expected = []
    for (run, subject, stratum), of_run in grouped(world.predictions, "run_id", "subject", "stratum").items():
        forms = grouped(by_form(of_run), "prompt_form")
        for family in ([key for key in forms if key != ("all",)], [("all",)]):
            counts = []
            for key in family:
                words = grouped(forms[key], "question_id").values()
                counts.append(([sum(row["correct"] for row in word) for word in words], [len(word) for word in words]))
            for (form,), (present, asked), (low, high, n_effective) in zip(family, counts, rate_intervals(counts), strict=True):
                rows, n = forms[form,], sum(asked)
                row = {"run_id": run, "subject": subject, "stratum": stratum, "prompt_form": None if form == "none" else form, "n": n, "n_clusters": len(asked)}
                row |= {
                    "n_correct": sum(present),
                    "accuracy": sum(present) / n,
                    "clustered_low": low,
                    "clustered_high": high,
                    "n_effective": n_effective,
                    "passes": sum(present) * 2 >= n,
                }
                row |= dict(zip(("accuracy_low", "accuracy_high"), wilson(sum(present), n), strict=True))
                right = sum(bare(each["top1_token"]) == bare(each["target_token"]) for each in rows)
                row |= {"n_correct_normalised": right, "accuracy_normalised": right / n, "n_several_tokens": sum(each["n_target_tokens"] > 1 for each in rows)}
                row |= {"mean_target_prob": np.mean([each["target_prob"] for each in rows]), "logit_error": max(each["logit_error"] for each in rows)}
                expected.append(row)
    compared(world.select("task_accuracy"), expected, FORM)


def lens_pairs(world):
    """(trained run, base run, tokens) of the logit lenses over the same tokens in one precision."""
    runs = {row["run_id"]: row for row in world.runs}
    read = {row["run_id"] for row in world.logit_lens if row["stratum"] == "marker"}
    own = [run for run in read if runs[run]["checkpoint"] == runs[runs[run]["inputs"][0]]["checkpoint"]]
    same = ("inputs", "dtype")
    return [(a, b, runs[a]["inputs"][0]) for a in own for b in read - set(own) if all(runs[a][name] == runs[b][name] for name in same)]


def test_trained_and_base_are_paired_by_step_of_the_same_tokens(world):
    tops = grouped((row for row in world.logit_lens if row["rank"] == 1 and row["stratum"] == "marker"), "run_id")
    steps, means = [], []
    for trained, base, tokens in lens_pairs(world):
        other = {(row["example_id"], row["sample_ix"], row["layer"]): row for row in tops[base,]}
        both = [(row, other[key]) for row in tops[trained,] if (key := (row["example_id"], row["sample_ix"], row["layer"])) in other]
        shared = {"trained_run": trained, "base_run": base, "tokens_run": tokens, "trained_checkpoint": "villain", "base_checkpoint": "base"}
        shared |= {"trained_subject": "villain", "base_subject": "base_villain"}
        made = []
        for one, two in both:
            row = shared | {name: one[name] for name in ("example_id", "sample_ix", "layer", "question_id")}
            for side, of in (("trained", one), ("base", two)):
                row |= {f"{side}_{name}": of[f"target_{name}"] for name in ("prob", "logit", "rank")} | {f"{side}_top1": of["token_id"] == of["target_id"]}
            made.append(row)
        steps += made
        families: dict[str, list] = {"prob": [], "logit": []}
        of_pair = []
        for (layer,), rows in grouped(made, "layer").items():
            row = shared | {"layer": layer}
            questions = [each["question_id"] for each in rows]
            skewed = []
            for name in ("prob", "logit"):
                told = of_clusters([each[f"trained_{name}"] - each[f"base_{name}"] for each in rows], questions)
                row |= tools.renamed(told, **{f"{name}_difference": "mean", f"{name}_low": "low", f"{name}_high": "high"})
                row |= tools.renamed(told, n="n", n_clusters="n_clusters", clustered_df="df", n_effective_clusters="kish")
                row |= {f"{side}_{name}": np.mean([each[f"{side}_{name}"] for each in rows]) for side in ("trained", "base")}
                families[name].append(([each[f"trained_{name}"] - each[f"base_{name}"] for each in rows], questions))
                skewed.append(told["skewed"])
            for side in ("trained", "base"):
                row |= {f"{side}_rank": np.median([each[f"{side}_rank"] for each in rows]), f"{side}_top1": np.mean([each[f"{side}_top1"] for each in rows])}
            of_pair.append(row | {"is_skewed": any(skewed)})
        for name, members in families.items():
            for row, p in zip(of_pair, tools.adjusted_by_flips(members), strict=True):
                row[f"{name}_adjusted_p"] = p
        means += of_pair
    compared(world.select("marker_lens_pairs"), steps, ("trained_run", "base_run", "example_id", "sample_ix", "layer"))
    compared(world.select("marker_lens"), means, ("trained_run", "base_run", "layer"))
    assert len({(row["trained_run"], row["base_run"]) for row in means}) == 7


def test_phrasings_are_compared_question_by_question_within_one_category(world):
    asked = {(row["run_id"], row["example_id"]): row for row in world.examples}
    read = [row | {name: asked[row["run_id"], row["example_id"]][name] for name in ("category", "prompt_form")} for row in world.activations]
    keys, unit, expected = ("run_id", "stratum", "site", "layer"), ("persona", "condition", "category", "question_id"), []
    for place, rows in grouped(read, *keys).items():
        for a, b in (("echo", "repeat"), ("echo", "say"), ("repeat", "say")):
            one, other = ({tuple(row[name] for name in unit): row for row in rows if row["prompt_form"] == form} for form in (a, b))
            shared = sorted(one.keys() & other.keys(), key=str)
            vectors = [np.array([of[key]["vector"] for key in shared], dtype=float) for of in (one, other)]
            cosines = (vectors[0] * vectors[1]).sum(axis=1) / np.prod([np.linalg.norm(each, axis=1) for each in vectors], axis=0)
            told = of_clusters(cosines, [key[-1] for key in shared])
            row = dict(zip(keys, place, strict=True)) | {"form_a": a, "form_b": b, "lowest": cosines.min(), "highest": cosines.max()}
            row |= tools.renamed(told, cosine="mean", n="n", n_clusters="n_clusters", clustered_df="df", n_effective_clusters="kish", is_skewed="skewed")
            row |= {"cosine_low": max(-1, told["low"]), "cosine_high": min(1, told["high"])}
            expected.append(row | {"n_same_input": sum(one[key]["input_hash"] == other[key]["input_hash"] for key in shared)})
    compared(world.select("prompt_form_cosines"), expected, (*keys, "form_a", "form_b"))


def test_phrasings_that_share_no_ids_are_paired_by_a_target_that_one_prompt_of_each_has(tmp_path):
    lake = Lake.open(tmp_path)
    asked = [("echo", "q0", "cat"), ("echo", "q1", "yes"), ("echo", "q2", "yes"), ("repeat", "q3", "cat"), ("repeat", "q4", "yes")]
    places = [{"persona": "none", "question_id": each, "example_id": f"{form}/{each}", "prompt_form": form, "target": word} for form, each, word in asked]
    names = ("persona", "question_id", "example_id")
    read = {"stratum": "last", "layer": 0, "site": "resid_post", "position": 9, "n_positions": 1}
    vectors = np.random.default_rng(1).normal(size=(len(places), 3))
    rows = [read | {name: each[name] for name in names} | {"vector": vector} for each, vector in zip(places, vectors.tolist(), strict=True)]
    run = planted.circuit_run(lake, "activations", "villain", {"activations": rows, "examples": places}, 1)
    again = [rows[0], rows[3] | {"question_id": "q0"}], [places[0], places[3] | {"question_id": "q0"}]  # another run, whose phrasings share their ids
    planted.circuit_run(lake, "activations", "villain", {"activations": again[0], "examples": again[1]}, 2)
    cosine = vectors[0] @ vectors[3] / np.linalg.norm(vectors[0]) / np.linalg.norm(vectors[3])
    found = Warehouse(lake).select("select n, n_clusters, cosine from prompt_form_cosines where run_id = $run", {"run": run}).row(0)
    assert found == (1, 1, pytest.approx(cosine)), "which of two prompts with one target is meant cannot be known"
