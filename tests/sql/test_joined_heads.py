"""Every figure of heads and patches is that of its own readers, form, donor, method and place: numpy over the tables of a lake with several of each."""

import runpy
from itertools import product
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

READER = ("attribution_run", "ablation_run", "subject", "stratum", "prompt_form")
PROMPT = ("attribution_run", "ablation_run", "example_id", "sample_ix", "stratum", "position")
KINDS = {"lens_run": "logit_lens", "attribution_run": "attributions", "ablation_run": "ablations", "patch_runs": "patches"}
SMALLEST = 2.0**-149


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    lake = Lake.open(tmp_path_factory.mktemp("heads") / "lake")
    planted.build_circuits(lake)
    planted.analyse_twice(lake, ["head-families", "patch-families", "rank-agreement"])
    warehouse = Warehouse(lake)
    read = {name: warehouse.select(f"select * from {name}").to_dicts() for name in ("attributions", "ablations", "patches", "runs", "parameters")}
    for name in ("family_tests", "rank_agreement"):
        read[name] = warehouse.select(f"select * from {name} where seed = 42").to_dicts()
        assert warehouse.select(f"select count(*) from {name} where seed = 7").item() == len(read[name])
    holders = {name: set(warehouse.select(f"select distinct run_id from {name}")["run_id"]) for name in KINDS.values()}
    world = SimpleNamespace(select=lambda view: warehouse.select(f"select * from {view}").to_dicts(), holders=holders, **read)
    world.means = mean_worths(world)
    return world


def readers(world):
    """Rows of `circuit_runs`."""
    form = {row["run_id"]: row["value"].strip('"') for row in world.parameters if row["name"] == "form"}
    made = [row | {"tokens_run": (row["inputs"] or [None])[0], "form": form.get(row["run_id"])} for row in world.runs if row["kind"] == "extract"]
    made = [row for row in made if any(row["run_id"] in runs for runs in world.holders.values())]
    expected = []
    keys = ("subject", "checkpoint", "prompt_set", "form", "dtype", "tokens_run")
    for key, rows in grouped(made, *keys).items():
        rows.sort(key=lambda row: row["finished"], reverse=True)
        row = dict(zip(keys, key, strict=True)) | {"study": rows[0]["study"]}
        for name, kind in KINDS.items():
            found = [each["run_id"] for each in rows if each["run_id"] in world.holders[kind]]
            row[name] = (found or None) if name == "patch_runs" else next(iter(found), None)
        expected.append(row)
    return expected


def test_the_newest_runs_of_a_reader_are_those_of_its_own_form_precision_and_tokens(world):
    expected = readers(world)
    found = [row | {"patch_runs": ", ".join(row["patch_runs"] or [])} for row in world.select("circuit_runs")]
    wanted = [row | {"patch_runs": ", ".join(row["patch_runs"] or [])} for row in expected]
    compared(found, wanted, ("subject", "checkpoint", "prompt_set", "form", "dtype", "tokens_run"))
    assert len(expected) == 12 and any(row["study"] is None for row in expected) and any(row["study"] for row in expected)


def nats(base, prob):
    return float(np.log(max(base, SMALLEST)) - np.log(max(prob, SMALLEST)))


def worths(world):
    """Rows of `head_examples`."""
    direct, removed = grouped(world.attributions, "run_id"), grouped(world.ablations, "run_id")
    shared = ("subject", "checkpoint", "question_id", "example_id", "sample_ix", "stratum", "position", "layer", "head")
    made = []
    for reader in readers(world):
        runs = {name: reader[name] for name in ("attribution_run", "ablation_run")}
        for row in direct.get((runs["attribution_run"],), []):
            if row["component"] == "head":
                key = runs | {name: row[name] for name in shared} | {"prompt_form": row["prompt_form"] or "none"}
                made += [key | {"measure": name, "worth": row[name]} for name in ("direct", "direct_margin")]
        for row in removed.get((runs["ablation_run"],), []):
            key = runs | {name: row[name] for name in shared} | {"prompt_form": row["prompt_form"] or "none"}
            name = row["method"] if row["scale"] is None else f"{row['method']} {row['scale']}"
            found = {name: nats(row["base_prob"], row["prob"]), f"{name}_logit": row["base_logit"] - row["logit"]}
            found |= {f"{name}_margin": row["base_margin"] - row["margin"]} if row["margin"] is not None else {}
            found |= {"sieve": -row["sieve"]} if row["sieve"] is not None else {}
            made += [key | {"measure": measure, "worth": worth} for measure, worth in found.items()]
    for names, place in (((*PROMPT, "measure", "layer"), "layer_rank"), ((*PROMPT, "measure"), "rank")):
        for rows in grouped(made, *names).values():
            for row, rank in zip(rows, tools.places_of([each["worth"] for each in rows]), strict=True):
                row[place] = rank
    return made


def mean_worths(world):
    """Rows of `head_worths`."""
    found = worths(world)
    rows = [*found, *(row | {"prompt_form": "all"} for row in found)]
    tests = {tuple(row[name] for name in ("first_run", "second_run", *READER[2:], "measure", "layer", "head")): row for row in world.family_tests}
    expected = []
    for key, family in grouped(rows, *READER, "measure").items():
        of_family, members = [], []
        for (layer, head), each in grouped(family, "layer", "head").items():
            told = of_clusters([row["worth"] for row in each], [row["question_id"] for row in each])
            row = dict(zip((*READER, "measure"), key, strict=True)) | {"layer": layer, "head": head, "sem": told["sem"], "checkpoint": each[0]["checkpoint"]}
            row |= tools.renamed(told, worth="mean", worth_low="low", worth_high="high", n="n", n_clusters="n_clusters", clustered_df="df")
            row |= tools.renamed(told, n_effective_clusters="kish", is_skewed="skewed")
            row |= {"n_layer_top3": sum(one["layer_rank"] <= 3 for one in each), "n_top3": sum(one["rank"] <= 3 for one in each)}
            tested = tests.get((*key, layer, head), {})
            of_family.append(row | {"adjusted_p": None, "bootstrap_t_adjusted_p": tested.get("bootstrap_t_adjusted_p")})
            members.append(([row["worth"] for row in each], [row["question_id"] for row in each]))
        if key[-1] in ("direct", "direct_margin", "zero", "mean", "resample"):
            for row, adjusted in zip(of_family, tools.adjusted_by_flips(members), strict=True):
                row["adjusted_p"] = adjusted
        drawn = tools.shrunken([row["worth"] for row in of_family], [row.pop("sem") for row in of_family])
        ranks = tools.places_of([row["worth"] for row in of_family])
        for row, value, rank in zip(of_family, drawn, ranks, strict=True):
            inside = [each["worth"] for each in of_family if each["layer"] == row["layer"]]
            expected.append(row | {"shrunken": value, "rank": rank, "layer_rank": 1 + sum(worth > row["worth"] for worth in inside)})
    return expected


def test_the_worth_of_a_head_at_a_prompt_is_that_of_one_method(world):
    compared(world.select("head_examples"), worths(world), (*PROMPT, "layer", "head", "measure"))


def test_the_worth_of_a_head_is_the_mean_over_its_own_prompts(world):
    expected = world.means
    compared(world.select("head_worths"), expected, (*READER, "measure", "layer", "head"))
    assert {"scale 0.5", "scale 2.0", "resample", "mean_logit", "zero_margin"} <= {row["measure"] for row in expected}
    assert any(row["adjusted_p"] is not None and row["measure"] == "resample" for row in expected)


def effects(world):
    """Rows of `head_effects`."""
    wide: dict[tuple, dict] = {}
    for row in world.means:
        of_head = wide.setdefault(tuple(row[name] for name in (*READER, "layer", "head")), {})
        of_head |= {"checkpoint": row["checkpoint"]} | {name: max(of_head.get(name, 0), row[name]) for name in ("n", "n_clusters")}
        name, sign = row["measure"].replace("direct", "dla"), 1 if row["measure"].startswith("direct") else -1
        if name.startswith(("scale", "sieve")):
            continue
        of_head[name] = sign * row["worth"]
        if not name.endswith(("_margin", "_logit")) or name == "dla_margin":
            of_head |= {f"{name}_adjusted_p": row["adjusted_p"], f"{name}_shrunken": sign * row["shrunken"], f"{name}_rank": row["rank"]}
            if name != "resample":
                of_head |= {f"n_{name}_layer_top3": row["n_layer_top3"], f"n_{name}_top3": row["n_top3"]}
            if name not in ("mean", "resample"):
                of_head[f"{name}_layer_rank"] = row["layer_rank"]
    direct = grouped((row for row in world.attributions if row["component"] == "head"), "run_id", "stratum", "layer", "head")
    removed = grouped(world.ablations, "run_id", "stratum", "layer", "head", "method")
    expected = []
    for key, found in wide.items():
        attribution, ablation, _, stratum, form, layer, head = key
        mine = [row for row in direct.get((attribution, stratum, layer, head), []) if form in ("all", row["prompt_form"] or "none")]
        found |= {name: np.mean([row[of] for row in mine]) for name, of in (("bos_fraction", "bos"), ("attention_entropy", "entropy"))} if mine else {}
        for method in ("zero", "mean", "resample"):
            mine = [row for row in removed.get((ablation, stratum, layer, head, method), []) if form in ("all", row["prompt_form"] or "none")]
            found |= {f"kl_{method}": np.mean([row["kl"] for row in mine]) if mine else None}
            found |= {f"flips_{method}": np.mean([row["top1_id"] != row["base_top1_id"] for row in mine]) if mine else None}
        expected.append(dict(zip((*READER, "layer", "head"), key, strict=True)) | found)
    columns = set().union(*expected)
    return [dict.fromkeys(columns) | row for row in expected]


def test_the_effects_of_a_head_stand_side_by_side(world):
    expected, found = effects(world), world.select("head_effects")
    compared(found, expected, (*READER, "layer", "head"))
    assert set(found[0]) == set(expected[0]), "every column is compared"


def test_a_head_shows_the_newest_effects_of_its_checkpoint(world):
    finished = {row["run_id"]: row["finished"] for row in world.runs}
    runs = ("attribution_run", "ablation_run")
    newest: dict[tuple, tuple] = {}
    read = [row for row in readers(world) if any(row[name] for name in runs) and row["subject"] == row["checkpoint"]]
    for row in sorted(read, key=lambda row: max(finished[row[name]] for name in runs if row[name])):
        newest[row["checkpoint"], row["tokens_run"] is None] = tuple(row[name] for name in runs)
    expected: dict[tuple, dict] = {}
    names = ("dla", "dla_margin", "zero", "zero_adjusted_p", "zero_shrunken", "zero_margin", "zero_logit", "kl_zero")
    for row in effects(world):
        for (checkpoint, is_task), pair in newest.items():
            if tuple(row[name] for name in runs) == pair and row["prompt_form"] == "all":
                kind, key = "task" if is_task else "marker", (checkpoint, row["layer"], row["head"])
                of_head = expected.setdefault(key, dict(zip(("checkpoint", "layer", "head"), key, strict=True)))
                of_head |= {f"{kind}_{name}": row[name] for name in names} | {f"n_{kind}": row["n"]}
                of_head |= {"task_mean": row["mean"], "task_bos": row["bos_fraction"]} if is_task else {}
    columns = set().union(*expected.values())
    compared(world.select("heads"), [dict.fromkeys(columns) | row for row in expected.values()], ("checkpoint", "layer", "head"))


def agreement(one, other):
    """Spearman's correlation over the last axis."""
    ranks = [stats.rankdata(each, axis=-1) for each in (one, other)]
    ranks = [each - each.mean(axis=-1, keepdims=True) for each in ranks]
    return (ranks[0] * ranks[1]).sum(axis=-1) / np.sqrt((ranks[0] ** 2).sum(axis=-1) * (ranks[1] ** 2).sum(axis=-1))


def reliability(values, clusters):
    """Rank agreement of halves of the questions at full length, over the ten splits of the analysis; None with fewer than four questions."""
    names = sorted(set(clusters))
    if len(names) < 4:
        return None
    found = []
    for split in np.argsort(np.random.default_rng(42).random((10, len(names))), axis=1) % 2:
        half = np.array([split[names.index(name)] for name in clusters])
        found.append(agreement(values[half == 0].mean(axis=0), values[half == 1].mean(axis=0)))
    agreed = max(0.0, float(np.mean(found)))
    return 2 * agreed / (1 + agreed)


def rankings(world):
    """By reader and measure: worths [prompts, heads], the layer of each head, and the question of each prompt; prompts and heads are in one order."""
    found = worths(world)
    told: dict[tuple, dict] = {}
    for key, rows in grouped([*found, *(row | {"prompt_form": "all"} for row in found)], *READER, "measure").items():
        prompts = grouped(rows, "question_id", "example_id", "sample_ix")
        order, heads = sorted(prompts, key=str), sorted({(row["layer"], row["head"]) for row in rows})
        at = [{(row["layer"], row["head"]): row["worth"] for row in prompts[each]} for each in order]
        values = np.array([[row[head] for head in heads] for row in at])
        told.setdefault(key[:-1], {})[key[-1]] = values, np.array([layer for layer, _ in heads]), [each[0] for each in order]
    return told


def test_two_measures_are_ranked_over_the_same_heads_and_prompts(world):
    ranking = ("attribution_run", "ablation_run", "stratum", "prompt_form", "measure_a", "measure_b", "layer")
    computed = {tuple(row[name] for name in ranking): row for row in world.rank_agreement}
    expected = []
    for key, measures in rankings(world).items():
        removed = [name for name in measures if not name.startswith(("direct", "sieve"))]
        pairs = [*product(measures.keys() & {"direct", "direct_margin"}, removed), *([("sieve", "zero_logit")] if "sieve" in measures else [])]
        for layer in (None, *range(planted.LAYERS)):
            tables = {name: values[:, (layers == layer) | (layer is None)] for name, (values, layers, _) in measures.items()}
            clusters = next(iter(measures.values()))[2]
            halves = {name: reliability(values, clusters) for name, values in tables.items()}
            places = {name: np.array(tools.places_of(values.mean(axis=0))) for name, values in tables.items()}
            for a, b in pairs:
                row = dict(zip(READER, key, strict=True)) | {"measure_a": a, "measure_b": b, "layer": layer, "n": len(clusters), "interval_missing": None}
                row |= {"n_clusters": len(set(clusters)), "n_heads": len(places[a]), "spearman": agreement(tables[a].mean(axis=0), tables[b].mean(axis=0))}
                row |= {"n_shared_top3": ((places[a] <= 3) & (places[b] <= 3)).sum(), "same_first": bool(((places[a] == 1) & (places[b] == 1)).any())}
                row |= {"prompt_spearman": agreement(tables[a], tables[b]).mean(), "reliability_a": halves[a], "reliability_b": halves[b], "seed": 42}
                drawn = computed[tuple(row[name] for name in ranking)]
                row |= {"spearman_low": drawn["low"], "spearman_high": drawn["high"], "corrected": drawn["corrected"]}
                noisy = drawn["corrected_low"] is None or min(halves[a], halves[b]) < 0.6
                row |= {name: None if noisy else drawn[name] for name in ("corrected_low", "corrected_high")}
                why = "too few questions" if halves[a] is None else "too noisy to tell" if noisy else None
                expected.append(row | {"corrected_missing": why})
    compared(world.select("dla_vs_ablation"), expected, (*READER, "measure_a", "measure_b", "layer"))
    assert {row["corrected_missing"] for row in expected} == {None, "too few questions", "too noisy to tell"}


def test_a_patch_is_that_of_one_donor_and_direction_at_one_site(world):
    family, place = ("run_id", "stratum", "prompt_form", "donor", "direction", "site"), ("layer", "head")
    named = [row | {"prompt_form": row["prompt_form"] or "none"} for row in world.patches]
    expected = []
    for key, of_family in grouped([*named, *(row | {"prompt_form": "all"} for row in named)], *family).items():
        made, members = [], []
        for where, rows in grouped(of_family, *place).items():
            questions = [row["question_id"] for row in rows]
            lost = [-nats(row["base_prob"], row["prob"]) for row in rows]
            logits = [row["logit"] - row["base_logit"] for row in rows]
            whole = [row for row in rows if row["restored"] is not None]
            change, logit = of_clusters(lost, questions), of_clusters(logits, questions)
            restored = of_clusters([row["restored"] for row in whole], [row["question_id"] for row in whole])
            row = dict(zip((*family, *place), (*key, *where), strict=True)) | {name: rows[0][name] for name in ("subject", "checkpoint")}
            row |= tools.renamed(change, log_prob_change="mean", log_prob_change_low="low", log_prob_change_high="high", n="n", n_clusters="n_clusters")
            row |= tools.renamed(change, clustered_df="df", n_effective_clusters="kish", sem="sem")
            row |= tools.renamed(logit, logit_change="mean", logit_change_low="low", logit_change_high="high")
            row |= tools.renamed(restored, restored="mean", restored_low="low", restored_high="high", n_restored="n", restored_df="df")
            told = [each["skewed"] for each in (change, logit, restored)]
            row |= {
                "is_skewed": None if told[0] is None else any(told),
                "restored_pooled": sum(logits) / sum(row["donor_logit"] - row["base_logit"] for row in rows),
            }
            row |= {"restored_pooled_log_prob": sum(lost) / sum(-nats(each["base_prob"], each["donor_prob"]) for each in rows)}
            row |= {name: np.mean([each[name] for each in rows]) for name in ("base_prob", "donor_prob", "prob", "kl", "base_kl")}
            made.append(row | {"kl_removed": 1 - row["kl"] / row["base_kl"]})
            members.append((lost, questions))
        drawn = tools.shrunken([row["log_prob_change"] for row in made], [row.pop("sem") for row in made])
        alone = len(set(members[0][1])) < 2
        adjusted = [None] * len(made) if alone else tools.adjusted_by_flips(members)
        told = [{"log_prob_change_shrunken": value, "log_prob_change_adjusted_p": p} for value, p in zip(drawn, adjusted, strict=True)]
        expected += [row | each for row, each in zip(made, told, strict=True)]
    compared(world.select("patch_effects"), expected, (*family, *place))
    assert {(row["donor"], row["direction"]) for row in expected} == {("villain", "base"), ("base", "villain"), ("echo", "villain"), ("say", "villain")}
