"""Every figure of directions and of steering is that of its own run, layer, site, mode and dose: numpy over the tables of a lake with several of each."""

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

ARM = ("run_id", "direction", "layer", "mode", "dose", "persona", "outcome")
SIDE = ("run_id", "direction", "layer", "mode", "side", "persona", "outcome")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    lake = Lake.open(tmp_path_factory.mktemp("directions") / "lake")
    planted.build_directions(lake)
    warehouse = Warehouse(lake)
    names = ("directions", "steering", "steering_projections", "steering_capability", "projections")
    read = {name: warehouse.select(f"select * from {name}").to_dicts() for name in names}
    limits = dict(warehouse.select("select name, value::double from thresholds").rows())
    world = SimpleNamespace(select=lambda view: warehouse.select(f"select * from {view}").to_dicts(), limits=limits, **read)
    world.outcomes = outcomes(world)
    world.changes = changes(world.outcomes, world.limits)
    return world


def test_cosines_are_those_of_one_layer_and_site(world):
    found = [row for row in world.directions if row["control_of"] is None]
    expected = []
    for one in found:
        for other in found:
            if (one["layer"], one["site"]) == (other["layer"], other["site"]) and (one["run_id"] == other["run_id"]) != (
                one["direction"] == other["direction"]
            ):
                a, b = (np.array(each["vector"], dtype=float) for each in (one, other))
                agreed = [each["other_half_cosine"] for each in (one, other)]
                row = {name: one[name] for name in ("run_id", "checkpoint", "layer", "site", "direction", "kind", "half")}
                row |= {f"other_{name}": other[name] for name in ("run_id", "checkpoint", "direction", "half")}
                row |= {"cosine": a @ b / np.linalg.norm(a) / np.linalg.norm(b), "d_model": len(a), "random_sd": len(a) ** -0.5}
                expected.append(row | {"ceiling": np.sqrt(np.prod(agreed)) if None not in agreed and min(agreed) > 0 else None})
    compared(world.select("direction_cosines"), expected, ("run_id", "other_run_id", "layer", "site", "direction", "other_direction"))


def test_agreement_stands_beside_that_of_the_shuffled_labels_of_the_same_direction(world):
    expected = []
    for rows in grouped(world.directions, "run_id", "layer", "site").values():
        for row in rows:
            agreed = row["other_half_cosine"]
            if row["control_of"] is not None or agreed is None:
                continue
            beside = [each["other_half_cosine"] for each in rows if each["control_of"] == row["direction"] and each["kind"] == "shuffled"]
            told = {
                name: row[name]
                for name in ("run_id", "checkpoint", "layer", "site", "direction", "kind", "stratum", "persona", "half", "norm", "n", "n_questions")
            }
            told |= {"agreement": agreed, "agreement_of_all": 2 * agreed / (1 + agreed) if agreed > 0 else None, "n_shuffled": len(beside)}
            told |= {"shuffled_mean": np.mean(beside) if beside else None, "shuffled_high": max(beside, default=None)}
            expected.append(told | {"p": (1 + sum(each >= agreed for each in beside)) / (1 + len(beside)) if beside else None})
    compared(world.select("directions_agreement"), expected, ("run_id", "layer", "site", "direction"))


def outcomes(world):
    """Differences to dose 0 of every outcome of every answer, and of the questions of the task."""
    keys, arm = ("run_id", "example_id", "sample_ix", "outcome"), ("direction", "layer", "mode", "dose")
    values = []
    for row in world.steering:
        found = {"marker_rate": float(row["present"]), "n_new_tokens": row["n_new_tokens"]}
        found |= {name: row[name] for name in ("marker_log_prob", "answer_nll", "repetition")}
        values += [row | {"outcome": name, "value": value} for name, value in found.items()]
    values += [row | {"outcome": f"projection on {row['read_direction']}"} for row in world.steering_projections]
    task = {"persona": "task", "sample_ix": None, "outcome": "capability"}
    values += [row | task | {"example_id": row["question_id"], "value": float(row["correct"])} for row in world.steering_capability]
    plain = {tuple(row[name] for name in keys): row["value"] for row in values if row["dose"] == 0}
    made = []
    for row in values:
        base = plain[tuple(row[name] for name in keys)]
        if row["dose"] != 0 and None not in (base, row["value"]):
            told = {name: row[name] for name in (*keys, *arm, "persona", "question_id", "value")}
            made.append(told | {"base": base, "difference": row["value"] - base, "side": "more" if row["dose"] > 0 else "less"})
    return made


def changes(rows, limits):
    """Rows of `steering_changes`, those of all personas and of others than the trained one among them."""
    formed = [*rows, *(row | {"persona": "all"} for row in rows if row["persona"] != "task")]
    formed += [row | {"persona": "others"} for row in rows if row["persona"] == "poet"]
    made = []
    for key, each in grouped(formed, *ARM).items():
        told = of_clusters([row["difference"] for row in each], [row["question_id"] for row in each])
        row = dict(zip(ARM, key, strict=True)) | {name: np.mean([one[name] for one in each]) for name in ("base", "value")}
        row |= tools.renamed(told, difference="mean", low="low", high="high", n="n", n_clusters="n_clusters", clustered_df="df", n_effective_clusters="kish")
        made.append(row | {"is_skewed": told["skewed"]})
    health = {}
    for row in made:
        if (row["outcome"], row["persona"]) in (("answer_nll", "all"), ("capability", "task")):
            health[(*(row[name] for name in ARM[:5]), row["outcome"])] = row["difference"]
    for row in made:
        nll, right = (health.get((*(row[name] for name in ARM[:5]), name)) for name in ("answer_nll", "capability"))
        broken = nll > np.log(limits["steering_perplexity"]) or (right is not None and right < -limits["steering_capability"])
        row |= {"nll_change": nll, "capability_change": right, "is_broken": bool(broken)}
    return made


def test_a_change_is_that_of_one_arm_beside_dose_0_of_its_run(world):
    compared(world.select("steering_changes"), world.changes, ARM)


def test_slopes_are_those_of_one_direction_layer_mode_and_side(world):
    rows = world.outcomes
    arms = grouped((row | {"side": "more" if row["dose"] > 0 else "less"} for row in world.changes), *SIDE)
    expected = []
    formed = [*rows, *(row | {"persona": "all"} for row in rows if row["persona"] != "task")]
    for key, each in grouped(formed, *SIDE).items():
        slopes = []
        for of_question in grouped(each, "question_id").values():
            doses, values = (np.array([row[name] for row in of_question]) for name in ("dose", "difference"))
            slopes.append(np.linalg.lstsq(doses[:, None], values, rcond=None)[0][0])
        low, high = stats.t.interval(0.95, len(slopes) - 1, np.mean(slopes), stats.sem(slopes))
        steps = sorted(arms[key], key=lambda row: abs(row["dose"]))
        largest = max(steps, key=lambda row: round(abs(row["difference"]), 12))
        row = dict(zip(SIDE, key, strict=True)) | {"n_doses": len(steps), "n": len(each), "n_questions": len(slopes), "slope": np.mean(slopes)}
        row |= {"low": low, "high": high} if np.ptp(slopes) > 0 else {"low": None, "high": None}
        row |= {"largest": largest["difference"], "largest_dose": largest["dose"], "unit": "share" if key[3] == "project_out" else "norm"}
        enough = [one["dose"] for one in steps if largest["difference"] and one["difference"] / largest["difference"] >= world.limits["steering_saturation"]]
        lost = [one["dose"] for one in steps if one["capability_change"] is not None and one["capability_change"] < -world.limits["steering_capability"]]
        beyond = [one["dose"] for one in steps if one["nll_change"] > np.log(world.limits["steering_perplexity"])]
        row |= {"saturates_at": next(iter(enough), None) if len(steps) > 2 else None}
        expected.append(row | {"capability_lost_at": next(iter(lost), None), "perplexity_beyond_at": next(iter(beyond), None)})
    compared(world.select("steering_slopes"), expected, SIDE)
    assert any(row["saturates_at"] for row in expected) and any(row["capability_lost_at"] for row in expected)


def over_questions(rows, name):
    """Means of the repeats of each question."""
    return [np.mean([row[name] for row in each]) for each in grouped(rows, "question_id").values()]


def interval(values):
    """Mean of a number per question, with the ends of its t interval."""
    return (np.mean(values), *(stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values)) if len(values) > 1 else (None, None)))


def test_projections_are_those_of_one_direction_beside_controls_of_its_place(world):
    place = ("run_id", "persona", "directions_run", "layer", "site", "stratum", "step", "turn")
    text = ("run_id", "example_id", "sample_ix", "directions_run", "direction", "layer", "site", "stratum")
    begun = grouped((row for row in world.projections if (row["step"] is not None and row["step"] < 8) or row["turn"] == 0), *text)
    beginnings = {key: np.mean([row["value"] for row in rows]) for key, rows in begun.items()}
    read = [row | {"seen": row["made_on"] in ("all", row["half"])} for row in world.projections]
    expected = []
    for of_place in grouped(read, *place).values():
        made = []
        for (direction, seen), rows in grouped(of_place, "direction", "seen").items():
            for row in rows:
                row["moved"] = row["value"] - beginnings.get(tuple(row[name] for name in text), np.nan)
            told = {name: rows[0][name] for name in (*place, "checkpoint", "kind")} | {"direction": direction, "seen": seen, "n": len(rows)}
            told |= dict(zip(("mean", "low", "high"), interval(over_questions(rows, "value")), strict=True))
            moves = (None,) * 3 if rows[0]["stratum"] == "last" else interval(over_questions(rows, "moved"))
            told |= dict(zip(("change", "change_low", "change_high"), moves, strict=True))
            if rows[0]["turn"] == 0:
                told |= {"change_low": None, "change_high": None}
            made.append(told | {"mean_norm": np.mean(over_questions(rows, "activation_norm")), "n_questions": len({row["question_id"] for row in rows})})
        controls = [row["mean"] for row in made if row["kind"] in ("random", "shuffled") and not row["seen"]]
        for row in made:
            is_control = row["kind"] in ("random", "shuffled")
            ends = np.quantile(controls, (0.025, 0.975)) if controls and not is_control else (None, None)
            row |= {"n_controls": None if is_control else len(controls)} | dict(zip(("control_low", "control_high"), ends, strict=True))
        expected += made
    compared(world.select("drift"), expected, (*place, "direction", "seen"))
