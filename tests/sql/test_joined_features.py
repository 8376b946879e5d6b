"""Every figure over autoencoder features is that of its own run, autoencoder, layer, site, stratum and condition: numpy over the tables, row by row."""

import runpy
from itertools import combinations, product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.source import WarehouseSource
from personascope.warehouse.drawing.figures import condition_similarity
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(5)

planted, tools = (SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name(name)))) for name in ("planted_joins.py", "joined_tables.py"))
grouped, compared = tools.grouped, tools.compared

PLACE = ("run_id", "sae_id", "layer", "site", "stratum")
PAIR = (*PLACE, "condition_a", "condition_b")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    lake = Lake.open(tmp_path_factory.mktemp("joins") / "lake")
    planted.build_features(lake)
    planted.analyse_twice(lake, ["feature-tests", "similarity-intervals"])
    warehouse = Warehouse(lake)
    tables = ("features", "feature_examples", "feature_directions", "activations", "examples", "sae")
    read = {name: warehouse.select(f"select * from {name}").to_dicts() for name in tables}
    for name in ("feature_tests", "similarity_intervals"):
        read[name] = warehouse.select(f"select * from {name} where seed = 42").to_dicts()
        assert warehouse.select(f"select count(*) from {name} where seed = 7").item() == len(read[name])
    inputs = dict(warehouse.select("select run_id, inputs[1] from analysis_standing").rows())
    return SimpleNamespace(select=lambda view: warehouse.select(f"select * from {view}").to_dicts(), inputs=inputs, warehouse=warehouse, **read)


def mean_vectors(world) -> dict[tuple, dict[str, tuple[np.ndarray, int]]]:
    """Mean vector and number of readings of every condition, by (basis, run, autoencoder, layer, site, stratum)."""
    found: dict[tuple, dict[str, tuple[np.ndarray, int]]] = {}
    read = grouped((row for row in world.feature_examples if row["condition"] is not None), *PLACE, "condition")
    fired = grouped(world.features, *PLACE, "condition")
    for (*place, condition), rows in read.items():
        total = np.zeros(40)
        for row in fired.get((*place, condition), []):
            total[row["feature"]] += row["value"]
        found.setdefault(("features", *place), {})[condition] = total / len(rows), len(rows)
        vectors = np.array([row["vector"] for row in rows], dtype=float)
        found.setdefault(("activations", *place), {})[condition] = vectors.mean(axis=0), len(rows)
    for (run, layer, site, stratum, condition), rows in grouped(world.activations, "run_id", "layer", "site", "stratum", "condition").items():
        vectors = np.array([row["vector"] for row in rows], dtype=float)
        found.setdefault(("activations", run, None, layer, site, stratum), {})[condition] = vectors.mean(axis=0), len(rows)
    return found


def cosine(one: np.ndarray, other: np.ndarray) -> float | None:
    lengths = np.linalg.norm(one) * np.linalg.norm(other)
    return float(one @ other / lengths) if lengths else None


def intervals(world) -> dict[tuple, dict]:
    names = ("basis", "sae_id", "layer", "site", "stratum", "condition_a", "condition_b")
    return {(row["basis"], world.inputs[row["run_id"]], *(row[name] for name in names[1:])): row for row in world.similarity_intervals}


def test_conditions_are_alike_within_one_place_of_one_run(world):
    expected, sure = [], intervals(world)
    for (basis, run, *place), means in mean_vectors(world).items():
        for a, (one, n_a) in means.items():
            for b, (other, n_b) in means.items():
                row = dict(zip(PAIR, (run, *place, a, b), strict=True)) | {"basis": basis, "origin": "extracted", "cosine": cosine(one, other)}
                known = sure.get((basis, run, *place, a, b), {})
                row |= {name: known.get(name) for name in ("corrected", "low", "high", "n_clusters")}
                expected.append(row | {"n_a": n_a, "n_b": n_b, "decimals": None})
    compared(world.select("condition_similarity"), expected, ("basis", *PAIR))
    assert sum(row["corrected"] is not None for row in expected) > 300 and any(row["cosine"] is None for row in expected)


def test_a_matrix_of_conditions_shows_one_site_of_one_run(world):
    drawings = condition_similarity.draw(WarehouseSource(world.warehouse), "any")
    places = [key for key in mean_vectors(world) if key[0] == "features" or key[2] is None]  # encoded activations are those of the runs of activations
    assert len(drawings) == len(places)
    for drawing in drawings:
        assert len(drawing.figure.rows) == len(planted.CONDITIONS) ** 2, drawing.title
    assert len({drawing.title for drawing in drawings if "activations" in drawing.title}) == 12, "layers, sites and strata"


def question_sums(world) -> dict[tuple, dict[tuple, np.ndarray]]:
    """Sum of the vectors of each (condition, question), by (basis, run, autoencoder, layer, site, stratum)."""
    found: dict[tuple, dict[tuple, np.ndarray]] = {}
    encoded = [row for row in world.feature_examples if row["condition"] is not None]
    for row in [*({"sae_id": None} | each for each in world.activations), *encoded]:
        place = found.setdefault(("activations", *(row[name] for name in PLACE)), {})
        key = row["condition"], row["question_id"]
        place[key] = place.get(key, 0) + np.array(row["vector"], dtype=float)
        if row["sae_id"] is not None:
            found.setdefault(("features", *(row[name] for name in PLACE)), {}).setdefault(key, np.zeros(40))
    for row in world.features:
        if row["condition"] is not None:
            found["features", *(row[name] for name in PLACE)][row["condition"], row["question_id"]][row["feature"]] += row["value"]
    return found


def corrected(sums, a, b, questions) -> float:
    """Cosine of two conditions from products of different questions alone; NaN where a length is not above 0."""
    square = {(c, d): sum(sums[c, p] @ sums[d, q] for p in questions for q in questions if p != q) for c, d in ((a, a), (a, b), (b, b))}
    return square[a, b] / np.sqrt(square[a, a] * square[b, b]) if min(square[a, a], square[b, b]) > 0 else np.nan


def test_corrected_cosines_are_those_of_pairs_of_different_questions(world):
    """By loops over questions, of every place whose conditions share theirs, with the jackknife over them."""
    known, n = intervals(world), len(planted.QUESTIONS)
    places = {place: sums for place, sums in question_sums(world).items() if place[-1] != "answer_mean"}
    assert {key[:6] for key in known} == places.keys()
    for place, sums in places.items():
        for a, b in combinations(planted.CONDITIONS, 2):
            whole = corrected(sums, a, b, planted.QUESTIONS)
            without = np.array([corrected(sums, a, b, [each for each in planted.QUESTIONS if each != left]) for left in planted.QUESTIONS])
            reach = np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum()) * stats.t.ppf(0.975, n - 1)
            ends = (max(-1, whole - reach), min(1, whole + reach)) if reach > 1e-8 else (None, None)
            for key in ((*place, a, b), (*place, b, a)):
                row = known[key]
                assert row["corrected"] == (None if np.isnan(whole) else pytest.approx(whole, abs=1e-9)), key
                assert (row["low"], row["high"]) == (ends if ends[0] is None else pytest.approx(ends, abs=1e-8)), key


def test_the_outlier_is_named_for_each_place(world):
    expected, sure = [], intervals(world)
    for (basis, run, *place), means in mean_vectors(world).items():
        of_place = []
        for a, (one, _) in means.items():
            others = [cosine(one, other) for b, (other, _) in means.items() if b != a]
            known = [each for each in others if each is not None]
            row = dict(zip((*PLACE, "condition"), (run, *place, a), strict=True)) | {"basis": basis, "origin": "extracted", "n_others": len(known)}
            row |= {"mean_similarity": np.mean(known), "lowest": min(known), "highest": max(known)} if known else {"mean_similarity": None, "lowest": None}
            row |= {"asymmetry": 0.0 if known else None, "self_similarity": cosine(one, one)}
            interval = sure.get((basis, run, *place, a, None), {})
            of_place.append(row | {name: interval.get(name) for name in ("corrected", "low", "high", "outlier_share", "n_clusters")})
        ordered = sorted(of_place, key=lambda row: np.inf if row["mean_similarity"] is None else row["mean_similarity"])
        expected += [row | {"rank": place} for place, row in enumerate(ordered, 1)]
    compared(world.select("condition_outliers"), expected, ("basis", *PLACE, "condition"))


def test_the_map_of_conditions_has_the_principal_axes_of_numpy(world):
    expected = []
    for (basis, run, sae_id, layer, site, stratum), means in mean_vectors(world).items():
        if basis == "features" or sae_id is not None:
            continue
        points = np.array([means[name][0].astype(np.float32) for name in sorted(means)], dtype=float)
        points -= points.mean(axis=0)
        left, singular, _ = np.linalg.svd(points, full_matrices=False)
        places = left * singular
        places *= np.where(places.max(axis=0) >= -places.min(axis=0), 1, -1)
        share = singular**2 / (singular**2).sum()
        for number, condition in enumerate(sorted(means)):
            row = {"run_id": run, "layer": layer, "site": site, "stratum": stratum, "condition": condition, "n": means[condition][1]}
            row |= {"n_conditions": len(means), "x": places[number, 0], "y": places[number, 1], "x_share": share[0], "y_share": share[1]}
            expected.append(row | {"norm_centered": np.linalg.norm(points[number])})
    compared(world.select("condition_map"), expected, ("run_id", "stratum", "layer", "site", "condition"))


def differences(world) -> list[dict]:
    """Rows of `direction_differences`, from a loop over questions."""
    expected = []
    hashes = grouped(world.feature_examples, *PLACE, "condition", "question_id")
    inputs = {key: tuple(sorted(row["input_hash"] for row in rows)) for key, rows in hashes.items()}
    for (*place, kind, feature), rows in grouped(world.feature_directions, *PLACE, "kind", "feature").items():
        means = {key: np.mean([row["projection"] for row in each]) for key, each in grouped(rows, "condition", "question_id").items()}
        for a, b in combinations(sorted({row["condition"] for row in rows if row["condition"] is not None}), 2):
            units: dict[tuple, list[float]] = {}
            for question in planted.QUESTIONS:
                if (a, question) in means and (b, question) in means:
                    unit = inputs[(*place, a, question)], inputs[(*place, b, question)]
                    units.setdefault(unit, []).append(means[a, question] - means[b, question])
            each = [np.mean(unit) for unit in units.values()]
            row = dict(zip(PAIR, (*place, a, b), strict=True)) | {"kind": kind, "feature": feature, "description": rows[0]["description"]}
            row |= {"projection": np.mean(each), "sem": stats.sem(each) if len(each) > 1 else None}
            expected.append(row | {"n": sum(map(len, units.values())), "n_distinct": len(each)})
    return expected


def test_projections_are_paired_by_question_and_stand_beside_random_ones_of_their_place(world):
    made = differences(world)
    compared(world.select("direction_differences"), made, (*PAIR, "kind", "feature"))
    projections, lists = [], []
    for key, rows in grouped(made, *PAIR).items():
        named, drawn = ([row for row in rows if row["kind"] == kind] for kind in ("named", "random"))
        null = np.array([row["projection"] for row in sorted(drawn, key=lambda row: row["feature"])])
        shared = dict(zip(PAIR, key, strict=True)) | {"origin": "extracted"}
        for row in named:
            value, n = row["projection"], row["n_distinct"]
            ends = (None, None) if n == 1 else stats.t.interval(0.95, n - 1, value, row["sem"])
            winner = f"{key[-2]}>{key[-1]}" if value > 0 else f"{key[-1]}>{key[-2]}"
            told = {"projection": value, "low": ends[0], "high": ends[1], "n": row["n"], "n_distinct": n, "refused": n == 1, "direction": winner}
            told |= {"null_mean": null.mean(), "null_sd": null.std(ddof=1), "n_random": len(null), "description": row["description"]}
            told |= dict(zip(("null_low", "null_high"), np.quantile(null, (0.025, 0.975)), strict=True))
            told |= {"p": (1 + (abs(null) >= abs(value)).sum()) / (1 + len(null)), "p_greater": (1 + (null >= value).sum()) / (1 + len(null))}
            told |= {"p_less": (1 + (null <= value).sum()) / (1 + len(null)), "printed_direction": None, "decimals": None}
            projections.append(shared | told | {"feature": row["feature"]})
        values = np.array([row["projection"] for row in named])
        size, sets = abs(values), [abs(null[start : start + len(values)]).mean() for start in range(0, len(null) - len(values) + 1, len(values))]
        told = {"n_features": len(values), "mean_abs_projection": size.mean(), "mean_projection": values.mean(), "n_positive": (values > 0).sum()}
        told |= {"n_negative": (values < 0).sum(), "sign_p": stats.binomtest(int((values < 0).sum()), len(values)).pvalue, "n_sets": len(sets)}
        told |= {"largest_feature": named[size.argmax()]["feature"], "largest_share": size.max() / size.sum(), "set_mean": np.mean(sets)}
        told |= {"set_sd": np.std(sets, ddof=1), "set_p": (1 + sum(each >= size.mean() for each in sets)) / (1 + len(sets)), "n_directions_disagree": 0}
        lists.append(shared | told)
    compared(world.select("feature_projections"), projections, (*PAIR, "feature"))
    compared(world.select("feature_projection_summary"), lists, PAIR)


def test_a_histogram_counts_the_readings_of_its_own_condition(world):
    expected = []
    read = grouped(world.feature_examples, *PLACE, "condition")
    for (*place, feature), rows in grouped(world.features, *PLACE, "feature").items():
        largest = max(row["value"] for row in rows)
        for condition in {key[-1] for key in read if list(key[:-1]) == place}:
            n_readings = len(read[(*place, condition)])
            values = [row["value"] for row in rows if row["condition"] == condition]
            steps = np.ceil(20 * np.array(values) / largest).astype(int)
            counts = {0: n_readings - len(values)} | {int(step): int((steps == step).sum()) for step in set(steps)}
            for step, n in counts.items():
                row = dict(zip((*PLACE, "feature"), (*place, feature), strict=True)) | {"condition": condition, "step": step, "n": n}
                row |= {"n_readings": n_readings, "share": n / n_readings, "checkpoint": rows[0]["checkpoint"]}
                expected.append(row | {"low": max(0, step - 1) * largest / 20, "high": step * largest / 20})
    compared(world.select("feature_histogram"), expected, (*PLACE, "feature", "condition", "step"))


def test_prompts_of_a_feature_are_ordered_within_its_place(world):
    asked = {(row["run_id"], row["example_id"]): row["question"] for row in world.examples}
    pages = {(row["run_id"], row["sae_id"]): row["neuronpedia"] for row in world.sae}
    expected = []
    for (*_, feature), rows in grouped(world.features, *PLACE, "feature").items():
        ordered = sorted(rows, key=lambda row: (-row["value"], row["example_id"], row["sample_ix"] or 0))
        for place, row in enumerate(ordered, 1):
            told = {name: row[name] for name in (*PLACE, "feature", "example_id", "sample_ix", "checkpoint", "condition", "question_id", "value")}
            told |= {"place": place, "n_firing": len(rows), "question": asked[row["run_id"], row["example_id"]]}
            expected.append(told | {"neuronpedia_url": f"https://www.neuronpedia.org/{pages[row['run_id'], row['sae_id']]}/{feature}"})
    compared(world.select("feature_prompts"), expected, (*PLACE, "feature", "example_id", "sample_ix"))


def comparisons(world) -> list[dict]:
    """Rows of `feature_differences` of the tests that stand, from all sign flips of distinct inputs; thresholds are drawn, so they come from the table."""
    analysis = {world.inputs[row["run_id"]]: row["run_id"] for row in world.feature_tests}
    drawn = {(row["features_run"], *(row[name] for name in PAIR[1:])): row["published_threshold"] for row in world.feature_tests}
    widths = {(row["run_id"], row["sae_id"]): (row["n_features"], row["neuronpedia"]) for row in world.sae}
    fired, expected = grouped(world.features, *PLACE), []
    for place, rows in grouped((row for row in world.feature_examples if row["condition"] is not None), *PLACE).items():
        read = grouped(rows, "condition", "question_id")
        for a, b in combinations(sorted(planted.CONDITIONS), 2):
            units: dict[tuple, str] = {}
            both = [question for question in planted.QUESTIONS if (a, question) in read and (b, question) in read]
            for question in both:
                units.setdefault(tuple(tuple(sorted(row["input_hash"] for row in read[c, question])) for c in (a, b)), question)
            values = {c: np.zeros((len(units), 40)) for c in (a, b)}
            for row in fired[place]:
                if row["condition"] in values and row["question_id"] in units.values():
                    unit = list(units.values()).index(row["question_id"])
                    values[row["condition"]][unit, row["feature"]] += row["value"] / len(read[row["condition"], row["question_id"]])
            firing = np.flatnonzero((values[a] + values[b]).any(axis=0))
            one, other = values[a][:, firing], values[b][:, firing]
            shared = dict(zip(PAIR, (analysis[place[0]], *place[1:], a, b), strict=True)) | {"origin": "extracted", "n": len(both), "n_distinct": len(units)}
            n_features, page = widths[place[0], place[1]]
            shared |= {"n_tested": len(firing), "n_silent": n_features - len(firing), "refused": len(units) < 2, "features_run": place[0]}
            shared |= {"threshold": drawn[(*place, a, b)], "page": page}
            told = of_units(one, other) if len(units) > 1 else {}
            for number, feature in enumerate(firing):
                row = shared | {"feature": int(feature), "difference": (one - other).mean(axis=0)[number]}
                names = ("effect", "paired_effect", "p", "maxt_p", "bh_p")
                expected.append(row | {name: told[name][number] if told else None for name in names})
    return expected


def of_units(one: np.ndarray, other: np.ndarray) -> dict[str, np.ndarray | list]:
    """Effects and p of columns over units, by all flips of signs."""
    each = one - other
    flips = np.array(list(product((1, -1), repeat=len(each)))) @ (each / np.sqrt((each**2).sum(axis=0)))
    observed = abs(flips[0]) * (1 - 1e-9)
    p, maxt = (abs(flips) >= observed).mean(axis=0), (abs(flips).max(axis=1)[:, None] >= observed).mean(axis=0)
    sd, pooled = each.std(axis=0, ddof=1), np.sqrt((one.var(axis=0) + other.var(axis=0)) / 2)
    told = {"p": p, "maxt_p": maxt, "bh_p": np.minimum(stats.false_discovery_control(p), maxt)}
    return told | {"paired_effect": each.mean(axis=0) / sd, "effect": each.mean(axis=0) / pooled}


def test_features_are_compared_within_one_place_and_superseded_tests_are_not_read(world):
    made = comparisons(world)
    rows, summaries = [], []
    for key, group in grouped(made, *PAIR).items():
        of_all = not group[0]["refused"]
        beyond = [of_all and abs(row["effect"]) > row["threshold"] for row in group]
        ordered = sorted(group, key=lambda row: (-abs(row["effect"] or 0), -abs(row["difference"])))
        for row, significant in zip(group, beyond, strict=True):
            told = {name: value for name, value in row.items() if name not in ("features_run", "page", "n_tested", "n_silent")}
            told |= {"significant": significant if of_all else None, "n_significant": sum(beyond) if of_all else None, "rank": 1 + ordered.index(row)}
            rows.append(told | {"neuronpedia_url": f"https://www.neuronpedia.org/{row['page']}/{row['feature']}"})
        told = {name: group[0][name] for name in ("features_run", "n", "n_distinct", "n_tested", "n_silent", "threshold", "refused")}
        told |= {"largest_difference": max(abs(row["difference"]) for row in group), "n_published": sum(beyond) if of_all else None, "seed": 42}
        told |= {f"n_{name}": sum(row[f"{name}_p"] <= 0.05 for row in group) if of_all else None for name in ("maxt", "bh")}
        summaries.append(dict(zip(PAIR, key, strict=True)) | told)
    compared(world.select("feature_differences"), rows, (*PAIR, "feature"))
    compared(world.select("feature_test_summary"), summaries, PAIR)


def test_choices_are_those_of_one_autoencoder_and_pair(world):
    expected = []
    counted = [row for row in world.feature_tests if not row["refused"]]
    for (run, sae_id, a, b), rows in grouped(counted, "run_id", "sae_id", "condition_a", "condition_b").items():
        choices = []
        for (layer, site, stratum), of_place in grouped(rows, "layer", "site", "stratum").items():
            rules = {("max-T", 0.05): "maxt_p", ("max-T", 0.01): "maxt_p", ("false discovery rate", 0.05): "bh_p", ("false discovery rate", 0.01): "bh_p"}
            found = {key: sum(row[name] <= key[1] for row in of_place) for key, name in rules.items()}
            found["published", 0.001] = sum(abs(row["published_effect"]) > row["published_threshold"] for row in of_place)
            for (rule, level), n in found.items():
                row = dict(zip(PAIR, (run, sae_id, layer, site, stratum, a, b), strict=True)) | {"rule": rule, "level": level, "estimate": n}
                row |= {"conclusion": "differ" if n else "do not differ", "is_reference": (rule, level, stratum) == ("max-T", 0.05, "last")}
                choices.append(row | {"n": of_place[0]["n"], "features_run": world.inputs[run]})
        (reference,) = (row["conclusion"] for row in choices if row["is_reference"])
        same = sum(row["conclusion"] == reference for row in choices)
        expected += [row | {"reference": reference, "n_choices": len(choices), "n_same": same, "share_same": same / len(choices)} for row in choices]
    compared(world.select("sensitivity_features"), expected, (*PAIR, "rule", "level"))
